//! When a launch reached what: for `scripts/bench-launch`, and for nobody else.
//!
//! With `PYIMG_LOG=phases`, which may change at any time, `pyrun` prints one line of JSON to
//! standard error: once the program has started, or before `pyrun` becomes plain Python.
//! The times are of the monotonic clock, which Python reads as well (`time.monotonic_ns`),
//! so that what happened before and after can be put beside them; with each goes what its
//! thread has used of a processor, which says more on a busy machine. Off, a mark costs one
//! load of an atomic. A mark is no log: it has a name and two times and no more.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::time::{ClockId, clock_gettime};

static ON: AtomicBool = AtomicBool::new(false);
static TRACE: Mutex<Option<Trace>> = Mutex::new(None);

struct Trace {
    /// Name, monotonic time, processor time of the thread; in nanoseconds.
    marks: Vec<(&'static str, u64, u64)>,
    /// Standard error, of our own: that of the program is given up before the last mark.
    out: File,
}

/// Monotonic time in nanoseconds; 0 where there is no such clock.
pub fn now() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

fn read(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| {
        let (seconds, rest) = (time.tv_sec().cast_unsigned(), time.tv_nsec().cast_unsigned());
        seconds * 1_000_000_000 + rest
    })
}

/// From here on marks are kept; the first says when the launch began, by [`now`].
pub fn start(begun: u64) {
    let (Ok(out), Ok(mut trace)) = (std::io::stderr().as_fd().try_clone_to_owned(), TRACE.lock())
    else {
        return;
    };
    *trace = Some(Trace { marks: vec![("begun", begun, 0)], out: out.into() });
    ON.store(true, Ordering::Relaxed);
}

/// Notes that this point is reached, by whichever thread.
pub fn reached(point: &'static str) {
    if ON.load(Ordering::Relaxed)
        && let Ok(mut trace) = TRACE.lock()
        && let Some(trace) = &mut *trace
    {
        trace.marks.push((point, now(), read(ClockId::CLOCK_THREAD_CPUTIME_ID)));
    }
}

/// Prints all marks with how the launch ended: `hit`, or the code of the miss.
///
/// The marks are arrays in an array, since a launch that tries two images reaches some twice.
pub fn finish(outcome: &str) {
    reached("end");
    if ON.swap(false, Ordering::Relaxed)
        && let Some(mut trace) = TRACE.lock().ok().and_then(|mut trace| trace.take())
    {
        let line = serde_json::json!({ "outcome": outcome, "marks": trace.marks });
        // Where nobody reads it, the program is to run all the same.
        let ignored = crate::sys::is_ignored(libc::SIGPIPE);
        let _ = crate::sys::set_disposition(libc::SIGPIPE, true);
        let _ = trace.out.write_all(format!("{line}\n").as_bytes());
        let _ = crate::sys::set_disposition(libc::SIGPIPE, ignored);
    }
}
