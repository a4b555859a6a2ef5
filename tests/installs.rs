//! pip, itself from an image, changes the environment that the image is of.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Lab, Python, ground, run};

/// pip as far as an installation needs it, and what is installed.
const RECIPE: &str =
    "import json, installed, pip._internal.cli.main, pip._internal.commands.install";
/// Shows what is installed.
const PROGRAM: [&str; 2] = ["-c", "import json, installed; print(installed.VALUE)"];

/// A backend of pip's that makes wheels of one module (PEP 517), and such that only lead to it
/// (PEP 660).
const BACKEND: &str = "\
import os, zipfile
def wheel(directory, name, text):
    with zipfile.ZipFile(os.path.join(directory, 'installed-1-py3-none-any.whl'), 'w') as wheel:
        wheel.writestr(name, text)
        wheel.writestr('installed-1.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: installed\\nVersion: 1\\n')
        wheel.writestr('installed-1.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
        wheel.writestr('installed-1.dist-info/RECORD', '')
    return 'installed-1-py3-none-any.whl'
def build_wheel(directory, settings=None, metadata=None):
    return wheel(directory, 'installed.py', open('source/installed.py').read())
def build_editable(directory, settings=None, metadata=None):
    return wheel(directory, 'installed.pth', os.path.abspath('source'))
";
const PROJECT: &str =
    "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n";

/// A project that can be installed.
fn project() -> PathBuf {
    let place = ground().dir("project");
    fs::create_dir(place.join("source")).unwrap();
    fs::write(place.join("backend.py"), BACKEND).unwrap();
    fs::write(place.join("pyproject.toml"), PROJECT).unwrap();
    write(&place, 1);
    place
}

fn write(project: &Path, value: u32) {
    fs::write(project.join("source/installed.py"), format!("VALUE = {value}\n")).unwrap();
}

/// `pip install` with further options.
fn install<'a>(options: &[&'a str], project: &'a Path) -> Vec<&'a str> {
    let common = ["-m", "pip", "install", "-q", "--no-index", "--no-build-isolation"];
    let quiet = ["--disable-pip-version-check", "--root-user-action=ignore"];
    let project = [project.to_str().unwrap()];
    [&common[..], &quiet[..], options, &project[..]].concat()
}

fn in_an_environment_of_its_own(python: &Python) {
    let venv = ground().dir("venv");
    run(Command::new(&python.path).args(["-m", "venv"]).arg(&venv)).success();
    let path = venv.join("bin/python");
    let project = project();
    run(Command::new(&path).args(install(&[], &project))).success();
    let lab = Lab::new(&Python { path, ..python.clone() }, RECIPE);
    assert_eq!(lab.hit(&PROGRAM).success(), "1\n");

    // Another version, installed by pip from the image.
    write(&project, 2);
    assert_eq!(lab.hit(&install(&["--force-reinstall"], &project)).success(), "");
    let (reason, output) = lab.miss(&PROGRAM);
    assert_eq!(output.success(), "2\n");
    assert!(reason.contains("/installed."), "{reason}");
    lab.build(&[RECIPE]);
    assert_eq!(lab.hit(&PROGRAM).success(), "2\n");

    // In place of it, one that is where it is being written.
    assert_eq!(lab.hit(&install(&["--editable"], &project)).success(), "");
    let (_, output) = lab.miss(&PROGRAM);
    assert_eq!(output.success(), "2\n");
    lab.build(&[RECIPE]);
    assert_eq!(lab.hit(&PROGRAM).success(), "2\n");
    write(&project, 3);
    let (reason, output) = lab.miss(&PROGRAM);
    assert_eq!(output.success(), "3\n");
    assert!(reason.contains("source/"), "{reason}");
    lab.build(&[RECIPE]);

    let remove = ["-m", "pip", "uninstall", "-q", "-y", "--root-user-action=ignore", "installed"];
    assert_eq!(lab.hit(&remove).success(), "");
    let (_, output) = lab.miss(&PROGRAM);
    assert!(output.stderr_text().contains("No module named 'installed'"), "{output:?}");
}

#[test]
fn what_pip_installs_is_there_at_once() {
    if !common::criu() {
        return;
    }
    let pythons = common::three_pythons();
    for python in [pythons.first(), pythons.last()].into_iter().flatten() {
        in_an_environment_of_its_own(python);
    }
}
