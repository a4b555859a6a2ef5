//! Finds the interpreter that a program would run with.
//!
//! The order is: `PYIMG_PYTHON`; the active virtual environment; the interpreter that a
//! console script belongs to; `python3`, then `python`, on `PATH`. The first that is
//! there is taken. If it is a version manager's shim it is followed to what it would run;
//! if it is anything that is not certainly an interpreter, that is a doubt, and the
//! caller runs what was found as it is. `pyrun` never finds itself, even where it is
//! installed as `python3`.
//!
//! About `#!` lines: `python SCRIPT` does not look at them, and a script with
//! `#!/usr/bin/python3` that is run as `python script` must go on running with the
//! `python` on `PATH`. So they count in one case only: the interpreter that the line
//! names lies in the script's own directory, as it does for every console script of an
//! environment (`/opt/tools/bin/black` with `#!/opt/tools/bin/python`). Such a script can
//! import its own package there and nowhere else.
//!
//! Nothing is started here, and no more than the head of a file is read.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::looked;
use super::pyenv;
use super::which::{self, FileId, Kind};

/// Marks a process that `pyrun` has become by running something that is not an
/// interpreter, so that it notices when that leads back to `pyrun`.
pub const GUARD: &str = "PYIMG_VIA";
/// How many such steps may lie in one another before they are taken for a loop.
const MAX_STEPS: u32 = 16;

/// Where to look.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The current directory.
    pub cwd: &'a Path,
    /// The script to be run, if it is one.
    pub script: Option<&'a Path>,
    /// Python's arguments, without `argv[0]`.
    pub arguments: &'a [OsString],
    /// `argv[0]` of `pyrun`.
    pub invoked_as: &'a OsStr,
    /// The file that `pyrun` is.
    pub own: Option<FileId>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The interpreter.
    Interpreter(Interpreter),
    /// Something to run as it is, for it is not certain which interpreter that will be.
    Doubt {
        /// What to run.
        exec: PathBuf,
        /// Why that is not certain.
        why: String,
        /// The value that [`GUARD`] is to have there.
        guard: OsString,
    },
    /// No Python at all.
    Nothing,
}

/// An interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// As it is to be started, `argv[0]` and all: `…/venv/bin/python`.
    pub invoked: PathBuf,
    /// The binary that this leads to.
    pub real: PathBuf,
    /// How it was found.
    pub origin: Origin,
    /// Variables that the shim it was found through would have set. The program must see
    /// them, from an image as from plain Python.
    pub environment: Vec<(OsString, OsString)>,
}

/// How an interpreter was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// By `PYIMG_PYTHON`.
    Named,
    /// In the active virtual environment.
    VirtualEnvironment,
    /// By the `#!` line of a console script.
    Script,
    /// On `PATH`.
    Path,
    /// Through a version manager's shim.
    Shim,
    /// It is the one of the image that was asked for.
    Image,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "named by PYIMG_PYTHON",
            Self::VirtualEnvironment => "of the active virtual environment",
            Self::Script => "of the script's own environment",
            Self::Path => "on PATH",
            Self::Shim => "through pyenv's shim on PATH",
            Self::Image => "of the image that is named",
        })
    }
}

impl Search<'_> {
    /// Finds the interpreter.
    pub fn find(&self) -> Found {
        // What led back here once would do so for ever.
        let in_loop = self.in_loop();
        let candidates = self.named().chain(self.virtual_environment()).chain(self.of_script());
        for (path, origin) in candidates.chain(self.on_path()) {
            match self.examine(&path, origin) {
                Some(Found::Doubt { .. }) if in_loop => {}
                Some(found) => return found,
                None => {}
            }
        }
        Found::Nothing
    }

    fn set(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    fn named(&self) -> impl Iterator<Item = (PathBuf, Origin)> {
        let named = self.set("PYIMG_PYTHON").map(|name| {
            // A bare name is looked for on PATH; if it is not there, running it says so.
            let by_name = !name.as_bytes().contains(&b'/');
            let mut all = self.all(&name).filter(|(_, id)| Some(*id) != self.own);
            let on_path = by_name.then(|| all.next()).flatten();
            on_path.map_or_else(|| name.into(), |(path, _)| path)
        });
        named.map(|path| (path, Origin::Named)).into_iter()
    }

    fn virtual_environment(&self) -> impl Iterator<Item = (PathBuf, Origin)> {
        let python = self.set("VIRTUAL_ENV").map(|root| Path::new(&root).join("bin/python"));
        let python = python.filter(|python| which::executable(python).is_some());
        python.map(|path| (path, Origin::VirtualEnvironment)).into_iter()
    }

    fn of_script(&self) -> impl Iterator<Item = (PathBuf, Origin)> {
        let python = self.script.and_then(|script| own_interpreter(&self.cwd.join(script)));
        let python = python.filter(|python| which::executable(python).is_some());
        python.map(|path| (path, Origin::Script)).into_iter()
    }

    /// Every `python3`, then every `python`; before them those of the name that `pyrun`
    /// itself goes by, where that is a Python's.
    fn on_path(&self) -> impl Iterator<Item = (PathBuf, Origin)> {
        let own = Path::new(self.invoked_as).file_name().filter(|name| is_python_name(name));
        let usual = ["python3".as_ref(), "python".as_ref()];
        let names = own.into_iter().chain(usual.into_iter().filter(move |name| Some(*name) != own));
        names.flat_map(|name| self.all(name)).map(|(path, _)| (path, Origin::Path))
    }

    fn all(&self, name: &OsStr) -> impl Iterator<Item = (PathBuf, FileId)> + use<> {
        which::all(name, (self.variable)("PATH").as_deref())
    }

    /// Looks at what was found; nothing if it is `pyrun` itself.
    fn examine(&self, path: &Path, origin: Origin) -> Option<Found> {
        let id = FileId::of(path);
        if id.is_some() && id == self.own {
            return None;
        }
        let doubt = |why: String| {
            Some(Found::Doubt { exec: path.to_owned(), why, guard: self.next_guard() })
        };
        if which::executable(path).is_none() {
            return doubt("it is not an executable file".to_owned());
        }
        let text = match Kind::of(path) {
            Ok(Kind::Elf) => return self.accept(path, origin, vec![]).map_or_else(doubt, Some),
            Ok(Kind::Script(text)) => text,
            Err(error) => return doubt(error.to_string()),
        };
        if !pyenv::is_shim(&text) {
            return doubt("it is a script, not an interpreter".to_owned());
        }
        let call = pyenv::Call {
            variable: self.variable,
            cwd: self.cwd,
            arguments: self.arguments,
            own: self.own,
        };
        let target = match pyenv::follow(path, &text, call) {
            Ok(target) => target,
            Err(why) => return doubt(why),
        };
        if !matches!(Kind::of(&target.program), Ok(Kind::Elf)) {
            return doubt(format!("it leads to {}, a script", target.program.display()));
        }
        self.accept(&target.program, Origin::Shim, target.environment).map_or_else(doubt, Some)
    }

    /// Takes a binary for an interpreter, if it is called like one: some version managers'
    /// shims are links to their own binary.
    fn accept(
        &self,
        invoked: &Path,
        origin: Origin,
        environment: Vec<(OsString, OsString)>,
    ) -> Result<Found, String> {
        looked::at(invoked);
        let real = invoked.canonicalize().map_err(|error| error.to_string())?;
        if FileId::of(&real) == self.own {
            return Err("it leads back to pyrun".to_owned());
        }
        if !real.file_name().is_some_and(is_python_name) {
            return Err(format!("it leads to {}, which is not a Python", real.display()));
        }
        let invoked = invoked.to_owned();
        Ok(Found::Interpreter(Interpreter { invoked, real, origin, environment }))
    }

    /// What [`GUARD`] says: the process that ran something doubtful, and how many did.
    fn guard(&self) -> Option<(u32, u32)> {
        let value = self.set(GUARD)?.into_string().ok()?;
        let (process, steps) = value.split_once(':')?;
        Some((process.parse().ok()?, steps.parse().ok()?))
    }

    /// Whether something doubtful that was run has led back here: in this very process, or
    /// so often that it can only go on for ever.
    fn in_loop(&self) -> bool {
        self.guard()
            .is_some_and(|(process, steps)| process == std::process::id() || steps >= MAX_STEPS)
    }

    fn next_guard(&self) -> OsString {
        let steps = self.guard().map_or(0, |(_, steps)| steps);
        format!("{}:{}", std::process::id(), steps.saturating_add(1)).into()
    }
}

/// Whether a file of this name may be an interpreter: `python3.11`, `pypy3`, …
fn is_python_name(name: &OsStr) -> bool {
    ["python", "pypy"].iter().any(|python| name.as_bytes().starts_with(python.as_bytes()))
}

/// The interpreter beside a console script, if its `#!` line names one.
fn own_interpreter(script: &Path) -> Option<PathBuf> {
    // A pipe must not be read, for it could not be read again.
    looked::at(script);
    let metadata = script.metadata().ok()?;
    let head = metadata.is_file().then(|| which::head(script).ok()).flatten()?;
    if !head.starts_with(b"#!") {
        return None;
    }
    let directory = script.canonicalize().ok()?.parent()?.to_owned();
    let interpreter = named_by(&head, &directory)?;
    looked::at(interpreter.parent()?);
    let is_beside = interpreter.file_name().is_some_and(is_python_name)
        && interpreter.parent()?.canonicalize().ok()? == directory;
    is_beside.then_some(interpreter)
}

/// The interpreter that a script names in its `#!` line, or in the line after it where
/// installers put a path that is too long or has a space in it.
fn named_by(head: &[u8], directory: &Path) -> Option<PathBuf> {
    let mut lines = head.split(|&byte| byte == b'\n');
    let first = lines.next()?.strip_prefix(b"#!")?.trim_ascii();
    let name = if first == b"/bin/sh" {
        let second = lines.next()?.strip_prefix(b"'''exec' ")?;
        let beside = b"\"$(dirname -- \"$(realpath -- \"$0\")\")\"/";
        if let Some(name) = second.strip_prefix(beside) {
            let name = name.strip_prefix(b"'")?;
            return Some(directory.join(OsStr::from_bytes(name.split(|&b| b == b'\'').next()?)));
        }
        match second.strip_prefix(b"\"") {
            Some(quoted) => quoted.split(|&byte| byte == b'"').next()?,
            None => second.split(|&byte| byte == b' ').next()?,
        }
    } else {
        first.split(|byte| matches!(byte, b' ' | b'\t')).next()?
    };
    let path = PathBuf::from(OsStr::from_bytes(name));
    path.is_absolute().then_some(path)
}

/// A real interpreter to compare with, past any shim; says so if there is none.
#[cfg(test)]
pub(crate) fn for_tests() -> Option<PathBuf> {
    let search = Search {
        variable: &|name| std::env::var_os(name),
        cwd: &std::env::current_dir().ok()?,
        script: None,
        arguments: &[],
        invoked_as: OsStr::new("pyrun"),
        own: None,
    };
    match search.find() {
        Found::Interpreter(found) => Some(found.invoked),
        Found::Doubt { exec, .. } => Some(exec),
        Found::Nothing => {
            eprintln!("skipped: no Python was found");
            None
        }
    }
}

#[cfg(test)]
mod tests;
