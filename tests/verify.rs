//! Each kind of damage to a store with real images: what `pyimg verify` says, that `pyrun` does
//! what `python` does, what a repair does, and that the rest of the store works after it.

mod common;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{IMAGE, Lab, Output, ground, pyimg, run};
use serde_json::Value;

/// The image that stays whole; the other is built upon it and has a pack of its own besides.
const OTHER: &str = "other";

const PROGRAM: &str = "import json, csv; print(json.dumps([1, 2]), csv.QUOTE_ALL)";

/// A store with both images, which every test copies.
fn original() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let lab = Lab::with(common::a_python(), &["import json, csv", "--name", OTHER]);
        let built = lab.build(&["import json, csv, argparse"]);
        assert!(built.status.success(), "{}", built.stderr_text());
        lab
    })
}

/// A copy of the store.
struct Copy {
    lab: Lab,
    /// The pack that only [`IMAGE`] uses, and the one of both.
    own: PathBuf,
    shared: PathBuf,
    /// The directories of the images.
    image: PathBuf,
    other: PathBuf,
}

impl Copy {
    fn new() -> Self {
        let from = original();
        let store = ground().dir("copies").join("store");
        let copied = Command::new("cp").arg("-a").args([&from.store, &store]).status().unwrap();
        assert!(copied.success());
        let lab = Lab { python: from.python.clone(), store, turn: Default::default() };
        let show = |image: &str| -> Value {
            let shown = run(pyimg(&lab.store).args(["show", image, "--json"])).success();
            serde_json::from_str(&shown).unwrap()
        };
        let (image, other) = (show(IMAGE), show(OTHER));
        let packs = |shown: &Value| -> Vec<PathBuf> {
            let packs = shown["packs"].as_array().unwrap().iter();
            let name = |pack: &Value| format!("packs/{}.pack", pack["id"].as_str().unwrap());
            packs.map(|pack| lab.store.join(name(pack))).collect()
        };
        let shared = packs(&other).remove(0);
        let own = packs(&image).into_iter().find(|pack| *pack != shared).unwrap();
        let dir = |shown: &Value| PathBuf::from(shown["directory"].as_str().unwrap());
        Self { own, shared, image: dir(&image), other: dir(&other), lab }
    }

    fn verify(&self, arguments: &[&str]) -> Output {
        run(pyimg(&self.lab.store).arg("verify").args(arguments))
    }

    /// The kinds of what is found, and the report.
    fn kinds(&self, arguments: &[&str]) -> (Vec<String>, Value) {
        let output = self.verify(&[arguments, &["--json"]].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut kinds: Vec<_> = findings.iter().map(|finding| text(&finding["kind"])).collect();
        kinds.sort();
        kinds.dedup();
        assert_eq!(report["ok"], findings.is_empty());
        assert_eq!(output.code(), i32::from(!findings.is_empty()), "{}", output.stderr_text());
        (kinds, report)
    }

    fn plain(&self) -> Output {
        run(self.lab.plain().args(["-c", PROGRAM]))
    }

    /// That a run is as plain Python, and is a miss; returns why.
    #[track_caller]
    fn miss(&self, image: &str) -> String {
        let (reason, output) = self.lab.miss(&["--image", image, "-c", PROGRAM]);
        assert_eq!(output, self.plain());
        reason
    }

    /// That a run is as plain Python, and uses the image.
    #[track_caller]
    fn hit(&self, image: &str) {
        assert_eq!(self.lab.hit(&["--image", image, "-c", PROGRAM]), self.plain());
    }

    /// Repairs, after which there is nothing to find; returns what was done.
    #[track_caller]
    fn repair(&self) -> Value {
        let output = self.verify(&["--repair", "--read-data", "--json"]);
        assert_eq!(output.code(), 0, "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["findings"], Value::Array(Vec::new()));
        assert_eq!(self.kinds(&["--read-data"]).0, [""; 0]);
        report["repaired"].clone()
    }
}

/// What a run of the damaged image is.
#[derive(Clone, Copy)]
enum Run {
    /// It works as before.
    Hit,
    /// Plain Python, for a reason in which these words are.
    Miss(&'static str),
    /// It is not tried: nothing but reading all pages could notice.
    Unnoticed,
}

/// What a run is if a file is damaged that CRIU alone reads.
fn of_criu(words: &'static str) -> Run {
    if common::by_criu() { Run::Miss(words) } else { Run::Hit }
}

/// Whether a repair can save the image.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Saved,
    Lost,
}

/// Damages a copy and goes through all that is said and done then.
#[track_caller]
fn damage(kind: &str, damage: impl Fn(&Copy), expected: Run, then: Then) {
    if !common::criu() {
        return;
    }
    let copy = Copy::new();
    damage(&copy);
    let (kinds, report) = copy.kinds(&["--read-data"]);
    assert_eq!(kinds, [kind]);
    let text = copy.verify(&["--read-data"]);
    assert_eq!(text.code(), 1);
    let finding = &report["findings"][0];
    let word = |name: &str| finding[name].as_str().unwrap();
    let names: Vec<_> =
        finding["images"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let of =
        if names.is_empty() { String::new() } else { format!(" (images: {})", names.join(", ")) };
    let line = format!("{kind} {}: {}; {}{of}", word("path"), word("detail"), word("meaning"));
    assert!(text.stdout_text().lines().any(|said| said == line), "{line}\n{}", text.stdout_text());
    let said = text.stderr_text();
    let start = format!("error: the store {} is not as it was written: ", copy.lab.store.display());
    assert!(said.contains(&start), "{said}");
    let hint = "hint: `pyimg verify --repair` sets aside what is damaged and keeps the rest";
    assert_eq!(said.lines().last(), Some(hint));

    match expected {
        Run::Hit => copy.hit(IMAGE),
        Run::Miss(words) => {
            let reason = copy.miss(IMAGE);
            assert!(reason.contains(words), "{reason}");
        }
        Run::Unnoticed => {}
    }

    let repaired = copy.repair();
    let lost = repaired["lost"].as_array().unwrap();
    match then {
        Then::Saved => {
            assert!(lost.is_empty(), "{repaired}");
            copy.hit(IMAGE);
        }
        Then::Lost => {
            assert_eq!(lost.len(), 1);
            assert_eq!(lost[0]["name"], IMAGE);
            assert_eq!(lost[0]["recipe"], "import json, csv, argparse");
            copy.miss(IMAGE);
        }
    }
    copy.hit(OTHER);
    // What is missing can be built again, and the damage does not come back with it.
    let built = copy.lab.build(&["import json, csv, argparse"]);
    assert!(built.status.success(), "{}", built.stderr_text());
    copy.hit(IMAGE);
    assert_eq!(copy.kinds(&["--read-data"]).0, [""; 0]);
}

/// Turns over one bit of a file and leaves everything else as it was.
fn flip(path: &Path, at: usize) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

/// The file of an image whose name begins like this.
fn file_of(image: &Path, start: &str) -> PathBuf {
    let names = fs::read_dir(image).unwrap().map(|entry| entry.unwrap().path());
    let begins = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(start);
    names.into_iter().find(begins).unwrap()
}

fn change_index(copy: &Copy, change: &str) {
    let index = rusqlite::Connection::open(copy.lab.store.join("index.sqlite")).unwrap();
    index.execute_batch(change).unwrap();
}

#[test]
fn index_missing() {
    let remove = |copy: &Copy| fs::remove_file(copy.lab.store.join("index.sqlite")).unwrap();
    damage("index-missing", remove, Run::Miss("its index is empty or missing"), Then::Saved);
}

#[test]
fn index_damaged() {
    let garble = |copy: &Copy| fs::write(copy.lab.store.join("index.sqlite"), [7; 5000]).unwrap();
    damage("index-damaged", garble, Run::Miss("its index cannot be read"), Then::Saved);
}

#[test]
fn image_missing() {
    let remove = |copy: &Copy| fs::remove_dir_all(&copy.image).unwrap();
    damage("image-missing", remove, Run::Miss("No such file"), Then::Lost);
}

#[test]
fn manifest_missing() {
    let remove = |copy: &Copy| fs::remove_file(copy.image.join("manifest.json")).unwrap();
    damage("manifest-missing", remove, Run::Miss("No such file"), Then::Lost);
}

#[test]
fn manifest_damaged() {
    let rot = |copy: &Copy| flip(&copy.image.join("manifest.json"), 100);
    damage("manifest-damaged", rot, Run::Miss("is damaged: it was changed"), Then::Lost);
    let cut = |copy: &Copy| fs::write(copy.image.join("manifest.json"), b"{").unwrap();
    damage("manifest-damaged", cut, Run::Miss("is damaged: it was changed"), Then::Lost);
}

#[test]
fn manifest_disagrees() {
    let change = |copy: &Copy| {
        change_index(copy, "UPDATE images SET kernel = 'x' WHERE name = 'image'");
    };
    damage("manifest-disagrees", change, Run::Miss(""), Then::Saved);
}

#[test]
fn image_file_missing() {
    for (name, run) in [("mm-", of_criu("No such file")), ("plan", Run::Miss("No such file"))] {
        let remove = |copy: &Copy| fs::remove_file(file_of(&copy.image, name)).unwrap();
        damage("image-file-missing", remove, run, Then::Lost);
    }
}

#[test]
fn image_file_changed() {
    let cut = |copy: &Copy| fs::write(file_of(&copy.image, "pages-1"), b"").unwrap();
    damage("image-file-changed", cut, Run::Miss("was changed"), Then::Lost);
    // Registers and mappings are compared by every run, byte for byte.
    let was_changed = "was changed";
    for (name, run) in [
        ("core-", of_criu(was_changed)),
        ("mm-", of_criu(was_changed)),
        ("plan", Run::Miss(was_changed)),
        ("evidence", Run::Miss(was_changed)),
    ] {
        let rot = |copy: &Copy| flip(&file_of(&copy.image, name), 20);
        damage("image-file-changed", rot, run, Then::Lost);
    }
    // These have been read before, and may make no sense.
    for name in ["files.img", "pstree.img"] {
        let rot = |copy: &Copy| flip(&file_of(&copy.image, name), 20);
        damage("image-file-changed", rot, of_criu(name), Then::Lost);
    }
    let rot = |copy: &Copy| flip(&file_of(&copy.image, "pages-1"), 20);
    damage("image-file-changed", rot, Run::Unnoticed, Then::Lost);
}

#[test]
fn pack_missing() {
    let remove = |copy: &Copy| fs::remove_file(&copy.own).unwrap();
    damage("pack-missing", remove, Run::Miss("No such file"), Then::Lost);
}

#[test]
fn pack_changed() {
    let cut = |copy: &Copy| {
        File::options().write(true).open(&copy.own).unwrap().set_len(4096 * 9).unwrap();
    };
    damage("pack-changed", cut, Run::Miss("was changed"), Then::Lost);
    // Copied: the bytes are right, and that is enough to save it.
    let copied = |copy: &Copy| fs::write(&copy.own, fs::read(&copy.own).unwrap()).unwrap();
    damage("pack-changed", copied, Run::Miss("was changed"), Then::Saved);
}

#[test]
fn pack_damaged() {
    let header = |copy: &Copy| flip(&copy.own, 3);
    damage("pack-damaged", header, Run::Hit, Then::Lost);
    let anchors =
        |copy: &Copy| flip(&copy.own, fs::metadata(&copy.own).unwrap().len() as usize - 1);
    damage("pack-damaged", anchors, Run::Hit, Then::Lost);
}

#[test]
fn page_damaged() {
    let rot = |copy: &Copy| flip(&copy.own, 4096 * 2 + 7);
    damage("page-damaged", rot, Run::Unnoticed, Then::Lost);
}

#[test]
fn a_page_that_was_written_is_noticed_by_runs_and_repairs() {
    if !common::criu() {
        return;
    }
    let copy = Copy::new();
    let mut bytes = fs::read(&copy.own).unwrap();
    bytes[4096 * 2 + 7] ^= 1;
    fs::write(&copy.own, bytes).unwrap();
    assert_eq!(copy.kinds(&[]).0, ["pack-changed"]);
    assert_eq!(copy.kinds(&["--read-data"]).0, ["pack-changed", "page-damaged"]);
    assert!(copy.miss(IMAGE).contains("was changed"));
    // Its pages are read although nobody asked for it.
    let said = copy.verify(&["--repair"]);
    assert_eq!(said.code(), 0, "{said:?}");
    let store = copy.lab.store.display();
    let lines: Vec<String> = said.stdout_text().lines().map(str::to_owned).collect();
    let image = copy.image.file_name().unwrap().to_str().unwrap();
    let own = copy.own.display();
    let id = copy.own.file_stem().unwrap().to_str().unwrap();
    let pages = lines[1].split("page-damaged: ").nth(1).unwrap().split(" (").next().unwrap();
    assert!(pages.starts_with("page 1 of "), "{pages}");
    assert_eq!(
        lines,
        [
            format!(
                "set-aside {store}/images/{image}: its pack {id} is damaged or missing; \
                 It is the image image: import json, csv, argparse"
            ),
            format!(
                "set-aside {own}: pack-changed: its time of writing is another than when it was \
                 stored (images: image); page-damaged: {pages} (images: image)"
            ),
            format!("unlisted {store}/images/{image}: the image image"),
        ]
    );
    // How much was read depends on the Python.
    let said = said.stderr_text();
    let (before, after) = said.split_once(" MB read").unwrap();
    let before = before.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let said = format!("{before}{after}");
    assert_eq!(
        said,
        format!(
            "hint: build image again, it was made of: import json, csv, argparse\n\
             checked 1 image and 1 pack, : all is well\n\
             2 things set aside by repairs in {store}/quarantine: delete it when you like\n"
        )
    );
    copy.hit(OTHER);
}

#[test]
fn a_pack_that_both_need() {
    if !common::criu() {
        return;
    }
    let copy = Copy::new();
    fs::write(&copy.shared, b"short").unwrap();
    let (kinds, report) = copy.kinds(&[]);
    assert_eq!(kinds, ["pack-changed"]);
    assert_eq!(report["findings"][0]["images"], serde_json::json!([OTHER, IMAGE]));
    copy.miss(IMAGE);
    copy.miss(OTHER);
    let repaired = copy.repair();
    assert_eq!(repaired["lost"].as_array().unwrap().len(), 2);
    copy.miss(IMAGE);
    assert!(copy.other.parent().unwrap().read_dir().unwrap().next().is_none());
}

#[test]
fn secret_damaged() {
    let remove = |copy: &Copy| fs::remove_file(copy.lab.store.join("secret")).unwrap();
    damage("secret-damaged", remove, Run::Hit, Then::Saved);
    let cut = |copy: &Copy| fs::write(copy.lab.store.join("secret"), b"short").unwrap();
    damage("secret-damaged", cut, Run::Hit, Then::Saved);
}

#[test]
fn lock_missing() {
    let remove = |copy: &Copy| fs::remove_file(copy.lab.store.join("runs.lock")).unwrap();
    damage("lock-missing", remove, Run::Miss("cannot open"), Then::Saved);
}

#[test]
fn directory_missing() {
    let remove = |copy: &Copy| fs::remove_dir(copy.lab.store.join("tmp")).unwrap();
    damage("directory-missing", remove, Run::Hit, Then::Saved);
}

#[test]
fn unknown_file() {
    let add = |copy: &Copy| fs::write(copy.image.join("thesis.txt"), b"").unwrap();
    damage("unknown-file", add, Run::Hit, Then::Saved);
}

#[test]
fn wrong_type() {
    let link = |copy: &Copy| {
        let elsewhere = copy.lab.store.parent().unwrap().join("elsewhere");
        fs::rename(&copy.own, &elsewhere).unwrap();
        symlink(&elsewhere, &copy.own).unwrap();
    };
    damage("wrong-type", link, Run::Miss("is not a regular file"), Then::Lost);
}

#[test]
fn wrong_owner() {
    if !common::root() {
        return;
    }
    let give = |copy: &Copy| chown(&copy.own, Some(12345), None).unwrap();
    damage("wrong-owner", give, Run::Miss("belongs to another user"), Then::Lost);
}

#[test]
fn wrong_mode() {
    let open = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let write = |copy: &Copy| open(&copy.own, 0o666);
    damage("wrong-mode", write, Run::Miss("other users may write"), Then::Saved);
    let read = |copy: &Copy| open(&copy.image, 0o755);
    damage("wrong-mode", read, Run::Hit, Then::Saved);
}

#[test]
fn every_kind_has_a_test_here() {
    // A file that the system refuses to read takes a failing disk.
    let untested = ["unreadable"];
    let source = include_str!("verify.rs");
    for kind in pyimg::store::FindingKind::ALL {
        let tested = source.contains(&format!("damage(\"{kind}\", "));
        assert!(tested != untested.contains(&kind.name()), "{kind}");
    }
}

#[test]
fn a_sound_store_and_none_at_all() {
    if !common::criu() {
        return;
    }
    let copy = Copy::new();
    let said = copy.verify(&[]);
    assert_eq!((said.code(), said.stdout_text().as_str()), (0, ""));
    assert_eq!(said.stderr_text(), "checked 2 images and 2 packs: all is well\n");
    let said = copy.verify(&["--repair"]);
    assert_eq!((said.code(), said.stdout_text().as_str()), (0, ""));
    let nothing = "there was nothing to repair\nchecked 2 images and 2 packs: all is well\n";
    assert_eq!(said.stderr_text(), nothing);
    let report = copy.kinds(&["--read-data"]).1;
    assert!(report["read_bytes"].as_u64().unwrap() > 1_000_000);
    assert_eq!((report["images"].as_u64(), report["packs"].as_u64()), (Some(2), Some(2)));
    assert_eq!(report["repaired"], Value::Null);
    let nowhere = ground().no_file("store");
    let said = run(pyimg(&nowhere).arg("verify"));
    assert_eq!((said.code(), said.stdout_text().as_str()), (0, ""));
    assert_eq!(said.stderr_text(), format!("there is no store yet: {}\n", nowhere.display()));
    let said = run(pyimg(&nowhere).args(["verify", "--repair", "--json"])).success();
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&report["exists"], &report["ok"]), (&Value::Bool(false), &Value::Bool(true)));
    assert!(!nowhere.exists());
}

#[test]
fn leftovers_are_listed_apart() {
    if !common::criu() {
        return;
    }
    let copy = Copy::new();
    let left = copy.lab.store.join("tmp/build-x");
    fs::create_dir(&left).unwrap();
    let said = copy.verify(&[]);
    assert_eq!(said.code(), 0);
    assert_eq!(said.stdout_text(), format!("leftover {}\n", left.display()));
    let report = copy.kinds(&[]).1;
    assert_eq!(report["leftovers"], serde_json::json!([left]));
}

/// Kills a repair at each of its steps, and once more for as long as there is a further step of
/// that name; after each the next repair does the rest.
#[test]
fn a_repair_may_be_killed_anywhere() {
    if !common::criu() {
        return;
    }
    let sound_index = |copy: &Copy| {
        fs::set_permissions(&copy.image, Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(copy.lab.store.join("secret")).unwrap();
        fs::write(&copy.shared, fs::read(&copy.shared).unwrap()).unwrap();
        fs::write(&copy.own, b"short").unwrap();
    };
    let damaged_index = |copy: &Copy| {
        sound_index(copy);
        fs::write(copy.lab.store.join("index.sqlite"), [7; 5000]).unwrap();
    };
    let damages: [&dyn Fn(&Copy); 2] = [&sound_index, &damaged_index];
    let points = pyimg::store::FAULT_POINTS.iter().filter(|name| name.starts_with("repair-"));
    for point in points {
        let mut kills = 0;
        for damage in damages {
            for time in 1.. {
                let copy = Copy::new();
                damage(&copy);
                let mut command = pyimg(&copy.lab.store);
                command.args(["verify", "--repair", "--read-data"]);
                let cut_off = run(command.env("PYIMG_FAULT", format!("{point}:{time}")));
                if cut_off.status.signal() != Some(9) {
                    assert_eq!(cut_off.code(), 0, "{cut_off:?}");
                    break;
                }
                kills += 1;
                copy.miss(IMAGE);
                copy.repair();
                copy.hit(OTHER);
                copy.miss(IMAGE);
                let id = copy.image.file_name().unwrap().to_str().unwrap();
                let quarantine = copy.lab.store.join("quarantine");
                for kept in [format!("{id}/manifest.json"), format!("{id}.reason")] {
                    assert!(quarantine.join(&kept).exists(), "{point}:{time}: {kept}");
                }
            }
        }
        assert!(kills > 0, "no repair came to {point}");
    }
}
