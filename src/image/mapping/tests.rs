use super::*;
use crate::image::testing::{Region, images};

const ANON: u32 = status::ANON_PRIVATE;
const FILE: u32 = status::FILE_PRIVATE;
const RW: u32 = 3;

fn region(first: u64, end: u64, status: u32, file: u32) -> Region {
    let flags = if status & FILE == 0 { PRIVATE_ANONYMOUS } else { PRIVATE };
    Region { first, end, status, flags, prot: RW, file }
}

/// Puts all pages into pack 0, one after the other, and remembers them.
#[derive(Default)]
struct OnePack {
    bytes: Vec<u8>,
    zeros: bool,
    short: bool,
}

impl PageSink for OnePack {
    type Error = Malformed;

    fn put(&mut self, address: u64, pages: &[u8]) -> Result<Vec<Placed>, Malformed> {
        let offset = self.bytes.len() as u64;
        self.bytes.extend(pages);
        let pages = pages.len() as u64 / PAGE_SIZE - u64::from(self.short);
        let place = if self.zeros { Place::Zeros } else { Place::Pack { pack: 0, offset } };
        Ok(vec![Placed { address, pages, place }])
    }
}

struct Case {
    regions: Vec<Region>,
    pages: Vec<(u64, [u8; 4096])>,
    files: Vec<(u32, &'static str)>,
    content: Vec<u8>,
    settled: Vec<Range<u64>>,
}

impl Case {
    fn new(regions: &[Region], pages: &[u64]) -> Self {
        Self {
            regions: regions.to_vec(),
            pages: pages.iter().map(|number| (*number, [*number as u8; 4096])).collect(),
            files: vec![(1, "/python"), (2, "/lib.so")],
            content: Vec::new(),
            settled: Vec::new(),
        }
    }

    fn rewrite(&self, sink: &mut OnePack) -> Result<(Dump, Summary), Malformed> {
        let mut dump = Dump::read(images(&self.regions, &self.pages, &self.files)).unwrap();
        let read = |path: &str, offset: u64, length: u64| {
            assert_eq!(path, "/lib.so", "only objects are read");
            let end = (offset + length).min(self.content.len() as u64);
            Ok(self.content[offset as usize..end as usize].to_vec())
        };
        let mut surroundings = Surroundings {
            read: &read,
            interpreter: &|path| path == "/python",
            zeroing_allocator: None,
            settled: self.settled.clone(),
        };
        let summary = rewrite(&mut dump, &mut surroundings, sink)?;
        // What is written can be read again.
        let again = Dump::read(dump.into_files()).unwrap();
        Ok((again, summary))
    }
}

/// The mappings as text: first and last page, what they are, and where in the pack.
fn shown(dump: &Dump) -> Vec<String> {
    let name = |vma: &Vma| {
        let file = dump.regular_file(vma.shmid()).map_or("", |file| file.name());
        let heap = if vma.status() & status::HEAP != 0 { " heap" } else { "" };
        if vma.status() & ANON != 0 {
            format!("anonymous{heap}")
        } else {
            format!("{file}@{}{heap}", vma.pgoff() / PAGE_SIZE)
        }
    };
    dump.memory()
        .vmas
        .iter()
        .map(|vma| format!("{}-{} {}", vma.start() / PAGE_SIZE, vma.end() / PAGE_SIZE, name(vma)))
        .collect()
}

fn copied(dump: &Dump) -> Vec<u64> {
    dump.pagemap
        .runs()
        .unwrap()
        .iter()
        .flat_map(|run| (0..run.pages).map(|page| run.address / PAGE_SIZE + page))
        .collect()
}

#[test]
fn dumped_pages_are_mapped_and_small_holes_filled() {
    let case = Case::new(&[region(100, 200, ANON, 0)], &[110, 111, 114, 150]);
    let mut sink = OnePack::default();
    let (dump, summary) = case.rewrite(&mut sink).unwrap();
    assert_eq!(
        shown(&dump),
        [
            "100-110 anonymous",
            "110-115 pack:0@0",
            "115-150 anonymous",
            "150-151 pack:0@5",
            "151-200 anonymous"
        ]
    );
    assert_eq!(copied(&dump), [0_u64; 0]);
    assert_eq!((summary.mapped_pages, summary.copied_pages, summary.mappings), (6, 0, 5));
    let first_bytes: Vec<u8> = sink.bytes.chunks(4096).map(|page| page[0]).collect();
    assert_eq!(first_bytes, [110, 111, 0, 0, 114, 150]);
}

#[test]
fn a_region_that_begins_or_ends_with_few_pages_of_zeros_is_one_mapping() {
    let of = |start, end| {
        let case = Case::new(&[region(start, end, ANON, 0)], &[100]);
        shown(&case.rewrite(&mut OnePack::default()).unwrap().0)
    };
    assert_eq!(of(96, 105), ["96-105 pack:0@0"]);
    assert_eq!(of(95, 106), ["95-100 anonymous", "100-101 pack:0@0", "101-106 anonymous"]);
}

#[test]
fn the_heap_stays_a_heap() {
    let case = Case::new(&[region(10, 30, ANON | status::HEAP, 0)], &[10]);
    let (dump, _) = case.rewrite(&mut OnePack::default()).unwrap();
    assert_eq!(shown(&dump), ["10-11 pack:0@0 heap", "11-30 anonymous heap"]);
}

#[test]
fn zeros_need_no_pack() {
    let case = Case::new(&[region(10, 12, ANON, 0)], &[10, 11]);
    let mut sink = OnePack { zeros: true, ..OnePack::default() };
    let (dump, summary) = case.rewrite(&mut sink).unwrap();
    assert_eq!(shown(&dump), ["10-12 anonymous"]);
    assert_eq!(summary.mapped_pages, 0);
}

#[test]
fn the_stack_is_copied() {
    let stack = Region { flags: 0x122, ..region(50, 60, ANON, 0) };
    let case = Case::new(&[region(10, 12, ANON, 0), stack], &[10, 58, 59]);
    let (dump, summary) = case.rewrite(&mut OnePack::default()).unwrap();
    assert_eq!(shown(&dump), ["10-12 pack:0@0", "50-60 anonymous"]);
    assert_eq!(copied(&dump), [58, 59]);
    assert_eq!(dump.pages[0], 58);
    assert_eq!(dump.pages[4096], 59);
    assert_eq!(summary.copied_pages, 2);
}

#[test]
fn an_object_is_taken_whole_with_what_was_written_to_it() {
    let mut case = Case::new(&[region(10, 13, FILE, 2)], &[11]);
    case.content = vec![9; 2 * 4096 + 100];
    let mut sink = OnePack::default();
    let (dump, _) = case.rewrite(&mut sink).unwrap();
    assert_eq!(shown(&dump), ["10-13 pack:0@0"]);
    assert_eq!((sink.bytes[0], sink.bytes[4096], sink.bytes[8192]), (9, 11, 9));
    assert_eq!(sink.bytes[2 * 4096 + 100], 0, "behind the end of the file are zeros");
}

#[test]
fn an_object_that_is_shorter_than_its_mapping_stays_where_it_is() {
    let mut case = Case::new(&[region(10, 14, FILE, 2)], &[11]);
    case.content = vec![9; 4096];
    let (dump, _) = case.rewrite(&mut OnePack::default()).unwrap();
    assert_eq!(shown(&dump), ["10-11 /lib.so@0", "11-12 pack:0@0", "12-14 /lib.so@2"]);
}

#[test]
fn a_gap_of_an_object_opens_no_file() {
    let gap = Region { prot: 0, ..region(10, 14, FILE, 2) };
    let (dump, _) = Case::new(&[gap], &[]).rewrite(&mut OnePack::default()).unwrap();
    assert_eq!(shown(&dump), ["10-14 anonymous"]);
}

#[test]
fn the_interpreters_code_stays_in_its_file() {
    let mut case = Case::new(&[region(10, 12, FILE, 1), region(12, 14, ANON, 0)], &[12]);
    let (dump, _) = case.rewrite(&mut OnePack::default()).unwrap();
    assert_eq!(shown(&dump), ["10-12 /python@0", "12-14 pack:0@0"]);

    // Its data does not: each change between files costs an open.
    case.files = vec![(1, "/lib.so")];
    case.content = vec![7; 2 * 4096];
    let (dump, _) = case.rewrite(&mut OnePack::default()).unwrap();
    assert_eq!(shown(&dump)[0], "10-12 pack:0@0");
}

#[test]
fn a_chunk_that_may_grow_is_two_mappings() {
    let chunk = |pages: &[u64]| {
        let mut case = Case::new(&[region(10, 80, ANON, 0)], pages);
        case.pages[1].1[..8].fill(0);
        case.pages[1].1[8..16].copy_from_slice(&(0x2_0000_u64 | 2).to_le_bytes());
        let (dump, summary) = case.rewrite(&mut OnePack::default()).unwrap();
        assert_eq!(summary.copied_pages, copied(&dump).len() as u64);
        (copied(&dump), shown(&dump))
    };
    // 32 pages from its header on.
    let (pages, pieces) = chunk(&[20, 21, 22, 52, 53]);
    assert_eq!(pages, [52]);
    let expected = ["10-20 anonymous", "20-23 pack:0@0", "23-53 anonymous", "53-54 pack:0@3"];
    assert_eq!(pieces[..4], expected);

    // Full, with another directly behind it, and its last page never touched.
    for last in [vec![], vec![52]] {
        let all: Vec<u64> = [20].into_iter().chain(21..52).chain(last.clone()).collect();
        let (pages, pieces) = chunk(&[all, vec![53, 54]].concat());
        assert_eq!(pages, last);
        assert_eq!(pieces[..3], ["10-20 anonymous", "20-52 pack:0@0", "52-53 anonymous"]);
    }
}

#[test]
fn an_allocator_that_wants_zeros_has_its_memory_copied() {
    let heap = region(20, 22, ANON | status::HEAP, 0);
    let mut case = Case::new(&[region(10, 11, FILE, 2), heap, region(30, 32, ANON, 0)], &[20, 30]);
    case.content = vec![0; 4096];
    case.content[50..60].copy_from_slice(b"<jemalloc>");
    let (dump, summary) = case.rewrite(&mut OnePack::default()).unwrap();
    assert_eq!(copied(&dump), [30], "glibc's heap is not its memory");
    assert_eq!(summary.zeroing_allocator.as_deref(), Some("jemalloc in /lib.so"));
}

#[test]
fn what_was_mapped_before_is_no_allocators_and_does_not_grow() {
    let page = |number: u64| number * PAGE_SIZE;
    let mut case = Case::new(
        &[region(10, 11, FILE, 2), region(30, 80, ANON, 0)],
        &[30, 31, 32, 33, 40, 41, 60],
    );
    case.content = vec![0; 4096];
    case.settled = vec![page(5)..page(8), page(31)..page(33), page(40)..page(42)];
    case.pages[5].1[..8].fill(0);
    case.pages[5].1[8..16].copy_from_slice(&(0x20000_u64 | 2).to_le_bytes());
    let (dump, _) = case.rewrite(&mut OnePack::default()).unwrap();
    assert_eq!(copied(&dump), [0_u64; 0], "no chunk");

    case.content[50..60].copy_from_slice(b"<jemalloc>");
    let (dump, _) = case.rewrite(&mut OnePack::default()).unwrap();
    assert_eq!(copied(&dump), [30, 33, 60]);
    assert_eq!(
        shown(&dump)[1..],
        [
            "30-31 anonymous",
            "31-33 pack:0@1",
            "33-40 anonymous",
            "40-42 pack:0@3",
            "42-80 anonymous"
        ]
    );
}

#[test]
fn a_sink_that_loses_pages_is_found_out() {
    let case = Case::new(&[region(10, 12, ANON, 0)], &[10, 11]);
    let mut sink = OnePack { short: true, ..OnePack::default() };
    let error = case.rewrite(&mut sink).unwrap_err();
    assert_eq!(error.what, "pages at 0xb000 were lost");
}

#[test]
fn packs_get_their_names_at_the_run() {
    let case = Case::new(&[region(10, 11, ANON, 0)], &[10]);
    let (dump, _) = case.rewrite(&mut OnePack::default()).unwrap();
    let files = &dump.into_files()["files.img"];
    let pack = PackFile { path: "/store/a.pack".into(), size: 12288 };
    let named: Image<File> = Image::parse(&name_packs(files, &[pack]).unwrap()).unwrap();
    let named = named.entries.last().unwrap().reg.clone();
    assert_eq!((named.name(), named.size()), ("/store/a.pack", 12288));
    let error = name_packs(files, &[]).unwrap_err();
    assert_eq!(error.what, "the file table names an unknown pack 0");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 2000,
        ..proptest::prelude::ProptestConfig::default()
    })]

    /// Whatever bytes of whatever image of a dump are changed or missing: all that is done to
    /// a dump either works or says why not, and allocates no more than the dump is long.
    #[test]
    fn a_damaged_dump_is_refused_or_rewritten(
        changes in proptest::collection::vec((0_usize..8, 0_usize..4096, 0_u8..=255, 0_u8..8), 1..6),
    ) {
        let case = Case::new(
            &[region(16, 24, ANON, 0), region(24, 28, FILE, 2), region(40, 60, ANON, 0)],
            &[17, 18, 21, 25, 41, 42, 59],
        );
        let mut files = images(&case.regions, &case.pages, &case.files);
        for (file, at, byte, kind) in changes {
            let name = files.keys().nth(file % files.len()).unwrap().clone();
            let bytes = files.get_mut(&name).unwrap();
            // Headers and lengths stand at the beginning.
            let at = if kind < 6 { at % 64 } else { at };
            match bytes.len() {
                0 => continue,
                length if kind == 0 => bytes.truncate(at % length),
                length => bytes[at % length] = byte,
            }
        }
        let Ok(mut dump) = Dump::read(files.clone()) else { return Ok(()) };
        let _ = crate::image::checks::check(&dump, 7);
        crate::image::portable::make_portable(&mut dump);
        let job = crate::image::pids::Job { session: 1, group: 1 };
        let fresh: Vec<u32> = (100..).take(dump.threads().len()).collect();
        let renumbering = crate::image::pids::Renumbering::new(dump.threads(), &fresh, job);
        let _ = renumbering.pstree(&files["pstree.img"]);
        let _ = name_packs(&files["files.img"], &[]);
        let read = |_: &str, _: u64, length: u64| Ok(vec![1; length.min(1 << 16) as usize]);
        let mut surroundings = Surroundings {
            read: &read,
            interpreter: &|path| path == "/python",
            zeroing_allocator: None,
            settled: Vec::new(),
        };
        let mut sink = OnePack::default();
        if rewrite(&mut dump, &mut surroundings, &mut sink).is_ok() {
            let _ = Dump::read(dump.into_files());
        }
    }
}
