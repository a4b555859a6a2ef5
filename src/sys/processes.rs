//! Processes that this one starts, by `exec` or by a fork alone, and what a forked one does
//! with what it has from its parent.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::descriptors::replace;
use super::signals::set_disposition;
use super::waiting::end_of_child;

/// Has the program start as the leader of a new session, without a terminal.
pub fn in_own_session(command: &mut Command) {
    // SAFETY: between fork and exec, the closure makes one system call that takes no lock
    // and touches no memory but `errno`.
    unsafe {
        command.pre_exec(|| match libc::setsid() {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        })
    };
}

/// Has the program end by this signal when the thread that starts it ends.
pub fn in_company(command: &mut Command, signal: c_int) {
    // SAFETY: between fork and exec, the closure makes one system call that takes no lock
    // and touches no memory but `errno`.
    unsafe {
        command.pre_exec(move || match libc::prctl(libc::PR_SET_PDEATHSIG, signal) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        })
    };
}

/// Forks, into new namespaces where flags (`CLONE_NEW…`) ask for that. Returns the child's
/// pid, and nothing in the child.
///
/// To be called while the process has one thread: the child has just that one, and locks
/// held by others would stay locked in it.
///
/// # Errors
/// When no process can be started, or the namespaces are not allowed.
pub fn fork_into(namespaces: c_int) -> io::Result<Option<i32>> {
    debug_assert_eq!(std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count), 1);
    let mut own_id: *mut libc::pid_t = std::ptr::null_mut();
    // SAFETY: the kernel writes one pointer to where `own_id` is.
    if unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &mut own_id) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `clone_args` holds numbers, for all of which 0 is a valid value.
    let mut request: libc::clone_args = unsafe { std::mem::zeroed() };
    let shared = libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
    request.flags = (namespaces | shared) as u64;
    // The C library keeps the thread's id at this address; its own fork does the same.
    request.child_tid = own_id as u64;
    request.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without a stack and without CLONE_VM the call behaves as fork: the child goes
    // on with a copy of this memory. There is no other thread whose locks it could miss,
    // and `child_tid` is where the kernel itself was told the id to be.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &request, std::mem::size_of_val(&request)) };
    match pid {
        0 => Ok(None),
        1.. => Ok(Some(pid as i32)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes every descriptor and puts `/dev/null` in place of the standard ones; all signals
/// are as the system has them for a new program.
///
/// To be called by a process that uses none of the objects that own descriptors any more, and
/// that ends with [`exit_now`] or becomes another program.
///
/// # Errors
/// When `/dev/null` cannot be opened.
pub fn forget_caller() -> io::Result<()> {
    // SAFETY: the caller says that the owners of these descriptors are not used.
    unsafe { libc::close_range(3, u32::MAX, 0) };
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    (0..3).try_for_each(|number| replace(null.as_raw_fd(), number, true))?;
    for signal in 1..=libc::SIGRTMAX() {
        // Some cannot be changed, and need not be.
        let _ = set_disposition(signal, false);
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// Ends this process at once, without anything that is to be done at its exit.
pub fn exit_now(status: c_int) -> ! {
    // SAFETY: the call does not return, and nothing of ours runs in it.
    unsafe { libc::_exit(status) }
}

/// Starts and reaps a child that does nothing, and returns the pid that it had.
///
/// The kernel hands out pids in a cycle, so the pid stays free for a long while: a
/// process restored right afterwards can be given it.
///
/// # Errors
/// When no process can be started.
pub fn burn_pid() -> io::Result<u32> {
    extern "C" fn end(_: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the call ends the child and reads or writes no memory.
        unsafe { libc::syscall(libc::SYS_exit_group, 0) as libc::c_int }
    }
    // The child has our memory, not a copy of it: copying page tables takes longer than all
    // the rest, and then every page that is written once more.
    let mut stack = [MaybeUninit::<u128>::uninit(); 256];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child runs `end` on `stack`, whose end is aligned to 16 bytes and which
    // outlives it, since CLONE_VFORK holds this thread up until the child is gone. It makes one
    // system call and touches no memory but that stack, so that locks held by other threads
    // and library state do not matter.
    let pid = unsafe {
        let top = stack.as_mut_ptr_range().end.cast();
        libc::clone(end, top, flags, std::ptr::null_mut())
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    end_of_child(pid).map(|_| pid.cast_unsigned())
}
