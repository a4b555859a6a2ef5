//! Replays: what runs that are like one before begin with (`crate::replay`); here only files.
//!
//! They are written by runs, without a lock and without a sync, and nobody is told when that
//! fails. A file is made beside its place and renamed, so whoever reads finds one of them whole;
//! what a power cut leaves has the name of another boot, and nobody asks for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::access;
use super::ids::{ImageId, PackId, ProgramId};
use super::open::Store;
use super::programs::{Records, put};

/// How many are kept: those that were written last.
const MOST: usize = 64;
/// How long one is good, and how long anything lies there.
pub const GOOD_FOR: Duration = Duration::from_hours(24);
/// How old one is when it is written anew: something changes all the time that it is about.
const RENEWED_AFTER: Duration = Duration::from_mins(1);

impl Records {
    /// Whether the replay of this name is to be written: there is none, or it is of no use any
    /// more, for the run to which it belongs asks.
    pub fn wants_replay(&self, name: &str) -> bool {
        let written = fs::symlink_metadata(self.layout.replay(name)).and_then(|m| m.modified());
        written.map_or(true, |written| age(written) > RENEWED_AFTER)
    }

    /// Writes a replay. In a store that cannot be written nothing is, and that is no error.
    pub fn put_replay(&self, name: &str, bytes: &[u8]) {
        tidy(&self.layout.replays(), MOST - 1);
        let _ = put(&self.layout.replay(name), bytes);
    }

    /// Makes the directory of replays where it is missing; false if it was.
    pub fn has_replays(&self) -> bool {
        let dir = self.layout.replays();
        access::trusted_dir(&dir).is_ok() || {
            let _ = access::private_dir(&dir);
            false
        }
    }

    /// The store's directory and its index.
    pub fn of_store(&self) -> [PathBuf; 2] {
        [self.layout.root().to_owned(), self.layout.index()]
    }

    /// Files that a run from this image relies upon, besides those that are its evidence.
    pub fn of_image<'a>(
        &self,
        image: &ImageId,
        files: impl IntoIterator<Item = &'a str>,
        packs: impl IntoIterator<Item = PackId>,
    ) -> Vec<PathBuf> {
        let dir = self.layout.image(image);
        let files = files.into_iter().map(|file| dir.join(file));
        let packs = packs.into_iter().map(|pack| self.layout.pack(&pack));
        files.chain(packs).chain([self.layout.manifest(image)]).collect()
    }

    /// What a run reads of a program, besides its own file: its modules and its pages.
    pub fn of_program(&self, program: &ProgramId) -> [PathBuf; 2] {
        [self.layout.modules(program), self.layout.pages(program)]
    }

    /// The file of a program.
    pub fn program_path(&self, program: &ProgramId) -> PathBuf {
        self.layout.program(program)
    }

    /// The log of runs.
    pub fn log_path(&self) -> PathBuf {
        self.layout.run_log()
    }

    /// The file that runs lock.
    pub fn lock_path(&self) -> PathBuf {
        self.layout.runs_lock()
    }

    /// The file that grows by a byte per use of an image.
    pub fn uses_path(&self, image: &ImageId) -> PathBuf {
        self.layout.uses(image)
    }
}

impl Store {
    /// Removes all replays, for the index has changed, and then none is good.
    pub fn forget_replays(&self) {
        tidy(&self.layout.replays(), 0);
    }
}

/// Removes what is too old to be of use, and the oldest beyond so many.
fn tidy(dir: &Path, most: usize) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut all: Vec<(Duration, PathBuf)> = entries
        .filter_map(|entry| Some((age(entry.metadata().ok()?.modified().ok()?), entry.path())))
        .collect();
    all.sort();
    for (number, (age, path)) in all.iter().enumerate() {
        if number >= most || *age > GOOD_FOR {
            let _ = fs::remove_file(path);
        }
    }
}

fn age(written: SystemTime) -> Duration {
    SystemTime::now().duration_since(written).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let put = |name: &str, hours: u64| {
            let file = fs::File::create(dir.path().join(name)).unwrap();
            file.set_modified(now - Duration::from_hours(hours)).unwrap();
        };
        for (name, hours) in [("new", 0), ("two", 2), ("three", 3), ("old", 25)] {
            put(name, hours);
        }
        let left = || {
            let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names.join(" ")
        };
        tidy(dir.path(), 9);
        assert_eq!(left(), "new three two");
        tidy(dir.path(), 2);
        assert_eq!(left(), "new two");
        tidy(&dir.path().join("none"), 2);
    }
}
