//! Repairing: after it nothing is found any more, and what was good works.

use std::fs;
use std::os::unix::fs::symlink;

use super::damages::DAMAGES;
use super::lab::{Lab, NAMES, flip, memory};
use super::*;
use crate::store::layout::USES;
use crate::store::repair::Done;

fn mend(lab: &Lab, depth: Depth) -> Repaired {
    repair(&lab.path, depth, &|_, _| ()).unwrap().unwrap()
}

fn lost(repaired: &Repaired) -> Vec<&str> {
    repaired.lost.iter().map(|lost| lost.name.as_str()).collect()
}

fn done(repaired: &Repaired) -> Vec<Done> {
    repaired.actions.iter().map(|action| action.done).collect()
}

/// The names of what is in the quarantine.
fn quarantined(lab: &Lab) -> Vec<String> {
    files_in(&lab.path.join("quarantine"))
}

/// That the store is in order and holds these images of a lab, as they were stored.
#[track_caller]
fn assert_holds(lab: &Lab, names: &[&str]) {
    lab.assert_clean();
    let store = Store::open(&lab.path).unwrap();
    let listed = store.images().unwrap();
    let mut found: Vec<_> = listed.iter().map(|image| image.record.name.as_str()).collect();
    found.sort_by_key(|name| NAMES.iter().position(|other| other == name));
    assert_eq!(found, names);
    for image in &listed {
        let at = NAMES.iter().position(|name| *name == image.record.name).unwrap();
        assert_eq!((&image.record, image.id), (&lab.images[at].record, lab.images[at].id));
        assert_eq!(read_back(&store, &image.id), memory(at));
    }
    // It can be built upon.
    build(&store, record("another"), &pages(1..=60)).unwrap();
    store.remove(&[record("another").key]).unwrap();
}

/// The images that are lost by a damage of [`DAMAGES`].
fn losses(what: &str) -> &'static [&'static str] {
    match what {
        "no pack" | "another page" => &["one", "two"],
        "no packs" => &["one", "two", "three"],
        "a link in place of the images" => &["one", "two", "three"],
        "an image without a directory"
        | "no manifest"
        | "another manifest"
        | "a file less"
        | "a longer file"
        | "another file"
        | "a shorter pack"
        | "another header"
        | "something behind the header"
        | "another table"
        | "another anchor"
        | "a link in place of a pack"
        | "a directory in place of a file" => &["three"],
        _ => &[],
    }
}

#[test]
fn every_damage_is_mended_and_what_was_good_stays() {
    for (what, damage, ..) in DAMAGES {
        let lab = Lab::new();
        damage(&lab);
        let before = walkdir::WalkDir::new(&lab.path).into_iter().count();
        let repaired = mend(&lab, Depth::Data);
        assert_eq!(repaired.report.findings, [], "{what}");
        assert!(!repaired.actions.is_empty(), "{what}");
        assert!(!done(&repaired).contains(&Done::Failed), "{what}: {repaired:?}");
        let mut lost = lost(&repaired);
        lost.sort_by_key(|name| NAMES.iter().position(|other| other == name));
        assert_eq!(lost, losses(what), "{what}");
        assert!(repaired.lost.iter().all(|lost| lost.recipe == "import this"));
        // Nothing was deleted.
        assert!(walkdir::WalkDir::new(&lab.path).into_iter().count() >= before, "{what}");
        let left: Vec<_> = NAMES.into_iter().filter(|name| !losses(what).contains(name)).collect();
        assert_holds(&lab, &left);
        let again = mend(&lab, Depth::Data);
        assert_eq!(again.actions, [], "{what}");
    }
}

#[test]
fn a_pack_that_was_copied_is_whole_again_and_a_damaged_one_is_not() {
    let lab = Lab::new();
    let pack = &lab.packs[2][0];
    let modified = fs::metadata(pack).unwrap().modified().unwrap();
    fs::write(pack, fs::read(pack).unwrap()).unwrap();
    // Its pages are read without being asked for.
    let repaired = mend(&lab, Depth::Tables);
    assert_eq!(done(&repaired), [Done::TimeRestored]);
    assert_eq!(fs::metadata(pack).unwrap().modified().unwrap(), modified);
    assert_holds(&lab, &NAMES);
    let mut bytes = fs::read(pack).unwrap();
    bytes[5000] ^= 1;
    fs::write(pack, bytes).unwrap();
    let repaired = mend(&lab, Depth::Tables);
    assert_eq!(lost(&repaired), ["three"]);
    assert_eq!(done(&repaired), [Done::SetAside, Done::SetAside, Done::Unlisted]);
    assert_holds(&lab, &NAMES[..2]);
}

#[test]
fn the_quarantine_says_why() {
    let lab = Lab::new();
    flip(&lab.packs[2][0], 4096 * 3, 1);
    mend(&lab, Depth::Data);
    let (pack, image) = (lab.packs[2][0].file_name().unwrap(), lab.images[2].id.hex());
    let pack = pack.to_str().unwrap();
    let mut names =
        vec![image.clone(), format!("{image}.reason"), pack.into(), format!("{pack}.reason")];
    names.sort();
    assert_eq!(quarantined(&lab), names);
    let reason = |name: &str| fs::read_to_string(lab.path.join("quarantine").join(name)).unwrap();
    assert_eq!(
        reason(&format!("{pack}.reason")),
        format!(
            "packs/{pack} was set aside by `pyimg verify --repair`.\n\
             page-damaged: page 2 of 21 is not what was written (images: three)\n"
        )
    );
    assert_eq!(
        reason(&format!("{image}.reason")),
        format!(
            "images/{image} was set aside by `pyimg verify --repair`.\n\
             its pack {} is damaged or missing\nIt is the image three: import this\n",
            &pack[..64]
        )
    );
    assert!(lab.path.join("quarantine").join(&image).join("manifest.json").exists());
    // Built and damaged again, it does not meet the first one.
    let report = lab.verify(Depth::Data);
    assert_eq!(report.quarantined.len(), 2);
    let store = Store::open(&lab.path).unwrap();
    build(&store, record("three"), &memory(2)).unwrap();
    flip(&lab.packs[2][0], 4096 * 4, 1);
    mend(&lab, Depth::Data);
    assert!(quarantined(&lab).contains(&format!("{pack}.1")));
    assert!(quarantined(&lab).contains(&format!("{pack}.1.reason")));
}

#[test]
fn pins_are_kept_as_far_as_they_can_be_read() {
    let damage_late = |lab: &Lab| {
        // A page of the index that holds none of the images.
        let index = rusqlite::Connection::open(lab.path.join("index.sqlite")).unwrap();
        let root: usize = index
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'image_packs'", (), |row| {
                row.get(0)
            })
            .unwrap();
        drop(index);
        flip(&lab.path.join("index.sqlite"), (root - 1) * 4096, 0xff);
    };
    let lab = Lab::new();
    let store = Store::open(&lab.path).unwrap();
    store.set_pinned(&lab.images[1].record.key, true).unwrap();
    drop(store);
    damage_late(&lab);
    let repaired = mend(&lab, Depth::Tables);
    assert_eq!((done(&repaired), repaired.pins_lost), (vec![Done::IndexRebuilt], false));
    let store = Store::open(&lab.path).unwrap();
    let pinned: Vec<_> = store.images().unwrap().iter().map(|image| image.pinned).collect();
    assert_eq!(pinned, [false, true, false]);
    assert_eq!(quarantined(&lab), ["index.sqlite", "index.sqlite.reason"]);
    drop(store);
    fs::write(lab.path.join("index.sqlite"), [7; 9000]).unwrap();
    let repaired = mend(&lab, Depth::Tables);
    assert!(repaired.pins_lost);
    assert_holds(&lab, &NAMES);
    assert_eq!(fs::read(lab.path.join("quarantine/index.sqlite.1")).unwrap(), [7; 9000]);
}

#[test]
fn of_two_builds_the_newest_is_listed() {
    let lab = Lab::new();
    // An older build of the same image that no removal has swept: as after a crash.
    let old = lab.path.parent().unwrap().join("old");
    let dir = lab.file(2, "");
    let copy = |from: &Path, to: &Path| {
        fs::create_dir(to).unwrap();
        files_in(from).iter().for_each(|name| {
            assert!(fs::copy(from.join(name), to.join(name)).unwrap() > 0 || name == USES)
        });
        fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    };
    copy(&dir, &old);
    let packs: Vec<_> =
        lab.packs[2].iter().map(|pack| (pack.clone(), fs::read(pack).unwrap())).collect();
    let store = Store::open(&lab.path).unwrap();
    let again = build(&store, record("three"), &pages(600..=630)).unwrap();
    drop(store);
    copy(&old, &dir);
    for (path, bytes) in packs {
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    fs::remove_file(lab.path.join("index.sqlite")).unwrap();
    let repaired = mend(&lab, Depth::Tables);
    assert_eq!((repaired.report.findings.len(), lost(&repaired).len()), (0, 0));
    assert_eq!(repaired.report.leftovers, [dir, lab.packs[2][0].clone()]);
    let store = Store::open(&lab.path).unwrap();
    assert_eq!(store.by_name("three").unwrap().unwrap().id, again.id);
    store.remove(&[]).unwrap();
    assert_eq!(lab.verify(Depth::Data).leftovers, [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn a_build_that_has_the_old_index_open_stores_nothing_there() {
    let lab = Lab::new();
    let store = Store::open(&lab.path).unwrap();
    let changed = rusqlite::Connection::open(lab.path.join("index.sqlite")).unwrap();
    changed.execute_batch("UPDATE images SET name = 'x' WHERE number = 1").unwrap();
    drop(changed);
    let repaired = mend(&lab, Depth::Tables);
    assert_eq!(done(&repaired), [Done::IndexRebuilt]);
    build(&store, record("four"), &pages(1..=9)).unwrap_err();
    drop(store);
    assert_holds(&lab, &NAMES);
}

#[test]
fn a_build_makes_a_repair_wait() {
    let lab = Lab::new();
    fs::remove_file(&lab.packs[2][0]).unwrap();
    let store = Store::open(&lab.path).unwrap();
    std::thread::scope(|scope| {
        let building = store.begin(0).unwrap();
        let mending = scope.spawn(|| mend(&lab, Depth::Tables));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!mending.is_finished());
        drop(building);
        assert_eq!(lost(&mending.join().unwrap()), ["three"]);
    });
    assert_holds(&lab, &NAMES[..2]);
}

#[test]
fn what_cannot_be_mended_is_said() {
    let lab = Lab::new();
    let tmp = lab.path.join("tmp");
    fs::rename(&tmp, lab.path.parent().unwrap().join("elsewhere")).unwrap();
    symlink(lab.path.parent().unwrap().join("elsewhere"), &tmp).unwrap();
    let error = repair(&lab.path, Depth::Tables, &|_, _| ()).unwrap_err();
    let shown = tmp.display();
    assert_eq!(
        error.to_string(),
        format!("cannot repair the store: {shown}: it is a symbolic link")
    );
    assert_eq!(error.hint_text().unwrap(), format!("move it away: `mv {shown} {shown}.old`"));
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can give a store away");
        return;
    }
    let lab = Lab::new();
    std::os::unix::fs::chown(&lab.path, Some(12345), None).unwrap();
    let error = repair(&lab.path, Depth::Tables, &|_, _| ()).unwrap_err();
    assert!(error.to_string().contains("belongs to another user (uid 12345"), "{error}");
}

#[test]
fn what_belongs_to_others_is_set_aside() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let lab = Lab::new();
    let chown = |path: &Path| std::os::unix::fs::chown(path, Some(12345), None).unwrap();
    chown(&lab.packs[2][0]);
    chown(&lab.path.join("index.sqlite"));
    chown(&lab.path.join("secret"));
    let repaired = mend(&lab, Depth::Tables);
    assert_eq!(lost(&repaired), ["three"]);
    assert_holds(&lab, &NAMES[..2]);
    assert!(quarantined(&lab).contains(&"secret".to_owned()));
}

/// What random changes of the index brought to light.
#[test]
fn an_index_with_impossible_values_loses_no_image() {
    for change in [
        "UPDATE images SET pages = -1 WHERE number = 2",
        "UPDATE images SET pages = 4503599627370496 WHERE number = 2",
        "UPDATE images SET id = zeroblob(32) WHERE number = 2",
        "UPDATE packs SET bytes = -1 WHERE number = 2",
        "UPDATE packs SET bytes = 5, pages = 1",
        "UPDATE packs SET modified_ns = 0",
        "UPDATE image_packs SET pages = 7",
        "DELETE FROM image_packs",
        "UPDATE images SET key = zeroblob(32), pinned = 1 WHERE number = 3",
    ] {
        let lab = Lab::new();
        let index = rusqlite::Connection::open(lab.path.join("index.sqlite")).unwrap();
        index.execute_batch(change).unwrap();
        drop(index);
        assert_ne!(lab.verify(Depth::Tables).findings, [], "{change}");
        let repaired = mend(&lab, Depth::Tables);
        assert_eq!(repaired.lost, [], "{change}");
        assert_holds(&lab, &NAMES);
    }
}

#[test]
fn a_compressed_pack_is_checked_and_mended_too() {
    let cold_lab = || {
        let lab = Lab::new();
        let (raw, modified) = (
            fs::read(&lab.packs[2][0]).unwrap(),
            fs::metadata(&lab.packs[2][0]).unwrap().modified().unwrap(),
        );
        let store = Store::open(&lab.path).unwrap();
        let pack = store.load_manifest::<Content>(&lab.images[2].id).unwrap().packs[0].id;
        store.freeze(&[pack], &mut |_| ()).unwrap();
        drop(store);
        assert!(!lab.packs[2][0].exists());
        let cold = lab.packs[2][0].with_extension("pack.zst");
        // As when thawing was cut off: both files are there.
        let put_raw = move |lab: &Lab| {
            let path = &lab.packs[2][0];
            fs::write(path, &raw).unwrap();
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
        };
        (lab, cold, put_raw)
    };
    let (lab, cold, put_raw) = cold_lab();
    lab.assert_clean();
    assert_eq!(lab.verify(Depth::Data).leftovers, [""; 0].map(std::path::PathBuf::from));
    put_raw(&lab);
    lab.assert_clean();
    // Each file is judged by itself, and one is enough.
    flip(&lab.packs[2][0], 4096 * 2, 1);
    assert_eq!(lab.kinds(Depth::Data), [("page-damaged", "three".to_owned())]);
    let repaired = mend(&lab, Depth::Data);
    assert_eq!((done(&repaired), lost(&repaired).len()), (vec![Done::SetAside], 0));
    assert!(cold.exists() && !lab.packs[2][0].exists());
    put_raw(&lab);
    let length = fs::metadata(&cold).unwrap().len() as usize;
    flip(&cold, length / 3, 1);
    assert_ne!(lab.verify(Depth::Data).findings, []);
    let repaired = mend(&lab, Depth::Data);
    assert_eq!((done(&repaired), lost(&repaired).len()), (vec![Done::SetAside], 0));
    assert!(!cold.exists() && lab.packs[2][0].exists());
    assert_holds(&lab, &NAMES);
    // Every byte of the compressed file counts, or it does not matter.
    let (lab, cold, _) = cold_lab();
    let good = fs::read(&cold).unwrap();
    for at in (0..good.len()).step_by(7) {
        flip(&cold, at, 0x11);
        if lab.verify(Depth::Data).findings.is_empty() {
            let store = Store::open(&lab.path).unwrap();
            let packs = store.load_manifest::<Content>(&lab.images[2].id).unwrap().packs;
            store.thaw(&packs, std::time::Duration::from_secs(1)).unwrap();
            assert_eq!(read_back(&store, &lab.images[2].id), memory(2), "byte {at}");
            store.freeze(&[packs[0].id], &mut |_| ()).unwrap();
        }
        fs::write(&cold, &good).unwrap();
    }
    flip(&cold, good.len() - 1, 1);
    let repaired = mend(&lab, Depth::Data);
    assert_eq!(lost(&repaired), ["three"]);
    let pack = format!("{}.reason", cold.file_name().unwrap().to_str().unwrap());
    assert!(quarantined(&lab).contains(&pack));
    assert_eq!(lab.verify(Depth::Data).findings, []);
}
