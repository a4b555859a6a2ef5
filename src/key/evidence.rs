//! What an image's imports depended on, each thing with the state that it had: files,
//! directories that were looked through, environment variables, the working directory.
//!
//! A hit requires that all of it still holds. This is where the state is taken and compared;
//! what counts is recorded while the image is built, by [`crate::capture`].
//!
//! Not evidence is what lies below `/dev`, `/proc` and `/sys`, what is neither read nor looked
//! at by the process itself (files of the C library's own, such as locale data), and the
//! variables of [`NEVER_EVIDENCE`].

mod claim;
mod fact;
mod files;
mod listing;
pub mod many;
mod survey;
mod text;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use files::{Directory, Files};
use listing::{Interest, Listing};
use variables::Variables;

pub use claim::{Claim, Claims, What};
pub use fact::State;
pub use listing::LookedThrough;
pub use survey::{Found, Survey};
pub use variables::{NEVER_EVIDENCE, NOT_OF_ALL, Surroundings};

/// The version of the format: what the bytes begin with. Evidence of another one says too
/// little to be trusted. Up to version 2 it was JSON, which begins with a brace, so 123, the
/// number of the brace, is not to be used.
const VERSION: u32 = 3;

/// What imports have looked at, as it was observed.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Files that were read or looked at.
    pub read: Vec<PathBuf>,
    /// Symbolic links that were read.
    pub links: Vec<PathBuf>,
    /// Paths that were looked for and were not there.
    pub absent: Vec<PathBuf>,
    /// Directories in which modules were looked for, each with the last parts of their
    /// names.
    pub modules: BTreeMap<PathBuf, Vec<String>>,
    /// Directories in which installed distributions were looked for, each with their names;
    /// none for all of them.
    pub distributions: BTreeMap<PathBuf, Vec<Option<String>>>,
    /// Directories in which Python looks, when it starts, for files that extend its path
    /// or run code.
    pub sites: Vec<PathBuf>,
    /// Directories that were listed for another reason.
    pub listed: Vec<PathBuf>,
    /// Variables that were read.
    pub variables: Vec<String>,
    /// Whether all variables were gone through.
    pub all_variables: bool,
    /// Whether the working directory was asked for.
    pub directory: bool,
    /// The standard descriptors of which it was asked whether they are terminals.
    pub terminals: BTreeSet<u8>,
}

/// Everything that an image depended on; read, it borrows names from the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence<'a> {
    version: u32,
    #[serde(borrow)]
    directories: Vec<Directory<'a>>,
    #[serde(borrow)]
    listings: Vec<Listing<'a>>,
    #[serde(borrow)]
    variables: Variables<'a>,
}

impl Default for Evidence<'_> {
    fn default() -> Self {
        Self::of_version(VERSION)
    }
}

/// What is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Changed {
    /// A file or directory.
    File {
        /// Its path.
        path: PathBuf,
        /// What is different about it.
        what: Difference,
    },
    /// What a directory holds.
    Listing {
        /// Its path.
        directory: PathBuf,
        /// The name that is there now or is not any more; empty if it is not one name.
        entry: String,
    },
    /// An environment variable, and whether it is set now.
    Variable(String, bool),
    /// The working directory: what it was.
    WorkingDirectory(PathBuf),
    /// A standard descriptor, and whether it was a terminal.
    Terminal(u8, bool),
    /// The evidence is of another version of this program.
    Version,
}

/// How a file differs from its recorded state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// It is not there any more, or cannot be seen.
    Missing,
    /// Its size, a time or its inode differs.
    Modified,
    /// It was not there.
    New,
}

impl Changed {
    /// Whether the image is as good as it was, only not for this process.
    pub fn is_of_surroundings(&self) -> bool {
        match self {
            Self::Variable(..) | Self::WorkingDirectory(_) | Self::Terminal(..) => true,
            Self::File { .. } | Self::Listing { .. } | Self::Version => false,
        }
    }
}

impl std::fmt::Display for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { path, what } => {
                let what = match what {
                    Difference::Missing => "is missing",
                    Difference::Modified => "has changed",
                    Difference::New => "is new",
                };
                write!(f, "{} {what}", path.display())
            }
            Self::Listing { directory, entry } if entry.is_empty() => {
                write!(f, "{} has changed", directory.display())
            }
            Self::Listing { directory, entry } => {
                write!(f, "{} has changed", directory.join(entry).display())
            }
            Self::Variable(name, true) => write!(f, "the variable {name} has another value"),
            Self::Variable(name, false) => write!(f, "the variable {name} is not set any more"),
            Self::WorkingDirectory(path) => {
                write!(f, "the working directory was {}", path.display())
            }
            Self::Terminal(descriptor, was) => {
                let a_terminal = if *was { "a terminal" } else { "no terminal" };
                write!(f, "{} was {a_terminal}", name_of(*descriptor))
            }
            Self::Version => f.write_str("another version of pyimg has recorded the evidence"),
        }
    }
}

impl<'a> Evidence<'a> {
    fn of_version(version: u32) -> Self {
        Self {
            version,
            directories: Vec::new(),
            listings: Vec::new(),
            variables: Variables::default(),
        }
    }

    /// Records the present state of these files, and of what is in these site directories;
    /// files that do not exist are left out.
    ///
    /// # Errors
    /// When a file that exists cannot be examined.
    pub fn record(
        paths: impl IntoIterator<Item = PathBuf>,
        sites: impl IntoIterator<Item = PathBuf>,
    ) -> io::Result<Evidence<'static>> {
        let observed = Observed {
            read: paths.into_iter().collect(),
            sites: sites.into_iter().collect(),
            ..Observed::default()
        };
        let nowhere =
            Surroundings { environment: &[], directory: Path::new("/"), terminals: [false; 3] };
        Self::default().and(observed, nowhere)
    }

    /// Adds the present state of what was observed. What is known keeps the state in which
    /// it was recorded first.
    ///
    /// # Errors
    /// When a file that exists cannot be examined.
    pub fn and(self, observed: Observed, now: Surroundings) -> io::Result<Evidence<'static>> {
        let mut files = Files::of(self.directories);
        for path in &observed.read {
            files.read(path)?;
        }
        observed.links.iter().for_each(|path| files.link(path));
        let mut interests: BTreeMap<PathBuf, Interest<'static>> = BTreeMap::new();
        let mut matters = |path, interest| interests.entry(path).or_default().and(interest);
        for path in &observed.absent {
            match listing::package_of_extension(path) {
                // A package is looked for under three names that it mostly does not have. Its
                // directory is looked through for other modules anyway.
                Some(directory) => {
                    matters(directory.to_owned(), Interest::in_modules([listing::INIT.into()]))
                }
                None => files.missed(path),
            }
        }
        for (path, modules) in observed.modules {
            matters(path, Interest::in_modules(modules));
        }
        for (path, names) in observed.distributions {
            matters(path, Interest::in_distributions(names));
        }
        for path in observed.sites {
            matters(path, Interest { start: true, ..Interest::default() });
        }
        for path in observed.listed {
            matters(path, Interest { all: true, ..Interest::default() });
        }
        let mut listings = Vec::new();
        for known in self.listings.into_iter().map(Listing::into_owned) {
            listings.push(match interests.remove(known.path.as_path()) {
                Some(more) => known.and(more),
                None => known,
            });
        }
        listings.extend(interests.into_iter().map(|(path, what)| Listing::record(path, what)));

        let mut variables = self.variables.into_owned();
        variables.and(observed.variables, observed.all_variables, now);
        if observed.directory {
            variables.depend_on_directory(now.directory);
        }
        variables.depend_on_terminals(observed.terminals, now);
        Ok(Evidence { version: VERSION, directories: files.finish(), listings, variables })
    }

    /// Reads what [`Self::to_bytes`] has made. Of another version nothing else is read.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn parse(bytes: &'a [u8]) -> io::Result<Self> {
        let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let (version, _) = postcard::take_from_bytes(bytes).map_err(damaged)?;
        if version != VERSION {
            return Ok(Self::of_version(version));
        }
        match postcard::take_from_bytes(bytes).map_err(damaged)? {
            (evidence, []) => Ok(evidence),
            (_, more) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} bytes too many", more.len()),
            )),
        }
    }

    /// As it is kept: `store-layout.md` has the format.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("there is room in memory")
    }

    /// Compares everything that lies on disk with its recorded state; the first difference,
    /// if any.
    pub fn first_change(&self) -> Option<Changed> {
        self.check(&mut LookedThrough::default())
    }

    /// The same, with what is known of directories that have been looked through since; it
    /// is added to.
    pub fn check(&self, known: &mut LookedThrough) -> Option<Changed> {
        if self.version != VERSION {
            return Some(Changed::Version);
        }
        let in_files = self.directories.iter().find_map(Directory::first_change);
        in_files.or_else(|| self.first_change_of_listings(known))
    }

    fn first_change_of_listings(&self, known: &mut LookedThrough) -> Option<Changed> {
        self.listings.iter().find_map(|listing| listing.first_change(known))
    }

    /// What of a process's surroundings is not as it was when the image was built.
    pub fn difference(&self, now: Surroundings) -> Option<Changed> {
        self.variables.difference(now)
    }

    /// What of its surroundings the imports depended on, as [`surroundings_difference`] reads it;
    /// empty if nothing.
    pub fn of_surroundings(&self) -> String {
        match self.variables == Variables::default() {
            true => String::new(),
            false => serde_json::to_string(&self.variables).expect("texts and numbers are JSON"),
        }
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.directories.iter().map(|directory| directory.files.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many directories are looked through if they have changed.
    pub fn listings(&self) -> usize {
        self.listings.len()
    }

    /// The variables that were read, sorted.
    pub fn variables(&self) -> Vec<String> {
        self.variables.names().map(str::to_owned).collect()
    }

    /// Whether all variables were gone through.
    pub fn needs_all_variables(&self) -> bool {
        self.variables.is_all()
    }

    /// The working directory, if the imports asked for it.
    pub fn working_directory(&self) -> Option<PathBuf> {
        self.variables.directory()
    }

    /// The standard descriptors of which the imports asked whether they are terminals.
    pub fn terminals(&self) -> Vec<&'static str> {
        self.variables.terminals().map(name_of).collect()
    }

    /// Whether standard input, output and error were terminals, where the imports asked for it.
    pub fn terminals_wanted(&self) -> [Option<bool>; 3] {
        self.variables.terminals_wanted()
    }

    /// In the directories that were looked through, the paths that mattered.
    pub fn listed_paths(&self) -> impl Iterator<Item = PathBuf> {
        self.listings.iter().flat_map(Listing::paths)
    }
}

/// What of a process's surroundings is not as it was, given what [`Evidence::of_surroundings`]
/// has told.
pub fn surroundings_difference(recorded: &str, now: Surroundings) -> Option<Changed> {
    if recorded.is_empty() {
        return None;
    }
    let recorded = serde_json::from_str::<Variables>(recorded);
    recorded.map_or(Some(Changed::Version), |recorded| recorded.difference(now))
}

fn name_of(descriptor: u8) -> &'static str {
    match descriptor {
        0 => "standard input",
        1 => "standard output",
        _ => "standard error",
    }
}

#[cfg(test)]
mod tests;
