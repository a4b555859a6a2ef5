//! What was so of one name in a directory, and whether it still is.
//!
//! Checking costs one `fstatat` for each name, and an `open` for each directory that has more
//! than a few: looking up a name there costs two thirds of looking up a full path, and the
//! `open` as much as four of the differences.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstatat};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text::Text;
use super::{Changed, Difference};

/// What was so of one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Fact<'a> {
    /// It was a file in this state, or a link to one.
    File(FileState<'a>),
    /// It was a symbolic link in this state.
    Link(FileState<'a>),
    /// It was there.
    Present(Text<'a>),
    /// It was not there.
    Absent(Text<'a>),
}

impl Fact<'_> {
    /// What is not so any more.
    pub fn change(&self, place: &Place) -> Option<Changed> {
        let what = match self {
            Self::File(file) => file.difference(place.stat(&file.name)),
            Self::Link(link) => link.difference(place.lstat(&link.name)),
            Self::Present(name) => place.stat(name).is_err().then_some(Difference::Missing),
            Self::Absent(name) => match place.lstat(name) {
                Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => None,
                _ => Some(Difference::New),
            },
        }?;
        let (Self::File(FileState { name, .. })
        | Self::Link(FileState { name, .. })
        | Self::Present(name)
        | Self::Absent(name)) = self;
        Some(Changed::File { path: place.path_of(name), what })
    }

    pub fn into_owned(self) -> Fact<'static> {
        match self {
            Self::File(file) => Fact::File(file.into_owned()),
            Self::Link(link) => Fact::Link(link.into_owned()),
            Self::Present(name) => Fact::Present(name.into_owned()),
            Self::Absent(name) => Fact::Absent(name.into_owned()),
        }
    }
}

/// The directory in which names are looked up.
#[derive(Debug)]
pub(super) struct Place<'a> {
    path: &'a Path,
    opened: Option<File>,
}

impl<'a> Place<'a> {
    /// For a few names, which are looked up by their full paths.
    pub fn of_few(path: &'a Path) -> Self {
        Self { path, opened: None }
    }

    /// For so many names. Where it cannot be opened, the full paths will tell.
    pub fn of(path: &'a Path, names: usize) -> Self {
        const FEW: usize = 4;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = (names > FEW).then(|| open(path, flags, Mode::empty()).ok()).flatten();
        Self { path, opened: opened.map(File::from) }
    }

    fn path_of(&self, name: &Text) -> PathBuf {
        self.path.join(name.as_path())
    }

    fn stat(&self, name: &Text) -> nix::Result<FileStat> {
        self.look(name, AtFlags::empty())
    }

    fn lstat(&self, name: &Text) -> nix::Result<FileStat> {
        self.look(name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    fn look(&self, name: &Text, flags: AtFlags) -> nix::Result<FileStat> {
        match &self.opened {
            Some(directory) => fstatat(directory, name.as_path(), flags),
            None => fstatat(AT_FDCWD, &self.path_of(name), flags),
        }
    }
}

/// A file, and the state that it had.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct FileState<'a> {
    /// Name in its directory.
    #[serde(borrow)]
    pub name: Text<'a>,
    pub state: State,
}

/// What tells whether a file has changed: kept as 32 bytes, which are read in half the time
/// that numbers of variable length take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// Size in bytes.
    pub size: i64,
    /// Time of the last change of the contents, in nanoseconds since 1970.
    pub mtime: i64,
    /// Time of the last change of anything, which nobody can set back.
    pub ctime: i64,
    /// Inode.
    pub inode: u64,
}

impl<'a> FileState<'a> {
    pub fn of(name: Text<'a>, state: &FileStat) -> Self {
        Self { name, state: State::of(state) }
    }

    fn difference(&self, found: nix::Result<FileStat>) -> Option<Difference> {
        match found {
            Ok(found) if self.state == State::of(&found) => None,
            Ok(_) => Some(Difference::Modified),
            Err(_) => Some(Difference::Missing),
        }
    }

    /// The same, without a copy of the name.
    pub fn borrowed(&self) -> FileState<'_> {
        FileState { name: self.name.borrowed(), state: self.state }
    }

    pub fn into_owned(self) -> FileState<'static> {
        FileState { name: self.name.into_owned(), state: self.state }
    }
}

impl State {
    /// The state that `stat` tells.
    pub fn of(state: &FileStat) -> Self {
        let (mtime, ctime) = times(state);
        Self { size: state.st_size, mtime, ctime, inode: state.st_ino }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { size, mtime, ctime, inode } = self;
        let fields =
            [size.to_le_bytes(), mtime.to_le_bytes(), ctime.to_le_bytes(), inode.to_le_bytes()];
        serializer.serialize_bytes(fields.as_flattened())
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        let (&[size, mtime, ctime, inode], []) = bytes.as_chunks::<8>() else {
            return Err(D::Error::invalid_length(bytes.len(), &"32 bytes"));
        };
        Ok(Self {
            size: i64::from_le_bytes(size),
            mtime: i64::from_le_bytes(mtime),
            ctime: i64::from_le_bytes(ctime),
            inode: u64::from_le_bytes(inode),
        })
    }
}

/// Modification and change time in nanoseconds since 1970.
pub(super) fn times(state: &FileStat) -> (i64, i64) {
    let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
    (ns(state.st_mtime, state.st_mtime_nsec), ns(state.st_ctime, state.st_ctime_nsec))
}
