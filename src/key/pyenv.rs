//! Follows pyenv's shims without starting a shell.
//!
//! A shim is a bash script that asks pyenv which version is meant in the current
//! directory and runs that version's program; that takes four shells and some 50 ms or
//! more. The same answer comes from a few files: `.python-version` here or above, else
//! `version` in pyenv's root, or from `PYENV_VERSION`.
//!
//! Only what is certain is answered. A shim of another form, hooks of unknown plugins, a
//! version that is not installed, strange names: each is a doubt, and the caller then
//! runs the shim itself. The rules are those of pyenv 2.x (`libexec/pyenv`,
//! `pyenv-version-file`, `-version-file-read`, `-version-name`, `-latest`, `-which` and
//! `-exec`); the tests compare with the real thing.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::looked;
use super::which::{self, FileId};

mod version;

/// What a shim would run, and what it would have put into the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The program, named as pyenv names it.
    pub program: PathBuf,
    /// Variables as the program would see them: `PATH` with the version's own programs
    /// first, `PYENV_VERSION` and so on.
    pub environment: Vec<(OsString, OsString)>,
}

/// Where a shim was called.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The current directory.
    pub cwd: &'a Path,
    /// The arguments.
    pub arguments: &'a [OsString],
    /// A program never to be taken: `pyrun`, which would only ask again.
    pub own: Option<FileId>,
}

impl Call<'_> {
    fn set(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }
}

/// Whether a script is a shim of pyenv's, going by its text.
pub fn is_shim(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"export PYENV_ROOT=").is_some()
}

/// What the shim at this path would run, or why that is not certain.
pub fn follow(shim: &Path, text: &[u8], call: Call<'_>) -> Result<Target, String> {
    let name = shim.file_name().ok_or("it has no name")?;
    let pyenv = Pyenv::of_shim(shim, text)?;
    for variable in ["PYENV_DEBUG", "BASH_ENV", "_PYENV_SHIM_PATH"] {
        if call.set(variable).is_some() {
            return Err(format!("{variable} is set"));
        }
    }
    let shim_paths = format!("_PYENV_SHIM_PATHS_{}", as_variable(name));
    if (call.variable)(&shim_paths).is_some() {
        return Err(format!("{shim_paths} is set"));
    }
    let shell_directory = shell_directory(call);
    let directory = match call.set("PYENV_DIR") {
        None => shell_directory.clone(),
        Some(directory) => plain_directory(directory)?,
    };
    let plugins = pyenv.plugins();
    let hook_path = pyenv.hook_path(&plugins, call.set("PYENV_HOOK_PATH"));
    check_hooks(&hook_path, name, call.arguments)?;

    let versions = match call.set("PYENV_VERSION") {
        Some(value) => value.into_vec(),
        None => version::asked_for(&pyenv.root, &[&directory, &shell_directory])?,
    };
    let versions = version::resolve(&pyenv.root, &versions)?;
    // pyenv makes its own programs and those of its plugins come first.
    let mut path = pyenv.prefix.join("libexec").into_os_string();
    for plugin in plugins.iter().rev().map(|plugin| plugin.join("bin")).filter(|bin| exists(bin)) {
        path.push(":");
        path.push(plugin);
    }
    path.push(":");
    path.push(call.set("PATH").ok_or("PATH is not set")?);
    if memchr::memchr(b'~', path.as_bytes()).is_some() {
        return Err("PATH holds a `~`".to_owned());
    }

    let program = versions.iter().find_map(|version| match version.as_str() {
        "system" => {
            let path = pyenv.without_shims(&path);
            which::all(name, Some(&path)).find(|&(_, id)| Some(id) != call.own).map(|(p, _)| p)
        }
        version => {
            let path = pyenv.root.join("versions").join(version).join("bin").join(name);
            which::executable(&path).map(|_| path)
        }
    });
    let versions = versions.join(":");
    let Some(program) = program else {
        return Err(format!("version {versions} has no {}", name.display()));
    };
    if program.as_os_str().as_bytes().starts_with(pyenv.root.as_os_str().as_bytes()) {
        let mut first = program.parent().unwrap_or(&program).as_os_str().to_owned();
        first.push(":");
        first.push(&path);
        path = first;
    }
    let environment = [
        ("PYENV_ROOT", pyenv.root.into()),
        ("PYENV_DIR", directory.into()),
        ("PYENV_HOOK_PATH", hook_path),
        ("PYENV_VERSION", versions.into()),
        ("_PYENV_INSTALL_PREFIX", pyenv.prefix.into()),
        ("PATH", path),
    ];
    let environment = environment.map(|(name, value)| (name.into(), value)).into();
    Ok(Target { program, environment })
}

/// An installation of pyenv.
struct Pyenv {
    /// Where versions, shims and plugins are: `PYENV_ROOT`.
    root: PathBuf,
    /// Where pyenv's own programs are; mostly the same.
    prefix: PathBuf,
}

impl Pyenv {
    /// Reads a shim, every line of which must be known.
    fn of_shim(shim: &Path, text: &[u8]) -> Result<Self, String> {
        let unknown = || "a pyenv shim of unknown form".to_owned();
        let text = std::str::from_utf8(text).map_err(|_| unknown())?;
        let (mut root, mut exec, mut directory) = (None, None, None);
        for line in text.lines() {
            let quoted = |before: &str, after: &str| {
                let value = line.strip_prefix(before)?.strip_suffix(after)?;
                let plain = value.starts_with('/') && !value.contains(['"', '$', '`', '\\']);
                plain.then(|| value.to_owned())
            };
            if let Some(value) = quoted("export PYENV_ROOT=\"", "\"") {
                root = Some(value);
            } else if let Some(value) = quoted("exec \"", "\" exec \"$program\" \"$@\"") {
                exec = Some(value);
            } else if let Some(value) = quoted("if [[ $SHIM_PATH != \"", "\" ]]; then") {
                directory = Some(value);
            } else if !matches!(
                line.trim(),
                "" | "#!/usr/bin/env bash"
                    | "set -e"
                    | "[ -n \"$PYENV_DEBUG\" ] && set -x"
                    | "program=\"${0##*/}\""
                    | "SHIM_PATH=${0%/*}"
                    | "export _PYENV_SHIM_PATH=\"$SHIM_PATH\""
                    | "fi"
            ) {
                return Err(unknown());
            }
        }
        let (Some(root), Some(exec)) = (root, exec) else { return Err(unknown()) };
        // Called from elsewhere than its own directory, a shim takes another way.
        let bytes = shim.as_os_str().as_bytes();
        let called_in = &bytes[..memchr::memrchr(b'/', bytes).unwrap_or(0)];
        if directory.is_some_and(|directory| directory.as_bytes() != called_in) {
            return Err("a pyenv shim outside its directory".to_owned());
        }
        let root = PathBuf::from(root.strip_suffix('/').unwrap_or(&root));
        let prefix = installed_in(Path::new(&exec)).ok_or("pyenv itself is not there")?;
        Ok(Self { root, prefix })
    }

    /// The directories of plugins, in order of name.
    fn plugins(&self) -> Vec<PathBuf> {
        let mut plugins = sorted(&self.prefix.join("plugins"));
        if self.prefix != self.root {
            plugins.extend(sorted(&self.root.join("plugins")));
        }
        plugins
    }

    fn hook_path(&self, plugins: &[PathBuf], given: Option<OsString>) -> OsString {
        let mut directories = vec![self.root.join("pyenv.d")];
        if self.prefix != self.root {
            directories.push(self.prefix.join("pyenv.d"));
        }
        for fixed in ["/usr/etc", "/usr/local/etc", "/etc"] {
            directories.push(Path::new(fixed).join("pyenv.d"));
        }
        directories.push("/usr/lib/pyenv/hooks".into());
        // Of plugins outside the root pyenv takes the programs, but not the hooks.
        let in_root = plugins.iter().filter(|plugin| plugin.starts_with(&self.root));
        directories.extend(in_root.map(|plugin| plugin.join("etc/pyenv.d")).filter(|d| exists(d)));
        let mut path = given.unwrap_or_default();
        for directory in directories {
            if !path.is_empty() {
                path.push(":");
            }
            path.push(directory);
        }
        let path = path.into_vec();
        OsString::from_vec(path.strip_prefix(b":").unwrap_or(&path).to_vec())
    }

    /// A search path without pyenv's shims.
    fn without_shims(&self, path: &OsStr) -> OsString {
        let shims = self.root.join("shims");
        let directories = path.as_bytes().split(|&byte| byte == b':');
        let kept: Vec<_> =
            directories.filter(|directory| *directory != shims.as_os_str().as_bytes()).collect();
        OsString::from_vec(kept.join(&b':'))
    }
}

/// Where pyenv is installed, going by its program: links are followed one by one, for
/// pyenv names its directories without resolving those above them.
fn installed_in(program: &Path) -> Option<PathBuf> {
    let mut program = program.to_owned();
    let mut links = 0;
    looked::at(&program);
    while let Ok(target) = fs::read_link(&program) {
        links += 1;
        program = (links < 20).then(|| plain(&program.parent()?.join(target))).flatten()?;
        looked::at(&program);
    }
    program.is_file().then_some(())?;
    program.parent()?.parent().map(Path::to_owned)
}

/// Removes `.` and `..` from a path by its text, as `cd` does.
fn plain(path: &Path) -> Option<PathBuf> {
    use std::path::Component;

    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => plain.pop().then_some(())?,
            Component::CurDir => {}
            component => plain.push(component),
        }
    }
    Some(plain)
}

/// Whether there is anything of this name.
fn exists(path: &Path) -> bool {
    looked::at(path);
    path.exists()
}

fn is_directory(path: &Path) -> bool {
    looked::at(path);
    path.is_dir()
}

/// The entries of a directory that do not begin with a dot, in order of name.
fn sorted(directory: &Path) -> Vec<PathBuf> {
    looked::at(directory);
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries
        .filter(|entry| !entry.file_name().as_bytes().starts_with(b"."))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// A directory from the environment, which a shell would enter and ask its name.
fn plain_directory(directory: OsString) -> Result<PathBuf, String> {
    let directory = PathBuf::from(directory);
    let simple = plain(&directory).filter(|plain| {
        plain.is_absolute() && plain.as_os_str().len() == directory.as_os_str().len()
    });
    match simple {
        Some(plain) if is_directory(&plain) => Ok(plain),
        _ => Err(format!("PYENV_DIR is `{}`", directory.display())),
    }
}

/// The current directory as bash names it: `PWD`, if that leads here.
fn shell_directory(call: Call<'_>) -> PathBuf {
    let here = FileId::of(call.cwd);
    let by_name = call.set("PWD").map(PathBuf::from).filter(|path| path.is_absolute());
    let by_name = by_name.filter(|path| plain(path).as_ref() == Some(path));
    // Collected anew, it has no slash too many.
    by_name
        .map(|path| path.components().collect::<PathBuf>())
        .filter(|path| FileId::of(path) == here)
        .unwrap_or_else(|| call.cwd.to_owned())
}

/// Hooks may change anything; those that come with pyenv and pyenv-virtualenv do not
/// touch a Python that was found, except that pip is run so as to renew the shims.
fn check_hooks(hook_path: &OsStr, name: &OsStr, arguments: &[OsString]) -> Result<(), String> {
    for directory in hook_path.as_bytes().split(|&byte| byte == b':') {
        let directory = Path::new(OsStr::from_bytes(directory));
        for kind in ["version-name", "which", "exec"] {
            let hooks = directory.join(kind);
            looked::at(&hooks);
            for hook in fs::read_dir(&hooks).into_iter().flatten().flatten() {
                let file = hook.file_name();
                let known = match (kind, file.as_bytes()) {
                    (_, file) if file.starts_with(b".") || !file.ends_with(b".bash") => true,
                    ("which", file) => {
                        [&b"conda.bash"[..], b"python-config.bash", b"system-site-packages.bash"]
                            .contains(&file)
                    }
                    ("exec", b"pip-rehash.bash") => !runs_pip(name, arguments),
                    _ => false,
                };
                if !known {
                    return Err(format!("pyenv's hook {} may matter", hook.path().display()));
                }
            }
        }
    }
    Ok(())
}

/// Whether the command line, as one string, holds ` -m pip `: the hook's own test.
fn runs_pip(name: &OsStr, arguments: &[OsString]) -> bool {
    let mut line = name.as_bytes().to_vec();
    for argument in arguments {
        line.push(b' ');
        line.extend_from_slice(argument.as_bytes());
    }
    line.push(b' ');
    let words: Vec<_> = line.split(u8::is_ascii_whitespace).collect();
    words.windows(2).any(|pair| pair == [&b"-m"[..], b"pip"])
}

/// A program's name as part of a variable's.
fn as_variable(name: &OsStr) -> String {
    let letter = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => byte.to_ascii_uppercase() as char,
        _ => '_',
    };
    name.as_bytes().iter().map(letter).collect()
}

#[cfg(test)]
mod tests;
