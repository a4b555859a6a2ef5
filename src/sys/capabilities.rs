//! Capabilities: which this process has, and which it hands on to what it executes.

use std::ffi::c_int;
use std::io;

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

/// The `SECBIT_*` flags of this process; none if they cannot be read.
pub fn securebits() -> c_int {
    // SAFETY: this prctl takes and returns numbers only.
    unsafe { libc::prctl(libc::PR_GET_SECUREBITS) }.max(0)
}
