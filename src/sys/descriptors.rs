//! Descriptors of this process that no object of Rust's library owns: inherited ones, the
//! standard ones, and those that come with a message.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Whether a descriptor number is open, and if so whether it survives `exec`.
pub fn survives_exec(descriptor: RawFd) -> Option<bool> {
    // SAFETY: F_GETFD only reads the descriptor's flags; any number may be asked for.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFD) };
    (flags >= 0).then_some(flags & libc::FD_CLOEXEC == 0)
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

/// Closes every descriptor but the standard ones and the given one.
///
/// To be called by a process that uses none of the objects that own them any more, and
/// that ends with [`exit_now`](super::exit_now).
pub fn close_all_but(kept: &OwnedFd) {
    let kept = kept.as_raw_fd().unsigned_abs();
    for (first, last) in [(3, kept.saturating_sub(1)), (kept.max(2) + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: the caller says that the owners of these descriptors are not used.
            unsafe { libc::close_range(first, last, 0) };
        }
    }
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

/// Puts a duplicate of descriptor `from` in the place of `to`, which is a standard one.
pub(super) fn replace(from: RawFd, to: RawFd, survives_exec: bool) -> io::Result<()> {
    let flags = if survives_exec { 0 } else { libc::O_CLOEXEC };
    // SAFETY: dup3 replaces descriptor `to` in one step; the callers pass only standard
    // descriptors, which no object of Rust's library owns.
    if unsafe { libc::dup3(from, to, flags) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
