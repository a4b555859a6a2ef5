//! Opening: what is made, what is refused, and in which words.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Barrier;
use std::thread;

use super::*;
use crate::error::Error;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Directories 0700 and files 0600, all the way down.
fn assert_private(path: &Path) {
    let is_dir = path.is_dir();
    assert_eq!(mode(path), if is_dir { 0o700 } else { 0o600 }, "{}", path.display());
    if is_dir {
        files_in(path).iter().for_each(|name| assert_private(&path.join(name)));
    }
}

fn both(dir: &Path) -> [Error; 2] {
    [Store::open(dir).unwrap_err(), RunStore::open(dir).unwrap_err()]
}

#[test]
fn a_store_is_made_once_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache/pyimg");
    assert!(RunStore::open(&path).unwrap().is_none());
    assert!(!path.exists());
    let store = Store::open(&path).unwrap();
    let secret = store.secret().unwrap();
    assert_ne!(secret, [0; 32]);
    let image = build(&store, record("one"), &pages(1..=20)).unwrap();
    store.note_use(&image.id);
    assert_private(&path);
    assert_eq!(
        files_in(&path),
        [
            "changes.lock",
            "images",
            "index.sqlite",
            "packs",
            "programs",
            "replays",
            "runs",
            "runs.lock",
            "secret",
            "tmp"
        ]
    );
    assert_eq!(Store::open(&path).unwrap().secret().unwrap(), secret);
    assert_eq!(Store::open(&path).unwrap().images().unwrap().len(), 1);
    let other = Store::open(&dir.path().join("other")).unwrap();
    assert_ne!(other.secret().unwrap(), secret);
}

#[test]
fn the_umask_does_not_matter() {
    // The umask belongs to the whole process, so it is a child's that is changed.
    if std::env::var_os("PYIMG_TEST_STORE").is_none() {
        let dir = tempfile::tempdir().unwrap();
        for umask in ["000", "077", "277"] {
            let store = dir.path().join(umask);
            let test = std::process::Command::new("sh")
                .args(["-c", "umask $0; exec \"$@\"", umask])
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", "store::tests::access::the_umask_does_not_matter"])
                .env("PYIMG_TEST_STORE", &store)
                .output()
                .unwrap();
            assert!(test.status.success(), "{test:?}");
            assert_private(&store);
        }
        return;
    }
    let dir = std::env::var_os("PYIMG_TEST_STORE").unwrap();
    let store = Store::open(Path::new(&dir)).unwrap();
    let image = build(&store, record("one"), &pages(1..=20)).unwrap();
    store.note_use(&image.id);
}

#[test]
fn many_may_make_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let start = Barrier::new(8);
    let secrets: Vec<_> = thread::scope(|scope| {
        let open = || {
            start.wait();
            let store = Store::open(&path).unwrap();
            RunStore::open(&path).unwrap().unwrap();
            store.secret().unwrap()
        };
        let opens: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        opens.into_iter().map(|open| open.join().unwrap()).collect()
    });
    assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    assert_clean(&Store::open(&path).unwrap(), &[]);
}

#[test]
fn a_creation_that_was_cut_off_is_finished() {
    let (_dir, store) = store();
    let path = store.dir().to_owned();
    let secret = store.secret().unwrap();
    drop(store);
    for gone in [&["index.sqlite"][..], &["runs.lock", "index.sqlite"]] {
        gone.iter().for_each(|name| fs::remove_file(path.join(name)).unwrap());
        fs::write(path.join("index.sqlite"), b"").unwrap();
        assert!(RunStore::open(&path).is_ok_and(|store| store.is_none()) || gone.len() == 2);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.secret().unwrap(), secret);
        build(&store, record("one"), &pages([1])).unwrap();
        store.remove(&[record("one").key]).unwrap();
    }
}

#[test]
fn a_file_is_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, b"").unwrap();
    for error in both(&path) {
        assert_eq!(error.to_string(), format!("the store {} is not a directory", path.display()));
        assert_eq!(
            error.hint_text().unwrap(),
            "remove what is there, or set PYIMG_DIR to another place"
        );
        assert_eq!(error.exit_code(), 2);
    }
    let error = Store::open(&path.join("below")).unwrap_err();
    assert!(error.to_string().starts_with("cannot "), "{error}");
}

#[test]
fn a_directory_of_other_things_is_no_store() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), b"").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    let shown = dir.path().display();
    assert_eq!(error.to_string(), format!("{shown} is not a store of pyimg: it holds thesis.txt"));
    assert_eq!(error.hint_text(), Some("set PYIMG_DIR to an empty or a new directory"));
    assert_eq!(files_in(dir.path()), ["thesis.txt"]);
    assert!(RunStore::open(dir.path()).unwrap().is_none());
}

#[test]
fn others_must_not_be_able_to_write() {
    let (_dir, store) = store();
    let path = store.dir();
    fs::set_permissions(path, Permissions::from_mode(0o770)).unwrap();
    for error in both(path) {
        let expected = format!("other users may write to {} (mode 0770)", path.display());
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.exit_code(), 2);
    }
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    let index = path.join("index.sqlite");
    fs::set_permissions(&index, Permissions::from_mode(0o666)).unwrap();
    for error in both(path) {
        let expected = format!("other users may write to {} (mode 0666)", index.display());
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn what_belongs_to_others_is_never_used() {
    let (_dir, store) = store();
    let image = build(&store, record("one"), &pages(1..=3)).unwrap();
    let pack = store.pack_path(&store.load_manifest::<Content>(&image.id).unwrap().packs[0].id);
    let chown = |path: &Path, user| std::os::unix::fs::chown(path, Some(user), None);
    if chown(&pack, 12345).is_err() || !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let said = |path: &Path| {
        format!("{} belongs to another user (uid 12345, you are uid 0)", path.display())
    };
    let load = || store.load_manifest::<Content>(&image.id).unwrap_err().to_string();
    assert_eq!(load(), said(&pack));
    chown(&pack, 0).unwrap();
    for path in [
        store.image_dir(&image.id).join("manifest.json"),
        store.image_dir(&image.id).join("core-1.img"),
        store.image_dir(&image.id),
        store.dir().join("images"),
        store.dir().join("packs"),
    ] {
        chown(&path, 12345).unwrap();
        assert_eq!(load(), said(&path));
        chown(&path, 0).unwrap();
    }
    let index = store.dir().join("index.sqlite");
    chown(&index, 12345).unwrap();
    both(store.dir()).iter().for_each(|error| assert_eq!(error.to_string(), said(&index)));
    chown(&index, 0).unwrap();
    chown(store.dir(), 12345).unwrap();
    for error in both(store.dir()) {
        assert_eq!(error.to_string(), said(store.dir()));
        assert_eq!(error.hint_text(), Some("set PYIMG_DIR to a directory of your own"));
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn a_newer_store_is_refused_and_left_alone() {
    let (_dir, store) = store();
    let path = store.dir();
    store.index.pragma_update(None, "user_version", FORMAT + 2).unwrap();
    let before = fs::read(path.join("index.sqlite")).unwrap();
    for error in both(path) {
        let expected = format!(
            "the store {} has format {}, this pyimg knows formats up to {FORMAT}",
            path.display(),
            FORMAT + 2
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.hint_text(), Some("use a newer pyimg, or another store: set PYIMG_DIR"));
        assert_eq!(error.exit_code(), 2);
    }
    assert_eq!(fs::read(path.join("index.sqlite")).unwrap(), before);
}

#[test]
fn a_damaged_index_says_so() {
    let (_dir, store) = store();
    build(&store, record("one"), &pages([1])).unwrap();
    let (path, index) = (store.dir().to_owned(), store.dir().join("index.sqlite"));
    drop(store);
    let good = fs::read(&index).unwrap();
    let hint = format!(
        "`pyimg verify --repair` saves what is whole; or remove all of it, which is only a cache, \
         with `rm -r {}`",
        path.display()
    );
    fs::write(&index, vec![0x55; 8192]).unwrap();
    for error in both(&path) {
        let start = format!("the store {} is damaged: its index cannot be read", path.display());
        assert!(error.to_string().starts_with(&start), "{error}");
        assert_eq!(error.hint_text(), Some(hint.as_str()));
        assert_eq!(error.exit_code(), 2);
    }
    // Cut off in the middle: it opens, and fails at the first look.
    fs::write(&index, &good[..4096]).unwrap();
    let failed = Store::open(&path).and_then(|store| store.images()).unwrap_err();
    assert!(failed.to_string().contains("is damaged"), "{failed}");
    fs::write(&index, b"").unwrap();
    let error = Store::open(&path).unwrap_err();
    let expected = format!(
        "the store {} is damaged: its index is empty or missing, but there are images",
        path.display()
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(RunStore::open(&path).unwrap_err().to_string(), expected);
    fs::remove_file(&index).unwrap();
    assert_eq!(RunStore::open(&path).unwrap_err().to_string(), expected);
    assert_eq!(Store::open(&path).unwrap_err().to_string(), expected);
    assert!(!index.exists(), "looking makes none");
    std::os::unix::fs::symlink("/etc/passwd", &index).unwrap();
    let error = Store::open(&path).unwrap_err().to_string();
    assert_eq!(error, format!("{} is not a regular file", index.display()));
    fs::remove_file(&index).unwrap();
    fs::write(&index, &good).unwrap();
    assert_clean(&Store::open(&path).unwrap(), &["one"]);
    fs::write(path.join("secret"), b"short").unwrap();
    let error = Store::open(&path).unwrap().secret().unwrap_err();
    assert!(error.to_string().ends_with("is damaged: its secret has 5 bytes"), "{error}");
}
