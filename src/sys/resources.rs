//! What this process may take of the machine: its limits, and how it is scheduled.

use std::ffi::c_int;
use std::io;

/// The soft and hard resource limits, in the order of the `RLIMIT_*` numbers.
///
/// # Errors
/// When the kernel knows fewer limits than Linux has had since 2.6.
pub fn resource_limits() -> io::Result<Vec<(u64, u64)>> {
    /// `RLIM_NLIMITS` of `asm-generic/resource.h`.
    const LIMITS: u32 = 16;
    (0..LIMITS)
        .map(|resource| {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: `limit` is a valid place for the answer.
            if unsafe { libc::getrlimit(resource, &mut limit) } != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok((limit.rlim_cur, limit.rlim_max))
        })
        .collect()
}

/// The process's nice value.
pub fn nice() -> i32 {
    // SAFETY: getpriority only reads; -1 may be a value and is taken for one.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// Whether the process is scheduled by the ordinary policy, `SCHED_OTHER`.
pub fn is_scheduled_ordinarily() -> bool {
    // SAFETY: sched_getscheduler only reads; 0 is this process.
    unsafe { libc::sched_getscheduler(0) == libc::SCHED_OTHER }
}

/// Has the C library take memory from the kernel in one piece, and give none back until the
/// process ends: for one that lives for some milliseconds. Threads allocate from the same memory,
/// in place of reserving some of their own.
pub fn expect_a_short_life() {
    const MB: libc::c_int = 1 << 20;
    // SAFETY: mallopt takes two numbers and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TOP_PAD, MB);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 16 * MB);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 * MB);
    }
}

/// Makes this process the least important one: it works when nobody else wants to.
///
/// Where a part of that is not allowed, it is not done.
pub fn yield_to_others() {
    // `IOPRIO_WHO_PROCESS`, and `IOPRIO_CLASS_IDLE` in its place, of `linux/ioprio.h`.
    const PROCESS: c_int = 1;
    const IDLE: c_int = 3 << 13;
    // With autogroups the nice value counts within a session only, and this among them.
    let _ = std::fs::write("/proc/self/autogroup", "19");
    // SAFETY: all three take numbers, 0 is this process, and `parameter` is only read.
    unsafe {
        let mut parameter: libc::sched_param = std::mem::zeroed();
        parameter.sched_priority = 0;
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameter);
        libc::syscall(libc::SYS_ioprio_set, PROCESS, 0, IDLE);
    }
}
