//! Verifying: each kind of damage is found and called by its name, and nothing else is.

mod random;

use std::fs::{self, File};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use super::damages::DAMAGES;
use super::lab::{Lab, flip, set_mode};
use super::*;

#[test]
fn a_sound_store_has_no_findings() {
    let lab = Lab::new();
    for depth in [Depth::Tables, Depth::Changed, Depth::Data] {
        let report = lab.verify(depth);
        assert_eq!((report.images, report.packs), (3, 3));
        assert_eq!((report.findings, report.leftovers), (vec![], vec![]));
        let read = if depth == Depth::Data { (80 - 20 + 31 + 21) * 4096 + 3 * 4 } else { 0 };
        assert_eq!(report.read_bytes, read);
    }
    let told = std::sync::Mutex::new(Vec::new());
    let watch = |read, all| told.lock().unwrap().push((read, all));
    verify(&lab.path, Depth::Data, &watch).unwrap();
    let told: Vec<(u64, u64)> = told.into_inner().unwrap();
    let read: u64 = told.iter().map(|(read, _)| read).sum();
    assert!(told.iter().all(|(_, all)| *all == read), "{told:?}");
}

#[test]
fn where_there_is_no_store_there_is_nothing_to_find() {
    let dir = tempfile::tempdir().unwrap();
    let none = |path: &Path| verify(path, Depth::Data, &|_, _| ()).unwrap().is_none();
    assert!(none(&dir.path().join("no")));
    assert!(none(dir.path()));
    // Something else that has images.
    let id = dir.path().join("images").join("ab".repeat(32));
    fs::create_dir_all(&id).unwrap();
    fs::write(dir.path().join("thesis.txt"), b"").unwrap();
    assert!(none(dir.path()));
    assert!(repair(dir.path(), Depth::Data, &|_, _| ()).unwrap().is_none());
    assert_eq!(files_in(dir.path()), ["images", "thesis.txt"]);
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = verify(&file, Depth::Data, &|_, _| ()).unwrap_err().to_string();
    assert!(error.ends_with("is not a directory"), "{error}");
    let (_dir, store) = store();
    assert_eq!(verify(store.dir(), Depth::Data, &|_, _| ()).unwrap().unwrap().findings, []);
}

#[test]
fn a_newer_store_is_refused() {
    let (_dir, store) = store();
    store.index.pragma_update(None, "user_version", FORMAT + 2).unwrap();
    let errors = [
        verify(store.dir(), Depth::Data, &|_, _| ()).map(drop).unwrap_err(),
        repair(store.dir(), Depth::Data, &|_, _| ()).map(drop).unwrap_err(),
    ];
    for error in errors {
        let expected = format!(
            "the store {} has format {}, this pyimg knows formats up to {FORMAT}",
            store.dir().display(),
            FORMAT + 2
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn every_damage_has_its_name() {
    for (what, damage, tables, data) in DAMAGES {
        let lab = Lab::new();
        damage(&lab);
        let owned = |kinds: &[(&'static str, &str)]| -> Vec<_> {
            kinds.iter().map(|(kind, images)| (*kind, (*images).to_owned())).collect()
        };
        let sorted = |mut kinds: Vec<(&'static str, String)>| {
            kinds.sort();
            kinds
        };
        assert_eq!(sorted(lab.kinds(Depth::Tables)), sorted(owned(tables)), "{what}");
        let data = if data.is_empty() { tables } else { data };
        assert_eq!(sorted(lab.kinds(Depth::Data)), sorted(owned(data)), "{what}");
    }
}

#[test]
fn what_belongs_to_others_is_found() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let lab = Lab::new();
    let chown = |path: &Path, user| std::os::unix::fs::chown(path, Some(user), None).unwrap();
    let pack = &lab.packs[2][0];
    let manifest = lab.file(2, "manifest.json");
    for (path, images) in [
        (pack.clone(), "three"),
        (manifest, "three"),
        (lab.file(2, ""), "three"),
        (lab.path.join("secret"), ""),
        (lab.path.join("index.sqlite"), ""),
        (lab.path.clone(), ""),
    ] {
        chown(&path, 12345);
        let report = lab.verify(Depth::Data);
        assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
        let finding = &report.findings[0];
        assert_eq!(
            (finding.kind, finding.images.join(" ").as_str()),
            (FindingKind::WrongOwner, images)
        );
        assert_eq!(finding.detail, "it belongs to uid 12345, you are uid 0");
        chown(&path, 0);
    }
    lab.assert_clean();
}

#[test]
fn what_a_crash_leaves_is_no_damage() {
    let lab = Lab::new();
    let left = [
        lab.path.join("images").join("ab".repeat(32)),
        lab.path.join("packs").join(format!("{}.pack", "cd".repeat(32))),
        lab.path.join("tmp/build-x"),
    ];
    fs::create_dir(&left[0]).unwrap();
    fs::write(&left[1], b"half").unwrap();
    fs::create_dir(&left[2]).unwrap();
    let report = lab.verify(Depth::Data);
    assert_eq!((report.findings.len(), report.leftovers), (0, left.to_vec()));
}

#[test]
fn a_page_that_nobody_uses_may_be_dropped() {
    let lab = Lab::new();
    let store = Store::open(&lab.path).unwrap();
    // Only the second image stays, which uses the first 30 pages of the first one's pack.
    store.remove(&[lab.images[0].record.key]).unwrap();
    let pack = &lab.packs[0][0];
    let drop_page = |slot: usize| {
        let modified = fs::metadata(pack).unwrap().modified().unwrap();
        let mut bytes = fs::read(pack).unwrap();
        let at = offset_of(slot as u64) as usize;
        bytes[at..at + PAGE].fill(0);
        fs::write(pack, bytes).unwrap();
        File::options().write(true).open(pack).unwrap().set_modified(modified).unwrap();
    };
    drop_page(35);
    lab.assert_clean();
    flip(pack, offset_of(36) as usize, 1);
    let found = lab.verify(Depth::Data).findings;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].detail, "page 36 of 60 is not what was written");
    drop_page(36);
    lab.assert_clean();
    drop_page(29);
    drop_page(28);
    let found = lab.verify(Depth::Data).findings;
    assert_eq!(found[0].detail, "pages 28, 29 of 60 are not what was written");
    assert_eq!(found[0].images, ["two"]);
}

#[test]
fn a_store_that_was_made_read_only_is_in_order() {
    let lab = Lab::new();
    let all = || walkdir::WalkDir::new(&lab.path).contents_first(true).into_iter().flatten();
    for entry in all() {
        set_mode(entry.path(), if entry.file_type().is_dir() { 0o500 } else { 0o400 });
    }
    lab.assert_clean();
    for entry in all() {
        set_mode(entry.path(), if entry.file_type().is_dir() { 0o700 } else { 0o600 });
    }
    set_mode(&lab.packs[0][0], 0o400);
    assert_eq!(lab.kinds(Depth::Tables), [("wrong-mode", "one two".to_owned())]);
}

#[test]
fn removals_and_builds_go_on_meanwhile() {
    let lab = Lab::new();
    let (start, done) = (Barrier::new(3), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let builder = scope.spawn(|| {
            let store = Store::open(&lab.path).unwrap();
            start.wait();
            for round in 0..25_u32 {
                let name = format!("image-{}", round % 3);
                let memory = pages((1..=40).chain(1000 + round..1030 + round));
                let image = build(&store, record(&name), &memory).unwrap();
                if round % 2 == 1 {
                    store.remove(&[image.record.key]).unwrap();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        for depth in [Depth::Tables, Depth::Data] {
            let (lab, start, done) = (&lab, &start, &done);
            scope.spawn(move || {
                start.wait();
                while !done.load(Ordering::Relaxed) {
                    match verify(&lab.path, depth, &|_, _| ()) {
                        Ok(report) => assert_eq!(report.unwrap().findings, []),
                        // On a slow disk a commit takes longer than anybody waits.
                        Err(error) => {
                            assert!(error.to_string().contains("being changed"), "{error}")
                        }
                    }
                }
            });
        }
        builder.join().unwrap();
    });
    lab.assert_clean();
}
