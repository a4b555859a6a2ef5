//! File systems that are full or cannot be written.
//!
//! A thread of its own gets a mount namespace of its own, in which it mounts a
//! small file system over the directory. That takes root.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use super::*;

/// Runs a test in a new file system of so many bytes, in a thread that alone
/// sees it. Skipped where that is not allowed.
fn on_a_disk_of(bytes: u64, test: impl FnOnce(&Path) + Send) {
    let dir = tempfile::tempdir().unwrap();
    let on_disk = || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
            eprintln!("skipped: no mount namespace: {error}");
            return;
        }
        let options = format!("size={bytes},mode=0700");
        if !mount(&["--make-rprivate", "/"])
            || !mount(&["-t", "tmpfs", "-o", &options, "tmpfs", dir.path().to_str().unwrap()])
        {
            eprintln!("skipped: mounting is not allowed");
            return;
        }
        test(dir.path());
    };
    std::thread::scope(|scope| scope.spawn(on_disk).join().unwrap());
}

fn mount(arguments: &[&str]) -> bool {
    Command::new("mount").args(arguments).status().is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_leaves_nothing_and_says_how_much_was_needed() {
    on_a_disk_of(1 << 20, |dir| {
        let store = Store::open(dir).unwrap();
        build(&store, record("small"), &pages(1..=20)).unwrap();
        let memory = pages(1000..2000);
        let error = build(&store, record("big"), &memory).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("no space left for {}/tmp/build-", dir.display())));
        assert!(text.contains(": up to 4.1 MB needed, ") && text.contains(" MB free"), "{text}");
        assert!(error.hint_text().unwrap().contains("`pyimg rm`"));
        assert_eq!(error.exit_code(), 1);
        assert_clean(&store, &["small"]);
        build(&store, record("other"), &pages(30..=50)).unwrap();
        assert_clean(&store, &["small", "other"]);
    });
}

/// Leaves so many bytes free.
fn fill(dir: &Path, free: u64) {
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, b"").unwrap();
    let all = failure::free_bytes(dir).unwrap();
    std::fs::write(&ballast, vec![1; all.saturating_sub(free) as usize]).unwrap();
}

#[test]
fn removing_works_on_a_full_disk() {
    on_a_disk_of(4 << 20, |dir| {
        let store = Store::open(&dir.join("store")).unwrap();
        let image = build(&store, record("one"), &pages(1..=300)).unwrap();
        build(&store, record("two"), &pages(1..=400)).unwrap();
        fill(dir, 0);
        assert_eq!(failure::free_bytes(dir), Some(0));
        assert_eq!(store.remove(&[image.record.key]).unwrap().images, 1);
        assert_clean(&store, &["two"]);
        assert!(!store.dir().join("index.sqlite-journal").exists());
        let journal = |row: &rusqlite::Row| row.get::<_, String>(0);
        let mode = store.index.pragma_query_value(None, "journal_mode", journal).unwrap();
        assert_eq!(mode, "delete");
    });
}

#[test]
fn wherever_the_disk_gets_full_the_store_stays_whole() {
    on_a_disk_of(1 << 20, |dir| {
        let store = Store::open(&dir.join("store")).unwrap();
        build(&store, record("kept"), &pages(1..=20)).unwrap();
        let mut failed = Vec::new();
        // From no room at all to room enough: each step fails one write further on.
        for room in 0..80 {
            fill(dir, room * 4096);
            let result = build(&store, record("new"), &pages(1000..1020));
            match result {
                Err(error) => {
                    assert!(error.to_string().contains("no space left for"), "{error}");
                    failed.push(room);
                    assert_clean(&store, &["kept"]);
                }
                Ok(image) => {
                    assert_clean(&store, &["kept", "new"]);
                    store.remove(&[image.record.key]).unwrap();
                }
            }
        }
        // It failed with too little room only, and not with the most.
        assert_eq!(failed, (0..failed.len() as u64).collect::<Vec<_>>());
        assert!(failed.len() > 20 && failed.len() < 60, "{failed:?}");
    });
}

#[test]
fn a_read_only_disk_gives_hits_and_takes_nothing() {
    on_a_disk_of(4 << 20, |dir| {
        let path = dir.join("store");
        let store = Store::open(&path).unwrap();
        let image = build(&store, record("one"), &pages(1..=20)).unwrap();
        drop(store);
        assert!(mount(&["-o", "remount,ro", dir.to_str().unwrap()]));
        let run = RunStore::open(&path).unwrap().unwrap();
        assert_eq!(run.candidates(&query(&record(""))).unwrap().len(), 1);
        assert_eq!(read_back(&run, &image.id), pages(1..=20));
        run.note_use(&image.id);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.images().unwrap(), std::slice::from_ref(&image));
        for error in [
            store.begin(0).unwrap_err(),
            store.remove(&[image.record.key]).unwrap_err(),
            store.set_pinned(&image.record.key, true).unwrap_err(),
            Store::open(&dir.join("new")).unwrap_err(),
        ] {
            assert!(error.to_string().starts_with("cannot "), "{error}");
            let hint = "set PYIMG_DIR to a directory that you may write to";
            assert_eq!(error.hint_text(), Some(hint), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    });
}
