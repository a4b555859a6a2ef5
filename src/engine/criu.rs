//! The engine that restores an image through CRIU, as a child of this process.
//!
//! In order: fresh pids are found; a directory on a tmpfs shows CRIU the image under
//! these pids; CRIU restores, with a socket of ours in place of the one on which the
//! process was parked, while another thread looks whether the image may be used at all and
//! then puts the request into that socket. The process takes it while CRIU finishes, and
//! waits for a last word: if a program could start, and end, before CRIU has let go of it,
//! CRIU would call the restore a failure, and the program would run again. Until the park library answers `started`, nothing
//! of the user's program has run, and every failure can still become a run of plain
//! Python.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::personality::{self, Persona};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::request::{Request, Waking};
use crate::criu::{self, Criu, Restore, RuntimeDir, Version};
use crate::image::mapping::{PackFile, name_packs};
use crate::image::pids::{Job, Renumbering};
use crate::manifest::Process;
use crate::trace;

/// How often other pids are tried when one is taken.
const PID_ATTEMPTS: usize = 8;
/// How long a restored process may take to say that it has started.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// How many descriptors CRIU can always do with; it puts its own near the soft limit.
const ENOUGH_DESCRIPTORS: u64 = 4096;

/// An image, as far as restoring it is concerned.
#[derive(Debug)]
pub struct Parked<'a> {
    /// The directory of its CRIU images.
    pub images: &'a Path,
    /// Its process.
    pub process: &'a Process,
    /// Its packs, by number.
    pub packs: &'a [PackFile],
}

/// Why a program was not started. Nothing of it has run.
#[derive(Debug)]
pub enum NotStarted<E> {
    /// What was checked meanwhile says no.
    Unwanted(E),
    /// CRIU could not restore the process.
    Criu(criu::Error),
    /// The process was restored and could not take the request.
    Refused(String),
    /// A system call failed on the way.
    Io(io::Error),
    /// The image cannot be read.
    Damaged(String),
    /// It failed in a namespace, or there is none.
    Namespace(io::Error),
}

impl<E: fmt::Display> fmt::Display for NotStarted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwanted(reason) => reason.fmt(f),
            Self::Criu(error) => error.fmt(f),
            Self::Refused(text) => write!(f, "the restored process gave up: {text}"),
            Self::Io(error) => write!(f, "cannot restore the image: {error}"),
            Self::Damaged(text) => write!(f, "the image is damaged: {text}"),
            Self::Namespace(error) => write!(f, "in a user namespace: {error}"),
        }
    }
}

impl<E> From<criu::Error> for NotStarted<E> {
    fn from(error: criu::Error) -> Self {
        Self::Criu(error)
    }
}

impl<E> From<io::Error> for NotStarted<E> {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<E> From<nix::Error> for NotStarted<E> {
    fn from(error: nix::Error) -> Self {
        Self::Io(error.into())
    }
}

/// Restores an image and has it run the program of the request.
///
/// While CRIU works, `check` has the last word on whether the image may be used; the
/// restored process is told what to do only after that. `before_go` is called when all is
/// done but to let the program begin. On success the program runs, as the child with the
/// returned pid. The signals of [`super::supervise::signals`] are
/// blocked from here on; after a failure the mask is as it was and no child is left.
///
/// # Errors
/// When the program was not started.
pub fn start<E: Send>(
    criu: &Criu,
    parked: &Parked<'_>,
    request: &Request,
    check: impl FnOnce() -> Result<(), E> + Send,
    before_go: impl FnOnce(),
) -> Result<Pid, NotStarted<E>> {
    let surroundings = Surroundings::prepare()?;
    let started = restore(criu, parked, request, check, &surroundings).and_then(|restored| {
        before_go();
        go(&restored);
        wait_for_start(&restored)?;
        Ok(restored.pid)
    });
    started.inspect_err(|_| {
        reap_all();
        surroundings.put_back();
    })
}

/// The version of CRIU; it is asked for, which takes starting it, as it is started to
/// restore: what the caller has set is no obstacle, and no child is left.
///
/// # Errors
/// When it does not answer.
pub fn version(criu: &Criu) -> Result<Version, criu::Error> {
    let runtime = RuntimeDir::open()?;
    let surroundings = Surroundings::prepare()?;
    let version = criu.known_version(&runtime);
    if version.is_err() {
        reap_all();
    }
    surroundings.put_back();
    version
}

/// A restored process that has taken its request.
#[derive(Debug)]
pub struct Restored {
    /// Its pid; it is a child of this process.
    pub pid: Pid,
    /// Our end of the socket.
    pub socket: OwnedFd,
    /// Inode of its end.
    pub socket_inode: u64,
}

/// Restores an image that is to grow, as [`start`] does, but leaves it to the caller to
/// listen to it. The signal mask is put back in any case.
///
/// New memory of the process gets the addresses that it would have without address space
/// layout randomisation, so that growing twice gives the same pages.
///
/// # Errors
/// When the process was not restored; then no child is left.
pub fn wake_to_grow<E: Send>(
    criu: &Criu,
    parked: &Parked<'_>,
    request: &Request,
    check: impl FnOnce() -> Result<(), E> + Send,
) -> Result<Restored, NotStarted<E>> {
    let surroundings = Surroundings::prepare()?;
    let before = personality::get()?;
    personality::set(before | Persona::ADDR_NO_RANDOMIZE)?;
    let restored = restore(criu, parked, request, check, &surroundings);
    personality::set(before)?;
    match &restored {
        Ok(restored) => go(restored),
        Err(_) => reap_all(),
    }
    surroundings.put_back();
    restored
}

/// What is changed of this process while it restores.
#[derive(Debug)]
struct Surroundings {
    mask: SigSet,
    needs: Needs,
    adopted: bool,
}

impl Surroundings {
    fn prepare() -> io::Result<Self> {
        let mut mask = SigSet::empty();
        let ours = super::supervise::signals();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&ours), Some(&mut mask))?;
        // CRIU starts processes to try the kernel out. If it is ended they lose their parent,
        // and are to become children of ours, where they are found.
        let adopted = prctl::get_child_subreaper()?;
        prctl::set_child_subreaper(true)?;
        Ok(Self { mask, needs: Needs::meet(), adopted })
    }

    /// From here on whoever loses its parent is somebody else's.
    fn adopt_no_more(&self) {
        let _ = prctl::set_child_subreaper(self.adopted);
    }

    fn put_back(&self) {
        self.adopt_no_more();
        self.needs.put_back();
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None);
    }
}

/// What restoring needs of this process, and its caller may have set otherwise. The program
/// does not see it: the request gives it the caller's.
#[derive(Debug)]
struct Needs {
    ignored_children: bool,
    descriptors: Option<(u64, u64)>,
}

impl Needs {
    /// Children that can be waited for, and as many descriptors as CRIU wants for itself.
    fn meet() -> Self {
        let children = Signal::SIGCHLD as i32;
        let ignored_children = crate::sys::is_ignored(children);
        if ignored_children {
            let _ = crate::sys::set_disposition(children, false);
        }
        let descriptors =
            getrlimit(Resource::RLIMIT_NOFILE).ok().filter(|limit| limit.0 < ENOUGH_DESCRIPTORS);
        if let Some((_, hard)) = descriptors {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(ENOUGH_DESCRIPTORS), hard);
        }
        Self { ignored_children, descriptors }
    }

    /// For the plain Python that runs instead.
    fn put_back(&self) {
        if self.ignored_children {
            let _ = crate::sys::set_disposition(Signal::SIGCHLD as i32, true);
        }
        if let Some((soft, hard)) = self.descriptors {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
        }
    }
}

fn restore<E: Send>(
    criu: &Criu,
    parked: &Parked<'_>,
    request: &Request,
    check: impl FnOnce() -> Result<(), E> + Send,
    surroundings: &Surroundings,
) -> Result<Restored, NotStarted<E>> {
    let runtime = RuntimeDir::open()?;
    let mut check = Some(check);
    for attempt in 1.. {
        let fresh = Fresh::new(parked.process)?;
        let view = runtime.scratch()?;
        show_images(parked, &fresh.renumbering, view.path())?;
        trace::reached("shown");
        let (runtime, unwanted) = (&runtime, &AtomicBool::new(false));
        let (criu_restores, verdict) = std::thread::scope(|scope| {
            // The check takes long and CRIU takes longer, so they go on side by side; and the
            // request is there when the process wakes.
            let check = check.take();
            let (socket, renumbering) = (&fresh.socket, &fresh.renumbering);
            let verdict = std::thread::Builder::new().spawn_scoped(scope, move || {
                // The alarm that ends a restore which takes too long is for the other thread.
                let _ = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None);
                // If the process that is to become CRIU is killed before it does, libcriu closes
                // a descriptor a second time (`swrk_connect` in `lib/c/criu.c`, 4.1 to 4.2), which
                // would by then be a file of this thread: so that has descriptors of its own.
                unshare(CloneFlags::CLONE_FILES)?;
                if let Some(check) = check {
                    check().map_err(|why| {
                        // Nobody needs what CRIU is at.
                        if criu.knows_kernel(runtime) {
                            unwanted.store(true, Ordering::Relaxed);
                            end_children();
                        }
                        NotStarted::Unwanted(why)
                    })?;
                }
                request.send(socket, &waking(parked.process, renumbering))?;
                Ok::<_, NotStarted<E>>(())
            })?;
            let restored = criu.restore_child(
                &Restore {
                    directory: view.path(),
                    socket: fresh.theirs.as_fd(),
                    dumped_socket: parked.process.socket,
                    unwanted,
                },
                runtime,
            );
            trace::reached("restored");
            let verdict = verdict.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, NotStarted<E>>((restored, verdict))
        })?;
        verdict?;
        match criu_restores {
            Ok(pid) => {
                let socket_inode = nix::sys::stat::fstat(&fresh.theirs)?.st_ino;
                // Ours was only lent: the end of the process must be seen on the socket.
                drop(fresh.theirs);
                // CRIU has let go of the process, so from here on nothing but the program
                // itself can fail.
                surroundings.adopt_no_more();
                let pid = Pid::from_raw(pid.cast_signed());
                return Ok(Restored { pid, socket: fresh.socket, socket_inode });
            }
            Err(criu::Error::PidTaken) if attempt < PID_ATTEMPTS => reap_all(),
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the loop returns at its last attempt")
}

/// What every attempt to restore needs anew.
struct Fresh {
    renumbering: Renumbering,
    /// Our end of the socket.
    socket: OwnedFd,
    /// The end that the process is to have.
    theirs: OwnedFd,
}

impl Fresh {
    fn new(process: &Process) -> io::Result<Self> {
        let threads: Vec<u32> = process.threads.iter().map(|thread| thread.id).collect();
        let fresh =
            threads.iter().map(|_| crate::sys::burn_pid()).collect::<io::Result<Vec<u32>>>()?;
        let (socket, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(Self { renumbering: Renumbering::new(&threads, &fresh, Job::own()), socket, theirs })
    }
}

/// The last word that a restored process waits for.
fn go(restored: &Restored) {
    // Where it has given up meanwhile, its last message says why.
    let _ = send(restored.socket.as_raw_fd(), b"go", MsgFlags::MSG_NOSIGNAL);
}

/// Waits until the park library says that the program is about to run.
fn wait_for_start<E>(restored: &Restored) -> Result<(), NotStarted<E>> {
    let in_time = receive(&restored.socket, START_DEADLINE)?;
    let message = match &in_time {
        Some(message) => message.clone(),
        None => {
            // Only its last word can tell whether it may run again.
            let _ = kill(restored.pid, Signal::SIGKILL);
            receive(&restored.socket, START_DEADLINE)?.unwrap_or_default()
        }
    };
    match message.trim_end() {
        "started" => Ok(()),
        "" if in_time.is_none() => Err(NotStarted::Refused("it did not answer in time".into())),
        "" => Err(NotStarted::Refused("it ended without a word".into())),
        other => Err(NotStarted::Refused(other.trim_start_matches("failed ").into())),
    }
}

fn waking(process: &Process, renumbering: &Renumbering) -> Waking {
    // The main thread finds its own id out by itself.
    let thread_ids = process.threads[1..]
        .iter()
        .filter_map(|thread| Some((thread.id_address, renumbering.new_id(thread.id)?)))
        .collect();
    Waking {
        thread_ids,
        death_signal: Signal::SIGKILL as u32,
        supervisor: Pid::this().as_raw(),
        in_place: false,
    }
}

/// Fills a directory with the image as CRIU is to see it: links to the stored files
/// under their new names, and the two files that differ for each run.
fn show_images<E>(
    parked: &Parked<'_>,
    renumbering: &Renumbering,
    view: &Path,
) -> Result<(), NotStarted<E>> {
    let damaged = |name: &str, error: crate::image::file::Malformed| {
        NotStarted::Damaged(format!("{name}: {error}"))
    };
    for entry in fs::read_dir(parked.images)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        match &*name {
            "pstree.img" => {
                let tree = renumbering.pstree(&fs::read(entry.path())?);
                fs::write(view.join(&*name), tree.map_err(|error| damaged(&name, error))?)?;
            }
            "files.img" => {
                let files = name_packs(&fs::read(entry.path())?, parked.packs);
                fs::write(view.join(&*name), files.map_err(|error| damaged(&name, error))?)?;
            }
            name if name.ends_with(".img") => {
                symlink(entry.path(), view.join(renumbering.file_name(name)))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// One message from the socket as text, empty when the other end is closed; none if there was
/// none in time.
fn receive<E>(socket: &OwnedFd, deadline: Duration) -> Result<Option<String>, NotStarted<E>> {
    let end = Instant::now() + deadline;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let (bytes, _) = crate::sys::receive(socket)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Ends and reaps every child, and those that become children of ours thereby: after a
/// failed restore, a dead task would hold its pid, and a live one would run without its user.
fn reap_all() {
    loop {
        let children = end_children();
        if children.is_empty() {
            return;
        }
        for child in children {
            let _ = waitpid(child, None);
        }
    }
}

/// Ends every child, CRIU and what it has restored.
fn end_children() -> Vec<Pid> {
    let path = format!("/proc/self/task/{}/children", Pid::this());
    let children = fs::read_to_string(path).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    let children: Vec<Pid> = children.map(Pid::from_raw).collect();
    for child in &children {
        let _ = kill(*child, Signal::SIGKILL);
    }
    children
}
