//! Waiting for children: whether there are any, and what has become of them.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// Whether this process has children, waited for or not.
pub fn has_children() -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};

    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, look) != Err(nix::Error::ECHILD)
}

/// How a child has ended, by which signal it was stopped or that it was continued, if that is
/// new. Does not wait.
///
/// `nix` knows no real-time signals, of which a child can die as well.
///
/// # Errors
/// When there is no such child.
pub fn change_of_child(child: libc::pid_t) -> io::Result<Option<ExitStatus>> {
    let mut status = 0;
    let flags = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED;
    // SAFETY: the call writes to `status` and nowhere else.
    match unsafe { libc::waitpid(child, &raw mut status, flags) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        _ => Ok(Some(ExitStatus::from_raw(status))),
    }
}

/// Waits for a child to end.
///
/// # Errors
/// When there is no such child, as after it was waited for already.
pub fn end_of_child(child: libc::pid_t) -> io::Result<ExitStatus> {
    let mut status = 0;
    loop {
        // SAFETY: the call writes to `status` and nowhere else.
        if unsafe { libc::waitpid(child, &raw mut status, 0) } != -1 {
            return Ok(ExitStatus::from_raw(status));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The next child that has ended, was stopped or continued, whichever it is; nothing if there is
/// none and waiting is not wanted.
///
/// # Errors
/// `ECHILD` when there are no children at all.
pub fn wait_any(block: bool) -> io::Result<Option<(i32, ExitStatus)>> {
    let mut status = 0;
    let flags = if block { 0 } else { libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED };
    loop {
        // SAFETY: `status` is a valid place for the answer.
        let pid = unsafe { libc::waitpid(-1, &mut status, flags) };
        match pid {
            0 => return Ok(None),
            1.. => return Ok(Some((pid, ExitStatus::from_raw(status)))),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
