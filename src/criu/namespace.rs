//! A user namespace of one's own, where CRIU has no privilege in the one we are in.
//!
//! In a user and pid namespace that it has made itself, an ordinary user has every
//! capability over what is inside, and so CRIU can dump and restore there without root
//! and without a capability on its file. That is not free: a program in there sees other
//! pids than the rest of the machine does, its process group and session have no number
//! (0), it cannot signal processes outside, and setuid programs such as `sudo` give no
//! rights; of its groups it sees the numbers of one only, though it keeps them all. `pyrun` promises that a program runs as under plain Python, so a namespace is
//! made only for those who ask for it, with `PYIMG_USERNS=1`, and only where CRIU
//! cannot do without.
//!
//! This module makes the namespace and its first process, and lends CRIU the one
//! capability that it needs. What that process does, and how it and its maker talk, is
//! not its business (`engine::namespaced`).

use std::fmt::Display;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getegid, geteuid};

use super::capability::{self, CHECKPOINT_RESTORE};

/// The environment variable that allows namespaces, if it is `1`.
pub const VARIABLE: &str = "PYIMG_USERNS";

/// What the first process says when the namespace is as it should be; anything else is
/// what went wrong.
const READY: &[u8] = b"ready";

/// Whether this process is in a namespace that it, or its parent, has made.
static INSIDE: AtomicBool = AtomicBool::new(false);

/// Where a process finds itself after [`enter`].
#[derive(Debug)]
pub enum Side {
    /// In the caller.
    Outside(First),
    /// In the first process of the namespace, with its end of the socket.
    Inside(OwnedFd),
}

/// The first process of a namespace, as its maker sees it. When it ends, the kernel kills
/// all others in there; when its maker ends, it is killed itself.
#[derive(Debug)]
pub struct First {
    /// Its pid outside.
    pub pid: Pid,
    /// Our end of the socket to it (`SOCK_SEQPACKET`).
    pub socket: OwnedFd,
}

/// Whether a namespace is allowed, and this binary cannot do without.
pub(super) fn is_needed(binary: &Path) -> bool {
    is_wanted() && !geteuid().is_root() && !capability::applies(binary)
}

/// Whether the user allows namespaces.
pub fn is_wanted() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|value| value == "1")
}

/// Forks: the child is the first process of a new user, pid and mount namespace, with
/// `/proc` mounted anew, the same user and group, and the one capability that CRIU needs.
///
/// This process must have one thread. The child may not return into code that ends the
/// caller's work a second time: it ends with [`crate::sys::exit_now`].
///
/// # Errors
/// When the system does not allow it; no child is left then.
pub fn enter() -> io::Result<Side> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let ids = (geteuid().as_raw(), getegid().as_raw());
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    let forked = crate::sys::fork_into(flags.bits())
        .map_err(|error| failure("no new user namespace", error))?;
    let Some(pid) = forked else {
        drop(ours);
        let settled = settle(ids, &theirs);
        let text = settled.as_ref().map_or_else(ToString::to_string, |()| String::new());
        let word = if settled.is_ok() { READY } else { text.as_bytes() };
        let said = send(theirs.as_raw_fd(), word, MsgFlags::MSG_NOSIGNAL);
        if settled.is_err() || said.is_err() {
            crate::sys::exit_now(1);
        }
        INSIDE.store(true, Ordering::Relaxed);
        return Ok(Side::Inside(theirs));
    };
    drop(theirs);
    let first = First { pid: Pid::from_raw(pid), socket: ours };
    let mut word = [0; 512];
    let length = loop {
        match recv(first.socket.as_raw_fd(), &mut word, MsgFlags::empty()) {
            Err(nix::Error::EINTR) => {}
            other => break other.unwrap_or(0),
        }
    };
    if &word[..length] == READY {
        return Ok(Side::Outside(first));
    }
    let _ = waitpid(first.pid, None);
    let text = String::from_utf8_lossy(&word[..length]);
    Err(io::Error::other(if text.is_empty() { "it died".into() } else { text }))
}

/// Makes a namespace and leaves it.
///
/// # Errors
/// When the system does not allow it.
pub fn try_out() -> io::Result<()> {
    match enter()? {
        Side::Inside(_) => crate::sys::exit_now(0),
        Side::Outside(first) => waitpid(first.pid, None).map(|_| ()).map_err(Into::into),
    }
}

/// Makes a new namespace one that CRIU works in.
fn settle((uid, gid): (u32, u32), socket: &OwnedFd) -> io::Result<()> {
    let set = |name: &str, value: String| {
        let path = format!("/proc/self/{name}");
        fs::write(&path, value).map_err(|error| failure(path, error))
    };
    // A user who may change groups could leave one that is there to take rights away;
    // `user_namespaces(7)` hence wants this first.
    set("setgroups", "deny".into())?;
    set("uid_map", format!("{uid} {uid} 1"))?;
    set("gid_map", format!("{gid} {gid} 1"))?;
    // Mounts made here do not reach the outside: across user namespaces the kernel makes
    // shared mounts slaves.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
        .map_err(|error| failure("cannot mount /proc", error.into()))?;
    crate::sys::set_capabilities(1 << CHECKPOINT_RESTORE, 0)
        .map_err(|error| failure("cannot drop capabilities", error))?;
    // After what changes our credentials, since that clears it.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // Our maker may have died before that, and then nobody would kill us.
    let mut end = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    poll(&mut end, PollTimeout::ZERO)?;
    if end[0].any() == Some(true) { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
}

fn failure(what: impl Display, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// The capability, handed on to what is executed until this is dropped.
///
/// Only CRIU is to have it: a program that is built or run in a namespace has no
/// capability, as it has none outside.
#[derive(Debug)]
pub(super) struct Lent(());

/// Hands on the capability, if we are in a namespace of our own.
///
/// # Errors
/// When the kernel does not let us.
pub(super) fn lend() -> io::Result<Option<Lent>> {
    if !INSIDE.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let set = 1 << CHECKPOINT_RESTORE;
    crate::sys::set_capabilities(set, set)?;
    let lent = Lent(());
    crate::sys::make_ambient(CHECKPOINT_RESTORE)?;
    Ok(Some(lent))
}

/// Whether this process is in a namespace of our own.
pub(super) fn is_inside() -> bool {
    INSIDE.load(Ordering::Relaxed)
}

impl Drop for Lent {
    fn drop(&mut self) {
        let _ = crate::sys::set_capabilities(1 << CHECKPOINT_RESTORE, 0);
    }
}
