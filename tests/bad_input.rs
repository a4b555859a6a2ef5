//! Bad input: each is a clear error with the right exit status, and the store is untouched.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use common::{IMAGE, Lab, Output, binary, eventually, ground, processes_of, pyimg, run};

/// A store with one image, for one test at a time: that a command left the store alone cannot be
/// told while the run of another test is recorded there.
fn lab() -> MutexGuard<'static, Lab> {
    static LAB: OnceLock<Mutex<Lab>> = OnceLock::new();
    LAB.get_or_init(|| Mutex::new(Lab::new(common::a_python(), "import json")))
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Everything in a store that commands could have changed, with the times.
fn state(store: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime)> {
    let mut files = BTreeMap::new();
    for (path, _) in common::files_below(store) {
        let metadata = fs::symlink_metadata(&path).unwrap();
        // Reading SQLite through its locks leaves the files alone, but for the journal.
        files.insert(path, (metadata.len(), metadata.modified().unwrap()));
    }
    files
}

/// That a command fails with this exit status and these lines, and changes nothing.
#[track_caller]
fn fails(command: &mut Command, status: i32, wanted: &[&str]) {
    let store = command.get_envs().find(|(name, _)| *name == "PYIMG_DIR").unwrap().1.unwrap();
    let store = PathBuf::from(store);
    let before = state(&store);
    let output = run(command);
    let said = output.stderr_text();
    assert_eq!(output.code(), status, "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, wanted);
    assert_eq!(output.stdout_text(), "");
    assert_eq!(state(&store), before, "the store was changed");
    assert!(eventually(|| processes_of(&store).is_empty()));
}

fn build(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = pyimg(&lab.store);
    command.arg("build").arg("--python").arg(&lab.python.path).args(arguments);
    command
}

fn with_store(store: &Path) -> Lab {
    Lab { python: common::a_python().clone(), store: store.to_owned(), turn: Default::default() }
}

#[test]
fn an_unknown_image() {
    if !common::criu() {
        return;
    }
    let lab = lab();
    for verb in ["show", "rm"] {
        fails(
            pyimg(&lab.store).args([verb, "nothing"]),
            1,
            &["error: there is no image \"nothing\"", "hint: `pyimg ls` lists the images"],
        );
        fails(
            pyimg(&lab.store).args([verb, "imagf"]),
            1,
            &[
                "error: there is no image \"imagf\"",
                "hint: is it \"image\"? `pyimg ls` lists the images",
            ],
        );
    }
    // All that are named or none.
    fails(
        pyimg(&lab.store).args(["rm", IMAGE, "nothing"]),
        1,
        &["error: there is no image \"nothing\"", "hint: `pyimg ls` lists the images"],
    );
    let (reason, output) = lab.miss(&["--image", "nothing", "-c", "print(1)"]);
    assert_eq!(reason, "no image is called `nothing`");
    assert_eq!(output.success(), "1\n");
}

#[test]
fn a_name_that_is_taken() {
    if !common::criu() {
        return;
    }
    let lab = lab();
    let output = run(&mut build(&lab, &["import csv", "--name", IMAGE]));
    let said = output.stderr_text();
    assert_eq!(output.code(), 1);
    assert!(
        said.starts_with(
            "error: the name \"image\" is taken by the image of \"import json\" (Python 3."
        ),
        "{said}"
    );
    assert!(
        said.ends_with(
            "\nhint: choose another name, or replace it: --force, or `pyimg rm image` first\n"
        ),
        "{said}"
    );
    assert_eq!(lab.hit(&["-c", "import json; print(1)"]).success(), "1\n");
}

#[test]
fn names_that_are_none() {
    if !common::criu() {
        return;
    }
    for name in ["", "a/b", "a b", "a\tb"] {
        let output = run(&mut build(&lab(), &["import csv", &format!("--name={name}")]));
        assert_eq!(output.code(), 2, "{name:?}: {}", output.stderr_text());
        assert!(output.stderr_text().starts_with("error: "), "{}", output.stderr_text());
    }
}

#[test]
fn code_that_does_not_compile() {
    if !common::criu() {
        return;
    }
    let lab = lab();
    let plain = run(lab.plain().args(["-c", "import json; def"]));
    let said = plain.stderr_text();
    let mut wanted: Vec<&str> = said.lines().collect();
    wanted.push("error: the recipe did not run to its end (exit status 1); nothing was stored");
    fails(&mut build(&lab, &["import json; def"]), 1, &wanted);
}

#[test]
fn no_recipe_or_a_wrong_one() {
    if !common::criu() {
        return;
    }
    let lab = lab();
    fails(
        &mut build(&lab, &[]),
        2,
        &[
            "error: nothing to build was named",
            "hint: give the code, or `-m MODULE`, or `--script FILE`: `pyimg build \"import numpy, pandas\"`",
        ],
    );
    let missing = ground().no_file("missing.py");
    fails(
        &mut build(&lab, &["--script", text(&missing)]),
        2,
        &[&format!("error: there is no script {}", missing.display())],
    );
    fails(
        &mut build(&lab, &["import json", "--", "-i"]),
        2,
        &[
            "error: cannot build an image: -i asks for a prompt",
            "hint: after `--` come only options of the interpreter, such as -O, -I, -W or -X",
        ],
    );
    let output = run(&mut build(&lab, &["import json", "--no-such-option"]));
    assert_eq!(output.code(), 2);
    let output = run(&mut build(&lab, &["-m", "no_such_module"]));
    assert_eq!(output.code(), 1);
    assert!(
        output.stderr_text().contains("No module named no_such_module"),
        "{}",
        output.stderr_text()
    );
    let (_, plain) = lab.miss(&["-m", "no_such_module"]);
    assert_eq!(plain.code(), 1);
}

#[test]
fn a_variable_that_no_image_can_serve() {
    if !common::criu() {
        return;
    }
    fails(
        build(&lab(), &["import json"]).env("PYTHONHASHSEED", "1"),
        2,
        &[
            "error: no image can be built while PYTHONHASHSEED is `1`",
            "hint: unset the variable and build again",
        ],
    );
}

#[test]
fn a_python_that_is_none() {
    if !common::criu() {
        return;
    }
    let lab = lab();
    let place = ground().dir("pythons");
    let script = |name: &str, text: &str| {
        let path = place.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let python = |path: &Path| {
        let mut command = pyimg(&lab.store);
        command.args(["build", "import csv", "--python"]).arg(path);
        command
    };
    let usable = "images can be built of CPython 3.9 to 3.13";
    let other = format!("hint: {usable}; name one with --python");

    let missing = place.join("missing");
    fails(
        &mut python(&missing),
        2,
        &[
            &format!("error: there is no Python at {}", missing.display()),
            "hint: name one with --python, or put one on PATH",
        ],
    );
    fails(
        &mut python(&place),
        2,
        &[
            &format!("error: {} is a directory, not a Python", place.display()),
            &format!("hint: did you mean {}?", place.join("bin/python").display()),
        ],
    );
    let file = script("file", "");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fails(
        &mut python(&file),
        2,
        &[
            &format!("error: {} is not executable", file.display()),
            &format!("hint: {usable}; name another with --python"),
        ],
    );
    fails(
        &mut python(Path::new("/bin/true")),
        2,
        &["error: /bin/true is not a Python interpreter", &other],
    );
    let output = run(&mut python(Path::new("/bin/ls")));
    assert_eq!(output.code(), 2);
    assert!(
        output.stderr_text().starts_with("error: /bin/ls is not a Python interpreter"),
        "{}",
        output.stderr_text()
    );

    // The interpreter's answer, as another one would give it.
    let posing = |name: &str, from: &str, to: &str| {
        let real = lab.python.path.display();
        script(
            name,
            &format!(
                "#!/bin/sh\nexec {real} \"$1\" \"$2\" -c \"$(cat <<'EOF'\n{from}\nEOF\n)\n$4\" {to}\n"
            ),
        )
    };
    let old = posing("old", "import sys; sys.version_info = (3, 8, 1, 'final', 0)", "");
    let output = run(&mut python(&old));
    assert_eq!(output.code(), 2);
    assert!(
        output
            .stderr_text()
            .starts_with(&format!("error: {} is Python 3.8.1, which is too old\n", old.display())),
        "{}",
        output.stderr_text()
    );
    let new = posing("new", "import sys; sys.version_info = (3, 99, 0, 'final', 0)", "");
    let output = run(&mut python(&new));
    assert_eq!(output.code(), 2);
    assert!(
        output
            .stderr_text()
            .contains("is Python 3.99.0, which is newer than what is known to work\n"),
        "{}",
        output.stderr_text()
    );
    let other_kind = posing("pypy", "import sys; sys.implementation.name = 'pypy'", "");
    let output = run(&mut python(&other_kind));
    assert_eq!(output.code(), 2);
    assert!(output.stderr_text().contains("is pypy, not CPython\n"), "{}", output.stderr_text());
}

#[test]
fn a_store_that_is_a_file() {
    if !common::criu() {
        return;
    }
    let file = ground().no_file("file");
    fs::write(&file, "contents").unwrap();
    for arguments in [&["ls"][..], &["show", "x"], &["rm", "x"]] {
        let output = run(pyimg(&file).args(arguments));
        assert_eq!(output.code(), 2, "{arguments:?} {}", output.stderr_text());
        assert!(
            output
                .stderr_text()
                .starts_with(&format!("error: the store {} is not a directory\n", file.display())),
            "{}",
            output.stderr_text()
        );
    }
    let output = run(&mut build(&with_store(&file), &["import json"]));
    assert_eq!(output.code(), 2, "{}", output.stderr_text());
    assert!(
        output
            .stderr_text()
            .starts_with(&format!("error: the store {} is not a directory\n", file.display()))
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "contents");
}

#[test]
fn a_directory_that_is_no_store() {
    if !common::criu() {
        return;
    }
    let directory = ground().dir("home");
    fs::write(directory.join("letter.txt"), "dear").unwrap();
    fails(
        &mut build(&with_store(&directory), &["import json"]),
        2,
        &[
            &format!("error: {} is not a store of pyimg: it holds letter.txt", directory.display()),
            "hint: set PYIMG_DIR to an empty or a new directory",
        ],
    );
}

#[test]
fn a_store_of_another_user() {
    if !common::criu() || !common::root() {
        return;
    }
    let copy = copy_of_the_store();
    chown(&copy, Some(12345), None).unwrap();
    let lines = [
        format!("error: {} belongs to another user (uid 12345, you are uid 0)", copy.display()),
        "hint: set PYIMG_DIR to a directory of your own".to_owned(),
    ];
    let lines = lines.each_ref().map(String::as_str);
    fails(&mut build(&with_store(&copy), &["import csv"]), 2, &lines);
    fails(pyimg(&copy).arg("ls"), 2, &lines);
    let (reason, output) =
        with_store(&copy).miss(&["--image", IMAGE, "-c", "import json; print(1)"]);
    assert!(reason.contains("belongs to another user"), "{reason}");
    assert_eq!(output.success(), "1\n");
}

#[test]
fn a_store_that_others_may_write_to() {
    if !common::criu() {
        return;
    }
    let copy = copy_of_the_store();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o777)).unwrap();
    fails(
        &mut build(&with_store(&copy), &["import csv"]),
        2,
        &[
            &format!("error: other users may write to {} (mode 0777)", copy.display()),
            &format!("hint: if you trust what is in it: `chmod go-w {}`", copy.display()),
        ],
    );
    let (reason, _) = with_store(&copy).miss(&["--image", IMAGE, "-c", "import json; print(1)"]);
    assert!(reason.contains("other users may write to"), "{reason}");
}

#[test]
fn a_store_of_a_newer_version() {
    if !common::criu() {
        return;
    }
    let copy = copy_of_the_store();
    let sql = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('pragma user_version = 99'); c.commit()";
    run(Command::new(&common::a_python().path).args(["-c", sql]).arg(copy.join("index.sqlite")))
        .success();
    let first = format!(
        "error: the store {} has format 99, this pyimg knows formats up to ",
        copy.display()
    );
    for mut command in [build(&with_store(&copy), &["import csv"]), {
        let mut ls = pyimg(&copy);
        ls.arg("ls");
        ls
    }] {
        let before = state(&copy);
        let output = run(&mut command);
        assert_eq!(output.code(), 2);
        let said = output.stderr_text();
        assert!(said.starts_with(&first), "{said}");
        assert!(
            said.ends_with("\nhint: use a newer pyimg, or another store: set PYIMG_DIR\n"),
            "{said}"
        );
        assert_eq!(state(&copy), before);
    }
    let (reason, output) =
        with_store(&copy).miss(&["--image", IMAGE, "-c", "import json; print(1)"]);
    assert!(reason.contains("has format 99"), "{reason}");
    assert_eq!(output.success(), "1\n");
}

#[test]
fn an_index_that_is_none() {
    if !common::criu() {
        return;
    }
    let copy = copy_of_the_store();
    fs::write(
        copy.join("index.sqlite"),
        "this is no database, but long enough to be taken for one".repeat(100),
    )
    .unwrap();
    let output = run(&mut build(&with_store(&copy), &["import csv"]));
    assert_eq!(output.code(), 2);
    let said = output.stderr_text();
    assert!(
        said.starts_with(&format!(
            "error: the store {} is damaged: its index cannot be read",
            copy.display()
        )),
        "{said}"
    );
    assert!(
        said.contains(&format!(
            "hint: `pyimg verify --repair` saves what is whole; or remove all of it, which is only a \
             cache, with `rm -r {}`",
            copy.display()
        )),
        "{said}"
    );
    let (reason, output) =
        with_store(&copy).miss(&["--image", IMAGE, "-c", "import json; print(1)"]);
    assert!(reason.contains("is damaged"), "{reason}");
    assert_eq!(output.success(), "1\n");
}

fn copy_of_the_store() -> PathBuf {
    let copy = ground().no_file("store");
    run(Command::new("cp").arg("-a").args([&lab().store, &copy])).success();
    copy
}

#[test]
fn no_criu() {
    if !common::criu() {
        return;
    }
    let lab = lab();
    let output = run(build(&lab, &["import csv"]).env("PYIMG_CRIU", "/no/such/criu"));
    assert_eq!(output.code(), 2);
    let said = output.stderr_text();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "error: no criu binary: looked for /no/such/criu");
    assert!(lines[1].starts_with("hint: run `make demo` or `scripts/setup`"), "{said}");

    let without = |engine: &str| {
        let mut command = lab.pyrun_by(engine);
        command.args(["-c", "import json; print(1)"]).env("PYIMG_CRIU", "/no/such/criu");
        command
    };
    let (reason, output) = lab.miss_of(&mut without("criu"));
    assert_eq!(reason, "no usable CRIU: no criu binary: looked for /no/such/criu");
    assert_eq!(output.success(), "1\n");
    // It takes none to become the program.
    assert_eq!(lab.hit_by("direct", &mut without("auto")).success(), "1\n");

    let output = run(build(&lab, &["import csv"]).env("PYIMG_CRIU", "/bin/true"));
    assert!(matches!(output.code(), 1 | 2), "{}", output.stderr_text());
    assert!(output.stderr_text().starts_with("error: "), "{}", output.stderr_text());
}

/// A command by an ordinary user who has nothing here but a directory.
fn as_nobody(program: &Path, home: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--bounding-set=-all",
        "--no-new-privs",
        "--",
    ]);
    command.arg(program);
    ground().clean(&mut command, &home.join("store"));
    command.env("HOME", home).env("TMPDIR", home).env_remove("XDG_RUNTIME_DIR").current_dir("/");
    command
}

#[test]
fn no_privilege() {
    if !common::criu() || !common::root() {
        return;
    }
    // Whatever they run must be theirs to read, which a Python in root's home is not.
    let system = Path::new("/usr/bin/python3");
    if !system.exists() {
        println!("skipped: there is no /usr/bin/python3");
        return;
    }
    let home = tempfile::Builder::new().prefix("pyimg-nobody-").tempdir_in("/tmp").unwrap();
    let place = home.path();
    fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["pyimg", "pyrun"] {
        fs::copy(binary(name), place.join(name)).unwrap();
    }
    let own = place.join("home");
    fs::create_dir(&own).unwrap();
    chown(&own, Some(65534), Some(65534)).unwrap();
    // As capability-less a CRIU as can be.
    let output = run(as_nobody(&place.join("pyimg"), &own)
        .args(["build", "import json", "--python"])
        .arg(system));
    let said = output.stderr_text();
    if output.status.success() {
        println!("skipped: here an ordinary user can build images without further privileges");
    } else {
        assert_eq!(output.code(), 2, "{said}");
        assert!(said.starts_with("error: CRIU lacks a privilege: "), "{said}");
        assert!(said.contains("\nhint: run as root: setcap cap_checkpoint_restore+eip "), "{said}");
        let images = fs::read_dir(own.join("store/images")).into_iter().flatten().count();
        assert_eq!(images, 0);
    }
    let doctor = run(as_nobody(&place.join("pyimg"), &own).args(["doctor"]));
    assert!(doctor.code() == 2 || output.status.success(), "{}", doctor.stdout_text());
    let mut program = as_nobody(&place.join("pyrun"), &own);
    program.args(["-c", "import json; print(1)"]).env("PYIMG_PYTHON", system);
    assert_eq!(
        run(&mut program),
        Output { stdout: b"1\n".to_vec(), stderr: Vec::new(), ..run(&mut Command::new("true")) }
    );
    assert!(eventually(|| processes_of(&own.join("store")).is_empty()));
    let _ = fs::remove_dir_all("/dev/shm/pyimg-65534");
}

#[test]
fn a_store_that_cannot_be_written() {
    if !common::criu() || !common::root() {
        return;
    }
    // Root may write anywhere, but not on a file system that is mounted for reading.
    let copy = copy_of_the_store();
    let script =
        "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let read_only = |command: &Command| {
        let mut wrapped = Command::new("unshare");
        wrapped
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(&copy)
            .arg(command.get_program())
            .args(command.get_args());
        wrapped
            .env_clear()
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        wrapped
    };
    if !run(&mut read_only(&Command::new("true"))).status.success() {
        println!("skipped: nothing can be mounted here");
        return;
    }
    let store = with_store(&copy);
    let output = run(&mut read_only(&build(&store, &["import csv"])));
    assert_eq!(output.code(), 2, "{}", output.stderr_text());
    let said = output.stderr_text();
    assert!(
        said.starts_with("error: cannot ")
            && said.contains("hint: set PYIMG_DIR to a directory that you may write to"),
        "{said}"
    );
    // It can be read all the same.
    let listed = run(&mut read_only(pyimg(&copy).arg("ls")));
    assert!(listed.success().contains(IMAGE));
    let mut program = store.pyrun();
    program.args(["--image", IMAGE, "-c", "import json; print(1)"]);
    let output = run(&mut read_only(&program));
    assert_eq!((output.stdout_text(), output.stderr_text()), ("1\n".into(), String::new()));
}

#[test]
fn a_full_disk() {
    if !common::criu() || !common::root() {
        return;
    }
    for (size, space) in [("1m", "of the store"), ("3m", "of the packs")] {
        let disk = ground().dir("disk");
        let mounted = run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(&disk));
        if !mounted.status.success() {
            println!("skipped: nothing can be mounted here");
            return;
        }
        let _unmount = Unmount(&disk);
        let store = with_store(&disk.join("store"));
        let output = run(&mut build(&store, &["import json"]));
        let said = output.stderr_text();
        assert_eq!(output.code(), 1, "{space}: {said}");
        assert!(said.starts_with("error: no space left for "), "{said}");
        assert!(said.contains("\nhint: free some space there"), "{said}");
        for directory in ["tmp", "images", "packs"] {
            let entries = fs::read_dir(store.store.join(directory)).into_iter().flatten();
            assert_eq!(entries.count(), 0, "something in {directory}");
        }
        assert!(eventually(|| processes_of(&store.store).is_empty()));
        // With room it goes on as if nothing had been.
        run(Command::new("mount").args(["-o", "remount,size=500m"]).arg(&disk)).success();
        assert!(run(&mut build(&store, &["import json"])).status.success());
        assert_eq!(store.hit(&["-c", "import json; print(1)"]).success(), "1\n");
    }
    // Other tests of this file have theirs for a while.
    assert!(eventually(|| ground().leftovers().is_empty()), "{:?}", ground().leftovers());
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn wrong_options_of_pyrun() {
    let place = ground().no_file("store");
    let said = |arguments: &[&str]| {
        let mut command = Command::new(binary("pyrun"));
        let output = run(ground().clean(&mut command, &place).args(arguments));
        assert_eq!(output.code(), 2);
        output.stderr_text()
    };
    let hint = "hint: pyrun [--image NAME] [--engine auto|criu|direct|off] PYTHON-ARGS…\n";
    assert_eq!(said(&["--image"]), format!("error: --image lacks its value\n{hint}"));
    assert_eq!(said(&["--image="]), format!("error: --image lacks its value\n{hint}"));
    assert_eq!(
        said(&["--engine", "warp", "-c", "pass"]),
        "error: `warp` is not an engine\nhint: the engines are auto, criu, direct and off\n"
    );
}

#[test]
fn no_python_at_all() {
    let store = ground().no_file("store");
    let mut command = Command::new(binary("pyrun"));
    ground().clean(&mut command, &store).env("PATH", "/nonexistent").args(["-c", "pass"]);
    let output = run(&mut command);
    assert_eq!(output.code(), 127);
    assert_eq!(
        output.stderr_text(),
        "error: no python3 found on PATH\nhint: install Python, or set PYIMG_PYTHON to an interpreter\n"
    );
}
