//! The locks of a store, all of the kernel's and so gone with their holder.
//!
//! `changes.lock` is held by those who change the store: shared by builds that
//! store pages, exclusively by what creates, migrates or removes. Who holds it
//! shared may rely on every pack that the index knows.
//!
//! `runs.lock` is held, shared, by those who restore, from before they choose an
//! image until it is mapped. They never wait: who wants to delete files takes
//! the images out of the index first, then replaces the lock file by a new one
//! and waits for the holders of the old one. Everybody who comes later locks the
//! new file and cannot find those images any more. (A plain exclusive lock could
//! be kept waiting for ever by overlapping runs, and would make runs wait.)
//!
//! `builds.lock` keeps two builds of one key apart: each locks one byte of it, at the
//! offset that the key says. So there is one file for any number of keys, and nothing to
//! clean up. Those locks belong to the open file (`F_OFD_SETLK`), as `flock`s do.
//!
//! The compressed file of a cold pack is locked by whoever brings it back.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};

use super::access;
use super::failure::Doing;
use super::ids::ImageKey;
use super::layout::Layout;
use crate::error::{Error, Result};

/// How long a change waits for another change; removing is quick, and so is
/// storing an image, so longer means that somebody is stopped.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _held: Flock<File>,
}

/// The right to build the image of one key, held until it is dropped.
#[derive(Debug)]
pub struct BuildLock {
    _held: File,
}

/// Waits for the right to add to the store.
pub(super) fn add(layout: &Layout) -> Result<Lock> {
    change(layout, FlockArg::LockSharedNonblock, PATIENCE)
}

/// The same, for so long.
pub(super) fn add_within(layout: &Layout, patience: Duration) -> Result<Lock> {
    change(layout, FlockArg::LockSharedNonblock, patience)
}

/// The right to bring a cold pack back, held until it is dropped.
#[derive(Debug)]
pub(super) struct ColdPackLock(Lock);

impl ColdPackLock {
    /// The file, opened once more.
    pub fn file(&self) -> io::Result<File> {
        self.0._held.try_clone()
    }
}

/// Waits so long for the right to bring a cold pack back; `None` if it is cold no more. The
/// caller holds the change lock, shared.
pub(super) fn cold_pack(path: &Path, patience: Duration) -> Result<Option<ColdPackLock>> {
    let end = Instant::now() + patience;
    loop {
        // For writing, too, as NFS wants it for an exclusive lock.
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.doing("open", path)?,
        };
        let rest = end.saturating_duration_since(Instant::now());
        let Some(lock) = wait(file, FlockArg::LockExclusiveNonblock, rest).doing("lock", path)?
        else {
            return Err(Error::failed("another process is decompressing its memory")
                .hint("try again in a moment"));
        };
        // Whoever had it may have brought the pack back.
        if lock._held.metadata().doing("read", path)?.nlink() > 0 {
            return Ok(Some(ColdPackLock(lock)));
        }
    }
}

/// Waits so long for the right to change anything in the store.
pub(super) fn alter(layout: &Layout, patience: Duration) -> Result<Lock> {
    change(layout, FlockArg::LockExclusiveNonblock, patience)
}

fn change(layout: &Layout, how: FlockArg, patience: Duration) -> Result<Lock> {
    let path = layout.changes_lock();
    let file = open_or_create(&path).doing("open", &path)?;
    match wait(file, how, patience).doing("lock", &path)? {
        Some(lock) => Ok(lock),
        None => Err(Error::failed(format!(
            "the store {} is being changed by another process",
            layout.root().display()
        ))
        .hint("wait for the other pyimg, or look for one that is stopped")),
    }
}

/// Waits until nobody else builds the image of this key. `waiting` is called while that
/// lasts, about every 20 ms, and its error ends it. Nothing where the store cannot be
/// written: the build is about to say so itself.
pub(super) fn build(
    layout: &Layout,
    key: &ImageKey,
    waiting: &mut dyn FnMut() -> Result<()>,
) -> Result<Option<BuildLock>> {
    let path = layout.builds_lock();
    let file = match open_or_create(&path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            return Ok(None);
        }
        opened => opened.doing("open", &path)?,
    };
    let [a, b, c, d, e, f, g, ..] = *key.as_bytes();
    let byte = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        // 56 bits: two keys that have them in common merely wait for each other.
        l_start: i64::from_be_bytes([0, a, b, c, d, e, f, g]),
        l_len: 1,
        l_pid: 0,
    };
    loop {
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&byte)) {
            Ok(_) => return Ok(Some(BuildLock { _held: file })),
            Err(Errno::EAGAIN | Errno::EACCES) => waiting()?,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).doing("lock", &path),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn open_or_create(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().read(true).write(true).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Or somebody else makes it meanwhile.
            let made = access::create_private(path);
            open().or(made)
        }
        opened => opened,
    }
}

/// `flock` has no time limit of its own, so this asks again every millisecond.
fn wait(mut file: File, how: FlockArg, patience: Duration) -> nix::Result<Option<Lock>> {
    let start = Instant::now();
    loop {
        match Flock::lock(file, how) {
            Ok(held) => return Ok(Some(Lock { _held: held })),
            Err((_, errno)) if errno != Errno::EWOULDBLOCK => return Err(errno),
            Err(_) if start.elapsed() >= patience => return Ok(None),
            Err((again, _)) => file = again,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Announces a run. Works on a read-only file system too.
pub(super) fn run(layout: &Layout) -> Result<Lock> {
    let path = layout.runs_lock();
    // Several generations in a row can only be missed if as many removals end
    // in these microseconds.
    for _ in 0..100 {
        let file = File::open(&path).doing("open", &path)?;
        let held = match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(held) => held,
            // Either it was replaced, or a removal on a full disk has it for a moment.
            Err((_, Errno::EWOULDBLOCK)) => continue,
            Err((_, errno)) => return Err(errno).doing("lock", &path),
        };
        if held.metadata().doing("read", &path)?.nlink() > 0 {
            return Ok(Lock { _held: held });
        }
    }
    Err(Error::failed(format!("cannot lock {}: it changes all the time", path.display())))
}

/// Puts a new runs lock in place, for a new store or instead of the present one.
pub(super) fn renew_runs(layout: &Layout) -> Result<()> {
    let (path, new) = (layout.runs_lock(), layout.temporary().join("runs.lock"));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).doing("remove", &new);
        }
        _ => {}
    }
    access::private_file(&new)?;
    fs::rename(&new, &path).doing("create", &path)
}

/// Waits until nobody restores any more what the index no longer knows; false
/// if somebody still does after `patience`. The caller holds the change lock
/// exclusively and has committed.
///
/// A file that is replaced keeps a name in `tmp` until its holders are outlasted,
/// so that those who were not are waited for the next time too.
pub(super) fn outlast_runs(layout: &Layout, patience: Duration) -> Result<bool> {
    let (path, temporary) = (layout.runs_lock(), layout.temporary());
    let kept = tempfile::Builder::new()
        .prefix(OLD_RUNS)
        .make_in(&temporary, |kept| fs::hard_link(&path, kept))
        .and_then(|kept| kept.keep().map_err(|error| error.error));
    let replaced = match kept {
        Ok(_) => renew_runs(layout),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return renew_runs(layout).map(|()| true);
        }
        Err(error) => Err(error).doing("create a file in", &temporary),
    };
    let mut old: Vec<_> = fs::read_dir(&temporary)
        .doing("read", &temporary)?
        .flatten()
        .filter(|entry| is_old_runs(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect();
    if replaced.is_err() {
        // Without room for a new file the old one has to do; new runs may then keep us
        // waiting, but making room is what removals are for.
        old.push(path.clone());
    }
    let end = Instant::now() + patience;
    let mut outlasted = true;
    for old in old {
        // Open for writing: NFS turns flock into a record lock, which asks for it.
        let file = OpenOptions::new().read(true).write(true).open(&old).doing("open", &old)?;
        let rest = end.saturating_duration_since(Instant::now());
        let waited = wait(file, FlockArg::LockExclusiveNonblock, rest).doing("lock", &old)?;
        // While it is held alone: whoever locks it next is to see that it has no name.
        match waited {
            Some(_alone) if old != path => fs::remove_file(&old).doing("remove", &old)?,
            Some(_alone) => {}
            None => outlasted = false,
        }
    }
    Ok(outlasted)
}

/// Whether there are holders of older runs locks, or a removal was cut off that waited for
/// them.
pub(super) fn has_old_runs(layout: &Layout) -> bool {
    let entries = fs::read_dir(layout.temporary()).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| is_old_runs(&entry.file_name().to_string_lossy()))
}

/// How the names begin, in `tmp`, of runs locks whose holders have not been outlasted.
const OLD_RUNS: &str = "runs-";

/// Whether a name in `tmp` is that of such a lock, which only [`outlast_runs`] may remove.
pub(super) fn is_old_runs(name: &str) -> bool {
    name.starts_with(OLD_RUNS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        access::private_dir(&layout.temporary()).unwrap();
        renew_runs(&layout).unwrap();
        (dir, layout)
    }

    #[test]
    fn builds_share_and_removals_do_not() {
        let (_dir, layout) = layout();
        let (one, two) = (add(&layout).unwrap(), add(&layout).unwrap());
        assert!(alter(&layout, Duration::ZERO).is_err());
        drop((one, two));
        let alone = alter(&layout, Duration::ZERO).unwrap();
        let error = change(&layout, FlockArg::LockSharedNonblock, Duration::ZERO).unwrap_err();
        assert!(error.to_string().ends_with("is being changed by another process"), "{error}");
        drop(alone);
        add(&layout).unwrap();
    }

    #[test]
    fn builds_of_one_key_wait_for_each_other() {
        let (_dir, layout) = layout();
        let (one, other) = (ImageKey::new([1; 32]), ImageKey::new([2; 32]));
        let never = &mut || panic!("it should not wait");
        let held = build(&layout, &one, never).unwrap().unwrap();
        build(&layout, &other, never).unwrap().unwrap();
        let enough = build(&layout, &one, &mut || Err(Error::failed("enough")));
        assert_eq!(enough.unwrap_err().to_string(), "enough");
        let mut held = Some(held);
        let waited = build(&layout, &one, &mut || {
            held = None;
            Ok(())
        });
        assert!(waited.unwrap().is_some() && held.is_none());
        assert_eq!(layout.builds_lock().metadata().unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_removal_outlasts_old_runs_and_ignores_new_ones() {
        let (_dir, layout) = layout();
        let old = run(&layout).unwrap();
        assert!(!outlast_runs(&layout, Duration::from_millis(5)).unwrap());
        let new = run(&layout).unwrap();
        drop(old);
        // `new` holds the file that is replaced now.
        assert!(!outlast_runs(&layout, Duration::from_millis(5)).unwrap());
        let newest = run(&layout).unwrap();
        drop((new, newest));
        assert!(outlast_runs(&layout, Duration::ZERO).unwrap());
    }

    #[test]
    fn a_run_that_was_not_outlasted_is_waited_for_again() {
        let (_dir, layout) = layout();
        let oldest = run(&layout).unwrap();
        let mut later = Vec::new();
        for _ in 0..3 {
            assert!(!outlast_runs(&layout, Duration::from_millis(5)).unwrap());
            later.push(run(&layout).unwrap());
        }
        drop(oldest);
        assert!(!outlast_runs(&layout, Duration::from_millis(5)).unwrap());
        drop(later);
        assert!(outlast_runs(&layout, Duration::ZERO).unwrap());
        assert_eq!(fs::read_dir(layout.temporary()).unwrap().count(), 0);
    }

    #[test]
    fn a_removal_goes_on_as_soon_as_the_run_ends() {
        let (_dir, layout) = layout();
        let running = run(&layout).unwrap();
        std::thread::scope(|scope| {
            let removal = scope.spawn(|| outlast_runs(&layout, Duration::from_secs(60)));
            std::thread::sleep(Duration::from_millis(20));
            drop(running);
            assert!(removal.join().unwrap().unwrap());
        });
    }

    #[test]
    fn runs_and_removals_at_once_never_fail() {
        let (_dir, layout) = layout();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|_| drop(run(&layout).unwrap())));
            }
            (0..200).for_each(|_| assert!(outlast_runs(&layout, Duration::from_secs(5)).unwrap()));
        });
    }
}
