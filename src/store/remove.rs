//! Taking images out, and clearing up what nobody refers to.
//!
//! The order is the reverse of storing: the index first, then the image's
//! directory, then packs that no image uses any more. Files go only after every
//! run that may have chosen one of those images has mapped it; a mapped pack
//! lives on without a name. What a crash leaves is found by the next removal,
//! because whatever lies in `images` and `packs` and is not in the index is
//! swept, not only what was removed just now.
//!
//! Deleting gigabytes can take seconds, so under the lock things are only moved
//! to `tmp`, and deleted when others may go on.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::failure::Doing;
use super::ids::{ImageId, ImageKey, PackId};
use super::layout::{self, Layout};
use super::lock::{self, Lock};
use super::{Reader, Store, index};
use crate::error::Result;

/// How long a removal waits for runs to have mapped their image. They take
/// milliseconds; one that is stopped must not keep us, and only loses its image.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How the names of things in `tmp` begin that only wait for deletion.
const DISCARDED: &str = "removed-";

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
        let lock = lock::alter(&self.layout, lock::PATIENCE)?;
        let images = index::shrink(&self.index, self.layout.root(), |_| {
            let rows = self.rows();
            let mut images = 0;
            for key in keys {
                images += u64::from(rows.delete(key)?);
            }
            rows.delete_unused_packs()?;
            Ok(images)
        })?;
        Ok(Freed { images, ..self.sweep_under(lock)? })
    }

    /// Deletes what lies in the store and is not in its index, unless others keep
    /// changing the store: then it stays for the next removal.
    pub(super) fn sweep(&self) -> Result<Freed> {
        self.sweep_under(lock::alter(&self.layout, Duration::from_secs(1))?)
    }

    /// The same, while the caller holds the change lock alone.
    pub(super) fn sweep_under(&self, lock: Lock) -> Result<Freed> {
        let layout = &self.layout;
        let orphans = Orphans::of(self)?;
        let mut freed = Freed::default();
        freed.bytes += clear_temporary(layout);
        if !orphans.is_empty() || lock::has_old_runs(layout) {
            let outlasted = lock::outlast_runs(layout, PATIENCE)?;
            freed.postponed = !outlasted && !orphans.is_empty();
        }
        if !freed.postponed {
            for id in &orphans.images {
                freed.bytes += discard(layout, &layout.image(id))?;
            }
            for id in &orphans.packs {
                freed.bytes += discard_pack(layout, id)?;
            }
            freed.packs = orphans.packs.len() as u64;
        }
        drop(lock);
        // Those of a removal that was cut off too. One that is under way may be
        // doing the same: then either of us finds nothing more to delete.
        clear(layout, |name| name.starts_with(DISCARDED));
        Ok(freed)
    }
}

/// What the index does not know.
pub(super) struct Orphans {
    pub images: Vec<ImageId>,
    pub packs: Vec<PackId>,
}

impl Orphans {
    fn is_empty(&self) -> bool {
        self.images.is_empty() && self.packs.is_empty()
    }

    pub fn of(store: &Reader) -> Result<Self> {
        let rows = store.rows();
        let images: HashSet<_> = rows.ids()?.into_iter().collect();
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
    let mut found = HashSet::new();
    for entry in fs::read_dir(dir).doing("read", dir)? {
        let name = entry.doing("read", dir)?.file_name();
        found.extend(name.to_str().and_then(&parse).filter(|id| !known.contains(id)));
    }
    Ok(found.into_iter().collect())
}

/// The disk space that a file, or a directory of files, takes.
pub(super) fn disk_bytes(path: &Path) -> io::Result<u64> {
    let found = fs::symlink_metadata(path)?;
    let mut bytes = found.blocks() * 512;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += entry?.metadata()?.blocks() * 512;
        }
    }
    Ok(bytes)
}

/// Takes a file, or a directory of files, out of its place for good, and tells
/// the disk space that it takes.
fn discard(layout: &Layout, path: &Path) -> Result<u64> {
    let bytes = disk_bytes(path).doing("remove", path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let to = layout.temporary().join(format!("{DISCARDED}{name}"));
    // On a full disk there may be no room for another name; then it goes at once.
    fs::rename(path, to).or_else(|_| delete(path)).doing("remove", path)?;
    Ok(bytes)
}

/// The same for a pack, of which there may be a raw and a compressed file.
fn discard_pack(layout: &Layout, id: &PackId) -> Result<u64> {
    let mut bytes = 0;
    for path in [layout.cold_pack(id), layout.pack(id)] {
        if path.symlink_metadata().is_ok() {
            bytes += discard(layout, &path)?;
        }
    }
    Ok(bytes)
}

fn delete(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

/// Deletes what builds that were cut off have left. The caller holds the change
/// lock alone, so no build is under way.
/// Tells the disk space that they took.
pub(super) fn clear_temporary(layout: &Layout) -> u64 {
    clear(layout, |name| !name.starts_with(DISCARDED) && !lock::is_old_runs(name))
}

/// Deletes some of what lies in `tmp`, and tells the disk space that it took. What cannot be
/// deleted does no harm.
fn clear(layout: &Layout, which: impl Fn(&str) -> bool) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(layout.temporary()).into_iter().flatten().flatten() {
        if which(&entry.file_name().to_string_lossy()) {
            let size = disk_bytes(&entry.path()).unwrap_or(0);
            if delete(&entry.path()).is_ok() {
                bytes += size;
            }
        }
    }
    bytes
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
        let _ = delete(&store.layout.cold_pack(id));
    }
}
