//! Taking images out, and clearing up what nobody refers to.
//!
//! The order is the reverse of storing: the index first, then the image's
//! directory, then packs that no image uses any more. Files go only after every
//! run that may have chosen one of those images has mapped it; a mapped pack
//! lives on without a name. What a crash leaves is found by the next removal,
//! because whatever lies in `images` and `packs` and is not in the index is
//! swept, not only what was removed just now.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::failure::Doing;
use super::ids::{ImageId, ImageKey, PackId};
use super::layout::{self, Layout};
use super::{Store, index, lock};
use crate::error::Result;

/// How long a removal waits for runs to have mapped their image. They take
/// milliseconds; one that is stopped must not keep us, and only loses its image.
const PATIENCE: Duration = Duration::from_secs(2);

/// What clearing up has removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Freed {
    /// How many images were taken out of the index.
    pub images: u64,
    /// How many packs were deleted.
    pub packs: u64,
    /// The disk space freed, in bytes.
    pub bytes: u64,
    /// Whether files were left, because a run that began earlier may still need
    /// them; the next removal deletes them.
    pub postponed: bool,
}

impl Store {
    /// Removes images; keys that are not there are passed over. Pinned ones go
    /// too: whether to ask is the caller's.
    pub fn remove(&self, keys: &[ImageKey]) -> Result<Freed> {
        let _lock = lock::alter(&self.layout, lock::PATIENCE)?;
        let images = index::change(&self.index, self.layout.root(), |_| {
            let rows = self.rows();
            let mut images = 0;
            for key in keys {
                images += u64::from(rows.delete(key)?);
            }
            rows.delete_unused_packs()?;
            Ok(images)
        })?;
        Ok(Freed { images, ..self.sweep_locked()? })
    }

    /// Deletes what lies in the store and is not in its index, unless others keep
    /// changing the store: then it stays for the next removal.
    pub(super) fn sweep(&self) -> Result<Freed> {
        let _lock = lock::alter(&self.layout, Duration::from_secs(1))?;
        self.sweep_locked()
    }

    /// The same, by who holds the change lock alone.
    fn sweep_locked(&self) -> Result<Freed> {
        let orphans = Orphans::of(self)?;
        let mut freed = Freed::default();
        clear_temporary(&self.layout);
        if orphans.images.is_empty() && orphans.packs.is_empty() {
            return Ok(freed);
        }
        if !lock::outlast_runs(&self.layout, PATIENCE)? {
            freed.postponed = true;
            return Ok(freed);
        }
        for id in orphans.images {
            freed.bytes += delete(&self.layout.image(&id))?;
        }
        for id in orphans.packs {
            freed.bytes += delete(&self.layout.pack(&id))?;
            freed.packs += 1;
        }
        Ok(freed)
    }
}

/// What the index does not know.
struct Orphans {
    images: Vec<ImageId>,
    packs: Vec<PackId>,
}

impl Orphans {
    fn of(store: &Store) -> Result<Self> {
        let rows = store.rows();
        let images: HashSet<_> = rows.all()?.into_iter().map(|image| image.id).collect();
        let packs: HashSet<_> = rows.packs()?.into_iter().map(|pack| pack.id).collect();
        Ok(Self {
            images: lying_in(&store.layout.images(), |name| name.parse().ok(), &images)?,
            packs: lying_in(&store.layout.packs(), layout::pack_of, &packs)?,
        })
    }
}

/// The entries of `dir` that bear a name of ours and are not known. Others are
/// not ours to delete.
fn lying_in<T: std::hash::Hash + Eq>(
    dir: &Path,
    parse: impl Fn(&str) -> Option<T>,
    known: &HashSet<T>,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).doing("read", dir)? {
        let name = entry.doing("read", dir)?.file_name();
        found.extend(name.to_str().and_then(&parse).filter(|id| !known.contains(id)));
    }
    Ok(found)
}

/// Deletes a file or a directory of files, and tells the disk space it took.
fn delete(path: &Path) -> Result<u64> {
    let found = fs::symlink_metadata(path).doing("remove", path)?;
    let mut bytes = found.blocks() * 512;
    if found.is_dir() {
        for entry in fs::read_dir(path).doing("remove", path)? {
            bytes += entry.and_then(|entry| entry.metadata()).doing("remove", path)?.blocks() * 512;
        }
        fs::remove_dir_all(path).doing("remove", path)?;
    } else {
        fs::remove_file(path).doing("remove", path)?;
    }
    Ok(bytes)
}

/// Deletes what builds that were cut off have left. The caller holds the change
/// lock alone, so no build is under way. What cannot be deleted does no harm.
pub(super) fn clear_temporary(layout: &Layout) {
    for entry in fs::read_dir(layout.temporary()).into_iter().flatten().flatten() {
        let _ = delete(&entry.path());
    }
}

/// Takes back what a failed commit has put, unless the index refers to it (for
/// another build, or because the failure came after the commit). Nobody can have
/// chosen it, so no run is waited for. On any error it stays for the next removal.
pub(super) fn withdraw(store: &Store, image: Option<ImageId>, pack: Option<PackId>) {
    let Ok(_alone) = lock::alter(&store.layout, Duration::from_secs(1)) else { return };
    let Ok(orphans) = Orphans::of(store) else { return };
    for id in image.iter().filter(|id| orphans.images.contains(id)) {
        let _ = delete(&store.layout.image(id));
    }
    for id in pack.iter().filter(|id| orphans.packs.contains(id)) {
        let _ = delete(&store.layout.pack(id));
    }
}
