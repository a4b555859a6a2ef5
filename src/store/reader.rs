//! Reading a store: for runs, which must be quick and change nothing, and for
//! everything that only looks.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::de::DeserializeOwned;

use super::failure::Doing;
use super::ids::{Digest, ImageId, ImageKey, PackId};
use super::images::{self, Images};
use super::index::{self, State};
use super::layout::Layout;
use super::lock::{self, Lock};
use super::manifest::{self, Manifest};
use super::record::{Candidate, CandidateQuery, FileState, Image};
use super::tier::Tier;
use super::{access, pack};
use crate::error::{Error, Result};
use crate::parallel;

/// A store, for reading.
#[derive(Debug)]
pub struct Reader {
    pub(super) layout: Layout,
    pub(super) index: Connection,
}

/// A store, for a run. Until it is dropped nothing that the run may have found
/// in it is deleted, so it is to be dropped once the image is mapped, and never
/// kept while the program runs.
#[derive(Debug)]
pub struct RunStore {
    reader: Reader,
    _lock: Lock,
}

impl RunStore {
    /// Opens the store in `dir` for a run; `None` if there is none. Never
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
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.doing("read", &index)?,
        };
        access::trusted_file(&index)?;
        let lock = lock::run(&layout)?;
        match index::open_to_read(&layout)? {
            (index, State::Current) => {
                Ok(Some(Self { reader: Reader { layout, index }, _lock: lock }))
            }
            (_, State::Empty) => Ok(None),
            (_, State::Old(version)) => Err(index::older(layout.root(), version)),
        }
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

impl Reader {
    pub(super) fn rows(&self) -> Images<'_> {
        Images { index: &self.index, root: self.layout.root() }
    }

    /// The store's directory, absolute.
    pub fn dir(&self) -> &Path {
        self.layout.root()
    }

    /// All images, the oldest first.
    pub fn images(&self) -> Result<Vec<Image>> {
        self.complete_all(self.rows().all()?)
    }

    /// All images, the oldest first, but with no modules: five times as quick.
    pub fn overview(&self) -> Result<Vec<Image>> {
        self.complete_all(self.rows().all_without_modules()?)
    }

    /// Adds what is not in the index.
    fn complete_all(&self, mut images: Vec<Image>) -> Result<Vec<Image>> {
        let layout = &self.layout;
        let uses = parallel::by_parts(&images, |part| {
            part.iter().map(|image| use_of(layout, &image.id)).collect()
        });
        images.iter_mut().zip(uses).for_each(|(image, used)| add_use(image, used));
        let tiers = self.tiers()?;
        if !tiers.cold().is_empty() {
            let uses = self.rows().uses_of_packs()?;
            let cold = uses.into_iter().filter(|(_, pack, _)| tiers.cold().contains(pack));
            let cold: HashSet<ImageId> = cold.map(|(image, ..)| image).collect();
            let cold = images.iter_mut().filter(|image| cold.contains(&image.id));
            cold.for_each(|image| image.tier = Tier::Zstd);
        }
        Ok(images)
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

    /// The manifest of an image, with everything it names checked for owner,
    /// mode, size and, for packs, time of writing. `T` is what the builder left;
    /// [`serde::de::IgnoredAny`] if it is not wanted.
    pub fn load_manifest<T: DeserializeOwned>(&self, id: &ImageId) -> Result<Manifest<T>> {
        manifest::load(&self.layout, id)
    }

    /// The directory with an image's files.
    pub fn image_dir(&self, id: &ImageId) -> PathBuf {
        self.layout.image(id)
    }

    /// The raw file of a pack, which is there unless it is cold.
    pub fn pack_path(&self, id: &PackId) -> PathBuf {
        self.layout.pack(id)
    }

    /// The remembered hash of a big file, if the file is still in that state.
    pub fn interpreter_hash(&self, path: &str, state: &FileState) -> Result<Option<Digest>> {
        self.rows().interpreter(path, state)
    }

    /// Counts a use of an image. In a store that cannot be written nothing is
    /// counted, and that is no error.
    pub fn note_use(&self, id: &ImageId) {
        let uses = OpenOptions::new().append(true).open(self.layout.uses(id));
        let _ = uses.and_then(|mut uses| uses.write_all(b"."));
    }

    /// Adds what is not in the index.
    fn complete(&self, mut image: Image) -> Result<Image> {
        let used = use_of(&self.layout, &image.id);
        add_use(&mut image, used);
        image.tier = self.tier(&self.rows().packs_of(&image.id)?);
        Ok(image)
    }
}

/// How many runs began from an image, and when the last of them did; none if there was none.
fn use_of(layout: &Layout, id: &ImageId) -> Option<(u64, i64)> {
    let uses = fs::symlink_metadata(layout.uses(id)).ok().filter(|uses| uses.len() > 0)?;
    Some((uses.len(), pack::modified_ns(&uses)))
}

fn add_use(image: &mut Image, used: Option<(u64, i64)>) {
    if let Some((hits, last_used_ns)) = used {
        image.hits = hits;
        image.last_used_ns = Some(last_used_ns);
    }
}
