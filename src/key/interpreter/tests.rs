use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// A directory with things that may be found, and an environment that leads there.
struct Place {
    directory: tempfile::TempDir,
    variables: BTreeMap<&'static str, String>,
    script: Option<PathBuf>,
    invoked_as: &'static str,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let variables = BTreeMap::new();
        Self { directory, variables, script: None, invoked_as: "pyrun" }
    }

    fn at(&self, name: &str) -> PathBuf {
        // Temporary directories may lie behind a link; what is found is compared by name.
        self.directory.path().canonicalize().unwrap().join(name)
    }

    fn file(&self, name: &str, text: &[u8]) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn binary(&self, name: &str) -> PathBuf {
        self.file(name, b"\x7fELF and so on")
    }

    fn link(&self, name: &str, target: &Path) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, &path).unwrap();
        path
    }

    fn set(&mut self, name: &'static str, value: impl AsRef<Path>) {
        self.variables.insert(name, value.as_ref().display().to_string());
    }

    fn path(&mut self, directories: &[&str]) {
        let directories: Vec<_> =
            directories.iter().map(|name| self.at(name).display().to_string()).collect();
        self.set("PATH", directories.join(":"));
    }

    fn find(&self) -> Found {
        let variable = |name: &str| self.variables.get(name).map(OsString::from);
        Search {
            variable: &variable,
            cwd: self.directory.path(),
            script: self.script.as_deref(),
            arguments: &[],
            invoked_as: self.invoked_as.as_ref(),
            own: FileId::of(&self.at("own/pyrun")),
        }
        .find()
    }

    /// What was found, in short.
    fn found(&self) -> String {
        let top = format!("{}/", self.at("").display().to_string().trim_end_matches('/'));
        match self.find() {
            Found::Interpreter(found) => {
                let (invoked, real) = (found.invoked.display(), found.real.display());
                format!("{invoked} -> {real} {}", found.origin).replace(&top, "")
            }
            Found::Doubt { exec, why, .. } => {
                format!("{}: {why}", exec.display()).replace(&top, "")
            }
            Found::Nothing => "nothing".to_owned(),
        }
    }
}

#[test]
fn the_first_python3_on_path() {
    let mut place = Place::new();
    place.binary("b/python3.11");
    place.link("b/python3", Path::new("python3.11"));
    place.binary("a/python");
    place.path(&["a", "b"]);
    assert_eq!(place.found(), "b/python3 -> b/python3.11 on PATH", "python3 before python");
    place.path(&["a"]);
    assert_eq!(place.found(), "a/python -> a/python on PATH");
    place.path(&["none"]);
    assert_eq!(place.found(), "nothing");
}

#[test]
fn the_order_of_places() {
    let mut place = Place::new();
    for name in ["path/python3", "venv/bin/python", "named/python3.9", "tool/bin/python"] {
        place.binary(name);
    }
    place.path(&["path"]);
    let line = format!("#!{}\nimport sys\n", place.at("tool/bin/python").display());
    place.script = Some(place.file("tool/bin/black", line.as_bytes()));
    assert_eq!(place.found(), "tool/bin/python -> tool/bin/python of the script's own environment");
    place.set("VIRTUAL_ENV", place.at("gone"));
    assert_eq!(place.found(), "tool/bin/python -> tool/bin/python of the script's own environment");
    place.set("VIRTUAL_ENV", place.at("venv"));
    assert_eq!(
        place.found(),
        "venv/bin/python -> venv/bin/python of the active virtual environment"
    );
    place.set("PYIMG_PYTHON", place.at("named/python3.9"));
    assert_eq!(place.found(), "named/python3.9 -> named/python3.9 named by PYIMG_PYTHON");
    place.set("PYIMG_PYTHON", "python3");
    assert_eq!(place.found(), "path/python3 -> path/python3 named by PYIMG_PYTHON");
    place.set("PYIMG_PYTHON", place.at("missing"));
    assert_eq!(place.found(), "missing: it is not an executable file");
}

#[test]
fn a_scripts_interpreter_counts_only_beside_it() {
    let mut place = Place::new();
    place.binary("path/python3");
    place.binary("tool/bin/python3");
    place.path(&["path"]);
    let python = place.at("tool/bin/python3").display().to_string();
    let found = |place: &mut Place, name: &str, text: &str| {
        place.script = Some(place.file(name, text.as_bytes()));
        let found = place.found();
        found.split(' ').next().unwrap_or_default().to_owned()
    };
    let mut check = |name: &str, text: &str, wanted: &str| {
        assert_eq!(found(&mut place, name, text), wanted, "for {text:?}");
    };
    let (own, path) = ("tool/bin/python3", "path/python3");
    check("tool/bin/x", &format!("#!{python}\n"), own);
    check("tool/bin/x", &format!("#! {python} -I\n"), own);
    check("tool/bin/x", &format!("#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n"), own);
    check("tool/bin/x", &format!("#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n"), own);
    let relative = "'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python3' \"$0\" \"$@\"";
    check("tool/bin/x", &format!("#!/bin/sh\n{relative}\n' '''\n"), own);
    check("elsewhere/x", &format!("#!{python}\n"), path);
    check("tool/bin/x", "#!/usr/bin/env python3\n", path);
    check("tool/bin/x", "#!python3\n", path);
    check("tool/bin/x", "#!\n", path);
    check("tool/bin/x", "#!/bin/sh\necho\n", path);
    check("tool/bin/x", "import sys\n", path);
    check("tool/bin/x", "", path);

    // As pipx does: a link somewhere on PATH to the script in its environment.
    place.file("tool/bin/x", format!("#!{python}\n").as_bytes());
    place.script = Some(place.link("links/x", &place.at("tool/bin/x")));
    assert!(place.found().starts_with("tool/bin/python3 "));
    place.script = Some("missing.py".into());
    assert!(place.found().starts_with("path/python3 "));
    place.script = Some(place.at("tool"));
    assert!(place.found().starts_with("path/python3 "), "a directory has no #! line");
}

#[test]
fn never_finds_itself() {
    let mut place = Place::new();
    let own = place.binary("own/pyrun");
    place.link("a/python3", &own);
    place.link("a/python", &own);
    fs::hard_link(&own, place.at("a/python3.12")).unwrap();
    place.link("venv/bin/python", &own);
    place.binary("b/python3");
    place.binary("b/python3.12");
    place.path(&["a", "b"]);
    place.set("VIRTUAL_ENV", place.at("venv"));
    place.set("PYIMG_PYTHON", &own);
    assert_eq!(place.found(), "b/python3 -> b/python3 on PATH");
    place.invoked_as = "/somewhere/python3.12";
    assert_eq!(place.found(), "b/python3.12 -> b/python3.12 on PATH", "the name it goes by");
    place.set("PYIMG_PYTHON", "python3");
    assert_eq!(place.found(), "b/python3 -> b/python3 named by PYIMG_PYTHON");
    place.set("PYIMG_PYTHON", &own);
    place.path(&["a"]);
    assert_eq!(place.found(), "nothing");
}

#[test]
fn what_is_no_interpreter_is_a_doubt() {
    let mut place = Place::new();
    place.path(&["a"]);
    place.file("a/python3", b"#!/bin/sh\nexec asdf exec python3 \"$@\"\n");
    assert_eq!(place.found(), "a/python3: it is a script, not an interpreter");
    fs::remove_file(place.at("a/python3")).unwrap();
    let manager = place.binary("m/mise");
    place.link("a/python3", &manager);
    assert_eq!(place.found(), "a/python3: it leads to m/mise, which is not a Python");
    place.file("b/python3", b"export PYENV_ROOT=\"/r\"\n");
    place.path(&["b"]);
    assert_eq!(place.found(), "b/python3: a pyenv shim of unknown form");
}

#[test]
fn a_shim_is_followed() {
    let mut place = Place::new();
    place.file("root/libexec/pyenv", b"");
    place.binary("root/versions/3.12.1/bin/python3.12");
    place.link("root/versions/3.12.1/bin/python3", Path::new("python3.12"));
    let root = place.at("root").display().to_string();
    let shim = format!(
        "#!/usr/bin/env bash\nset -e\nprogram=\"${{0##*/}}\"\nexport PYENV_ROOT=\"{root}\"\n\
         exec \"{root}/libexec/pyenv\" exec \"$program\" \"$@\"\n"
    );
    place.file("root/shims/python3", shim.as_bytes());
    place.path(&["root/shims"]);
    place.set("PYENV_VERSION", "3.12");
    let version = "root/versions/3.12.1/bin";
    assert_eq!(
        place.found(),
        format!("{version}/python3 -> {version}/python3.12 through pyenv's shim on PATH")
    );
    let Found::Interpreter(found) = place.find() else { panic!("not found") };
    assert_eq!(found.environment.len(), 6);
    // The system's Python may be pyrun itself, which pyenv would run for ever.
    let own = place.binary("own/pyrun");
    place.link("a/python3", &own);
    place.binary("b/python3");
    place.path(&["root/shims", "a", "b"]);
    place.set("PYENV_VERSION", "system");
    assert_eq!(place.found(), "b/python3 -> b/python3 through pyenv's shim on PATH");
    place.file("a2/python3", b"#!/bin/sh\n");
    place.path(&["root/shims", "a2", "b"]);
    let script = place.at("a2/python3");
    let script = script.display();
    assert_eq!(
        place.found(),
        format!("root/shims/python3: it leads to {script}, a script")
            .replace(&format!("{}/", place.at("").display().to_string().trim_end_matches('/')), "")
    );
}

#[test]
fn a_wrapper_that_leads_back_is_passed_over() {
    let mut place = Place::new();
    place.file("a/python3", b"#!/bin/sh\nexec pyrun \"$@\"\n");
    place.binary("b/python3");
    place.path(&["a", "b"]);
    let Found::Doubt { exec, guard, .. } = place.find() else { panic!("a wrapper is a doubt") };
    assert_eq!(exec, place.at("a/python3"));
    assert_eq!(guard, format!("{}:1", std::process::id()).as_str());
    let passed_over = "b/python3 -> b/python3 on PATH";
    place.set(GUARD, guard.to_str().unwrap());
    assert_eq!(place.found(), passed_over, "the same process again");
    place.set(GUARD, "1:3");
    let Found::Doubt { guard, .. } = place.find() else { panic!("another process") };
    assert_eq!(guard, format!("{}:4", std::process::id()).as_str());
    place.set(GUARD, "1:16");
    assert_eq!(place.found(), passed_over, "too deep");
    place.set(GUARD, "nonsense");
    assert!(matches!(place.find(), Found::Doubt { .. }));
    place.set(GUARD, "1:16");
    place.path(&["a"]);
    assert_eq!(place.found(), "nothing");
}
