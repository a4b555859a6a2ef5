//! The few system calls that neither the standard library nor `nix` offers safely.
//!
//! Each function is as small as the call that it wraps, and safe to call from
//! anywhere it says. Nothing here knows what the project does.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};

/// Points standard output and standard error at `/dev/null` until it is dropped.
#[derive(Debug)]
pub struct Silence {
    saved: [(RawFd, OwnedFd, bool); 2],
}

impl Silence {
    /// Silences both.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn new() -> io::Result<Self> {
        let save = |number| {
            // Closed ones were filled in close-on-exec, and are to be so again.
            let survives = survives_exec(number) == Some(true);
            Ok::<_, io::Error>((number, duplicate_inherited(number)?, survives))
        };
        let silence = Self { saved: [save(1)?, save(2)?] };
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
        for (number, _, _) in &silence.saved {
            replace(null.as_raw_fd(), *number, true)?;
        }
        Ok(silence)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        for (number, saved, survives) in &self.saved {
            let _ = replace(saved.as_raw_fd(), *number, *survives);
        }
    }
}

fn replace(from: RawFd, to: RawFd, survives_exec: bool) -> io::Result<()> {
    let flags = if survives_exec { 0 } else { libc::O_CLOEXEC };
    // SAFETY: dup3 replaces descriptor `to` in one step; the callers pass only standard
    // descriptors, which no object of Rust's library owns.
    if unsafe { libc::dup3(from, to, flags) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether a descriptor number is open, and if so whether it survives `exec`.
pub fn survives_exec(descriptor: RawFd) -> Option<bool> {
    // SAFETY: F_GETFD only reads the descriptor's flags; any number may be asked for.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFD) };
    (flags >= 0).then_some(flags & libc::FD_CLOEXEC == 0)
}

/// Marks every descriptor but the standard ones close-on-exec, so that what is started
/// inherits none that it was not given.
///
/// # Errors
/// When the kernel (before Linux 5.11) does not know how.
pub fn keep_descriptors_from_children() -> io::Result<()> {
    // SAFETY: no descriptor is closed, only a flag is set on those that are open.
    let status = unsafe { libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as c_int) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the kernel begin to write a part of a file to its disk, so that a sync later has less
/// to wait for. Nothing is promised, so failing is no error.
pub fn begin_to_write_out(file: &std::fs::File, offset: u64, length: u64) {
    let (offset, length) = (offset.cast_signed(), length.cast_signed());
    // SAFETY: the call takes plain numbers and a descriptor, which is open as long as `file`
    // is borrowed; it changes neither memory nor the content of the file.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE);
    }
}

/// Duplicates a descriptor that was inherited from the caller, close-on-exec.
///
/// # Errors
/// When the number is not open, or descriptors run out.
pub fn duplicate_inherited(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC makes a new descriptor; the given one is not touched.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Lets go of descriptors that were inherited from the caller: `/dev/null` takes the place
/// of the standard ones, the others are closed.
///
/// To be called with numbers that no object of this program owns.
pub fn let_go_of(descriptors: impl IntoIterator<Item = RawFd>) {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
    for descriptor in descriptors {
        if descriptor > 2 {
            // SAFETY: the caller says that nothing here owns the descriptor.
            unsafe { libc::close(descriptor) };
        } else if let Ok(null) = &null {
            let _ = replace(null.as_raw_fd(), descriptor, true);
        }
    }
}

/// An environment variable of this process that has another value until this is dropped.
#[derive(Debug)]
pub struct Variable {
    name: &'static str,
    before: Option<std::ffi::OsString>,
}

impl Variable {
    /// Sets the variable.
    ///
    /// To be called, and dropped, while no other thread uses the environment by way of the
    /// C library.
    pub fn set(name: &'static str, value: &OsStr) -> Self {
        let before = std::env::var_os(name);
        // SAFETY: no thread reads the environment meanwhile, but by Rust's library, which
        // has a lock for it: the caller says so.
        unsafe { std::env::set_var(name, value) };
        Self { name, before }
    }
}

impl Drop for Variable {
    fn drop(&mut self) {
        match &self.before {
            // SAFETY: as in `set`.
            Some(value) => unsafe { std::env::set_var(self.name, value) },
            // SAFETY: as in `set`.
            None => unsafe { std::env::remove_var(self.name) },
        }
    }
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

/// Ends this process at once, without anything that is to be done at its exit.
pub fn exit_now(status: c_int) -> ! {
    // SAFETY: the call does not return, and nothing of ours runs in it.
    unsafe { libc::_exit(status) }
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

/// Sets the capabilities that this process has (permitted and effective) and those that it
/// may hand on, one bit each. What may not be handed on any more is not ambient any more.
///
/// # Errors
/// When it would have more than before.
pub fn set_capabilities(own: u64, inheritable: u64) -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3` of `linux/capability.h`: two words for each set.
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    let word = |set: u64, half: u32| (set >> (32 * half)) as u32;
    // Effective, permitted, inheritable; the lower halves first.
    let data = [0, 1].map(|half| [word(own, half), word(own, half), word(inheritable, half)]);
    // SAFETY: both have the layout that the version above stands for, and are only read.
    let status = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether a capability, by its number, goes to every program that this process executes.
pub fn is_ambient(capability: u32) -> bool {
    ambient(libc::PR_CAP_AMBIENT_IS_SET, capability) == 1
}

/// Lets a capability, by its number, go to every program that this process executes.
///
/// # Errors
/// When the process does not have it or may not hand it on.
pub fn make_ambient(capability: u32) -> io::Result<()> {
    if ambient(libc::PR_CAP_AMBIENT_RAISE, capability) == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn ambient(what: c_int, capability: u32) -> c_int {
    let (what, capability) = (what as libc::c_ulong, libc::c_ulong::from(capability));
    let unused: libc::c_ulong = 0;
    // SAFETY: this prctl takes and returns numbers only.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, what, capability, unused, unused) }
}

/// Closes every descriptor but the standard ones and the given one.
///
/// To be called by a process that uses none of the objects that own them any more, and
/// that ends with [`exit_now`].
pub fn close_all_but(kept: &OwnedFd) {
    let kept = kept.as_raw_fd().unsigned_abs();
    for (first, last) in [(3, kept.saturating_sub(1)), (kept.max(2) + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: the caller says that the owners of these descriptors are not used.
            unsafe { libc::close_range(first, last, 0) };
        }
    }
}

/// The version of the C library that this process runs on, such as `2.36`.
pub fn glibc_version() -> String {
    // SAFETY: the function takes nothing and returns a static string.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_string_lossy().into_owned()
}

/// The process's nice value.
pub fn nice() -> i32 {
    // SAFETY: getpriority only reads; -1 may be a value and is taken for one.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// Whether the process is scheduled by the ordinary policy, `SCHED_OTHER`.
pub fn is_scheduled_ordinarily() -> bool {
    // SAFETY: sched_getscheduler only reads; 0 is this process.
    unsafe { libc::sched_getscheduler(0) == libc::SCHED_OTHER }
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

/// Whether this process has children, waited for or not.
pub fn has_children() -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};

    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, look) != Err(nix::Error::ECHILD)
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

/// Receives one message from a socket, with the descriptors that come with it.
///
/// Returns an empty message when the other end is closed. Descriptors are
/// close-on-exec.
///
/// # Errors
/// When nothing can be received.
pub fn receive(socket: &OwnedFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

    let mut bytes = vec![0; 64 * 1024];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let mut buffers = [io::IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut space), flags)?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just installed these descriptors for us; nobody else
            // knows of them.
            descriptors.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let length = message.bytes;
    bytes.truncate(length);
    Ok((bytes, descriptors))
}

/// The soft and hard resource limits, in the order of the `RLIMIT_*` numbers.
///
/// # Errors
/// When the kernel knows fewer limits than Linux has had since 2.6.
pub fn resource_limits() -> io::Result<Vec<(u64, u64)>> {
    /// `RLIM_NLIMITS` of `asm-generic/resource.h`.
    const LIMITS: u32 = 16;
    (0..LIMITS)
        .map(|resource| {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: `limit` is a valid place for the answer.
            if unsafe { libc::getrlimit(resource, &mut limit) } != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok((limit.rlim_cur, limit.rlim_max))
        })
        .collect()
}

/// What the processor can do, as numbers that only serve to be compared: they are the same
/// on every core of a machine.
#[cfg(target_arch = "x86_64")]
pub fn processor_features() -> Vec<u32> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    // SAFETY: every x86-64 processor has the instruction; leaves beyond the highest are
    // not asked for.
    #[allow(unused_unsafe, reason = "safe functions from Rust 1.94 on")]
    unsafe {
        let highest = __cpuid(0).eax;
        let leaf = |number, part| (number <= highest).then(|| __cpuid_count(number, part));
        let mut words = Vec::new();
        // Model and features; ebx holds the number of the core that answers.
        words.extend(leaf(1, 0).into_iter().flat_map(|leaf| [leaf.eax, leaf.ecx, leaf.edx]));
        words.extend(leaf(7, 0).into_iter().flat_map(|leaf| [leaf.ebx, leaf.ecx, leaf.edx]));
        words.extend(leaf(7, 1).into_iter().flat_map(|leaf| [leaf.eax, leaf.ebx, leaf.edx]));
        words.extend(leaf(7, 2).map(|leaf| leaf.edx));
        // Size of the area in which registers are saved.
        words.extend(leaf(0xd, 0).into_iter().flat_map(|leaf| [leaf.eax, leaf.ebx, leaf.edx]));
        words.extend(leaf(0xd, 1).map(|leaf| leaf.eax));
        // Further features, of which some (`lzcnt`) decide what the C library takes.
        let extended = 0x8000_0001;
        if __cpuid(extended - 1).eax >= extended {
            let leaf = __cpuid(extended);
            words.extend([leaf.ecx, leaf.edx]);
        }
        words
    }
}

/// What the processor can do, as numbers that only serve to be compared.
#[cfg(not(target_arch = "x86_64"))]
pub fn processor_features() -> Vec<u32> {
    let halves = |word: libc::c_ulong| [word as u32, ((word as u64) >> 32) as u32];
    // SAFETY: getauxval only looks up a number that the kernel gave the process.
    let words = unsafe { [libc::getauxval(libc::AT_HWCAP), libc::getauxval(libc::AT_HWCAP2)] };
    words.into_iter().flat_map(halves).collect()
}

/// Makes this process the least important one: it works when nobody else wants to.
///
/// Where a part of that is not allowed, it is not done.
pub fn yield_to_others() {
    // `IOPRIO_WHO_PROCESS`, and `IOPRIO_CLASS_IDLE` in its place, of `linux/ioprio.h`.
    const PROCESS: c_int = 1;
    const IDLE: c_int = 3 << 13;
    // With autogroups the nice value counts within a session only, and this among them.
    let _ = std::fs::write("/proc/self/autogroup", "19");
    // SAFETY: all three take numbers, 0 is this process, and `parameter` is only read.
    unsafe {
        let mut parameter: libc::sched_param = std::mem::zeroed();
        parameter.sched_priority = 0;
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameter);
        libc::syscall(libc::SYS_ioprio_set, PROCESS, 0, IDLE);
    }
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
