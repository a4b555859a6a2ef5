//! Which pages of an image are in the store already.
//!
//! The rule: pages that lie in a pack in the same order are used in place, in
//! stretches of at least [`SHORT`] pages, as long as the image has no more than
//! one piece per [`LONG`] pages, or [`FEW`] pieces; stretches of [`LONG`] pages
//! are always used, and so is one that makes up all that is left of its run, for
//! it costs no further piece. All else is stored again, knowingly: each piece
//! costs 1.5 to 2 us at every restore, and pieces of 64 / 16 / 4 / 1 pages
//! restore in 7.4 / 7.8 / 11.2 / 29 ms. Of a pack that the image does not use yet,
//! and of what it has itself brought new, only long stretches are used.
//!
//! So not every page needs to be found: the first page of each run that was
//! stored, and every fourth after it, is an anchor (or the next one there that
//! is not zeroes). Wherever four such pages lie in a row in a pack, one of them is an
//! anchor. This makes the table to search small enough to live in the packs and
//! be read anew for each build.
//!
//! Zeroes: 16 pages of them in a row, or a run that holds nothing else, are not
//! stored at all. Fewer are in the pack.
//!
//! Pure: hashes in, pieces out. Reading packs is the caller's, through a
//! function.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use super::ids::PageHash;
use super::pages;

/// From this many pages on, a stretch is always worth a piece of its own.
pub(super) const LONG: usize = 16;

/// From this many pages on, it is if the image has few pieces; also the distance
/// of anchors.
pub(super) const SHORT: usize = 4;

/// So many pieces (about half a millisecond) are few in any image.
const FEW: usize = 256;

/// A page that lies in more places than this is looked for in the newest only.
const MOST_PLACES: usize = 16;

/// New pages are committed to slots once so many wait, so that later pages of
/// the same run can be found equal to them.
const MOST_WAITING: usize = 512;

/// What becomes of some consecutive pages of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// They are zeroes, and not stored.
    Zero { pages: usize },
    /// They lie in a pack, from this slot on; `None` is the new pack.
    Known { pack: Option<usize>, slot: u32, pages: usize },
    /// They are to be written to the new pack, from this slot on.
    New { slot: u32, pages: usize },
}

/// What a stretch of a pack was found to be, compared with the pages themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// What its hashes say.
    Same,
    /// The pages in these slots, of which there is at least one, were dropped.
    Without(Vec<u32>),
    /// Something else, or it cannot be read: nothing more is taken from that pack.
    Unusable,
}

/// A pack that may be used.
#[derive(Debug)]
struct Pack {
    hashes: Hashes,
    /// Whether the image uses it, and so opens it anyway.
    used: bool,
}

/// The hashes of one pack.
#[derive(Debug)]
enum Hashes {
    /// Not read yet.
    Unread,
    /// All of them, by slot.
    Read(Vec<PageHash>),
    /// They could not be read, so nothing of the pack is used.
    Unusable,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    pack: u32,
    slot: u32,
    /// The place that was known before for the same prefix, or `u32::MAX`.
    next: u32,
}

/// The prefixes are hashes already.
#[derive(Debug, Default)]
struct Prefix(u64);

impl Hasher for Prefix {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u64(&mut self, prefix: u64) {
        self.0 = prefix;
    }
}

/// All pages that can be found, and the new ones.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By pack number, in the order they were added.
    packs: Vec<Pack>,
    places: Vec<Place>,
    newest: HashMap<u64, u32, BuildHasherDefault<Prefix>>,
    /// The new pack.
    new: Vec<PageHash>,
    new_anchors: Vec<u32>,
    /// How much of the image has been decided upon.
    pages: usize,
    pieces: usize,
}

/// The number that stands for the new pack among the places.
const NEW: u32 = u32::MAX;

impl Known {
    /// Adds a pack by its anchors (slot, prefix); its number is how many were
    /// added before.
    pub fn add_pack(&mut self, anchors: &[(u32, u64)]) {
        let pack = self.packs.len() as u32;
        self.packs.push(Pack { hashes: Hashes::Unread, used: false });
        self.newest.reserve(anchors.len());
        anchors.iter().for_each(|(slot, prefix)| self.add_place(*prefix, pack, *slot));
    }

    fn add_place(&mut self, prefix: u64, pack: u32, slot: u32) {
        let this = self.places.len() as u32;
        let next = self.newest.insert(prefix, this).unwrap_or(u32::MAX);
        self.places.push(Place { pack, slot, next });
    }

    /// The new pack's hashes and anchors.
    pub fn new_pack(&self) -> (&[PageHash], &[u32]) {
        (&self.new, &self.new_anchors)
    }

    /// Decides about one run of consecutive pages. `read` gives the hashes of a
    /// pack by number, and is asked once per pack that may be used; `look` is asked
    /// about each stretch that is to be used in place: which pack, from which slot on, and
    /// which part of the run.
    pub fn place(
        &mut self,
        run: &[PageHash],
        mut read: impl FnMut(usize) -> Option<Vec<PageHash>>,
        mut look: impl FnMut(usize, u32, Range<usize>) -> Look,
    ) -> Vec<Piece> {
        let zero = pages::zero_hash();
        let mut pieces = Vec::new();
        // Pages from `waiting` to `at` are new, as far as is known yet.
        let (mut waiting, mut at) = (0, 0);
        while at < run.len() {
            let zeroes = run[at..].iter().take_while(|hash| **hash == zero).count();
            if zeroes >= LONG || zeroes == run.len() {
                self.store(&run[waiting..at], &mut pieces);
                pieces.push(Piece::Zero { pages: zeroes });
                at += zeroes;
                waiting = at;
                continue;
            }
            if zeroes == 0
                && let Some((found, piece)) = self.longest(run, waiting, at, &mut read)
                && self.is_worth(found.len(), found == (waiting..run.len()), at, &pieces, &piece)
            {
                if let Piece::Known { pack: Some(pack), slot, .. } = piece
                    && !self.holds(pack, look(pack, slot, found.clone()))
                {
                    continue; // what is left of what is known may still do
                }
                self.store(&run[waiting..found.start], &mut pieces);
                self.use_pack(&piece);
                pieces.push(piece);
                at = found.end;
                waiting = at;
                continue;
            }
            at += zeroes.max(1);
            if at - waiting >= MOST_WAITING {
                // The last ones may yet turn out to begin a known stretch.
                let sure = at - LONG;
                self.store(&run[waiting..sure], &mut pieces);
                waiting = sure;
            }
        }
        self.store(&run[waiting..], &mut pieces);
        self.pages += run.len();
        self.pieces += pieces.len();
        pieces
    }

    /// Whether a pack holds what its hashes say; what it does not is forgotten.
    fn holds(&mut self, pack: usize, look: Look) -> bool {
        match look {
            Look::Same => return true,
            Look::Without(slots) => {
                if let Hashes::Read(hashes) = &mut self.packs[pack].hashes {
                    // Nothing looks for zeroes there.
                    slots.iter().for_each(|slot| hashes[*slot as usize] = pages::zero_hash());
                }
            }
            Look::Unusable => self.packs[pack].hashes = Hashes::Unusable,
        }
        false
    }

    /// Whether to use a known stretch in place. `is_rest`: it is all that is left
    /// of its run; `pages`: those of the run before it; `pieces`: so far.
    fn is_worth(
        &self,
        stretch: usize,
        is_rest: bool,
        pages: usize,
        pieces: &[Piece],
        piece: &Piece,
    ) -> bool {
        if let Piece::Known { pack, .. } = piece
            // Another file to open, or tables that repeat a few pages all along.
            && pack.is_none_or(|pack| !self.packs[pack].used)
        {
            return stretch >= LONG;
        }
        // It splits what is around it: one piece for itself, one for what follows.
        let all = self.pieces + pieces.len() + 2;
        let few = all <= FEW || all * LONG <= self.pages + pages;
        is_rest || stretch >= LONG || (stretch >= SHORT && few)
    }

    fn use_pack(&mut self, piece: &Piece) {
        if let Piece::Known { pack: Some(pack), .. } = piece {
            self.packs[*pack].used = true;
        }
    }

    /// Gives new pages their slots.
    fn store(&mut self, run: &[PageHash], pieces: &mut Vec<Piece>) {
        if run.is_empty() {
            return;
        }
        let zero = pages::zero_hash();
        let first = self.new.len() as u32;
        self.new.extend_from_slice(run);
        for (slot, stretch) in (first..).step_by(SHORT).zip(run.chunks(SHORT)) {
            // Zeroes are everywhere, and never the reason to look at a pack.
            if let Some(skip) = stretch.iter().position(|hash| *hash != zero) {
                let slot = slot + skip as u32;
                self.new_anchors.push(slot);
                self.add_place(stretch[skip].prefix(), NEW, slot);
            }
        }
        pieces.push(Piece::New { slot: first, pages: run.len() });
    }

    /// The longest known stretch through page `at` of the run that begins at
    /// `from` or later: where it lies in the run, and where in the store.
    fn longest(
        &mut self,
        run: &[PageHash],
        from: usize,
        at: usize,
        read: &mut impl FnMut(usize) -> Option<Vec<PageHash>>,
    ) -> Option<(Range<usize>, Piece)> {
        let mut best: Option<(Range<usize>, Place)> = None;
        let mut next = *self.newest.get(&run[at].prefix())?;
        for _ in 0..MOST_PLACES {
            let Some(&place) = self.places.get(next as usize) else { break };
            next = place.next;
            let hashes = match place.pack {
                NEW => &self.new,
                pack => hashes_of(&mut self.packs, pack as usize, read),
            };
            let slot = place.slot as usize;
            if hashes.get(slot) != Some(&run[at]) {
                continue;
            }
            let same = |(a, b): &(&PageHash, &PageHash)| a == b;
            let after = run[at..].iter().zip(&hashes[slot..]).take_while(same).count();
            let (before_run, before) = (run[from..at].iter().rev(), hashes[..slot].iter().rev());
            let before = before_run.zip(before).take_while(same).count();
            let found = at - before..at + after;
            if best.as_ref().is_none_or(|(best, _)| found.len() > best.len()) {
                best = Some((found, Place { slot: (slot - before) as u32, ..place }));
            }
        }
        best.map(|(found, place)| {
            let pages = found.len();
            let pack = (place.pack != NEW).then_some(place.pack as usize);
            (found, Piece::Known { pack, slot: place.slot, pages })
        })
    }
}

fn hashes_of<'a>(
    packs: &'a mut [Pack],
    number: usize,
    read: &mut impl FnMut(usize) -> Option<Vec<PageHash>>,
) -> &'a [PageHash] {
    let pack = &mut packs[number].hashes;
    if let Hashes::Unread = pack {
        *pack = read(number).map_or(Hashes::Unusable, Hashes::Read);
    }
    match pack {
        Hashes::Read(hashes) => hashes,
        Hashes::Unread | Hashes::Unusable => &[],
    }
}

#[cfg(test)]
mod tests;
