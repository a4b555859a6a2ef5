//! The process is killed at each named place: in the steps of [`crate::steps`], and with
//! real images.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use pyimg::store::FAULT_POINTS;

use crate::common::{self, Lab, eventually, processes_of};
use crate::power::{Done, history};
use crate::{in_parallel, scratch, steps, store_in};

#[test]
fn each_step_is_killed_at_every_named_place() {
    if no_points() {
        return;
    }
    let reached = Mutex::new(BTreeSet::new());
    let cases: Vec<_> = history()
        .iter()
        .flat_map(|done| FAULT_POINTS.iter().map(move |point| (done, *point)))
        .collect();
    in_parallel(&cases, |(done, point)| {
        let mut times = 1;
        while step_killed_at(done, &format!("{point}:{times}")) {
            reached.lock().unwrap().insert(*point);
            times += 1;
        }
    });
    assert_eq!(reached.into_inner().unwrap(), FAULT_POINTS.iter().copied().collect());
}

/// Whether the step comes to that place.
fn step_killed_at(done: &Done, fault: &str) -> bool {
    let directory = scratch();
    done.tree_before.write(directory.path());
    let output = common::run(steps::command(done.step, directory.path()).env("PYIMG_FAULT", fault));
    if output.code() == 0 {
        return false;
    }
    assert_eq!(output.code(), -9, "{}, {fault}: {output:?}", done.step.name);
    let store = store_in(directory.path());
    let wrong = |error: String| -> String { panic!("{}, {fault}: {error}", done.step.name) };
    steps::check(&store, &[&done.before, &done.after]).map_err(wrong).unwrap();
    steps::do_again(&store, done.step, &done.after).map_err(wrong).unwrap();
    true
}

fn no_points() -> bool {
    let none = !cfg!(debug_assertions);
    if none {
        println!("skipped: there are no fault points in a release build");
    }
    none
}

// ---- With real images ----

/// How points whose names begin alike are reached.
struct Scenario {
    points: &'static [&'static str],
    /// What the store must be made to be first.
    prepare: fn(&Lab),
    command: &'static [&'static str],
    /// Images that stay.
    kept: &'static [&'static str],
    /// Whether nothing may be wrong before the command has succeeded.
    sound: bool,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        points: &["build-"],
        prepare: |_| (),
        command: &["build", "--name", "new", "--python", PYTHON, "import json, bisect"],
        kept: &["one", "two"],
        sound: true,
    },
    Scenario {
        points: &["gc-"],
        prepare: |lab| {
            // Of the first, a library is in the second: that is all that is left of its pack.
            lab.build(&["--name", "big", "import json, asyncio, unittest, sqlite3"]).success();
            lab.build(&["--name", "small", "import json, sqlite3"]).success();
            pyimg(lab, &["rm", "big"]);
            pyimg(lab, &["pin", "one"]);
            pyimg(lab, &["pin", "small"]);
        },
        command: &["gc", "--unused-for", "0s"],
        kept: &["one", "small"],
        sound: true,
    },
    Scenario {
        points: &["freeze-"],
        prepare: |_| (),
        command: &["gc", "--cold-after", "0s"],
        kept: &["one", "two"],
        sound: true,
    },
    Scenario {
        points: &["thaw-"],
        prepare: |lab| drop(pyimg(lab, &["gc", "--cold-after", "0s"])),
        command: &[PYRUN, "--image", "two", "-c", "import json, decimal"],
        kept: &["one", "two"],
        sound: true,
    },
    Scenario {
        points: &["runs-"],
        prepare: |lab| drop(lab.hit(&["--image", "two", "-c", "import json, decimal"])),
        command: &["stats", "--reset"],
        kept: &["one", "two"],
        sound: true,
    },
    Scenario {
        points: &["repair-index-", "repair-copy-"],
        prepare: |lab| fs::write(lab.store.join("index.sqlite"), "hello").unwrap(),
        command: &["verify", "--repair"],
        kept: &["one", "two"],
        sound: false,
    },
    Scenario {
        points: &["repair-"],
        prepare: |lab| {
            fs::remove_file(directory_of(lab, "two").join("files.img")).unwrap();
            fs::remove_file(lab.store.join("runs.lock")).unwrap();
            fs::set_permissions(lab.store.join("packs"), Permissions::from_mode(0o755)).unwrap();
            let written = std::time::UNIX_EPOCH;
            for entry in fs::read_dir(lab.store.join("packs")).unwrap() {
                let file = File::options().write(true).open(entry.unwrap().path()).unwrap();
                file.set_modified(written).unwrap();
            }
        },
        command: &["verify", "--repair"],
        kept: &["one"],
        sound: false,
    },
];

/// Stands for the interpreter of the lab.
const PYTHON: &str = "PYTHON";
/// In front: it is not a command of `pyimg`, but a run.
const PYRUN: &str = "pyrun";

fn pyimg(lab: &Lab, arguments: &[&str]) -> String {
    common::run(&mut command(lab, arguments)).success()
}

fn command(lab: &Lab, arguments: &[&str]) -> Command {
    let (mut command, arguments) = match arguments {
        [PYRUN, arguments @ ..] => (lab.pyrun(), arguments),
        arguments => (common::pyimg(&lab.store), arguments),
    };
    for argument in arguments {
        match *argument {
            PYTHON => command.arg(&lab.python.path),
            argument => command.arg(argument),
        };
    }
    command
}

fn directory_of(lab: &Lab, name: &str) -> PathBuf {
    let shown: serde_json::Value =
        serde_json::from_str(&pyimg(lab, &["show", name, "--json"])).unwrap();
    shown["directory"].as_str().unwrap().into()
}

/// A store with two images, to be copied.
fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let lab = Lab::with(common::a_python(), &["--name", "one", "import json"]);
        lab.build(&["--name", "two", "import json, decimal"]).success();
        lab
    })
}

#[test]
fn killed_at_every_named_place() {
    if no_points() || !common::criu() {
        return;
    }
    lab();
    in_parallel(FAULT_POINTS, |point| {
        let leads_there = |scenario: &&Scenario| {
            scenario.points.iter().any(|beginning| point.starts_with(beginning))
        };
        let scenario = SCENARIOS.iter().find(leads_there);
        killed_at(point, scenario.unwrap_or_else(|| panic!("{point} is never tried")));
    });
}

fn killed_at(point: &str, scenario: &Scenario) {
    let lab = lab().copy();
    (scenario.prepare)(&lab);
    let output = common::run(command(&lab, scenario.command).env("PYIMG_FAULT", point));
    assert_eq!(output.code(), -9, "{point} was not reached: {output:?}");
    assert!(eventually(|| processes_of(&lab.store).is_empty()), "{:?}", processes_of(&lab.store));
    let check = |time: &str| {
        assert_eq!(lab.obstacle(), None, "{point}, {time}");
        let names = lab.names();
        let kept = scenario.kept.iter().all(|kept| names.iter().any(|name| name == kept));
        assert!(kept, "{point}, {time}: there is {names:?}");
    };
    if scenario.sound {
        check("killed");
    }
    common::run(&mut command(&lab, scenario.command)).success();
    check("done");
}
