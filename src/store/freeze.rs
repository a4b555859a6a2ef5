//! Making packs cold: they are compressed, and their raw files go.
//!
//! The compressed file is whole and durable before it gets its name, and with that name the
//! pack is cold: whoever comes from then on brings it back first. The raw file goes once
//! everybody who came before has mapped it. A pack that is wanted meanwhile stays raw.
//!
//! Each page is compared with its hash, so that damage is not made to look sound.

use std::fs::File;
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::failure::Doing;
use super::ids::{PackId, PageHash};
use super::pack::{self, PackFile, PackInfo, offset_of, tables_of};
use super::pages::{self, PAGE};
use super::repack::InUse;
use super::seekable::{FRAME, Packer, Table};
use super::slots::Slots;
use super::{Store, access, durable, fault, lock, remove, thaw, tier};
use crate::error::Result;

/// Processors that compress at once, each with some 17 MiB of memory.
const MOST_THREADS: usize = 4;

/// How often, and how long, runs that began before are waited for. In between they get a
/// chance to take the pack back: one may be waiting for just that.
const ROUNDS: u32 = 20;
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(5);

/// What has become cold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Frozen {
    /// How many packs; those that were cold already do not count.
    pub packs: u64,
    /// The disk space that they took, in bytes.
    pub bytes_before: u64,
    /// The disk space that they take now, in bytes.
    pub bytes_after: u64,
}

impl Store {
    /// Makes packs cold. Those that are so already, that no image uses any more, or that
    /// somebody wants meanwhile, are passed over. `progress` hears how many bytes more
    /// have been compressed, of the packs' sizes.
    ///
    /// # Errors
    /// When a pack is not what was stored, or the disk has no room for the compressed one
    /// beside it: those before it are cold then, it and those after it are not.
    pub fn freeze(&self, packs: &[PackId], progress: &mut dyn FnMut(u64)) -> Result<Frozen> {
        let mut frozen = Frozen::default();
        for id in packs {
            if let Some((before, after)) = self.freeze_one(id, progress)? {
                frozen.packs += 1;
                frozen.bytes_before += before;
                frozen.bytes_after += after;
            }
        }
        Ok(frozen)
    }

    /// The disk space before and after; nothing if the pack was passed over.
    fn freeze_one(&self, id: &PackId, progress: &mut dyn FnMut(u64)) -> Result<Option<(u64, u64)>> {
        let layout = &self.layout;
        let (raw, cold) = (layout.pack(id), layout.cold_pack(id));
        let beside_builds = lock::add(layout)?;
        let Some(info) = self.rows().pack(id)? else { return Ok(None) };
        if tier::is_cold(layout, id)? {
            if tier::check_raw(layout, &info).is_err() {
                return Ok(None);
            }
            // Both are there: somebody was cut off. The raw one is known to be whole.
            thaw::bring_back(layout, &info, lock::PATIENCE)?;
        }
        tier::check_raw(layout, &info)?;
        // Without the manifests it cannot be told which pages may be missing.
        let users = self.rows().users(id)?;
        let Some(used) = InUse::new(self).of(id, &users) else { return Ok(None) };
        let temporary = layout.temporary();
        let dir = tempfile::Builder::new().prefix("freeze-").tempdir_in(&temporary);
        let dir = dir.doing("create a directory in", &temporary)?;
        access::make_private(dir.path()).doing("create", dir.path())?;
        let packed = dir.path().join("pack");
        compress(&PackFile::open(&raw)?, &info, &used, &packed, progress)?;
        fault::point("freeze-compressed");
        let mark = |path: &Path| path.symlink_metadata().map(|found| (found.dev(), found.ino()));
        let ours = mark(&packed).doing("read", &packed)?;
        // As long as it is open, no other file can have its number.
        let _ours_stays = File::open(&packed).doing("open", &packed)?;
        if !durable::put(&packed, &layout.packs(), &cold)? {
            return Ok(None); // somebody else was quicker
        }
        fault::point("freeze-cold-put");
        drop(beside_builds);

        for _ in 0..ROUNDS {
            let _alone = lock::alter(layout, lock::PATIENCE)?;
            if !mark(&cold).is_ok_and(|there| there == ours) {
                return Ok(None);
            }
            if lock::outlast_runs(layout, PATIENCE)? {
                let size = |path: &Path| remove::disk_bytes(path).doing("read", path);
                let sizes = (size(&raw)?, size(&cold)?);
                durable::remove(&raw, &layout.packs())?;
                fault::point("freeze-raw-removed");
                return Ok(Some(sizes));
            }
            drop(_alone);
            thread::sleep(PAUSE);
        }
        // A run is stopped that may yet map the raw file.
        let _beside = lock::add(layout)?;
        thaw::bring_back(layout, &info, lock::PATIENCE)?;
        Ok(None)
    }
}

/// Writes a pack, compressed, to a new file and makes that durable.
fn compress(
    pack: &PackFile,
    info: &PackInfo,
    used: &Slots,
    to: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let hashes = pack.hashes(&info.id)?;
    let parts = parts_of(pack);
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.min(MOST_THREADS).min(parts.len());
    let mut packers = (0..threads)
        .map(|_| Packer::new())
        .collect::<std::io::Result<Vec<_>>>()
        .doing("compress", pack.path())?;
    let (mut file, mut table) = (access::private_file(to)?, Table::default());
    // In rounds of one part for each thread: so the order is kept, and memory is bounded.
    for round in parts.chunks(threads) {
        let packed = thread::scope(|scope| {
            let hashes = &hashes;
            let parts: Vec<_> = round
                .iter()
                .zip(&mut packers)
                .map(|(part, packer)| {
                    scope.spawn(|| compress_part(pack, part, hashes, used, packer))
                })
                .collect();
            let join = |part: thread::ScopedJoinHandle<'_, Result<Vec<u8>>>| {
                part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            parts.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        for (part, packed) in round.iter().zip(packed) {
            durable::append(&mut file, to, &packed, info.bytes)?;
            table.add(packed.len(), (part.end - part.start) as usize);
            progress(part.end - part.start);
        }
    }
    durable::append(&mut file, to, &table.to_bytes(), info.bytes)?;
    durable::sync_written(&file, to, info.bytes)
}

/// The parts that a pack is compressed in: its header, its pages, its page hashes, its
/// anchors. So each of the tables can be had without pages.
fn parts_of(pack: &PackFile) -> Vec<Range<u64>> {
    let (pages, size) = (pack.pages(), pack.size());
    let tables = tables_of(pages);
    let sections = [
        0..offset_of(0),
        offset_of(0)..tables,
        tables..tables + 32 * pages,
        tables + 32 * pages..size,
    ];
    let cut = |section: Range<u64>| {
        let end = section.end;
        section.step_by(FRAME).map(move |at| at..end.min(at + FRAME as u64))
    };
    sections.into_iter().flat_map(cut).collect()
}

fn compress_part(
    pack: &PackFile,
    part: &Range<u64>,
    hashes: &[PageHash],
    used: &Slots,
    packer: &mut Packer,
) -> Result<Vec<u8>> {
    let bytes = pack.read(part.start, part.end - part.start)?;
    if (offset_of(0)..tables_of(pack.pages())).contains(&part.start) {
        let first = part.start as usize / PAGE - 1;
        check_pages(&bytes, first, hashes, |slot| !used.has(slot)).map_err(|()| {
            pack::damaged(pack.path(), "pages are not what they were").hint(VERIFY)
        })?;
    }
    packer.pack(&bytes).doing("compress", pack.path())
}

/// What to do about damaged pages.
pub(super) const VERIFY: &str = "`pyimg verify --read-data` says which images that concerns";

/// Compares pages, from the slot `first` on, with the hashes of all. One of zeroes may stand
/// for one that was dropped, in the slots where that may be.
pub(super) fn check_pages(
    bytes: &[u8],
    first: usize,
    hashes: &[PageHash],
    may_be_dropped: impl Fn(u64) -> bool,
) -> Result<(), ()> {
    let is_right = |(slot, page): (usize, &[u8])| {
        let found = pages::hash_one(page);
        hashes.get(slot) == Some(&found)
            || (found == pages::zero_hash() && may_be_dropped(slot as u64))
    };
    match (first..).zip(bytes.chunks_exact(PAGE)).all(is_right) {
        true => Ok(()),
        false => Err(()),
    }
}
