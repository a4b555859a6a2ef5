//! Makes an image: start the interpreter, import, park, dump, store.
//!
//! Data goes one way: a [`Plan`] becomes a started interpreter ([`spawn`]), or one that was
//! restored from an image to grow ([`parent`]), which
//! imports and parks itself ([`converse`], `park/`); what must not be in an image is
//! refused by name ([`refuse`]); CRIU dumps; the dump is rewritten into mapping form
//! while its pages go into the store ([`ingest`]).
//!
//! Whatever goes wrong, or when the user interrupts, nothing stays: no process, no
//! file, no half image.

mod converse;
mod depend;
mod ingest;
mod journal;
mod parent;
mod refuse;
mod spawn;
mod terminal;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::criu::{Criu, Dump, RuntimeDir, scratch_in};
use crate::error::{Error, Result};
use crate::image::plan::Wake;
use crate::key::flags::Flags;
use crate::key::recipe::Recipe;
use converse::{Message, Report};
use journal::Journal;
use spawn::{Interpreter, Spawn};

pub use ingest::{Examined, Identity, Stored};
pub use parent::{Parent, rebuild};
pub use terminal::Terminal;

/// What to build.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The interpreter, as it is to be called.
    pub executable: &'a Path,
    /// Its options.
    pub flags: &'a Flags,
    /// What to preload; of a grown image all.
    pub recipe: &'a Recipe,
    /// The hash seed of the image, between 1 and 4294967295.
    pub hash_seed: u32,
    /// Where files may be put while the build lasts, on a file system that allows code.
    pub scratch: &'a Path,
    /// What the interpreter has as its standard descriptors.
    pub terminal: &'a Terminal,
}

/// How far a build has come; told to whoever waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The interpreter starts.
    Starting,
    /// The recipe runs.
    Importing,
    /// CRIU dumps the process.
    Dumping,
    /// Pages go into the store.
    Storing,
}

/// Remembers that the user wants the build to end.
#[derive(Debug, Clone, Default)]
pub struct Interrupted {
    signal: Arc<AtomicUsize>,
}

impl Interrupted {
    /// Watches for the signals by which a user, or the system, ends a command.
    ///
    /// # Errors
    /// When the signals cannot be caught.
    pub fn watch() -> io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

        let interrupted = Self::default();
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            let number = signal.unsigned_abs() as usize;
            signal_hook::flag::register_usize(signal, Arc::clone(&interrupted.signal), number)?;
        }
        Ok(interrupted)
    }

    /// The signal that has arrived, if one has.
    pub fn signal(&self) -> Option<i32> {
        let signal = self.signal.load(Ordering::Relaxed);
        (signal != 0).then_some(signal as i32)
    }

    /// # Errors
    /// When a signal has arrived.
    fn check(&self) -> io::Result<()> {
        match self.signal() {
            Some(_) => Err(io::Error::other("interrupted")),
            None => Ok(()),
        }
    }
}

/// A dumped process: the images in a directory, and what is known of it.
#[derive(Debug)]
pub struct Dumped {
    directory: tempfile::TempDir,
    /// When the imports began, as files have their times.
    started: SystemTime,
    /// What the interpreter said of itself.
    report: Report,
    /// What the recipe looked at.
    journal: Journal,
    /// Inode of the socket on which it is parked.
    socket_inode: u32,
    /// First addresses of the regions that fork wipes.
    untold: refuse::Untold,
    /// The park library's file, which is no evidence.
    library: Option<PathBuf>,
    /// What it has from the image that it was grown from.
    inherited: Option<parent::Inherited>,
    /// Which of its standard descriptors were terminals.
    terminals: [bool; 3],
    /// Where it goes on if it is woken without a socket.
    wake: Option<Wake>,
}

/// How a build ended without an image.
#[derive(Debug)]
pub enum Failure {
    /// The recipe failed; Python has said why on standard error.
    Python(std::process::ExitStatus),
    /// Anything else.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Starts the interpreter, or restores the image that is to grow, lets it import, and
/// dumps it.
///
/// # Errors
/// When the recipe fails, something in the process cannot be in an image, or CRIU
/// cannot dump it. The process is gone in any case.
pub fn dump(
    plan: &Plan<'_>,
    parent: Option<Parent>,
    criu: &Criu,
    interrupted: &Interrupted,
    phase: &dyn Fn(Phase),
) -> Result<Dumped, Failure> {
    phase(Phase::Starting);
    let runtime = RuntimeDir::open().map_err(Error::from)?;
    runtime.sweep();
    let directory = dump_directory(&runtime, plan.scratch)?;
    let (flags, recipe) = (plan.flags.canonical(), plan.recipe.last());
    let started =
        time_of_files().map_err(|error| Error::failed("cannot read the clock").because(error))?;
    let mut interpreter = match &parent {
        Some(parent) => parent.wake(criu, plan.executable, &flags, recipe)?,
        None => Interpreter::spawn(&Spawn {
            executable: plan.executable,
            flags: &flags,
            recipe,
            hash_seed: plan.hash_seed,
            scratch: plan.scratch,
            runtime: &runtime,
            terminal: plan.terminal,
        })
        .map_err(|error| {
            Error::environment(format!("cannot start {}", plan.executable.display())).because(error)
        })?,
    };
    phase(Phase::Importing);
    let still_waiting = || phase(Phase::Importing);
    let (report, journal, wake) =
        park(&mut interpreter, parent.as_ref(), interrupted, &still_waiting)?;

    let found = refuse::obstacles(interpreter.pid(), interpreter.socket_inode)
        .map_err(|error| Error::failed("cannot look at the parked process").because(error))?;
    if !found.is_empty() {
        let names: Vec<String> = found.into_iter().map(|obstacle| obstacle.0).collect();
        return Err(refused(&names.join("; ")).into());
    }
    let untold = refuse::untold(interpreter.pid())
        .map_err(|error| Error::failed("cannot look at the parked process").because(error))?;
    phase(Phase::Dumping);
    criu.dump(
        &Dump {
            pid: interpreter.pid(),
            directory: directory.path(),
            external_socket: interpreter.socket_inode,
        },
        &runtime,
    )
    .map_err(|error| check_interrupt(interrupted).err().unwrap_or_else(|| error.into()))?;
    Ok(Dumped {
        directory,
        started,
        report,
        journal,
        socket_inode: interpreter.socket_inode,
        untold,
        library: interpreter.library().map(Path::to_owned),
        inherited: parent.map(Parent::bequeath),
        terminals: plan.terminal.seen(),
        wake,
    })
}

/// The time as a file system would write it down now: the kernel's clock of ticks, a few
/// milliseconds behind the exact one.
fn time_of_files() -> io::Result<SystemTime> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE)?;
    Ok(UNIX_EPOCH + Duration::from(now))
}

/// Follows the interpreter until it is parked.
fn park(
    interpreter: &mut Interpreter,
    parent: Option<&Parent>,
    interrupted: &Interrupted,
    still_waiting: &dyn Fn(),
) -> Result<(Report, Journal, Option<Wake>), Failure> {
    let (mut report, mut journal) = (None, None);
    let wake = loop {
        let message =
            converse::next(&interpreter.socket, interrupted, still_waiting).map_err(|error| {
                check_interrupt(interrupted)
                    .err()
                    .unwrap_or_else(|| Error::failed("the build was cut short").because(error))
            })?;
        match message {
            Some(Message::Imported) => {}
            Some(Message::Journal(bytes)) => journal = Journal::parse(&bytes),
            Some(Message::Report(said)) => report = Some(*said),
            Some(Message::Refused(why)) => return Err(unfit(&why).into()),
            Some(Message::Failed(what)) => {
                let error = parent.map_or_else(|| Error::failed(&what), |p| p.refusal(&what));
                return Err(error.into());
            }
            Some(Message::Parked(wake)) => break wake,
            None => {
                let status = interpreter.wait().map_err(|error| {
                    Error::failed("the interpreter cannot be waited for").because(error)
                })?;
                check_interrupt(interrupted)?;
                return Err(Failure::Python(status));
            }
        }
    };
    let complete = report.zip(journal).map(|(report, journal)| (report, journal, wake));
    complete.ok_or_else(|| Error::failed("the park library parked without a report").into())
}

/// # Errors
/// When a signal has arrived that ends the build.
pub fn check_interrupt(interrupted: &Interrupted) -> Result<()> {
    match interrupted.signal() {
        Some(_) => Err(Error::failed("interrupted; nothing was stored")),
        None => Ok(()),
    }
}

fn refused(what: &str) -> Error {
    Error::failed(format!("an image cannot hold {what}"))
        .hint("leave the import that makes it out of the recipe")
}

/// What the park library says is a sentence.
fn unfit(why: &str) -> Error {
    Error::failed(format!("no image can be made of this process: {why}"))
        .hint("if an import is the reason, leave it out of the recipe")
}

/// Where the dump goes: on the tmpfs where it has room, since it is thrown away.
fn dump_directory(runtime: &RuntimeDir, scratch: &Path) -> Result<tempfile::TempDir> {
    /// Room for the dump of a process with many packages.
    const ROOM: u64 = 1 << 30;
    let free = nix::sys::statvfs::statvfs(runtime.path())
        .map_or(0, |fs| fs.blocks_available() * fs.fragment_size());
    let parent = if free >= ROOM { runtime.path() } else { scratch };
    scratch_in(parent).map_err(|error| {
        Error::failed(format!("cannot create a directory in {}", parent.display())).because(error)
    })
}
