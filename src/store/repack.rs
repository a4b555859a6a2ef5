//! Repacking: writing a pack anew without the pages that no image uses any more.
//!
//! What comes of it is the same pack: name, tables, size and recorded time of writing stay,
//! and so do the slots, only that dead pages are holes. So no manifest and no row changes.
//! Holes are not punched into the file that is there, because programs run on from images
//! that were removed since; they keep the old file, which the new one is renamed over.
//!
//! The copy is written beside builds, which may begin to use pages that look dead; so
//! before it gets its name, alone in the store, it is compared with what is used by then.
//!
//! Which packs are worth it is decided in [`super::gc`]. Cold packs are left as they are.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::IgnoredAny;

use super::failure::Doing;
use super::freeze::VERIFY;
use super::ids::{ImageId, PackId};
use super::pack::{self, PackFile, PackInfo, PackWriter, offset_of};
use super::pages::{self, PAGE};
use super::slots::Slots;
use super::{Reader, Store, access, durable, fault, lock, manifest, remove, tier};
use crate::error::Result;

/// How long builds are waited for before a pack is left for the next time.
const PATIENCE: Duration = Duration::from_secs(2);

/// So many pages are copied at once.
const AT_ONCE: u64 = 1024;

/// What images use of packs, as their manifests say. Each is read once.
#[derive(Debug)]
pub(super) struct InUse<'s> {
    reader: &'s Reader,
    /// By image; none if it is damaged.
    known: HashMap<ImageId, Option<Vec<(PackId, Slots)>>>,
}

impl<'s> InUse<'s> {
    pub fn new(reader: &'s Reader) -> Self {
        Self { reader, known: HashMap::new() }
    }

    /// The pages of a pack that these images use; `None` if that cannot be told, because
    /// one of them is damaged.
    pub fn of(&mut self, pack: &PackId, images: &[ImageId]) -> Option<Slots> {
        let mut used = Slots::default();
        for image in images {
            let packs = self.known.entry(*image).or_insert_with(|| {
                let manifest = manifest::load::<IgnoredAny>(&self.reader.layout, image).ok()?;
                let slots =
                    |(at, info): (usize, &PackInfo)| (info.id, Slots::of(&manifest.extents, at));
                Some(manifest.packs.iter().enumerate().map(slots).collect())
            });
            let (_, slots) = packs.as_ref()?.iter().find(|(id, _)| id == pack)?;
            used.add(slots.clone());
        }
        Some(used)
    }
}

impl Store {
    /// Writes a pack without the pages that no image uses, and tells how many bytes of
    /// disk space that freed; `None` if it was left as it is, because it is not in use, is
    /// damaged, or is just being used by others.
    pub(super) fn repack(&self, id: &PackId) -> Result<Option<u64>> {
        let (layout, path) = (&self.layout, self.layout.pack(id));
        let beside_builds = lock::add(layout)?;
        let Some((info, used)) = self.now_used(id)? else { return Ok(None) };
        let temporary = layout.temporary();
        let dir = tempfile::Builder::new().prefix("repack-").tempdir_in(&temporary);
        let dir = dir.doing("create a directory in", &temporary)?;
        access::make_private(dir.path()).doing("create", dir.path())?;
        let copy = dir.path().join("pack");
        copy_used(&PackFile::open(&path)?, &info, &used, copy.clone())?;
        fault::point("gc-pack-copied");
        drop(beside_builds);

        let Ok(_alone) = lock::alter(layout, PATIENCE) else { return Ok(None) };
        let unchanged = self
            .now_used(id)?
            .is_some_and(|(now, used_now)| now == info && used.contains(&used_now));
        // Who changed the store meanwhile may have taken the copy for a leftover.
        if !unchanged || !copy.exists() || !lock::outlast_runs(layout, remove::PATIENCE)? {
            return Ok(None);
        }
        let size = || remove::disk_bytes(&path).doing("read", &path);
        let before = size()?;
        durable::replace(&copy, info.modified_ns, &layout.packs(), &path)?;
        fault::point("gc-pack-replaced");
        Ok(Some(before.saturating_sub(size()?)))
    }

    /// A pack that is as the index has it, and what the images there use of it.
    fn now_used(&self, id: &PackId) -> Result<Option<(PackInfo, Slots)>> {
        let rows = self.rows();
        let Some(info) = rows.pack(id)? else { return Ok(None) };
        if tier::is_cold(&self.layout, id)? {
            return Ok(None);
        }
        if !PackFile::open(&self.layout.pack(id)).is_ok_and(|pack| pack.is(&info)) {
            return Ok(None);
        }
        Ok(InUse::new(self).of(id, &rows.users(id)?).map(|used| (info, used)))
    }
}

/// Writes a durable copy of a pack to a new file, with only these pages in it. Each of
/// them is compared with its hash: damage is not to be copied.
fn copy_used(pack: &PackFile, info: &PackInfo, used: &Slots, to: PathBuf) -> Result<()> {
    let hashes = pack.hashes(&info.id)?;
    let mut writer = PackWriter::create(to, used.len() * PAGE as u64)?;
    for range in used.ranges() {
        for at in range.clone().step_by(AT_ONCE as usize) {
            let end = range.end.min(at + AT_ONCE);
            let bytes = pack.read(offset_of(at), (end - at) * PAGE as u64)?;
            let wanted = &hashes[at as usize..end as usize];
            if pages::hash(&bytes) != wanted {
                return Err(pack::damaged(pack.path(), "pages are not what they were").hint(VERIFY));
            }
            writer.write(at, wanted, &bytes)?;
        }
    }
    let anchors: Vec<u32> = pack.anchors()?.into_iter().map(|(slot, _)| slot).collect();
    let (copy, _) = writer.seal(&hashes, &anchors)?;
    match copy.id == info.id && copy.bytes == info.bytes {
        true => Ok(()),
        false => Err(pack::damaged(pack.path(), "its anchors are not what they were")),
    }
}
