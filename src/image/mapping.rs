//! Mapping form: a dump whose memory is mapped from packs instead of copied.
//!
//! CRIU copies every page that its pagemap names and maps private file mappings
//! from their files. So each dumped region is turned into private mappings of packs,
//! and its pages leave the pagemap: restoring then costs a few hundred `mmap` calls
//! in place of tens of megabytes of copying, and processes share what they do not
//! write. Regions for which that is not the same stay as they were
//! ([`super::hazards`]), and so does whatever is not private memory.
//!
//! Shared objects are taken into the packs whole, since opening two hundred files
//! costs more than mapping two hundred pieces of one; the code of the interpreter itself
//! stays mapped from its own file, where debuggers look for it.
//!
//! Where the pages end up is the business of a [`PageSink`]; packs are only numbers
//! here, and files named `pack:N` in the file table until [`name_packs`] says where
//! they are.

use std::ops::Range;

use crate::image::PAGE_SIZE;
use crate::image::dump::{Dump, Run};
use crate::image::file::{Image, Malformed};
use crate::image::hazards::{self, is_wiped, mmapped_chunk, status, stays_anonymous};
use crate::image::message::{File, Fown, RegFile, Vma};
use crate::parallel;

/// `FD_TYPES__REG` of CRIU's `fdinfo.proto`.
const REGULAR_FILE: u32 = 1;
/// `MAP_PRIVATE`, and with `MAP_ANONYMOUS`, of `mmap(2)`.
const PRIVATE: u32 = 0x02;
const PRIVATE_ANONYMOUS: u32 = 0x22;
/// `O_RDONLY | O_LARGEFILE`, as CRIU writes it.
const READ_ONLY: u32 = 0o100_000;
/// Holes of at most this many pages inside a region are stored as zeros: a further
/// mapping costs more than the zeros do.
const FILL: u64 = 16;
/// The same where a region begins or ends: fewer, as allocators go on there, and a page that is
/// written to costs more if it is in a pack.
const FILL_AT_EDGES: u64 = 4;

/// Where a run of pages was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: the pages are zeros, and fresh anonymous memory is the same.
    Zeros,
    /// In a pack.
    Pack {
        /// The sink's number of the pack.
        pack: u32,
        /// Offset in bytes of the first page in the pack's file.
        offset: u64,
    },
}

/// A piece of a region, and where its pages were put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Address of the first page in the process.
    pub address: u64,
    /// Length in pages.
    pub pages: u64,
    /// Where they are.
    pub place: Place,
}

/// Takes pages and says where they are to be mapped from.
pub trait PageSink {
    /// Why pages could not be taken.
    type Error: From<Malformed> + Send;

    /// Takes consecutive pages that begin at `address`; the answer covers all of
    /// them, in order.
    ///
    /// # Errors
    /// When the pages cannot be kept.
    fn put(&mut self, address: u64, pages: &[u8]) -> Result<Vec<Placed>, Self::Error>;
}

/// Reads a part of a mapped file: its path, an offset and a length in bytes. Called from
/// several threads.
pub type ReadMapped<'a, E> = dyn Fn(&str, u64, u64) -> Result<Vec<u8>, E> + Sync + 'a;

/// What the rewriting needs to know and a dump does not say.
pub struct Surroundings<'a, E> {
    /// Reads `length` bytes at `offset` of a file that is mapped; fewer where it ends.
    pub read: &'a ReadMapped<'a, E>,
    /// Files that stay mapped from where they are: the interpreter and its library.
    pub interpreter: &'a (dyn Fn(&str) -> bool + Sync),
    /// An allocator that relies on zeros after `MADV_DONTNEED`, where the interpreter
    /// itself is known to use one; others are found in the code that is mapped.
    pub zeroing_allocator: Option<String>,
    /// Memory, in order, that was mapped from packs before ([`super::unmapping`]): so no
    /// such allocator's.
    pub settled: Vec<Range<u64>>,
}

/// What was done, for the manifest and for `pyimg show`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Pages that are mapped from packs.
    pub mapped_pages: u64,
    /// Pages that are copied at every restore.
    pub copied_pages: u64,
    /// Mappings of the restored process.
    pub mappings: u64,
    /// Why private memory is copied: the allocator that demands it.
    pub zeroing_allocator: Option<String>,
}

/// Turns a dump into mapping form, in place.
///
/// # Errors
/// When the dump contradicts itself, a mapped file cannot be read, or the sink fails.
pub fn rewrite<S: PageSink>(
    dump: &mut Dump,
    surroundings: &mut Surroundings<'_, S::Error>,
    sink: &mut S,
) -> Result<Summary, S::Error> {
    let runs = dump.pagemap.runs()?;
    let last_file = dump.files.entries.iter().map(File::id).max().unwrap_or(0);
    // Room for packs is room for files, of which a process has fewer.
    if last_file > u32::MAX / 2 {
        return Err(Malformed::new(format!("a file with the number {last_file}")).into());
    }
    let first_pack = last_file + 1;
    let mut rewriter = Rewriter {
        dump,
        sink,
        first_pack,
        settled: std::mem::take(&mut surroundings.settled),
        packs: 0,
        vmas: Vec::new(),
        kept: Vec::new(),
        summary: Summary {
            zeroing_allocator: surroundings.zeroing_allocator.take(),
            ..Summary::default()
        },
    };
    let objects = rewriter.read_objects(&runs, surroundings)?;
    let vmas = rewriter.dump.memory().vmas.clone();
    for (vma, object) in vmas.into_iter().zip(objects) {
        let inside = clip(&runs, vma.start(), vma.end());
        rewriter.region(&vma, &inside, object, surroundings.interpreter)?;
    }
    Ok(rewriter.finish())
}

/// What was found of a private file mapping.
#[derive(Debug, Default)]
struct Object {
    /// Its bytes, if it is to be taken in whole.
    bytes: Option<Vec<u8>>,
    /// The allocator that is part of it.
    allocator: Option<String>,
}

struct Rewriter<'a, S> {
    dump: &'a mut Dump,
    sink: &'a mut S,
    first_pack: u32,
    settled: Vec<Range<u64>>,
    packs: u32,
    vmas: Vec<Vma>,
    kept: Vec<Run>,
    summary: Summary,
}

impl<S: PageSink> Rewriter<'_, S> {
    /// The bytes of every private file mapping that is to be taken in whole; on the
    /// way, the code in them is searched for allocators.
    fn read_objects(
        &mut self,
        runs: &[Run],
        surroundings: &Surroundings<'_, S::Error>,
    ) -> Result<Vec<Option<Vec<u8>>>, S::Error> {
        let search = self.summary.zeroing_allocator.is_none();
        let dump = &*self.dump;
        let read = |vma: &Vma| -> Result<Object, S::Error> {
            let file = dump.regular_file(vma.shmid());
            let untouched = clip(runs, vma.start(), vma.end()).is_empty();
            let wanted =
                vma.status() & status::FILE_PRIVATE != 0 && !(vma.prot() == 0 && untouched);
            let own = |name: &str| untouched && (surroundings.interpreter)(name);
            let Some(file) = file.filter(|file| wanted && !own(file.name())) else {
                return Ok(Object::default());
            };
            let length = vma.end() - vma.start();
            let mut bytes = (surroundings.read)(file.name(), vma.pgoff(), length)?;
            let allocator = if search { hazards::allocator_in(&bytes) } else { None };
            let allocator = allocator.map(|text| {
                format!("{} in {}", text.trim_matches([':', ' ', '<', '>']), file.name())
            });
            // A page that lies wholly behind the end of the file cannot be touched in the
            // original; such a mapping stays as it is.
            let whole_pages = (bytes.len() as u64).next_multiple_of(PAGE_SIZE);
            if whole_pages < length {
                return Ok(Object { bytes: None, allocator });
            }
            bytes.resize(length as usize, 0);
            Ok(Object { bytes: Some(bytes), allocator })
        };
        let mut objects = Vec::new();
        for found in parallel::one_by_one(&dump.memory().vmas, read) {
            let Object { bytes, allocator } = found?;
            self.summary.zeroing_allocator = self.summary.zeroing_allocator.take().or(allocator);
            objects.push(bytes);
        }
        Ok(objects)
    }

    fn region(
        &mut self,
        vma: &Vma,
        runs: &[Run],
        object: Option<Vec<u8>>,
        interpreter: &dyn Fn(&str) -> bool,
    ) -> Result<(), S::Error> {
        let anonymous = vma.status() & status::ANON_PRIVATE != 0;
        let from_file = vma.status() & status::FILE_PRIVATE != 0;
        let zeroing = self.summary.zeroing_allocator.is_some();
        if is_wiped(vma) {
            self.vmas.push(vma.clone());
            return Ok(());
        }
        if !(anonymous || from_file) || stays_anonymous(vma, false) {
            self.kept.extend(runs);
            self.vmas.push(vma.clone());
            return Ok(());
        }
        if stays_anonymous(vma, zeroing) {
            let (settled, others) = self.split(runs);
            self.kept.extend(others);
            return self.pieces(vma, &settled, 0, &[]);
        }
        if let Some(mut bytes) = object {
            for run in runs {
                let at = (run.address - vma.start()) as usize;
                let dumped = self.dump.bytes_of(*run);
                bytes[at..at + dumped.len()].copy_from_slice(dumped);
            }
            return self.store(vma, vma.start(), &bytes);
        }
        if from_file {
            let own =
                self.dump.regular_file(vma.shmid()).is_some_and(|file| interpreter(file.name()));
            if vma.prot() == 0 && runs.is_empty() && !own {
                self.vmas.push(anonymous_piece(vma, vma.start(), vma.end()));
                return Ok(());
            }
            return self.pieces(vma, runs, 0, &[]);
        }
        let (runs, apart) = self.keep_ends_of_chunks(vma, runs);
        self.pieces(vma, &runs, FILL, &apart)
    }

    /// Stores the runs of a region and leaves what is between them as it was, among it the pages
    /// at the addresses in `apart`.
    fn pieces(
        &mut self,
        vma: &Vma,
        runs: &[Run],
        fill: u64,
        apart: &[u64],
    ) -> Result<(), S::Error> {
        let mut position = vma.start();
        let is_filled = |start: u64, end: u64, most: u64| {
            let is_short = end - start <= fill.min(most) * PAGE_SIZE;
            is_short && !apart.iter().any(|page| (start..end).contains(page))
        };
        for group in runs.chunk_by(|a, b| is_filled(a.end(), b.address, FILL)) {
            let (mut start, mut end) = (group[0].address, group[group.len() - 1].end());
            if position == vma.start() && is_filled(position, start, FILL_AT_EDGES) {
                start = position;
            }
            if is_filled(end, vma.end(), FILL_AT_EDGES) {
                end = vma.end();
            }
            let mut bytes = vec![0; (end - start) as usize];
            for run in group {
                let at = (run.address - start) as usize;
                let dumped = self.dump.bytes_of(*run);
                bytes[at..at + dumped.len()].copy_from_slice(dumped);
            }
            self.original_piece(vma, position, start);
            self.store(vma, start, &bytes)?;
            position = end;
        }
        self.original_piece(vma, position, vma.end());
        Ok(())
    }

    /// Takes the last page of each of glibc's mmapped chunks out of the runs, and says where these
    /// pages are. They stay anonymous, so a chunk is never one mapping, and what is not one
    /// mapping the kernel does not let grow: `realloc` then copies what is in it.
    fn keep_ends_of_chunks(&mut self, vma: &Vma, runs: &[Run]) -> (Vec<Run>, Vec<u64>) {
        let mut chunks: Vec<(u64, u64)> = Vec::new();
        for run in runs {
            for page in 0..run.pages {
                let address = run.address + page * PAGE_SIZE;
                if chunks.last().is_some_and(|(_, end)| address < *end) {
                    continue;
                }
                let at = ((run.slot + page) * PAGE_SIZE) as usize;
                let page = &self.dump.pages[at..at + PAGE_SIZE as usize];
                if let Some(length) = mmapped_chunk(page, vma.end() - address) {
                    chunks.push((address, address + length));
                }
            }
        }
        let mut mapped = runs.to_vec();
        for (_, end) in &chunks {
            let last = end - PAGE_SIZE;
            self.kept.extend(clip(&mapped, last, *end));
            let before = clip(&mapped, 0, last);
            mapped = before.into_iter().chain(clip(&mapped, *end, u64::MAX)).collect();
        }
        (mapped, chunks.into_iter().map(|(_, end)| end - PAGE_SIZE).collect())
    }

    /// The parts of the runs that were mapped from packs before, and the others.
    fn split(&self, runs: &[Run]) -> (Vec<Run>, Vec<Run>) {
        let Some((first, last)) = runs.first().zip(runs.last()) else { return Default::default() };
        let from = self.settled.partition_point(|range| range.end <= first.address);
        let (mut settled, mut others, mut position) = (Vec::new(), Vec::new(), first.address);
        for range in &self.settled[from..] {
            if range.start >= last.end() {
                break;
            }
            others.extend(clip(runs, position, range.start));
            settled.extend(clip(runs, range.start, range.end));
            position = range.end;
        }
        others.extend(clip(runs, position, u64::MAX));
        (settled, others)
    }

    fn store(&mut self, vma: &Vma, address: u64, bytes: &[u8]) -> Result<(), S::Error> {
        let placed = self.sink.put(address, bytes)?;
        let mut position = address;
        for piece in placed {
            let end = piece.address + piece.pages * PAGE_SIZE;
            if piece.address != position || end > address + bytes.len() as u64 {
                return Err(Malformed::new(format!("pages at {position:#x} were misplaced")).into());
            }
            position = end;
            match piece.place {
                Place::Zeros => self.vmas.push(anonymous_piece(vma, piece.address, end)),
                Place::Pack { pack, offset } => {
                    self.packs = self.packs.max(pack + 1);
                    self.summary.mapped_pages += piece.pages;
                    let mut mapped = vma.clone();
                    mapped.set_start(piece.address);
                    mapped.set_end(end);
                    mapped.set_pgoff(offset);
                    mapped.set_shmid(u64::from(self.first_pack + pack));
                    mapped.set_flags(PRIVATE);
                    mapped.set_status(
                        status::REGULAR | status::FILE_PRIVATE | (vma.status() & status::HEAP),
                    );
                    mapped.set_fdflags(READ_ONLY);
                    self.vmas.push(mapped);
                }
            }
        }
        if position != address + bytes.len() as u64 {
            return Err(Malformed::new(format!("pages at {position:#x} were lost")).into());
        }
        Ok(())
    }

    /// A part of a region that needs no pages: as it was, but shorter.
    fn original_piece(&mut self, vma: &Vma, start: u64, end: u64) {
        if start == end {
            return;
        }
        let mut piece = vma.clone();
        piece.set_start(start);
        piece.set_end(end);
        if vma.status() & status::FILE_PRIVATE != 0 {
            piece.set_pgoff(vma.pgoff() + (start - vma.start()));
        }
        self.vmas.push(piece);
    }

    fn finish(mut self) -> Summary {
        let kept = std::mem::take(&mut self.kept);
        let mut pages = Vec::new();
        for run in &kept {
            pages.extend_from_slice(self.dump.bytes_of(*run));
        }
        self.dump.pages = pages;
        self.dump.pagemap.set_runs(kept.iter().map(|run| (run.address, run.pages)));
        self.summary.copied_pages = kept.iter().map(|run| run.pages).sum();
        self.summary.mappings = self.vmas.len() as u64;
        self.dump.memory_mut().vmas = self.vmas;
        for pack in 0..self.packs {
            self.dump.files.entries.push(pack_file(self.first_pack + pack, pack));
        }
        self.summary
    }
}

/// The parts of the runs that lie between two addresses.
pub(super) fn clip(runs: &[Run], start: u64, end: u64) -> Vec<Run> {
    runs.iter()
        .filter(|run| run.address < end && run.end() > start)
        .map(|run| {
            let address = run.address.max(start);
            Run {
                address,
                pages: (run.end().min(end) - address) / PAGE_SIZE,
                slot: run.slot + (address - run.address) / PAGE_SIZE,
            }
        })
        .collect()
}

/// Private anonymous memory in place of a part of a region.
pub(super) fn anonymous_piece(vma: &Vma, start: u64, end: u64) -> Vma {
    let mut piece = vma.clone();
    piece.set_start(start);
    piece.set_end(end);
    piece.set_pgoff(0);
    piece.set_shmid(0);
    piece.set_flags(PRIVATE_ANONYMOUS);
    piece.set_status(status::REGULAR | status::ANON_PRIVATE | (vma.status() & status::HEAP));
    piece.clear_fdflags();
    piece
}

fn pack_file(id: u32, pack: u32) -> File {
    let mut owner = Fown::new();
    owner.set_uid(0);
    owner.set_euid(0);
    owner.set_signum(0);
    owner.set_pid_type(0);
    owner.set_pid(0);
    let mut regular = RegFile::new();
    regular.set_id(id);
    regular.set_flags(READ_ONLY);
    regular.set_pos(0);
    regular.fown = Some(owner).into();
    regular.set_name(format!("pack:{pack}"));
    let mut file = File::new();
    file.set_type(REGULAR_FILE);
    file.set_id(id);
    file.reg = Some(regular).into();
    file
}

/// A pack as the restored process will open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackFile {
    /// Absolute path; CRIU's images hold text, so a path that is not UTF-8 cannot be used.
    pub path: String,
    /// Size of the file in bytes; CRIU refuses a file of another size.
    pub size: u64,
}

/// Puts real paths in place of `pack:N` in a file table (`files.img`).
///
/// # Errors
/// When the table cannot be read or names a pack that is not given.
pub fn name_packs(files: &[u8], packs: &[PackFile]) -> Result<Vec<u8>, Malformed> {
    let mut table: Image<File> = Image::parse(files)?;
    for file in &mut table.entries {
        let Some(regular) = file.reg.as_mut() else { continue };
        let Some(number) = regular.name().strip_prefix("pack:") else { continue };
        let pack = number.parse::<usize>().ok().and_then(|number| packs.get(number));
        let Some(pack) = pack else {
            return Err(Malformed::new(format!("the file table names an unknown pack {number}")));
        };
        regular.set_name(pack.path.clone());
        regular.set_size(pack.size);
    }
    Ok(table.to_bytes())
}

#[cfg(test)]
mod tests;
