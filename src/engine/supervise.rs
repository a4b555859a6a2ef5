//! Stands between a restored program and whoever started us.
//!
//! The program is our child, in our session and process group, on our terminal. What
//! the terminal sends to the group reaches it without us; what is sent to our pid is
//! passed on; when it stops, we stop, so that a shell's job control sees it; and we
//! end as it ended, by the same status or the same signal.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getppid, getsid};

use crate::sys::{change_of_child, send_signal, set_disposition};

/// The signals that are taken one by one while a program runs. The caller blocks them
/// before the program is started, so that none is lost.
///
/// All but those that cannot be blocked, those that report a fault of our own, and
/// SIGALRM, which ends a restore that takes too long.
pub fn signals() -> SigSet {
    let mut set = SigSet::all();
    for signal in [
        Signal::SIGALRM,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGSEGV,
        Signal::SIGTRAP,
        Signal::SIGSYS,
    ] {
        set.remove(signal);
    }
    set
}

/// Waits for the program to end, passing signals on, and returns how it ended.
///
/// # Errors
/// When the child cannot be waited for, which does not happen to a child of ours.
pub fn wait(child: Pid) -> io::Result<ExitStatus> {
    let arrivals = take_signals()?;
    let leads_session = getsid(None) == Ok(Pid::this());
    loop {
        // Look before waiting: the child may have ended before its signal was taken.
        let mut news = change_of_child(child.as_raw())?;
        while let Some(change) = news {
            if !change.continued() && change.stopped_signal().is_none() {
                return Ok(change);
            }
            if let Some(signal) = change.stopped_signal() {
                let watcher = watch(child);
                stop_as_well(signal);
                if let Some(watcher) = watcher {
                    let _ = kill(watcher, Signal::SIGKILL);
                    let _ = waitpid(watcher, None);
                }
            }
            news = change_of_child(child.as_raw())?;
            // A shell continues the whole process group, and so the child: ahead of us,
            // since it has joined the group later (the kernel goes through a group from the
            // newest member on). Without such news it is for us to do; but another SIGCONT
            // would call the program's handler a second time, or end a later stop.
            if news.is_none() && change.stopped_signal().is_some() {
                let _ = kill(child, Signal::SIGCONT);
            }
        }
        let Ok(Some(arrived)) = arrivals.read_signal() else { continue };
        if is_for_the_child(arrived.ssi_signo, arrived.ssi_code, leads_session) {
            let _ = send_signal(child.as_raw(), arrived.ssi_signo.cast_signed());
        }
    }
}

/// From here on all signals that a program can take are taken one by one: SIGALRM too, now
/// that nothing is restored any more.
pub(super) fn take_signals() -> io::Result<SignalFd> {
    let mut all = signals();
    all.add(Signal::SIGALRM);
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&all), None)?;
    Ok(SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC)?)
}

/// Whether a signal that reached us has to be passed on. What comes from the kernel
/// (the terminal's keys, a window that changed) went to the whole process group, and so to
/// the child, or is about the child; `si_code` is positive then (`sigaction(2)`). But a
/// terminal that goes away tells the leader of its session, and nobody else.
pub(super) fn is_for_the_child(signal: u32, code: i32, leads_session: bool) -> bool {
    let hangs_up = [libc::SIGHUP, libc::SIGCONT].contains(&signal.cast_signed());
    code <= 0 || (leads_session && hangs_up)
}

/// Waits until the socket or the signals have something to read, and says which.
pub(super) fn wait_for_either(socket: &OwnedFd, arrivals: &SignalFd) -> io::Result<(bool, bool)> {
    let mut ready = [
        PollFd::new(socket.as_fd(), PollFlags::POLLIN),
        PollFd::new(arrivals.as_fd(), PollFlags::POLLIN),
    ];
    loop {
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) => return Ok((ready[0].any() == Some(true), ready[1].any() == Some(true))),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Stops this process by the signal that stopped the child, until it is continued. The
/// SIGCONT that did it is not there to be taken afterwards.
pub(super) fn stop_as_well(signal: i32) {
    let _ = set_disposition(signal, false);
    let _ = send_signal(Pid::this().as_raw(), signal);
    // The signal is pending unless it is SIGSTOP; letting it through stops us here.
    if let Ok(signal) = Signal::try_from(signal) {
        let mut only = SigSet::empty();
        only.add(signal);
        let _ = pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&only), None);
        let _ = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&only), None);
    }
    let continued = SigSet::from(Signal::SIGCONT);
    if let Ok(pending) =
        SignalFd::with_flags(&continued, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
    {
        let _ = pending.read_signal();
    }
}

/// Starts a process that continues this one, which is about to stop, if the child is continued
/// alone, by somebody who knows its pid. Whoever is stopped cannot see that, and the kernel tells
/// it to nobody else, so the process looks from time to time. It goes on until it is killed.
fn watch(child: Pid) -> Option<Pid> {
    let ours = Pid::this();
    if let Some(watcher) = crate::sys::fork_into(0).ok()? {
        return Some(Pid::from_raw(watcher));
    }
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let (shortest, longest) = (Duration::from_millis(2), Duration::from_millis(100));
    let (mut pause, mut goes_on) = (shortest, false);
    while getppid() == ours {
        std::thread::sleep(pause);
        pause = longest.min(pause * 2);
        // Twice, for who continues us both may be at it.
        let before = std::mem::replace(&mut goes_on, !is_stopped(child) && is_stopped(ours));
        if goes_on {
            pause = shortest;
        }
        if before && goes_on {
            let _ = kill(ours, Signal::SIGCONT);
        }
    }
    crate::sys::exit_now(0)
}

fn is_stopped(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

/// Ends this process as the program ended.
pub fn end_like(status: ExitStatus) -> ! {
    if let Some(signal) = status.signal() {
        // The program has left a core file if one was wanted; ours would say nothing.
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        let _ = set_disposition(signal, false);
        let _ = send_signal(Pid::this().as_raw(), signal);
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    }
    std::process::exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_passed_on_twice() {
        let (from_kernel, from_kill, from_queue) = (0x80, 0, -1);
        let passed_on = |signal: i32, code, leads_session| {
            is_for_the_child(signal.cast_unsigned(), code, leads_session)
        };
        for leads_session in [false, true] {
            assert!(!passed_on(libc::SIGINT, from_kernel, leads_session));
            assert!(!passed_on(libc::SIGCHLD, libc::CLD_EXITED, leads_session));
            assert!(passed_on(libc::SIGTERM, from_kill, leads_session));
            assert!(passed_on(libc::SIGTERM, from_queue, leads_session));
            assert_eq!(passed_on(libc::SIGHUP, from_kernel, leads_session), leads_session);
        }
    }

    #[test]
    fn faults_of_our_own_are_not_blocked() {
        assert!(!signals().contains(Signal::SIGSEGV));
        assert!(!signals().contains(Signal::SIGALRM));
        assert!(signals().contains(Signal::SIGTERM));
    }
}
