//! Files that Python would import in place of a module of the image.
//!
//! A process of an image has its modules already, so it would not notice a `numpy.py` put
//! beside the script that plain Python would take instead. Such a file makes the run a
//! miss. The directories to look through are those that come before a module's own: the
//! script's, or the current one.
//!
//! The rules are those of `importlib`'s `FileFinder`: a package, then an extension module,
//! then source, then byte code; a directory that is none of these only if nothing else of
//! the name is found anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::key::which::FileId;

/// A file that comes before a module of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// The module's name.
    pub module: String,
    /// The file, or the package's directory.
    pub path: PathBuf,
}

/// Looks through `directory`, which Python would search first, for anything that it would
/// import in place of one of `modules`.
///
/// Of each top-level module it is known which directory it came from: one that came from
/// this very directory is itself what Python would find, and one that is built in comes
/// before all directories. `suffixes` are the endings of extension modules of the
/// interpreter. Anything of the name is found in place of those in `absent`, which were looked
/// for in vain. One reading of the directory; a directory that cannot be read has nothing
/// to import either.
pub fn find(
    directory: &Path,
    modules: &BTreeMap<String, Option<PathBuf>>,
    absent: &[String],
    suffixes: &[String],
) -> Option<Shadow> {
    let mut found: Option<Shadow> = None;
    for entry in fs::read_dir(directory).ok()?.flatten() {
        let name = entry.file_name();
        let name = name.as_bytes();
        let stem = &name[..memchr::memchr(b'.', name).unwrap_or(name.len())];
        let Ok(module) = std::str::from_utf8(stem) else { continue };
        let origin = match modules.get(module) {
            Some(Some(origin)) if origin != directory => Some(origin),
            None if absent.iter().any(|absent| absent == module) => None,
            _ => continue,
        };
        let path = entry.path();
        let wins = match &name[stem.len()..] {
            b"" => {
                // A namespace package in the image would have gained a part.
                let gains = |own: PathBuf| own.is_dir() && !is_package(&own, suffixes);
                is_package(&path, suffixes)
                    || path.is_dir() && origin.is_none_or(|origin| gains(origin.join(module)))
            }
            b".py" | b".pyc" => path.is_file(),
            ending => suffixes.iter().any(|suffix| suffix.as_bytes() == ending) && path.is_file(),
        };
        // Directories are read in no order; the answer is to be the same each time.
        // The same directory may go by two names.
        let is_own = |origin| FileId::of(origin) == FileId::of(directory);
        let wins = wins && !origin.is_some_and(|origin| is_own(origin));
        if wins && found.as_ref().is_none_or(|found| path < found.path) {
            found = Some(Shadow { module: module.to_owned(), path });
        }
    }
    found
}

/// Whether a directory is a package of its own. A namespace package, which is a directory
/// without `__init__`, gives way to whatever else has the name.
fn is_package(path: &Path, suffixes: &[String]) -> bool {
    let endings = suffixes.iter().map(String::as_str).chain([".py", ".pyc"]);
    path.is_dir()
        && endings.map(|ending| format!("__init__{ending}")).any(|name| path.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        directory: tempfile::TempDir,
        modules: BTreeMap<String, Option<PathBuf>>,
    }

    impl Place {
        fn new(files: &[&str]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            for file in files {
                let path = directory.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            let installed = Some(PathBuf::from("/usr"));
            let modules = [
                ("numpy", installed.clone()),
                ("json", installed),
                ("sys", None),
                ("local", Some(directory.path().to_owned())),
            ];
            let modules =
                modules.map(|(name, origin)| (name.to_owned(), origin)).into_iter().collect();
            Self { directory, modules }
        }

        fn find(&self) -> Option<String> {
            let suffixes =
                [".cpython-311-x86_64-linux-gnu.so", ".abi3.so", ".so"].map(String::from);
            let absent = ["speedups".to_owned()];
            let found = find(self.directory.path(), &self.modules, &absent, &suffixes)?;
            let path = found.path.strip_prefix(self.directory.path()).unwrap();
            Some(format!("{} by {}", found.module, path.display()))
        }
    }

    #[test]
    fn whatever_python_would_import() {
        for file in [
            "numpy.py",
            "numpy.pyc",
            "numpy.so",
            "numpy.abi3.so",
            "numpy.cpython-311-x86_64-linux-gnu.so",
        ] {
            assert_eq!(Place::new(&[file]).find(), Some(format!("numpy by {file}")));
        }
        for file in ["numpy/__init__.py", "numpy/__init__.pyc", "numpy/__init__.abi3.so"] {
            assert_eq!(Place::new(&[file]).find().as_deref(), Some("numpy by numpy"));
        }
        let mut place = Place::new(&["spread/here.py"]);
        let other = Place::new(&["spread/there.py", "whole/__init__.py"]);
        place.modules.insert("spread".into(), Some(other.directory.path().to_owned()));
        assert_eq!(place.find().as_deref(), Some("spread by spread"), "namespace packages add up");

        for file in ["speedups.py", "speedups/x", "speedups.so"] {
            let name = file.split('/').next().unwrap();
            let expected = Some(format!("speedups by {name}"));
            assert_eq!(Place::new(&[file]).find(), expected, "it was looked for in vain");
        }

        let place = Place::new(&["numpy.py", "json.py", "numpy/__init__.py"]);
        assert_eq!(place.find().as_deref(), Some("json by json.py"), "always the same one");
    }

    #[test]
    fn whatever_it_would_not() {
        for file in [
            "numpy",
            "numpy.txt",
            "numpy.py.bak",
            "numpy.cpython-39-x86_64-linux-gnu.so",
            "numpy/other.py",
            "numpy.py/x",
            "numpyx.py",
            "sys.py",
            "local.py",
            "local/__init__.py",
            "Numpy.py",
            ".numpy.py",
        ] {
            assert_eq!(Place::new(&[file]).find(), None, "{file}");
        }
        let place = Place::new(&[]);
        std::os::unix::fs::symlink("nowhere", place.directory.path().join("json.py")).unwrap();
        assert_eq!(place.find(), None, "a link that leads nowhere");
        let mut place = Place::new(&["json.py"]);
        let link = Place::new(&[]).directory.keep().join("link");
        std::os::unix::fs::symlink(place.directory.path(), &link).unwrap();
        place.modules.insert("json".into(), Some(link.clone()));
        assert_eq!(place.find(), None, "the module's own directory by another name");
        fs::remove_dir_all(link.parent().unwrap()).unwrap();
        assert_eq!(find(Path::new("/nonexistent"), &place.modules, &[], &[]), None);
    }

    #[test]
    fn agrees_with_python() {
        let Some(python) = crate::key::interpreter::for_tests() else { return };
        let files = [
            "json.py",
            "json.pyc",
            "json.so",
            "json.abi3.so",
            "json.cpython-27.so",
            "json.txt",
            "json/__init__.py",
            "json/x.py",
            "json/__init__.so",
            "json.py/x",
        ];
        for file in files {
            let place = Place::new(&[file]);
            let question = "import importlib.util as u; print(u.find_spec('json').origin)";
            let output = std::process::Command::new(&python)
                .args(["-c", question])
                .current_dir(place.directory.path())
                .output()
                .unwrap();
            let origin = String::from_utf8(output.stdout).unwrap();
            let here = place.directory.path().canonicalize().unwrap();
            let is_here = Path::new(origin.trim()).starts_with(&here);
            assert_eq!(place.find().is_some(), is_here, "{file}: {origin}");
        }
    }
}
