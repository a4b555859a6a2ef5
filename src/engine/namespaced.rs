//! Work done inside a namespace of our own, and the process outside that answers for it.
//!
//! Three processes: the *outer* one, which the caller started and which stays in the
//! caller's namespaces; the *first* one of the namespace, its child; and the *worker*, the
//! child of that, which does what is wanted: the restored program, or a build. To the
//! caller the outer process is as good as the worker. It stops when that stops and ends as
//! that ended; the first process, which cannot stop or die by signals from within
//! (`pid_namespaces(7)`), tells it so over a socket. Signals go the other way, from the
//! outer process through the first one to the worker: over the socket too, where none is
//! lost because another one of its kind is pending.
//!
//! What the worker leaves running in the background goes on running, as it does after
//! plain Python: then the first process stays as well, without its maker. If the outer
//! process is killed, everything in the namespace is.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::unistd::{Pid, getsid, setsid};

use super::criu::{NotStarted, Parked};
use super::request::Request;
use super::supervise::{self, is_for_the_child, stop_as_well};
use crate::criu::Criu;
use crate::criu::namespace::{self, First, Side};

/// Longest text of a failure that is told.
const LONGEST_TEXT: usize = 2048;

/// What the first process and the outer one tell each other.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// The worker is about to do what is wanted: from here on it may have.
    Starting,
    /// The worker does what is wanted.
    Started,
    /// It does not, and why.
    NotStarted(Refusal, String),
    /// The other way: the worker may do it.
    Go,
    /// The other way: the worker is to get this signal.
    Signal(i32),
    /// The worker was stopped by this signal; how many times it has been stopped by now.
    Stopped(i32, u32),
    /// The other way: the outer process, which was stopped because of this stop of the
    /// worker's, goes on.
    Continued(u32),
    /// The worker has ended, with this status as of `wait(2)`.
    Ended(i32),
    /// The same, but others in the namespace go on.
    EndedFirst(i32),
}

/// The kinds of [`NotStarted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Refused,
    Damaged,
    Failed,
}

impl Word {
    fn to_text(&self) -> String {
        match self {
            Self::Starting => "starting".into(),
            Self::Started => "started".into(),
            Self::Go => "go".into(),
            Self::NotStarted(Refusal::Refused, text) => format!("refused {text}"),
            Self::NotStarted(Refusal::Damaged, text) => format!("damaged {text}"),
            Self::NotStarted(Refusal::Failed, text) => format!("failed {text}"),
            Self::Signal(signal) => format!("signal {signal}"),
            Self::Stopped(signal, count) => format!("stopped {signal} {count}"),
            Self::Continued(count) => format!("continued {count}"),
            Self::Ended(status) => format!("ended {status}"),
            Self::EndedFirst(status) => format!("ended-first {status}"),
        }
    }

    fn of_text(text: &str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let number = || rest.parse().ok();
        Some(match word {
            "starting" => Self::Starting,
            "started" => Self::Started,
            "go" => Self::Go,
            "refused" => Self::NotStarted(Refusal::Refused, rest.into()),
            "damaged" => Self::NotStarted(Refusal::Damaged, rest.into()),
            "failed" => Self::NotStarted(Refusal::Failed, rest.into()),
            "signal" => Self::Signal(number()?),
            "stopped" => {
                let (signal, count) = rest.split_once(' ')?;
                Self::Stopped(signal.parse().ok()?, count.parse().ok()?)
            }
            "continued" => Self::Continued(rest.parse().ok()?),
            "ended" => Self::Ended(number()?),
            "ended-first" => Self::EndedFirst(number()?),
            _ => return None,
        })
    }

    fn say(&self, socket: &OwnedFd) {
        let text: String = self.to_text().chars().take(LONGEST_TEXT).collect();
        // Whoever does not hear it is dead, and its death ends us.
        let _ = send(socket.as_raw_fd(), text.as_bytes(), MsgFlags::MSG_NOSIGNAL);
    }

    /// Waits for the next word; none when the first process is dead.
    fn hear(socket: &OwnedFd) -> Option<Self> {
        let mut bytes = [0; 4 * LONGEST_TEXT];
        loop {
            match recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                Err(nix::Error::EINTR) => {}
                Ok(0) | Err(_) => return None,
                Ok(length) => return Self::of_text(&String::from_utf8_lossy(&bytes[..length])),
            }
        }
    }
}

/// The verdict of a check that is not made here, and was not heard.
#[derive(Debug)]
struct Unheard;

impl fmt::Display for Unheard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process outside is gone")
    }
}

impl From<NotStarted<Unheard>> for Word {
    fn from(why: NotStarted<Unheard>) -> Self {
        match why {
            NotStarted::Refused(text) => Self::NotStarted(Refusal::Refused, text),
            NotStarted::Damaged(text) => Self::NotStarted(Refusal::Damaged, text),
            other => Self::NotStarted(Refusal::Failed, other.to_string()),
        }
    }
}

/// Work that goes on in a namespace.
#[derive(Debug)]
pub struct Namespaced {
    first: First,
    /// Whether the worker is in our process group, so that the terminal's signals reach it
    /// without us.
    same_group: bool,
}

/// Restores an image in a namespace and has it run the program of the request.
///
/// As [`super::criu::start`] does it here, `check` being made out here; the program is in
/// our process group.
///
/// # Errors
/// When the program was not started. No process is left then.
pub fn start<E>(
    criu: &Criu,
    parked: &Parked<'_>,
    request: &Request,
    check: impl FnOnce() -> Result<(), E>,
) -> Result<Namespaced, NotStarted<E>> {
    let work = |socket: &OwnedFd| {
        let check = || match Word::hear(socket) {
            Some(Word::Go) => Ok(()),
            _ => Err(Unheard),
        };
        super::criu::start(criu, parked, request, check, || Word::Starting.say(socket))
    };
    begin(work, check).map(|first| Namespaced { first, same_group: true })
}

/// Asks CRIU whether it works in a namespace.
///
/// # Errors
/// With the reason why it does not, or why there is no namespace.
pub fn check(
    ask: impl FnOnce() -> Result<(), crate::criu::Error>,
) -> Result<(), NotStarted<Infallible>> {
    let work = |_: &OwnedFd| {
        ask()?;
        // A worker that has nothing to do.
        match crate::sys::fork_into(0)? {
            Some(pid) => Ok(Pid::from_raw(pid)),
            None => crate::sys::exit_now(0),
        }
    };
    let before = SigSet::thread_get_mask()?;
    let first = begin(work, || Ok(()))?;
    let _ = Namespaced { first, same_group: true }.wait();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    Ok(())
}

/// Enters a namespace and starts the worker there, while `check` is made here.
fn begin<E>(
    work: impl FnOnce(&OwnedFd) -> Result<Pid, NotStarted<Unheard>>,
    check: impl FnOnce() -> Result<(), E>,
) -> Result<First, NotStarted<E>> {
    let mut before = SigSet::empty();
    // None is lost: what arrives meanwhile is passed on later.
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&supervise::signals()), Some(&mut before))?;
    let started = enter_and_work(work, check);
    if started.is_err() {
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    }
    started
}

fn enter_and_work<E>(
    work: impl FnOnce(&OwnedFd) -> Result<Pid, NotStarted<Unheard>>,
    check: impl FnOnce() -> Result<(), E>,
) -> Result<First, NotStarted<E>> {
    let first = match namespace::enter().map_err(NotStarted::Namespace)? {
        Side::Outside(first) => first,
        Side::Inside(socket) => {
            let _end = EndHere;
            match work(&socket) {
                Ok(worker) => {
                    Word::Started.say(&socket);
                    attend(&socket, worker, true)
                }
                Err(why) => Word::from(why).say(&socket),
            }
            crate::sys::exit_now(0)
        }
    };
    let verdict = check();
    if verdict.is_ok() {
        Word::Go.say(&first.socket);
    }
    let mut heard = verdict.map(|()| Word::hear(&first.socket));
    let is_starting = matches!(heard, Ok(Some(Word::Starting)));
    if is_starting {
        heard = Ok(Word::hear(&first.socket));
    }
    let failure = match heard {
        Err(reason) => NotStarted::Unwanted(reason),
        Ok(heard) => match heard {
            Some(Word::Started) => return Ok(first),
            // Killed meanwhile, as after the start.
            None if is_starting => return Ok(first),
            Some(Word::NotStarted(Refusal::Refused, text)) => NotStarted::Refused(text),
            Some(Word::NotStarted(Refusal::Damaged, text)) => NotStarted::Damaged(text),
            Some(Word::NotStarted(Refusal::Failed, text)) => {
                NotStarted::Namespace(io::Error::other(text))
            }
            _ => NotStarted::Namespace(io::Error::other("it died")),
        },
    };
    let _ = kill(first.pid, Signal::SIGKILL);
    let _ = nix::sys::wait::waitpid(first.pid, None);
    Err(failure)
}

/// Carries on in a namespace: returns in a worker there, while this process waits for it
/// and ends as it ends.
///
/// The worker is in a session of its own, since CRIU does not dump a process whose
/// session is outside of its namespace. All signals of this process are passed on to it.
///
/// # Errors
/// When there is no namespace; then this process carries on.
pub fn move_in() -> io::Result<()> {
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&supervise::signals()), Some(&mut before))?;
    let restore_mask = || pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    match namespace::enter() {
        Err(error) => {
            restore_mask()?;
            Err(error)
        }
        Ok(Side::Outside(first)) => {
            let status = Namespaced { first, same_group: false }.wait();
            supervise::end_like(status.unwrap_or_else(|_| ExitStatus::from_raw(1 << 8)))
        }
        Ok(Side::Inside(socket)) => {
            let worker = setsid().map_err(io::Error::from).and_then(|_| crate::sys::fork_into(0));
            match worker {
                Ok(None) => Ok(restore_mask()?),
                Ok(Some(worker)) => {
                    let _end = EndHere;
                    attend(&socket, Pid::from_raw(worker), false)
                }
                // The outer process takes our death for a kill.
                Err(_) => crate::sys::exit_now(1),
            }
        }
    }
}

impl Namespaced {
    /// Waits for the worker to end, passing signals on, and returns how it ended.
    ///
    /// # Errors
    /// When signals cannot be read.
    pub fn wait(self) -> io::Result<ExitStatus> {
        let arrivals = supervise::take_signals()?;
        let leads_session = getsid(None) == Ok(Pid::this());
        loop {
            let (said, arrived) = supervise::wait_for_either(&self.first.socket, &arrivals)?;
            if arrived && let Ok(Some(arrived)) = arrivals.read_signal() {
                let signal = arrived.ssi_signo.cast_signed();
                if signal != Signal::SIGCHLD as i32
                    && (!self.same_group
                        || is_for_the_child(arrived.ssi_signo, arrived.ssi_code, leads_session))
                {
                    Word::Signal(signal).say(&self.first.socket);
                }
            }
            if !said {
                continue;
            }
            match Word::hear(&self.first.socket) {
                Some(Word::Stopped(signal, count)) => {
                    stop_as_well(signal);
                    Word::Continued(count).say(&self.first.socket);
                }
                Some(Word::Ended(status)) => {
                    self.reap();
                    return Ok(ExitStatus::from_raw(status));
                }
                Some(Word::EndedFirst(status)) => return Ok(ExitStatus::from_raw(status)),
                Some(_) => {}
                // Somebody has killed the first process, and thereby the worker.
                None => {
                    self.reap();
                    return Ok(ExitStatus::from_raw(Signal::SIGKILL as i32));
                }
            }
        }
    }

    fn reap(&self) {
        let _ = nix::sys::wait::waitpid(self.first.pid, None);
    }
}

/// Ends the process when it is dropped: a panic, too, must not leave the first process in
/// the code of the outer one.
struct EndHere;

impl Drop for EndHere {
    fn drop(&mut self) {
        crate::sys::exit_now(1)
    }
}

/// The life of the first process once the worker runs: reaps, passes signals on to the
/// worker, and tells what becomes of it.
fn attend(socket: &OwnedFd, worker: Pid, same_group: bool) -> ! {
    // Whoever reads what the worker writes must see the end when that closes its output;
    // locks of the store end as well, and no directory is kept from being unmounted.
    crate::sys::let_go_of(0..=2);
    crate::sys::close_all_but(socket);
    let _ = nix::unistd::chdir("/");
    // All signals are kept from us; those but SIGCHLD were sent to the whole group.
    let Ok(arrivals) = supervise::take_signals() else { crate::sys::exit_now(1) };
    let mut stops = 0;
    let mut is_stopped = false;
    let mut heard = None;
    loop {
        while let Ok(Some((pid, change))) = crate::sys::wait_any(false) {
            // Others are orphans of the worker's: reaped, and that is all.
            if pid != worker.as_raw() {
                continue;
            }
            is_stopped = change.stopped_signal().is_some();
            if let Some(signal) = change.stopped_signal() {
                stops += 1;
                Word::Stopped(signal, stops).say(socket);
            } else if !change.continued() {
                conclude(socket, change);
            }
        }
        // A shell continues the whole group: the worker ahead of the outer process, and by
        // now the worker may even have stopped anew. Only the stop that is meant ends.
        let signal = match heard.take() {
            Some(Word::Signal(signal)) => Some(reaching(signal, same_group)),
            Some(Word::Continued(count)) if is_stopped && count == stops => Some(libc::SIGCONT),
            _ => None,
        };
        if let Some(signal) = signal {
            let _ = crate::sys::send_signal(worker.as_raw(), signal);
        }
        let Ok((said, arrived)) = supervise::wait_for_either(socket, &arrivals) else {
            crate::sys::exit_now(1)
        };
        if arrived {
            let _ = arrivals.read_signal();
        }
        if said {
            heard = Word::hear(socket);
            if heard.is_none() {
                crate::sys::exit_now(1);
            }
        }
    }
}

/// The signal that does to the worker what this one is to do. In a session of its own the
/// worker's group is an orphaned one, in which the terminal's stop signals do nothing
/// (`setpgid(2)`).
fn reaching(signal: i32, same_group: bool) -> i32 {
    match signal {
        libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU if !same_group => libc::SIGSTOP,
        other => other,
    }
}

/// Tells how the worker ended, and stays while anything else runs in the namespace.
fn conclude(socket: &OwnedFd, status: ExitStatus) -> ! {
    let status = status.into_raw();
    // All orphans are children of ours: without children we are alone.
    let others = loop {
        match crate::sys::wait_any(false) {
            Ok(Some(_)) => {}
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    if !others {
        Word::Ended(status).say(socket);
        crate::sys::exit_now(0);
    }
    // The outer process will end now, and that must not be the end of the others; nor must
    // a signal to its group.
    let _ = prctl::set_pdeathsig(None);
    let _ = setsid();
    Word::EndedFirst(status).say(socket);
    crate::sys::close_all_but(socket);
    while crate::sys::wait_any(true).is_ok() {}
    crate::sys::exit_now(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood() {
        for word in [
            Word::Starting,
            Word::Started,
            Word::Go,
            Word::NotStarted(Refusal::Refused, "a b".into()),
            Word::NotStarted(Refusal::Damaged, String::new()),
            Word::NotStarted(Refusal::Failed, "CRIU lacks a privilege: CAP_X".into()),
            Word::Signal(15),
            Word::Stopped(20, 3),
            Word::Continued(3),
            Word::Ended(9),
            Word::EndedFirst(256),
        ] {
            assert_eq!(Word::of_text(&word.to_text()), Some(word));
        }
        assert_eq!(Word::of_text("ended soon"), None);
    }

    #[test]
    fn stop_signals_reach_a_session_of_its_own() {
        assert_eq!(reaching(libc::SIGTSTP, true), libc::SIGTSTP);
        assert_eq!(reaching(libc::SIGTSTP, false), libc::SIGSTOP);
        assert_eq!(reaching(libc::SIGINT, false), libc::SIGINT);
    }
}
