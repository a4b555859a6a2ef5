//! Files, by directory, each with the state that it had.
//!
//! Checking costs one `fstatat` for each file, and an `open` for each directory that has more
//! than a few: looking up a name there costs two thirds of looking up a full path, and the
//! `open` as much as four of the differences. What is compiled counts for the directory of its
//! source. Of a directory of which only the existence counts nothing is kept if a file below
//! it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstatat};
use serde::{Deserialize, Serialize};

use super::text::Text;
use super::{Changed, Difference};

/// The state of one file: in JSON an array of these, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub(super) struct FileState {
    /// Name in its directory.
    pub name: Text,
    /// Size in bytes.
    pub size: i64,
    /// Time of the last change of the contents, in nanoseconds since 1970.
    pub mtime: i64,
    /// Time of the last change of anything, which nobody can set back.
    pub ctime: i64,
    /// Inode.
    pub inode: u64,
}

/// Where Python puts what it has compiled.
const CACHE: &str = "__pycache__";

/// Names in a directory that are looked up by their full paths.
const FEW: usize = 4;

type Wire = (Text, i64, i64, i64, u64);

impl From<Wire> for FileState {
    fn from((name, size, mtime, ctime, inode): Wire) -> Self {
        Self { name, size, mtime, ctime, inode }
    }
}

impl From<FileState> for Wire {
    fn from(state: FileState) -> Self {
        (state.name, state.size, state.mtime, state.ctime, state.inode)
    }
}

impl FileState {
    fn of(name: Text, state: &libc::stat) -> Self {
        let (mtime, ctime) = times(state);
        Self { name, size: state.st_size, mtime, ctime, inode: state.st_ino }
    }

    fn matches(&self, state: &libc::stat) -> bool {
        self.size == state.st_size
            && (self.mtime, self.ctime) == times(state)
            && self.inode == state.st_ino
    }
}

/// Modification and change time in nanoseconds since 1970.
pub(super) fn times(state: &libc::stat) -> (i64, i64) {
    let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
    (ns(state.st_mtime, state.st_mtime_nsec), ns(state.st_ctime, state.st_ctime_nsec))
}

/// What counts in one directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Directory {
    /// Absolute path.
    pub path: Text,
    /// Files that were read.
    pub files: Vec<FileState>,
    /// Symbolic links that were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<FileState>,
    /// Names that were looked at and were there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub present: Vec<Text>,
    /// Names that were looked for and were not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Text>,
}

impl Directory {
    pub fn path_of(&self, name: &Text) -> PathBuf {
        self.path.as_path().join(name.as_path())
    }

    pub fn first_change(&self) -> Option<Changed> {
        let changed = |name: &Text, what| Changed::File { path: self.path_of(name), what };
        let names = self.files.len() + self.links.len() + self.present.len() + self.absent.len();
        let directory = if names > FEW {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let opened = open(self.path.as_path(), flags, Mode::empty());
            let Ok(directory) = opened.map(File::from) else {
                // Nothing is there any more; what was not there is not.
                let first = self.files.iter().chain(&self.links).map(|file| &file.name).next();
                let first = first.or(self.present.first());
                return first.map(|name| changed(name, Difference::Missing));
            };
            Some(directory)
        } else {
            None
        };
        let look = |name: &Text, flags| match &directory {
            Some(directory) => fstatat(directory, name.as_path(), flags),
            None => fstatat(AT_FDCWD, &self.path_of(name), flags),
        };
        let state = |name: &Text| look(name, AtFlags::empty());
        let itself = |name: &Text| look(name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let compare = |file: &FileState, found| match found {
            Ok(found) if file.matches(&found) => None,
            Ok(_) => Some(changed(&file.name, Difference::Modified)),
            Err(_) => Some(changed(&file.name, Difference::Missing)),
        };
        let in_files = self.files.iter().find_map(|file| compare(file, state(&file.name)));
        in_files
            .or_else(|| self.links.iter().find_map(|link| compare(link, itself(&link.name))))
            .or_else(|| {
                let gone = self.present.iter().find(|name| state(name).is_err());
                gone.map(|name| changed(name, Difference::Missing))
            })
            .or_else(|| {
                let is_there = |name: &&Text| {
                    !matches!(itself(name), Err(nix::Error::ENOENT | nix::Error::ENOTDIR))
                };
                self.absent.iter().find(is_there).map(|name| changed(name, Difference::New))
            })
    }
}

/// Collects files for their directories.
#[derive(Debug, Default)]
pub(super) struct Files {
    directories: BTreeMap<PathBuf, Names>,
}

#[derive(Debug, Default)]
struct Names {
    files: BTreeMap<Text, FileState>,
    links: BTreeMap<Text, FileState>,
    present: Vec<Text>,
    absent: Vec<Text>,
}

impl Files {
    pub fn of(directories: Vec<Directory>) -> Self {
        let directories = directories.into_iter().map(|directory| {
            let by_name = |files: Vec<FileState>| {
                files.into_iter().map(|file| (file.name.clone(), file)).collect()
            };
            let names = Names {
                files: by_name(directory.files),
                links: by_name(directory.links),
                present: directory.present,
                absent: directory.absent,
            };
            (directory.path.as_path().to_owned(), names)
        });
        Self { directories: directories.collect() }
    }

    /// Adds the present state of a file that was read or looked at; one that is known keeps
    /// the state in which it was recorded first. What is not a regular file is only there;
    /// what has gone is not there.
    ///
    /// # Errors
    /// When it exists and cannot be examined.
    pub fn read(&mut self, path: &Path) -> io::Result<()> {
        let Some((parent, name)) = split(path) else { return Ok(()) };
        if self.directories.get(parent).is_some_and(|names| names.files.contains_key(&name)) {
            return Ok(());
        }
        let state = match nix::sys::stat::stat(path) {
            Ok(state) => state,
            Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => {
                self.missed(path);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if SFlag::from_bits_truncate(state.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            let names = self.directories.entry(parent.to_owned()).or_default();
            names.present.push(name);
            return Ok(());
        }
        let names = self.directories.entry(parent.to_owned()).or_default();
        names.files.insert(name.clone(), FileState::of(name, &state));
        Ok(())
    }

    /// Adds the present state of a symbolic link.
    pub fn link(&mut self, path: &Path) {
        let Some((parent, name)) = split(path) else { return };
        let Ok(state) = nix::sys::stat::lstat(path) else { return self.missed(path) };
        let names = self.directories.entry(parent.to_owned()).or_default();
        let link = || FileState::of(name.clone(), &state);
        names.links.entry(name.clone()).or_insert_with(link);
    }

    /// Adds a path that was not there. If a link is, what it leads to was not.
    pub fn missed(&mut self, path: &Path) {
        let Some((parent, name)) = split(path) else { return };
        match path.read_link() {
            Ok(target) => {
                let names = self.directories.get(parent);
                if names.is_none_or(|names| !names.links.contains_key(&name)) {
                    self.link(path);
                    self.missed(&parent.join(target));
                }
            }
            Err(_) => self.directories.entry(parent.to_owned()).or_default().absent.push(name),
        }
    }

    pub fn finish(self) -> Vec<Directory> {
        let with_files = self.directories.iter().filter(|(_, names)| !names.files.is_empty());
        let implied: BTreeSet<PathBuf> =
            with_files.flat_map(|(path, _)| path.ancestors()).map(Path::to_owned).collect();
        let directories = self.directories.into_iter().map(|(path, mut names)| {
            names.present.retain(|name| {
                !names.files.contains_key(name) && !implied.contains(&path.join(name.as_path()))
            });
            for list in [&mut names.present, &mut names.absent] {
                list.sort();
                list.dedup();
            }
            Directory {
                path: path.into(),
                files: names.files.into_values().collect(),
                links: names.links.into_values().collect(),
                present: names.present,
                absent: names.absent,
            }
        });
        let counts = |directory: &Directory| {
            let Directory { files, links, present, absent, .. } = directory;
            !(files.is_empty() && links.is_empty() && present.is_empty() && absent.is_empty())
        };
        directories.filter(counts).collect()
    }
}

/// A path as a directory and a name there: of compiled files the directory of their source.
fn split(path: &Path) -> Option<(&Path, Text)> {
    let (parent, name) = (path.parent()?, path.file_name()?);
    match parent.parent() {
        Some(source) if parent.file_name() == Some(OsStr::new(CACHE)) => {
            Some((source, Path::new(CACHE).join(name).into()))
        }
        _ => Some((parent, name.into())),
    }
}
