//! One file or directory: is it there, is it one, whose is it, who else may touch it?
//!
//! Nothing is followed and nothing waits: a link or a pipe that somebody put into the
//! store is a problem to tell, not a place to read from.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::geteuid;

use super::finding::{FindingKind, Problem, Remedy};

/// What something should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Type {
    File,
    Directory,
}

impl Type {
    fn mode(self) -> u32 {
        match self {
            Self::File => 0o600,
            Self::Directory => 0o700,
        }
    }
}

/// How something was found.
#[derive(Debug)]
pub(in super::super) enum Found {
    Missing,
    /// It must not be used.
    Bad(Problem),
    /// It may be used, though perhaps its mode is wrong.
    Good(Metadata, Option<Problem>),
}

/// What holds for all files of one store.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Rules {
    user: u32,
    /// The store's directory was made read-only, so its files may be too.
    read_only: bool,
}

impl Rules {
    pub fn of(root: &Metadata) -> Self {
        Self { user: geteuid().as_raw(), read_only: root.mode() & 0o200 == 0 }
    }

    /// Looks at what lies at `path`.
    pub fn look(&self, path: &Path, wanted: Type) -> Found {
        match fs::symlink_metadata(path) {
            Ok(found) => self.judge(path, found, wanted),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Missing,
            Err(error) => Found::Bad(unreadable(path, &error)),
        }
    }

    fn judge(&self, path: &Path, found: Metadata, wanted: Type) -> Found {
        let bad =
            |kind, detail: String| Found::Bad(Problem::new(kind, path, Remedy::SetAside, detail));
        let right = match wanted {
            Type::File => found.is_file(),
            Type::Directory => found.is_dir(),
        };
        if !right {
            let what = match found.file_type() {
                other if other.is_symlink() => "a symbolic link",
                other if other.is_dir() => "a directory",
                other if other.is_file() => "a file",
                _ => "neither file nor directory",
            };
            return bad(FindingKind::WrongType, format!("it is {what}"));
        }
        let owner = found.uid();
        if owner != self.user && owner != 0 {
            let detail = format!("it belongs to uid {owner}, you are uid {}", self.user);
            return bad(FindingKind::WrongOwner, detail);
        }
        let mode = found.mode() & 0o7777;
        // Root's files may be shared with others, who then may not change them; they
        // see the modes that root chose.
        let right = match owner == self.user {
            true => mode == wanted.mode() || self.read_only && mode == wanted.mode() & !0o200,
            false => mode & 0o022 == 0,
        };
        let problem = (!right).then(|| {
            let detail = format!("its mode is {mode:04o} and should be {:04o}", wanted.mode());
            let remedy = Remedy::SetMode(wanted.mode());
            Problem::new(FindingKind::WrongMode, path, remedy, detail)
        });
        Found::Good(found, problem)
    }

    /// Opens a file for reading; the metadata is that of the open file, so that it
    /// does not matter if another takes its name meanwhile.
    pub fn open(&self, path: &Path) -> Result<Option<(File, Metadata, Option<Problem>)>, Problem> {
        let mode = match self.look(path, Type::File) {
            Found::Missing => return Ok(None),
            Found::Bad(problem) => return Err(problem),
            Found::Good(_, mode) => mode,
        };
        let open = || -> io::Result<_> {
            let flags = O_NOFOLLOW | O_NONBLOCK;
            let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
            let found = file.metadata()?;
            Ok((file, found))
        };
        match open() {
            Ok((file, found)) => Ok(Some((file, found, mode))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // Its mode explains it, and is to be mended first.
            Err(error) => Err(mode.unwrap_or_else(|| unreadable(path, &error))),
        }
    }
}

/// The system's own reason.
pub(in super::super) fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let detail = format!("it cannot be read: {error}");
    Problem::new(FindingKind::Unreadable, path, Remedy::SetAside, detail)
}
