//! Storing an image, second half: its files, its manifest, its place in the
//! index.
//!
//! The order is packs, then the image's directory, then one SQLite commit; each
//! is durable before the next begins. So the index never names what is not
//! there, and a crash leaves at most files that nobody refers to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tempfile::TempDir;

use super::ids::{ImageId, ImageKey};
use super::ingest::Pages;
use super::layout::{self, MANIFEST, USES};
use super::lock::{self, Lock};
use super::manifest::{Extent, FileInfo, Manifest, Source};
use super::pack::{PackInfo, modified_ns};
use super::record::{Image, ImageRecord, check_name};
use super::tier::Tier;
use super::{Store, access, durable, fault, index, remove, thaw};
use crate::error::{Error, Result};

/// An image whose pages are stored: now its files, then [`Sealed::commit`].
pub struct Sealed<'s> {
    store: &'s Store,
    dir: TempDir, // goes before the lock
    lock: Lock,
    expected: u64,
    pages: Pages,
    files: Vec<FileInfo>,
}

impl std::fmt::Debug for Sealed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({}, {} packs)", self.dir.path().display(), self.pages.packs.len())
    }
}

impl<'s> Sealed<'s> {
    pub(super) fn new(
        store: &'s Store,
        lock: Lock,
        dir: TempDir,
        expected: u64,
        pages: Pages,
    ) -> Result<Self> {
        access::private_dir(&dir.path().join("image"))?;
        Ok(Self { store, lock, dir, expected, pages, files: Vec::new() })
    }

    /// The packs that hold the pages; extents count them in this order.
    pub fn packs(&self) -> &[PackInfo] {
        &self.pages.packs
    }

    /// The final path of the pack that an extent lies in (after the commit);
    /// `None` for zeroes.
    pub fn pack_path(&self, extent: &Extent) -> Option<PathBuf> {
        match extent.source {
            Source::Zero => None,
            Source::Pack { pack, .. } => {
                self.pages.packs.get(pack as usize).map(|info| self.store.pack_path(&info.id))
            }
        }
    }

    /// All extents, in the order in which the runs were added.
    pub fn extents(&self) -> &[Extent] {
        &self.pages.extents
    }

    /// The bytes of pages that were new to the store.
    pub fn new_bytes(&self) -> u64 {
        self.pages.new_pages * super::PAGE as u64
    }

    /// Adds a file to the image's own directory. It is held in memory by the
    /// caller, so it should be small: pages belong into packs.
    pub fn add_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        if !layout::is_file_name(name) {
            return Err(Error::failed(format!("an image cannot hold a file {name:?}")));
        }
        durable::write(&self.dir.path().join("image").join(name), bytes, self.expected)?;
        let blake3 = blake3::hash(bytes).into();
        self.files.push(FileInfo { name: name.to_owned(), bytes: bytes.len() as u64, blake3 });
        Ok(())
    }

    /// Puts the image into the store. `content` is what a run gets back with the
    /// manifest. An image of the same key and those in `replaced` make room for
    /// it in the same moment; a name that any other image has is an error.
    pub fn commit<T: Serialize>(
        mut self,
        record: ImageRecord,
        content: &T,
        replaced: &[ImageKey],
    ) -> Result<Image> {
        check_name(&record.name)?;
        if let Some(odd) = record.modules.iter().find(|name| name.contains('\n')) {
            return Err(Error::failed(format!("a module cannot be called {odd:?}")));
        }
        let mut outgoing: BTreeSet<ImageKey> = replaced.iter().copied().collect();
        outgoing.insert(record.key);
        self.check_name_is_free(&record.name, &outgoing)?;
        let pack = self.pages.new.as_ref().map(|(info, _)| info.id);
        let mut id = None;
        let result = self.put(record, content, &outgoing, &mut id);
        let Self { store, lock, dir, .. } = self;
        drop(dir);
        drop(lock);
        match result {
            Ok((image, none_replaced)) => {
                if !none_replaced {
                    // What is left stays for the next removal.
                    let _ = store.sweep();
                }
                Ok(image)
            }
            Err(error) => {
                remove::withdraw(store, id, pack);
                Err(error)
            }
        }
    }

    fn check_name_is_free(&self, name: &str, outgoing: &BTreeSet<ImageKey>) -> Result<()> {
        match self.store.rows().by_name(name)? {
            Some(other) if !outgoing.contains(&other.record.key) => Err(Error::failed(format!(
                "the name {name:?} is taken by the image {} of {:?}",
                other.record.key, other.record.recipe
            ))
            .hint(format!("choose another name with --name, or `pyimg rm {name}` first"))),
            _ => Ok(()),
        }
    }

    /// Puts the new pack into its place and tells when its file there was written,
    /// which another build of the same pages may have done.
    fn put_pack(&self, info: &PackInfo, path: &Path) -> Result<i64> {
        let layout = &self.store.layout;
        let (to, known) = (layout.pack(&info.id), self.store.rows().pack(&info.id)?);
        let modified_ns = match known {
            Some(known) => known.modified_ns,
            None => {
                let put = durable::put(path, &layout.packs(), &to)?;
                let found = access::trusted_file(&to)?;
                if found.len() != info.bytes {
                    return Err(Error::failed(format!("the pack {} was changed", to.display()))
                        .hint(format!("remove it: `rm {}`", to.display())));
                }
                if put {
                    return Ok(modified_ns(&found));
                }
                modified_ns(&found)
            }
        };
        // Whatever lies there under that name has the same tables, but pages may have
        // been dropped from it, or be damaged. This one has them all, so the images
        // that use it are whole again too.
        durable::replace(path, modified_ns, &layout.packs(), &to)?;
        Ok(modified_ns)
    }

    /// Everything that changes the store; tells whether nothing was replaced.
    /// `put` is set once there is a directory to take back.
    fn put<T: Serialize>(
        &mut self,
        record: ImageRecord,
        content: &T,
        outgoing: &BTreeSet<ImageKey>,
        put: &mut Option<ImageId>,
    ) -> Result<(Image, bool)> {
        let (layout, built) = (&self.store.layout, self.dir.path().join("image"));
        if let Some((info, path)) = self.pages.new.take() {
            let modified_ns = self.put_pack(&info, &path)?;
            fault::point("build-pack-put");
            let own = self.pages.packs.iter_mut().filter(|pack| pack.id == info.id);
            own.for_each(|pack| pack.modified_ns = modified_ns);
        }
        // A pack that this image uses is wanted raw; and one that has just been stored may
        // have a compressed file from before.
        for info in &self.pages.packs {
            thaw::bring_back(layout, info, lock::PATIENCE)?;
        }
        let created_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let created_ns = i64::try_from(created_ns.as_nanos()).unwrap_or(i64::MAX);
        let mut manifest = Manifest::new(record, created_ns, content);
        manifest.new_pages = self.pages.new_pages;
        manifest.packs = std::mem::take(&mut self.pages.packs);
        manifest.extents = std::mem::take(&mut self.pages.extents);
        manifest.files = std::mem::take(&mut self.files);
        let (bytes, id) = manifest.to_bytes()?;
        durable::write(&built.join(MANIFEST), &bytes, self.expected)?;
        durable::write(&built.join(USES), b"", self.expected)?;
        durable::sync_tree(&built, self.expected)?;
        *put = Some(id);
        durable::put(&built, &layout.images(), &layout.image(&id))?;
        fault::point("build-image-put");
        let mut image = Image {
            id,
            created_ns,
            page_bytes: manifest.page_bytes(),
            new_bytes: manifest.new_pages * super::PAGE as u64,
            file_bytes: manifest.file_bytes(),
            pinned: false,
            tier: Tier::Raw,
            hits: 0,
            last_used_ns: None,
            record: manifest.record,
        };
        let mut none_replaced = true;
        let root = layout.root();
        index::change(&self.store.index, root, |_| {
            let rows = self.store.rows();
            for key in outgoing {
                // Who has pinned an image has pinned its next build too.
                if let Some(old) = rows.by_key(key)?
                    && (old.record.key == image.record.key || old.record.name == image.record.name)
                {
                    image.pinned |= old.pinned;
                }
                none_replaced &= !rows.delete(key)?;
            }
            // Another build may have taken it since the first look.
            self.check_name_is_free(&image.record.name, outgoing)?;
            rows.insert(&image, &manifest.packs, &manifest.extents)?;
            rows.delete_unused_packs()
        })?;
        fault::point("build-committed");
        Ok((image, none_replaced))
    }
}
