//! Bringing cold packs back, for a run or for a build that wants their pages.
//!
//! Who comes first does it for all: it locks the compressed file, writes the raw one
//! elsewhere, gives it its name when it is whole and durable, and removes the compressed
//! one; those who waited for the lock find that there is nothing to do. What is brought back
//! is the very file that was compressed, down to its time of writing, each page compared
//! with its hash, and holes are holes again.

use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::failure::Doing;
use super::freeze::{VERIFY, check_pages};
use super::ids::PageHash;
use super::layout::Layout;
use super::pack::{self, PackFile, PackInfo, tables_of};
use super::pages::PAGE;
use super::seekable::{Frame, Seekable, Unpacker};
use super::{Files, access, durable, fault, lock, tier};
use crate::error::Result;

/// Processors that decompress at once, each with some 6 MiB of memory.
const MOST_THREADS: usize = 4;

impl Files {
    /// Brings those of these packs back that are cold; nothing if none is. Others who are
    /// changing the store, or bringing the same pack back, are waited for so long.
    ///
    /// # Errors
    /// When they take longer, when the store cannot be written, or when a compressed pack is
    /// damaged: in any case it is as cold as before.
    pub fn thaw(&self, packs: &[PackInfo], patience: Duration) -> Result<()> {
        if self.tier(packs) == tier::Tier::Raw {
            return Ok(());
        }
        let end = Instant::now() + patience;
        let _beside_removals = lock::add_within(&self.layout, patience)?;
        packs.iter().try_for_each(|info| {
            bring_back(&self.layout, info, end.saturating_duration_since(Instant::now()))
        })
    }
}

/// Brings one pack back if it is cold. The caller holds the change lock, shared.
pub(super) fn bring_back(layout: &Layout, info: &PackInfo, patience: Duration) -> Result<()> {
    let (raw, cold) = (layout.pack(&info.id), layout.cold_pack(&info.id));
    if !tier::is_cold(layout, &info.id)? {
        return tier::check_raw(layout, info);
    }
    let Some(held) = lock::cold_pack(&cold, patience)? else {
        // Somebody has brought it back while we waited.
        return tier::check_raw(layout, info);
    };
    // If the raw file is whole, somebody was cut off before its compressed one was removed,
    // or before the raw one was.
    if tier::check_raw(layout, info).is_err() {
        let temporary = layout.temporary();
        let dir = tempfile::Builder::new().prefix("thaw-").tempdir_in(&temporary);
        let dir = dir.doing("create a directory in", &temporary)?;
        access::make_private(dir.path()).doing("create", dir.path())?;
        let pack = PackFile::of_cold(held.file().doing("open", &cold)?, &cold);
        let pack = pack.doing("read", &cold)?.map_err(|reason| pack::damaged(&cold, &reason))?;
        let unpacked = dir.path().join("pack");
        decompress(&pack, info, &unpacked)?;
        fault::point("thaw-decompressed");
        durable::replace(&unpacked, info.modified_ns, &layout.packs(), &raw)?;
        fault::point("thaw-raw-put");
    }
    durable::remove(&cold, &layout.packs())?;
    fault::point("thaw-cold-removed");
    Ok(())
}

/// Writes the raw pack to a new file, which is not durable yet.
fn decompress(pack: &PackFile, info: &PackInfo, to: &Path) -> Result<()> {
    // Known to be as long as was recorded before anything is written.
    let Some(cold) = pack.cold().filter(|_| pack.is(info)) else {
        return Err(pack::damaged(pack.path(), "it is another pack than was stored"));
    };
    let hashes = pack.hashes(&info.id)?;
    let tables = tables_of(info.pages);
    let out = Out { pack, cold, hashes: &hashes, tables, needed: info.bytes, path: to };
    let file = durable::create_sparse(to, info.bytes)?;
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        let mut unpacker = Unpacker::new().doing("decompress", pack.path())?;
        let mut raw = Vec::new();
        while let Some(frame) = cold.frames().get(next.fetch_add(1, Ordering::Relaxed)) {
            out.write(&file, frame, &mut unpacker, &mut raw)?;
        }
        Ok(())
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.min(MOST_THREADS).min(cold.frames().len());
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done = done.and(other);
        }
        done
    })
}

/// The pack that is being decompressed, and where to.
struct Out<'a> {
    pack: &'a PackFile,
    cold: &'a Seekable,
    hashes: &'a [PageHash],
    /// Where the pages end.
    tables: u64,
    needed: u64,
    path: &'a Path,
}

impl Out<'_> {
    /// Writes what a frame holds to its place.
    fn write(
        &self,
        file: &std::fs::File,
        frame: &Frame,
        unpacker: &mut Unpacker,
        raw: &mut Vec<u8>,
    ) -> Result<()> {
        let damaged = |reason: &str| Err(pack::damaged(self.pack.path(), reason).hint(VERIFY));
        match self.cold.unpack(unpacker, frame, raw) {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return damaged(&error.to_string());
            }
            unpacked => unpacked.doing("read", self.pack.path())?,
        }
        let (start, end) = (frame.raw_at, frame.raw_at + u64::from(frame.raw_length));
        if start < self.tables {
            let page = PAGE as u64;
            if !start.is_multiple_of(page) || !end.is_multiple_of(page) || end > self.tables {
                return damaged("its parts are not whole pages");
            }
            // The first page of the file is its header.
            let header = if start == 0 { PAGE } else { 0 };
            let first = (start as usize + header) / PAGE - 1;
            // What was compressed was compared with what images use, and has a checksum.
            if check_pages(&raw[header..], first, self.hashes, |_| true).is_err() {
                return damaged("pages are not what they were");
            }
        }
        durable::write_sparse(file, self.path, raw, start, self.needed)
    }
}
