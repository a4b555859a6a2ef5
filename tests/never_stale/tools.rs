//! What the tests make things with: a C compiler, wheels and pip, environments.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{self, Python, ground, run};

/// Compiles a shared object from C with these further arguments; false, having said so, if
/// there is no compiler or no `Python.h`.
pub fn compile(python: &Python, source: &str, to: &Path, arguments: &[&str]) -> bool {
    let question = "import sysconfig; print(sysconfig.get_paths()['include'])";
    let include = run(Command::new(&python.path).args(["-c", question])).success();
    if !Path::new(include.trim()).join("Python.h").exists() {
        println!("skipped: no Python.h in {}", include.trim());
        return false;
    }
    if Command::new("cc").arg("--version").output().is_err() {
        println!("skipped: no C compiler");
        return false;
    }
    let mut command = Command::new("cc");
    let text = ground().no_file("extension.c");
    std::fs::write(&text, source).unwrap();
    command.args(["-shared", "-fPIC", "-I", include.trim(), "-o"]).arg(to).arg(text);
    run(command.args(arguments)).success();
    true
}

/// A virtual environment of one's own, for it will be changed, and its `site-packages`.
pub fn environment(python: &Python, options: &[&str]) -> (Python, PathBuf) {
    let venv = ground().dir("venv");
    let mut command = Command::new(&python.path);
    run(command.args(["-m", "venv", "--without-pip"]).args(options).arg(&venv)).success();
    let (major, minor) = python.version;
    let site = venv.join(format!("lib/python{major}.{minor}/site-packages"));
    (Python { path: venv.join("bin/python"), ..python.clone() }, site)
}

/// Writes a wheel of files, all below the directory of wheels.
pub fn wheel(wheels: &Path, name: &str, version: &str, files: &[(&str, &str)]) {
    let code = r#"
import sys, zipfile
wheels, name, version, *files = sys.argv[1:]
info = f"{name}-{version}.dist-info"
contents = dict(zip(files[::2], files[1::2]))
contents[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
contents[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
record = f"{info}/RECORD"
contents[record] = "".join(f"{path},,\n" for path in [*contents, record])
with zipfile.ZipFile(f"{wheels}/{name}-{version}-py3-none-any.whl", "w") as archive:
    for path, text in contents.items():
        # As reproducible builds do it: the same time in all versions.
        archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
"#;
    let mut command = Command::new(&common::a_python().path);
    command.args(["-c", code]).arg(wheels).args([name, version]);
    run(command.args(files.iter().flat_map(|(path, text)| [path, text]))).success();
}

/// Runs pip for an environment; false, having said so, if this Python has none.
pub fn pip(base: &Python, environment: &Python, wheels: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new(&base.path);
    ground().clean(&mut command, Path::new("/nonexistent"));
    command.args(["-m", "pip", "--disable-pip-version-check", "--no-color", "--python"]);
    command.arg(&environment.path).args(arguments);
    if arguments[0] == "install" {
        command.args(["--no-index", "--no-deps", "--find-links"]).arg(wheels);
    }
    let output = run(&mut command);
    let error = output.stderr_text();
    if error.contains("No module named pip") || error.contains("no such option: --python") {
        println!("skipped: {}", error.trim());
        return false;
    }
    output.success();
    true
}
