//! Evidence as a list of claims about paths, for whoever compares them without reading evidence.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::fact::{Fact, FileState, State};
use super::listing::DirectoryState;
use super::text::Text;
use super::{Evidence, LookedThrough, VERSION};

/// What is so of a name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The name: it has slashes where it is compiled.
    pub name: Vec<u8>,
    /// What is so of it.
    pub what: What,
}

/// What is so of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It leads to something in this state.
    File(State),
    /// It is a symbolic link in this state.
    Link(State),
    /// It leads to something.
    Present,
    /// Nothing has this name.
    Absent,
    /// It leads to a directory in this state, whose size does not count; to nothing, if the inode
    /// is 0.
    Directory(State),
    /// It leads to a file with this inode and size; its times do not count.
    Inode(State),
}

/// What is so of names in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The directory.
    pub path: PathBuf,
    /// Names there.
    pub claims: Vec<Claim>,
}

impl Claims {
    /// One claim about a path.
    pub fn one(path: &Path, what: What) -> Self {
        let (parent, name) = (path.parent(), path.file_name());
        let (path, name) = match (parent, name) {
            (Some(parent), Some(name)) => (parent.to_owned(), name.as_bytes().to_vec()),
            _ => (path.to_owned(), b".".to_vec()),
        };
        Self { path, claims: vec![Claim { name, what }] }
    }

    /// All that can be claimed of a path now: of a link, what it is and what it leads to.
    ///
    /// # Errors
    /// When that cannot be seen, or it is a link that leads nowhere.
    pub fn of(path: &Path) -> io::Result<Vec<Self>> {
        let gone = |error| matches!(error, nix::Error::ENOENT | nix::Error::ENOTDIR);
        let own = match nix::sys::stat::lstat(path) {
            Err(error) if gone(error) => return Ok(vec![Self::one(path, What::Absent)]),
            own => State::of(&own?),
        };
        let led = State::of(&nix::sys::stat::stat(path)?);
        let link = (own != led).then(|| Self::one(path, What::Link(own)));
        Ok(link.into_iter().chain([Self::one(path, What::File(led))]).collect())
    }

    /// When the last of what is claimed was changed, in nanoseconds since 1970.
    pub fn last_change(&self) -> i64 {
        let changed = |claim: &Claim| match claim.what {
            What::File(state) | What::Link(state) | What::Directory(state) => state.ctime,
            What::Present | What::Absent | What::Inode(_) => 0,
        };
        self.claims.iter().map(changed).max().unwrap_or_default()
    }
}

impl Evidence<'_> {
    /// All that this claims about paths, given what is known of directories that were looked
    /// through; nothing if that does not hold.
    pub fn claims(&self, known: &LookedThrough) -> Option<Vec<Claims>> {
        let in_directories = self.directories.iter().map(|directory| {
            let claims = directory.facts().map(|fact| Claim::of(&fact)).collect();
            Some(Claims { path: directory.path.as_path().to_owned(), claims })
        });
        let of_listings = self.listings.iter().map(|listing| {
            let path = listing.path.as_path();
            let now = DirectoryState::of(path);
            let state = now.to_state();
            let holds = listing.is_as_good(now, known);
            holds.then(|| Claims::one(path, What::Directory(state)))
        });
        in_directories.chain(of_listings).collect::<Option<_>>().filter(|_| self.version == VERSION)
    }
}

impl Claim {
    fn of(fact: &Fact<'_>) -> Self {
        let state = |file: &FileState| (file.name.borrowed().into_owned(), file.state);
        let (name, what): (Text, What) = match fact {
            Fact::File(file) => {
                let (name, state) = state(file);
                (name, What::File(state))
            }
            Fact::Link(link) => {
                let (name, state) = state(link);
                (name, What::Link(state))
            }
            Fact::Present(name) => (name.borrowed(), What::Present),
            Fact::Absent(name) => (name.borrowed(), What::Absent),
        };
        Self { name: name.as_bytes().to_vec(), what }
    }
}
