//! Files that Python would import in place of a module of the image.
//!
//! A process of an image has its modules already, so it would not notice a `numpy.py` put
//! beside the script that plain Python would take instead. Such a file makes the run a
//! miss. The directories to look through are those that come before a module's own: the
//! script's, or the current one.
//!
//! The rules are those of `importlib`'s `FileFinder`: a package, then an extension module,
//! then source, then byte code; a directory that is none of these only if nothing else of
//! the name is found anywhere. Where a zip archive stands in place of a directory, those of
//! `zipimport` count: a package, then a module, as byte code or source, and no extension
//! modules.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::archive::Archive;
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
/// for in vain. One reading of the directory, or of the archive in its place; a directory
/// that cannot be read has nothing to import either.
///
/// # Errors
/// When it is an archive that cannot be looked into: a phrase that follows its name.
pub fn find(
    directory: &Path,
    modules: &BTreeMap<String, Option<PathBuf>>,
    absent: &[String],
    suffixes: &[String],
) -> Result<Option<Shadow>, String> {
    let mut found: Option<Shadow> = None;
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return find_in_archive(directory, modules, absent, suffixes);
        }
        Err(_) => return Ok(None),
    };
    for entry in entries.flatten() {
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
    Ok(found)
}

/// Whether `directory` has nothing that goes by the name of one of `modules` or `absent`, whatever
/// it is: then that stays so for as long as nothing is added to it. Nor has one that is not there.
pub fn is_clear(
    directory: &Path,
    modules: &BTreeMap<String, Option<PathBuf>>,
    absent: &[String],
) -> bool {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return error.kind() == io::ErrorKind::NotFound,
    };
    entries.flatten().all(|entry| {
        let name = entry.file_name();
        let name = name.as_bytes();
        let stem = &name[..memchr::memchr(b'.', name).unwrap_or(name.len())];
        let Ok(module) = std::str::from_utf8(stem) else { return true };
        match modules.get(module) {
            Some(origin) => origin.as_deref().is_none_or(|origin| origin == directory),
            None => !absent.iter().any(|absent| absent == module),
        }
    })
}

/// Looks through the archives among the places where an image looked for its modules.
///
/// # Errors
/// As [`find`], with the archive.
pub fn find_among(
    search_path: &[PathBuf],
    modules: &BTreeMap<String, Option<PathBuf>>,
    suffixes: &[String],
) -> Result<Option<Shadow>, (PathBuf, String)> {
    for (at, place) in search_path.iter().enumerate() {
        if !place.metadata().is_ok_and(|metadata| metadata.is_file()) {
            continue;
        }
        let before = &search_path[..at];
        let comes_later = |(_, origin): &(&String, &Option<PathBuf>)| {
            origin.as_ref().is_some_and(|origin| !before.contains(origin))
        };
        let modules = modules.iter().filter(comes_later);
        let modules = modules.map(|(name, origin)| (name.clone(), origin.clone())).collect();
        let found = find(place, &modules, &[], suffixes).map_err(|why| (place.clone(), why))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// As [`find`], where the place is not a directory.
fn find_in_archive(
    place: &Path,
    modules: &BTreeMap<String, Option<PathBuf>>,
    absent: &[String],
    suffixes: &[String],
) -> Result<Option<Shadow>, String> {
    let Some(archive) = Archive::at(place)? else {
        // `library.zip/directory` is a place to import from as well.
        let above = place.ancestors().skip(1).find(|above| above.is_file());
        return match above.map(Archive::at).transpose()?.flatten() {
            Some(_) => Err("lies in a zip archive".to_owned()),
            None => Ok(None),
        };
    };
    let own = FileId::of(place);
    let is_elsewhere = |origin: &Path| origin != place && FileId::of(origin) != own;
    let of_file = archive.files().filter_map(|name| {
        let (module, ending) = name.split_at(name.find(['/', '.'])?);
        let wins = matches!(ending, ".py" | ".pyc" | "/__init__.py" | "/__init__.pyc");
        let wins = wins
            && match modules.get(module) {
                Some(origin) => origin.as_deref().is_some_and(is_elsewhere),
                None => absent.iter().any(|absent| absent == module),
            };
        wins.then_some((module, name))
    });
    // A namespace package in the image would have gained a part.
    let of_directory = archive.directories().filter_map(|name| {
        let origin = modules.get(name)?.as_deref()?;
        let own = origin.join(name);
        let adds = own.is_dir() && !is_package(&own, suffixes) && is_elsewhere(origin);
        adds.then_some((name, name))
    });
    // Entries are in no order; the answer is to be the same each time.
    let found = of_file.chain(of_directory).min();
    Ok(found.map(|(module, name)| Shadow { module: module.to_owned(), path: place.join(name) }))
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
            let found = find(self.directory.path(), &self.modules, &absent, &suffixes).unwrap()?;
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
        assert_eq!(find(Path::new("/nonexistent"), &place.modules, &[], &[]), Ok(None));
    }

    #[test]
    fn archives_in_place_of_directories() {
        let place = Place::new(&[]);
        let archive = place.directory.path().join("a.zip");
        let suffixes = [".so".to_owned()];
        let absent = ["speedups".to_owned()];
        let found = |modules: &BTreeMap<_, _>, files: &[&str]| {
            let files: Vec<_> = files.iter().map(|file| (*file, "")).collect();
            crate::launch::archive::testing::write(&archive, b"", &files);
            let found = find(&archive, modules, &absent, &suffixes).unwrap()?;
            Some(found.path.strip_prefix(&archive).unwrap().to_str().unwrap().to_owned())
        };
        for file in ["numpy.py", "numpy.pyc", "numpy/__init__.py", "speedups.py"] {
            let files = ["numpyx.py", file, "sys.py", "x/json.py"];
            assert_eq!(found(&place.modules, &files).as_deref(), Some(file));
        }
        for file in ["numpy.so", "numpy/other.py", "numpy", "sys.py", "local/x.py"] {
            assert_eq!(found(&place.modules, &[file]), None, "{file}");
        }
        let spread = Place::new(&["spread/here.py"]);
        let mut modules = place.modules.clone();
        modules.insert("spread".into(), Some(spread.directory.path().to_owned()));
        assert_eq!(found(&modules, &["spread/there.py"]).as_deref(), Some("spread"));
        modules.insert("json".into(), Some(archive.clone()));
        assert_eq!(found(&modules, &["json.py"]), None, "its own");

        assert_eq!(
            find(&archive.join("inside"), &modules, &[], &suffixes),
            Err("lies in a zip archive".to_owned())
        );
        fs::write(&archive, "PK\x05\x06").unwrap();
        assert!(find(&archive, &modules, &[], &suffixes).is_err());
        fs::write(&archive, "no archive").unwrap();
        assert_eq!(find(&archive, &modules, &[], &suffixes), Ok(None));
        assert_eq!(find(&archive.join("inside"), &modules, &[], &suffixes), Ok(None));
    }

    #[test]
    fn archives_among_the_places_of_an_image() {
        let place = Place::new(&["first/x", "last/x"]);
        let at = |name: &str| place.directory.path().join(name);
        crate::launch::archive::testing::write(&at("a.zip"), b"", &[("numpy.py", "")]);
        let search_path = [at("first"), at("a.zip"), at("none.zip"), at("last")];
        for (origin, wanted) in [("first", None), ("last", Some("numpy")), ("a.zip", None)] {
            let modules = [("numpy".to_owned(), Some(at(origin)))].into();
            let found = find_among(&search_path, &modules, &[]).unwrap();
            assert_eq!(found.map(|found| found.module).as_deref(), wanted, "{origin}");
        }
        fs::write(at("a.zip"), "PK\x05\x06").unwrap();
        let (path, _) = find_among(&search_path, &BTreeMap::new(), &[]).unwrap_err();
        assert_eq!(path, at("a.zip"));
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
