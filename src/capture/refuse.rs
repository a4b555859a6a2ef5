//! What a parked process may not hold, found before CRIU is asked.
//!
//! CRIU would fail on most of these with a message about its own insides, or dump
//! something that two runs would share. Each is refused with its name and, where it
//! has one, its descriptor, so that a person can find the import that did it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Something in the process that keeps it from becoming an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Obstacle(pub String);

/// Looks through `/proc` at a parked process. `control` is the inode of its own socket.
///
/// # Errors
/// When the process cannot be looked at.
pub fn obstacles(pid: u32, control: u32) -> io::Result<BTreeSet<Obstacle>> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(process.join("fd"))? {
        let entry = entry?;
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy();
        if target == format!("socket:[{control}]") {
            continue;
        }
        let is_device = || {
            use std::os::unix::fs::FileTypeExt as _;
            entry.path().metadata().is_ok_and(|file| file.file_type().is_char_device())
        };
        if let Some(what) = descriptor(&target, is_device) {
            let number = entry.file_name();
            found.insert(Obstacle(format!("{what} (descriptor {})", number.to_string_lossy())));
        }
    }
    for line in fs::read_to_string(process.join("maps"))?.lines() {
        let mut fields = line.splitn(6, ' ');
        let shared = fields.nth(1).is_some_and(|access| access.ends_with('s'));
        let what = fields.nth(3).and_then(|name| mapping(name.trim()));
        if shared && let Some(what) = what {
            found.insert(Obstacle(what));
        }
    }
    found.extend(
        children(&process)?
            .into_iter()
            .map(|(pid, name)| Obstacle(format!("a child process: {name} (pid {pid})"))),
    );
    if fs::read_to_string("/proc/locks")?
        .lines()
        .any(|line| line.split_whitespace().nth(4).is_some_and(|owner| owner == pid.to_string()))
    {
        found.insert(Obstacle("a lock on a file".into()));
    }
    Ok(found)
}

/// What CRIU does not tell about memory.
#[derive(Debug)]
pub struct Untold {
    /// The regions that fork wipes (`MADV_WIPEONFORK`), by their first addresses. CRIU before
    /// 4.2 does not see that advice.
    pub wiped_on_fork: BTreeSet<u64>,
    /// Whether there are regions that must not be changed any more (`mseal(2)`).
    pub is_sealed: bool,
}

/// What of the memory of a process CRIU does not tell.
///
/// # Errors
/// When the process cannot be looked at.
pub fn untold(pid: u32) -> io::Result<Untold> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    Ok(Untold {
        wiped_on_fork: regions_with_flag(&smaps, "wf"),
        is_sealed: !regions_with_flag(&smaps, "sl").is_empty(),
    })
}

/// First addresses of the regions in a `/proc/PID/smaps` whose `VmFlags` hold this one.
fn regions_with_flag(smaps: &str, flag: &str) -> BTreeSet<u64> {
    let mut region = None;
    let mut found = BTreeSet::new();
    for line in smaps.lines() {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some((start, _)) = first.split_once('-') {
            region = u64::from_str_radix(start, 16).ok();
        } else if first == "VmFlags:" && rest.split_whitespace().any(|word| word == flag) {
            found.extend(region);
        }
    }
    found
}

/// What is wrong with a descriptor, by what `/proc/PID/fd` links to.
fn descriptor(target: &str, is_device: impl FnOnce() -> bool) -> Option<String> {
    let anonymous = target.strip_prefix("anon_inode:").map(|kind| kind.trim_matches(['[', ']']));
    match anonymous {
        Some("eventfd" | "eventpoll" | "timerfd" | "inotify") => return None,
        Some("io_uring") => return Some("an io_uring".into()),
        Some("userfaultfd") => return Some("a userfaultfd".into()),
        Some("perf_event") => return Some("a perf event".into()),
        Some("pidfd") => return Some("a pidfd".into()),
        Some(kind) if kind.starts_with("bpf") => return Some("a bpf object".into()),
        Some(kind) => return Some(format!("an anonymous file of kind {kind}")),
        None => {}
    }
    if target.starts_with("socket:") {
        return Some("a socket".into());
    }
    if target.starts_with("pidfd:") || target.starts_with("[pidfd") {
        return Some("a pidfd".into());
    }
    if target.starts_with("/memfd:") {
        return None;
    }
    if target.starts_with("/dev/shm/") {
        return Some(format!("shared memory, {target}"));
    }
    if target.starts_with("/secretmem") {
        return Some("secret memory (memfd_secret)".into());
    }
    if target.ends_with(" (deleted)") {
        return Some(format!("a deleted file, {}", target.trim_end_matches(" (deleted)")));
    }
    let harmless = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
    (!harmless.contains(&target) && target.starts_with('/') && is_device())
        .then(|| format!("the device {target}"))
}

/// What is wrong with a shared mapping, by its name in `/proc/PID/maps`.
fn mapping(name: &str) -> Option<String> {
    let kinds = [
        ("/SYSV", "System V shared memory"),
        ("/dev/shm/", "shared memory"),
        ("anon_inode:[io_uring]", "an io_uring"),
        ("anon_inode:[perf_event]", "a perf event"),
        ("/secretmem", "secret memory (memfd_secret)"),
        ("/dev/infiniband", "a device"),
        ("/dev/nvidia", "a device"),
        ("/dev/dri", "a device"),
    ];
    kinds
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .map(|(_, what)| format!("{what} mapped into memory: {name}"))
}

fn children(process: &Path) -> io::Result<Vec<(u32, String)>> {
    let mut children = Vec::new();
    for task in fs::read_dir(process.join("task"))? {
        let text = fs::read_to_string(task?.path().join("children"))?;
        for pid in text.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            children.push((pid, name.trim().to_owned()));
        }
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_by_name() {
        let plain = |target| descriptor(target, || false);
        assert_eq!(plain("/usr/lib/python3/x.py"), None);
        assert_eq!(plain("pipe:[12]"), None);
        assert_eq!(plain("anon_inode:[eventpoll]"), None);
        assert_eq!(plain("anon_inode:[io_uring]").as_deref(), Some("an io_uring"));
        assert_eq!(plain("anon_inode:[userfaultfd]").as_deref(), Some("a userfaultfd"));
        assert_eq!(plain("anon_inode:bpf-prog").as_deref(), Some("a bpf object"));
        assert_eq!(plain("socket:[99]").as_deref(), Some("a socket"));
        assert_eq!(plain("/tmp/x (deleted)").as_deref(), Some("a deleted file, /tmp/x"));
        assert_eq!(descriptor("/dev/null", || true), None);
        assert_eq!(descriptor("/dev/fuse", || true).as_deref(), Some("the device /dev/fuse"));
    }

    #[test]
    fn advice_by_region() {
        let smaps = "7f00-8f00 rw-p 00000000 00:00 0 \nRss:    4 kB\nVmFlags: rd wr mr wf ac \n\
                     9f00-af00 rw-p 00000000 00:00 0 \nVmFlags: rd wr mr \n";
        assert_eq!(regions_with_flag(smaps, "wf"), BTreeSet::from([0x7f00]));
    }

    #[test]
    fn mappings_by_name() {
        assert_eq!(mapping("/usr/lib/libc.so.6"), None);
        assert_eq!(
            mapping("/SYSV00000000 (deleted)").as_deref(),
            Some("System V shared memory mapped into memory: /SYSV00000000 (deleted)")
        );
    }

    #[test]
    fn this_process_has_itself_looked_at() {
        let (_a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        let found = obstacles(std::process::id(), 0).unwrap();
        assert!(found.iter().any(|Obstacle(what)| what.starts_with("a socket")), "{found:?}");
        drop(b);
    }
}
