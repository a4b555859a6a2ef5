//! Is a pack what was written? Its header, its tables, and each of its pages.
//!
//! However big a pack is, little of it is in memory: tables are read in pieces, and pages
//! by as many threads as there are processors, a piece each.

use std::num::NonZero;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::super::ids::{PackId, PageHash};
use super::super::pack::{self, PackFile, offset_of, tables_of};
use super::super::pages::{self, PAGE};
use super::super::slots::Slots;

/// Pages that are read and hashed at a time by each thread.
const PIECE: u64 = 256;

/// Hashes that are read at a time: 1 MiB of them.
const HASHES: u64 = 1 << 15;

/// What is wrong with the header and the tables, if anything.
pub(in super::super) fn check_tables(pack: &PackFile, id: &PackId) -> Option<String> {
    let checked = || -> Result<(), String> {
        let read = |bytes: &mut [u8], offset| {
            pack.read_at(bytes, offset).map_err(|error| format!("it cannot be read: {error}"))
        };
        let mut rest = [0; PAGE - 32];
        read(&mut rest, 32)?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err("there is something behind its header".into());
        }
        let (pages, count) = (pack.pages(), pack.anchor_count());
        let anchors_at = tables_of(pages) + pages * 32;
        let mut anchors = vec![0; count as usize * 12];
        read(&mut anchors, anchors_at)?;
        let (slots, prefixes) = anchors.split_at(count as usize * 4);
        let prefixes = prefixes.as_chunks::<8>().0;
        let mut expected = slots.as_chunks::<4>().0.iter().zip(prefixes).peekable();
        let mut hasher = pack::id_hasher();
        let mut matches = true;
        let mut bytes = Vec::new();
        for first in (0..pages).step_by(HASHES as usize) {
            let here = first..pages.min(first + HASHES);
            bytes.resize((here.end - here.start) as usize * 32, 0);
            read(&mut bytes, tables_of(pages) + first * 32)?;
            hasher.update(&bytes);
            let hashes = bytes.as_chunks::<32>().0;
            while let Some((slot, prefix)) = expected.peek() {
                let slot = u64::from(u32::from_le_bytes(**slot));
                if !here.contains(&slot) {
                    break;
                }
                matches &= hashes[(slot - first) as usize][..8] == prefix[..];
                expected.next();
            }
        }
        // Slots that do not ascend, or lie beyond the last page, are left.
        let anchors_fit = matches && expected.next().is_none();
        hasher.update(slots);
        if PackId::from(hasher.finalize()) != *id {
            return Err("its tables are not those that its name stands for".into());
        }
        anchors_fit.then_some(()).ok_or_else(|| "its anchors are not those of its pages".into())
    };
    checked().err()
}

/// The slots whose pages are not what was written, ascending. A page of zeroes may stand
/// for one that no image uses. `read` is told how many bytes more have been read.
pub(in super::super) fn check_pages(
    pack: &PackFile,
    used: &Slots,
    read: &(dyn Fn(u64) + Sync),
) -> Vec<u64> {
    let pieces = pack.pages().div_ceil(PIECE);
    let (next, damaged) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || {
        let mut found = Vec::new();
        let (mut bytes, mut hashes) = (vec![0; PIECE as usize * PAGE], Vec::new());
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= pieces {
                break;
            }
            let slots = piece * PIECE..pack.pages().min((piece + 1) * PIECE);
            check_piece(pack, used, slots.clone(), &mut bytes, &mut hashes, &mut found);
            read((slots.end - slots.start) * PAGE as u64);
        }
        damaged.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).extend(found);
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(pieces as usize);
    thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let mut damaged = damaged.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    damaged.sort_unstable();
    damaged
}

fn check_piece(
    pack: &PackFile,
    used: &Slots,
    slots: Range<u64>,
    bytes: &mut [u8],
    hashes: &mut Vec<u8>,
    damaged: &mut Vec<u64>,
) {
    let count = (slots.end - slots.start) as usize;
    let bytes = &mut bytes[..count * PAGE];
    hashes.resize(count * 32, 0);
    // What the disk does not give back is damage too. Where it starts and ends the system
    // does not say: each page by itself does.
    let whole = pack.read_at(bytes, offset_of(slots.start)).is_ok();
    // A part that cannot be decompressed holds whole pieces: to ask page by page would
    // decompress it again for each.
    let all_lost = !whole && pack.cold().is_some();
    if all_lost || pack.read_at(hashes, tables_of(pack.pages()) + slots.start * 32).is_err() {
        damaged.extend(slots);
        return;
    }
    for ((slot, page), hash) in slots.zip(bytes.chunks_exact_mut(PAGE)).zip(hashes.as_chunks().0) {
        if !whole && pack.read_at(page, offset_of(slot)).is_err() {
            damaged.push(slot);
            continue;
        }
        let found = pages::hash_one(page);
        let dropped = found == pages::zero_hash() && !used.has(slot);
        if found != PageHash::new(*hash) && !dropped {
            damaged.push(slot);
        }
    }
}
