//! Looking at many files on two processors.
//!
//! A run waits for some thousand `stat`, which is most of what it does before the program
//! begins. So another thread looks at them while the run prepares the rest, and the run helps it
//! when that is done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use super::Changed;
use super::files::Directory;

/// Below so many names a thread would cost more than it saves: some 100 us.
const FEW: usize = 100;
/// Bytes of the thread's stack.
const STACK: usize = 256 << 10;

/// The first change in these directories, and what `other` gave, which is done meanwhile. It is
/// not done if it would have begun after a change was found.
pub(super) fn first_change_beside<T>(
    directories: &[Directory<'_>],
    other: impl FnOnce() -> T,
) -> (Option<T>, Option<Changed>) {
    let survey = Survey { directories, next: AtomicUsize::new(0) };
    let names: usize = directories.iter().map(Directory::len).sum();
    if names < FEW || !has_other_processors() {
        return match survey.work() {
            Some((_, changed)) => (None, Some(changed)),
            None => (Some(other()), None),
        };
    }
    crate::sys::share_one_heap();
    thread::scope(|scope| {
        let helper = thread::Builder::new().stack_size(STACK);
        let helper = helper.spawn_scoped(scope, || survey.work());
        let done = other();
        let own = survey.work();
        let helpers = helper.ok().and_then(|helper| {
            helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let first = own.into_iter().chain(helpers).min_by_key(|(number, _)| *number);
        (Some(done), first.map(|(_, changed)| changed))
    })
}

/// Directories, of which each is taken by whoever comes first.
struct Survey<'e> {
    directories: &'e [Directory<'e>],
    next: AtomicUsize,
}

impl Survey<'_> {
    /// Takes directories as long as there are any, up to the first change: its number and it.
    fn work(&self) -> Option<(usize, Changed)> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let directory = self.directories.get(number)?;
            if let Some(changed) = directory.first_change() {
                // Nobody needs to look at what comes after it.
                self.next.store(self.directories.len(), Ordering::Relaxed);
                return Some((number, changed));
            }
        }
    }
}

fn has_other_processors() -> bool {
    let own = sched_getaffinity(Pid::from_raw(0));
    own.is_ok_and(|own| (0..CpuSet::count()).filter(|cpu| own.is_set(*cpu) == Ok(true)).count() > 1)
}

#[cfg(test)]
mod tests {
    use super::super::Evidence;
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
        let check = || first_change_beside(&evidence.directories, || 7);
        assert_eq!(check(), (Some(7), None));
        for changed in [399, 200, 3] {
            std::fs::write(&files[changed], "x = 22\n").unwrap();
            for _ in 0..20 {
                let (_, found) = check();
                assert_eq!(found, evidence.first_change());
            }
        }
    }
}
