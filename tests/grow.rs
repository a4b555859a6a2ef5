//! `pyimg build --from IMAGE`: a grown image is as good as one that was built at once.

mod common;

use std::fs::{self, File};
use std::path::Path;

use common::{IMAGE, Lab, PATIENCE, eventually, ground, labs, processes_of, pyimg, run, run_while};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

/// The name of a grown image.
const GROWN: &str = "grown";

/// Grows the lab's image by this.
#[track_caller]
fn grow(lab: &Lab, more: &[&str]) {
    let built = lab.build(&[&["--from", IMAGE, "--name", GROWN], more].concat());
    assert!(built.status.success(), "{}: {}", lab.python.label, built.stderr_text());
}

fn json(lab: &Lab, arguments: &[&str]) -> Value {
    serde_json::from_str(&run(pyimg(&lab.store).args(arguments)).success()).unwrap()
}

fn images(lab: &Lab) -> Vec<String> {
    let listed = json(lab, &["ls", "--json"]);
    let rows = listed["images"].as_array().unwrap();
    rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

/// That a build has left nothing but the lab's own image.
#[track_caller]
fn nothing_is_left(lab: &Lab, packs: usize) {
    assert_eq!(images(lab), [IMAGE]);
    assert!(eventually(|| processes_of(&lab.store).is_empty()), "{:?}", processes_of(&lab.store));
    for (directory, count) in [("tmp", 0), ("images", 1), ("packs", packs)] {
        assert_eq!(entries(&lab.store.join(directory)), count, "in {directory}");
    }
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).into_iter().flatten().count()
}

/// Runs the program from the grown image and with plain Python.
#[track_caller]
fn same(lab: &Lab, program: &str) {
    let plain = run(lab.plain().args(["-c", program]));
    let hit = lab.hit(&["--image", GROWN, "-c", program]);
    assert_eq!(hit, plain, "{}: {program}", lab.python.label);
}

const PARENT: &str = "import json, threading, logging, random, tempfile\n\
    import concurrent.futures, os\n\
    class Base:\n    names = ['parent']\njson.Base = Base";
const MORE: &str = "import decimal, uuid, csv, json, multiprocessing, ctypes, warnings\n\
    class Derived(json.Base):\n    pass\n\
    json.Base.names.append('grown')\njson.Derived = Derived";

#[test]
fn a_grown_image_runs_as_plain_python() {
    if !common::criu() {
        return;
    }
    let pythons = common::pythons().iter().collect();
    let both = format!(
        "{PARENT}\nDerived = type('Derived', (Base,), {{}}); json.Derived = Derived\nimport decimal, uuid, csv, multiprocessing, ctypes, warnings\nBase.names.append('grown')"
    );
    for lab in labs(pythons, PARENT) {
        grow(&lab, &[MORE]);
        // Of several images the one that covers most is taken without being named.
        let program = "import json, decimal, csv, sys; print(hasattr(json, 'Derived'))";
        assert_eq!(lab.hit(&["-c", program]).success(), "True\n");
        assert_eq!(
            lab.hit(&["-c", "import json; print('csv' in __import__('sys').modules)"]).success(),
            "False\n"
        );

        let held = "import json, gc, sys, threading, weakref\n\
            print(json.Base.names, issubclass(json.Derived, json.Base), json.Base.__subclasses__())\n\
            class Cycle: pass\nc = Cycle(); c.me = c; w = weakref.ref(c); del c\n\
            print(gc.collect() > 0, w(), threading.active_count(), gc.isenabled())\n\
            print(sys.path[0], sys.argv, sorted(set(sys.orig_argv[1:2])) if hasattr(sys, 'orig_argv') else 0)";
        let with = |program: &str| format!("{both}\n{program}");
        let plain = run(lab.plain().args(["-c", &with(held)])).success();
        let hit = lab.hit(&["--image", GROWN, "-c", held]).success();
        assert_eq!(hit.replace("__main__.", ""), plain.replace("__main__.", ""));

        for program in [
            "import decimal, csv, json\nraise ValueError(json.dumps([str(decimal.Decimal('1.5'))]))",
            "import atexit, json, threading\natexit.register(print, 'at exit')\n\
             threading.Thread(target=print, args=('thread',)).start()",
            "import os, csv\npid = os.fork()\nprint('child' if pid == 0 else os.waitpid(pid, 0)[1], flush=True)",
            "import subprocess, csv, sys\nprint(subprocess.run([sys.executable, '-c', 'print(1)'], stdout=-1).stdout)",
            "import concurrent.futures as f, decimal\n\
             with f.ThreadPoolExecutor(2) as pool: print(sum(pool.map(int, '123')))",
            "import logging, csv, warnings\nlogging.warning('w'); warnings.warn('x'); import sys; sys.exit(7)",
            "import json\njson.loads('{')",
            "import ctypes, csv; print(ctypes.pythonapi is not None, ctypes.sizeof(ctypes.c_int))",
            "import signal, os, csv; os.kill(os.getpid(), signal.SIGTERM)",
            "import csv\nclass D:\n    def __del__(self): print('finished')\nd = D()",
            "import multiprocessing as m, csv\nif __name__ == '__main__':\n    \
             p = m.get_context('fork').Process(target=print, args=('in a process',)); p.start(); p.join(); print(p.exitcode)",
            "import os, csv, threading\nprint(os.environ.get('LANG'), os.getcwd(), sorted(os.environ), os.umask(0))\n\
             print(threading.main_thread().native_id == os.getpid())",
        ] {
            same(&lab, program);
        }
    }
}

#[test]
fn numpy_and_its_threads_live_on() {
    if !common::criu() {
        return;
    }
    let pythons = common::pythons().iter().filter(|python| python.numpy).collect();
    for lab in labs(pythons, "import numpy") {
        grow(
            &lab,
            &[
                "import numpy.fft, decimal; a = numpy.arange(300000.).reshape(500, 600); numpy.kept = a",
            ],
        );
        let program = "import numpy, decimal, os\n\
            print(float((numpy.ones((400, 400)) @ numpy.ones((400, 400))).sum()))\n\
            numpy.linalg.inv(numpy.eye(300)); print(len(os.listdir('/proc/self/task')))\n\
            print(numpy.fft.fft([1, 0, 0, 0]).tolist())";
        same(&lab, program);
        let kept = "import numpy, decimal; numpy.kept[3] += 1; print(float(numpy.kept.sum()), numpy.kept.resize)";
        assert!(lab.hit(&["--image", GROWN, "-c", kept]).success().starts_with("44999850600.0 "));

        // What must differ from run to run does, and what was seeded does not.
        let random = "import numpy, random, decimal; r = numpy.random\n\
            print(r.random(), r.default_rng().random(), random.random())";
        let runs: Vec<String> =
            (0..3).map(|_| lab.hit(&["--image", GROWN, "-c", random]).success()).collect();
        let numbers: std::collections::BTreeSet<&str> =
            runs.iter().flat_map(|run| run.split_whitespace()).collect();
        assert_eq!(numbers.len(), 9, "{runs:?}");
        let built = lab.build(&["--from", GROWN, "--name", "seeded", "numpy.random.seed(5)"]);
        assert_eq!(built.code(), 1, "the names of a recipe are its own");
        let built =
            lab.build(&["--from", GROWN, "--name", "seeded", "import numpy; numpy.random.seed(5)"]);
        assert!(built.status.success(), "{}", built.stderr_text());
        let random = "import numpy, decimal; print(numpy.random.random())";
        let seeded = lab.hit(&["--image", "seeded", "-c", random]).success();
        let plain = "import numpy; numpy.random.seed(5); print(numpy.random.random())";
        assert_eq!(seeded, run(lab.plain().args(["-c", plain])).success());
        assert_eq!(seeded, lab.hit(&["--image", "seeded", "-c", random]).success());
    }
}

#[test]
fn what_is_private_to_a_run_differs() {
    if !common::criu() {
        return;
    }
    for lab in labs(common::three_pythons(), "import random, tempfile, uuid") {
        grow(&lab, &["import multiprocessing, secrets, ssl, csv, random; random.random()"]);
        let program = "import random, tempfile, uuid, csv, multiprocessing, secrets, ssl\n\
            print(random.random(), next(tempfile._get_candidate_names()), uuid.uuid4(), uuid.uuid1(),\n\
            multiprocessing.current_process().authkey.hex(), secrets.token_hex(), ssl.RAND_bytes(9).hex())";
        let runs: Vec<String> =
            (0..3).map(|_| lab.hit(&["--image", GROWN, "-c", program]).success()).collect();
        let words: std::collections::BTreeSet<&str> =
            runs.iter().flat_map(|run| run.split_whitespace()).collect();
        assert_eq!(words.len(), 21, "{runs:?}");
    }
}

#[test]
fn the_recipe_runs_as_in_a_plain_build() {
    if !common::criu() {
        return;
    }
    let recipe = "import os, sys, csv, threading, signal\n\
        print(os.getcwd(), os.environ['OWN'], sys.argv, sys.path[0], sys.stdout.isatty(), sys.stdout.line_buffering)\n\
        print(len(os.listdir('/proc/self/fd')), os.umask(0o22), __name__, sorted(globals()))\n\
        print(sys.orig_argv[1:] if hasattr(sys, 'orig_argv') else '', 'PYTHONHASHSEED' in os.environ)\n\
        print(threading.main_thread().native_id == os.getpid(), signal.getsignal(2), sorted(os.environ))\n\
        print(signal.pthread_sigmask(signal.SIG_BLOCK, []), hash('x') == os.hash_of_x)\n\
        sys.stderr.write('err\\n'); sys.stdout.write('no newline')";
    for lab in labs(common::three_pythons(), "import os; os.hash_of_x = hash('x')") {
        let place = ground().fixed("where the build is").canonicalize().unwrap();
        let build = |arguments: &[&str]| {
            let mut command = pyimg(&lab.store);
            command.arg("build").arg("--python").arg(&lab.python.path).args(arguments);
            run(command.current_dir(&place).env("OWN", "mine").env("TZ", "Asia/Tokyo"))
        };
        let hash = "import os; os.hash_of_x = hash('x')\n".to_owned();
        let whole = build(&["--name", "whole", &(hash + recipe)]);
        let grown = build(&["--name", "telling", "--from", IMAGE, recipe]);
        // But for what names the code itself.
        let normal = |text: String| {
            text.replace("import os; os.hash_of_x = hash(\\'x\\')\\n", "")
                .replace("import os; os.hash_of_x = hash('x')\\n", "")
        };
        assert_eq!(
            normal(grown.stdout_text()),
            normal(whole.stdout_text()),
            "{}",
            lab.python.label
        );
        assert!(grown.stdout.ends_with(b"no newline"), "{}", grown.stdout_text());
        let lines: Vec<String> = grown.stderr_text().lines().map(str::to_owned).collect();
        assert!(
            lines[0] == "err" && lines[1].starts_with("built telling: ") && lines.len() == 2,
            "{lines:?}"
        );

        // The program's surroundings are its own again, unless the recipe has looked at them.
        let miss = run(lab.pyrun().args(["--image", "telling", "-c", "import csv"]));
        assert!(miss.stderr_text().starts_with("pyrun: miss: the variable "), "{miss:?}");
        build(&["--name", GROWN, "--from", IMAGE, "import csv, time, os"]);
        same(
            &lab,
            "import csv, time, os; print(time.tzname, os.environ.get('OWN'), os.getcwd(), os.umask(0))",
        );
    }
}

#[test]
fn a_module_or_a_script_makes_it_grow_as_well() {
    if !common::criu() {
        return;
    }
    let place = ground().dir("program");
    fs::write(place.join("beside.py"), "print('beside is imported')\n").unwrap();
    fs::write(place.join("program.py"), "import csv, beside\nprint('the program runs')\n").unwrap();
    let script = place.join("program.py");
    let script = script.to_str().unwrap();
    for lab in labs(common::three_pythons(), "import json") {
        let built = lab.build(&["--from", IMAGE, "--name", GROWN, "--script", script]);
        assert_eq!(built.success(), "beside is imported\n");
        assert_eq!(lab.hit(&["--image", GROWN, script]).success(), "the program runs\n");
        let built =
            lab.build(&["--from", GROWN, "--name", "tools", "-m", "json.tool", "-m", "timeit"]);
        assert_eq!(built.success(), "");
        let loaded = "import sys, json; print('beside' in sys.modules, 'argparse' in sys.modules, 'timeit' in sys.modules)";
        // In the directory of `beside`: elsewhere a program would not find it.
        let mut command = lab.pyrun();
        command.args(["--image", "tools", "-c", loaded]).current_dir(&place);
        let before = lab.uses();
        assert_eq!(run(&mut command).success(), "True True False\n");
        assert_eq!(lab.uses(), before + 1);
        let (reason, _) = lab.miss(&["--image", "tools", "-c", loaded]);
        assert_eq!(reason, format!("beside of the image is from {}", place.display()));
        let shown = json(&lab, &["show", "tools", "--json"]);
        assert_eq!(
            shown["recipe"],
            format!("import json; --script {script}; -m json.tool -m timeit")
        );
        assert_eq!(shown["grown_from"], format!("import json; --script {script}"));

        // The grown one depends on what its parent depended on.
        fs::write(place.join("beside.py"), "print('changed')\n").unwrap();
        let (reason, _) = lab.miss_of(&mut command);
        assert!(reason.contains("beside.py"), "{reason}");
        fs::write(place.join("beside.py"), "print('beside is imported')\n").unwrap();
    }
}

#[test]
fn a_failing_recipe_is_pythons_own_traceback() {
    if !common::criu() {
        return;
    }
    for lab in labs(
        common::three_pythons(),
        "import json, logging, atexit; atexit.register(print, 'the end')",
    ) {
        let packs = entries(&lab.store.join("packs"));
        for recipe in [
            "1/0",
            "import csv\ndef f():\n    raise ValueError('x')\nf()",
            "import no_such_module",
            "compile('def f(:', '<string>', 'exec')",
            "raise KeyboardInterrupt",
            "import os; os._exit(0)",
            "import os; os.abort()",
            "import sys; sys.exit(3)",
        ] {
            let whole = lab.build(&[
                "--name",
                "x",
                &format!("import atexit; atexit.register(print, 'the end')\n{recipe}"),
            ]);
            let grown = lab.build(&["--name", "x", "--from", IMAGE, recipe]);
            assert_eq!((grown.code(), &grown.stdout), (1, &whole.stdout), "{recipe}");
            // The same but for the number of the line, and the line above it.
            let text = |text: String| {
                let lines =
                    text.lines().map(|line| line.split(", line ").next().unwrap().to_owned());
                lines.collect::<Vec<_>>()
            };
            assert_eq!(text(grown.stderr_text()), text(whole.stderr_text()), "{recipe}");
            nothing_is_left(&lab, packs);
        }
        let built = lab.build(&["--name", "x", "--from", IMAGE, "def f(:\n    pass"]);
        assert!(built.stderr_text().contains("SyntaxError: "), "{}", built.stderr_text());
        nothing_is_left(&lab, packs);
    }
}

#[test]
fn what_cannot_be_kept_is_refused_by_name() {
    if !common::criu() {
        return;
    }
    let lab = Lab::new(common::a_python(), "import json");
    let packs = entries(&lab.store.join("packs"));
    let thread = "import threading, time\nthreading.Thread(target=time.sleep, args=(5,), daemon=True, name='the poller').start()";
    for (recipe, named) in [
        (
            thread,
            "error: no image can be made of this process: the Python thread 'the poller' is running",
        ),
        (
            "import socket; socket.s = socket.socket(); socket.s.bind(('127.0.0.1', 0)); socket.s.listen()",
            "error: an image cannot hold a socket (descriptor ",
        ),
        (
            "import socket; socket.a, socket.b = socket.socketpair()",
            "error: an image cannot hold a socket (descriptor ",
        ),
        (
            "import subprocess; p = subprocess.Popen(['sleep', '2'])",
            "error: an image cannot hold a child process: sleep (pid ",
        ),
        (
            "import fcntl; f = fcntl.f = open('/proc/self/exe'); fcntl.flock(f, fcntl.LOCK_SH)",
            "error: an image cannot hold a lock on a file",
        ),
        (
            "import sys; sys.settrace(print)",
            "error: no image can be made of this process: a trace or profile function is set",
        ),
    ] {
        let built = lab.build(&["--from", IMAGE, "--name", GROWN, recipe]);
        let said = built.stderr_text();
        assert_eq!(built.code(), 1, "{recipe}: {said}");
        assert!(said.contains("error: ") && said.contains(named), "{said}");
        assert!(said.contains("hint: ") && said.contains("out of the recipe\n"), "{said}");
        nothing_is_left(&lab, packs);
    }
}

#[test]
fn a_build_that_is_ended_leaves_nothing() {
    if !common::criu() {
        return;
    }
    let lab = Lab::new(common::a_python(), "import json");
    let packs = entries(&lab.store.join("packs"));
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let there = ground().no_file("there");
        let recipe = format!(
            "import time; open({there:?}, 'w').close(); time.sleep({})",
            PATIENCE.as_secs()
        );
        let mut command = pyimg(&lab.store);
        command.args(["build", "--from", IMAGE, "--name", GROWN, &recipe]);
        let output = run_while(&mut command, |pid| {
            assert!(eventually(|| there.exists()));
            kill(pid, signal).unwrap();
        });
        assert!(!output.status.success());
        if signal != Signal::SIGKILL {
            let said = output.stderr_text();
            assert!(said.ends_with("error: interrupted; nothing was stored\n"), "{said}");
        }
        nothing_is_left(&lab, packs);
    }
}

#[test]
fn an_image_that_does_not_fit_cannot_grow() {
    if !common::criu() {
        return;
    }
    let place = ground().dir("program");
    fs::write(place.join("beside.py"), "\n").unwrap();
    fs::write(place.join("program.py"), "import beside\n").unwrap();
    let script = place.join("program.py");
    let python = common::a_python();
    let lab = Lab::with(python, &["--script", script.to_str().unwrap(), "--", "-X", "utf8"]);
    let from = |arguments: &[&str]| {
        let mut command = pyimg(&lab.store);
        command.args(["build", "--from", IMAGE, "import csv"]).args(arguments);
        command
    };
    let refused = |mut command: std::process::Command, code: i32, error: &str, hint: &str| {
        let output = run(&mut command);
        let said = output.stderr_text();
        assert_eq!(output.code(), code, "{said}");
        assert!(said.contains(&format!("error: {error}")), "{said}");
        assert!(said.contains(&format!("hint: {hint}")), "{said}");
    };
    let own = python.path.display();
    let other = ground().dir("other").join("python3");
    std::os::unix::fs::symlink(&python.path, &other).unwrap();
    refused(
        from(&["--python", other.to_str().unwrap()]),
        2,
        &format!("the image \"image\" is of {own}, not of {}", other.display()),
        "leave --python out, or build without --from",
    );
    refused(
        from(&["--", "-O"]),
        2,
        "the interpreter of the image \"image\" was started -Xutf8, and is not started anew",
        "leave the flags out, or build without --from",
    );
    let mut command = from(&[]);
    command.env("PYTHONOPTIMIZE", "1");
    let rebuild = "build image again with --force, from what `pyimg show image` names, then this";
    refused(
        command,
        2,
        "PYTHONOPTIMIZE is not as it was when the image \"image\" was built",
        &format!("give it the value that `pyimg show image` names, or {rebuild}"),
    );
    let mut unknown = pyimg(&lab.store);
    unknown.args(["build", "--from", "imagine", "import csv"]);
    refused(unknown, 1, "there is no image \"imagine\"", "is it \"image\"?");

    // The same flags and interpreter are no contradiction.
    let mut fits = from(&["--name", GROWN, "--json"]);
    fits.arg("--python").arg(&python.path).args(["--", "-Xutf8"]);
    let built: Value = serde_json::from_str(&run(&mut fits).success()).unwrap();
    assert_eq!((&built["built"], &built["image"]["name"]), (&true.into(), &GROWN.into()));

    fs::write(place.join("beside.py"), "changed = 1\n").unwrap();
    refused(
        from(&["--force"]),
        1,
        &format!(
            "the image \"image\" cannot grow: {} has changed since it was built",
            place.join("beside.py").display()
        ),
        rebuild,
    );
    // And neither is the grown one there as it was.
    let mut command = lab.pyrun();
    command.args(["--image", GROWN, "-X", "utf8", "-c", "import csv"]).current_dir(&place);
    let (reason, _) = lab.miss_of(&mut command);
    assert!(reason.contains("beside.py"), "{reason}");
}

#[test]
fn a_chain_of_three_stands_without_its_parents() {
    if !common::criu() {
        return;
    }
    for lab in labs(common::three_pythons(), "import json, threading") {
        let build = |from: &str, name: &str, recipe: &str| {
            let built = lab.build(&["--from", from, "--name", name, "--json", recipe]);
            serde_json::from_str::<Value>(&built.success()).unwrap()
        };
        let second = build(IMAGE, "second", "import decimal, logging, random");
        let third = build("second", "third", "import csv, concurrent.futures, uuid");
        let time = |built: &Value| built["image"]["import_ns"].as_u64().unwrap();
        assert!(time(&third) > time(&second), "what a hit saves is all of it");
        assert_eq!(
            third["image"]["recipe"],
            "import json, threading; import decimal, logging, random; import csv, concurrent.futures, uuid"
        );
        let size = |built: &Value, what: &str| built["image"][what].as_u64().unwrap();
        assert!(size(&third, "new_bytes") < size(&third, "size_bytes") / 2, "it shares");
        let modules = third["image"]["modules"].as_array().unwrap();
        for module in ["json", "decimal", "csv", "uuid"] {
            assert!(modules.contains(&module.into()), "{module} of {modules:?}");
        }

        // The same again is the same image.
        let again = build("second", "third", "import csv, concurrent.futures, uuid");
        assert_eq!(
            (&again["built"], &again["image"]["key"]),
            (&false.into(), &third["image"]["key"])
        );
        let forced = lab.build(&[
            "--from",
            "second",
            "--name",
            "third",
            "--json",
            "--force",
            "import csv, concurrent.futures, uuid",
        ]);
        let forced: Value = serde_json::from_str(&forced.success()).unwrap();
        assert_eq!(
            (&forced["built"], &forced["image"]["key"]),
            (&true.into(), &third["image"]["key"])
        );
        // One recipe that reads the same is another image.
        let whole =
            lab.build(&["--name", "whole", "--json", third["image"]["recipe"].as_str().unwrap()]);
        let whole: Value = serde_json::from_str(&whole.success()).unwrap();
        assert_ne!(whole["image"]["key"], third["image"]["key"]);

        run(pyimg(&lab.store).args(["rm", IMAGE, "second", "whole"])).success();
        assert_eq!(images(&lab), ["third"]);
        let program = "import json, decimal, csv, sys, concurrent.futures, threading, uuid, random, logging\n\
            print(json.dumps(1), decimal.Decimal(1) / 3, threading.active_count())\n\
            with concurrent.futures.ThreadPoolExecutor(2) as pool: print(list(pool.map(abs, [-1, 2])))\n\
            logging.error('x'); raise LookupError('end')";
        let plain = run(lab.plain().args(["-c", program]));
        assert_eq!(lab.hit(&["-c", program]), plain, "{}", lab.python.label);
        // Also what was removed meanwhile can be grown from what is left.
        let fourth = build("third", "fourth", "import html");
        assert_eq!(fourth["built"], true);
        assert_eq!(lab.hit(&["--image", "fourth", "-c", program]), plain);
    }
}

#[test]
fn large_memory_of_the_parent_may_still_grow() {
    if !common::criu() {
        return;
    }
    // glibc moves and grows chunks that it has from mmap; pages of one may lie in packs.
    for lab in labs(
        common::three_pythons(),
        "import json; json.big = bytearray(b'x' * 900_000); json.list = list(range(300_000))",
    ) {
        grow(
            &lab,
            &[
                "import json; json.big += b'y' * 900_000; json.list.append(1); json.more = bytearray(b'z' * 700_000)",
            ],
        );
        let program = "import json; json.big += b'x' * 5_000_000; json.more += b'z' * 3_000_000\n\
            json.list.extend(range(500_000)); print(len(json.big), json.big.count(b'x'), json.big.count(b'y'))\n\
            print(len(json.more), json.more.count(b'z'), sum(json.list), json.big.count(0))";
        let expected = "6800000 5900000 900000\n3700000 3700000 169999600001 0\n";
        assert_eq!(lab.hit(&["--image", GROWN, "-c", program]).success(), expected);
    }
}

#[test]
fn standard_input_is_not_read_by_growing() {
    if !common::criu() {
        return;
    }
    let lab = Lab::new(common::a_python(), "import json");
    let input = ground().no_file("input");
    fs::write(&input, "line\n").unwrap();
    let mut command = pyimg(&lab.store);
    command.args(["build", "--from", IMAGE, "--name", GROWN, "import csv; print(input())"]);
    let built = run(command.stdin(File::open(&input).unwrap()));
    assert_eq!(built.success(), "line\n");
    let mut program = lab.pyrun();
    program.args(["--image", GROWN, "-c", "import csv; print(input(), 2)"]);
    assert_eq!(run(program.stdin(File::open(&input).unwrap())).success(), "line 2\n");
}
