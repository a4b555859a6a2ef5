//! The fence around libcriu: every call into it, and nothing else.
//!
//! The bindings are generated from `criu/criu.h` at build. [`Options`] owns libcriu's
//! options; its methods are safe and as narrow as the C functions. What the calls mean
//! is for [`super`] to say.
//!
//! libcriu forks in the calling process, keeps its last error in a C static, and blocks
//! in `recv` and `waitpid` until the `criu` that it started answers. Hence three
//! rules that this module enforces: one call at a time ([`call`] holds a lock), no
//! call lasts for ever (an interval timer interrupts both system calls), and nothing is
//! printed (standard output and error are closed off while a call runs: CRIU uses both).
#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The generated bindings.
#[allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    dead_code,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/libcriu.rs"));
}

unsafe extern "C" {
    /// Exported by libcriu and missing in its header; same shape as its neighbours
    /// (`lib/c/criu.c`, `criu_local_set_unprivileged`).
    fn criu_local_set_unprivileged(opts: *mut bindings::criu_opts, unprivileged: bool);
}

/// libcriu's options for one request.
#[derive(Debug)]
pub struct Options {
    raw: NonNull<bindings::criu_opts>,
}

/// A request to libcriu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The version of the binary, as `major * 10000 + minor * 100 + sublevel`.
    Version,
    /// Dump the process given by [`Options::pid`].
    Dump,
    /// Restore as a child of the caller; answers with the pid.
    RestoreChild,
}

/// libcriu's answer to a request: its return value, and `errno` as it left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// 0 or a positive value on success; minus an error number otherwise.
    pub value: i32,
    /// The error number that CRIU reported for its own failure, or 0.
    pub errno: i32,
    /// Whether the deadline passed before libcriu answered.
    pub timed_out: bool,
}

impl Options {
    /// Fresh options that talk to this `criu` binary.
    ///
    /// # Errors
    /// When memory runs out or the path contains a NUL byte.
    pub fn new(binary: &std::path::Path) -> io::Result<Self> {
        let binary = c_string(binary.as_os_str().as_encoded_bytes())?;
        // `criu_local_init_opts` frees what the pointer points to: it must start as null.
        let mut raw = ptr::null_mut();
        // SAFETY: the argument is a valid pointer to a null pointer, which the function
        // replaces by a newly allocated object that we own from then on.
        let failed = unsafe { bindings::criu_local_init_opts(&mut raw) } != 0;
        let raw = NonNull::new(raw).filter(|_| !failed).ok_or(io::ErrorKind::OutOfMemory)?;
        let options = Self { raw };
        // SAFETY: `raw` is live; the function copies the string (`strdup`).
        let status = unsafe {
            bindings::criu_local_set_service_binary(options.raw.as_ptr(), binary.as_ptr())
        };
        copied(status)?;
        Ok(options)
    }

    /// The process to dump.
    pub fn pid(&mut self, pid: u32) {
        // SAFETY: `raw` is live; only a number is stored.
        unsafe { bindings::criu_local_set_pid(self.raw.as_ptr(), pid as c_int) }
    }

    /// The directory of the images; must stay open until the request was made.
    pub fn images_dir(&mut self, directory: BorrowedFd<'_>) {
        // SAFETY: `raw` is live; only the number is stored, and `call` borrows the
        // options, not the descriptor: a descriptor closed too early makes CRIU fail with
        // EBADF, it does not touch memory.
        unsafe {
            bindings::criu_local_set_images_dir_fd(self.raw.as_ptr(), directory.as_raw_fd());
        }
    }

    /// The directory of CRIU's log.
    pub fn work_dir(&mut self, directory: BorrowedFd<'_>) {
        // SAFETY: as for `images_dir`.
        unsafe { bindings::criu_local_set_work_dir_fd(self.raw.as_ptr(), directory.as_raw_fd()) }
    }

    /// How much CRIU logs (1 = errors), and the log's name in the work directory.
    ///
    /// # Errors
    /// When memory runs out or the name contains a NUL byte.
    pub fn log(&mut self, level: u8, name: &str) -> io::Result<()> {
        let name = c_string(name.as_bytes())?;
        // SAFETY: `raw` is live; a number is stored.
        unsafe { bindings::criu_local_set_log_level(self.raw.as_ptr(), c_int::from(level)) };
        // SAFETY: `raw` is live; the string is copied.
        copied(unsafe { bindings::criu_local_set_log_file(self.raw.as_ptr(), name.as_ptr()) })
    }

    /// Dump and restore a process that is in its caller's session (`--shell-job`).
    pub fn shell_job(&mut self) {
        // SAFETY: `raw` is live; a flag is stored.
        unsafe { bindings::criu_local_set_shell_job(self.raw.as_ptr(), true) }
    }

    /// Leave control groups alone.
    pub fn ignore_cgroups(&mut self) {
        // SAFETY: `raw` is live; a number is stored.
        unsafe {
            bindings::criu_local_set_manage_cgroups_mode(
                self.raw.as_ptr(),
                bindings::criu_cg_mode_CRIU_CG_MODE_IGNORE,
            );
        }
    }

    /// Work without root's capabilities, and keep the cache of kernel features in
    /// `XDG_RUNTIME_DIR`.
    pub fn unprivileged(&mut self) {
        // SAFETY: `raw` is live; a flag is stored. The declaration above matches libcriu's
        // definition.
        unsafe { criu_local_set_unprivileged(self.raw.as_ptr(), true) }
    }

    /// Seconds after which CRIU itself gives up a dump.
    pub fn timeout(&mut self, seconds: u32) {
        // SAFETY: `raw` is live; a number is stored.
        unsafe { bindings::criu_local_set_timeout(self.raw.as_ptr(), seconds) }
    }

    /// A Unix socket, by inode, whose other end is outside the dumped process.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn external_unix_socket(&mut self, inode: u32) -> io::Result<()> {
        // SAFETY: `raw` is live; the number is copied into a growing array.
        copied(unsafe { bindings::criu_local_add_unix_sk(self.raw.as_ptr(), inode) })
    }

    /// A descriptor of the caller that takes the place of the dumped file with that
    /// key, such as `socket:[1234]`. It must be inheritable across `exec`.
    ///
    /// # Errors
    /// When memory runs out or the key contains a NUL byte.
    pub fn inherit(&mut self, descriptor: BorrowedFd<'_>, key: &str) -> io::Result<()> {
        let key = c_string(key.as_bytes())?;
        // SAFETY: `raw` is live; the number is stored and the key copied.
        let status = unsafe {
            bindings::criu_local_add_inherit_fd(
                self.raw.as_ptr(),
                descriptor.as_raw_fd(),
                key.as_ptr(),
            )
        };
        copied(status)
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `criu_local_init_opts` and is freed once, here.
        unsafe { bindings::criu_local_free_opts(self.raw.as_ptr()) }
    }
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn copied(status: c_int) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::ErrorKind::OutOfMemory.into()) }
}

/// libcriu has one error number and one child at a time.
static ONE_CALL: Mutex<()> = Mutex::new(());

/// Makes a request and waits for the answer, at most for `deadline`.
///
/// The caller is expected to have SIGCHLD blocked around [`Request::RestoreChild`], as
/// libcriu asks, and SIGALRM blocked in every thread but this one.
/// After a timeout the `criu` process may still be alive: it is a child of the caller.
///
/// # Errors
/// When the deadline or the silence around the call cannot be set up.
pub fn call(options: &mut Options, request: Request, deadline: Duration) -> io::Result<Answer> {
    let _one = ONE_CALL.lock().unwrap_or_else(PoisonError::into_inner);
    let alarm = Alarm::set(deadline)?;
    let quiet = crate::sys::Silence::new()?;
    let raw = options.raw.as_ptr();
    // SAFETY: `raw` is live and not used elsewhere (`options` is borrowed mutably, and
    // the lock keeps libcriu's statics ours). The functions fork; between fork and exec
    // the child calls nothing that takes a lock (sigprocmask, close, sprintf of a number,
    // write), so that other threads do not matter; if the exec fails it calls `exit(1)`,
    // which `Criu` prevents by looking for the binary first.
    let value = unsafe {
        match request {
            Request::Version => bindings::criu_local_get_version(raw),
            Request::Dump => bindings::criu_local_dump(raw),
            Request::RestoreChild => bindings::criu_local_restore_child(raw),
        }
    };
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    drop(quiet);
    let timed_out = alarm.rang() && value < 0;
    Ok(Answer { value, errno, timed_out })
}

/// An interval timer whose signal does nothing but interrupt system calls.
struct Alarm {
    previous: SigAction,
    started: std::time::Instant,
    deadline: Duration,
}

extern "C" fn interrupt_only(_: c_int) {}

impl Alarm {
    fn set(deadline: Duration) -> io::Result<Self> {
        let action =
            SigAction::new(SigHandler::Handler(interrupt_only), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing, hence nothing that is not async-signal-safe.
        let previous = unsafe { sigaction(Signal::SIGALRM, &action) }?;
        let alarm = Self { previous, started: std::time::Instant::now(), deadline };
        // libcriu first blocks in `recv`, then in `waitpid`: the second ring ends that.
        alarm.arm(deadline, Duration::from_millis(50))?;
        Ok(alarm)
    }

    fn arm(&self, first: Duration, interval: Duration) -> io::Result<()> {
        let value = libc::itimerval { it_interval: timeval(interval), it_value: timeval(first) };
        // SAFETY: `value` is a valid itimerval; the old value is not asked for.
        let status = unsafe { libc::setitimer(libc::ITIMER_REAL, &value, ptr::null_mut()) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn rang(&self) -> bool {
        self.started.elapsed() >= self.deadline
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let _ = self.arm(Duration::ZERO, Duration::ZERO);
        // SAFETY: the action was in force before and came from `sigaction` itself.
        let _ = unsafe { sigaction(Signal::SIGALRM, &self.previous) };
    }
}

fn timeval(duration: Duration) -> libc::timeval {
    libc::timeval {
        tv_sec: duration.as_secs() as libc::time_t,
        tv_usec: libc::suseconds_t::from(duration.subsec_micros() as i32),
    }
}
