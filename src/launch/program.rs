//! Which program it is: the name under which the store remembers it, and how an image for
//! it would be built.
//!
//! Nothing is read here but where a path leads; what is remembered is the store's business
//! ([`crate::store::Records`]), and what is made of it the choice's.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::command_line::{Program as Source, Run};
use super::imports;
use super::source::MAX_PARSED;
use crate::key::interpreter::Interpreter;
use crate::key::recipe::Recipe;
use crate::store::{Program, ProgramId};

/// Characters of what a program is called that are kept.
const LONGEST_NAME: usize = 100;

impl ProgramId {
    /// The program that is to run: the same interpreter, flags and file, module or text.
    /// A module that lies in the working directory is another one in each.
    ///
    /// `None` for what nobody could recognise: a program from standard input, or from a
    /// file that is not there, a pipe, say.
    pub fn of(run: &Run, interpreter: &Interpreter, cwd: &Path) -> Option<Self> {
        let (kind, text) = match &run.program {
            Source::Command(text) => ("-c", text.as_bytes().to_vec()),
            Source::Module(name) => {
                let mut text = name.as_bytes().to_vec();
                if !run.flags.safe_path() && lies_in(cwd, name.as_bytes()) {
                    text.push(b'\0');
                    text.extend(cwd.as_os_str().as_bytes());
                }
                ("-m", text)
            }
            Source::Script(path) => ("", script(path, cwd)?.into_os_string().into_encoded_bytes()),
            Source::Stdin { .. } => return None,
        };
        let flags = run.flags.to_string();
        let executable = interpreter.invoked.as_os_str().as_bytes();
        let mut hasher = blake3::Hasher::new_derive_key("pyimg program, version 1");
        for part in [executable, flags.as_bytes(), kind.as_bytes(), &text] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Some(hasher.finalize().into())
    }
}

impl Program {
    /// What is known of a program that was never run before.
    pub fn new(run: &Run, interpreter: &Interpreter, cwd: &Path) -> Self {
        let recipe = recipe(run, cwd).and_then(|recipe| serde_json::to_value(recipe).ok());
        Self {
            what: what(run, cwd),
            executable: interpreter.invoked.display().to_string(),
            flags: run.flags.to_string(),
            recipe: recipe.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// What to build an image for it from, if that is known.
    pub fn recipe(&self) -> Option<Recipe> {
        serde_json::from_value(self.recipe.clone()).ok()
    }
}

/// What a program is called where people read it: one line, not a long one.
pub fn what(run: &Run, cwd: &Path) -> String {
    let text = match &run.program {
        Source::Command(text) => format!("-c {}", text.to_string_lossy()),
        Source::Module(name) => format!("-m {}", name.to_string_lossy()),
        Source::Script(path) => {
            let path = script(path, cwd).unwrap_or_else(|| cwd.join(path));
            path.to_string_lossy().into_owned()
        }
        Source::Stdin { .. } => "-".into(),
    };
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if !word.is_empty() {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
        if line.len() > 4 * LONGEST_NAME {
            break;
        }
    }
    match line.char_indices().nth(LONGEST_NAME) {
        Some(_) => {
            let end = line.char_indices().nth(LONGEST_NAME - 1).map_or(0, |(at, _)| at);
            format!("{}…", &line[..end])
        }
        None => line,
    }
}

/// What an image for this program would be built from: what it imports, and not more of it
/// than could be seen.
fn recipe(run: &Run, cwd: &Path) -> Option<Recipe> {
    match &run.program {
        Source::Command(text) => {
            let mut budget = MAX_PARSED;
            let names = imports::Imports::of(text.as_bytes(), &mut budget).eager.absolute;
            // Of `from a.b import c` only that much is certain: `a.b` is a module.
            let is_certain = |name: &&String| {
                let package = name.rsplit_once('.').map(|(package, _)| package);
                package.is_none_or(|package| !names.contains(package))
            };
            let modules: Vec<String> = names.iter().filter(is_certain).cloned().collect();
            (!modules.is_empty())
                .then(|| Recipe::Code { code: format!("import {}", modules.join(", ")) })
        }
        Source::Module(name) => Some(Recipe::Module { modules: vec![name.to_str()?.to_owned()] }),
        Source::Script(path) => Some(Recipe::Script { script: script(path, cwd)? }),
        Source::Stdin { .. } => None,
    }
}

/// The file that a script is, behind all links.
fn script(path: &Path, cwd: &Path) -> Option<PathBuf> {
    cwd.join(path).canonicalize().ok()
}

/// Whether a module's first part lies in this directory.
fn lies_in(directory: &Path, module: &[u8]) -> bool {
    let top = module.split(|byte| *byte == b'.').next().unwrap_or_default();
    let name = directory.join(std::ffi::OsStr::from_bytes(top));
    let mut file = name.clone().into_os_string();
    file.push(".py");
    name.is_dir() || Path::new(&file).is_file()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use super::*;
    use crate::key::interpreter::Origin;
    use crate::launch::command_line::CommandLine;

    fn run(line: &[&str]) -> Run {
        let line = CommandLine::parse(line.iter().map(OsString::from), || false);
        line.unwrap().run.expect("an image may run this")
    }

    fn python(path: &str) -> Interpreter {
        let (invoked, real) = (path.into(), "/usr/bin/python3.11".into());
        Interpreter { invoked, real, origin: Origin::Named, environment: Vec::new() }
    }

    #[test]
    fn programs_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        for cwd in [&one, &two] {
            fs::create_dir_all(cwd.join("own")).unwrap();
            fs::write(cwd.join("a.py"), "").unwrap();
        }
        std::os::unix::fs::symlink(one.join("a.py"), two.join("link.py")).unwrap();
        let id = |line: &[&str], cwd: &Path| ProgramId::of(&run(line), &python("/p"), cwd).unwrap();
        let same = [
            (id(&["a.py"], &one), id(&["../one/a.py", "argument"], &two)),
            (id(&["a.py"], &one), id(&["link.py"], &two)),
            (id(&["-m", "json.tool"], &one), id(&["-m", "json.tool", "x"], &two)),
            (id(&["-c", "pass"], &one), id(&["-cpass"], &two)),
            (id(&["-BO", "a.py"], &one), id(&["-O", "-B", "a.py"], &one)),
        ];
        assert!(same.iter().all(|(a, b)| a == b), "{same:?}");
        let mut different = vec![
            id(&["a.py"], &one),
            id(&["a.py"], &two),
            id(&["-O", "a.py"], &one),
            id(&["-m", "a"], &one),
            id(&["-m", "a"], &two),
            id(&["-m", "own.x"], &one),
            id(&["-m", "own.x"], &two),
            id(&["-I", "-m", "own.x"], &two),
            id(&["-m", "json.tool"], &one),
            id(&["-c", "json.tool"], &one),
            ProgramId::of(&run(&["a.py"]), &python("/q"), &one).unwrap(),
        ];
        let count = different.len();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), count);
        assert_eq!(ProgramId::of(&run(&["-"]), &python("/p"), &one), None);
        assert_eq!(ProgramId::of(&run(&["missing.py"]), &python("/p"), &one), None);
    }

    #[test]
    fn they_are_named_for_people_and_know_how_to_be_built() {
        let dir = tempfile::tempdir().unwrap();
        let cwd = dir.path().canonicalize().unwrap();
        fs::write(cwd.join("a.py"), "").unwrap();
        let program = |line: &[&str]| Program::new(&run(line), &python("/p"), &cwd);
        let known = |line: &[&str]| {
            let program = program(line);
            (program.what.clone(), program.recipe().map(|recipe| recipe.text()))
        };
        let here = |name: &str| format!("{}/{name}", cwd.display());
        assert_eq!(known(&["-m", "black", "x"]), ("-m black".into(), Some("-m black".into())));
        let script = (here("a.py"), Some(format!("--script {}", here("a.py"))));
        assert_eq!(known(&["a.py"]), script);
        let text = "import re, numpy as np\n\tprint(np.\u{1b}[31mpi)";
        let said = "-c import re, numpy as np print(np. [31mpi)".into();
        assert_eq!(known(&["-c", text]), (said, Some("import numpy, re".into())));
        let recipe = |text| known(&["-c", text]).1;
        assert_eq!(recipe("from a.b import c; import d.e"), Some("import a.b, d.e".into()));
        assert_eq!(known(&["-c", "pass"]), ("-c pass".into(), None));
        assert_eq!(known(&["-"]), ("-".into(), None));
        let long = known(&["-c", &"ä ".repeat(500_000)]).0;
        assert!(long.chars().count() == LONGEST_NAME && long.ends_with('…'), "{long}");
        let program = program(&["-B", "-m", "black"]);
        assert_eq!((program.executable.as_str(), program.flags.as_str()), ("/p", "-B"));
    }
}
