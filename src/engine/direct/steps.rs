//! The system calls by which this process becomes the program, one after the other.

use std::ops::Range;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;

use super::FAILED;
use crate::engine::request::Request;
use crate::image::PAGE_SIZE;
use crate::image::plan::{END_OF_MEMORY, Plan, Region, Run, Source, Wake};

/// The lowest address that a process may have (`vm.mmap_min_addr` by default).
const LOWEST: u64 = 0x1_0000;
/// The most parts that one `preadv` takes (`UIO_MAXIOV`).
const MOST_PARTS: usize = 1024;
/// `ARCH_SET_FS` of `arch_prctl(2)`.
const SET_FS: u64 = 0x1002;
/// Bytes of `struct prctl_mm_map` (`linux/prctl.h`).
pub const BOUNDS: u32 = 13 * 8;
/// Ends a list of steps.
const END: u64 = u64::MAX;
/// Words of a step, and which of them is the answer that it has to give.
pub const WORDS: usize = 9;
const EXPECTED: usize = 7;
/// Which word of `mmap` has its flags.
const FLAGS: usize = 4;

/// Memory that stays, in which steps can leave what they refer to.
pub trait Room {
    /// Puts bytes there and says where they are: at a multiple of 16.
    fn put(&mut self, bytes: &[u8]) -> u64;

    /// The same with words.
    fn put_words(&mut self, words: impl IntoIterator<Item = u64>) -> u64 {
        self.put(&words.into_iter().flat_map(u64::to_le_bytes).collect::<Vec<_>>())
    }
}

/// A list of system calls.
#[derive(Debug, Default)]
pub struct Steps {
    words: Vec<u64>,
}

impl Steps {
    /// A call that must answer what is expected.
    fn call(&mut self, number: libc::c_long, arguments: [u64; 6], expected: u64) {
        self.words.push(number as u64);
        self.words.extend(arguments);
        self.words.extend([expected, 0]);
    }

    /// A call that may answer anything.
    fn attempt(&mut self, number: libc::c_long, arguments: [u64; 6]) {
        self.words.push(number as u64);
        self.words.extend(arguments);
        self.words.extend([0, 1]);
    }

    /// Moves what is mapped at an address to another.
    pub fn move_mapping(&mut self, from: u64, size: u64, to: u64) {
        let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
        self.call(libc::SYS_mremap, [from, size, size, flags, to, 0], to);
    }

    /// Unmaps all of this process but these ranges, which are in order and do not touch.
    pub fn unmap_all_but(&mut self, kept: &[Range<u64>]) {
        let starts = std::iter::once(LOWEST).chain(kept.iter().map(|range| range.end));
        let ends = kept.iter().map(|range| range.start).chain(std::iter::once(END_OF_MEMORY));
        for (start, end) in starts.zip(ends).filter(|(start, end)| start < end) {
            self.call(libc::SYS_munmap, [start, end - start, 0, 0, 0, 0], 0);
        }
    }

    /// Maps a region, in place of anything that is there.
    pub fn map(&mut self, region: &Region, descriptor: RawFd, offset: u64) {
        let flags = u64::from(region.flags) | libc::MAP_FIXED as u64;
        let protection = protection_while_filled(region).into();
        self.call(
            libc::SYS_mmap,
            [region.start, region.length, protection, flags, descriptor as u64, offset],
            region.start,
        );
    }

    /// The same, where there must be nothing yet.
    pub fn map_anew(&mut self, region: &Region, descriptor: RawFd, offset: u64) {
        self.map(region, descriptor, offset);
        let flags = u64::from(region.flags) | libc::MAP_FIXED_NOREPLACE as u64;
        let at = self.words.len() - WORDS + FLAGS;
        self.words[at] = flags;
    }

    /// Copies the pages of some of the regions, takes back what only that needed, and gives them
    /// their advice anew.
    pub fn fill(
        &mut self,
        plan: &Plan,
        pages: RawFd,
        room: &mut impl Room,
        of: impl Fn(u64) -> bool,
    ) {
        let copies: Vec<&Run> = plan.copies.iter().filter(|run| of(run.address)).collect();
        let follows = |a: &&Run, b: &&Run| a.slot + a.pages == b.slot;
        let together = copies.chunk_by(follows).flat_map(|runs| runs.chunks(MOST_PARTS));
        for some in together {
            let mut parts = Vec::new();
            let mut length = 0;
            for run in some {
                parts.extend(run.address.to_le_bytes());
                parts.extend((run.pages * PAGE_SIZE).to_le_bytes());
                length += run.pages * PAGE_SIZE;
            }
            let at = room.put(&parts);
            let offset = some[0].slot * PAGE_SIZE;
            let arguments = [pages as u64, at, some.len() as u64, offset, 0, 0];
            self.call(libc::SYS_preadv, arguments, length);
        }
        for region in plan.regions.iter().filter(|region| of(region.start)) {
            if protection_while_filled(region) != region.protection {
                let arguments = [region.start, region.length, region.protection.into(), 0, 0, 0];
                self.call(libc::SYS_mprotect, arguments, 0);
            }
            for advice in (0..64).filter(|bit| region.advice >> bit & 1 == 1) {
                self.call(libc::SYS_madvise, [region.start, region.length, advice, 0, 0, 0], 0);
            }
        }
    }

    /// Has the kernel copy pages that will be written to, as far as it can
    /// (`MADV_POPULATE_WRITE`, from Linux 5.14 on).
    pub fn prefetch(&mut self, plan: &Plan, ranges: &[Range<u64>]) {
        for Range { start, end } in ranges {
            if plan.is_writable(*start, *end) {
                let advice = libc::MADV_POPULATE_WRITE as u64;
                self.attempt(libc::SYS_madvise, [*start, end - start, advice, 0, 0, 0]);
            }
        }
    }

    /// Tells the kernel where code, data, heap, stack and arguments are; and, where that is allowed
    /// (`CAP_CHECKPOINT_RESTORE`), which binary the process runs. Says where the number of that
    /// binary's descriptor is.
    pub fn set_bounds(
        &mut self,
        plan: &Plan,
        executable: RawFd,
        room: &mut impl Room,
    ) -> Option<u64> {
        let auxiliary = room.put_words(plan.bounds.auxiliary.iter().copied());
        let mut map: Vec<u8> =
            plan.bounds.fields.iter().flat_map(|word| word.to_le_bytes()).collect();
        map.extend(auxiliary.to_le_bytes());
        map.extend((plan.bounds.auxiliary.len() as u32 * 8).to_le_bytes());
        let set =
            |at| [libc::PR_SET_MM as u64, libc::PR_SET_MM_MAP as u64, at, BOUNDS.into(), 0, 0];
        let number = (executable >= 0).then(|| {
            let with = room.put(&[&map[..], &executable.to_le_bytes()].concat());
            self.attempt(libc::SYS_prctl, set(with));
            with + map.len() as u64
        });
        map.extend(u32::MAX.to_le_bytes());
        let without = room.put(&map);
        self.call(libc::SYS_prctl, set(without), 0);
        number
    }

    /// Sets the thread-local storage.
    pub fn set_storage(&mut self, address: u64) {
        self.call(libc::SYS_arch_prctl, [SET_FS, address, 0, 0, 0, 0], 0);
    }

    /// Sets the alternate signal stack: `stack_t` is address, flags and size.
    pub fn set_alternate_stack(
        &mut self,
        (address, size, flags): (u64, u64, u32),
        room: &mut impl Room,
    ) {
        let disabled = flags & libc::SS_DISABLE as u32;
        let at = room.put_words([address, disabled.into(), size]);
        self.call(libc::SYS_sigaltstack, [at, 0, 0, 0, 0, 0], 0);
    }

    /// Closes a descriptor.
    pub fn close(&mut self, number: RawFd) {
        self.attempt(libc::SYS_close, [number as u64, 0, 0, 0, 0, 0]);
    }

    /// Last: goes on in the park library.
    pub fn enter(&mut self, wake: Wake, handoff: u64) {
        self.words.extend([END, wake.entry, wake.stack, handoff, 0, 0, 0, 0, 0]);
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.words.len() / WORDS
    }

    /// Ends the list; nothing comes after it.
    pub fn end(&mut self) {
        self.words.extend([END; WORDS]);
    }

    /// Makes one step fail, for tests: in a debug build this variable is its number. In a release
    /// build there is nothing of that.
    pub fn spoil(&mut self, variable: &str) {
        if cfg!(debug_assertions)
            && let Some(number) = std::env::var_os(variable)
            && let Some(number) = number.to_str().and_then(|text| text.parse::<usize>().ok())
        {
            match self.words.as_chunks_mut::<WORDS>().0.get_mut(number) {
                Some(step) if step[0] != END => step[EXPECTED] = END - 1,
                _ => eprintln!("no such step"),
            }
        }
    }

    /// The steps, each with its number, arguments and the answer that it must give; none if any
    /// will do.
    pub fn each(&self) -> impl Iterator<Item = (&[u64], Option<u64>)> {
        let steps = self.words.as_chunks::<WORDS>().0.iter();
        steps.map(|step| (&step[..EXPECTED], (step[EXPECTED + 1] == 0).then_some(step[EXPECTED])))
    }

    /// The list as the code of [`super::area`] reads it.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

/// How a region is mapped until its pages are there: one whose pages are copied is writable.
pub fn protection_while_filled(region: &Region) -> u32 {
    match region.source {
        Source::Zeros if region.protection != 0 => region.protection | libc::PROT_WRITE as u32,
        _ => region.protection,
    }
}

/// What happens when one of the steps fails: the process becomes plain Python, or ends.
pub fn rescue(request: &Request, room: &mut impl Room) -> Steps {
    let strings = |room: &mut _, strings: Vec<Vec<u8>>| {
        let mut addresses = Vec::new();
        for mut string in strings {
            string.push(0);
            addresses.push(Room::put(room, &string));
        }
        let first = addresses.first().copied().unwrap_or_default();
        (first, Room::put_words(room, addresses.into_iter().chain([0])))
    };
    let words = request.orig_argv.iter().map(|word| word.as_bytes().to_vec());
    let (path, argv) = strings(room, words.collect());
    let pairs = request
        .environment
        .iter()
        .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    let (_, environment) = strings(room, pairs.collect());
    rescue_by([path, argv, environment], request.blocked_signals, room)
}

/// The same with the arguments of `execve`.
pub fn rescue_by(execute: [u64; 3], blocked_signals: u64, room: &mut impl Room) -> Steps {
    let mut steps = Steps::default();
    let mask = room.put_words([blocked_signals]);
    let set = libc::SIG_SETMASK as u64;
    steps.attempt(libc::SYS_rt_sigprocmask, [set, mask, 0, 8, 0, 0]);
    // Tests can have that fail as well.
    let is_off = cfg!(debug_assertions) && std::env::var_os("PYIMG_TEST_RESCUE").is_some();
    let [path, argv, environment] = execute;
    let path = if is_off { 0 } else { path };
    steps.attempt(libc::SYS_execve, [path, argv, environment, 0, 0, 0]);
    let text = b"pyrun: error: the program's image could not be mapped, nor plain Python started\n";
    let message = room.put(text);
    steps.attempt(libc::SYS_write, [2, message, text.len() as u64, 0, 0, 0]);
    steps.attempt(libc::SYS_exit_group, [FAILED as u64, 0, 0, 0, 0, 0]);
    steps
}
