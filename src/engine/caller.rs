//! What a program inherits from whoever starts it.
//!
//! Under `exec` a program gets all of this from the kernel. A restored one gets it in its
//! request, so it has to be read here, before anything of ours changes it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{IntoRawFd as _, RawFd};

use nix::sys::prctl;

use super::request::Descriptor;

/// The state of this process as its caller left it.
#[derive(Debug)]
pub struct Caller {
    /// The file mode creation mask.
    pub umask: u32,
    /// Signals that are ignored; bit n-1 is signal n.
    pub ignored_signals: u64,
    /// Signals that are blocked; bit n-1 is signal n.
    pub blocked_signals: u64,
    /// The nice value.
    pub nice: i32,
    /// Soft and hard resource limits, by `RLIMIT_*` number.
    pub limits: Vec<(u64, u64)>,
    /// The execution domain.
    pub personality: u32,
    /// User and group ids and capabilities, in one line.
    pub credentials: String,
    /// Whether there are children, which a process can have from before an `exec`.
    pub has_children: bool,
    /// Whether a timer of `setitimer(2)` runs, which survives an `exec`.
    pub has_timer: bool,
    /// Whether the scheduling policy is `SCHED_OTHER`; CRIU restores no other.
    pub is_scheduled_ordinarily: bool,
    /// Whether orphans among the descendants become children of this process.
    pub is_subreaper: bool,
    /// Whether there are to be no transparent huge pages.
    pub refuses_huge_pages: bool,
    /// Whether any of the `SECBIT_*` is set that change what root may do.
    pub has_securebits: bool,
}

impl Caller {
    /// Reads the state.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn read() -> io::Result<Self> {
        // It has some 1,500 bytes and is made anew for each read.
        let mut status = String::with_capacity(4096);
        File::open("/proc/self/status")?.read_to_string(&mut status)?;
        let field = |name: &str, radix: u32| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .and_then(|value| u64::from_str_radix(value.trim(), radix).ok())
                .ok_or_else(|| io::Error::other(format!("/proc/self/status has no {name}")))
        };
        let ids = ["Uid:", "Gid:", "CapInh:", "CapPrm:", "CapEff:", "CapAmb:"];
        let ids = status.lines().filter(|line| ids.iter().any(|id| line.starts_with(id)));
        let ids: Vec<&str> = ids.flat_map(str::split_whitespace).collect();
        Ok(Self {
            credentials: ids.join(" "),
            has_children: crate::sys::has_children(),
            has_timer: crate::sys::has_timer(),
            umask: field("Umask", 8)? as u32,
            ignored_signals: field("SigIgn", 16)?,
            blocked_signals: field("SigBlk", 16)?,
            nice: crate::sys::nice(),
            limits: crate::sys::resource_limits()?,
            personality: nix::sys::personality::get()?.bits().cast_unsigned(),
            is_scheduled_ordinarily: crate::sys::is_scheduled_ordinarily(),
            is_subreaper: prctl::get_child_subreaper()?,
            refuses_huge_pages: prctl::get_thp_disable()?,
            has_securebits: crate::sys::securebits() != 0,
        })
    }
}

/// Which of the descriptors 0 to 2 the caller had closed.
pub type Closed = [bool; 3];

/// Puts `/dev/null` in place of closed standard descriptors, close-on-exec, so that no
/// file of ours is taken for one of them; says which they were.
///
/// To be called before anything is opened.
///
/// # Errors
/// When `/dev/null` cannot be opened.
pub fn fill_standard_descriptors() -> io::Result<Closed> {
    let mut closed = [false; 3];
    for (number, closed) in closed.iter_mut().enumerate() {
        if crate::sys::survives_exec(number as RawFd).is_none() {
            *closed = true;
            // The lowest free number is this one, since those below it are open.
            let null: File = OpenOptions::new().read(true).write(true).open("/dev/null")?;
            let taken = null.into_raw_fd();
            debug_assert_eq!(taken, number as RawFd);
        }
    }
    Ok(closed)
}

/// Duplicates of every descriptor that the program would inherit by `exec`.
///
/// # Errors
/// When descriptors run out.
pub fn inherited_descriptors() -> io::Result<Vec<Descriptor>> {
    let numbers: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    // The directory that was just read is close-on-exec, as is all that we open.
    let mut descriptors = Vec::new();
    for number in numbers {
        if crate::sys::survives_exec(number) == Some(true) {
            let file = crate::sys::duplicate_inherited(number)?;
            descriptors.push(Descriptor { number, file });
        }
    }
    descriptors.sort_by_key(|descriptor| descriptor.number);
    Ok(descriptors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_read() {
        let caller = Caller::read().unwrap();
        assert_eq!(caller.limits.len(), 16);
        assert_eq!(caller.umask & !0o777, 0);
        assert_eq!(caller.credentials.split(' ').count(), 6 + 4 + 4 + 4, "{}", caller.credentials);
        assert!(!caller.has_timer);
    }

    #[test]
    fn standard_descriptors_are_inherited_and_ours_are_not() {
        let file = File::open("/dev/null").unwrap();
        let numbers: Vec<RawFd> =
            inherited_descriptors().unwrap().iter().map(|inherited| inherited.number).collect();
        assert!(numbers.contains(&1), "{numbers:?}");
        assert!(!numbers.contains(&std::os::fd::AsRawFd::as_raw_fd(&file)));
    }
}
