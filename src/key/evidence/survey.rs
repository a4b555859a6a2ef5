//! Looking at many files on two processors.
//!
//! A run waits for some thousand `stat`, which is most of what it does before the program
//! begins. So another thread looks at them while the run prepares the rest, and the run helps it
//! when that is done.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Changed, Evidence, LookedThrough, VERSION};

/// Evidence that is looked at by several threads: each directory by whoever comes first.
#[derive(Debug)]
pub struct Survey<'e> {
    evidence: &'e Evidence<'e>,
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
    /// Of this evidence.
    pub fn of(evidence: &'e Evidence<'e>) -> Self {
        Self { evidence, next: AtomicUsize::new(0) }
    }

    /// Looks at all of it, with what is known of directories that have been looked through
    /// since, which is added to. Gives what it has found; others may have found more.
    pub fn look(&self, known: &mut LookedThrough) -> Option<Found> {
        if self.evidence.version != VERSION {
            return Some(Found { number: 0, changed: Changed::Version });
        }
        self.help().or_else(|| {
            let changed = self.evidence.first_change_of_listings(known)?;
            Some(Found { number: usize::MAX, changed })
        })
    }

    /// Takes directories as long as there are any, up to the first change.
    pub fn help(&self) -> Option<Found> {
        let directories = &self.evidence.directories;
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
        let evidence = Evidence::record(files.clone(), []).unwrap();
        let check = || {
            let survey = Survey::of(&evidence);
            let look = || survey.look(&mut LookedThrough::default());
            let (beside, own) = crate::sys::beside(look, || {
                std::thread::yield_now();
                survey.help()
            });
            Found::first(own.into_iter().chain(beside.unwrap_or_else(look)))
        };
        assert_eq!(check(), None);
        for changed in [399, 200, 3] {
            std::fs::write(&files[changed], "x = 22\n").unwrap();
            for _ in 0..20 {
                assert_eq!(check(), evidence.first_change());
            }
        }
    }
}
