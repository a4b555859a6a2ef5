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
