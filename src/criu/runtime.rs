//! A private directory on a tmpfs, for what lives as long as a restore.
//!
//! CRIU keeps what it learnt about the kernel in a file, but only on a tmpfs; without
//! it every restore takes 24 to 28 ms more. A restore also wants its images in a
//! directory of its own, and a tmpfs is the cheapest place for that. It is
//! `pyimg-UID` in `$XDG_RUNTIME_DIR` or `/dev/shm`, mode 0700, and ours: a directory
//! that someone else has put there is not used.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::geteuid;

use super::Error;

/// Begins the names of scratch directories; the number of a pid namespace and the owner's pid
/// there follow.
const SCRATCH: &str = "run-";

/// When what another pid namespace has left is nobody's any more: containers share the
/// directory, and from outside nobody can tell who lives there.
const OTHERS_LAST: Duration = Duration::from_secs(24 * 3600);

/// The directory; it outlives the process, its contents are scratch.
#[derive(Debug, Clone)]
pub struct RuntimeDir {
    path: PathBuf,
}

impl RuntimeDir {
    /// Finds or creates the directory.
    ///
    /// # Errors
    /// When there is no tmpfs on which this user can have one.
    pub fn open() -> Result<Self, Error> {
        let uid = geteuid();
        let name = format!("pyimg-{uid}");
        let candidates = [
            std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
            Some(PathBuf::from(format!("/run/user/{uid}"))),
            Some(PathBuf::from("/dev/shm")),
        ];
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for parent in candidates.into_iter().flatten() {
            if !statfs(&parent).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC) {
                continue;
            }
            match private(&parent.join(&name)) {
                Ok(path) => return Ok(Self { path }),
                Err(error) => last = error,
            }
        }
        Err(Error::Io(io::Error::new(
            last.kind(),
            format!("no private directory on a tmpfs ($XDG_RUNTIME_DIR, /dev/shm): {last}"),
        )))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory of its own for one request, removed when dropped.
    ///
    /// # Errors
    /// When the tmpfs is full.
    pub fn scratch(&self) -> Result<tempfile::TempDir, Error> {
        Ok(scratch_in(&self.path)?)
    }

    /// Removes what processes that were killed could not remove themselves.
    pub fn sweep(&self) {
        let here = pid_namespace();
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let parts = name.to_str().and_then(|name| name.strip_prefix(SCRATCH)?.split_once('-'));
            let Some((namespace, owner)) = parts else { continue };
            let is_left = if namespace == here.to_string() {
                let pid = owner.split('-').next().unwrap_or_default();
                !Path::new("/proc").join(pid).exists()
            } else {
                let written = entry.metadata().and_then(|found| found.modified());
                written.is_ok_and(|at| at.elapsed().is_ok_and(|since| since > OTHERS_LAST))
            };
            if is_left {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Tells the `criu` to be started where it may keep its cache, as long as the result
    /// lives: a directory for each binary, because versions delete each other's file.
    pub(super) fn tell_criu(&self, binary: &Path) -> Result<crate::sys::Variable, Error> {
        let cache = self.of_binary(binary)?;
        Ok(crate::sys::Variable::set("XDG_RUNTIME_DIR", cache.as_os_str()))
    }

    /// The directory for what belongs to one binary.
    pub(super) fn of_binary(&self, binary: &Path) -> Result<PathBuf, Error> {
        let file = fs::metadata(binary)?;
        // In a namespace CRIU finds other things possible.
        let place = if super::namespace::is_inside() { "-ns" } else { "" };
        let changed = (file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec());
        let changed = format!("{}.{:09}-{}.{:09}", changed.0, changed.1, changed.2, changed.3);
        let name = format!("criu-{}-{}-{changed}{place}", file.ino(), file.size());
        Ok(private(&self.path.join(name))?)
    }
}

/// A directory of this process's own, removed when dropped.
///
/// # Errors
/// When there is no room for one.
pub fn scratch_in(parent: &Path) -> io::Result<tempfile::TempDir> {
    let prefix = format!("{SCRATCH}{}-{}-", pid_namespace(), std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir_in(parent)
}

/// The number of the namespace in which this process has its pid; zero if that cannot be known.
fn pid_namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |found| found.ino())
}

fn private(path: &Path) -> io::Result<PathBuf> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} is not a private directory of this user", path.display()),
        ));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn only_what_the_dead_have_left_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = RuntimeDir { path: directory.path().to_owned() };
        let own = runtime.scratch().unwrap();
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let (here, dead) = (pid_namespace(), dead.id());
        let left = directory.path().join(format!("run-{here}-{dead}-abc"));
        fs::create_dir_all(left.join("inside")).unwrap();
        let elsewhere = directory.path().join(format!("run-{}-{dead}-abc", here + 1));
        fs::create_dir(&elsewhere).unwrap();
        fs::create_dir(directory.path().join("criu-1-2-3")).unwrap();
        runtime.sweep();
        assert!(own.path().exists() && directory.path().join("criu-1-2-3").exists());
        assert!(!left.exists() && elsewhere.exists());
        let long_ago = SystemTime::now() - 2 * OTHERS_LAST;
        fs::File::open(&elsewhere).unwrap().set_modified(long_ago).unwrap();
        runtime.sweep();
        assert!(!elsewhere.exists() && own.path().exists());
    }
}
