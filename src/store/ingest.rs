//! Storing an image, first half: its pages.
//!
//! Everything is written below the store's `tmp` and removed again unless it is
//! committed, which is the second half: see [`super::commit`].

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::dedup::{Known, Look, Piece};
use super::failure::Doing;
use super::ids::PageHash;
use super::lock::{self, Lock};
use super::manifest::{Extent, Source};
use super::pack::{MAX_PAGES, PackFile, PackInfo, PackWriter, offset_of};
use super::pages::{self, PAGE};
use super::{Sealed, Store, access, remove, thaw};
use crate::error::{Error, Result};

/// Bytes that are read at a time to be compared; they stay in the processor's cache.
const COMPARED: usize = 64 * PAGE;

/// An image that is being stored: first all its pages, then [`Ingest::seal`].
///
/// While it lives nothing is removed from the store, so it should not live
/// while a program runs.
pub struct Ingest<'s> {
    store: &'s Store,
    dir: TempDir, // goes before the lock
    lock: Lock,
    expected: u64,
    /// The packs in the store that may be used, by their number in `known`.
    packs: Vec<PackInfo>,
    known: Known,
    /// Those that pages were compared with, raw; none if that was not possible.
    warm: HashMap<usize, Option<PackFile>>,
    writer: Option<PackWriter>,
    /// The packs that are used: those that the extents count. `None` is the new one.
    used: Vec<Option<usize>>,
    extents: Vec<Extent>,
}

impl Store {
    /// Begins to store an image of about so many bytes of pages; the number is
    /// only used to say what was needed if the disk is full.
    ///
    /// Waits for removals to end, at most ten seconds.
    pub fn begin(&self, expected_bytes: u64) -> Result<Ingest<'_>> {
        let layout = &self.layout;
        // Nobody else is storing: what lies in tmp was left by a crash.
        if let Ok(_alone) = lock::alter(layout, Duration::ZERO) {
            remove::clear_temporary(layout);
        }
        let lock = lock::add(layout)?;
        let temporary = layout.temporary();
        let dir = tempfile::Builder::new().prefix("build-").tempdir_in(&temporary);
        let dir = dir.doing("create a directory in", &temporary)?;
        access::make_private(dir.path()).doing("create", dir.path())?;
        let mut ingest = Ingest {
            store: self,
            lock,
            dir,
            expected: expected_bytes,
            packs: Vec::new(),
            known: Known::default(),
            warm: HashMap::new(),
            writer: None,
            used: Vec::new(),
            extents: Vec::new(),
        };
        for info in self.rows().packs()? {
            // One that cannot be read or was changed is no reason not to store
            // an image, only not to build upon it.
            let Ok(pack) = self.open_pack(&info.id) else { continue };
            if pack.is(&info)
                && let Ok(anchors) = pack.anchors()
            {
                ingest.known.add_pack(&anchors);
                ingest.packs.push(info);
            }
        }
        Ok(ingest)
    }
}

impl Ingest<'_> {
    /// Stores consecutive pages that stand at `address` in memory, and tells
    /// where they are now. Both the address and the length are multiples of 4096.
    /// Packs are counted as [`Sealed::packs`] lists them.
    pub fn add_run(&mut self, address: u64, bytes: &[u8]) -> Result<Vec<Extent>> {
        if !bytes.len().is_multiple_of(PAGE) || !address.is_multiple_of(PAGE as u64) {
            return Err(Error::failed(format!(
                "{} bytes at address {address:#x} are not whole pages",
                bytes.len()
            )));
        }
        let hashes = pages::hash(bytes);
        if (self.known.new_pack().0.len() + hashes.len()) as u64 > MAX_PAGES {
            return Err(Error::failed(format!("the image has more than {MAX_PAGES} new pages")));
        }
        let (packs, store, warm) = (&self.packs, self.store, &mut self.warm);
        let read = |number: usize| {
            let id = &packs[number].id;
            store.open_pack(id).and_then(|pack| pack.hashes(id)).ok()
        };
        let look = |number: usize, slot, part: Range<usize>| {
            let opened = warm.entry(number).or_insert_with(|| warm_up(store, &packs[number]).ok());
            let wanted = &bytes[part.start * PAGE..part.end * PAGE];
            opened.as_ref().map_or(Look::Unusable, |pack| compare(pack, slot, wanted))
        };
        let pieces = self.known.place(&hashes, read, look);
        let first = self.extents.len();
        let mut done = 0;
        for piece in pieces {
            let (pack, slot, pages) = match piece {
                Piece::Zero { pages } => (None, 0, pages),
                Piece::Known { pack, slot, pages } => (Some(self.number(pack)), slot, pages),
                Piece::New { slot, pages } => {
                    let here = done..done + pages;
                    self.write(
                        slot,
                        &hashes[here.clone()],
                        &bytes[here.start * PAGE..here.end * PAGE],
                    )?;
                    (Some(self.number(None)), slot, pages)
                }
            };
            let source = match pack {
                None => Source::Zero,
                Some(pack) => Source::Pack { pack, first_page: slot.into() },
            };
            let address = address + (done * PAGE) as u64;
            self.add_extent(first, Extent { address, pages: pages as u64, source });
            done += pages;
        }
        Ok(self.extents[first..].to_vec())
    }

    /// Adds an extent of the run whose extents begin at `first`; two that follow
    /// each other in memory and in the pack become one.
    fn add_extent(&mut self, first: usize, next: Extent) {
        if let Some(last) = self.extents[first..].last_mut() {
            let follows = match (last.source, next.source) {
                (Source::Zero, Source::Zero) => true,
                (
                    Source::Pack { pack, first_page },
                    Source::Pack { pack: other, first_page: at },
                ) => pack == other && first_page + last.pages == at,
                _ => false,
            };
            if follows {
                last.pages += next.pages;
                return;
            }
        }
        self.extents.push(next);
    }

    /// Takes nothing from any pack, as if all of them were unusable.
    #[cfg(test)]
    pub(super) fn forget_packs(&mut self) {
        self.known = Known::default();
        self.packs.clear();
        self.warm.clear();
    }

    /// The number under which extents know a pack.
    fn number(&mut self, pack: Option<usize>) -> u32 {
        let known = self.used.iter().position(|used| *used == pack);
        let number = known.unwrap_or_else(|| {
            self.used.push(pack);
            self.used.len() - 1
        });
        number as u32
    }

    fn write(&mut self, slot: u32, hashes: &[PageHash], bytes: &[u8]) -> Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(PackWriter::create(self.dir.path().join("pack"), self.expected)?),
        };
        writer.write(slot.into(), hashes, bytes)
    }
}

impl<'s> Ingest<'s> {
    /// Ends the pages: now the packs have names and paths. The new pack is
    /// durable, but not in its place yet.
    pub fn seal(self) -> Result<Sealed<'s>> {
        let (hashes, anchors) = self.known.new_pack();
        let mut new_pages = 0;
        let new = match self.writer {
            None => None,
            Some(writer) => {
                new_pages = writer.stored();
                Some(writer.seal(hashes, anchors)?)
            }
        };
        let (new_info, new_path) = new.unzip();
        let info = |used: Option<usize>| match used {
            Some(number) => Some(self.packs[number].clone()),
            None => new_info.clone(),
        };
        let packs = self.used.into_iter().filter_map(info).collect();
        Sealed::new(
            self.store,
            self.lock,
            self.dir,
            self.expected,
            Pages { packs, new: new_info.zip(new_path), new_pages, extents: self.extents },
        )
    }
}

/// The raw file of a pack that is going to be used, brought back if it is cold.
fn warm_up(store: &Store, info: &PackInfo) -> Result<PackFile> {
    thaw::bring_back(&store.layout, info, lock::PATIENCE)?;
    PackFile::open(&store.layout.pack(&info.id))
}

/// Compares pages with what lies in a pack from a slot on. Hashes do not do: pages may have
/// been dropped from it, or have rotted.
fn compare(pack: &PackFile, slot: u32, wanted: &[u8]) -> Look {
    let mut dropped = Vec::new();
    let mut there = vec![0; wanted.len().min(COMPARED)];
    for (number, wanted) in wanted.chunks(COMPARED).enumerate() {
        let there = &mut there[..wanted.len()];
        let first = slot + (number * (COMPARED / PAGE)) as u32;
        if pack.read_at(there, offset_of(first.into())).is_err() {
            return Look::Unusable;
        }
        if there == wanted {
            continue;
        }
        for (slot, (there, wanted)) in (first..).zip(there.chunks(PAGE).zip(wanted.chunks(PAGE))) {
            match there == wanted {
                true => {}
                false if there.iter().all(|byte| *byte == 0) => dropped.push(slot),
                false => return Look::Unusable,
            }
        }
    }
    if dropped.is_empty() { Look::Same } else { Look::Without(dropped) }
}

/// The pages of an image, as sealing leaves them.
pub(super) struct Pages {
    pub packs: Vec<PackInfo>,
    pub new: Option<(PackInfo, PathBuf)>,
    pub new_pages: u64,
    pub extents: Vec<Extent>,
}

impl fmt::Debug for Ingest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ingest({}, {} extents)", self.dir.path().display(), self.extents.len())
    }
}
