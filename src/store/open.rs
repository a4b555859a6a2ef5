//! Opening a store for change: making it where none is, and refusing what is
//! none.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::failure::{Doing, damaged};
use super::ids::{Digest, ImageKey};
use super::index::{self, State};
use super::layout::{self, Layout};
use super::lock::BuildLock;
use super::reader::{Files, Reader, not_a_directory};
use super::record::FileState;
use super::verify::listing;
use super::{access, durable, lock};
use crate::error::{Error, Result};

/// A store that may be changed. Everything that reads is in [`Reader`].
#[derive(Debug)]
pub struct Store {
    reader: Reader,
}

impl std::ops::Deref for Store {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl Store {
    /// Opens the store in `dir`, makes it if there is none, and brings an older
    /// one to the current format. Several processes may do so at once.
    ///
    /// A store that can only be read is opened too; changing it then fails.
    pub fn open(dir: &Path) -> Result<Self> {
        let layout = Layout::new(dir);
        let dir = layout.root();
        let found = match fs::metadata(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_dir(dir)?;
                fs::metadata(dir)
            }
            found => found,
        };
        let found = found.doing("read", dir)?;
        if !found.is_dir() {
            return Err(not_a_directory(dir));
        }
        access::check(dir, &found)?;
        let index = match layout.index().symlink_metadata() {
            Ok(_) => {
                access::trusted_file(&layout.index())?;
                Some(index::open(&layout)?)
            }
            Err(_) => None,
        };
        let index = match index {
            Some((index, State::Current)) => index,
            _ => make(&layout)?,
        };
        Ok(Self { reader: Reader { files: Files { layout }, index } })
    }

    /// A random secret, the same for the life of the store.
    pub fn secret(&self) -> Result<[u8; 32]> {
        let path = self.layout.secret();
        access::trusted_file(&path)?;
        let bytes = fs::read(&path).doing("read", &path)?;
        let wrong = || damaged(self.dir(), format_args!("its secret has {} bytes", bytes.len()));
        bytes.as_slice().try_into().map_err(|_| wrong())
    }

    /// Waits until nobody else builds the image of this key; until what is returned is
    /// dropped nobody will. `waiting` is called again and again meanwhile; its error is
    /// returned. Nothing where the store cannot be written.
    pub fn lock_build(
        &self,
        key: &ImageKey,
        waiting: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Option<BuildLock>> {
        lock::build(&self.layout, key, waiting)
    }

    /// Pins an image, so that cleaning up leaves it alone, or unpins it; false if
    /// there is none with this key.
    pub fn set_pinned(&self, key: &ImageKey, pinned: bool) -> Result<bool> {
        let _beside_repairs = lock::add(&self.layout)?;
        index::change(&self.index, self.dir(), |_| self.rows().set_pinned(key, pinned))
    }

    /// Remembers the hash of a big file in this state.
    pub fn set_interpreter_hash(&self, path: &str, state: &FileState, hash: &Digest) -> Result<()> {
        let _beside_repairs = lock::add(&self.layout)?;
        index::change(&self.index, self.dir(), |_| self.rows().set_interpreter(path, state, hash))
    }
}

/// Makes the store's directory, and those above it that are missing, durably: what is
/// stored is no more durable than the path that leads to it.
fn create_dir(dir: &Path) -> Result<()> {
    let missing: Vec<_> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).doing("create", parent)?;
    }
    access::private_dir(dir)?;
    missing.into_iter().try_for_each(durable::sync_name)
}

/// Makes what is missing of a store, or migrates it, alone.
fn make(layout: &Layout) -> Result<rusqlite::Connection> {
    let dir = layout.root();
    if layout.index().symlink_metadata().is_err() {
        refuse_foreign(layout)?;
    }
    let _lock = lock::alter(layout, lock::PATIENCE)?;
    access::make_private(dir).doing("change the mode of", dir)?;
    // Whoever made the directory may have been killed before this.
    durable::sync_name(dir)?;
    let inner = [layout.packs(), layout.images(), layout.programs(), layout.runs()];
    for inner in inner.into_iter().chain([layout.replays(), layout.temporary()]) {
        access::private_dir(&inner)?;
    }
    if !layout.secret().exists() {
        make_secret(layout)?;
    }
    if !layout.runs_lock().exists() {
        lock::renew_runs(layout)?;
    }
    // Where there is an index, everything else is there, after a power cut too.
    durable::sync_dir(dir)?;
    match layout.index().symlink_metadata() {
        Ok(_) => {
            access::trusted_file(&layout.index())?;
        }
        Err(_) => refuse_lost(layout)?,
    }
    let (mut index, state) = index::open(layout)?;
    if state == State::Empty {
        refuse_lost(layout)?;
        access::make_private_file(&layout.index()).doing("change the mode of", &layout.index())?;
    }
    index::migrate(&mut index, dir, state)?;
    Ok(index)
}

/// Makes a secret. The caller holds the change lock alone.
pub(super) fn make_secret(layout: &Layout) -> Result<()> {
    let new = layout.temporary().join("secret");
    let _ = fs::remove_file(&new);
    durable::write(&new, &random()?, 0)?;
    durable::sync_file(&new)?;
    durable::put(&new, layout.root(), &layout.secret())?;
    Ok(())
}

/// Images without an index that knows them are not to be forgotten, nor to be swept as what
/// nobody refers to: a repair finds them again.
pub(super) fn refuse_lost(layout: &Layout) -> Result<()> {
    match listing::has_images(layout) {
        true => Err(damaged(layout.root(), "its index is empty or missing, but there are images")),
        false => Ok(()),
    }
}

/// That a directory without a store may become one.
///
/// # Errors
/// When something else is in it.
pub fn check_vacant(dir: &Path) -> Result<()> {
    refuse_foreign(&Layout::new(dir))
}

/// A directory full of other things is nobody's store: the mistake is in
/// PYIMG_DIR.
pub(super) fn refuse_foreign(layout: &Layout) -> Result<()> {
    let dir = layout.root();
    for entry in fs::read_dir(dir).doing("read", dir)? {
        let name = entry.doing("read", dir)?.file_name();
        // The root of a file system of its own has a lost+found.
        if name != "lost+found" && !layout::ENTRIES.iter().any(|own| name == *own) {
            return Err(Error::environment(format!(
                "{} is not a store of pyimg: it holds {}",
                dir.display(),
                name.display()
            ))
            .hint("set PYIMG_DIR to an empty or a new directory"));
        }
    }
    Ok(())
}

fn random() -> Result<[u8; 32]> {
    let (path, mut bytes) = (Path::new("/dev/urandom"), [0; 32]);
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.doing("read", path)?;
    Ok(bytes)
}
