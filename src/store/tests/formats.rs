//! Stores of every format that was ever released open, with all that is in them.
//!
//! The stores lie in `tests/fixtures`, packed with their times of writing and modes. One
//! for a new format is made by running these tests with `PYIMG_WRITE_FIXTURE=1`.

use std::path::PathBuf;
use std::process::Command;

use super::*;

fn fixture(format: u32) -> PathBuf {
    let name = format!("tests/fixtures/store-format-{format}.tar.gz");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn tar(arguments: &[&str], directory: &Path, file: &Path) {
    let mut tar = Command::new("tar");
    let status = tar.args(arguments).arg("-f").arg(file).arg("-C").arg(directory).arg("store");
    assert!(status.status().unwrap().success(), "{tar:?}");
}

/// What lies in every fixture: two images that share pages, the second one pinned, the
/// first one used twice, and the hash of an interpreter.
fn fill(store: &Store) {
    let first = build(store, record("first"), &first_pages()).unwrap();
    let second = build(store, record("second"), &second_pages()).unwrap();
    store.set_pinned(&second.record.key, true).unwrap();
    store.note_use(&first.id);
    store.note_use(&first.id);
    store.set_interpreter_hash(INTERPRETER, &STATE, &Digest::new([9; 32])).unwrap();
}

const INTERPRETER: &str = "/usr/bin/python3.11";
const STATE: FileState = FileState { device: 1, inode: 2, size: 3, mtime_ns: 4, ctime_ns: 5 };

fn first_pages() -> Vec<u8> {
    pages((1..=40).chain([0; 20]).chain([7, 0, 9]))
}

fn second_pages() -> Vec<u8> {
    pages((1..=40).chain(100..=110))
}

#[test]
fn every_format_is_brought_to_the_current_one() {
    if std::env::var_os("PYIMG_WRITE_FIXTURE").is_some() {
        let (dir, store) = store();
        fill(&store);
        drop(store);
        let create = ["-c", "-z", "--sort=name", "--owner=0", "--group=0", "--format=posix"];
        tar(&create, dir.path(), &fixture(FORMAT));
    }
    for format in 1..=FORMAT {
        let dir = tempfile::tempdir().unwrap();
        tar(&["-x", "-p", "-z", "--no-same-owner"], dir.path(), &fixture(format));
        let root = dir.path().join("store");
        let run = RunStore::open(&root);
        if format < FORMAT {
            // A run changes nothing, so it does without.
            let error = run.unwrap_err().to_string();
            let said = format!("still has format {format}, now it is {FORMAT}");
            assert!(error.ends_with(&said), "{error}");
        } else {
            assert_eq!(run.unwrap().unwrap().images().unwrap().len(), 2);
        }

        let store = Store::open(&root).unwrap();
        assert_clean(&store, &["first", "second"]);
        let report = verify(&root, Depth::Data, &|_, _| ()).unwrap().unwrap();
        assert_eq!(report.findings, []);
        let images = store.images().unwrap();
        assert_eq!(read_back(&store, &images[0].id), first_pages());
        assert_eq!(read_back(&store, &images[1].id), second_pages());
        assert_eq!((images[0].hits, images[0].pinned), (2, false));
        assert_eq!((images[1].hits, images[1].pinned), (0, true));
        // What older formats did not have is empty.
        let own = |text: &str| if format < 3 { String::new() } else { text.to_owned() };
        for image in &images {
            assert_eq!(image.record.import_times, own(&record("").import_times));
            assert_eq!(image.record.criu, own(&record("").criu));
            let surroundings = if format < 4 { String::new() } else { record("").surroundings };
            assert_eq!(image.record.surroundings, surroundings);
        }
        let hash = store.interpreter_hash(INTERPRETER, &STATE).unwrap();
        assert_eq!(hash, Some(Digest::new([9; 32])));
        // It can be added to, and shares its pages.
        let third = build(&store, record("third"), &pages(1..=40)).unwrap();
        assert_eq!(third.new_bytes, 0);
        assert_eq!(RunStore::open(&root).unwrap().unwrap().images().unwrap().len(), 3);
    }
}
