//! The engine that becomes the program: this process's memory is replaced by the image's.
//!
//! No CRIU, no privilege, no supervisor and no other pid. While this is still `pyrun`, everything
//! that can be known is looked at, and each doubt is a [`Refusal`]: the image is then restored
//! otherwise, or plain Python runs. Whatever of the image lies where this process has nothing,
//! which is most of it, is mapped already ([`early`]). What is left to be done is a list of
//! system calls ([`steps`]), put together from the image's plan ([`crate::image::plan`]) and laid,
//! with a few bytes of code that make them one after the other, where neither this process nor
//! the image has anything ([`area`]). Entering that code is the point of no return. It unmaps all
//! that was `pyrun`, maps what is missing, and enters the park library
//! (`src/capture/park/direct.c`), which begins the other threads, removes what is left of the
//! launcher, and wakes as it does in any other process.
//!
//! A step that fails, which after all those looks takes a machine that runs out of memory at
//! this very moment, leads to another list, by which the process becomes plain Python: the
//! program has not begun. Only if that fails too does it end, with a message and the status
//! [`FAILED`].

mod again;
mod area;
mod early;
mod maps;
mod steps;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

pub use self::again::{Again, again};
use self::area::Area;
use self::early::Early;
use self::maps::Maps;
use self::steps::{Room, Steps};
use super::request::{Request, Waking};
use crate::image::PAGE_SIZE;
use crate::image::mapping::PackFile;
use crate::image::plan::{self, Plan, Source, Thread, Wake, frame};

/// The file of an image with the pages that are copied.
pub const PAGES: &str = "pages-1.img";

/// How a run ends that could be neither the program nor plain Python.
pub const FAILED: i32 = 124;

/// How a process is woken that was the caller's own before.
pub const IN_PLACE: Waking =
    Waking { thread_ids: Vec::new(), death_signal: 0, supervisor: 0, in_place: true };

/// Why an image was not taken; nothing has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<nix::Error> for Refusal {
    fn from(error: nix::Error) -> Self {
        Self(error.to_string())
    }
}

/// The image, mapped as far as that is possible, and what is left to be done.
#[derive(Debug)]
pub struct Ready {
    steps: Steps,
    rescue: Steps,
    wake: Wake,
    handoff: u64,
    early: Early,
    area: Area,
    /// Kept open: the steps name their numbers.
    _files: Vec<File>,
}

/// Everything that is needed to become the program.
#[derive(Debug)]
pub struct Complete(Ready);

/// Reads the plan of the image in this directory.
///
/// # Errors
/// When there is none, or it is not for this version or machine.
pub fn read_plan(images: &Path) -> Result<Plan, Refusal> {
    let bytes = fs::read(images.join(plan::FILE)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Refusal(
            fs::read_to_string(images.join(plan::WHY_NONE))
                .unwrap_or_else(|_| "it has no plan".into()),
        ),
        _ => Refusal(format!("its plan cannot be read: {error}")),
    })?;
    parse_plan(&bytes)
}

/// A plan that was read already.
///
/// # Errors
/// When it is not for this version or machine.
pub fn parse_plan(bytes: &[u8]) -> Result<Plan, Refusal> {
    let plan = Plan::parse(bytes).map_err(|unplannable| Refusal(unplannable.0))?;
    if plan.extended_state != crate::sys::size_of_extended_state() {
        return Err(Refusal("its plan is for another processor".into()));
    }
    Ok(plan)
}

/// What speaks against this process becoming a program of the image in this directory, as far as
/// that can be seen without preparing anything.
///
/// # Errors
/// What does.
pub fn examine(images: &Path) -> Result<(), Refusal> {
    let plan = read_plan(images)?;
    check_limits(&plan)?;
    check_kernel()?;
    provided(&plan, &Maps::read()?).map(|_| ())
}

impl Ready {
    /// Looks at everything, maps what can be mapped already, and puts the steps together.
    /// `prefetched` is memory that the program will write to.
    ///
    /// # Errors
    /// When anything speaks against it. Nothing has changed then.
    pub fn prepare(
        plan: &Plan,
        images: &Path,
        packs: &[PackFile],
        request: &Request,
        prefetched: &[Range<u64>],
    ) -> Result<Self, Refusal> {
        check_limits(plan)?;
        check_kernel()?;
        let maps = Maps::read()?;
        let mut files = Vec::new();
        let pack_numbers =
            open_all(packs.iter().map(|pack| (pack.path.as_str(), pack.size)), &mut files)?;
        let own = plan.files.iter().map(|file| (file.path.as_str(), file.size));
        let file_numbers = open_all(own, &mut files)?;
        let pages = if plan.copies.is_empty() {
            -1
        } else {
            files.push(File::open(images.join(PAGES))?);
            files[files.len() - 1].as_raw_fd()
        };
        let executable = File::open(&plan.executable).map_or(-1, |file| {
            files.push(file);
            files[files.len() - 1].as_raw_fd()
        });
        let mut area = Area::new(&maps, plan)?;
        let (mut early, mut now, mut steps) =
            (Early::default(), Steps::default(), Steps::default());
        let mut late = Vec::new();
        for region in &plan.regions {
            let (descriptor, offset) = match region.source {
                Source::Zeros => (-1, 0),
                Source::Pack(number, offset) => (numbered(&pack_numbers, number)?, offset),
                Source::File(number, offset) => (numbered(&file_numbers, number)?, offset),
            };
            if !early.map(region, descriptor, offset)? {
                late.push((region, descriptor, offset));
            }
        }
        now.fill(plan, pages, &mut area, |address| early.has(address));
        now.prefetch(plan, prefetched);
        now.spoil("PYIMG_TEST_EARLY_STEP");
        area::run(&now)?;

        let moved = move_provided(plan, &maps, &mut area, &mut steps)?;
        steps.unmap_all_but(&early.and(area.whole()));
        for (region, descriptor, offset) in late {
            steps.map(region, descriptor, offset);
        }
        steps.fill(plan, pages, &mut area, |address| !early.has(address));
        moved.put_back(&mut steps);
        steps.set_bounds(plan, executable, &mut area);
        steps.set_storage(plan.main.storage);
        steps.set_alternate_stack(plan.main.alternate_stack, &mut area);
        let bytes = request.to_bytes(&IN_PLACE);
        let at = (area.put(&bytes), bytes.len() as u64);
        let handoff = handoff(plan, request.blocked_signals, at, area.whole(), &mut area);
        let rescue = steps::rescue(request, &mut area);
        Ok(Self { steps, rescue, wake: plan.wake, handoff, early, area, _files: files })
    }

    /// Ends the list of steps, when there is nothing else left to be done.
    ///
    /// # Errors
    /// When anything speaks against it. Nothing has changed then.
    pub fn complete(mut self) -> Result<Complete, Refusal> {
        check_alone()?;
        for number in own_descriptors()? {
            self.steps.close(number);
        }
        self.steps.enter(self.wake, self.handoff);
        self.steps.spoil("PYIMG_TEST_STEP");
        self.area.finish(&self.steps, &self.rescue)?;
        // Who goes on as it is can do without them.
        area::leave_rseq().map_err(|error| {
            Refusal(format!("restartable sequences cannot be given up: {error}"))
        })?;
        Ok(Complete(self))
    }
}

impl Complete {
    /// Becomes the program.
    pub fn become_the_program(self) -> ! {
        let Ready { early, area, .. } = self.0;
        early.keep();
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
        // ---- The point of no return. ----
        area.enter()
    }
}

/// There must be no other thread: it would be left without its memory. One that was waited for
/// may take a moment to go.
fn check_alone() -> Result<(), Refusal> {
    const PATIENCE: Duration = Duration::from_millis(100);
    let begun = Instant::now();
    loop {
        // A link for each thread, and the two of any directory.
        match fs::metadata("/proc/self/task")?.nlink().saturating_sub(2) {
            1 => return Ok(()),
            threads if begun.elapsed() > PATIENCE => {
                return Err(Refusal(format!("pyrun has {threads} threads")));
            }
            _ => std::thread::yield_now(),
        }
    }
}

/// The kernel must be one that lets a process say where its code, data and stack are
/// (`CONFIG_CHECKPOINT_RESTORE`).
fn check_kernel() -> Result<(), Refusal> {
    match area::size_of_bounds() {
        Some(steps::BOUNDS) => Ok(()),
        _ => Err(Refusal("the kernel cannot be told where the program's memory is".into())),
    }
}

/// Bytes of address space that the image needs, and of data.
fn limits(plan: &Plan) -> (u64, u64) {
    /// For what is yet to be mapped before the program begins.
    const ROOM: u64 = 4 << 20;
    let sum = |kind: &dyn Fn(&plan::Region) -> bool| -> u64 {
        plan.regions.iter().filter(|region| kind(region)).map(|region| region.length).sum()
    };
    (sum(&|_| true) + ROOM, sum(&|region| region.protection & 2 != 0) + ROOM)
}

/// Limits of memory that the image would exceed.
fn check_limits(plan: &Plan) -> Result<(), Refusal> {
    let (all, data) = limits(plan);
    for (resource, needed, name) in
        [(Resource::RLIMIT_AS, all, "address space"), (Resource::RLIMIT_DATA, data, "data")]
    {
        let (soft, _) = getrlimit(resource)?;
        if needed > soft {
            return Err(Refusal(format!(
                "its {name} of {needed} bytes is over the limit of {soft}"
            )));
        }
    }
    Ok(())
}

fn open_all<'a>(
    wanted: impl Iterator<Item = (&'a str, u64)>,
    files: &mut Vec<File>,
) -> Result<Vec<RawFd>, Refusal> {
    wanted
        .map(|(path, size)| {
            let file = File::open(path).map_err(|error| Refusal(format!("{path}: {error}")))?;
            if file.metadata()?.len() != size {
                return Err(Refusal(format!("{path} has not {size} bytes any more")));
            }
            let number = file.as_raw_fd();
            files.push(file);
            Ok(number)
        })
        .collect()
}

fn numbered(numbers: &[RawFd], number: u32) -> Result<RawFd, Refusal> {
    let found = numbers.get(number as usize).copied();
    found.ok_or_else(|| Refusal(format!("its plan names an unknown pack {number}")))
}

/// Every descriptor that is ours: the program's are those that survive an `exec`.
fn own_descriptors() -> io::Result<Vec<RawFd>> {
    let numbers = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| crate::sys::survives_exec(*number) == Some(false));
    Ok(numbers.collect())
}

/// What the kernel provides, on its way to where the image has it.
struct Moved(Vec<(u64, u64, u64)>);

/// Moves the kernel's pages out of the way, first into the area; they must be those that the
/// image was built with.
fn move_provided(
    plan: &Plan,
    maps: &Maps,
    area: &mut Area,
    steps: &mut Steps,
) -> Result<Moved, Refusal> {
    let moved = provided(plan, maps)?.into_iter().map(|((start, end), target)| {
        let aside = area.reserve(end - start);
        steps.move_mapping(start, end - start, aside);
        (aside, end - start, target)
    });
    Ok(Moved(moved.collect()))
}

/// A part of what the kernel provides: where it is, and its address in the image.
type Part = ((u64, u64), u64);

/// What the kernel provides to this process, each part with its address in the image.
fn provided(plan: &Plan, maps: &Maps) -> Result<Vec<Part>, Refusal> {
    let differs = || Refusal("the kernel provides other code than when it was built".into());
    let Some(wanted) = &plan.provided else {
        return if maps.code.is_none() { Ok(Vec::new()) } else { Err(differs()) };
    };
    let code = maps.code.ok_or_else(differs)?;
    let size = |(start, end): (u64, u64)| end - start;
    let variables: u64 = maps.variables.iter().copied().map(size).sum();
    if size(code) != size(wanted.code) || variables != size(wanted.variables) {
        return Err(differs());
    }
    if blake3::hash(area::code(code)) != plan.code_hash {
        return Err(differs());
    }
    if area::are_sealed(maps) {
        return Err(Refusal("what the kernel provides is sealed and cannot be moved".into()));
    }
    let mut parts = Vec::new();
    let mut target = wanted.variables.0;
    for part in maps.variables.iter().copied() {
        parts.push((part, target));
        target += size(part);
    }
    parts.push((code, wanted.code.0));
    Ok(parts)
}

impl Moved {
    fn put_back(self, steps: &mut Steps) {
        for (aside, size, target) in self.0 {
            steps.move_mapping(aside, size, target);
        }
    }
}

/// What the park library finds: `struct handoff` of its `park.h`. The request is at an address
/// and so many bytes long, and `whole` is what is to go when it was read.
fn handoff(
    plan: &Plan,
    blocked: u64,
    (request, length): (u64, u64),
    whole: Range<u64>,
    room: &mut impl Room,
) -> u64 {
    /// Begins it.
    const MAGIC: u64 = 0x3146_4f48;
    let threads: Vec<u8> =
        plan.threads.iter().flat_map(|thread| thread_words(thread, blocked, room)).collect();
    let threads = room.put(&threads);
    let main = thread_words(&plan.main, blocked, room);
    let Range { start, end } = whole;
    let mut handoff = Vec::new();
    for word in [MAGIC, start, end - start, request, length] {
        handoff.extend(word.to_le_bytes());
    }
    handoff.extend(main);
    handoff.extend((plan.threads.len() as u64).to_le_bytes());
    handoff.extend(threads.to_le_bytes());
    room.put(&handoff)
}

/// `struct direct_thread` of the park library's `park.h`.
///
/// What the caller blocks is blocked in every thread, as in one that the program had started.
fn thread_words(thread: &Thread, blocked: u64, room: &mut impl Room) -> Vec<u8> {
    let mut frame = thread.frame.clone();
    for (mask, more) in frame.iter_mut().skip(frame::MASK).zip(blocked.to_le_bytes()) {
        *mask |= more;
    }
    let frame = if frame.is_empty() { 0 } else { room.put(&frame) };
    let (rseq, rseq_length, signature) = thread.rseq;
    let mut bytes = Vec::new();
    let (robust, robust_length) = thread.robust_list;
    for word in [thread.storage, thread.id_address, robust, robust_length, rseq] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(rseq_length.to_le_bytes());
    bytes.extend(signature.to_le_bytes());
    for word in [thread.frame_address, thread.frame.len() as u64, frame] {
        bytes.extend(word.to_le_bytes());
    }
    let mut name = [0_u8; 16];
    let length = thread.name.len().min(15);
    name[..length].copy_from_slice(&thread.name.as_bytes()[..length]);
    bytes.extend(name);
    bytes
}

/// The number of whole pages that hold so many bytes, in bytes.
fn pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE_SIZE)
}
