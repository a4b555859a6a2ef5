//! Whatever a person starts as a program: zip archives, `#!` lines, console scripts, `-m`.

mod common;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{IMAGE, Lab, a_python, binary, ground, pyimg, run};

/// What the image holds.
const RECIPE: &str = "import csv, json, logging";

/// Makes an archive by Python's own means: the texts of files go in as they are, deflated.
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    const MAKE: &str = "\
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as archive:
    for name, text in zip(sys.argv[2::2], sys.argv[3::2]):
        archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)";
    let path = ground().no_file("archive");
    let mut command = Command::new(&a_python().path);
    command.args(["-c", MAKE]).arg(&path);
    command.args(files.iter().flat_map(|(name, text)| [name, text]));
    run(&mut command).success();
    fs::read(&path).unwrap()
}

fn with_front(front: &str, archive: &[u8]) -> Vec<u8> {
    [front.as_bytes(), archive].concat()
}

/// A directory with an archive in it, and a lab with an image that was built with the
/// archive, or the place for one, on `PYTHONPATH`.
struct Library {
    lab: Lab,
    directory: PathBuf,
}

impl Library {
    fn new(recipe: &str, files: &[(&str, &str)]) -> Self {
        let library = Self {
            lab: Lab {
                python: a_python().clone(),
                store: ground().no_file("store"),
                turn: Default::default(),
            },
            directory: ground().dir("library"),
        };
        if !files.is_empty() {
            library.write(files);
        }
        let mut command = common::pyimg(&library.lab.store);
        command.args(["build", recipe, "--name", IMAGE, "--python"]).arg(&library.lab.python.path);
        run(command.env("PYTHONPATH", library.path())).success();
        library
    }

    fn path(&self) -> PathBuf {
        self.directory.join("library.zip")
    }

    fn write(&self, files: &[(&str, &str)]) {
        let new = self.directory.join("new");
        fs::write(&new, archive(files)).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    /// What a program prints, and why it was a miss if it was one; plain Python prints the
    /// same.
    fn run(&self, code: &str) -> (String, Option<String>) {
        let with = |mut command: Command| {
            command.args(["-c", code]).env("PYTHONPATH", self.path());
            run(command.current_dir(ground().dir("cwd")))
        };
        let mut output = with(self.lab.pyrun());
        let miss = output.take_miss();
        assert_eq!(output, with(self.lab.plain()));
        (output.success(), miss)
    }
}

#[test]
fn archives_on_the_search_path() {
    if !common::criu() {
        return;
    }
    let library = Library::new("import module", &[("module.py", "VALUE = 'old'")]);
    let code = "import module; print(module.VALUE)";
    assert_eq!(library.run(code), ("old\n".into(), None));
    library.write(&[("module.py", "VALUE = 'new'")]);
    let changed = Some(format!("{} has changed", library.path().display()));
    assert_eq!(library.run(code), ("new\n".into(), changed.clone()));

    // What is in an archive that was looked into is remembered, and so it must not change.
    let library = Library::new("import json", &[("module.py", "VALUE = 'old'")]);
    let code = "import json, module; print(module.VALUE)";
    assert_eq!(library.run(code), ("old\n".into(), None));
    library.write(&[("filler.py", "x = 1"), ("module.py", "VALUE = 'new'")]);
    let changed = Some(format!("{} has changed", library.path().display()));
    assert_eq!(library.run(code), ("new\n".into(), changed));
    library.write(&[("json.py", ""), ("module.py", "VALUE = 'new'")]);
    let shadowed = format!("{}/json.py would be imported as json", library.path().display());
    assert_eq!(library.run(code), ("new\n".into(), Some(shadowed)));
    fs::write(library.path(), "PK\x05\x06").unwrap();
    let (_, miss) = library.run("import json");
    assert!(miss.is_some_and(|miss| miss.contains("is a zip archive that cannot be read")));

    // Nothing was there when the image was built.
    let library = Library::new("import json", &[]);
    assert_eq!(library.run("import json"), (String::new(), None));
    library.write(&[("module.py", "VALUE = 'late'")]);
    let new = Some(format!("{} is new", library.path().display()));
    assert_eq!(library.run(code), ("late\n".into(), new));
    library.write(&[("json/__init__.py", "VALUE = 'own'")]);
    let (text, miss) = library.run("import json; print(json.VALUE)");
    assert_eq!(text, "own\n");
    assert!(miss.is_some_and(|miss| miss.ends_with("would be imported as json")));
}

#[test]
fn a_program_that_is_replaced() {
    if !common::criu() {
        return;
    }
    let lab = Lab::new(a_python(), RECIPE);
    let program = ground().dir("programs").join("app");
    for text in ["import json, x; print(x.Y)", "import json, x; print(x.Y + 1)"] {
        for value in ["Y = 1", "Y = 20"] {
            let files = [("__main__.py", text), ("x.py", value)];
            fs::write(&program, with_front("#!/bin/sh\n", &archive(&files))).unwrap();
            let program = program.to_str().unwrap();
            // Found by itself, by what is imported in the archive.
            let output = lab.hit(&[program]);
            assert_eq!(output, run(lab.plain().arg(program)));
            assert_eq!(output.code(), 0);
        }
    }
    let files = [("__main__.py", "import x"), ("x.py", "import nothing_known")];
    fs::write(&program, archive(&files)).unwrap();
    let (reason, _) = lab.miss(&[program.to_str().unwrap()]);
    assert_eq!(reason, "no image holds a module that the program imports");
}

/// A file that can be started.
fn executable(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Starts a file as a shell would, with `pyrun` on the path.
fn start(lab: &Lab, program: &Path, arguments: &[&str]) -> Command {
    let model = lab.pyrun();
    let mut command = Command::new(program);
    command.env_clear().args(arguments).stdin(std::process::Stdio::null());
    command.envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut path = OsString::from(binary("pyrun").parent().unwrap());
    path.push(":/usr/bin:/bin");
    command.env("PATH", path);
    command
}

#[test]
fn first_lines() {
    if !common::criu() {
        return;
    }
    let text = "import sys, json\nprint(sys.argv, sys.flags, sys.path[0], __file__)\nsys.exit(5)\n";
    let zipped = archive(&[("__main__.py", text)]);
    let directory = ground().dir("first-lines");
    let plain = Lab::new(a_python(), RECIPE);
    let optimised = Lab::with(a_python(), &[RECIPE, "--", "-O", "-B"]);
    for (lab, name, line, flags) in [
        (&plain, "env", "#!/usr/bin/env pyrun\n", &[][..]),
        (&plain, "options", "#!/usr/bin/env -S pyrun --image image\n", &[]),
        (&optimised, "flags", "#!/usr/bin/env -S pyrun -O -B\n", &["-O", "-B"]),
        (&optimised, "both", "#!/usr/bin/env -S pyrun --image=image -OB\n", &["-O", "-B"]),
    ] {
        for (name, text) in [(name, text.as_bytes()), (&*format!("{name}.pyz"), &zipped)] {
            let path = directory.join(name);
            executable(&path, with_front(line, text));
            let before = lab.uses();
            let output = run(&mut start(lab, &path, &["a b", "-O"]));
            assert_eq!(lab.uses(), before + 1, "{name}: {}", output.stderr_text());
            assert_eq!(output.code(), 5);
            let mut python = lab.plain();
            let wanted = run(python.args(flags).arg(&path).args(["a b", "-O"]));
            assert_eq!(output, wanted, "{name}");
        }
    }
    // Without `-S` all is one word, for plain Python as well.
    let path = directory.join("one-word");
    executable(&path, "#!/usr/bin/env pyrun -O\n");
    assert_eq!(run(&mut start(&plain, &path, &[])).code(), 127);
}

#[test]
fn console_scripts() {
    if !common::criu() {
        return;
    }
    let python = a_python();
    let venv = ground().dir("venv");
    run(Command::new(&python.path).args(["-m", "venv", "--without-pip"]).arg(&venv)).success();
    let own = venv.join("bin/python");
    let (major, minor) = python.version;
    let site = venv.join(format!("lib/python{major}.{minor}/site-packages"));
    fs::create_dir_all(site.join("tool")).unwrap();
    fs::write(site.join("tool/__init__.py"), "import json\n").unwrap();
    fs::write(site.join("tool/__main__.py"), "from tool.cli import main\nmain()\n").unwrap();
    let cli = "import sys\ndef main():\n    print(sys.argv, sys.prefix, __file__)\n    return 6\n";
    fs::write(site.join("tool/cli.py"), cli).unwrap();
    let script = venv.join("bin/tool");
    let text = "import re, sys\nfrom tool.cli import main\nif __name__ == '__main__':\n    \
        sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])\n    sys.exit(main())\n";
    executable(&script, format!("#!{}\n# -*- coding: utf-8 -*-\n{text}", own.display()));
    let lab = Lab::with(&common::Python { path: own, ..python.clone() }, &["import tool.cli"]);

    // The interpreter is the script's own; for `-m` it is that of the environment.
    let script = script.to_str().unwrap();
    let mut wanted = Command::new(script);
    let wanted = run(ground().clean(&mut wanted, &lab.store).args(["x", "--y"]));
    assert_eq!(wanted.code(), 6);
    let with = |arguments: &[&str], variable: Option<(&str, &Path)>| {
        let before = lab.uses();
        let mut command = lab.pyrun();
        command.args(arguments).env_remove("PYIMG_PYTHON").envs(variable);
        let output = run(&mut command);
        assert_eq!(lab.uses(), before + 1, "{arguments:?}: {}", output.stderr_text());
        output
    };
    assert_eq!(with(&[script, "x", "--y"], None), wanted);
    assert_eq!(run(lab.plain().args([script, "x", "--y"])), wanted);
    let module = with(&["-m", "tool", "x"], Some(("VIRTUAL_ENV", &venv)));
    assert_eq!(module, run(lab.plain().args(["-m", "tool", "x"])));
    let code = ["-c", "import tool.cli as t; t.main()"];
    assert_eq!(with(&code, Some(("VIRTUAL_ENV", &venv))), run(lab.plain().args(code)));
}

/// Most console scripts call a function that imports what they need.
#[test]
fn what_entry_points_import() {
    if !common::criu() {
        return;
    }
    let place = ground().dir("entry");
    let files = [
        ("tool/__init__.py", ""),
        (
            "tool/cli.py",
            "import json\n\
             def main():\n\
             \x20   import lazy_one\n\
             \x20   try:\n\
             \x20       from .core import work\n\
             \x20       import no_such_module\n\
             \x20   except ImportError:\n\
             \x20       pass\n\
             \x20   if lazy_one.VALUE == 2:\n\
             \x20       import lazy_branch\n\
             \x20   print(json.dumps([lazy_one.VALUE]))\n\
             \x20   return work()\n\
             def other():\n\
             \x20   import lazy_other\n",
        ),
        (
            "tool/core.py",
            "def work():\n\
             \x20   import lazy_two\n\
             \x20   return helper()\n\
             def helper():\n\
             \x20   import lazy_three\n\
             \x20   return lazy_three.VALUE\n",
        ),
        (
            "script",
            "import sys\nfrom tool.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n",
        ),
        ("own", "def main():\n    import lazy_four\n    print(lazy_four.VALUE)\nmain()\n"),
    ];
    let lazy = ["one", "two", "three", "four", "branch", "other"];
    fs::create_dir(place.join("tool")).unwrap();
    for (name, text) in files {
        fs::write(place.join(name), text).unwrap();
    }
    for name in lazy {
        fs::write(place.join(format!("lazy_{name}.py")), "VALUE = 1\n").unwrap();
    }
    for python in common::three_pythons() {
        let store = ground().no_file("store");
        let lab = Lab { python: python.clone(), store, turn: Default::default() };
        for (script, expected) in [("script", &["one", "three", "two"][..]), ("own", &["four"])] {
            let script = place.join(script);
            let script = script.to_str().unwrap();
            let said = lab.build(&["--script", script, "--name", "entry", "--force"]).success();
            let shown = run(pyimg(&lab.store).args(["show", "entry", "--json"])).success();
            let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
            let modules = shown["modules"].as_array().unwrap().iter();
            let modules = modules.filter_map(|name| name.as_str()?.strip_prefix("lazy_"));
            let mut modules: Vec<&str> = modules.collect();
            modules.sort_unstable();
            assert_eq!(modules, expected, "{}: {said}", python.label);
            let (ours, plain) = (lab.hit(&[script]), run(lab.plain().arg(script)));
            assert_eq!((ours.code(), &ours.stdout), (plain.code(), &plain.stdout));
        }
    }
}
