//! Environment variables that imports read, and what they asked of the process: its working
//! directory, and which of the standard descriptors are terminals.
//!
//! Values are kept as hashes: a variable may hold a secret, and nobody needs to read it here.
//! All of it is short, so that the index of a store can have it too.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Changed;
use super::text::Text;

/// Variables that every process has, that differ from one shell or moment to the next, and
/// on which no import should depend; not evidence even if they are read. Besides these,
/// `PYTHON*` (compared by [`crate::key::python_env`]) and `PYIMG_*` are left out.
pub const NEVER_EVIDENCE: [&str; 6] = ["_", "PWD", "OLDPWD", "SHLVL", "COLUMNS", "LINES"];

/// Further ones that only tell sessions and terminals apart, left out where code went through
/// all variables without asking for one.
pub const NOT_OF_ALL: [&str; 14] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "SSH_AGENT_PID",
    "SSH_AUTH_SOCK",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    "TERM_SESSION_ID",
    "TMUX",
    "TMUX_PANE",
    "WINDOWID",
    "XDG_SESSION_ID",
    "XDG_VTNR",
];

/// What of a process's surroundings imports have read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Variables<'a> {
    /// Each variable with a hash of its value; `None` if it was not set.
    read: BTreeMap<String, Option<String>>,
    /// Whether the imports went through all variables: then a new one counts, too.
    all: bool,
    /// The working directory, if it was asked for.
    #[serde(borrow)]
    directory: Option<Text<'a>>,
    /// Whether these of the standard descriptors were terminals.
    terminals: BTreeMap<u8, bool>,
}

/// What a process has from its caller, as far as imports may depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The environment.
    pub environment: &'a [(OsString, OsString)],
    /// The working directory.
    pub directory: &'a Path,
    /// Which of the standard descriptors are terminals.
    pub terminals: [bool; 3],
}

impl Surroundings<'_> {
    /// [`Self::terminals`] of this process.
    pub fn own_terminals() -> [bool; 3] {
        let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
        [input.is_terminal(), output.is_terminal(), error.is_terminal()]
    }
}

impl Variables<'_> {
    /// Adds variables that were read, all of them with `all`.
    pub fn and(&mut self, names: impl IntoIterator<Item = String>, all: bool, now: Surroundings) {
        let here = now.environment.iter().map(|(name, _)| name.to_string_lossy().into_owned());
        let listed = here.filter(|name| all && counts_among_all(name));
        // Going through all of them reads each.
        let names = names
            .into_iter()
            .filter(|name| if all { counts_among_all(name) } else { counts(name) });
        for name in names.chain(listed.collect::<Vec<_>>()) {
            let value = value_of(now.environment, &name).map(hash);
            self.read.entry(name).or_insert(value);
        }
        self.all |= all;
    }

    /// The working directory was asked for.
    pub fn depend_on_directory(&mut self, directory: &Path) {
        self.directory.get_or_insert_with(|| directory.to_owned().into());
    }

    /// It was asked of these descriptors whether they are terminals.
    pub fn depend_on_terminals(&mut self, asked: BTreeSet<u8>, now: Surroundings) {
        for descriptor in asked {
            let is_one = now.terminals.get(usize::from(descriptor)) == Some(&true);
            self.terminals.entry(descriptor).or_insert(is_one);
        }
    }

    pub fn terminals(&self) -> impl Iterator<Item = u8> {
        self.terminals.keys().copied()
    }

    /// Of each standard descriptor what it was, if it was asked for.
    pub fn terminals_wanted(&self) -> [Option<bool>; 3] {
        [0, 1, 2].map(|descriptor| self.terminals.get(&descriptor).copied())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.read.keys().map(String::as_str)
    }

    pub fn directory(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.as_path().to_owned())
    }

    pub fn into_owned(self) -> Variables<'static> {
        let Self { read, all, directory, terminals } = self;
        Variables { read, all, directory: directory.map(Text::into_owned), terminals }
    }

    pub fn is_all(&self) -> bool {
        self.all
    }

    pub fn difference(&self, now: Surroundings) -> Option<Changed> {
        let changed = |name: &str, is_set: bool| Some(Changed::Variable(name.to_owned(), is_set));
        for (name, was) in &self.read {
            let value = value_of(now.environment, name);
            if value.map(hash) != *was {
                return changed(name, value.is_some());
            }
        }
        if self.all {
            let names = now.environment.iter().map(|(name, _)| name.to_string_lossy());
            let new = names
                .into_iter()
                .find(|name| counts_among_all(name) && !self.read.contains_key(name.as_ref()));
            if let Some(name) = new {
                return changed(&name, true);
            }
        }
        let other = |(descriptor, was): &(&u8, &bool)| {
            now.terminals.get(usize::from(**descriptor)) != Some(*was)
        };
        if let Some((descriptor, was)) = self.terminals.iter().find(other) {
            return Some(Changed::Terminal(*descriptor, *was));
        }
        let directory = self.directory.as_ref()?;
        (directory.as_path() != now.directory)
            .then(|| Changed::WorkingDirectory(directory.as_path().to_owned()))
    }
}

fn counts(name: &str) -> bool {
    !NEVER_EVIDENCE.contains(&name) && !name.starts_with("PYTHON") && !name.starts_with("PYIMG_")
}

fn counts_among_all(name: &str) -> bool {
    counts(name) && !NOT_OF_ALL.contains(&name)
}

/// The first of two variables of one name counts, as for `getenv(3)`.
fn value_of<'a>(environment: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    let found = environment.iter().find(|(known, _)| known.as_bytes() == name.as_bytes());
    found.map(|(_, value)| value.as_os_str())
}

fn hash(value: &OsStr) -> String {
    blake3::hash(value.as_bytes()).to_hex()[..32].to_owned()
}
