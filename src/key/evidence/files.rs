//! Files, by directory, each with the state that it had.
//!
//! What is compiled counts for the directory of its source. Of a directory of which only the
//! existence counts nothing is kept if a file below it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::stat::SFlag;
use serde::{Deserialize, Serialize};

use super::Changed;
use super::fact::{Fact, FileState, Place};
use super::text::{self, Text};

/// Where Python puts what it has compiled.
const CACHE: &str = "__pycache__";

/// What counts in one directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Directory<'a> {
    /// Absolute path.
    #[serde(borrow)]
    pub path: Text<'a>,
    /// Files that were read.
    #[serde(borrow)]
    pub files: Vec<FileState<'a>>,
    /// Symbolic links that were read.
    #[serde(borrow)]
    pub links: Vec<FileState<'a>>,
    /// Names that were looked at and were there.
    #[serde(borrow)]
    pub present: Vec<Text<'a>>,
    /// Names that were looked for and were not there.
    #[serde(borrow)]
    pub absent: Vec<Text<'a>>,
}

impl Directory<'_> {
    /// Everything that counts, name by name.
    pub fn facts(&self) -> impl Iterator<Item = Fact<'_>> {
        let files = self.files.iter().map(|file| Fact::File(file.borrowed()));
        let links = self.links.iter().map(|link| Fact::Link(link.borrowed()));
        let present = self.present.iter().map(|name| Fact::Present(name.borrowed()));
        let absent = self.absent.iter().map(|name| Fact::Absent(name.borrowed()));
        files.chain(links).chain(present).chain(absent)
    }

    pub fn first_change(&self) -> Option<Changed> {
        let place = Place::of(self.path.as_path(), self.len());
        self.facts().find_map(|fact| fact.change(&place))
    }

    /// How many names count.
    pub fn len(&self) -> usize {
        self.files.len() + self.links.len() + self.present.len() + self.absent.len()
    }
}

/// Collects files for their directories.
#[derive(Debug, Default)]
pub(super) struct Files {
    directories: BTreeMap<PathBuf, Names>,
}

#[derive(Debug, Default)]
struct Names {
    files: BTreeMap<Text<'static>, FileState<'static>>,
    links: BTreeMap<Text<'static>, FileState<'static>>,
    present: Vec<Text<'static>>,
    absent: Vec<Text<'static>>,
}

impl Files {
    pub fn of(directories: Vec<Directory>) -> Self {
        let directories = directories.into_iter().map(|directory| {
            let by_name = |files: Vec<FileState>| {
                let files = files.into_iter().map(FileState::into_owned);
                files.map(|file| (file.name.clone(), file)).collect()
            };
            let names = Names {
                files: by_name(directory.files),
                links: by_name(directory.links),
                present: text::owned(directory.present),
                absent: text::owned(directory.absent),
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

    pub fn finish(self) -> Vec<Directory<'static>> {
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
        directories.filter(|directory| directory.len() > 0).collect()
    }
}

/// A path as a directory and a name there: of compiled files the directory of their source.
fn split(path: &Path) -> Option<(&Path, Text<'static>)> {
    let (parent, name) = (path.parent()?, path.file_name()?);
    match parent.parent() {
        Some(source) if parent.file_name() == Some(OsStr::new(CACHE)) => {
            Some((source, Path::new(CACHE).join(name).into()))
        }
        _ => Some((parent, PathBuf::from(name).into())),
    }
}
