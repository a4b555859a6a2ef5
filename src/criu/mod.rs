//! CRIU, through libcriu: check, version, dump, restore as a child.
//!
//! This is the safe face of [`sys`]: requests are values, every failure is an [`Error`]
//! that carries the reason from CRIU's log and what to do about it, and every call has a
//! deadline. It knows nothing of Python, of stores, or of what the images mean.
//!
//! libcriu starts the `criu` binary, so that is what has to be found and what needs
//! the privilege: root, or `cap_checkpoint_restore` on the file, or a [`namespace`].

pub mod capability;
mod error;
mod find;
mod lean;
pub mod log;
pub mod namespace;
mod runtime;
pub mod sys;

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use error::{Error, set_capability};
pub use find::OLDEST_VERSION;
use lean::Lean;
pub use runtime::{RuntimeDir, scratch_in};
use sys::{Options, Request};

use crate::sys::Variable;

/// Name of CRIU's log in the work directory.
const LOG: &str = "criu.log";
/// Name of the file in the runtime directory that holds the version of a binary.
const VERSION: &str = "version";
/// Name of CRIU's file there about the kernel (`criu/include/kerndat.h`).
const KERNEL_CACHE: &str = "criu.kdat";
/// What `criu check` is asked to do.
const CHECK: &str = "work on this machine";
/// A dump of a few hundred megabytes takes well under a second.
const DUMP_DEADLINE: Duration = Duration::from_secs(60);
/// A restore takes milliseconds; one that hangs must not hold up the user for long.
const RESTORE_DEADLINE: Duration = Duration::from_secs(5);
/// Deadline of `check` and `version`.
const QUESTION_DEADLINE: Duration = Duration::from_secs(10);

/// A `criu` binary that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criu {
    binary: PathBuf,
}

/// A version of CRIU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Such as 4 in 4.1.1.
    pub major: u32,
    /// Such as the first 1 in 4.1.1.
    pub minor: u32,
    /// Such as the last 1 in 4.1.1.
    pub sublevel: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.sublevel > 0 { write!(f, ".{}", self.sublevel) } else { Ok(()) }
    }
}

impl std::str::FromStr for Version {
    type Err = std::num::ParseIntError;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.trim().splitn(3, '.').map(str::parse);
        let mut next = || numbers.next().unwrap_or(Ok(0));
        Ok(Self { major: next()?, minor: next()?, sublevel: next()? })
    }
}

/// What to dump.
#[derive(Debug)]
pub struct Dump<'a> {
    /// The process; it ends with the dump.
    pub pid: u32,
    /// Where the images and the log go.
    pub directory: &'a Path,
    /// Inode of the process's Unix socket whose other end is outside.
    pub external_socket: u32,
}

/// What to restore.
#[derive(Debug)]
pub struct Restore<'a> {
    /// Where the images are; the log goes there as well.
    pub directory: &'a Path,
    /// The socket that takes the place of the one that was external at the dump. It must
    /// be inheritable across `exec`.
    pub socket: BorrowedFd<'a>,
    /// Inode of the dumped socket.
    pub dumped_socket: u32,
    /// Set by whoever ends the `criu` meanwhile, because the process is not wanted any more.
    pub unwanted: &'a AtomicBool,
}

impl Criu {
    /// Finds the binary: `PYIMG_CRIU`, beside this program, where `scripts/setup` puts
    /// it, on `PATH`.
    ///
    /// # Errors
    /// [`Error::Missing`] with the places that were searched.
    pub fn find() -> Result<Self, Error> {
        find::find().map(|binary| Self { binary })
    }

    /// The binary.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Whether it can only work in a namespace, and the user allows that.
    pub fn needs_namespace(&self) -> bool {
        namespace::is_needed(&self.binary)
    }

    /// Its version.
    ///
    /// # Errors
    /// When it cannot be started or does not answer.
    pub fn version(&self) -> Result<Version, Error> {
        self.version_within(QUESTION_DEADLINE)
    }

    fn version_within(&self, deadline: Duration) -> Result<Version, Error> {
        let mut options = self.options()?;
        let answer = self.ask(&mut options, Request::Version, deadline, None)?;
        let number = answer.unsigned_abs();
        Ok(Version { major: number / 10_000, minor: number / 100 % 100, sublevel: number % 100 })
    }

    /// Its version, which is asked for once and then remembered until the machine or the
    /// binary is another.
    ///
    /// # Errors
    /// As [`Self::version`].
    pub fn known_version(&self, runtime: &RuntimeDir) -> Result<Version, Error> {
        let directory = runtime.of_binary(&self.binary)?;
        let known = std::fs::read_to_string(directory.join(VERSION));
        if let Some(version) = known.ok().and_then(|text| text.parse().ok()) {
            return Ok(version);
        }
        // This is for runs, which are not to wait.
        let version = self.version_within(RESTORE_DEADLINE)?;
        // Half of a number would be another version. If it cannot be put there, it is asked
        // for again.
        if let Ok(mut file) = tempfile::NamedTempFile::new_in(&directory)
            && write!(file, "{version}").is_ok()
        {
            let _ = file.persist(directory.join(VERSION));
        }
        Ok(version)
    }

    /// Whether it has written down what it knows of the kernel. Until then it is better not
    /// ended: what it leaves half written it will not write again.
    pub fn knows_kernel(&self, runtime: &RuntimeDir) -> bool {
        runtime.of_binary(&self.binary).is_ok_and(|cache| cache.join(KERNEL_CACHE).exists())
    }

    /// Whether it works on the running kernel, with the privilege that we have.
    ///
    /// Asks the binary itself: libcriu's check sends a request without options, which
    /// CRIU (4.1 to 4.2 at least) does not survive.
    ///
    /// # Errors
    /// With CRIU's reason when it does not.
    pub fn check(&self, runtime: &RuntimeDir) -> Result<(), Error> {
        let _cache = runtime.tell_criu(&self.binary)?;
        let lent = namespace::lend()?;
        let mut child = Command::new(&self.binary)
            .args(["check", "--unprivileged"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        drop(lent);
        let end = Instant::now() + QUESTION_DEADLINE;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                child.kill()?;
                child.wait()?;
                return Err(Error::TimedOut { asked: CHECK, deadline: QUESTION_DEADLINE });
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        if status.success() {
            return Ok(());
        }
        // What lacks it says on standard output, what fails on standard error.
        let reason = child
            .stderr
            .take()
            .and_then(log::reason_without_log)
            .or_else(|| child.stdout.take().and_then(log::reason_without_log));
        Err(Error::no(CHECK, reason, &self.binary))
    }

    /// Dumps a process, which ends thereby.
    ///
    /// # Errors
    /// With CRIU's reason; the process then still runs.
    pub fn dump(&self, dump: &Dump<'_>, runtime: &RuntimeDir) -> Result<(), Error> {
        let directory = open(dump.directory)?;
        let mut options = self.prepared()?;
        options.images_dir(directory.as_fd());
        options.work_dir(directory.as_fd());
        options.pid(dump.pid);
        options.timeout(DUMP_DEADLINE.as_secs() as u32);
        options.external_unix_socket(dump.external_socket).map_err(Error::Io)?;
        let cache = runtime.tell_criu(&self.binary)?;
        let answer = self.ask(&mut options, Request::Dump, DUMP_DEADLINE, Some(dump.directory));
        drop(cache);
        match answer {
            Ok(_) => Ok(()),
            // Without a privilege CRIU ends before it logs anything; its check says why.
            Err(error) if reason_in(dump.directory).is_none() => {
                self.check(runtime)?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Restores a process as a child of this one and returns its pid.
    ///
    /// SIGCHLD must be blocked, and other threads, if there are any, must not use the
    /// environment by way of the C library.
    ///
    /// # Errors
    /// With CRIU's reason; children that are left over are for the caller to reap.
    pub fn restore_child(&self, restore: &Restore<'_>, runtime: &RuntimeDir) -> Result<u32, Error> {
        let lean = Lean::prepare(&runtime.of_binary(&self.binary)?)?;
        match (self.restore_with(restore, runtime, lean.as_ref()), lean) {
            // It did not come so far as to answer: perhaps it cannot start like that.
            (Err(Error::Unreachable { .. }), Some(lean))
                if !restore.unwanted.load(Ordering::Relaxed) =>
            {
                lean.give_up();
                self.restore_with(restore, runtime, None)
            }
            (answer, _) => answer,
        }
    }

    fn restore_with(
        &self,
        restore: &Restore<'_>,
        runtime: &RuntimeDir,
        lean: Option<&Lean>,
    ) -> Result<u32, Error> {
        let directory = open(restore.directory)?;
        let mut options = self.prepared()?;
        options.images_dir(directory.as_fd());
        options.work_dir(directory.as_fd());
        options
            .inherit(restore.socket, &format!("socket:[{}]", restore.dumped_socket))
            .map_err(Error::Io)?;
        let _cache = runtime.tell_criu(&self.binary)?;
        let _lean = lean.map(|lean| Variable::set("LD_PRELOAD", &lean.preload()));
        let log = Some(restore.directory);
        let pid = self.ask(&mut options, Request::RestoreChild, RESTORE_DEADLINE, log)?;
        Ok(pid.unsigned_abs())
    }

    /// Options that every request about processes shares.
    fn prepared(&self) -> Result<Options, Error> {
        let mut options = self.options()?;
        options.log(1, LOG).map_err(Error::Io)?;
        options.shell_job();
        options.ignore_cgroups();
        options.unprivileged();
        Ok(options)
    }

    fn options(&self) -> Result<Options, Error> {
        Options::new(&self.binary).map_err(Error::Io)
    }

    fn ask(
        &self,
        options: &mut Options,
        request: Request,
        deadline: Duration,
        log_directory: Option<&Path>,
    ) -> Result<i32, Error> {
        let lent = namespace::lend()?;
        let answer = sys::call(options, request, deadline).map_err(Error::Io)?;
        drop(lent);
        if answer.value >= 0 {
            return Ok(answer.value);
        }
        if answer.timed_out {
            return Err(Error::TimedOut { asked: request.asked(), deadline });
        }
        // Without the capability CRIU does not come as far as its log.
        let reason =
            log_directory.and_then(reason_in).or_else(|| capability::missing(&self.binary));
        Err(Error::refused(request, answer, reason, &self.binary))
    }
}

/// The reason of a failure in the log in this directory.
fn reason_in(directory: &Path) -> Option<String> {
    log::reason(File::open(directory.join(LOG)).ok()?)
}

fn open(directory: &Path) -> Result<File, Error> {
    File::open(directory).map_err(Error::Io)
}
