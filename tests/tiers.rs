//! Images in two tiers, with the real CRIU: a cold image gives what plain Python gives, and
//! is brought back once for all.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{IMAGE, Lab, Output, pyimg, pythons, run};
use nix::sched::{CloneFlags, unshare};

const PROGRAM: &str = "import json, decimal; print(json.dumps({'a': 1}), decimal.Decimal('1.5'))";
const RECIPE: &str = "import json, decimal";

/// A lab whose image is cold.
fn cold_lab() -> Lab {
    let lab = Lab::with(&pythons()[0], &[RECIPE, "--store", "zstd"]);
    assert_eq!(packs(&lab.store, ".pack.zst").len(), 1);
    assert_eq!(packs(&lab.store, ".pack").len(), 0);
    lab
}

fn packs(store: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.join("packs")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_str().unwrap().ends_with(suffix)).collect()
}

fn tier(lab: &Lab) -> String {
    let listing = run(pyimg(&lab.store).args(["ls", "--json"])).success();
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    listing["images"][0]["tier"].as_str().unwrap().to_owned()
}

fn plain(lab: &Lab) -> Output {
    run(lab.plain().args(["-c", PROGRAM]))
}

#[test]
fn the_first_run_brings_a_cold_image_back() {
    let lab = cold_lab();
    assert_eq!(tier(&lab), "zstd");
    for _ in 0..2 {
        assert_eq!(lab.hit(&["-c", PROGRAM]), plain(&lab));
        assert_eq!(tier(&lab), "raw");
        assert_eq!(packs(&lab.store, ".pack.zst").len(), 0);
    }
}

#[test]
fn build_moves_an_image_that_is_there_to_another_tier() {
    let lab = cold_lab();
    let build = |arguments: &[&str]| {
        let built = lab.build(&[&[RECIPE], arguments].concat());
        assert!(built.stderr_text().contains("is there already and unchanged"), "{built:?}");
        tier(&lab)
    };
    assert_eq!(build(&[]), "zstd");
    assert_eq!(build(&["--store", "raw"]), "raw");
    assert_eq!(build(&[]), "raw");
    assert_eq!(build(&["--store", "zstd"]), "zstd");
    let shown = run(pyimg(&lab.store).args(["show", IMAGE])).success();
    assert!(shown.contains("zstd: compressed until the next run"), "{shown}");
    assert_eq!(lab.hit(&["-c", PROGRAM]), plain(&lab));
}

#[test]
fn a_pack_that_two_images_use_stays_raw() {
    let lab = Lab::new(&pythons()[0], RECIPE);
    let more = format!("{RECIPE}; import heapq");
    let built = lab.build(&[&more, "--name", "more", "--store", "zstd"]);
    assert!(built.status.success(), "{}", built.stderr_text());
    assert_eq!(packs(&lab.store, ".pack").len(), 1);
    assert_eq!(packs(&lab.store, ".pack.zst").len(), 1);
    assert_eq!(lab.hit(&["-c", PROGRAM]), plain(&lab));
}

#[test]
fn runs_at_once_bring_it_back_once() {
    let lab = cold_lab();
    let expected = plain(&lab);
    let outputs: Vec<Output> = std::thread::scope(|scope| {
        let runs: Vec<_> =
            (0..4).map(|_| scope.spawn(|| run(lab.pyrun().args(["-c", PROGRAM])))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let mut misses = 0;
    for mut output in outputs {
        // On a busy machine one may find that the others take too long.
        if let Some(reason) = output.take_miss() {
            assert!(reason.contains("the image is compressed: another process"), "{reason}");
            misses += 1;
        }
        assert_eq!(output, expected);
    }
    assert_eq!(lab.uses() + misses, 4);
    assert!(lab.uses() >= 1);
    assert_eq!(tier(&lab), "raw");
    assert_eq!(packs(&lab.store, ".pack").len(), 1);
    assert_eq!(fs::read_dir(lab.store.join("tmp")).unwrap().count(), 0);
}

#[test]
fn damage_is_a_miss() {
    let lab = cold_lab();
    let pack = packs(&lab.store, ".zst").remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&pack, bytes).unwrap();
    let (reason, output) = lab.miss(&["-c", PROGRAM]);
    let expected = format!("the image is compressed: the pack {} is damaged: ", pack.display());
    assert!(reason.starts_with(&expected), "{reason}");
    assert_eq!(output, plain(&lab));
    assert!(pack.exists());
    // A build finds that out as well, and makes the image whole again.
    let mut build = pyimg(&lab.store);
    build.args(["build", "--name", IMAGE, RECIPE, "--python"]).arg(&lab.python.path);
    let built = run(&mut build);
    assert!(built.stderr_text().starts_with("built "), "{}", built.stderr_text());
    assert_eq!(lab.hit(&["-c", PROGRAM]).success(), plain(&lab).success());
}

#[test]
fn changed_modules_are_no_reason_to_decompress() {
    let directory = common::ground().dir("modules");
    let module = directory.join("mine.py");
    fs::write(&module, "x = 1\n").unwrap();
    let recipe = format!("import sys; sys.path.append({directory:?}); import mine");
    let lab = Lab::with(&pythons()[0], &[&recipe, "--store", "zstd"]);
    fs::write(&module, "x = 22\n").unwrap();
    let program = format!("import sys; sys.path.append({directory:?}); import mine; print(mine.x)");
    let (reason, output) = lab.miss(&["-c", &program]);
    assert!(reason.ends_with("mine.py has changed"), "{reason}");
    assert_eq!(output.success(), "22\n");
    assert_eq!(tier(&lab), "zstd");
}

#[test]
fn on_a_read_only_file_system_a_cold_image_is_a_miss_and_a_raw_one_a_hit() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can mount a file system read-only");
        return;
    }
    let lab = cold_lab();
    let raw = Lab::new(&pythons()[0], RECIPE);
    let read_only = |lab: &Lab| {
        let store = lab.store.to_str().unwrap().to_owned();
        let mut command = lab.pyrun();
        let mount = move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let mount = |arguments: &[&str]| {
                let status = Command::new("mount").args(arguments).status()?;
                status.success().then_some(()).ok_or_else(|| std::io::Error::other("mount"))
            };
            mount(&["--make-rprivate", "/"])?;
            mount(&["--bind", &store, &store])?;
            mount(&["-o", "remount,ro,bind", &store])
        };
        std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    if let Err(error) = mount() {
                        eprintln!("skipped: {error}");
                        return None;
                    }
                    Some(run(command.args(["-c", PROGRAM])))
                })
                .join()
                .unwrap()
        })
    };
    let Some(mut output) = read_only(&lab) else { return };
    let reason = output.take_miss().unwrap();
    assert!(reason.starts_with("the image is compressed: cannot open "), "{reason}");
    assert!(reason.contains("Read-only file system"), "{reason}");
    assert_eq!(output, plain(&lab));
    assert_eq!(tier(&lab), "zstd");
    assert_eq!(read_only(&raw).unwrap(), plain(&raw), "no miss is said");
}
