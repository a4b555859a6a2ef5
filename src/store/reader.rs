//! Reading a store: for runs, which must be quick and change nothing, and for
//! everything that only looks.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::fstatat;
use rusqlite::Connection;
use serde::de::DeserializeOwned;

use super::access;
use super::failure::Doing;
use super::ids::{Digest, ImageId, ImageKey, PackId};
use super::images::{self, Images};
use super::index::{self, State};
use super::layout::{self, Layout};
use super::lock::{self, Lock};
use super::manifest::{self, Manifest, RunManifest};
use super::open;
use super::record::{Candidate, CandidateQuery, FileState, Image, Overview};
use super::tier::Tier;
use crate::error::{Error, Result};
use crate::parallel;

/// What a store holds beside its index, for reading.
#[derive(Debug, Clone)]
pub struct Files {
    pub(super) layout: Layout,
}

/// A store, for reading.
#[derive(Debug)]
pub struct Reader {
    pub(super) files: Files,
    pub(super) index: Connection,
}

impl std::ops::Deref for Reader {
    type Target = Files;

    fn deref(&self) -> &Files {
        &self.files
    }
}

/// The files of a store, for a run. Until it is dropped nothing that the run may have found
/// in the store is deleted, so it is to be dropped once the image is mapped, and never
/// kept while the program runs.
#[derive(Debug)]
pub struct RunFiles {
    files: Files,
    index: FileState,
    lock: Lock,
}

impl RunFiles {
    /// Opens the store in `dir` for a run, all but its index; `None` if there is none. Never
    /// creates or changes anything, and works on a read-only file system.
    pub fn open(dir: &Path) -> Result<Option<Self>> {
        let layout = Layout::new(dir);
        let found = match fs::metadata(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.doing("read", dir)?,
        };
        if !found.is_dir() {
            return Err(not_a_directory(dir));
        }
        access::check(dir, &found)?;
        let index = layout.index();
        match fs::symlink_metadata(&index) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                open::refuse_lost(&layout)?;
                return Ok(None);
            }
            found => found.doing("read", &index)?,
        };
        let index = FileState::of(&access::trusted_file(&index)?);
        let lock = lock::run(&layout)?;
        Ok(Some(Self { files: Files { layout }, index, lock }))
    }

    /// The state in which the index was found. As long as it has that, it says the same, if
    /// it had it for longer than a tick of the clock.
    pub fn index_state(&self) -> &FileState {
        &self.index
    }

    /// Opens the index as well; `None` if there is nothing in it, and so no store yet.
    pub fn open_index(&self) -> Result<Option<Reader>> {
        let layout = self.files.layout.clone();
        match index::open_to_read(&layout)? {
            (index, State::Current) => Ok(Some(Reader { files: self.files.clone(), index })),
            (_, State::Empty) => {
                open::refuse_lost(&layout)?;
                Ok(None)
            }
            (_, State::Old(version)) => Err(index::older(layout.root(), version)),
        }
    }
}

impl std::ops::Deref for RunFiles {
    type Target = Files;

    fn deref(&self) -> &Files {
        &self.files
    }
}

/// A store with its index, kept as [`RunFiles`] keep it.
#[derive(Debug)]
pub struct RunStore {
    reader: Reader,
    _lock: Lock,
}

impl RunStore {
    /// [`RunFiles::open`] and [`RunFiles::open_index`]
    pub fn open(dir: &Path) -> Result<Option<Self>> {
        let Some(files) = RunFiles::open(dir)? else { return Ok(None) };
        let reader = files.open_index()?;
        Ok(reader.map(|reader| Self { reader, _lock: files.lock }))
    }
}

impl std::ops::Deref for RunStore {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

pub(super) fn not_a_directory(dir: &Path) -> Error {
    Error::environment(format!("the store {} is not a directory", dir.display()))
        .hint("remove what is there, or set PYIMG_DIR to another place")
}

impl Files {
    /// The store's directory, absolute.
    pub fn dir(&self) -> &Path {
        self.layout.root()
    }

    /// The manifest of an image, with everything it names checked for owner,
    /// mode, size and, for packs, time of writing. `T` is what the builder left;
    /// [`serde::de::IgnoredAny`] if it is not wanted.
    pub fn load_manifest<T: DeserializeOwned>(&self, id: &ImageId) -> Result<Manifest<T>> {
        manifest::load(&self.layout, id)
    }

    /// The same, as far as a run needs it, and without a look at the image's files: that is
    /// for [`super::check_files`].
    pub fn load_for_run<T: DeserializeOwned>(&self, id: &ImageId) -> Result<RunManifest<T>> {
        manifest::load_for_run(&self.layout, id)
    }

    /// The directory with an image's files.
    pub fn image_dir(&self, id: &ImageId) -> PathBuf {
        self.layout.image(id)
    }

    /// The raw file of a pack, which is there unless it is cold.
    pub fn pack_path(&self, id: &PackId) -> PathBuf {
        self.layout.pack(id)
    }

    /// Counts a use of an image. In a store that cannot be written nothing is
    /// counted, and that is no error.
    pub fn note_use(&self, id: &ImageId) {
        let uses = OpenOptions::new().append(true).open(self.layout.uses(id));
        let _ = uses.and_then(|mut uses| uses.write_all(b"."));
    }

    /// Where runs of an image note what they have found unchanged. It may be missing, and says
    /// nothing that could not be found out again.
    pub fn looked_through(&self, id: &ImageId) -> PathBuf {
        self.layout.looked_through(id)
    }

    /// Writes that, whole or not at all. In a store that cannot be written nothing is, and
    /// that is no error.
    pub fn note_looked_through(&self, id: &ImageId, text: &[u8]) {
        let write = || {
            let mut file = tempfile::Builder::new()
                .prefix("looked-through-")
                .permissions(fs::Permissions::from_mode(0o600))
                .tempfile_in(self.layout.temporary())?;
            file.write_all(text)?;
            file.persist(self.layout.looked_through(id)).map_err(|error| error.error)
        };
        let _ = write();
    }
}

impl Reader {
    pub(super) fn rows(&self) -> Images<'_> {
        Images { index: &self.index, root: self.layout.root() }
    }

    /// All images, the oldest first.
    pub fn images(&self) -> Result<Vec<Image>> {
        let mut images = self.rows().all()?;
        let uses = self.uses_of_all(&images, |image| &image.id);
        images.iter_mut().zip(uses).for_each(|(image, used)| add_use(image, used));
        let cold = self.cold_images()?;
        images.iter_mut().for_each(|image| image.tier = tier_of(&cold, &image.id));
        Ok(images)
    }

    /// What a list says of all images, the oldest first: ten times as quick.
    pub fn overview(&self) -> Result<Vec<Overview>> {
        let mut images = self.rows().overview()?;
        let uses = self.uses_of_all(&images, |image| &image.id);
        images.iter_mut().zip(uses).for_each(|(image, used)| {
            image.last_used_ns = used.map(|(_, last_used_ns)| last_used_ns);
        });
        let cold = self.cold_images()?;
        images.iter_mut().for_each(|image| image.tier = tier_of(&cold, &image.id));
        Ok(images)
    }

    /// [`use_of`] each of these.
    fn uses_of_all<T: Sync>(
        &self,
        images: &[T],
        id: impl Fn(&T) -> &ImageId + Sync,
    ) -> Vec<Option<(u64, i64)>> {
        let Ok(dir) = fs::File::open(self.layout.images()) else { return vec![None; images.len()] };
        parallel::by_parts(images, |part| {
            part.iter().map(|image| use_of(&dir, &layout::uses_of(id(image)))).collect()
        })
    }

    /// The images of which a pack is cold.
    fn cold_images(&self) -> Result<HashSet<ImageId>> {
        let tiers = self.tiers()?;
        if tiers.cold().is_empty() {
            return Ok(HashSet::new());
        }
        let uses = self.rows().uses_of_packs()?;
        let cold = uses.into_iter().filter(|(_, pack, _)| tiers.cold().contains(pack));
        Ok(cold.map(|(image, ..)| image).collect())
    }

    /// The image that a person means: by its name, or by the first digits of its
    /// key, at least four.
    pub fn find(&self, name_or_key: &str) -> Result<Image> {
        self.complete(images::find(&self.rows(), name_or_key)?)
    }

    /// The image with exactly this name.
    pub fn by_name(&self, name: &str) -> Result<Option<Image>> {
        self.rows().by_name(name)?.map(|image| self.complete(image)).transpose()
    }

    /// The image with this key.
    pub fn by_key(&self, key: &ImageKey) -> Result<Option<Image>> {
        self.rows().by_key(key)?.map(|image| self.complete(image)).transpose()
    }

    /// The images that a run may use as far as the index knows, the newest first.
    pub fn candidates(&self, wanted: &CandidateQuery) -> Result<Vec<Candidate>> {
        self.rows().candidates(wanted)
    }

    /// The remembered hash of a big file, if the file is still in that state.
    pub fn interpreter_hash(&self, path: &str, state: &FileState) -> Result<Option<Digest>> {
        self.rows().interpreter(path, state)
    }

    /// Adds what is not in the index.
    fn complete(&self, mut image: Image) -> Result<Image> {
        let used = use_of(AT_FDCWD, &self.layout.uses(&image.id));
        add_use(&mut image, used);
        image.tier = self.tier(&self.rows().packs_of(&image.id)?);
        Ok(image)
    }
}

/// How many runs began from an image, and when the last of them did; none if there was none.
/// `path` is that of its file of uses, seen from the directory that is open.
fn use_of(directory: impl AsFd, path: &Path) -> Option<(u64, i64)> {
    let uses = fstatat(directory, path, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
    let hits = u64::try_from(uses.st_size).ok().filter(|hits| *hits > 0)?;
    Some((hits, uses.st_mtime.saturating_mul(1_000_000_000).saturating_add(uses.st_mtime_nsec)))
}

fn tier_of(cold: &HashSet<ImageId>, id: &ImageId) -> Tier {
    if cold.contains(id) { Tier::Zstd } else { Tier::Raw }
}

fn add_use(image: &mut Image, used: Option<(u64, i64)>) {
    if let Some((hits, last_used_ns)) = used {
        image.hits = hits;
        image.last_used_ns = Some(last_used_ns);
    }
}
