//! What an image's imports depended on: files, each with the state that it had.
//!
//! A hit requires that every file still has that state. The files are kept by
//! directory, so that checking costs one `open` for each directory and one `fstatat`
//! for each file, which is about half of what looking up full paths would cost.
//!
//! This is where the state is taken and compared; which files count is decided by
//! [`crate::capture`].

pub mod many;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstatat};
use serde::{Deserialize, Serialize};

/// The state of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Name in its directory.
    #[serde(with = "bytes_as_text")]
    pub name: Vec<u8>,
    /// Size in bytes.
    pub size: i64,
    /// Time of the last change of the contents, in nanoseconds since 1970.
    pub mtime: i64,
    /// Inode.
    pub inode: u64,
}

/// The files of one directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Absolute path.
    #[serde(with = "bytes_as_text")]
    pub path: Vec<u8>,
    /// Its files that count.
    pub files: Vec<FileState>,
}

/// Everything that an image depended on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    directories: Vec<Directory>,
    sites: Vec<Site>,
}

/// A directory in which Python looks, when it starts, for files that extend its path or
/// run code: what is added there later counts as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Site {
    #[serde(with = "bytes_as_text")]
    path: Vec<u8>,
    /// Time of the last change in nanoseconds since 1970; 0 if it does not exist.
    mtime: i64,
    /// The files that count, sorted.
    start_files: Vec<String>,
}

/// A file that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The file.
    pub path: PathBuf,
    /// What is different about it.
    pub what: Difference,
}

/// How a file differs from its recorded state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// It is not there any more, or cannot be seen.
    Missing,
    /// Its size, time or inode differs.
    Modified,
}

impl std::fmt::Display for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.what {
            Difference::Missing => "is missing",
            Difference::Modified => "has changed",
        };
        write!(f, "{} {what}", self.path.display())
    }
}

impl Evidence {
    /// Records the present state of these files, and of what is in these site directories;
    /// files that do not exist are left out.
    ///
    /// # Errors
    /// When a file that exists cannot be examined.
    pub fn record(
        paths: impl IntoIterator<Item = PathBuf>,
        sites: impl IntoIterator<Item = PathBuf>,
    ) -> io::Result<Self> {
        Self::default().and(paths, sites)
    }

    /// Adds the present state of these files and site directories. Those that are known
    /// keep the state in which they were recorded first.
    ///
    /// # Errors
    /// When a file that exists cannot be examined.
    pub fn and(
        self,
        paths: impl IntoIterator<Item = PathBuf>,
        sites: impl IntoIterator<Item = PathBuf>,
    ) -> io::Result<Self> {
        let mut directories: BTreeMap<PathBuf, BTreeMap<Vec<u8>, FileState>> = self
            .directories
            .into_iter()
            .map(|Directory { path, files }| {
                let files = files.into_iter().map(|file| (file.name.clone(), file)).collect();
                (as_path(&path).to_owned(), files)
            })
            .collect();
        for path in paths {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let known = directories.get(parent);
            if known.is_some_and(|files| files.contains_key(name.as_bytes())) {
                continue;
            }
            let state = match nix::sys::stat::stat(&path) {
                Ok(state) => state,
                Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => continue,
                Err(error) => return Err(error.into()),
            };
            let name = name.as_bytes().to_vec();
            directories
                .entry(parent.to_owned())
                .or_default()
                .insert(name.clone(), FileState::of(name, &state));
        }
        let directories = directories
            .into_iter()
            .map(|(path, files)| Directory {
                path: path.into_os_string().into_vec(),
                files: files.into_values().collect(),
            })
            .collect();
        let mut all_sites = self.sites;
        for path in sites {
            if !all_sites.iter().any(|site| as_path(&site.path) == path) {
                all_sites.push(Site::record(path));
            }
        }
        Ok(Self { directories, sites: all_sites })
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn read(path: &Path) -> io::Result<Self> {
        serde_json::from_slice(&std::fs::read(path)?).map_err(io::Error::from)
    }

    /// The evidence as JSON: the directories with the state of their files, and the site
    /// directories.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("paths and numbers are JSON")
    }

    /// Compares every file with its recorded state; the first difference, if any.
    pub fn first_change(&self) -> Option<Changed> {
        let in_files = self.directories.iter().find_map(Directory::first_change);
        in_files.or_else(|| self.sites.iter().find_map(Site::change))
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.directories.iter().map(|directory| directory.files.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every path.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.directories
            .iter()
            .flat_map(|directory| directory.files.iter().map(|file| directory.path_of(file)))
    }
}

impl Directory {
    fn path_of(&self, file: &FileState) -> PathBuf {
        as_path(&self.path).join(as_path(&file.name))
    }

    fn first_change(&self) -> Option<Changed> {
        let changed = |file: &FileState, what| Changed { path: self.path_of(file), what };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(directory) = open(as_path(&self.path), flags, Mode::empty()).map(File::from) else {
            return self.files.first().map(|file| changed(file, Difference::Missing));
        };
        self.files.iter().find_map(|file| {
            let name = as_path(&file.name);
            match fstatat(&directory, name, AtFlags::empty()) {
                Ok(state) if file.matches(&state) => None,
                Ok(_) => Some(changed(file, Difference::Modified)),
                Err(_) => Some(changed(file, Difference::Missing)),
            }
        })
    }
}

impl Site {
    fn record(path: PathBuf) -> Self {
        let start_files = start_files(&path);
        Self { mtime: directory_mtime(&path), path: path.into_os_string().into_vec(), start_files }
    }

    /// A directory that changed is looked through: most of what is installed does not count.
    /// One that was not there would now be part of the path.
    fn change(&self) -> Option<Changed> {
        let path = as_path(&self.path);
        let now = directory_mtime(path);
        if now == self.mtime || self.mtime != 0 && start_files(path) == self.start_files {
            return None;
        }
        Some(Changed { path: path.to_owned(), what: Difference::Modified })
    }
}

fn directory_mtime(path: &Path) -> i64 {
    nix::sys::stat::stat(path).map_or(0, |state| mtime(&state))
}

/// What Python's `site` module reads or runs from a directory.
fn start_files(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| {
            let customize = ["sitecustomize", "usercustomize"];
            name.ends_with(".pth") || customize.iter().any(|module| name.starts_with(module))
        })
        .collect();
    names.sort();
    names
}

impl FileState {
    fn of(name: Vec<u8>, state: &libc::stat) -> Self {
        Self { name, size: state.st_size, mtime: mtime(state), inode: state.st_ino }
    }

    fn matches(&self, state: &libc::stat) -> bool {
        self.size == state.st_size && self.mtime == mtime(state) && self.inode == state.st_ino
    }
}

fn mtime(state: &libc::stat) -> i64 {
    state.st_mtime.saturating_mul(1_000_000_000).saturating_add(state.st_mtime_nsec)
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// Paths are bytes; in a manifest they are text where they are UTF-8, else a list of
/// numbers.
mod bytes_as_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Form<'a> {
        Text(std::borrow::Cow<'a, str>),
        Bytes(Vec<u8>),
    }

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => bytes.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Ok(match Form::deserialize(deserializer)? {
            Form::Text(text) => text.into_owned().into_bytes(),
            Form::Bytes(bytes) => bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::fs;

    fn tree() -> (tempfile::TempDir, Evidence) {
        let directory = tempfile::tempdir().unwrap();
        let a = directory.path().join("a.py");
        let strange = directory.path().join(OsStr::from_bytes(b"strange-\xff.py"));
        fs::write(&a, "x = 1\n").unwrap();
        fs::write(&strange, "").unwrap();
        let absent = directory.path().join("absent.pyc");
        let evidence = Evidence::record([a, strange, absent], []).unwrap();
        (directory, evidence)
    }

    #[test]
    fn unchanged_files_hold() {
        let (_directory, evidence) = tree();
        assert_eq!(evidence.len(), 2, "a file that does not exist is no evidence");
        assert_eq!(evidence.first_change(), None);
    }

    #[test]
    fn every_change_is_seen() {
        let (directory, evidence) = tree();
        let a = directory.path().join("a.py");
        let change = |what| Some(Changed { path: a.clone(), what });

        fs::write(&a, "x = 22\n").unwrap();
        assert_eq!(evidence.first_change(), change(Difference::Modified));

        let (directory, evidence) = tree();
        let a = directory.path().join("a.py");
        let before = fs::metadata(&a).unwrap().modified().unwrap();
        fs::write(directory.path().join("new"), "x = 1\n").unwrap();
        fs::rename(directory.path().join("new"), &a).unwrap();
        File::options().write(true).open(&a).unwrap().set_modified(before).unwrap();
        let changed = evidence.first_change().expect("another inode");
        assert_eq!(changed.what, Difference::Modified);

        let (directory, evidence) = tree();
        fs::remove_file(directory.path().join("a.py")).unwrap();
        let changed = evidence.first_change().unwrap();
        assert_eq!(changed.what, Difference::Missing);
        assert!(changed.to_string().ends_with("a.py is missing"));

        let (directory, evidence) = tree();
        drop(directory);
        assert_eq!(evidence.first_change().unwrap().what, Difference::Missing);
    }

    #[test]
    fn a_new_path_file_is_seen_and_a_new_package_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (site, later) = (directory.path().join("site"), directory.path().join("later"));
        fs::create_dir(&site).unwrap();
        let evidence = Evidence::record([], [site.clone(), later.clone()]).unwrap();
        fs::create_dir(site.join("package")).unwrap();
        assert_eq!(evidence.first_change(), None);
        fs::create_dir(&later).unwrap();
        assert_eq!(evidence.first_change().unwrap().path, later);
        fs::remove_dir(&later).unwrap();
        fs::write(site.join("editable.pth"), "/srv\n").unwrap();
        assert_eq!(evidence.first_change().unwrap().path, site);
    }

    #[test]
    fn what_is_added_does_not_renew_what_is_known() {
        let (directory, evidence) = tree();
        let (a, b) = (directory.path().join("a.py"), directory.path().join("b.py"));
        fs::write(&a, "x = 22\n").unwrap();
        fs::write(&b, "").unwrap();
        let more = evidence.and([a.clone(), b], [directory.path().to_owned()]).unwrap();
        assert_eq!(more.len(), 3);
        assert_eq!(more.first_change().unwrap().path, a);
    }

    #[test]
    fn survives_a_manifest() {
        let (_directory, evidence) = tree();
        let kept = tempfile::NamedTempFile::new().unwrap();
        fs::write(kept.path(), evidence.to_json()).unwrap();
        let again = Evidence::read(kept.path()).unwrap();
        assert_eq!(again, evidence);
        assert_eq!(again.first_change(), None);
        fs::write(kept.path(), "[").unwrap();
        assert!(Evidence::read(kept.path()).is_err());
    }
}
