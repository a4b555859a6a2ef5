//! Directories whose listing decided something: where a module came from, what Python's
//! `site` reads at its start, or what code found that listed it.
//!
//! As long as a directory is in the state in which it was looked through, nothing is listed.
//! Else it is looked through for the names that matter, for most of what is installed does not.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::text::{self, Text};
use super::{Changed, fact};

/// When a directory was changed last; all zero if it does not exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DirectoryState {
    mtime: i64,
    ctime: i64,
    inode: u64,
}

impl DirectoryState {
    /// The present state.
    pub fn of(path: &Path) -> Self {
        nix::sys::stat::stat(path).map_or_else(
            |_| Self::default(),
            |state| {
                let (mtime, ctime) = fact::times(&state);
                Self { mtime, ctime, inode: state.st_ino }
            },
        )
    }

    /// The same as the state of a file without a size.
    pub fn to_state(self) -> fact::State {
        let Self { mtime, ctime, inode } = self;
        fact::State { size: 0, mtime, ctime, inode }
    }

    fn exists(&self) -> bool {
        *self != Self::default()
    }

    /// Whether it has been so for longer than a file system takes to notice another change:
    /// times have the kernel's ticks, of at most 10 ms.
    fn is_settled(&self, now_ns: i64) -> bool {
        const TICKS_NS: i64 = 50_000_000;
        self.ctime.saturating_add(TICKS_NS) < now_ns
    }
}

/// Which names in a directory matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Interest<'a> {
    /// Modules that were looked for there, sorted.
    #[serde(borrow)]
    pub modules: Vec<Text<'a>>,
    /// Distributions that were asked for, as their names stand in those of directories,
    /// sorted.
    #[serde(borrow)]
    pub distributions: Vec<Text<'a>>,
    /// All distributions.
    pub all_distributions: bool,
    /// Whatever Python's `site` reads or runs.
    pub start: bool,
    /// Everything.
    pub all: bool,
}

impl<'a> Interest<'a> {
    /// Of modules with these names.
    pub fn in_modules(names: impl IntoIterator<Item = String>) -> Self {
        let mut modules: Vec<Text> = names.into_iter().map(Text::from).collect();
        modules.sort();
        Self { modules, ..Self::default() }
    }

    /// Of distributions with these names, or of all where one is `None`.
    pub fn in_distributions(names: Vec<Option<String>>) -> Self {
        let all_distributions = names.contains(&None);
        let names = names.into_iter().flatten();
        let mut distributions: Vec<Text> = names.map(|name| normal(&name).into()).collect();
        distributions.sort();
        Self { distributions, all_distributions, ..Self::default() }
    }

    fn includes(&self, name: &[u8]) -> bool {
        self.all
            || self.start && is_start_file(name)
            || self.is_module(name)
            || self.is_distribution(name)
    }

    /// `NAME-VERSION.dist-info` and its elders.
    fn is_distribution(&self, name: &[u8]) -> bool {
        if self.distributions.is_empty() && !self.all_distributions {
            return false;
        }
        let Ok(name) = std::str::from_utf8(name) else { return false };
        let Some((stem, ending)) = name.rsplit_once('.') else { return false };
        let is_one = ["dist-info", "egg-info", "egg", "egg-link"].contains(&ending);
        let called = normal(stem.split('-').next().unwrap_or_default());
        let asked = |name: &Text| name.as_bytes() == called.as_bytes();
        is_one && (self.all_distributions || self.distributions.iter().any(asked))
    }

    /// A package's directory is called as it is; files end in what any Python would load.
    fn is_module(&self, name: &[u8]) -> bool {
        let dot = memchr::memchr(b'.', name).unwrap_or(name.len());
        let (stem, suffix) = name.split_at(dot);
        let loadable = [".py", ".pyc", ".so"].iter().any(|end| suffix.ends_with(end.as_bytes()));
        (suffix.is_empty() || loadable)
            && self.modules.binary_search_by(|module| module.as_bytes().cmp(stem)).is_ok()
    }

    pub fn and(&mut self, other: Self) {
        self.modules.extend(other.modules);
        self.modules.sort();
        self.modules.dedup();
        self.distributions.extend(other.distributions);
        self.distributions.sort();
        self.distributions.dedup();
        self.all_distributions |= other.all_distributions;
        self.start |= other.start;
        self.all |= other.all;
    }

    fn into_owned(self) -> Interest<'static> {
        Interest {
            modules: text::owned(self.modules),
            distributions: text::owned(self.distributions),
            all_distributions: self.all_distributions,
            start: self.start,
            all: self.all,
        }
    }
}

/// The module that a package's directory begins with.
pub(super) const INIT: &str = "__init__";

/// The directory in which a package was looked for whose first module is an extension, which is
/// not there.
pub(super) fn package_of_extension(path: &Path) -> Option<&Path> {
    let name = path.file_name()?.as_bytes();
    let is_one = name.strip_prefix(INIT.as_bytes())?.starts_with(b".") && name.ends_with(b".so");
    (is_one && path.symlink_metadata().is_err()).then(|| path.parent())?
}

/// As `importlib.metadata` compares names.
fn normal(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for character in name.to_lowercase().chars() {
        match character {
            '-' | '_' | '.' if normal.ends_with('_') => {}
            '-' | '_' | '.' => normal.push('_'),
            other => normal.push(other),
        }
    }
    normal
}

fn is_start_file(name: &[u8]) -> bool {
    let customize = ["sitecustomize", "usercustomize"];
    name.ends_with(b".pth") || customize.iter().any(|module| name.starts_with(module.as_bytes()))
}

/// A directory that was looked through.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Listing<'a> {
    /// Absolute path.
    #[serde(borrow)]
    pub path: Text<'a>,
    state: DirectoryState,
    #[serde(borrow)]
    interest: Interest<'a>,
    /// The names there that matter, sorted; if all of them do, a hash of them.
    #[serde(borrow)]
    entries: Vec<Text<'a>>,
}

impl<'a> Listing<'a> {
    /// Looks through a directory. The state is that of before, so that what is added
    /// meanwhile is seen later.
    pub fn record(path: PathBuf, interest: Interest<'a>) -> Self {
        let state = DirectoryState::of(&path);
        let entries = entries(&path, &interest);
        Self { path: path.into(), state, interest, entries }
    }

    pub fn into_owned(self) -> Listing<'static> {
        Listing {
            path: self.path.into_owned(),
            state: self.state,
            interest: self.interest.into_owned(),
            entries: text::owned(self.entries),
        }
    }

    /// With what else matters. What is known of it stays as it was recorded, so that a
    /// change since then is one.
    pub fn and(self, interest: Interest<'a>) -> Self {
        let mut both = self.interest.clone();
        both.and(interest);
        if both == self.interest {
            return self;
        }
        let new = Self::record(self.path.as_path().to_owned(), both);
        if self.change(DirectoryState::of(self.path.as_path())).is_some() {
            return self;
        }
        new
    }

    /// The paths of the files that matter now.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let entries = if self.interest.all { &[][..] } else { &self.entries };
        entries.iter().map(|entry| self.path.as_path().join(entry.as_path()))
    }

    /// What is different; looks through the directory only if its state is neither the
    /// recorded one nor one that is known to be as good, and notes the new one then.
    pub fn first_change(&self, known: &mut LookedThrough) -> Option<Changed> {
        let now = DirectoryState::of(self.path.as_path());
        if self.is_as_good(now, known) {
            return None;
        }
        let change = self.change(now);
        if change.is_none() {
            known.note(self.path.clone(), now);
        }
        change
    }

    /// Whether in this state the directory holds what it held.
    pub fn is_as_good(&self, now: DirectoryState, known: &LookedThrough) -> bool {
        now == self.state || known.states.get(&self.path) == Some(&now)
    }

    fn change(&self, now: DirectoryState) -> Option<Changed> {
        let path = self.path.as_path();
        let listed = |entry: &str| {
            Some(Changed::Listing { directory: path.to_owned(), entry: entry.to_owned() })
        };
        if now == self.state {
            return None;
        }
        // An archive, whose names are not those of a directory.
        if now.exists() && !path.is_dir() {
            return listed("");
        }
        // One that was not there would now be part of the path.
        if self.interest.start && now.exists() != self.state.exists() {
            return listed("");
        }
        let entries = entries(path, &self.interest);
        if entries == self.entries {
            return None;
        }
        if self.interest.all {
            return listed("");
        }
        let in_one = |one: &[Text], other: &[Text]| {
            one.iter().find(|entry| !other.contains(entry)).map(|entry| entry.lossy().into_owned())
        };
        listed(&in_one(&entries, &self.entries).or(in_one(&self.entries, &entries))?)
    }
}

/// The names in a directory that matter, sorted, or one hash in place of all.
fn entries(path: &Path, interest: &Interest) -> Vec<Text<'static>> {
    let names = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<Text<'static>> = names
        .map(|entry| entry.file_name())
        .filter(|name| interest.includes(name.as_bytes()))
        .map(|name| name.into_vec().into())
        .collect();
    names.sort();
    if !interest.all {
        return names;
    }
    let mut hasher = blake3::Hasher::new();
    for name in &names {
        hasher.update(name.as_bytes()).update(b"\0");
    }
    vec![hasher.finalize().as_bytes().to_vec().into()]
}

/// States of directories in which they were looked through after the image was built, and
/// nothing that matters was different.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LookedThrough {
    states: BTreeMap<Text<'static>, DirectoryState>,
    is_new: bool,
    now_ns: i64,
}

impl LookedThrough {
    /// Reads what [`Self::to_json`] wrote; if there is nothing, or nothing that can be
    /// understood, nothing is known.
    pub fn read(path: &Path) -> Self {
        let read = || -> io::Result<BTreeMap<Text<'static>, DirectoryState>> {
            let json = std::fs::read(path)?;
            let states: Vec<(Text, DirectoryState)> = serde_json::from_slice(&json)?;
            Ok(states.into_iter().map(|(path, state)| (path.into_owned(), state)).collect())
        };
        let states = read().unwrap_or_default();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now_ns = now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
        Self { states, is_new: false, now_ns }
    }

    /// Notes that a directory in this state was looked through, unless another change could
    /// be within the same tick of the clock.
    fn note(&mut self, path: Text, state: DirectoryState) {
        if state.is_settled(self.now_ns) || !state.exists() {
            self.states.insert(path.into_owned(), state);
            self.is_new = true;
        }
    }

    /// The text to be kept for the next time, if there is anything new in it.
    pub fn to_json(&self) -> Option<Vec<u8>> {
        let states: Vec<(&Text, &DirectoryState)> = self.states.iter().collect();
        self.is_new.then(|| serde_json::to_vec(&states).expect("paths and numbers are JSON"))
    }
}
