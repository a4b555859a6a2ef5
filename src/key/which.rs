//! Looking for programs as a shell does, and a first look at what was found.
//!
//! A shell takes the first entry of `PATH` that holds an executable file of the
//! name. What kind of file that is, it leaves to the kernel; here it decides
//! whether the file can be the interpreter itself.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::looked;

/// What shells and `execvp(3)` search when `PATH` is not set.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// How much of a script is looked at: enough for its `#!` line, and for the whole
/// of a version manager's shim.
const HEAD: u64 = 4096;

/// Device and inode: what makes two paths the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file that a path leads to, if it leads to one.
    pub fn of(path: &Path) -> Option<Self> {
        looked::at(path);
        path.metadata().ok().as_ref().map(Self::from)
    }
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// The kind of an executable file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A binary in ELF format.
    Elf,
    /// Anything else, with its first bytes.
    Script(Vec<u8>),
}

impl Kind {
    /// Looks at the beginning of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let head = head(path)?;
        Ok(if head.starts_with(b"\x7fELF") { Self::Elf } else { Self::Script(head) })
    }
}

/// The first bytes of a file.
pub(super) fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    looked::at(path);
    let mut file = File::open(path)?;
    // Most files looked at are binaries, for which four bytes tell all.
    let mut bytes = vec![0; 4];
    let read = file.read(&mut bytes)?;
    bytes.truncate(read);
    if bytes != b"\x7fELF" {
        file.take(HEAD - read as u64).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The executable file at this path, if there is one.
pub fn executable(path: &Path) -> Option<Metadata> {
    looked::at(path);
    let metadata = path.metadata().ok()?;
    // A cheap look at the mode spares most of the questions about permission.
    let may = metadata.is_file()
        && metadata.mode() & 0o111 != 0
        && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok();
    may.then_some(metadata)
}

/// Every executable file called `name` in the directories of `search_path`, a value as
/// that of `PATH`, in the order in which a shell would look; as far as it is asked for.
pub fn all(
    name: &OsStr,
    search_path: Option<&OsStr>,
) -> impl Iterator<Item = (PathBuf, FileId)> + use<> {
    let search_path = search_path.unwrap_or(DEFAULT_PATH.as_ref());
    let directories = search_path.as_bytes().split(|&byte| byte == b':');
    let paths: Vec<_> = directories.map(|path| join(OsStr::from_bytes(path), name)).collect();
    paths.into_iter().filter_map(|path| {
        let metadata = executable(&path)?;
        Some((path, FileId::from(&metadata)))
    })
}

/// Joins as a shell does, byte for byte: the result is what the program sees as its own
/// name. An empty directory is the current one.
fn join(directory: &OsStr, name: &OsStr) -> PathBuf {
    let directory = if directory.is_empty() { b"." } else { directory.as_bytes() };
    let mut path = directory.to_vec();
    if path != b"/" {
        path.push(b'/');
    }
    path.extend_from_slice(name.as_bytes());
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn program(path: &Path, text: &[u8]) {
        fs::write(path, text).expect("a file");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    #[test]
    fn takes_what_is_executable_in_the_order_of_the_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        for name in ["a", "b", "c", "d"] {
            fs::create_dir(at(name)).expect("a directory");
        }
        fs::write(at("a/python3"), "").expect("a file that is not executable");
        fs::create_dir(at("b/python3")).expect("a directory of that name");
        program(&at("c/python3"), b"#!/bin/sh\n");
        std::os::unix::fs::symlink(at("c/python3"), at("d/python3")).expect("a link");
        let path: Vec<_> =
            ["a", "none", "b", "c", "d"].map(|name| at(name).display().to_string()).into();
        let path = path.join(":");
        let found: Vec<_> = all("python3".as_ref(), Some(path.as_ref())).collect();
        let paths: Vec<_> = found.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(paths, [at("c/python3"), at("d/python3")]);
        assert_eq!(found[0].1, found[1].1, "a link is the file that it leads to");
        assert_eq!(Some(found[0].1), FileId::of(&at("c/python3")));
    }

    #[test]
    fn joins_as_shells_do() {
        let join = |directory: &str| super::join(directory.as_ref(), "x".as_ref());
        assert_eq!(join("").as_os_str(), "./x");
        assert_eq!(join("/").as_os_str(), "/x");
        assert_eq!(join("/a/").as_os_str(), "/a//x");
    }

    #[test]
    fn kinds() {
        let directory = tempfile::tempdir().expect("a directory");
        let script = directory.path().join("script");
        program(&script, b"#!/bin/sh\nexit\n");
        assert_eq!(Kind::of(&script).expect("readable"), Kind::Script(b"#!/bin/sh\nexit\n".into()));
        program(&script, b"");
        assert_eq!(Kind::of(&script).expect("readable"), Kind::Script(vec![]));
        program(&script, &[b'x'; 5000]);
        assert_eq!(Kind::of(&script).expect("readable"), Kind::Script(vec![b'x'; 4096]));
        let own = Path::new("/proc/self/exe");
        assert_eq!(Kind::of(own).expect("readable"), Kind::Elf);
        assert!(Kind::of(Path::new("/nonexistent")).is_err());
    }
}
