//! What an operating system or SQLite error means for the person.
//!
//! Every failure that leaves the store passes through here once, so that the
//! same cause always reads the same and carries the same advice.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use rusqlite::ErrorCode;

use crate::error::{Error, Result};

const WRITABLE: &str = "set PYIMG_DIR to a directory that you may write to";

/// Adds what was being done, and to which path, to an I/O error.
pub(super) trait Doing<T> {
    /// `verb` completes "cannot … PATH": "read", "create", "write".
    fn doing(self, verb: &str, path: &Path) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, verb: &str, path: &Path) -> Result<T> {
        self.map_err(|error| failed_io(verb, path, error))
    }
}

impl<T> Doing<T> for nix::Result<T> {
    fn doing(self, verb: &str, path: &Path) -> Result<T> {
        self.map_err(io::Error::from).doing(verb, path)
    }
}

fn failed_io(verb: &str, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => disk_full(path, None),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::environment(format!("cannot {verb} {}", path.display()))
                .because(error)
                .hint(WRITABLE)
        }
        _ => Error::failed(format!("cannot {verb} {}", path.display())).because(error),
    }
}

/// No space is left where `path` is; `needed` is what the whole step would
/// have taken, in bytes, where that is known.
pub(super) fn disk_full(path: &Path, needed: Option<u64>) -> Error {
    let mut message = format!("no space left for {}", path.display());
    if let Some(needed) = needed {
        message += &format!(": up to {} needed", megabytes(needed));
        // The file may be gone or never have come to be: its directory will do.
        if let Some(free) = path.ancestors().find_map(free_bytes) {
            message += &format!(", {} free", megabytes(free));
        }
    }
    Error::failed(message)
        .hint("free some space there, or remove images that are not needed with `pyimg rm`")
}

/// The bytes that this user may still write on the file system of `path`.
pub(super) fn free_bytes(path: &Path) -> Option<u64> {
    let stat = statvfs(path).ok()?;
    Some(stat.blocks_available() * stat.fragment_size())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// What a failed write means; `needed` as for [`disk_full`].
pub(super) fn write_failed(path: &Path, needed: u64, error: io::Error) -> Error {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => disk_full(path, Some(needed)).because(error),
        _ => failed_io("write", path, error),
    }
}

/// The index, or what it stands for, is not what this program wrote.
pub(super) fn damaged(root: &Path, what: impl std::fmt::Display) -> Error {
    Error::environment(format!("the store {} is damaged: {what}", root.display())).hint(format!(
        "`pyimg verify --repair` saves what is whole; or remove all of it, which is only a cache, \
         with `rm -r {}`",
        root.display()
    ))
}

/// Turns an error of SQLite into one for a person; `root` is the store.
pub(super) fn sql(root: &Path) -> impl Fn(rusqlite::Error) -> Error {
    move |error| {
        let store = root.display();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                damaged(root, format_args!("its index cannot be read ({error})"))
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Error::failed(format!("the store {store} is being changed by another process"))
                    .hint("try again")
            }
            Some(ErrorCode::DiskFull) => disk_full(root, None),
            Some(ErrorCode::ReadOnly) => {
                Error::environment(format!("cannot write to the store {store}"))
                    .because(error)
                    .hint(WRITABLE)
            }
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Error::environment(format!("cannot open the index of the store {store}"))
                    .because(error)
                    .hint(WRITABLE)
            }
            _ => Error::failed(format!("cannot use the index of the store {store}")).because(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_where_and_how_much() {
        let path = std::env::temp_dir().join("no-such-dir/x.pack");
        let error = disk_full(&path, Some(117_400_000));
        let text = error.to_string();
        let start = format!("no space left for {}: up to 117.4 MB needed, ", path.display());
        assert!(text.starts_with(&start) && text.ends_with(" MB free"), "{text}");
        assert_eq!(error.exit_code(), 1);
        assert!(error.hint_text().unwrap().contains("pyimg rm"));
        let short = Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull)).doing("write", &path);
        assert_eq!(short.unwrap_err().to_string(), format!("no space left for {}", path.display()));
    }

    #[test]
    fn a_refusal_says_what_to_set() {
        let result = Err::<(), _>(nix::errno::Errno::EROFS).doing("create", Path::new("/s/x"));
        let error = result.unwrap_err();
        assert!(error.to_string().starts_with("cannot create /s/x: Read-only file system"));
        assert_eq!(error.exit_code(), 2);
        assert_eq!(error.hint_text(), Some("set PYIMG_DIR to a directory that you may write to"));
    }

    #[test]
    fn damage_names_the_way_out() {
        let error = damaged(Path::new("/s"), "its index is empty");
        assert_eq!(error.to_string(), "the store /s is damaged: its index is empty");
        assert!(error.hint_text().unwrap().contains("`rm -r /s`"));
    }
}
