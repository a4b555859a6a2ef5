//! Rewritten and taken back, a dump is what it was: the same memory in the same regions.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::image::mapping::{
    PackFile, PageSink, Place, Placed, Summary, Surroundings, name_packs, rewrite,
};
use crate::image::testing::{Region, images};

const PACK: u64 = 1000; // pages that lie in a pack before the first stored one
const OBJECT: &str = "/lib.so";

/// Stores pages in two packs, in pieces of a few pages; those of zeroes nowhere.
struct Pieces {
    packs: [Vec<u8>; 2],
    piece: usize,
}

impl PageSink for Pieces {
    type Error = Malformed;

    fn put(&mut self, address: u64, pages: &[u8]) -> Result<Vec<Placed>, Malformed> {
        let mut placed = Vec::new();
        for (number, piece) in pages.chunks(self.piece * PAGE_SIZE as usize).enumerate() {
            let pack = number % 2;
            let offset = PACK * PAGE_SIZE + self.packs[pack].len() as u64;
            let place = if piece.iter().all(|byte| *byte == 0) {
                Place::Zeros
            } else {
                self.packs[pack].extend(piece);
                Place::Pack { pack: pack as u32, offset }
            };
            let pages = piece.len() as u64 / PAGE_SIZE;
            let before = (number * self.piece) as u64 * PAGE_SIZE;
            placed.push(Placed { address: address + before, pages, place });
        }
        Ok(placed)
    }
}

impl Pieces {
    fn read(&self, pack: usize, offset: u64, bytes: &mut [u8]) -> Result<(), Malformed> {
        let at = (offset - PACK * PAGE_SIZE) as usize;
        let there = self.packs[pack].get(at..at + bytes.len());
        bytes.copy_from_slice(there.ok_or_else(|| Malformed::new("not in the pack"))?);
        Ok(())
    }
}

/// As a run would restore it and CRIU dump it again: packs have paths, and the kernel
/// calls only anonymous memory a heap.
fn restored(dump: Dump) -> Dump {
    let mut files = dump.into_files();
    let pack = |n: u32| PackFile { path: format!("/store/{n}.pack"), size: 1 };
    let named = name_packs(&files["files.img"], &[pack(0), pack(1)]).unwrap();
    files.insert("files.img".into(), named);
    let mut dump = Dump::read(files).unwrap();
    for vma in &mut dump.memory_mut().vmas {
        if vma.status() & status::FILE_PRIVATE != 0 {
            vma.set_status(vma.status() & !status::HEAP);
        }
    }
    dump
}

fn pack_of(path: &str) -> Option<usize> {
    path.strip_prefix("/store/")?.strip_suffix(".pack")?.parse().ok()
}

fn mapped(dump: &mut Dump, piece: usize, object: &[u8]) -> (Pieces, Summary) {
    let mut sink = Pieces { packs: Default::default(), piece };
    let mut read = |path: &str, offset: u64, length: u64| {
        assert_eq!(path, OBJECT);
        let end = (offset + length).min(object.len() as u64);
        Ok(object[offset as usize..end as usize].to_vec())
    };
    let mut surroundings = Surroundings {
        read: &mut read,
        interpreter: &|_| false,
        zeroing_allocator: None,
        settled: Vec::new(),
    };
    let summary = rewrite(dump, &mut surroundings, &mut sink).unwrap();
    (sink, summary)
}

/// What the process sees at each page that is not zeroes, with the page's protection.
fn seen(dump: &Dump, object: &[u8]) -> BTreeMap<u64, (u32, Vec<u8>)> {
    let size = PAGE_SIZE as usize;
    let runs = dump.pagemap.runs().unwrap();
    let mut seen = BTreeMap::new();
    for vma in &dump.memory().vmas {
        for address in (vma.start()..vma.end()).step_by(size) {
            let dumped = clip(&runs, address, address + PAGE_SIZE);
            let page = match dumped.first() {
                Some(run) => dump.bytes_of(*run).to_vec(),
                None if vma.status() & status::FILE_PRIVATE != 0 => {
                    let at = (vma.pgoff() + address - vma.start()) as usize;
                    let mut page = object[at..object.len().min(at + size)].to_vec();
                    page.resize(size, 0);
                    page
                }
                None => vec![0; size],
            };
            if page.iter().any(|byte| *byte != 0) {
                seen.insert(address, (vma.prot(), page));
            }
        }
    }
    seen
}

/// The regions as they count: neighbours of one kind are one.
fn regions(dump: &Dump) -> Vec<(u64, u64, u32, u32)> {
    let mut regions: Vec<(u64, u64, u32, u32)> = Vec::new();
    for vma in &dump.memory().vmas {
        let private = status::FILE_PRIVATE | status::ANON_PRIVATE;
        let kind = vma.status() & !private | u32::from(vma.flags() & 0x100 != 0) << 30;
        match regions.last_mut() {
            Some(last) if (last.1, last.2, last.3) == (vma.start(), vma.prot(), kind) => {
                last.1 = vma.end();
            }
            _ => regions.push((vma.start(), vma.end(), vma.prot(), kind)),
        }
    }
    regions
}

const HEAP: std::ops::Range<u64> = 200..300;

fn region(first: u64, end: u64, prot: u32, kind: u8) -> Region {
    let stays = Region { first, end, status: status::ANON_PRIVATE, flags: 0x22, prot, file: 0 };
    match kind {
        _ if HEAP.contains(&first) => Region { status: stays.status | status::HEAP, ..stays },
        0 => Region { status: status::FILE_PRIVATE, flags: 2, file: 1, ..stays },
        1 => Region { flags: 0x122, ..stays },
        _ => stays,
    }
}

/// Regions one after the other with gaps, none across the bounds of the heap, and pages.
fn process() -> impl Strategy<Value = (Vec<Region>, Vec<(u64, u8)>)> {
    let parts = prop::collection::vec((0_u64..3, 1_u64..40, 1_u32..8, 0_u8..5), 1..14);
    let pages = prop::collection::btree_map(0_u64..400, 0_u8..6, 0..200);
    (parts, pages).prop_map(|(parts, pages)| {
        let mut regions = Vec::new();
        let mut position = 100;
        for (gap, length, prot, kind) in parts {
            let first = position + gap;
            let bound = [HEAP.start, HEAP.end].into_iter().find(|bound| first < *bound);
            let end = bound.map_or(first + length, |bound| bound.min(first + length));
            regions.push(region(first, end, prot, kind));
            position = end;
        }
        let inside = |page: &u64| regions.iter().any(|r| (r.first..r.end).contains(page));
        let pages = pages.into_iter().map(|(page, byte)| (page + 100, byte));
        let pages = pages.filter(|(page, _)| inside(page)).collect();
        (regions, pages)
    })
}

fn dump_of(regions: &[Region], pages: &[(u64, u8)]) -> Dump {
    let pages: Vec<(u64, [u8; 4096])> =
        pages.iter().map(|(page, byte)| (*page, [*byte; 4096])).collect();
    let mut dump = Dump::read(images(regions, &pages, &[(1, OBJECT)])).unwrap();
    dump.memory_mut().set_mm_start_brk(HEAP.start * PAGE_SIZE);
    dump.memory_mut().set_mm_brk(HEAP.end * PAGE_SIZE);
    dump
}

proptest! {
    #[test]
    fn rewritten_and_taken_back_is_as_before(
        (parts, pages) in process(),
        written in prop::collection::btree_set(0_u64..400, 0..30),
        piece in 1_usize..20,
    ) {
        // In one case of two the object's file is shorter than what is mapped of it.
        let object: Vec<u8> = (0..if piece % 2 == 0 { 40_u64 } else { 10 })
            .flat_map(|page| [page as u8 + 100; PAGE_SIZE as usize])
            .collect();
        let parts: Vec<Region> = parts
            .into_iter()
            .filter(|r| r.file == 0 || r.end - r.first <= object.len() as u64 / PAGE_SIZE)
            .collect();
        let pages: Vec<(u64, u8)> = pages
            .into_iter()
            .filter(|(page, _)| parts.iter().any(|r| (r.first..r.end).contains(page)))
            .collect();
        let before = dump_of(&parts, &pages);
        let mut dump = before.clone();
        let (packs, summary) = mapped(&mut dump, piece, &object);
        let mut dump = restored(dump);

        // The restored process writes to some pages that it may write to.
        let mut written: Vec<u64> = written.into_iter().map(|page| (page + 100) * PAGE_SIZE).collect();
        let own: Vec<(u64, u64)> = dump.memory().vmas.iter().map(|v| (v.start(), v.end())).collect();
        written.retain(|page| own.iter().any(|(start, end)| (start..end).contains(&page)));
        let mut expected = seen(&before, &object);
        let mut runs: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for run in dump.pagemap.runs().unwrap() {
            for (number, page) in dump.bytes_of(run).chunks(4096).enumerate() {
                runs.insert(run.address + number as u64 * PAGE_SIZE, page.to_vec());
            }
        }
        for address in written {
            let vma = dump.memory().vmas.iter().find(|v| (v.start()..v.end()).contains(&address));
            expected.insert(address, (vma.unwrap().prot(), vec![77; 4096]));
            runs.insert(address, vec![77; 4096]);
        }
        dump.pagemap.set_runs(runs.keys().map(|address| (*address, 1)));
        dump.pages = runs.into_values().flatten().collect();

        let settled =
            unmap(&mut dump, &pack_of, &mut |pack, at, bytes| packs.read(pack, at, bytes)).unwrap();
        let dump = Dump::read(dump.into_files()).unwrap();
        prop_assert_eq!(seen(&dump, &object), expected);
        prop_assert_eq!(regions(&dump), regions(&before));
        prop_assert!(dump.files.entries.iter().all(|f| f.reg.name() == OBJECT));
        let total: u64 = settled.iter().map(|range| (range.end - range.start) / PAGE_SIZE).sum();
        prop_assert_eq!(total, summary.mapped_pages);
        prop_assert!(settled.is_sorted_by_key(|range| range.start));
        // Neighbours that only the mapping had split are one region.
        let plain = dump.memory().vmas.windows(2).filter(|pair| {
            pair[0].end() == pair[1].start() && is_plain(&pair[0]) && alike(&pair[0], &pair[1])
        });
        prop_assert_eq!(plain.count(), 0);
    }
}

#[test]
fn a_pack_that_cannot_be_read_and_a_bad_region_are_errors() {
    let mut dump = dump_of(&[region(10, 22, 3, 9)], &[(15, 1)]);
    let _ = mapped(&mut dump, 4, &[]);
    let dump = restored(dump);
    let unreadable = &mut |_, _, _: &mut [u8]| Err(Malformed::new("gone"));
    assert_eq!(unmap(&mut dump.clone(), &pack_of, unreadable).unwrap_err().what, "gone");

    let mut odd = dump.clone();
    odd.memory_mut().vmas[1].set_end(15 * PAGE_SIZE + 1);
    let error = unmap(&mut odd, &pack_of, &mut |_, _, _| Ok::<_, Malformed>(())).unwrap_err();
    assert_eq!(error.what, "a bad region at 0xf000");
}
