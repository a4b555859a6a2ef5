//! How long a program's imports probably take, from what its source reaches.
//!
//! A program that only ever ran as plain Python has never been measured. So its imports are
//! followed on paper, from module to module along the interpreter's search path, and the
//! files on the way are counted. None of them is run. It takes milliseconds, so it is done
//! where nobody waits ([`crate::commands`]'s `consider`), not at a run.
//!
//! Of each file count the imports that happen when it is imported: those outside of
//! functions; but all of the program itself and of modules from which it takes single names,
//! for most of what a console script imports is imported by the function that it calls. What code decides as it runs cannot be seen; so the result is a guess, good
//! enough to tell a program that imports for a tenth of a second from one that does not.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::imports::{Imports, Names};
use crate::key::recipe::Recipe;

/// How many modules are followed, and how many bytes of source are read.
const MAX_MODULES: u64 = 5_000;
const MAX_BYTES: u64 = 100 << 20;

/// What importing takes, in nanoseconds: for a module, for each byte of its source, and for
/// one in machine code. Fitted to 17 imports between 2 and 440 ms (CPython 3.11, `.pyc` files
/// and disk cache warm), of which 14 are met within a third.
const NS_PER_MODULE: u64 = 306_000;
const NS_PER_BYTE: u64 = 20;
const NS_PER_EXTENSION: u64 = 171_000;

/// Prints the search path, the suffixes of extension modules and the modules that are there
/// at the start, as three lists.
const QUESTION: &str = r"
import sys
modules = sorted(sys.modules)
from _imp import extension_suffixes
for texts in sys.path, extension_suffixes(), modules:
    texts = [text.encode('utf-8', 'surrogateescape') for text in texts]
    sys.stdout.buffer.write(b'\0'.join([b'\0pyimg', *texts, b'\n']))
";

/// Where an interpreter looks for modules.
#[derive(Debug, Clone, Default)]
pub struct SearchPath {
    directories: Vec<PathBuf>,
    suffixes: Vec<String>,
    /// Modules that are there when a program begins.
    loaded: BTreeSet<String>,
}

impl SearchPath {
    /// Asks an interpreter, by running it without a program.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(executable: &Path, flags: &[String]) -> io::Result<Self> {
        let mut command = Command::new(executable);
        command.args(flags).args(["-c", QUESTION]);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        // Whoever stops us does not want an answer any more.
        crate::sys::in_company(&mut command, libc::SIGKILL);
        let answer = command.output()?.stdout;
        Self::read(&answer).ok_or_else(|| io::Error::other("the interpreter does not answer"))
    }

    fn read(answer: &[u8]) -> Option<Self> {
        let begin = memchr::memmem::find(answer, b"\0pyimg\0")?;
        let mut lists: Vec<Vec<Vec<u8>>> = Vec::new();
        for text in answer[begin + 1..].split(|&byte| byte == 0) {
            match text.strip_prefix(b"\n").unwrap_or(text) {
                b"pyimg" => lists.push(Vec::new()),
                b"" => {}
                text => lists.last_mut()?.push(text.to_vec()),
            }
        }
        let [directories, suffixes, loaded] = lists.try_into().ok()?;
        let path = |text: Vec<u8>| PathBuf::from(OsString::from_vec(text));
        let text = |text: Vec<u8>| String::from_utf8(text).ok();
        Some(Self {
            directories: directories.into_iter().map(path).collect(),
            suffixes: suffixes.into_iter().filter_map(text).collect(),
            loaded: loaded.into_iter().filter_map(text).collect(),
        })
    }
}

/// What a recipe reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// Modules with source, without those that are there at the start.
    pub modules: u64,
    /// Bytes of that source.
    pub bytes: u64,
    /// Modules in machine code.
    pub extensions: u64,
}

impl Reach {
    /// Follows the imports of a recipe; `first` is the directory in which the program's own
    /// modules are looked for, if there is one.
    pub fn of(recipe: &Recipe, search_path: &SearchPath, first: Option<&Path>) -> Self {
        let mut walk = Walk {
            search_path,
            first: None,
            places: HashMap::new(),
            entries: BTreeSet::new(),
            pending: Vec::new(),
            reach: Self::default(),
        };
        walk.recipe(recipe, first);
        while let Some(name) = walk.pending.pop() {
            if walk.reach.modules >= MAX_MODULES || walk.reach.bytes >= MAX_BYTES {
                break;
            }
            walk.load(&name);
        }
        walk.reach
    }

    /// How long importing all of it probably takes, in nanoseconds.
    pub fn import_ns(&self) -> u64 {
        self.modules * NS_PER_MODULE + self.bytes * NS_PER_BYTE + self.extensions * NS_PER_EXTENSION
    }
}

/// Where a module was found.
#[derive(Debug, Clone)]
enum Place {
    /// Nowhere in the file system: it is built in, or missing.
    Nowhere,
    /// A file; it has no modules within it.
    File,
    /// A package: the directories with its modules.
    Package(Vec<PathBuf>),
}

struct Walk<'a> {
    search_path: &'a SearchPath,
    /// What comes before the search path.
    first: Option<PathBuf>,
    places: HashMap<String, Place>,
    /// Modules of which the imports of functions count as well.
    entries: BTreeSet<String>,
    pending: Vec<String>,
    reach: Reach,
}

impl Walk<'_> {
    fn recipe(&mut self, recipe: &Recipe, first: Option<&Path>) {
        self.first = first.map(Path::to_owned);
        match recipe {
            Recipe::Code { code } => self.pending.extend(imports(code.as_bytes()).eager.absolute),
            Recipe::Module { modules } => {
                let main = modules.iter().map(|name| format!("{name}.__main__"));
                self.entries.extend(main.clone());
                self.pending.extend(main.chain(modules.iter().cloned()));
            }
            Recipe::Script { script } => {
                if first.is_some() {
                    let real = script.canonicalize().unwrap_or_else(|_| script.clone());
                    self.first = real.parent().map(Path::to_owned);
                }
                if let Ok(text) = text(script) {
                    let Imports { eager, lazy } = imports(&text);
                    // `from a.b import c`
                    let sources = eager.absolute.iter().filter_map(|name| name.rsplit_once('.'));
                    let sources = sources.map(|(module, _)| module.to_owned());
                    self.entries.extend(sources.filter(|name| eager.absolute.contains(name)));
                    self.pending.extend(eager.absolute.into_iter().chain(lazy.absolute));
                }
            }
            Recipe::Grown { from, more } => {
                self.recipe(from, first);
                self.recipe(more, first);
            }
        }
    }

    /// Loads a module and the packages that it is in.
    fn load(&mut self, name: &str) -> Place {
        if let Some(known) = self.places.get(name) {
            return known.clone();
        }
        // A package that is imported by what is in it is known by then.
        self.places.insert(name.to_owned(), Place::Nowhere);
        let (roots, last) = match name.rsplit_once('.') {
            None => {
                let first = self.first.iter();
                (first.chain(&self.search_path.directories).cloned().collect(), name)
            }
            Some((package, last)) => match self.load(package) {
                Place::Package(directories) => (directories, last),
                Place::File | Place::Nowhere => (Vec::new(), last),
            },
        };
        let place = self.find(name, last, &roots);
        self.places.insert(name.to_owned(), place.clone());
        place
    }

    /// Looks for a module in the order in which Python does.
    fn find(&mut self, name: &str, last: &str, roots: &[PathBuf]) -> Place {
        let mut portions = Vec::new();
        for root in roots {
            let directory = root.join(last);
            let init = directory.join("__init__.py");
            if init.is_file() {
                // Its own imports need to know where it is.
                let place = Place::Package(vec![directory]);
                self.places.insert(name.to_owned(), place.clone());
                self.read(name, name, &init);
                return place;
            }
            let suffixes = self.search_path.suffixes.iter();
            let in_machine_code = suffixes
                .map(|suffix| format!("{last}{suffix}"))
                .any(|file| root.join(file).is_file());
            if in_machine_code {
                self.reach.extensions += u64::from(!self.search_path.loaded.contains(name));
                return Place::File;
            }
            let file = root.join(format!("{last}.py"));
            if file.is_file() {
                self.read(name, name.rsplit_once('.').map_or("", |(package, _)| package), &file);
                return Place::File;
            }
            if directory.is_dir() {
                portions.push(directory);
            }
        }
        if portions.is_empty() { Place::Nowhere } else { Place::Package(portions) }
    }

    /// Counts a file of source, and what it imports in turn.
    fn read(&mut self, name: &str, package: &str, file: &Path) {
        if self.search_path.loaded.contains(name) {
            return;
        }
        let Ok(text) = text(file) else { return };
        self.reach.modules += 1;
        self.reach.bytes += text.len() as u64;
        let Imports { eager, lazy } = imports(&text);
        let lazy = if self.entries.contains(name) { lazy } else { Names::default() };
        self.pending.extend(eager.absolute.into_iter().chain(lazy.absolute));
        for (dots, relative) in eager.relative.into_iter().chain(lazy.relative) {
            let above =
                package.rsplit('.').take(dots - 1).map(|part| part.len() + 1).sum::<usize>();
            let base = package.get(..package.len().saturating_sub(above)).unwrap_or_default();
            if !base.is_empty() {
                let dot = if relative.is_empty() { "" } else { "." };
                self.pending.push(format!("{base}{dot}{relative}"));
            }
        }
    }
}

fn text(file: &Path) -> io::Result<Vec<u8>> {
    // A pipe of that name would keep us waiting.
    if !fs::metadata(file)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = Vec::new();
    File::open(file)?.take(MAX_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// All of the imports in a file.
fn imports(text: &[u8]) -> Imports {
    let mut budget = usize::MAX;
    Imports::of(text, &mut budget)
}

#[cfg(test)]
mod tests;
