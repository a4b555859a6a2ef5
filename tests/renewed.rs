//! What no two runs may share differs in every run from an image; what its surroundings say is
//! as in plain Python; and the hooks run that exist for a process that was copied.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{IMAGE, Lab, Python, ground, pythons, run};

/// How often the program runs on the oldest Python, the newest and one between them;
/// `PYIMG_RENEWED_RUNS` asks for another number.
const RUNS: usize = 200;
/// ... and on the others.
const FEW_RUNS: usize = 20;

/// Makes generators while it is imported.
const KEPT: &str = include_str!("fixtures/renewed/kept.py");
/// Says one value of each source.
const PROGRAM: &str = include_str!("fixtures/renewed/program.py");

/// A directory with these files.
fn place(files: &[(&str, &str)]) -> PathBuf {
    let directory = ground().dir("place");
    for (name, text) in files {
        std::fs::write(directory.join(name), text).unwrap();
    }
    directory
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Does something with each of these Pythons, two at a time.
fn with_each(pythons: &[&Python], act: impl Fn(&Python) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(python) = pythons.get(next.fetch_add(1, Ordering::Relaxed)) {
                    act(python);
                }
            });
        }
    });
}

#[test]
fn nothing_random_is_repeated() {
    if !common::criu() {
        return;
    }
    let asked = std::env::var("PYIMG_RENEWED_RUNS").ok().map(|runs| runs.parse().unwrap());
    let often: Vec<&Python> = common::three_pythons();
    let mut all: Vec<&Python> = pythons().iter().collect();
    all.sort_by_key(|python| !often.contains(python));
    with_each(&all, |python| {
        let place = place(&[("kept.py", KEPT), ("program.py", PROGRAM)]);
        let program = place.join("program.py");
        let lab = Lab::with(python, &["--script", text(&program)]);
        let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let runs = if often.contains(&python) { asked.unwrap_or(RUNS) } else { FEW_RUNS };
        let before = lab.uses();
        for _ in 0..runs {
            let output = lab.hit(&[text(&program)]).success();
            for line in output.lines() {
                let (source, value) = line.split_once('\t').expect(line);
                values.entry(source.to_owned()).or_default().insert(value.to_owned());
            }
        }
        assert_eq!(lab.uses() - before, runs as u64);
        let repeated: Vec<_> = values.iter().filter(|(_, values)| values.len() < runs).collect();
        assert!(repeated.is_empty(), "{}: {repeated:#?}", python.label);
        assert!(values.len() > if python.numpy { 110 } else { 60 }, "{:?}", values.keys());
    });
}

#[test]
fn what_code_has_seeded_goes_on_as_in_plain_python() {
    if !common::criu() {
        return;
    }
    let module =
        "import random\nrandom.seed(5)\nrandom.gauss(0, 1)\nfrom random import random as draw\n";
    let program = "import kept, random, own\n\
        print(random.random(), random.gauss(0, 1), own.draw())\n\
        print(kept.SEEDED.random(), kept.RANDOM_STATE.random())\n\
        for name, generator in kept.SEEDED_NUMPY.items():\n    \
            print(name, generator.standard_normal(), generator.random(3))\n";
    with_each(&pythons().iter().collect::<Vec<_>>(), |python| {
        let files = [("kept.py", KEPT), ("own.py", module), ("program.py", program)];
        let program = place(&files).join("program.py");
        let lab = Lab::with(python, &["--script", text(&program)]);
        let ours = lab.hit(&[text(&program)]).success();
        assert_eq!(ours, run(lab.plain().arg(&program)).success(), "{}", python.label);
        // A grown image as well; there one of them is seeded by the system, and one is not.
        let more = "import random, kept, decimal\nrandom.seed()\nkept.RANDOMS['Random'].seed(5)";
        let built = lab.build(&["--from", IMAGE, "--name", "grown", more]);
        assert!(built.status.success(), "{}", built.stderr_text());
        let code = "import kept, random, decimal, numpy\n\
            print(kept.RANDOMS['Random'].random()); print(kept.SEEDED.random())\n\
            print(random.random()); print(kept.RANDOMS['subclass'].random())\n\
            for g in kept.GENERATORS.values(): print(g.random())";
        let code = if python.numpy { code.to_owned() } else { code.replace(", numpy", "") };
        // For the modules beside the first script.
        let script = program.with_file_name("second.py");
        std::fs::write(&script, code).unwrap();
        let runs = [(); 2].map(|()| lab.hit(&["--image", "grown", text(&script)]).success());
        let is_same = runs[0].lines().zip(runs[1].lines()).map(|(a, b)| a == b);
        let is_same: Vec<bool> = is_same.collect();
        assert_eq!(is_same[..2], [true; 2], "{}: {runs:?}", python.label);
        assert!(!is_same[2..].contains(&true), "{}: {runs:?}", python.label);
    });
}

#[test]
fn random_bytes_that_a_module_keeps_are_refused_however_they_are_drawn() {
    if !common::criu() {
        return;
    }
    let refused = [
        "import secrets\nK = secrets.token_hex()",
        "import secrets\nK = secrets.token_bytes(16)",
        "import secrets\nK = secrets.randbelow(1 << 60)",
        "import secrets\nK = secrets.randbits(128)",
        "import random\nK = random.SystemRandom().random()",
        "import uuid\nK = uuid.uuid4()",
        "import os\nK = os.urandom(8)",
        "import os, random\nK = random.Random(os.urandom(16))",
    ];
    with_each(&common::three_pythons(), |python| {
        let lab = Lab::new(python, "import random");
        for (number, text) in refused.iter().enumerate() {
            let name = format!("kept{number}");
            let place = place(&[(&format!("{name}.py"), text)]);
            let script = place.join("program.py");
            std::fs::write(&script, format!("import {name}")).unwrap();
            let built = lab.build(&["--name", "kept", "--script", self::text(&script)]);
            let error = built.stderr_text();
            let expected = format!("{name} has drawn random bytes while it was imported");
            assert!(built.code() == 1 && error.contains(&expected), "{text}: {error}");
        }
    });
}

/// Says which hooks have run, and what they have found.
const HOOKS: &str = "
import os, random, threading
import snapshot_restore_py as hooks
LOG = []
FOUND = []
R = random.Random()
def look(name):
    LOG.append(name)
    if name in ('child 1', 'restored 1'):
        current = threading.main_thread().native_id == os.getpid() == threading.get_native_id()
        FOUND.append((R.random(), current))
for n in '12':
    names = {'before': 'before ' + n, 'after_in_parent': 'parent ' + n, 'after_in_child': 'child ' + n}
    os.register_at_fork(**{k: lambda name=name: look(name) for k, name in names.items()})
    hooks.register_before_snapshot(look, 'snapshot ' + n)
    hooks.register_after_restore(look, name='restored ' + n)
";

/// Installs the package into a directory; false, having said so, if it cannot be had.
fn install_hooks(python: &Python, into: &Path) -> bool {
    let mut pip = std::process::Command::new(&python.path);
    pip.args(["-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check"]);
    let output = run(pip.arg("--target").arg(into).arg("snapshot-restore-py"));
    if !output.status.success() {
        println!("skipped: {}", output.stderr_text());
    }
    output.status.success()
}

#[test]
fn the_hooks_for_copied_processes_run() {
    if !common::criu() {
        return;
    }
    let shared = ground().dir("hooks");
    if !install_hooks(common::a_python(), &shared) {
        return;
    }
    let package = std::fs::read_to_string(shared.join("snapshot_restore_py.py")).unwrap();
    let program = "import hooked\nprint(','.join(hooked.LOG))\nprint(hooked.FOUND)\n";
    with_each(&common::three_pythons(), |python| {
        let base = [("snapshot_restore_py.py", &*package), ("hooked.py", HOOKS)];
        let files = [&base[..], &[("program.py", program)]].concat();
        let script = place(&files).join("program.py");
        let lab = Lab::with(python, &["--script", text(&script)]);
        let said = [(); 2].map(|()| lab.hit(&[text(&script)]).success());
        let snapshot = "snapshot 2,snapshot 1";
        let waking = "before 2,before 1,child 1,child 2,restored 1,restored 2";
        assert_eq!(said[0].lines().next(), Some(&*format!("{snapshot},{waking}")));
        assert_ne!(said[0].lines().nth(1), said[1].lines().nth(1), "{}", python.label);
        assert!(!said[0].contains("False"), "{said:?}");
        let built = lab.build(&["--from", IMAGE, "--name", "grown", "import decimal"]);
        assert!(built.status.success(), "{}", built.stderr_text());
        let grown = lab.hit(&["--image", "grown", text(&script)]).success();
        let growing = "restored 1,restored 2";
        let expected = format!("{snapshot},{growing},{snapshot},{waking}");
        assert_eq!(grown.lines().next(), Some(&*expected), "{}", python.label);
        // What they raise, and what they end.
        let broken = |hook: &str| {
            let module = format!("import snapshot_restore_py as hooks\n{hook}\n");
            let files =
                [&base[..], &[("broken.py", &module), ("program.py", "import broken\nprint(1)")]];
            place(&files.concat()).join("program.py")
        };
        let script = broken("@hooks.register_before_snapshot\ndef fails(): 1 / 0");
        let built = lab.build(&["--name", "broken", "--script", text(&script)]);
        let error = built.stderr_text();
        assert!(error.contains("in fails") && error.contains("ZeroDivisionError"), "{error}");
        assert!(!error.contains("<pyimg>") && built.code() == 1, "{error}");
        let script = broken("@hooks.register_after_restore\ndef fails(): raise ValueError('no')");
        let built = lab.build(&["--name", "broken", "--script", text(&script)]);
        assert!(built.status.success(), "{}", built.stderr_text());
        let before = lab.uses();
        for engine in ["criu", "direct"] {
            let mut command = lab.pyrun_by(engine);
            command.args(["--image", "broken", text(&script)]);
            let mut output = run(&mut command);
            // Who has become the program becomes plain Python then, but has begun as a hit.
            assert_eq!(lab.uses() - before, u64::from(engine == "direct"), "{output:?}");
            let reason = output.take_miss().unwrap();
            assert!(reason.contains("a hook after restoring: no"), "{engine}: {reason}");
            assert_eq!(output, run(lab.plain().arg(&script)));
            assert_eq!(output.success(), "1\n");
        }
        let ends = "import threading\nE = threading.Event()\nT = threading.Thread(target=E.wait)\nT.start()\n\
            @hooks.register_before_snapshot\ndef end(): E.set(); T.join()";
        let built = lab.build(&["--name", "ended", "--script", text(&broken(ends))]);
        assert!(built.status.success(), "{}", built.stderr_text());
    });
}
