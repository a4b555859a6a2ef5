//! Putting things where a crash leaves them whole or not at all.
//!
//! Every rename and every sync of the store but SQLite's own is here: what is
//! put has been written elsewhere on the same file system, is made durable, then
//! gets its name, then the name is made durable. Nothing is ever written in
//! place.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::access;
use super::failure::{Doing, write_failed};
use super::pages::{LEAST_HOLE, PAGE};
use crate::error::Result;

/// Threads that do nothing but wait for the disk.
const MOST_AT_ONCE: usize = 16;

/// Writes a new private file, which is not durable yet; `needed` bytes are said
/// to be needed if the disk is full.
pub(super) fn write(path: &Path, bytes: &[u8], needed: u64) -> Result<()> {
    let written = access::private_file(path)?.write_all(bytes);
    written.map_err(|error| write_failed(path, needed, error))
}

/// Makes all files in a directory durable, and their names there.
///
/// All at once: a journalling file system then makes one commit of them, where
/// one after the other takes one commit each.
pub(super) fn sync_tree(dir: &Path, needed: u64) -> Result<()> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let files: Vec<_> = entries.doing("read", dir)?.iter().map(fs::DirEntry::path).collect();
    let sync = |path: &PathBuf| {
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|error| write_failed(path, needed, error))
    };
    let share = files.len().div_ceil(MOST_AT_ONCE).max(1);
    thread::scope(|scope| {
        let sync = &sync;
        let shares: Vec<_> = files
            .chunks(share)
            .map(|share| scope.spawn(move || share.iter().try_for_each(sync)))
            .collect();
        shares.into_iter().try_for_each(|share| {
            share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    sync_dir(dir)
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).doing("sync", dir)
}

/// Makes the name of a file or directory durable in the one above it, which may be somebody
/// else's: one that may not be read cannot be synced either.
pub(super) fn sync_name(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    match File::open(parent) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened.and_then(|parent| parent.sync_all()).doing("sync", parent),
    }
}

/// Makes a file durable, but not its name.
pub(super) fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).doing("sync", path)
}

/// Writes to the end of a file that is being made; `needed` as for [`write`].
pub(super) fn append(file: &mut File, path: &Path, bytes: &[u8], needed: u64) -> Result<()> {
    file.write_all(bytes).map_err(|error| write_failed(path, needed, error))
}

/// Makes a file durable that was written through this descriptor.
pub(super) fn sync_written(file: &File, path: &Path, needed: u64) -> Result<()> {
    file.sync_all().map_err(|error| write_failed(path, needed, error))
}

/// Bytes that are written at once, to a multiple of as many. A file's pages that were written
/// together the kernel keeps together (large folios), where the file system can, and maps
/// together: measured on ext4 of Linux 6.18, a program that touches each sixteenth page of 64 MB
/// then waits 0.2 to 0.3 us for each, and else 1.7. From 2 MB on such a write takes ten times as
/// long.
pub(super) const AT_ONCE: u64 = 1 << 20;

/// Creates a private file of so many bytes, all of them a hole.
pub(super) fn create_sparse(path: &Path, bytes: u64) -> Result<File> {
    let file = access::private_file(path)?;
    file.set_len(bytes).map_err(|error| write_failed(path, bytes, error))?;
    Ok(file)
}

/// Writes into a hole of a file that is being made; pages of zeroes stay holes, if they are
/// several.
pub(super) fn write_sparse(
    file: &File,
    path: &Path,
    bytes: &[u8],
    offset: u64,
    needed: u64,
) -> Result<()> {
    let put = |mut from: usize, to: usize| -> Result<()> {
        while from < to {
            let at = offset + from as u64;
            let next = to.min(from + (AT_ONCE - at % AT_ONCE) as usize);
            let written = file.write_all_at(&bytes[from..next], at);
            written.map_err(|error| write_failed(path, needed, error))?;
            from = next;
        }
        Ok(())
    };
    let pages: Vec<&[u8]> = bytes.chunks(PAGE).collect();
    let (mut start, mut at) = (0, 0);
    for run in pages.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let end = at + run.iter().map(|page| page.len()).sum::<usize>();
        if is_zero(run[0]) && run.len() >= LEAST_HOLE {
            put(start, at)?;
            start = end;
        }
        at = end;
    }
    put(start, at)?;
    // The disk works while we go on: a sync at the end of 100 MB would take as long as half
    // of decompressing them.
    crate::sys::begin_to_write_out(file, offset, bytes.len() as u64);
    Ok(())
}

fn is_zero(page: &[u8]) -> bool {
    page == &[0; PAGE][..page.len()]
}

/// Puts a small file that is written anew each time into its place; it is made in
/// `temporary`.
pub(super) fn put_anew(path: &Path, temporary: &Path, bytes: &[u8]) -> Result<()> {
    let made = tempfile::Builder::new()
        .prefix("put-")
        .tempdir_in(temporary)
        .doing("create a directory in", temporary)?;
    let from = made.path().join("file");
    let needed = bytes.len() as u64;
    write(&from, bytes, needed)?;
    sync_file(&from)?;
    overwrite(&from, path.parent().unwrap_or(temporary), path)
}

/// Removes a file from `dir`, durably.
pub(super) fn remove(path: &Path, dir: &Path) -> Result<()> {
    fs::remove_file(path).doing("remove", path)?;
    sync_dir(dir)
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
    set_time(from, modified_ns)?;
    overwrite(from, dir, to)
}

/// Gives a file that is durable a time of writing, in nanoseconds since 1970.
pub(super) fn set_time(path: &Path, modified_ns: i64) -> Result<()> {
    let modified = UNIX_EPOCH + Duration::from_nanos(modified_ns.max(0).cast_unsigned());
    let file = File::options().write(true).open(path).doing("open", path)?;
    file.set_modified(modified).and_then(|()| file.sync_all()).doing("write", path)
}

/// Gives what is durable at `from` the name of something else in `dir`, which goes.
pub(super) fn overwrite(from: &Path, dir: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).doing("create", to)?;
    sync_dir(dir)
}

/// Moves something from one directory of the store to another, under a name that is free.
pub(super) fn shift(from: &Path, dir: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).doing("move", from)?;
    // The new name first: never is there none.
    sync_dir(dir)?;
    from.parent().map_or(Ok(()), sync_dir)
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
