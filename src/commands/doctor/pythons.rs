//! The interpreters of this machine, and which of them images can be built of.
//!
//! Looked at are `PYIMG_PYTHON`, the active virtual environment, every directory of
//! `PATH`, and pyenv's versions. Version managers' shims are passed over: what they lead
//! to is found itself.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Finding;
use crate::key::inspect::inspect;
use crate::key::which::{self, Kind};

/// What interpreters are called, besides `python3.9` and so on.
const NAMES: [&str; 2] = ["python3", "python"];

/// An interpreter.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Python {
    /// Where it was found; what is not UTF-8 is replaced.
    pub path: String,
    /// Its version, such as `3.11.7`; null if it is not usable.
    pub version: Option<String>,
    /// Whether images can be built of it.
    pub usable: bool,
    /// Why not; null if it is usable.
    pub reason: Option<String>,
}

pub(super) fn look() -> (Finding, Vec<Python>) {
    let pythons: Vec<Python> = candidates().iter().map(|path| examine(path)).collect();
    let usable = pythons.iter().filter(|python| python.usable).count();
    let detail = format!("{usable} of {} found can be used", pythons.len());
    let finding = if usable > 0 {
        Finding::ok("python", detail)
    } else {
        Finding::failed("python", detail)
            .fix("install CPython 3.9 to 3.13, or set PYIMG_PYTHON to one")
    };
    (finding, pythons)
}

fn examine(path: &Path) -> Python {
    let shown = path.display().to_string();
    match inspect(path) {
        Ok(inspected) => Python {
            path: shown,
            version: Some(inspected.version.to_string()),
            usable: true,
            reason: None,
        },
        Err(error) => {
            // The path stands before it already.
            let reason = error.to_string().replace(&format!("{shown} is "), "it is ");
            Python { path: shown, version: None, usable: false, reason: Some(reason) }
        }
    }
}

/// Binaries that look like an interpreter, each once, in the order of preference.
fn candidates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    found.extend(env::var_os("PYIMG_PYTHON").map(PathBuf::from).filter(|path| path.is_absolute()));
    if let Some(environment) = env::var_os("VIRTUAL_ENV") {
        found.push(Path::new(&environment).join("bin/python"));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    for directory in env::split_paths(&path).filter(|directory| directory.is_absolute()) {
        found.extend(in_directory(&directory));
    }
    let pyenv = env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".pyenv")));
    let versions = pyenv.and_then(|root| fs::read_dir(root.join("versions")).ok());
    let mut versions: Vec<_> = versions.into_iter().flatten().flatten().collect();
    versions.sort_by_key(fs::DirEntry::file_name);
    found.extend(versions.iter().map(|version| version.path().join("bin/python")));

    let mut seen = BTreeSet::new();
    found.retain(|path| {
        which::executable(path).is_some()
            && matches!(Kind::of(path), Ok(Kind::Elf))
            && seen.insert(identity(path))
    });
    found
}

/// What makes two paths the same interpreter. A virtual environment is another one than
/// the binary that its link leads to.
fn identity(path: &Path) -> PathBuf {
    let directory = path.parent().and_then(|directory| directory.canonicalize().ok());
    if let Some(directory) = directory
        && let Some(prefix) = directory.parent()
        && prefix.join("pyvenv.cfg").exists()
    {
        return prefix.to_owned();
    }
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn in_directory(directory: &Path) -> Vec<PathBuf> {
    let numbered = (9..=20).rev().map(|minor| format!("python3.{minor}"));
    let names = NAMES.into_iter().map(str::to_owned).chain(numbered);
    names.map(|name| directory.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn an_environment_is_an_interpreter_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for prefix in ["base", "venv"] {
            fs::create_dir_all(root.join(prefix).join("bin")).unwrap();
        }
        fs::write(root.join("base/bin/python3.11"), "").unwrap();
        fs::write(root.join("venv/pyvenv.cfg"), "").unwrap();
        symlink("python3.11", root.join("base/bin/python3")).unwrap();
        symlink(root.join("base/bin/python3"), root.join("venv/bin/python")).unwrap();
        symlink("python", root.join("venv/bin/python3")).unwrap();
        let identity = |path: &str| identity(&root.join(path));
        assert_eq!(identity("base/bin/python3"), root.join("base/bin/python3.11"));
        assert_eq!(identity("venv/bin/python"), root.join("venv"));
        assert_eq!(identity("venv/bin/python3"), root.join("venv"));
    }

    #[test]
    fn what_is_no_python_has_a_reason() {
        let python = examine(Path::new("/bin/true"));
        assert!(!python.usable);
        assert!(python.reason.unwrap().starts_with("it is not a Python"));
    }
}
