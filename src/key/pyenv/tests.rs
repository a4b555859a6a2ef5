//! What is followed is compared with what real pyenv does, where it is installed: a tree
//! of made-up versions, in which every `python3` is a copy of `sh`, so that it can say
//! what it was called and which environment the shim gave it.

use super::*;
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

/// A pyenv root with versions, and a home with directories to be in.
struct Tree {
    directory: tempfile::TempDir,
    shim: PathBuf,
}

impl Tree {
    fn new(pyenv: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        for version in ["3.9.2", "3.12.1", "3.12.10", "3.12.9", "3.13.0", "3.13.0t", "3.14.0rc1"] {
            python(&root.join("versions").join(version).join("bin/python3"));
        }
        fs::create_dir_all(root.join("versions/2.7.18/bin")).unwrap();
        fs::create_dir_all(root.join("versions/3.12.1/envs/web/bin")).unwrap();
        python(&root.join("versions/3.12.1/envs/web/bin/python3"));
        symlink(root.join("versions/3.12.1/envs/web"), root.join("versions/web")).unwrap();
        python(&directory.path().join("bin/python3"));
        fs::create_dir_all(directory.path().join("home/project/deep")).unwrap();
        fs::create_dir_all(root.join("plugins/extra/bin")).unwrap();
        fs::create_dir_all(root.join("plugins/another/bin")).unwrap();
        fs::create_dir_all(root.join("plugins/another/etc/pyenv.d")).unwrap();
        fs::create_dir_all(root.join("shims")).unwrap();
        let shim = root.join("shims/python3");
        fs::write(&shim, shim_text(&root, pyenv)).unwrap();
        executable(&shim);
        Self { directory, shim }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// Follows the shim from the directory `cwd` of the home.
    fn follow(&self, cwd: &str, variables: &[(&str, &str)]) -> Result<Target, String> {
        let variables = self.variables(cwd, variables);
        let variable = |name: &str| variables.get(name).map(OsString::from);
        let cwd = self.home().join(cwd).canonicalize().unwrap();
        let call = Call { variable: &variable, cwd: &cwd, arguments: &[], own: None };
        follow(&self.shim, &fs::read(&self.shim).unwrap(), call)
    }

    /// The same, where only the version's directory counts.
    fn version(&self, cwd: &str, variables: &[(&str, &str)]) -> Result<String, String> {
        let target = self.follow(cwd, variables)?;
        let versions = self.root().join("versions");
        let program = target.program.strip_prefix(&versions).unwrap_or(&target.program);
        Ok(program.parent().unwrap().to_string_lossy().trim_end_matches("/bin").to_owned())
    }

    fn variables(&self, cwd: &str, variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        let shims = self.root().join("shims");
        let bin = self.directory.path().join("bin");
        let mut all = BTreeMap::from([
            ("PATH".to_owned(), format!("{}:{}:/usr/bin:/bin", shims.display(), bin.display())),
            ("HOME".to_owned(), self.home().display().to_string()),
            ("PWD".to_owned(), self.home().join(cwd).display().to_string()),
        ]);
        all.extend(variables.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        all
    }

    /// Runs the shim; gives the environment of the program that it ran, and as `0` that
    /// program's name.
    fn run(&self, cwd: &str, variables: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
        let output = Command::new(&self.shim)
            .args(["-c", "echo 0=$0; exec env"])
            .env_clear()
            .envs(self.variables(cwd, variables))
            .current_dir(self.home().join(cwd))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let all = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        output.status.success().then_some(all)
    }
}

fn executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn python(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy("/bin/sh", path).unwrap();
    executable(path);
}

fn shim_text(root: &Path, pyenv: &Path) -> String {
    format!(
        r#"#!/usr/bin/env bash
set -e
[ -n "$PYENV_DEBUG" ] && set -x

program="${{0##*/}}"

export PYENV_ROOT="{0}"
SHIM_PATH=${{0%/*}}
if [[ $SHIM_PATH != "{0}/shims" ]]; then
  export _PYENV_SHIM_PATH="$SHIM_PATH"
fi
exec "{1}" exec "$program" "$@"
"#,
        root.display(),
        pyenv.display()
    )
}

/// The tree with a pyenv that is never run.
fn tree() -> Tree {
    let tree = Tree::new(Path::new("/"));
    let pyenv = tree.root().join("libexec/pyenv");
    fs::create_dir_all(pyenv.parent().unwrap()).unwrap();
    fs::write(&pyenv, "").unwrap();
    fs::write(&tree.shim, shim_text(&tree.root(), &pyenv)).unwrap();
    tree
}

fn system(tree: &Tree) -> String {
    tree.directory.path().display().to_string()
}

#[test]
fn version_files_from_here_upwards_then_the_roots() {
    let tree = tree();
    let write = |name: &str, text: &str| fs::write(tree.directory.path().join(name), text).unwrap();
    assert_eq!(tree.version("project", &[]), Ok(system(&tree)), "no file at all");
    write("root/version", "3.9.2\n");
    assert_eq!(tree.version("project", &[]).as_deref(), Ok("3.9.2"));
    write("home/.python-version", "# ours\n\n  3.12.1 a comment\r\n");
    assert_eq!(tree.version("project/deep", &[]).as_deref(), Ok("3.12.1"));
    write("home/project/.python-version", "2.7.18\n3.13.0");
    assert_eq!(tree.version("project/deep", &[]).as_deref(), Ok("3.13.0"));
    assert_eq!(tree.version("", &[]).as_deref(), Ok("3.12.1"));
    write("home/project/.python-version", "");
    assert_eq!(tree.version("project", &[]), Ok(system(&tree)), "an empty file");
    let elsewhere = tree.home().join("project").display().to_string();
    assert_eq!(tree.version("", &[("PYENV_DIR", &elsewhere)]), Ok(system(&tree)));
}

#[test]
fn names_of_versions() {
    let tree = tree();
    let version = |value: &str| tree.version("", &[("PYENV_VERSION", value)]);
    for (asked, found) in [
        ("3.12.9", "3.12.9"),
        ("3.12", "3.12.10"),
        ("python-3.12", "3.12.10"),
        ("python-3.9.2", "3.9.2"),
        ("3", "3.13.0"),
        ("3.13", "3.13.0"),
        ("3.13t", "3.13.0t"),
        ("web", "web"),
        ("3.12.1/envs/web", "3.12.1/envs/web"),
        ("2.7.18:3.9", "3.9.2"),
    ] {
        assert_eq!(version(asked).as_deref(), Ok(found), "for {asked}");
    }
    assert_eq!(version("system"), Ok(system(&tree)));
    assert_eq!(version("2.7.18:system"), Ok(system(&tree)));
    for (asked, why) in [
        ("2.7.18", "version 2.7.18 has no python3"),
        ("3.10", "version 3.10 is not installed"),
        ("3.14", "version 3.14 is not installed"),
        ("3.1", "version 3.1 is not installed"),
        ("3.9.2:3.10", "version 3.10 is not installed"),
        ("3.9.2:", "the version name `` is strange"),
        ("3.*", "the version name `3.*` is strange"),
        ("../x", "the version name `../x` is strange"),
    ] {
        assert_eq!(version(asked), Err(why.to_owned()), "for {asked}");
    }
    fs::create_dir_all(tree.root().join("versions/3.12-data/bin")).unwrap();
    assert_eq!(version("3.12"), Err("version 3.12 may mean 3.12-data".to_owned()));
}

#[test]
fn the_environment_of_a_version() {
    let tree = tree();
    let root = tree.root().display().to_string();
    let target = tree.follow("project", &[("PYENV_VERSION", "3.9")]).unwrap();
    let shown: Vec<_> = target
        .environment
        .iter()
        .map(|(name, value)| format!("{}={}", name.display(), value.display()))
        .map(|line| line.replace(&root, "ROOT"))
        .collect();
    let top = tree.directory.path().display();
    let wanted = [
        "PYENV_ROOT=ROOT".to_owned(),
        format!("PYENV_DIR={top}/home/project"),
        "PYENV_HOOK_PATH=ROOT/pyenv.d:/usr/etc/pyenv.d:/usr/local/etc/pyenv.d:/etc/pyenv.d:\
         /usr/lib/pyenv/hooks:ROOT/plugins/another/etc/pyenv.d"
            .to_owned(),
        "PYENV_VERSION=3.9.2".to_owned(),
        "_PYENV_INSTALL_PREFIX=ROOT".to_owned(),
        format!(
            "PATH=ROOT/versions/3.9.2/bin:ROOT/libexec:ROOT/plugins/extra/bin:\
             ROOT/plugins/another/bin:ROOT/shims:{top}/bin:/usr/bin:/bin"
        ),
    ];
    assert_eq!(shown, wanted);
}

#[test]
fn whatever_is_unusual_is_a_doubt() {
    let tree = tree();
    let version = [("PYENV_VERSION", "3.9.2")];
    let with = |name, value| tree.version("", &[version[0], (name, value)]);
    assert_eq!(with("BASH_ENV", "/x"), Err("BASH_ENV is set".to_owned()));
    assert_eq!(with("PYENV_DEBUG", "1"), Err("PYENV_DEBUG is set".to_owned()));
    assert_eq!(with("PYENV_DIR", "/nonexistent"), Err("PYENV_DIR is `/nonexistent`".to_owned()));
    assert_eq!(with("PYENV_DIR", "x"), Err("PYENV_DIR is `x`".to_owned()));
    assert_eq!(with("PATH", "~/bin:/bin"), Err("PATH holds a `~`".to_owned()));
    assert_eq!(
        with("_PYENV_SHIM_PATHS_PYTHON3", "/x"),
        Err("_PYENV_SHIM_PATHS_PYTHON3 is set".to_owned())
    );

    let hook = tree.root().join("pyenv.d/which/mine.bash");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(hook.with_file_name("conda.bash"), "").unwrap();
    assert_eq!(tree.version("", &version).as_deref(), Ok("3.9.2"));
    fs::write(&hook, "").unwrap();
    let why = tree.version("", &version).unwrap_err();
    assert_eq!(why, format!("pyenv's hook {} may matter", hook.display()));
    fs::remove_file(hook).unwrap();

    let text = fs::read_to_string(&tree.shim).unwrap();
    fs::write(&tree.shim, text.replace("set -e", "set -e; cd /")).unwrap();
    assert_eq!(tree.version("", &version), Err("a pyenv shim of unknown form".to_owned()));
    fs::write(&tree.shim, text.replace("/shims\"", "/other\"")).unwrap();
    assert_eq!(tree.version("", &version), Err("a pyenv shim outside its directory".to_owned()));
    fs::remove_file(tree.root().join("libexec/pyenv")).unwrap();
    fs::write(&tree.shim, text).unwrap();
    assert_eq!(tree.version("", &version), Err("pyenv itself is not there".to_owned()));
}

#[test]
fn pip_is_left_to_the_shim() {
    let runs = |line: &[&str]| {
        let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
        runs_pip("python3".as_ref(), &arguments)
    };
    assert!(runs(&["-m", "pip", "install", "x"]));
    assert!(runs(&["-c", "x -m pip y"]));
    assert!(!runs(&["-m", "pipx"]));
    assert!(!runs(&["pip", "-m"]));
}

#[test]
fn older_shims_are_known_and_others_are_not() {
    let text = shim_text("/r".as_ref(), "/r/libexec/pyenv".as_ref());
    assert!(is_shim(text.as_bytes()));
    assert!(!is_shim(b"#!/bin/sh\nexec asdf exec python3 \"$@\"\n"));
    let tree = tree();
    let text = fs::read_to_string(&tree.shim).unwrap();
    let older: String = text
        .split_inclusive('\n')
        .filter(|line| !line.contains("SHIM_PATH") && !line.starts_with("fi"))
        .collect();
    fs::write(&tree.shim, older).unwrap();
    assert_eq!(tree.version("", &[("PYENV_VERSION", "3.9.2")]).as_deref(), Ok("3.9.2"));
    let oldest = text.replace("fi\n", "fi\nexport PYENV_FILE_ARG=\"$arg\"\n");
    fs::write(&tree.shim, oldest).unwrap();
    assert!(tree.version("", &[("PYENV_VERSION", "3.9.2")]).is_err());
}

#[test]
fn agrees_with_real_pyenv() {
    let path = std::env::var_os("PATH");
    let Some((pyenv, _)) = which::all("pyenv".as_ref(), path.as_deref()).next() else {
        eprintln!("skipped: pyenv is not on PATH");
        return;
    };
    let tree = Tree::new(&pyenv.canonicalize().unwrap());
    let write = |name: &str, text: &str| fs::write(tree.directory.path().join(name), text).unwrap();
    let compare = |cwd: &str, variables: &[(&str, &str)]| {
        let ours = tree.follow(cwd, variables);
        let real = tree.run(cwd, variables);
        let Ok(ours) = ours else { return false };
        let real = real.unwrap_or_else(|| panic!("pyenv fails for {cwd} {variables:?}"));
        assert_eq!(real["0"], ours.program.display().to_string(), "in {cwd} with {variables:?}");
        for (name, value) in ours.environment {
            let name = name.to_string_lossy();
            assert_eq!(real[&*name], value.to_string_lossy(), "{name} in {cwd}, {variables:?}");
        }
        true
    };
    let version = |value| [("PYENV_VERSION", value)];
    for value in ["3.12", "python-3.9", "3", "3.13t", "web", "2.7.18:3.12.9", "system"] {
        assert!(compare("project", &version(value)), "{value} is a doubt");
    }
    for value in ["3.10", "3.14", "2.7.18", "3.9.2:3.10"] {
        assert!(!compare("project", &version(value)), "{value} is not a doubt");
    }
    assert!(compare("project/deep", &[]));
    write("root/version", "3.9.2\n3.12\n");
    write("home/project/.python-version", "# ours\n\n\t2.7.18 a comment\r\n3.13\n");
    assert!(compare("project/deep", &[]));
    assert!(compare("", &[]));
    symlink(tree.home().join("project/deep"), tree.home().join("link")).unwrap();
    assert!(compare("link", &[]), "a shell's directory is the one it was told");
    assert!(compare("link", &[("PWD", "/nonexistent")]));
    let elsewhere = tree.home().join("project").display().to_string();
    assert!(compare("", &[("PYENV_DIR", &elsewhere), ("PYENV_HOOK_PATH", "/x")]));
}
