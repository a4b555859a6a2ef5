//! The plan by which the direct engine brings an image back: a dump, compiled.
//!
//! What CRIU's images say about a process is spread over a dozen files of messages. A run that
//! maps the memory by itself needs little of it, and needs it at once: where which part of
//! which pack goes, which pages are copied, and the registers of each thread. That is computed
//! here, once, when the image is stored, and kept as one file beside CRIU's.
//!
//! The main thread needs no registers: it waits in the park library, which says where it goes
//! on ([`Wake`]). Of the other threads the kernel itself restores the registers, when they
//! return from a signal that never was: [`Thread::frame`] is what it would have put on their
//! stacks (`struct rt_sigframe`, `arch/x86/include/asm/sigframe.h` of Linux).
//!
//! A dump with anything that is not understood has no plan, and a reason ([`Unplannable`]);
//! such an image is for CRIU. [`compile`] goes through the dump, [`frame`] makes the frames.

mod compile;
pub mod frame;

use serde::{Deserialize, Serialize};

use crate::image::PAGE_SIZE;
use crate::image::dump;

/// Name of the file in the image's directory.
pub const FILE: &str = "plan";
/// Name of the file that says, in a text, why there is no plan.
pub const WHY_NONE: &str = "no-plan";
/// The version of the format; a plan of another one is not used.
const VERSION: u32 = 1;

/// `PROT_READ`, `PROT_WRITE` and `PROT_EXEC` of `mmap(2)`.
const READ: u32 = 1;
const WRITE: u32 = 2;
const EXECUTE: u32 = 4;
/// What the park library needs of a thread's stack, below the frame.
const ROOM: u64 = 4096;
/// The first address that no program has: the lower half without its last page.
pub const END_OF_MEMORY: u64 = 0x7fff_ffff_f000;

/// Why a dump has no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unplannable(pub String);

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    version: u32,
    /// Where the main thread goes on.
    pub wake: Wake,
    /// Its thread-local storage (the base of `fs`), and what the kernel keeps of it.
    pub main: Thread,
    /// The other threads.
    pub threads: Vec<Thread>,
    /// What the kernel knows of the memory.
    pub bounds: Bounds,
    /// The binary that `/proc/PID/exe` shows, where that can be set.
    pub executable: String,
    /// Addresses of what the kernel provides: its variables (`vvar`) and code (`vdso`).
    pub provided: Option<Provided>,
    /// The blake3 of that code.
    pub code_hash: [u8; 32],
    /// Files that are mapped from where they are.
    pub files: Vec<MappedFile>,
    /// All else that is mapped, by address.
    pub regions: Vec<Region>,
    /// Pages that are copied into it, from the pages file, in its order.
    pub copies: Vec<Run>,
    /// Size of the floating point state of a thread in bytes, and its parts (`XCR0`), of the
    /// machine that it was made for.
    pub extended_state: (u32, u64),
}

/// Where a woken process goes on: said by the park library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// Address of the function that is to be called.
    pub entry: u64,
    /// The end of the stack for it.
    pub stack: u64,
}

/// A thread.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Its name.
    pub name: String,
    /// Its thread-local storage (the base of `fs`).
    pub storage: u64,
    /// Where the kernel clears its id at its end (`set_tid_address(2)`).
    pub id_address: u64,
    /// The list of its robust futexes (`set_robust_list(2)`): address and size.
    pub robust_list: (u64, u64),
    /// Its restartable sequences (`rseq(2)`): address, size and signature; zeros for none.
    pub rseq: (u64, u32, u32),
    /// Its alternate signal stack (`sigaltstack(2)`): address, size and flags.
    pub alternate_stack: (u64, u64, u32),
    /// Where its signal frame goes, which is what its registers come from; not of the main
    /// thread.
    pub frame_address: u64,
    /// The frame.
    pub frame: Vec<u8>,
}

/// `struct prctl_mm_map` of `prctl(2)`, with the auxiliary vector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The fields from `start_code` to `env_end`, in their order.
    pub fields: [u64; 11],
    /// The auxiliary vector.
    pub auxiliary: Vec<u64>,
}

/// Where the kernel's own pages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provided {
    /// First address of the variables, and the one after them.
    pub variables: (u64, u64),
    /// First address of the code, and the one after it.
    pub code: (u64, u64),
}

/// A file that is mapped from where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedFile {
    /// Its path.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
}

/// What a region is mapped from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Nothing: zeros.
    Zeros,
    /// A pack of the image, by number, from this byte on.
    Pack(u32, u64),
    /// A file of [`Plan::files`], by number, from this byte on.
    File(u32, u64),
}

/// A region of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Its first address.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
    /// `PROT_…` of `mmap(2)`.
    pub protection: u32,
    /// `MAP_…` of `mmap(2)`, without `MAP_FIXED`.
    pub flags: u32,
    /// What it shows.
    pub source: Source,
    /// Advice to be given (`madvise(2)`), one bit each.
    pub advice: u64,
}

impl Region {
    /// Whether this one, mapped behind it, would be the same mapping.
    fn is_continued_by(&self, next: &Self) -> bool {
        let source = match self.source {
            Source::Zeros => Source::Zeros,
            Source::Pack(number, offset) => Source::Pack(number, offset.wrapping_add(self.length)),
            Source::File(number, offset) => Source::File(number, offset.wrapping_add(self.length)),
        };
        let alike = |region: &Self| (region.protection, region.flags, region.advice);
        self.start.wrapping_add(self.length) == next.start
            && source == next.source
            && alike(self) == alike(next)
    }
}

/// A run of pages that are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Address of the first.
    pub address: u64,
    /// How many.
    pub pages: u64,
    /// Where in the pages file the first is, in pages.
    pub slot: u64,
}

impl From<dump::Run> for Run {
    fn from(run: dump::Run) -> Self {
        Self { address: run.address, pages: run.pages, slot: run.slot }
    }
}

/// What is known of the machine's floating point state: the size of all of it, its parts
/// (`XCR0`), and of each part where it is and how large (CPUID, leaf 13).
#[derive(Debug, Clone, Default)]
pub struct ExtendedState {
    /// Size of all of it in bytes.
    pub size: u32,
    /// Its parts, one bit each.
    pub parts: u64,
    /// Offset and size of each part in bytes, by number; zeros for those that are not there.
    pub places: Vec<(u32, u32)>,
}

impl Plan {
    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("memory takes all bytes")
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// When it is of another version, or contradicts itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unplannable> {
        let of_another = || Unplannable("its plan is of another version".into());
        let (version, _) = postcard::take_from_bytes::<u32>(bytes).map_err(|_| of_another())?;
        if version != VERSION {
            return Err(of_another());
        }
        let plan: Self = postcard::from_bytes(bytes)
            .map_err(|error| Unplannable(format!("its plan cannot be read: {error}")))?;
        plan.check().map(|()| plan)
    }

    /// Whatever a plan says is done without another look, so it has to make sense: whole pages,
    /// in order, below the end of memory, nothing writable and executable, and threads
    /// within memory that they may write to.
    fn check(&self) -> Result<(), Unplannable> {
        let wrong = |what: &str, address: u64| {
            Err(Unplannable(format!("its plan is damaged: {what} at {address:#x}")))
        };
        let mut lowest = PAGE_SIZE;
        for region in &self.regions {
            let end = region.start.checked_add(region.length).filter(|end| *end <= END_OF_MEMORY);
            let whole = (region.start | region.length).is_multiple_of(PAGE_SIZE);
            let Some(end) = end.filter(|_| whole && region.length > 0 && region.start >= lowest)
            else {
                return wrong("a bad region", region.start);
            };
            lowest = end;
            if region.protection & (WRITE | EXECUTE) == WRITE | EXECUTE {
                return wrong("writable code", region.start);
            }
            if let Source::File(number, _) = region.source
                && number as usize >= self.files.len()
            {
                return wrong("an unknown file", region.start);
            }
        }
        for run in &self.copies {
            let bytes = run.pages.checked_mul(PAGE_SIZE);
            let end = bytes.and_then(|bytes| run.address.checked_add(bytes));
            if end.is_none_or(|end| !self.is_anonymous(run.address, end)) {
                return wrong("bad pages", run.address);
            }
        }
        for thread in &self.threads {
            let end = thread.frame_address.checked_add(thread.frame.len() as u64);
            let start = thread.frame_address.checked_sub(ROOM);
            if !start.zip(end).is_some_and(|(start, end)| self.is_writable(start, end)) {
                return wrong("a thread without a stack", thread.frame_address);
            }
        }
        if !self.is_writable(self.wake.stack.saturating_sub(ROOM), self.wake.stack) {
            return wrong("no stack", self.wake.stack);
        }
        Ok(())
    }

    /// Whether all of the memory between two addresses is in regions of that kind.
    fn is_all(&self, start: u64, end: u64, kind: impl Fn(&Region) -> bool) -> bool {
        let mut position = start;
        let first = self.regions.partition_point(|region| region.start + region.length <= start);
        for region in &self.regions[first..] {
            if position >= end || region.start > position || !kind(region) {
                break;
            }
            position = region.start + region.length;
        }
        start < end && position >= end
    }

    /// Whether all of the memory between two addresses can be written to.
    pub fn is_writable(&self, start: u64, end: u64) -> bool {
        self.is_all(start, end, |region| region.protection & WRITE != 0)
    }

    fn is_anonymous(&self, start: u64, end: u64) -> bool {
        start.is_multiple_of(PAGE_SIZE)
            && self.is_all(start, end, |region| region.source == Source::Zeros)
    }
}

#[cfg(test)]
mod tests;
