//! The memory that stays while everything else of this process goes: code that makes system
//! calls one after the other, the list of them, and what they refer to.
//!
//! It lies where neither this process nor the image has anything. Code and data are on pages
//! of their own: nothing is writable and executable at once.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::ptr;

use super::maps::Maps;
use super::steps::{Room, Steps};
use super::{Refusal, pages};
use crate::image::PAGE_SIZE;
use crate::image::plan::Plan;

/// Where the area may be: far from where the kernel and the loader put anything.
const PLACES: [u64; 4] = [0x2000_0000_0000, 0x2800_0000_0000, 0x1000_0000_0000, 0x3000_0000_0000];
/// The stack of the code, which it does not use; but a debugger may look for one.
const STACK: u64 = PAGE_SIZE;
/// Room for the kernel's pages while all else is unmapped.
const ASIDE: u64 = 64 * PAGE_SIZE;

// The code: `steps.c`.
unsafe extern "C" {
    static pyimg_steps_begin: u8;
    static pyimg_steps_end: u8;
}

/// The area, as long as it is being filled. It is unmapped when dropped.
#[derive(Debug)]
pub struct Area {
    start: u64,
    length: u64,
    mapped: Mapped,
    /// Where the next bytes go.
    next: u64,
    /// Where the next of the kernel's pages go.
    aside: u64,
    steps: u64,
    rescue: u64,
}

impl Area {
    /// A free place, with room for all that the plan may need.
    pub fn new(maps: &Maps, plan: &Plan) -> Result<Self, Refusal> {
        /// Bytes of a step.
        const STEP: u64 = 72;
        let frames: usize = plan.threads.iter().map(|thread| thread.frame.len() + 256).sum();
        let steps = plan.regions.len() * 3 + plan.copies.len() + 4096;
        let strings: usize = std::env::args_os().map(|word| word.len() + 16).sum::<usize>()
            + std::env::vars_os().map(|(n, v)| 2 * (n.len() + v.len() + 16)).sum::<usize>();
        let room = steps as u64 * STEP
            + plan.copies.len() as u64 * 16
            + frames as u64
            + 4 * strings as u64
            + (1 << 16);
        let length = PAGE_SIZE + STACK + pages(room) + ASIDE;
        let free = |start: &u64| {
            let end = start + length;
            maps.is_free(*start, end)
                && plan.regions.iter().all(|r| r.start + r.length <= *start || r.start >= end)
        };
        let Some(start) = PLACES.into_iter().find(free) else {
            return Err(Refusal("there is no free place for the launcher".into()));
        };
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u32;
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u32;
        let Some(mapped) = Mapped::new(start, length, protection, flags, -1, 0)? else {
            return Err(Refusal("an address is taken".into()));
        };
        Ok(Self {
            start,
            length,
            mapped,
            next: start + PAGE_SIZE + STACK,
            aside: start + length - ASIDE,
            steps: 0,
            rescue: 0,
        })
    }

    /// Its addresses.
    pub fn whole(&self) -> Range<u64> {
        self.mapped.range()
    }

    /// Addresses for pages of the kernel's.
    pub fn reserve(&mut self, size: u64) -> u64 {
        let at = self.aside;
        self.aside += pages(size);
        assert!(self.aside <= self.start + self.length, "the kernel provides too many pages");
        at
    }

    /// Adds the steps, and those for when one fails, and the code.
    pub fn finish(&mut self, steps: &Steps, rescue: &Steps) -> io::Result<()> {
        self.steps = self.put(&steps.to_bytes());
        self.rescue = self.put(&rescue.to_bytes());
        // SAFETY: both symbols are in one section of this program, begin before end, and what
        // is between them fits into a page.
        let code = unsafe {
            let begin = &raw const pyimg_steps_begin;
            let length = (&raw const pyimg_steps_end).offset_from_unsigned(begin);
            std::slice::from_raw_parts(begin, length)
        };
        assert!(code.len() as u64 <= PAGE_SIZE);
        // SAFETY: the first page of the area is mapped writable and has room for the code.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), self.start as *mut u8, code.len()) };
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        // SAFETY: the page is ours and no reference to it exists.
        let status =
            unsafe { libc::mprotect(self.start as *mut _, PAGE_SIZE as usize, protection) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Runs the steps.
    pub fn enter(self) -> ! {
        let stack = self.start + PAGE_SIZE + STACK;
        // SAFETY: nothing of this program runs after this: the code at `start`, which `finish` has
        // put there, uses no memory but the area. What it does to the process's memory can
        // break no promise that somebody could still rely on, since this is its only thread.
        unsafe {
            core::arch::asm!(
                "jmp rax",
                in("r12") self.steps,
                in("r13") self.rescue,
                in("r14") stack,
                in("rax") self.start,
                options(noreturn),
            )
        }
    }
}

impl Room for Area {
    /// # Panics
    /// When there is no room: it was reckoned wrongly.
    fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.next.next_multiple_of(16);
        let end = at + bytes.len() as u64;
        assert!(end <= self.start + self.length - ASIDE, "the launcher's area is too small");
        // SAFETY: the range was just checked to be within the data of the area, which is mapped
        // writable, and to which nobody has a reference.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
        self.next = end;
        at
    }
}

/// The kernel's code in this process.
pub fn code((start, end): (u64, u64)) -> &'static [u8] {
    // SAFETY: the kernel has mapped the range, readable, for as long as the process lives, and
    // nobody can write to it.
    unsafe { std::slice::from_raw_parts(start as *const u8, (end - start) as usize) }
}

/// Whether the kernel's own pages must not be changed any more, nor moved (`mseal(2)`, which a
/// kernel may do to them from Linux 6.16 on).
pub fn are_sealed(maps: &Maps) -> bool {
    let variables = maps.variables.iter().map(|part| (*part, libc::PROT_READ));
    let code = maps.code.map(|part| (part, libc::PROT_READ | libc::PROT_EXEC));
    variables.chain(code).any(|((start, end), protection)| {
        // SAFETY: the kernel has mapped these pages, with this protection, which they keep.
        unsafe { libc::mprotect(start as *mut _, (end - start) as usize, protection) != 0 }
    })
}

/// How many bytes the kernel wants to be told about a process's memory (`PR_SET_MM_MAP_SIZE` of
/// `prctl(2)`); none if it wants nothing.
pub fn size_of_bounds() -> Option<u32> {
    let mut size = 0_u32;
    let zero: libc::c_ulong = 0;
    // SAFETY: the call writes a word to `size` and does nothing else.
    let status = unsafe {
        libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP_SIZE, &raw mut size, zero, zero)
    };
    (status == 0).then_some(size)
}

/// Makes steps at once that fill what [`super::early`] has mapped.
///
/// # Errors
/// When one of them does not answer as it must.
pub fn run(steps: &Steps) -> io::Result<()> {
    for (step, expected) in steps.each() {
        let word = |at: usize| step[at] as libc::c_long;
        // SAFETY: these steps copy pages into memory that is mapped for the image, change its
        // protection and give it advice; nothing of this program is there, nor has a reference.
        let answer =
            unsafe { libc::syscall(word(0), word(1), word(2), word(3), word(4), word(5), word(6)) };
        if expected.is_some_and(|expected| expected != answer as u64) {
            return Err(match answer {
                -1 => io::Error::last_os_error(),
                _ => io::Error::other(format!("call {} has answered {answer}", step[0])),
            });
        }
    }
    Ok(())
}

/// Memory that was mapped where nothing was, and that nobody has a reference to. It is unmapped
/// when dropped.
#[derive(Debug)]
pub struct Mapped {
    range: Range<u64>,
}

impl Mapped {
    /// Maps memory; none if something is there already.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub fn new(
        start: u64,
        length: u64,
        protection: u32,
        flags: u32,
        descriptor: RawFd,
        offset: u64,
    ) -> io::Result<Option<Self>> {
        let flags = flags as libc::c_int | libc::MAP_FIXED_NOREPLACE;
        let (size, protection) = (length as usize, protection as libc::c_int);
        let offset = offset.cast_signed();
        // SAFETY: MAP_FIXED_NOREPLACE replaces nothing that is mapped, and what is new nobody has
        // a reference to.
        let mapped =
            unsafe { libc::mmap(start as *mut _, size, protection, flags, descriptor, offset) };
        if mapped == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::EEXIST) { Ok(None) } else { Err(error) };
        }
        let start_of_it = mapped as u64;
        // A kernel before 4.17 takes the address for a wish: then it is unmapped again.
        let mapped = Self { range: start_of_it..start_of_it + length };
        Ok((start_of_it == start).then_some(mapped))
    }

    /// Its addresses.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Takes in memory that begins where this ends; gives it back if it does not.
    pub fn join(&mut self, next: Self) -> Option<Self> {
        if next.range.start != self.range.end {
            return Some(next);
        }
        self.range.end = next.range.end;
        next.keep();
        None
    }

    /// It stays mapped for ever.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let Range { start, end } = self.range;
        // SAFETY: it was mapped by `new`, where nothing was, and nobody has a reference into it.
        unsafe { libc::munmap(start as *mut _, (end - start) as usize) };
    }
}

/// Has the kernel write no more into the C library's area for restartable sequences, which is
/// about to go.
///
/// # Errors
/// When it cannot be given up.
pub fn leave_rseq() -> io::Result<()> {
    unsafe extern "C" {
        static __rseq_offset: isize;
        static __rseq_size: u32;
    }
    /// `RSEQ_SIG` of glibc on x86-64, and `RSEQ_FLAG_UNREGISTER`.
    const SIGNATURE: u32 = 0x5305_3053;
    const UNREGISTER: libc::c_int = 1;
    // SAFETY: both are constants of the C library from 2.35 on, set before main.
    let (offset, size) = unsafe { (__rseq_offset, __rseq_size) };
    if size == 0 {
        return Ok(());
    }
    let pointer: usize;
    // SAFETY: reads the first word of the thread's control block, which is its own address (System
    // V ABI, thread-local storage).
    unsafe { core::arch::asm!("mov {}, fs:[0]", out(reg) pointer, options(nostack, readonly)) };
    let address = pointer.wrapping_add_signed(offset);
    // What was registered is at least 32 bytes long, whatever of it is used.
    let length = size.next_multiple_of(32).max(32);
    // SAFETY: the call makes the kernel forget an address; it touches no memory of ours.
    let status = unsafe { libc::syscall(libc::SYS_rseq, address, length, UNREGISTER, SIGNATURE) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
