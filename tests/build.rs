//! `pyimg build` behaves as Python running just that line, and refuses what cannot be kept.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{IMAGE, Lab, Output, eventually, ground, labs, processes_of, pyimg, run, run_while};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A store without images, of one Python.
fn empty() -> Lab {
    Lab {
        python: common::a_python().clone(),
        store: ground().no_file("store"),
        turn: Default::default(),
    }
}

/// The names of the images of a store.
fn images(store: &Path) -> Vec<String> {
    let listed = run(pyimg(store).args(["ls", "--json"])).success();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let rows =
        listed.as_array().cloned().unwrap_or_else(|| listed["images"].as_array().unwrap().clone());
    rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

/// That a build has failed and left nothing: no image, no process, no file.
#[track_caller]
fn nothing_is_left(lab: &Lab) {
    assert_eq!(images(&lab.store), [""; 0]);
    assert!(eventually(|| processes_of(&lab.store).is_empty()), "{:?}", processes_of(&lab.store));
    for directory in ["tmp", "images", "packs"] {
        let entries = fs::read_dir(lab.store.join(directory)).into_iter().flatten();
        assert_eq!(entries.count(), 0, "something in {directory}");
    }
}

#[test]
fn output_passes_through() {
    if !common::criu() {
        return;
    }
    let lab = empty();
    let code = "import json, sys; print('out'); sys.stderr.write('err\\n'); sys.stdout.write('no newline')";
    let built = lab.build(&[code]);
    assert_eq!(built.stdout_text(), "out\nno newline");
    let mut lines = built.stderr.split_inclusive(|&byte| byte == b'\n');
    assert_eq!(lines.next().unwrap(), b"err\n");
    let note = String::from_utf8_lossy(lines.next().unwrap());
    assert!(note.starts_with("built image: "), "{note}");
    assert_eq!(lines.next(), None);
    // What was printed at the build does not come again.
    assert_eq!(lab.hit(&["-c", "import json; print(1)"]).stdout_text(), "1\n");
    assert_eq!(lab.hit(&["--image", IMAGE, "-c", "pass"]).stdout_text(), "");
}

#[test]
fn a_failing_recipe_is_pythons_own_traceback() {
    if !common::criu() {
        return;
    }
    let script = ground().dir("script").join("fails.py");
    fs::write(&script, "import json\nimport no_such_module\n").unwrap();
    let script = script.to_str().unwrap();
    for python in common::three_pythons() {
        let lab = Lab { python: python.clone(), ..empty() };
        let code = |code: &str| (vec![code.to_owned()], vec!["-c".to_owned(), code.to_owned()]);
        let cases = [
            code("1/0"),
            code("import json\ndef f():\n    raise ValueError('x')\nf()"),
            code("import no_such_module"),
            code("def f(:\n    pass"),
            code("print('a'\n"),
            code("import json; json.no_such"),
            code("raise KeyboardInterrupt"),
            (vec!["--script".to_owned(), script.to_owned()], vec![script.to_owned()]),
        ];
        for (recipe, plain) in cases {
            let plain = run(lab.plain().args(&plain));
            let recipe: Vec<&str> = recipe.iter().map(String::as_str).collect();
            let built = lab.build(&recipe);
            assert_eq!(built.code(), 1, "{recipe:?}: {}", built.stderr_text());
            assert_eq!(built.stdout, plain.stdout);
            let (own, ours) = built
                .stderr_text()
                .split_at(plain.stderr.len().min(built.stderr.len()))
                .to_owned_pair();
            assert_eq!(own, plain.stderr_text(), "{recipe:?} on {}", python.label);
            assert!(
                ours.starts_with("error: the recipe did not run to its end (")
                    && ours.ends_with("; nothing was stored\n"),
                "{recipe:?}: {ours}"
            );
            nothing_is_left(&lab);
        }
    }
}

trait ToOwnedPair {
    fn to_owned_pair(self) -> (String, String);
}

impl ToOwnedPair for (&str, &str) {
    fn to_owned_pair(self) -> (String, String) {
        (self.0.to_owned(), self.1.to_owned())
    }
}

#[test]
fn a_recipe_may_not_exit() {
    if !common::criu() {
        return;
    }
    let lab = empty();
    for (code, said) in [
        ("import sys; sys.exit(3)", "the code called sys.exit(3)"),
        ("raise SystemExit('text')", "the code called sys.exit('text')"),
    ] {
        let built = lab.build(&[code]);
        assert_eq!(built.code(), 1);
        assert!(built.stderr_text().contains(said), "{}", built.stderr_text());
        nothing_is_left(&lab);
    }
    let built = lab.build(&["import os; os._exit(0)"]);
    assert_eq!(built.code(), 1);
    assert_eq!(
        built.stderr_text(),
        "error: the recipe did not run to its end (exit status 0); nothing was stored\n"
    );
    let built = lab.build(&["import os; os.abort()"]);
    assert_eq!(
        built.stderr_text(),
        "error: the recipe did not run to its end (signal 6); nothing was stored\n"
    );
    nothing_is_left(&lab);
}

#[test]
fn a_module_and_a_script_are_imported_but_not_run() {
    if !common::criu() {
        return;
    }
    let place = ground().dir("program");
    fs::write(place.join("beside.py"), "print('beside is imported')\n").unwrap();
    fs::write(
        place.join("program.py"),
        "import csv, beside\nfrom decimal import Decimal\nprint('the program runs', Decimal(1))\n\
         if __name__ == '__main__':\n    import no_such_module\n",
    )
    .unwrap();
    let script = place.join("program.py");
    let script = script.to_str().unwrap();
    for python in common::three_pythons() {
        let lab = Lab { python: python.clone(), ..empty() };
        let lab = Lab { store: ground().no_file("store"), ..lab };
        let built = lab.build(&["--script", script]);
        assert!(built.status.success(), "{}", built.stderr_text());
        assert_eq!(built.stdout_text(), "beside is imported\n");
        let output = lab.hit(&[script]);
        assert_eq!(output.code(), 1, "it imports what is not there");
        assert_eq!(output.stdout_text(), "the program runs 1\n");
        // In the script's directory, since elsewhere a program would not find `beside`.
        let loaded = "import sys, csv; print('decimal' in sys.modules, 'program' in sys.modules)";
        let mut command = lab.pyrun();
        command.args(["-c", loaded]).current_dir(&place);
        assert_eq!(run(&mut command).success(), "True False\n");

        let built = lab.build(&["-m", "json.tool", "-m", "timeit", "--name", "tools"]);
        assert!(built.status.success(), "{}", built.stderr_text());
        assert_eq!(built.stdout_text(), "");
        let input = ground().no_file("input");
        fs::write(&input, "[1]").unwrap();
        let mut json = lab.pyrun();
        json.args(["--image", "tools", "-m", "json.tool"]).stdin(fs::File::open(input).unwrap());
        assert_eq!(run(&mut json), Output { stderr: Vec::new(), ..run_plain_json(&lab) });
        assert_eq!(lab.uses(), 3);
    }
}

#[test]
fn a_console_script_is_built_with_the_interpreter_beside_it() {
    if !common::criu() {
        return;
    }
    let python = common::a_python();
    let real = python.path.canonicalize().unwrap();
    let place = ground().dir("environment");
    let bin = place.join("bin");
    let version = format!("python{}.{}", python.version.0, python.version.1);
    let packages = place.join("lib").join(version).join("site-packages");
    fs::create_dir_all(&packages).unwrap();
    fs::create_dir(&bin).unwrap();
    fs::write(place.join("pyvenv.cfg"), format!("home = {}\n", real.parent().unwrap().display()))
        .unwrap();
    std::os::unix::fs::symlink(&real, bin.join("python")).unwrap();
    fs::write(packages.join("own_tool.py"), "def main():\n    print('it runs')\n").unwrap();
    let script = bin.join("tool");
    let text = format!("#!{}\nfrom own_tool import main\nmain()\n", bin.join("python").display());
    fs::write(&script, text).unwrap();

    // Another Python is on the PATH, and has no such module.
    let store = ground().no_file("store");
    let built = run(pyimg(&store).args(["build", "--name", IMAGE, "--script"]).arg(&script));
    assert!(built.status.success(), "{}", built.stderr_text());
    let mut pyrun = Command::new(common::binary("pyrun"));
    ground().clean(&mut pyrun, &store).env("PYIMG_LOG", "debug").arg(&script);
    let output = run(&mut pyrun);
    assert_eq!(output.stdout_text(), "it runs\n");
    assert_eq!(output.stderr_text(), format!("pyrun: hit: {IMAGE} ({})\n", common::engine()));
}

fn run_plain_json(lab: &Lab) -> Output {
    let input = ground().no_file("input");
    fs::write(&input, "[1]").unwrap();
    run(lab.plain().args(["-m", "json.tool"]).stdin(fs::File::open(input).unwrap()))
}

#[test]
fn names_and_building_again() {
    if !common::criu() {
        return;
    }
    let lab = empty();
    let (major, minor) = lab.python.version;
    let build = |arguments: &[&str]| {
        let mut command = pyimg(&lab.store);
        run(command.arg("build").arg("--python").arg(&lab.python.path).args(arguments))
    };
    let recipe = "import typing, re, os, json";
    let name = format!("python{major}{minor}-typing-re-os-json");
    let first = build(&[recipe]);
    assert!(first.stderr_text().starts_with(&format!("built {name}: ")), "{}", first.stderr_text());
    assert_eq!(images(&lab.store), [name.as_str()]);

    let again = build(&[recipe]);
    assert_eq!(again.code(), 0);
    assert_eq!(
        again.stderr_text(),
        format!("{name} is there already and unchanged; --force builds it again\n")
    );
    let json: serde_json::Value =
        serde_json::from_slice(&build(&[recipe, "--json"]).stdout).unwrap();
    assert_eq!((&json["built"], &json["image"]["name"]), (&false.into(), &name.as_str().into()));

    let renamed = build(&[recipe, "--name", "other"]);
    assert_eq!(renamed.code(), 1);
    assert!(renamed.stderr_text().contains(&format!("this image is there already, as \"{name}\"")));

    let forced = build(&[recipe, "--force", "--name", "other"]);
    assert!(forced.stderr_text().starts_with("built other: "), "{}", forced.stderr_text());
    assert_eq!(images(&lab.store), ["other"]);

    let taken = build(&["import csv", "--name", "other"]);
    assert_eq!(taken.code(), 1);
    assert!(
        taken.stderr_text().starts_with("error: the name \"other\" is taken by the image of \"import typing, re, os, json\" (Python "),
        "{}",
        taken.stderr_text()
    );
    assert_eq!(images(&lab.store), ["other"]);
    let replaced = build(&["import csv", "--name", "other", "--force"]);
    assert!(replaced.status.success(), "{}", replaced.stderr_text());
    assert_eq!(images(&lab.store), ["other"]);
    let program = "import csv, sys; print('typing' in sys.modules and 'json' in sys.modules)";
    assert_eq!(lab.hit(&["-c", program]).success(), "False\n");

    // Another image with the same made-up name gets a number.
    let second = build(&["import csv"]);
    assert!(second.stderr_text().contains("other is there already"), "{}", second.stderr_text());
    let spelt = build(&["import  csv"]);
    assert!(spelt.stderr_text().starts_with(&format!("built python{major}{minor}-csv: ")));
    let spelt = build(&["import   csv"]);
    assert!(spelt.stderr_text().starts_with(&format!("built python{major}{minor}-csv-2: ")));
}

#[test]
fn a_recipe_has_an_image_for_each_value_that_it_read() {
    if !common::criu() {
        return;
    }
    let lab = empty();
    let directory = ground().dir("modes");
    let module = "import json, os\nMODE = os.environ.get('MODE')\nprint('built', MODE)\n";
    fs::write(directory.join("modes.py"), module).unwrap();
    let in_mode = |mode: &str, options: &[&str]| {
        let mut build = pyimg(&lab.store);
        build.arg("build").arg("--python").arg(&lab.python.path).arg("import modes");
        build.args(options).current_dir(&directory).env("MODE", mode);
        let built = run(&mut build);
        let outcome = built.stdout_text();
        assert!(built.status.success(), "{}", built.stderr_text());
        outcome == format!("built {mode}\n")
    };
    assert!(in_mode("one", &[]) && in_mode("two", &[]));
    let names = images(&lab.store);
    assert_eq!(names[1], format!("{}-2", names[0]));
    assert!(!in_mode("one", &[]) && !in_mode("two", &[]), "they are there already");
    assert!(in_mode("two", &["--force"]));
    assert_eq!(images(&lab.store), names);
    let hit = |mode: &str, image: &str| {
        let mut command = lab.pyrun();
        command.args(["-c", "import modes; print(modes.MODE)"]).current_dir(&directory);
        let output = run(command.env("MODE", mode).env("PYIMG_LOG", "debug"));
        assert_eq!(output.stderr_text(), format!("pyrun: hit: {image} ({})\n", common::engine()));
        assert_eq!(output.success(), format!("{mode}\n"));
    };
    hit("one", &names[0]);
    hit("two", &names[1]);
    hit("one", &names[0]);
    // A name is the user's: whatever the recipe is built for next has it.
    assert!(in_mode("three", &["--name", &names[0]]));
    assert_eq!(images(&lab.store), [names[1].clone(), names[0].clone()]);
    hit("three", &names[0]);
    hit("two", &names[1]);

    // There are not more and more: the least used makes room.
    run(pyimg(&lab.store).args(["pin", &names[0]])).success();
    for mode in 0..14 {
        assert!(in_mode(&mode.to_string(), &[]));
    }
    assert_eq!(images(&lab.store).len(), 16);
    hit("two", &names[1]);
    assert!(in_mode("one more", &[]));
    let left = images(&lab.store);
    assert_eq!((left.len(), left.contains(&names[0]), left.contains(&names[1])), (16, true, true));
    assert!(in_mode("0", &[]), "it made room");
}

#[test]
fn interpreter_flags_are_part_of_an_image() {
    if !common::criu() {
        return;
    }
    let lab = empty();
    let program = "import json, sys; print(sys.flags, sys._xoptions, __debug__, sys.warnoptions)";
    for (name, flags) in [
        ("optimised", &["-O"][..]),
        ("utf8", &["-X", "utf8", "-B"]),
        ("isolated", &["-I"]),
        ("warning", &["-W", "error", "-bb"]),
        ("unbuffered", &["-u"]),
        ("development", &["-X", "dev"]),
        ("bare", &["-S", "-E"]),
    ] {
        let built = lab.build(&[&["import json", "--name", name, "--"], flags].concat());
        assert!(built.status.success(), "{name}: {}", built.stderr_text());
        let arguments = [flags, &["-c", program]].concat();
        let plain = run(lab.plain().args(&arguments));
        assert_eq!(lab.hit(&arguments), plain, "{name}");
    }
    let (reason, output) = lab.miss(&["-c", program]);
    assert!(
        reason.starts_with("the image was built with ") && reason.ends_with(", not no options"),
        "{reason}"
    );
    assert_eq!(output, run(lab.plain().args(["-c", program])));
}

#[test]
fn names_that_are_made_up_at_once() {
    if !common::criu() {
        return;
    }
    let lab = empty();
    std::thread::scope(|scope| {
        for flags in [&[][..], &["--", "-O"], &["--", "-OO"]] {
            let lab = &lab;
            scope.spawn(move || {
                let mut build = pyimg(&lab.store);
                build.args(["build", "import colorsys", "--python"]).arg(&lab.python.path);
                run(build.args(flags)).success();
            });
        }
    });
    let mut names = images(&lab.store);
    names.sort();
    let base = names[0].clone();
    assert_eq!(names, [base.clone(), format!("{base}-2"), format!("{base}-3")]);
}

#[test]
fn a_module_that_changes_meanwhile() {
    if !common::criu() {
        return;
    }
    let lab = empty();
    let place = ground().dir("meanwhile");
    fs::write(place.join("moving.py"), "x = 1\n").unwrap();
    let mut build = pyimg(&lab.store);
    build.arg("build").arg("import moving; open(moving.__file__, 'a').write('y = 2')");
    let built = run(build.arg("--python").arg(&lab.python.path).current_dir(&place));
    let path = place.join("moving.py");
    assert_eq!(
        built.stderr_text(),
        format!(
            "error: {} has changed while the image was being built\nhint: build it again\n",
            path.display()
        )
    );
    assert_eq!(built.code(), 1);
    nothing_is_left(&lab);
}

#[test]
fn what_cannot_be_kept_is_refused_by_name() {
    if !common::criu() {
        return;
    }
    let lab = empty();
    let thread = "import threading, time\nthreading.Thread(target=time.sleep, args=(5,), daemon=True, name='the poller').start()";
    for (code, named) in [
        (
            thread,
            "error: no image can be made of this process: the Python thread 'the poller' is running",
        ),
        (
            "import _thread, time; _thread.start_new_thread(time.sleep, (5,)); time.sleep(.1)",
            "error: no image can be made of this process: a Python thread without a name is running",
        ),
        (
            "import subprocess; p = subprocess.Popen(['sleep', '2'])",
            "error: an image cannot hold a child process: sleep (pid ",
        ),
        (
            "import socket; s = socket.s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()",
            "error: an image cannot hold a socket (descriptor ",
        ),
        (
            "import socket; socket.a, socket.b = socket.socketpair()",
            "error: an image cannot hold a socket (descriptor ",
        ),
        (
            "import fcntl; f = fcntl.f = open('/proc/self/exe'); fcntl.flock(f, fcntl.LOCK_SH)",
            "error: an image cannot hold a lock on a file",
        ),
        (
            "import mmap, os; f = os.open('/dev/shm/pyimg-test-shared', os.O_CREAT | os.O_RDWR); os.unlink('/dev/shm/pyimg-test-shared'); os.truncate(f, 4096); mmap.m = mmap.mmap(f, 4096)",
            "shared memory",
        ),
        (
            "import tempfile; f = tempfile.f = open(tempfile.mkstemp()[1], 'w'); import os; os.unlink(f.name)",
            "error: an image cannot hold a deleted file, ",
        ),
        (
            "import os; os.pidfd_open(os.getpid())",
            "error: an image cannot hold a pidfd (descriptor ",
        ),
        (
            "import os; os.open('/dev/tty0', os.O_RDONLY) if os.path.exists('/dev/tty0') else os.open('/dev/ptmx', os.O_RDWR)",
            "error: an image cannot hold the device /dev/",
        ),
    ] {
        let built = lab.build(&[code]);
        let said = built.stderr_text();
        assert_eq!(built.code(), 1, "{code}: {said}");
        assert!(said.contains("error: "), "{code}: {said}");
        assert!(said.contains(named), "{code}: {said}");
        assert!(said.contains("hint: ") && said.contains("out of the recipe\n"), "{code}: {said}");
        nothing_is_left(&lab);
    }
    // All that is in the way is named at once.
    let built = lab.build(&["import socket, subprocess; socket.s = socket.socket(); p = subprocess.Popen(['sleep', '2'])"]);
    let said = built.stderr_text();
    assert!(
        said.contains("a socket (descriptor ") && said.contains("a child process: sleep"),
        "{said}"
    );
    nothing_is_left(&lab);
}

#[test]
fn what_can_be_kept_is() {
    if !common::criu() {
        return;
    }
    let file = ground().dir("kept").join("file");
    fs::write(&file, "0123456789").unwrap();
    let recipe = format!(
        "import json, os, select, threading\n\
         json.p = select.epoll(); json.r, json.w = os.pipe(); json.p.register(json.r, select.EPOLLIN)\n\
         json.f = open({:?}); json.f.read(4)\n\
         json.m = os.memfd_create('kept'); os.write(json.m, b'in memory')\n\
         os.write(json.w, b'in a pipe')\n\
         t = threading.Thread(target=print); t.start(); t.join()\n\
         json.e = threading.Event(); json.l = threading.Lock()",
        file.to_str().unwrap()
    );
    let program = "import json, os\n\
        print(len(json.p.poll(0)), os.read(json.r, 99), json.f.read(), os.pread(json.m, 99, 0))\n\
        print(os.fdopen(os.dup(json.f.fileno())).tell(), json.e.is_set(), json.l.acquire(False))\n\
        os.write(json.m, b', changed'); os.write(json.w, b'x')";
    for lab in labs(common::three_pythons(), &recipe) {
        let expected = "1 b'in a pipe' 456789 b'in memory'\n10 False True\n";
        // Each run has its own: the second sees nothing of the first.
        for _ in 0..2 {
            let output = lab.hit_without_plan(&["-c", program]);
            assert_eq!(output.success(), expected, "{}", lab.python.label);
        }
    }
}

#[test]
fn an_interrupted_build_leaves_nothing() {
    if !common::criu() {
        return;
    }
    let lab = empty();
    for (signal, alone) in [
        (Signal::SIGINT, false),
        (Signal::SIGINT, true),
        (Signal::SIGTERM, true),
        (Signal::SIGHUP, true),
    ] {
        let ready = ground().no_file("ready");
        let code = format!(
            "import time; open({:?}, 'w').close(); time.sleep(60)",
            ready.to_str().unwrap()
        );
        let mut command = pyimg(&lab.store);
        command.arg("build").arg("--python").arg(&lab.python.path).arg(&code);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let output = run_while(&mut command, |pid| {
            assert!(eventually(|| ready.exists()));
            // A terminal sends Ctrl-C to everybody in the group.
            let whom = if alone { pid } else { Pid::from_raw(-pid.as_raw()) };
            kill(whom, signal).unwrap();
        });
        assert_eq!(output.code(), 1, "{signal}: {}", output.stderr_text());
        let said = output.stderr_text();
        assert!(said.ends_with("error: interrupted; nothing was stored\n"), "{signal}: {said}");
        nothing_is_left(&lab);
    }
    // At whatever moment it comes: the image is there, or nothing is.
    let start = std::time::Instant::now();
    assert!(lab.build(&["import json", "--name", "whole"]).status.success());
    let whole = start.elapsed();
    run(pyimg(&lab.store).args(["rm", "whole"])).success();
    for step in 1..10 {
        let output = run_while(
            pyimg(&lab.store).arg("build").arg("--python").arg(&lab.python.path).arg("import json"),
            |pid| {
                std::thread::sleep(whole * step / 10);
                let _ = kill(pid, Signal::SIGINT);
            },
        );
        if output.status.success() {
            assert_eq!(images(&lab.store).len(), 1);
            run(pyimg(&lab.store).args(["rm", &images(&lab.store)[0]])).success();
        } else {
            assert!(
                matches!(output.code(), 1 | -2),
                "{step}: {} {}",
                output.code(),
                output.stderr_text()
            );
        }
        nothing_is_left(&lab);
    }
    assert!(lab.build(&["import json"]).status.success(), "the store works as before");
}

#[test]
fn a_killed_build_leaves_no_process() {
    if !common::criu() {
        return;
    }
    let lab = empty();
    let ready = ground().no_file("ready");
    let code =
        format!("import time; open({:?}, 'w').close(); time.sleep(60)", ready.to_str().unwrap());
    let output = run_while(
        pyimg(&lab.store).arg("build").arg("--python").arg(&lab.python.path).arg(&code),
        |pid| {
            assert!(eventually(|| ready.exists()));
            kill(pid, Signal::SIGKILL).unwrap();
        },
    );
    assert_eq!(output.code(), -9);
    assert!(eventually(|| processes_of(&lab.store).is_empty()), "{:?}", processes_of(&lab.store));
}

#[test]
fn builds_at_once_do_not_disturb_each_other() {
    if !common::criu() {
        return;
    }
    let lab = empty();
    std::thread::scope(|scope| {
        for name in ["json", "csv", "decimal"] {
            let lab = &lab;
            scope.spawn(move || {
                let built = lab.build(&[&format!("import {name}"), "--name", name]);
                assert!(built.status.success(), "{}", built.stderr_text());
            });
        }
    });
    let mut names = images(&lab.store);
    names.sort();
    assert_eq!(names, ["csv", "decimal", "json"]);
    for name in names {
        lab.hit(&["-c", &format!("import {name}")]);
    }
}

#[test]
fn an_image_does_not_depend_on_where_it_was_built() {
    if !common::criu() {
        return;
    }
    let lab = empty();
    let gone: PathBuf = ground().dir("gone");
    let mut build = pyimg(&lab.store);
    build.arg("build").arg("--python").arg(&lab.python.path).arg("import json").current_dir(&gone);
    run(&mut build).success();
    fs::remove_dir(&gone).unwrap();
    let program = "import json, os, sys; print(os.getcwd(), sys.path[0])";
    let here = ground().dir("here");
    let output = run(lab.pyrun().args(["-c", program]).current_dir(&here));
    assert_eq!(
        output,
        Output { stderr: Vec::new(), ..run(lab.plain().args(["-c", program]).current_dir(&here)) }
    );
    assert_eq!(lab.uses(), 1);
}

/// A shell that was started from outside of its container has no session leader there.
#[test]
fn a_session_that_began_outside_of_the_pid_namespace() {
    if !common::criu() || !common::root() {
        return;
    }
    let lab = empty();
    let inside = |command: &Command| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--mount-proc", "sh", "-c", "\"$@\"; exit $?", "sh"]);
        unshare.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => unshare.env(name, value),
                None => unshare.env_remove(name),
            };
        }
        unshare
    };
    let mut build = pyimg(&lab.store);
    build.args(["build", "import json", "--name", IMAGE, "--python"]).arg(&lab.python.path);
    run(&mut inside(&build)).success();
    let ids = "import os, json; print(os.getsid(0), os.getpgrp())";
    let plain = run(&mut inside(lab.plain().args(["-c", ids])));
    assert_eq!(plain.stdout_text(), "0 0\n");
    let from_image = run(&mut inside(lab.pyrun().args(["-c", ids])));
    assert_eq!(from_image.stdout_text(), "0 0\n", "{}", from_image.stderr_text());
    assert_eq!(lab.uses(), 1);
}

#[test]
fn two_builds_of_one_recipe_do_the_work_once() {
    if !common::criu() {
        return;
    }
    let lab = empty();
    let ground = ground().dir("once");
    let started = ground.join("started");
    // It says when it has begun, and takes long enough to be waited for.
    let code = format!("import json, time; open({started:?}, 'a').write('.'); time.sleep(1)");
    let builds: Vec<_> = std::thread::scope(|scope| {
        let build = || lab.build(&[&code, "--json"]);
        let first = scope.spawn(build);
        assert!(eventually(|| started.exists()));
        let others = [scope.spawn(build), scope.spawn(build)];
        std::iter::once(first).chain(others).map(|build| build.join().unwrap()).collect()
    });
    let answers: Vec<serde_json::Value> = builds
        .iter()
        .map(|built| serde_json::from_str(&built.clone().success()).unwrap())
        .collect();
    let built: Vec<_> = answers.iter().map(|answer| answer["built"].as_bool().unwrap()).collect();
    assert_eq!(built, [true, false, false]);
    assert_eq!(answers[0]["image"]["key"], answers[1]["image"]["key"]);
    for waited in &builds[1..] {
        let told = "waiting for another pyimg that builds the same image\n";
        assert!(waited.stderr_text().ends_with(told), "{}", waited.stderr_text());
    }
    assert_eq!(fs::read_to_string(&started).unwrap(), ".");
    assert_eq!(images(&lab.store), [IMAGE]);
}

#[test]
fn whoever_waits_for_a_build_can_be_interrupted() {
    if !common::criu() {
        return;
    }
    let lab = empty();
    let ground = ground().dir("waiting");
    let started = ground.join("started");
    let code = format!("import json, time; open({started:?}, 'a').write('.'); time.sleep(3)");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| lab.build(&[&code]));
        assert!(eventually(|| started.exists()));
        let mut second = pyimg(&lab.store);
        second.args(["build", &code, "--name", IMAGE, "--python"]).arg(&lab.python.path);
        let interrupted = run_while(&mut second, |pid| {
            std::thread::sleep(std::time::Duration::from_millis(500));
            kill(pid, Signal::SIGTERM).unwrap();
        });
        assert!(interrupted.stderr_text().contains("interrupted"), "{interrupted:?}");
        first.join().unwrap().success();
    });
    assert_eq!(images(&lab.store), [IMAGE]);
}
