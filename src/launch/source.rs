//! A program's source: what form it has, where it lies, and what it imports.
//!
//! Everything that Python would do with the program's name before running it is done here
//! once, with the same outcome: a directory or a zip file is run through its `__main__`, a
//! script's links are resolved, a module is looked for along the search path.
//!
//! What the program imports is followed into modules of its own: those beside the script,
//! those in its zip archive, or the rest of the package that `-m` names. That is bounded, for
//! it is done at every run; a program that is larger is known less well. What is imported at
//! once comes before what functions import. Nothing is consumed: of a program that comes
//! through a pipe only as much is known as stands in it already.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::archive::{self, Archive};
use super::command_line::{Program, Run};
use super::imports::Imports;
use super::miss::Miss;

/// The file through which a directory or an archive is run.
const MAIN: &str = "__main__.py";
/// How many files of one program are read.
const MAX_FILES: usize = 32;
/// How much of them is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// How much of that is parsed, in bytes: 0.7 ms.
pub(super) const MAX_PARSED: usize = 32 * 1024;
/// How long a program may take to come through a pipe, in milliseconds.
const MAX_WAIT: u8 = 10;

/// A program, looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// How it is to be run.
    pub form: Form,
    /// What Python would put before `sys.path`, as an absolute path: modules there win over
    /// the image's. Nothing with `-I` and `-P`.
    pub first_path: Option<PathBuf>,
    /// The top-level modules that it imports; `None` if that cannot be known.
    pub imports: Option<BTreeSet<String>>,
    /// Those of them that it imports in any case, not only in a function that may be called.
    pub eager: BTreeSet<String>,
    /// Whether no other file was read for that than the program's own.
    pub is_alone: bool,
}

/// How a program is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// A text.
    Command,
    /// A module.
    Module,
    /// A file of source, or of byte code.
    File,
    /// Standard input.
    Stdin,
    /// A directory or a zip file with a `__main__` module.
    Archive,
}

impl Source {
    /// Looks at the program of `run`. `search_path` is the image's `sys.path`, without the
    /// first entry, which is the program's own.
    ///
    /// # Errors
    /// When Python could not run the program: it is to say so itself.
    pub fn of(run: &Run, cwd: &Path, search_path: &[PathBuf]) -> Result<Self, Miss> {
        let mut reader = Reader::default();
        let first = (!run.flags.safe_path()).then(|| cwd.to_owned());
        match &run.program {
            Program::Command(text) => {
                reader.add(text.as_bytes(), None, false);
                reader.follow(first.as_deref(), None);
                Ok(reader.finish(Form::Command, first))
            }
            Program::Stdin { .. } => {
                let Some(text) = peek_stdin() else {
                    return Ok(Self::unknown(Form::Stdin, first));
                };
                reader.add(&text, None, false);
                reader.follow(first.as_deref(), None);
                Ok(reader.finish(Form::Stdin, first))
            }
            Program::Module(name) => {
                let name = name.to_str().unwrap_or_default();
                let top = name.split('.').next().unwrap_or_default();
                reader.eager.insert(top.to_owned());
                let roots = first.iter().chain(search_path);
                let found = roots
                    .map(|root| (root, reader.locate(root, name, true)))
                    .find(|(_, files)| !files.is_empty());
                if let Some((root, files)) = found {
                    files.into_iter().for_each(|file| reader.read(file, false));
                    // Beside the package of a local program lie its other modules; beside an
                    // installed one lies everything that is installed.
                    let only = (first.as_ref() != Some(root)).then_some(top);
                    reader.follow(Some(root), only);
                }
                Ok(reader.finish(Form::Module, first))
            }
            Program::Script(script) => {
                let path = cwd.join(script);
                let unreadable = |error: io::Error| {
                    Miss::Program(format!("cannot open {}: {error}", script.display()))
                };
                let metadata = path.metadata().map_err(unreadable)?;
                if metadata.is_dir() {
                    let has = |name| path.join(name).exists();
                    if !["__main__.py", "__main__.pyc", "__main__"].into_iter().any(has) {
                        return Err(without_main(script));
                    }
                    reader.read(path.join(MAIN), false);
                    reader.follow(Some(&path), None);
                    return Ok(reader.finish(Form::Archive, Some(path)));
                }
                let real = path.canonicalize().map_err(unreadable)?;
                let beside = real.parent().filter(|_| first.is_some()).map(Path::to_owned);
                if !metadata.is_file() {
                    return Ok(Self::unknown(Form::File, beside));
                }
                let mut file = File::open(&path).map_err(unreadable)?;
                if archive::is_archive(&mut file).map_err(unreadable)? {
                    return Self::of_archive(script, path, file);
                }
                let text = reader.text(&mut file).map_err(unreadable)?;
                if is_byte_code(&path, &text) {
                    return Ok(Self::unknown(Form::File, beside));
                }
                reader.add(&text, None, false);
                reader.follow(beside.as_deref(), None);
                Ok(reader.finish(Form::File, beside))
            }
        }
    }
}

impl Source {
    /// Looks at a program that is a zip archive.
    fn of_archive(script: &Path, path: PathBuf, file: File) -> Result<Self, Miss> {
        let odd = |why: String| Miss::Program(format!("{} {why}", script.display()));
        let archive = Archive::read(path.clone(), file).map_err(odd)?;
        let main = path.join(MAIN);
        if !archive.has_file(&main) {
            return match archive.has_file(&path.join("__main__.pyc")) {
                true => Ok(Self::unknown(Form::Archive, Some(path))),
                false => Err(without_main(script)),
            };
        }
        let mut reader = Reader { archive: Some(archive), ..Reader::default() };
        reader.read(main, false);
        reader.follow(Some(&path), None);
        match reader.trouble.take() {
            Some(why) => Err(odd(why)),
            None => Ok(reader.finish(Form::Archive, Some(path))),
        }
    }

    /// A program of which it cannot be known what it imports.
    fn unknown(form: Form, first_path: Option<PathBuf>) -> Self {
        Self { form, first_path, imports: None, eager: BTreeSet::new(), is_alone: true }
    }
}

fn without_main(script: &Path) -> Miss {
    Miss::Program(format!("{} has no __main__ module", script.display()))
}

/// Collects what files import, and the files that are to be read for it.
struct Reader {
    /// Top-level modules that are imported in any case, and those that functions import.
    eager: BTreeSet<String>,
    lazy: BTreeSet<String>,
    pending: Pending,
    /// The same, imported by functions: looked at last.
    pending_lazy: Pending,
    seen: BTreeSet<PathBuf>,
    bytes: usize,
    /// How many bytes may still be parsed.
    budget: usize,
    /// The archive that the program is, and what was found wrong with it.
    archive: Option<Archive>,
    trouble: Option<String>,
}

/// Names still to be looked for, with the package directory for relative ones.
type Pending = Vec<(Option<PathBuf>, String)>;

impl Default for Reader {
    fn default() -> Self {
        Self {
            eager: BTreeSet::new(),
            lazy: BTreeSet::new(),
            pending: Pending::new(),
            pending_lazy: Pending::new(),
            seen: BTreeSet::new(),
            bytes: 0,
            budget: MAX_PARSED,
            archive: None,
            trouble: None,
        }
    }
}

impl Reader {
    /// Notes what a text imports; with `is_lazy`, the text itself is imported by a function.
    fn add(&mut self, text: &[u8], file: Option<&Path>, is_lazy: bool) {
        let imports = Imports::of(text, &mut self.budget);
        for (names, is_lazy) in [(imports.eager, is_lazy), (imports.lazy, true)] {
            let (modules, pending) = match is_lazy {
                true => (&mut self.lazy, &mut self.pending_lazy),
                false => (&mut self.eager, &mut self.pending),
            };
            modules.extend(names.top_level());
            pending.extend(names.absolute.into_iter().map(|name| (None, name)));
            let Some(package) = file.and_then(Path::parent) else { continue };
            for (dots, name) in names.relative {
                if let Some(package) = package.ancestors().nth(dots - 1) {
                    pending.push((Some(package.to_owned()), name));
                }
            }
        }
    }

    /// Reads a file, unless it has been read or there has been enough.
    fn read(&mut self, path: PathBuf, is_lazy: bool) {
        if self.seen.len() >= MAX_FILES || self.bytes >= MAX_BYTES || self.seen.contains(&path) {
            return;
        }
        let text = match &self.archive {
            Some(archive) => match archive.text(&path, MAX_BYTES - self.bytes) {
                Ok(text) => text.inspect(|text| self.bytes += text.len()),
                Err(why) => {
                    self.trouble.get_or_insert(why);
                    None
                }
            },
            None => {
                let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
                let file = if is_file { File::open(&path).ok() } else { None };
                file.and_then(|mut file| self.text(&mut file).ok())
            }
        };
        if let Some(text) = text {
            self.add(&text, Some(&path), is_lazy);
        }
        self.seen.insert(path);
    }

    fn text(&mut self, file: &mut File) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        file.take((MAX_BYTES - self.bytes.min(MAX_BYTES)) as u64).read_to_end(&mut text)?;
        self.bytes += text.len();
        Ok(text)
    }

    /// Reads the modules that are imported from `root`, and those that they import from
    /// there; only those under the top-level name `only`, if one is given.
    fn follow(&mut self, root: Option<&Path>, only: Option<&str>) {
        let Some(root) = root else { return };
        let mut looked_for = BTreeSet::new();
        loop {
            // Whatever a lazy module imports is pending as lazy.
            let (is_lazy, next) = match self.pending.pop() {
                Some(next) => (false, next),
                None => match self.pending_lazy.pop() {
                    Some(next) => (true, next),
                    None => return,
                },
            };
            if self.seen.len() >= MAX_FILES || !looked_for.insert(next.clone()) {
                continue;
            }
            let (package, name) = next;
            let files = match package {
                Some(package) => self.locate(&package, &name, false),
                None if only.is_some_and(|only| name.split('.').next() != Some(only)) => continue,
                None => self.locate(root, &name, false),
            };
            files.into_iter().for_each(|file| self.read(file, is_lazy));
        }
    }

    /// The files that importing `name` from a directory would run, as far as they are there;
    /// with `main`, those of `python -m name`.
    fn locate(&self, root: &Path, name: &str, main: bool) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut directory = root.to_owned();
        for part in name.split('.').filter(|part| !part.is_empty()) {
            directory.push(part);
            let init = directory.join("__init__.py");
            if self.has_file(&init) {
                files.push(init);
            } else if self.has_directory(&directory) {
                // A namespace package: what matters lies within it.
            } else {
                let file = directory.with_file_name(format!("{part}.py"));
                if self.has_file(&file) {
                    files.push(file);
                }
                return files;
            }
        }
        let program = directory.join(MAIN);
        if main && self.has_file(&program) {
            files.push(program);
        }
        files
    }

    fn has_file(&self, path: &Path) -> bool {
        self.archive.as_ref().map_or_else(|| path.is_file(), |archive| archive.has_file(path))
    }

    fn has_directory(&self, path: &Path) -> bool {
        self.archive.as_ref().map_or_else(|| path.is_dir(), |archive| archive.has_directory(path))
    }

    fn finish(self, form: Form, first_path: Option<PathBuf>) -> Source {
        let imports = Some(self.eager.union(&self.lazy).cloned().collect());
        Source { form, first_path, imports, eager: self.eager, is_alone: self.seen.is_empty() }
    }
}

/// The beginning of what stands in standard input, which is left there.
///
/// A file is read from where it stands. Of a pipe, `tee(2)` shows what is in it; a program
/// that has not been written yet cannot run yet either, so it does no harm to wait for a
/// moment, but a short one, for plain Python could get ready meanwhile.
fn peek_stdin() -> Option<Vec<u8>> {
    use nix::sys::stat::{SFlag, fstat};

    let stdin = io::stdin();
    let mode = SFlag::from_bits_truncate(fstat(&stdin).ok()?.st_mode) & SFlag::S_IFMT;
    let mut text = vec![0; MAX_BYTES];
    let read = if mode == SFlag::S_IFREG {
        let at = nix::unistd::lseek(&stdin, 0, nix::unistd::Whence::SeekCur).ok()?;
        nix::sys::uio::pread(&stdin, &mut text, at).ok()?
    } else if mode == SFlag::S_IFIFO {
        peek_pipe(stdin.as_fd(), &mut text).ok()?
    } else {
        return None;
    };
    text.truncate(read);
    (read > 0).then_some(text)
}

fn peek_pipe(pipe: BorrowedFd<'_>, text: &mut [u8]) -> nix::Result<usize> {
    use nix::fcntl::{OFlag, SpliceFFlags, tee};
    use nix::poll::{PollFd, PollFlags, poll};

    if poll(&mut [PollFd::new(pipe, PollFlags::POLLIN)], MAX_WAIT)? == 0 {
        return Err(nix::Error::EAGAIN);
    }
    let (copy, into) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    if tee(pipe, &into, text.len(), SpliceFFlags::SPLICE_F_NONBLOCK)? == 0 {
        return Ok(0);
    }
    nix::unistd::read(&copy, text)
}

/// Whether Python would take a file for byte code: by its name, or by a magic number, of
/// which only the first byte differs between versions.
fn is_byte_code(path: &Path, text: &[u8]) -> bool {
    path.extension().is_some_and(|extension| extension == "pyc")
        || text.get(1..4).is_some_and(|magic| magic == b"\r\r\n")
}

#[cfg(test)]
mod tests;
