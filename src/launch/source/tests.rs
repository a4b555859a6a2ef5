use super::*;
use crate::launch::command_line::CommandLine;
use std::ffi::OsString;
use std::fs;

/// A current directory with files, and a place where modules are installed.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.at("cwd")).unwrap();
        for (name, text) in files {
            fs::create_dir_all(place.at(name).parent().unwrap()).unwrap();
            fs::write(place.at(name), text).unwrap();
        }
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    fn look(&self, line: &[&str]) -> Result<Source, Miss> {
        let line = CommandLine::parse(line.iter().map(OsString::from), || false).unwrap();
        Source::of(&line.run.unwrap(), &self.at("cwd"), &[self.at("installed")])
    }

    fn imports(&self, line: &[&str]) -> Vec<String> {
        let source = self.look(line).expect("Python could run it");
        source.imports.expect("a known program").into_iter().collect()
    }

    fn first_path(&self, line: &[&str]) -> Option<PathBuf> {
        self.look(line).expect("Python could run it").first_path
    }
}

#[test]
fn forms_and_first_paths() {
    let place = Place::new(&[
        ("cwd/x.py", ""),
        ("elsewhere/real.py", ""),
        ("cwd/dir/__main__.py", "import inside"),
        ("cwd/empty/other.py", ""),
    ]);
    std::os::unix::fs::symlink("../elsewhere/real.py", place.at("cwd/link.py")).unwrap();
    let cwd = Some(place.at("cwd"));
    assert_eq!(place.look(&["-c", ""]).unwrap().form, Form::Command);
    assert_eq!(place.first_path(&["-c", ""]), cwd);
    assert_eq!(place.first_path(&["-m", "x"]), cwd);
    assert_eq!(place.first_path(&["-I", "-c", ""]), None);
    assert_eq!(place.first_path(&["-P", "x.py"]), None);
    assert_eq!(place.look(&["x.py"]).unwrap().form, Form::File);
    assert_eq!(place.first_path(&["x.py"]), cwd);
    assert_eq!(place.first_path(&["link.py"]), Some(place.at("elsewhere")));
    assert_eq!(place.look(&["dir"]).unwrap().form, Form::Archive);
    assert_eq!(place.first_path(&["-I", "dir"]), Some(place.at("cwd/dir")));
    assert_eq!(place.imports(&["dir"]), ["inside"]);
    let miss = |name| place.look(&[name]).unwrap_err().to_string();
    assert_eq!(miss("empty"), "empty has no __main__ module");
    assert_eq!(miss("none.py"), "cannot open none.py: No such file or directory (os error 2)");
}

#[test]
fn byte_code_is_not_known() {
    let place = Place::new(&[("cwd/short", "PK"), ("cwd/x.pyc", "import a")]);
    fs::write(place.at("cwd/code"), b"\xa7\r\r\n\0\0\0\0").unwrap();
    for name in ["code", "x.pyc"] {
        let source = place.look(&[name]).unwrap();
        assert_eq!((source.form, source.imports), (Form::File, None), "{name}");
    }
    assert_eq!(place.look(&["short"]).unwrap().form, Form::File);
}

#[test]
fn programs_in_archives() {
    let place = Place::new(&[("cwd/beside.py", "import unseen")]);
    let main = "import helper, beside\nfrom package import part\ndef f(): import sqlite3";
    let files = [
        ("__main__.py", main),
        ("helper.py", "import json"),
        ("package/__init__.py", "from .deep.er import thing"),
        ("package/part.py", "import re\ndef f():\n from . import late"),
        ("package/late.py", "import csv"),
        ("package/deep/er.py", "import ast"),
        ("unused.py", "import unused"),
    ];
    archive::testing::write(&place.at("cwd/app"), b"#!/usr/bin/env pyrun\n", &files);
    let source = place.look(&["app"]).unwrap();
    assert_eq!((source.form, &source.first_path), (Form::Archive, &Some(place.at("cwd/app"))));
    let eager = ["ast", "beside", "helper", "json", "package", "re"];
    assert_eq!(source.eager.iter().collect::<Vec<_>>(), eager);
    let imports = ["ast", "beside", "csv", "helper", "json", "package", "re", "sqlite3"];
    assert_eq!(place.imports(&["-I", "app"]), imports);
    assert_eq!(place.imports(&["./app"]), imports, "however it is written");
    assert_eq!(place.first_path(&["./app"]), Some(place.at("cwd/app")));
}

#[test]
fn odd_archives() {
    let place = Place::new(&[]);
    let miss = |name| place.look(&[name]).unwrap_err().to_string();
    archive::testing::write(&place.at("cwd/none"), b"", &[("main.py", "")]);
    assert_eq!(miss("none"), "none has no __main__ module");
    archive::testing::write(&place.at("cwd/compiled"), b"", &[("__main__.pyc", "")]);
    let source = place.look(&["compiled"]).unwrap();
    assert_eq!((source.form, source.imports), (Form::Archive, None));
    fs::write(place.at("cwd/empty"), [b"PK\x05\x06".as_slice(), &[0; 18]].concat()).unwrap();
    assert_eq!(miss("empty"), "empty has no __main__ module");
    fs::write(place.at("cwd/broken"), b"PK\x05\x06").unwrap();
    assert!(miss("broken").starts_with("broken is a zip archive that cannot be read: "));
}

#[test]
fn a_pipe_is_not_read() {
    let place = Place::new(&[]);
    nix::unistd::mkfifo(&place.at("cwd/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let source = place.look(&["fifo"]).unwrap();
    assert_eq!((source.form, source.imports), (Form::File, None));
}

#[test]
fn a_program_in_a_pipe_stays_in_it() {
    // Other tests start processes, which must not keep it open.
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let mut text = [0; 100];
    assert_eq!(peek_pipe(read.as_fd(), &mut text), Err(nix::Error::EAGAIN), "nothing there yet");
    nix::unistd::write(&write, b"import numpy\n").unwrap();
    for _ in 0..2 {
        assert_eq!(peek_pipe(read.as_fd(), &mut text), Ok(13));
        assert_eq!(&text[..13], b"import numpy\n");
    }
    drop(write);
    assert_eq!(nix::unistd::read(&read, &mut text), Ok(13), "all of it is still there");
    assert_eq!(peek_pipe(read.as_fd(), &mut text), Ok(0));
}

#[test]
fn modules_beside_the_program_are_followed() {
    let place = Place::new(&[
        ("cwd/x.py", "import helper, package.part, numpy"),
        ("cwd/helper.py", "import json\nimport x"),
        ("cwd/package/__init__.py", "from . import base"),
        ("cwd/package/base.py", "from .deep.er import thing"),
        ("cwd/package/part.py", "import re\nfrom .. import beyond"),
        ("cwd/package/unused.py", "import unused"),
        ("cwd/package/deep/er.py", "import ast"),
        ("installed/numpy/__init__.py", "import ctypes"),
    ]);
    let wanted = ["ast", "helper", "json", "numpy", "package", "re", "x"];
    assert_eq!(place.imports(&["x.py"]), wanted);
    assert_eq!(place.imports(&["-c", "import helper"]), wanted);
    assert_eq!(place.imports(&["-I", "x.py"]), ["helper", "numpy", "package"]);
}

#[test]
fn what_functions_import_comes_last() {
    let place = Place::new(&[
        ("cwd/x.py", "def f():\n import first, json\nimport second"),
        ("cwd/first.py", "import re, second"),
        ("cwd/second.py", "import ast\ndef f(): import csv"),
    ]);
    let source = place.look(&["x.py"]).unwrap();
    assert_eq!(source.eager, ["ast", "second"].map(String::from).into());
    let all = ["ast", "csv", "first", "json", "re", "second"].map(String::from).into();
    assert_eq!(source.imports, Some(all));
}

#[test]
fn modules_run_by_name() {
    let place = Place::new(&[
        ("installed/tool/__init__.py", "import base64"),
        ("installed/tool/__main__.py", "from tool.cli import main"),
        ("installed/tool/cli.py", "import click"),
        ("installed/click/__init__.py", "import gettext"),
        ("installed/single.py", "import click"),
        ("cwd/local/__main__.py", "import beside"),
        ("cwd/beside.py", "import re"),
        ("cwd/single.py", "import own"),
    ]);
    assert_eq!(place.imports(&["-m", "tool"]), ["base64", "click", "tool"]);
    assert_eq!(place.imports(&["-m", "tool.cli"]), ["base64", "click", "tool"]);
    assert_eq!(place.imports(&["-m", "local"]), ["beside", "local", "re"]);
    assert_eq!(place.imports(&["-m", "single"]), ["own", "single"]);
    assert_eq!(place.imports(&["-I", "-m", "single"]), ["click", "single"]);
    assert_eq!(place.imports(&["-m", "nowhere.at.all"]), ["nowhere"]);
    assert_eq!(place.look(&["-m", "tool"]).unwrap().form, Form::Module);
}

#[test]
fn reading_is_bounded() {
    let modules: Vec<_> = (0..100).map(|n| format!("cwd/m{n}.py")).collect();
    let text: String = (0..100).map(|n| format!("import m{n}\n")).collect();
    let place = Place::new(&[("cwd/x.py", &text)]);
    for module in &modules {
        fs::write(place.at(module), "import found").unwrap();
    }
    assert_eq!(place.imports(&["x.py"]).len(), 101);
    fs::write(place.at("cwd/x.py"), format!("import m1\n{}\nimport late", "#".repeat(MAX_BYTES)))
        .unwrap();
    assert_eq!(place.imports(&["x.py"]), ["m1"]);
}
