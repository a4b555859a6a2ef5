//! Out of mapping form: a dump of a process that was restored from packs, as if it had
//! not been.
//!
//! An image that grows was restored in mapping form ([`super::mapping`]), so its new dump
//! has hundreds of private mappings of packs, and pages only where one was written to.
//! Here each becomes private anonymous memory again, with the pack's pages behind those
//! that were dumped, and regions that only the mappings had cut up become one. What
//! follows (hazards, rewriting, storing) then need not know that there was a parent.
//!
//! Shared objects that had been taken into packs stay anonymous memory: which files they
//! were is the business of the parent's evidence. Where packs are and how they are read is
//! the caller's.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::image::PAGE_SIZE;
use crate::image::dump::Dump;
use crate::image::file::Malformed;
use crate::image::hazards::status;
use crate::image::mapping::{anonymous_piece, clip};
use crate::image::message::Vma;

/// Says which pack a mapped file is, if it is one.
pub type PackOf<'a> = dyn Fn(&str) -> Option<usize> + 'a;
/// Reads bytes of a pack at an offset: all that are asked for.
pub type ReadPack<'a, E> = dyn FnMut(usize, u64, &mut [u8]) -> Result<(), E> + 'a;

/// Takes a dump out of mapping form, in place; returns what had been mapped from packs, in
/// order. Holds all pages of the process once, and those that were dumped twice.
///
/// # Errors
/// When the dump contradicts itself or a pack cannot be read.
pub fn unmap<E: From<Malformed>>(
    dump: &mut Dump,
    pack_of: &PackOf<'_>,
    read: &mut ReadPack<'_, E>,
) -> Result<Vec<Range<u64>>, E> {
    let runs = dump.pagemap.runs()?;
    let packs: BTreeMap<u64, usize> = dump
        .files
        .entries
        .iter()
        .filter_map(|file| Some((file.id().into(), pack_of(file.reg.as_ref()?.name())?)))
        .collect();
    let pack = |vma: &Vma| {
        let private = vma.status() & status::FILE_PRIVATE != 0;
        packs.get(&vma.shmid()).copied().filter(|_| private)
    };

    let vmas = std::mem::take(&mut dump.memory_mut().vmas);
    let from_packs = vmas.iter().filter(|vma| pack(vma).is_some());
    let bytes = from_packs.map(|vma| vma.end().saturating_sub(vma.start())).sum::<u64>();
    let mut memory = Memory {
        pages: Vec::with_capacity(bytes as usize + dump.pages.len()),
        runs: Vec::new(),
        vmas: Vec::new(),
    };
    let mut mapped = Vec::new();
    let heap = dump.memory().mm_start_brk()..dump.memory().mm_brk();
    for vma in vmas {
        let dumped = clip(&runs, vma.start(), vma.end());
        let Some(pack) = pack(&vma) else {
            dumped.iter().for_each(|run| memory.add_run(run.address, dump.bytes_of(*run)));
            memory.add_region(vma);
            continue;
        };
        if vma.start() >= vma.end() || !(vma.start() | vma.end()).is_multiple_of(PAGE_SIZE) {
            return Err(Malformed::new(format!("a bad region at {:#x}", vma.start())).into());
        }
        let place = memory.add_pages(vma.start(), (vma.end() - vma.start()) as usize);
        read(pack, vma.pgoff(), place)?;
        for run in dumped {
            let at = (run.address - vma.start()) as usize;
            let bytes = dump.bytes_of(run);
            place[at..at + bytes.len()].copy_from_slice(bytes);
        }
        mapped.push(vma.start()..vma.end());
        let mut region = anonymous_piece(&vma, vma.start(), vma.end());
        // The kernel calls no mapping of a file a part of the heap (its `fs/proc`).
        if vma.start() < heap.end && vma.end() > heap.start {
            region.set_status(region.status() | status::HEAP);
        }
        memory.add_region(region);
    }
    dump.files.entries.retain(|file| !packs.contains_key(&file.id().into()));
    dump.pagemap.set_runs(memory.runs);
    dump.pages = memory.pages;
    dump.memory_mut().vmas = memory.vmas;
    Ok(mapped)
}

/// The memory of a process that is put together.
struct Memory {
    pages: Vec<u8>,
    /// Addresses and lengths in pages.
    runs: Vec<(u64, u64)>,
    vmas: Vec<Vma>,
}

impl Memory {
    /// Room for the pages from this address on.
    fn add_pages(&mut self, address: u64, bytes: usize) -> &mut [u8] {
        let start = self.pages.len();
        let pages = bytes as u64 / PAGE_SIZE;
        self.pages.resize(start + bytes, 0);
        match self.runs.last_mut() {
            Some((last, length)) if *last + *length * PAGE_SIZE == address => *length += pages,
            _ => self.runs.push((address, pages)),
        }
        &mut self.pages[start..]
    }

    fn add_run(&mut self, address: u64, bytes: &[u8]) {
        self.add_pages(address, bytes.len()).copy_from_slice(bytes);
    }

    /// Adds a region, as a part of the one before it if it is the same kind of memory.
    fn add_region(&mut self, vma: Vma) {
        match self.vmas.last_mut() {
            Some(last) if last.end() == vma.start() && is_plain(last) && alike(last, &vma) => {
                last.set_end(vma.end());
            }
            _ => self.vmas.push(vma),
        }
    }
}

/// Private anonymous memory without anything special about it, but that it may be the heap.
fn is_plain(vma: &Vma) -> bool {
    vma.status() & !status::HEAP == status::REGULAR | status::ANON_PRIVATE
}

fn alike(one: &Vma, other: &Vma) -> bool {
    one.status() == other.status()
        && one.flags() == other.flags()
        && one.prot() == other.prot()
        && one.madv() == other.madv()
        && one.fdflags() == other.fdflags()
}

#[cfg(test)]
mod tests;
