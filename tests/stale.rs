//! An image that no longer matches is never used, and the run is right all the same.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use common::{IMAGE, Lab, Output, ground, pyimg, run};

/// A store, and a directory with a package of the test's own that the image holds.
struct Place {
    lab: Lab,
    packages: PathBuf,
}

impl Place {
    /// Builds an image of `module`, which is on `PYTHONPATH`.
    fn new() -> Self {
        let packages = ground().dir("packages");
        let lab = Lab {
            python: common::a_python().clone(),
            store: ground().no_file("store"),
            turn: Default::default(),
        };
        let place = Self { lab, packages };
        place.write("module.py", "VALUE = 'old'\n");
        place.write("package/__init__.py", "from .inner import VALUE\n");
        place.write("package/inner.py", "VALUE = 'old'\n");
        place.build();
        assert_eq!(place.hit(), "old old\n");
        place
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.packages.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn build(&self) {
        let mut command = pyimg(&self.lab.store);
        command.args([
            "build",
            "import module, package, json",
            "--force",
            "--name",
            IMAGE,
            "--python",
        ]);
        run(command.arg(&self.lab.python.path).env("PYTHONPATH", &self.packages)).success();
    }

    /// The program, under a `pyrun` or `python`.
    fn with(&self, mut command: Command) -> Command {
        command.args(["-c", "import module, package; print(module.VALUE, package.VALUE)"]);
        command.env("PYTHONPATH", &self.packages).current_dir(ground().dir("cwd"));
        command
    }

    fn hit(&self) -> String {
        let before = self.lab.uses();
        let output = run(&mut self.with(self.lab.pyrun()));
        assert_eq!(self.lab.uses(), before + 1, "{}", output.stderr_text());
        output.success()
    }

    /// That the image is not used because this file has changed, and what is printed then.
    #[track_caller]
    fn changed(&self, file: &str) -> String {
        let (reason, output) = self.lab.miss_of(&mut self.with(self.lab.pyrun()));
        let path = if file.starts_with('/') { file.into() } else { self.packages.join(file) };
        assert_eq!(reason, format!("{} has changed", path.display()));
        assert_eq!(output, run(&mut self.with(self.lab.plain())));
        output.stdout_text()
    }
}

fn set_mtime(path: &Path, time: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_changed_module() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    place.write("module.py", "VALUE = 'newer'\n");
    assert_eq!(place.changed("module.py"), "newer old\n");
    // Built again it is used again, and so are the new contents.
    place.build();
    assert_eq!(place.hit(), "newer old\n");
    place.write("package/inner.py", "VALUE = 'newest'\n");
    assert_eq!(place.changed("package/inner.py"), "newer newest\n");
}

#[test]
fn a_module_of_the_same_size_and_time() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    let module = place.packages.join("module.py");
    let old = fs::metadata(&module).unwrap().modified().unwrap();
    // Written in place, only the time tells.
    fs::write(&module, "VALUE = 'new'\n").unwrap();
    place.changed("module.py");
    // Put in its place with the time of the old one, as package managers do: another inode.
    let place = Place::new();
    let module = place.packages.join("module.py");
    let new = place.packages.join("module.new");
    fs::write(&new, "VALUE = 'new'\n").unwrap();
    set_mtime(&new, old);
    fs::rename(new, module).unwrap();
    place.changed("module.py");
}

#[test]
fn a_touched_module() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    let module = place.packages.join("module.py");
    set_mtime(&module, SystemTime::now() + Duration::from_secs(10));
    assert_eq!(place.changed("module.py"), "old old\n");
}

#[test]
fn a_removed_module() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    fs::remove_dir_all(place.packages.join("package")).unwrap();
    let (reason, output) = place.lab.miss_of(&mut place.with(place.lab.pyrun()));
    assert!(reason.contains("package"), "{reason}");
    assert_eq!(output, run(&mut place.with(place.lab.plain())));
    assert!(output.stderr_text().contains("No module named 'package'"));
}

#[test]
fn a_changed_compiled_file() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    let cache = place.packages.join("__pycache__");
    let name = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().file_name();
    let compiled = cache.join(name);
    set_mtime(&compiled, SystemTime::now() + Duration::from_secs(10));
    assert_eq!(place.changed(compiled.to_str().unwrap()), "old old\n");
}

#[test]
fn an_upgrade_of_a_package() {
    if !common::criu() {
        return;
    }
    // As an installer does it: the old directory goes, a new one with the same names comes,
    // and the old times are in its files.
    let place = Place::new();
    let package = place.packages.join("package");
    let times: Vec<SystemTime> = ["__init__.py", "inner.py"]
        .map(|name| fs::metadata(package.join(name)).unwrap().modified().unwrap())
        .into();
    fs::rename(&package, place.packages.join("package-1.0")).unwrap();
    place.write("package/__init__.py", "from .inner import VALUE\n");
    place.write("package/inner.py", "VALUE = '2.0'\n");
    for (name, time) in ["__init__.py", "inner.py"].into_iter().zip(times) {
        set_mtime(&package.join(name), time);
    }
    assert_eq!(place.changed("package/__init__.py"), "old 2.0\n");
}

#[test]
fn a_symbolic_link_to_another_version() {
    if !common::criu() {
        return;
    }
    let packages = ground().dir("versions");
    for version in ["1", "2"] {
        fs::create_dir(packages.join(version)).unwrap();
        fs::write(packages.join(version).join("versioned.py"), format!("VALUE = {version}\n"))
            .unwrap();
    }
    let current = packages.join("current");
    symlink("1", &current).unwrap();
    let lab = Lab {
        python: common::a_python().clone(),
        store: ground().no_file("store"),
        turn: Default::default(),
    };
    let mut build = pyimg(&lab.store);
    build.args(["build", "import versioned", "--python"]).arg(&lab.python.path);
    run(build.env("PYTHONPATH", &current)).success();
    let with = |mut command: Command| {
        command
            .args(["-c", "import versioned; print(versioned.VALUE)"])
            .env("PYTHONPATH", &current);
        run(&mut command)
    };
    assert_eq!(with(lab.pyrun()).success(), "1\n");
    assert_eq!(lab.uses(), 1);
    fs::remove_file(&current).unwrap();
    symlink("2", &current).unwrap();
    assert_eq!(with(lab.pyrun()).success(), "2\n");
    assert_eq!(lab.uses(), 1);
}

#[test]
fn a_new_path_file_of_the_environment() {
    if !common::criu() {
        return;
    }
    // A virtual environment of its own, for it is changed.
    let python = common::a_python();
    let venv = ground().dir("venv");
    run(Command::new(&python.path).args(["-m", "venv", "--without-pip"]).arg(&venv)).success();
    let path = venv.join("bin/python");
    let (major, minor) = python.version;
    let site = venv.join(format!("lib/python{major}.{minor}/site-packages"));
    fs::write(site.join("installed.py"), "VALUE = 'installed'\n").unwrap();
    let lab = Lab::new(&common::Python { path, ..python.clone() }, "import installed");
    let program = ["-c", "import installed; print(installed.VALUE)"];
    assert_eq!(lab.hit(&program).success(), "installed\n");

    let other = ground().dir("other");
    fs::write(other.join("other_module.py"), "").unwrap();
    fs::write(site.join("added.pth"), format!("{}\n", other.display())).unwrap();
    let looks = ["-c", "import installed, sys; print(any('other' in path for path in sys.path))"];
    let (reason, output) = lab.miss(&looks);
    assert!(reason.contains("site-packages"), "{reason}");
    assert_eq!(output.success(), "True\n");
}

#[test]
fn another_interpreter_in_the_place_of_the_old() {
    if !common::criu() {
        return;
    }
    let pythons = common::three_pythons();
    let (Some(old), Some(new)) = (pythons.first(), pythons.last()) else { return };
    let link = ground().dir("bin").join("python3");
    symlink(&old.path, &link).unwrap();
    let lab = Lab::new(&common::Python { path: link.clone(), ..(*old).clone() }, "import json");
    let program = ["-c", "import json, sys; print(sys.version_info[:2])"];
    assert_eq!(lab.hit(&program).success(), format!("({}, {})\n", old.version.0, old.version.1));
    if old == new {
        return;
    }
    fs::remove_file(&link).unwrap();
    symlink(&new.path, &link).unwrap();
    let (reason, output) = lab.miss(&program);
    assert_eq!(reason, format!("{} has changed", link.display()));
    assert_eq!(output.success(), format!("({}, {})\n", new.version.0, new.version.1));
}

#[test]
fn an_interpreter_without_images() {
    if !common::criu() {
        return;
    }
    let lab = Lab::new(common::a_python(), "import json");
    let Some(other) = common::pythons().iter().find(|other| **other != lab.python) else { return };
    let mut command = lab.pyrun();
    command.args(["-c", "import json; print(json.dumps(1))"]).env("PYIMG_PYTHON", &other.path);
    let (reason, output) = lab.miss_of(&mut command);
    assert_eq!(reason, format!("no image of {}", other.path.display()));
    assert_eq!(output.success(), "1\n");
}

#[test]
fn modules_that_come_first() {
    if !common::criu() {
        return;
    }
    let lab = Lab::new(common::a_python(), "import json, csv, decimal");
    let place = ground().dir("shadow");
    fs::write(place.join("script.py"), "import json; print(json.__file__)").unwrap();
    let script = place.join("script.py");
    let script = script.to_str().unwrap();
    let original = lab.hit(&[script]).success();

    let own = place.join("json.py");
    fs::write(&own, "print('my own')").unwrap();
    let (reason, output) = lab.miss(&[script]);
    assert_eq!(reason, format!("{} would be imported as json", own.display()));
    assert_eq!(output.success(), format!("my own\n{}\n", own.display()));

    // In the current directory, for -c and -m.
    let mut command = lab.pyrun();
    command
        .args(["-c", "import json, os; print(os.path.basename(json.__file__))"])
        .current_dir(&place);
    let (reason, output) = lab.miss_of(&mut command);
    assert_eq!(reason, format!("{} would be imported as json", own.display()));
    assert_eq!(output.success(), "my own\njson.py\n");

    // Also where the program does not import it itself.
    fs::write(place.join("other.py"), "import csv; print('csv' in globals())").unwrap();
    let other = place.join("other.py");
    assert_eq!(lab.miss(&[other.to_str().unwrap()]).1.success(), "True\n");

    // A directory is one too; a file of data is not.
    fs::remove_file(&own).unwrap();
    fs::write(place.join("json.txt"), "").unwrap();
    assert_eq!(lab.hit(&[script]).success(), original);
    fs::create_dir(place.join("json")).unwrap();
    assert_eq!(lab.hit(&[script]).success(), original);
    fs::write(place.join("json/__init__.py"), "").unwrap();
    let (_, output) = lab.miss(&[script]);
    assert_eq!(output.success(), format!("{}\n", place.join("json/__init__.py").display()));
}

#[test]
fn modules_of_another_directory() {
    if !common::criu() {
        return;
    }
    let lab = Lab::new(common::a_python(), "import json");
    let (here, there) = (ground().dir("here"), ground().dir("there"));
    fs::write(here.join("helper.py"), "who = 'here'").unwrap();
    let program =
        "import json\ntry: import helper; print(helper.who)\nexcept ImportError: print('none')";
    for place in [&here, &there] {
        fs::write(place.join("program.py"), program).unwrap();
    }
    let script = |place: &Path| place.join("program.py").to_str().unwrap().to_owned();
    lab.build(&["--name", "own", "--script", &script(&here)]).success();
    let by_name = |place: &Path| {
        let mut command = lab.pyrun();
        command.args(["--image", "own", &script(place)]);
        command
    };
    let before = lab.uses();
    assert_eq!(run(&mut by_name(&here)).success(), "here\n");
    assert_eq!(lab.uses(), before + 1);
    let (reason, output) = lab.miss_of(&mut by_name(&there));
    assert_eq!(reason, format!("helper of the image is from {}", here.display()));
    assert_eq!(output.success(), "none\n");
    // Without a name the other image serves.
    assert_eq!(lab.hit(&[&script(&there)]).success(), "none\n");
}

#[test]
fn a_path_that_is_relative() {
    if !common::criu() {
        return;
    }
    let lab = Lab::new(common::a_python(), "import json");
    let (here, there) = (ground().dir("from-here"), ground().dir("from-there"));
    fs::write(here.join("helper.py"), "who = 'here'").unwrap();
    fs::write(there.join("helper.py"), "who = 'there'").unwrap();
    for (name, path) in [("dot", "."), ("empty", ":/nowhere")] {
        let mut build = pyimg(&lab.store);
        build.args(["build", "--name", name, "import json", "--python"]).arg(&lab.python.path);
        run(build.current_dir(&here).env("PYTHONPATH", path)).success();
        let mut command = lab.pyrun();
        command.args([
            "--image",
            name,
            "-c",
            "import json, sys; sys.path.pop(0); import helper; print(helper.who)",
        ]);
        command.env("PYTHONPATH", path);
        let before = lab.uses();
        assert_eq!(run(command.current_dir(&here)).success(), "here\n");
        assert_eq!(lab.uses(), before + 1);
        let (reason, output) = lab.miss_of(command.current_dir(&there));
        assert_eq!(reason, "working directory is not as it was at the build");
        assert_eq!(output.success(), "there\n");
    }
}

#[test]
fn other_privileges() {
    if !common::criu() {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can change its group");
        return;
    }
    let lab = Lab::new(common::a_python(), "import json");
    let program = "import json, os; print(os.getgid(), os.getegid())";
    let with = |options: &[&str], pyrun: Command| {
        let mut command = Command::new("setpriv");
        command.env_clear().envs(pyrun.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.args(options).arg(pyrun.get_program());
        command
    };
    let group = ["--regid", "7", "--clear-groups"];
    let mut command = with(&group, lab.pyrun_by("criu"));
    let (reason, output) = lab.miss_of(command.args(["-c", program]));
    assert_eq!(reason, "the image was built with other user or group ids or capabilities");
    assert_eq!(output.success(), "7 7\n");
    // Who becomes the program has the privileges of the caller.
    let program = "import ctypes, json\n\
        kinds = 'Uid', 'Gid', 'Groups', 'Cap', 'NoNewPrivs'\n\
        print(*[line for line in open('/proc/self/status') if line.startswith(kinds)])\n\
        value = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(value)); print(value)";
    for options in [
        &group[..],
        &["--bounding-set", "-all", "--inh-caps", "-all"],
        &["--regid", "7", "--groups", "8,9"],
        &["--securebits", "+no_setuid_fixup"],
        &["--no-new-privs", "--pdeathsig", "TERM"],
    ] {
        let image = with(options, lab.pyrun_by("auto"));
        let image = lab.hit_by("direct", { image }.args(["-c", program]));
        let plain = run(with(options, lab.plain()).args(["-c", program]));
        assert_eq!(image, plain, "{options:?}");
        assert_eq!(plain.code(), 0, "{options:?}: {plain:?}");
    }
}

#[test]
fn variables_that_the_interpreter_starts_with() {
    if !common::criu() {
        return;
    }
    let lab = Lab::new(common::a_python(), "import json");
    let here = ground().dir("path");
    let program = ["-c", "import json, sys; print(sys.path[1:2], sys.flags, 1)"];
    for (name, value, reason) in [
        ("PYTHONPATH", here.to_str().unwrap(), "PYTHONPATH is not as it was at the build"),
        ("PYTHONOPTIMIZE", "1", "PYTHONOPTIMIZE is not as it was at the build"),
        ("PYTHONUTF8", "1", "PYTHONUTF8 is not as it was at the build"),
        ("PYTHONHASHSEED", "0", "PYTHONHASHSEED is `0`"),
        ("PYTHONINSPECT", "1", "PYTHONINSPECT is set"),
        ("LC_ALL", "C", "LC_ALL is not as it was at the build"),
        ("HOME", "/", "HOME is not as it was at the build"),
    ] {
        let mut command = lab.pyrun();
        let (found, output) = lab.miss_of(command.args(program).env(name, value));
        assert_eq!(found, reason);
        let mut plain = lab.plain();
        assert_eq!(output, run(plain.args(program).env(name, value)), "{name}");
    }
    // With -E they do not count, and then the options differ.
    let mut command = lab.pyrun();
    let (reason, _) = lab.miss_of(command.arg("-E").args(program).env("PYTHONPATH", here));
    assert_eq!(reason, "the image was built with no options, not -E");
    // These are read when they are needed.
    let mut command = lab.pyrun();
    command.args(["-c", "import json; breakpoint(); print(1)"]).env("PYTHONBREAKPOINT", "0");
    let before = lab.uses();
    assert_eq!(run(&mut command).success(), "1\n");
    assert_eq!(lab.uses(), before + 1);
}

#[test]
fn damaged_or_missing_files_of_the_store() {
    if !common::criu() {
        return;
    }
    let program = ["--image", IMAGE, "-c", "import json; print(json.dumps(1))"];
    let packs = |lab: &Lab| {
        let packs = fs::read_dir(lab.store.join("packs")).unwrap();
        packs.map(|pack| pack.unwrap().path()).collect::<Vec<_>>()
    };
    let image =
        |lab: &Lab| fs::read_dir(lab.store.join("images")).unwrap().next().unwrap().unwrap().path();
    let writable = |path: &Path| {
        let mut permissions = fs::metadata(path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        fs::set_permissions(path, permissions).unwrap();
        fs::File::options().write(true).open(path).unwrap()
    };
    type Damage<'a> = (&'a str, &'a dyn Fn(&Lab));
    let damages: [Damage; 7] = [
        ("a pack is gone", &|lab| {
            packs(lab).iter().for_each(|pack| fs::remove_file(pack).unwrap())
        }),
        ("a pack is shorter", &|lab| {
            let pack = &packs(lab)[0];
            let length = fs::metadata(pack).unwrap().len();
            writable(pack).set_len(length / 2).unwrap();
        }),
        ("a pack is empty", &|lab| writable(&packs(lab)[0]).set_len(0).unwrap()),
        ("the manifest is gone", &|lab| fs::remove_file(image(lab).join("manifest.json")).unwrap()),
        ("the manifest is cut off", &|lab| {
            writable(&image(lab).join("manifest.json")).set_len(100).unwrap()
        }),
        ("the image is gone", &|lab| fs::remove_dir_all(image(lab)).unwrap()),
        ("files of the process are cut off", &|lab| {
            for entry in fs::read_dir(image(lab)).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "img") {
                    let length = fs::metadata(&path).unwrap().len();
                    writable(&path).set_len(length / 2).unwrap();
                }
            }
        }),
    ];
    let original = Lab::new(common::a_python(), "import json");
    for (name, damage) in damages {
        let lab = Lab {
            python: original.python.clone(),
            store: ground().no_file("store"),
            turn: Default::default(),
        };
        run(Command::new("cp").arg("-a").args([&original.store, &lab.store])).success();
        assert_eq!(
            run(lab.pyrun().args(program)),
            Output { stderr: Vec::new(), ..run(lab.plain().args(&program[2..])) },
            "before"
        );
        assert!(lab.uses() > original.uses(), "a copy of a store is a store");
        damage(&lab);
        let mut output = run(lab.pyrun().args(program));
        let reason = output.take_miss();
        assert!(reason.is_some(), "{name}: {output:?}");
        assert_eq!(output.success(), "1\n", "{name}: {reason:?}");
    }
}

#[test]
fn every_miss_is_one_line_and_plain_python() {
    if !common::criu() {
        return;
    }
    let lab = Lab::new(common::a_python(), "import json");
    let place = ground().dir("cwd");
    let python = lab.python.path.display().to_string();
    let empty = ground().no_file("store");
    for (arguments, variables, wanted) in [
        (
            &["-c", "import csv; print(1)"][..],
            &[][..],
            "no image holds a module that the program imports".to_owned(),
        ),
        (&["--engine", "off", "-c", "import json; print(1)"], &[], "the engine is off".to_owned()),
        (
            &["--image", "nope", "-c", "import json; print(1)"],
            &[],
            "no image is called `nope`".to_owned(),
        ),
        (
            &["-c", "import json; print(1)"],
            &[("PYIMG_IMAGE", "nope")],
            "no image is called `nope`".to_owned(),
        ),
        (
            &["-c", "import json; print(1)"],
            &[("PYIMG_ENGINE", "warp")],
            "PYIMG_ENGINE is `warp`, not auto, criu, direct or off".to_owned(),
        ),
        (
            &["-c", "import json; print(1)"],
            &[("PYIMG_DIR", empty.to_str().unwrap())],
            format!("no store at {}", empty.display()),
        ),
        (
            &["-c", "import json; print(1)"],
            &[("PYIMG_DIR", "/proc/version")],
            "the store /proc/version is not a directory".to_owned(),
        ),
        (&["-V"], &[], "-V makes Python print something and end".to_owned()),
        (
            &["-v", "-S", "-c", "1/0"],
            &[],
            "-v acts while Python starts, which an image has behind it".to_owned(),
        ),
        (&["-Z"], &[], "unknown option -Z".to_owned()),
        (
            &["-O", "-c", "import json; print(1)"],
            &[],
            "the image was built with no options, not -O".to_owned(),
        ),
        (
            &["-c", "import json; print(1)"],
            &[("PYIMG_CRIU", "/no/criu"), ("PYIMG_ENGINE", "criu")],
            "no usable CRIU: no criu binary: looked for /no/criu".to_owned(),
        ),
        (
            &["-c", "import json; print(1)"],
            &[("PYIMG_CRIU", "/bin/false"), ("PYIMG_ENGINE", "criu")],
            "CRIU failed: ".to_owned(),
        ),
        (
            &["-c", "import json, os; print(sorted(os.environb.items()))"],
            &[("PYIMG_CRIU", "/bin/false"), ("PYIMG_ENGINE", "criu")],
            "CRIU failed: ".to_owned(),
        ),
        (
            &[
                "-c",
                "import json, signal; print(signal.pthread_sigmask(0, []), [str(signal.getsignal(s)) for s in range(1, 32)])",
            ],
            &[("PYIMG_CRIU", "/bin/false"), ("PYIMG_ENGINE", "criu")],
            "CRIU failed: ".to_owned(),
        ),
        (
            &["-c", "import json, os; print(os.listdir('/proc/self/fd'))"],
            &[("PYIMG_CRIU", "/bin/false"), ("PYIMG_ENGINE", "criu")],
            "CRIU failed: ".to_owned(),
        ),
        (&["missing.py"], &[], "cannot open missing.py".to_owned()),
    ] {
        let with = |mut command: Command, arguments: &[&str]| {
            command.args(arguments).envs(variables.iter().copied()).current_dir(&place);
            command
        };
        let (reason, output) = lab.miss_of(&mut with(lab.pyrun(), arguments));
        assert!(reason.starts_with(&wanted), "{arguments:?} {variables:?}: {reason}");
        let own = arguments[0].starts_with("--image") || arguments[0].starts_with("--engine");
        let plain = run(&mut with(lab.plain(), &arguments[if own { 2 } else { 0 }..]));
        if arguments[0] == "-v" {
            assert_eq!(output.code(), plain.code());
        } else {
            assert_eq!(output, plain, "{arguments:?} {variables:?}");
        }
    }
    assert!(python.starts_with('/'));
}
