//! Putting things where a crash leaves them whole or not at all.
//!
//! Every rename and every sync of the store but SQLite's own is here: what is
//! put has been written elsewhere on the same file system, is made durable, then
//! gets its name, then the name is made durable. Nothing is ever written in
//! place.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::access;
use super::failure::{Doing, disk_full, is_disk_full};
use crate::error::Result;

/// Writes a new private file, durable but for its name; `needed` is said if the
/// disk is full.
pub(super) fn write(path: &Path, bytes: &[u8], needed: u64) -> Result<()> {
    let mut file = access::private_file(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    match written {
        Err(error) if is_disk_full(&error) => Err(disk_full(path, Some(needed)).because(error)),
        written => written.doing("write", path),
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).doing("sync", dir)
}

/// Gives what is durable at `from` its final name in `dir`; false if something
/// has that name already, which is left alone.
pub(super) fn put(from: &Path, dir: &Path, to: &Path) -> Result<bool> {
    let renamed = match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // Some network file systems cannot do it in one step. Everything put is
        // named by its content, so nothing would be lost by replacing it.
        Err(Errno::EINVAL | Errno::ENOSYS) if !to.exists() => fs::rename(from, to),
        Err(Errno::EINVAL | Errno::ENOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        result => result.map_err(io::Error::from),
    };
    match renamed {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        renamed => {
            renamed.doing("create", to)?;
            sync_dir(dir)?;
            Ok(true)
        }
    }
}

/// The same for a file that takes the place of a damaged one, and gets the time
/// of writing that the good one had.
pub(super) fn replace(from: &Path, modified_ns: i64, dir: &Path, to: &Path) -> Result<()> {
    let modified = UNIX_EPOCH + Duration::from_nanos(modified_ns.max(0).cast_unsigned());
    let file = File::options().write(true).open(from).doing("open", from)?;
    file.set_modified(modified).and_then(|()| file.sync_all()).doing("write", from)?;
    fs::rename(from, to).doing("create", to)?;
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        write(&from, b"one", 0).unwrap();
        assert!(put(&from, dir.path(), &to).unwrap());
        write(&from, b"two", 0).unwrap();
        assert!(!put(&from, dir.path(), &to).unwrap());
        assert_eq!(fs::read(&to).unwrap(), b"one");
        assert!(write(&from, b"", 0).unwrap_err().to_string().contains("File exists"));
    }
}
