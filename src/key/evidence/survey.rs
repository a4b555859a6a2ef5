//! Looking at many files on two processors.
//!
//! A run waits for some thousand `stat`, which is most of what it does before the program
//! begins. So another thread reads the evidence and looks at it while the run prepares the rest,
//! and the run helps it when that is done.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Changed, Evidence, LookedThrough, VERSION};

/// Evidence that is looked at by several threads: each directory by whoever comes first.
#[derive(Debug, Default)]
pub struct Survey<'e> {
    evidence: OnceLock<Evidence<'e>>,
    next: AtomicUsize,
}

/// A change, and how early in the evidence what has changed stands: of several, the least is
/// the one that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    number: usize,
    changed: Changed,
}

impl<'e> Survey<'e> {
    /// Looks at all of this evidence, with what is known of directories that have been looked
    /// through since, which is added to. Gives what it has found; others may have found more.
    pub fn look_at(&self, evidence: Evidence<'e>, known: &mut LookedThrough) -> Option<Found> {
        if evidence.version != VERSION {
            return Some(Found { number: 0, changed: Changed::Version });
        }
        let evidence = self.evidence.get_or_init(|| evidence);
        self.help().or_else(|| {
            let changed = evidence.first_change_of_listings(known)?;
            Some(Found { number: usize::MAX, changed })
        })
    }

    /// Takes directories as long as there are any, up to the first change. Nothing is done if it
    /// is not known yet what to look at.
    pub fn help(&self) -> Option<Found> {
        // Who took a number without knowing its directory would leave that to nobody.
        let directories = &self.evidence.get()?.directories;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if let Some(changed) = directories.get(number)?.first_change() {
                // Nobody needs to look at what comes after it.
                self.next.store(directories.len(), Ordering::Relaxed);
                return Some(Found { number, changed });
            }
        }
    }
}

impl Found {
    /// The first of what threads have found.
    pub fn first(all: impl IntoIterator<Item = Self>) -> Option<Changed> {
        all.into_iter().min_by_key(|found| found.number).map(|found| found.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_change_is_found_however_the_work_is_shared() {
        let tree = tempfile::tempdir().unwrap();
        let files: Vec<_> = (0..400)
            .map(|number| {
                let directory = tree.path().join(format!("{:02}", number / 10));
                std::fs::create_dir_all(&directory).unwrap();
                let file = directory.join(format!("{number}.py"));
                std::fs::write(&file, "x = 1\n").unwrap();
                file
            })
            .collect();
        let bytes = Evidence::record(files.clone(), []).unwrap().to_bytes();
        let check = || {
            let survey = Survey::default();
            for _ in 0..3 {
                assert_eq!(survey.help(), None, "nothing is known yet");
            }
            let look =
                || survey.look_at(Evidence::parse(&bytes).unwrap(), &mut LookedThrough::default());
            let (beside, own) = crate::sys::beside(look, || {
                std::thread::yield_now();
                survey.help()
            });
            let beside = beside.unwrap_or_else(look);
            Found::first(own.into_iter().chain(beside))
        };
        assert_eq!(check(), None);
        for changed in [399, 200, 3] {
            std::fs::write(&files[changed], "x = 22\n").unwrap();
            for _ in 0..20 {
                assert_eq!(check(), Evidence::parse(&bytes).unwrap().first_change());
            }
        }
    }
}
