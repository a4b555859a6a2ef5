//! Signals: sent, ignored, and those that a timer is going to send.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;

/// Sends a signal, which may be a real-time one.
///
/// # Errors
/// When there is no such process or it is not ours to signal.
pub fn send_signal(process: libc::pid_t, signal: c_int) -> io::Result<()> {
    // SAFETY: the call takes numbers and touches no memory of ours.
    match unsafe { libc::kill(process, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets the disposition of a signal to the default or to "ignore".
///
/// # Errors
/// When the number is not that of a signal that can be changed.
pub fn set_disposition(signal: c_int, ignore: bool) -> io::Result<()> {
    let handler = if ignore { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: neither of the two dispositions runs code of ours.
    if unsafe { libc::signal(signal, handler) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether a signal is ignored.
pub fn is_ignored(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null new action the call only fills in `action`, which is read only
    // where it says that it did.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Whether a timer of `setitimer(2)` is running.
pub fn has_timer() -> bool {
    [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF].into_iter().any(|which| {
        let mut timer = MaybeUninit::<libc::itimerval>::zeroed();
        // SAFETY: the call fills in `timer`, of which all zeroes is a value as well.
        let left = unsafe {
            libc::getitimer(which, timer.as_mut_ptr());
            timer.assume_init().it_value
        };
        left.tv_sec != 0 || left.tv_usec != 0
    })
}
