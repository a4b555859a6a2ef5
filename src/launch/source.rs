//! A program's source: what form it has, where it lies, and what it imports.
//!
//! Everything that Python would do with the program's name before running it is done here
//! once, with the same outcome: a directory or a zip file is run through its `__main__`, a
//! script's links are resolved, a module is looked for along the search path.
//!
//! What the program imports is followed into modules of its own: those beside the script,
//! or the rest of the package that `-m` names. That is bounded, for it is done at every
//! run; a program that is larger is known less well. Nothing is consumed: of a program that
//! comes through a pipe only as much is known as stands in it already.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::command_line::{Program, Run};
use super::imports::Imports;
use super::miss::Miss;

/// How many files of one program are read.
const MAX_FILES: usize = 32;
/// How much of them is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// How long a program may take to come through a pipe, in milliseconds.
const MAX_WAIT: u8 = 10;
/// Where a zip file's directory may end before the end of the file: its longest comment.
const MAX_ZIP_END: i64 = 22 + 0xffff;

/// A program, looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// How it is to be run.
    pub form: Form,
    /// What Python would put before `sys.path`, as an absolute path: modules there win over
    /// the image's. Nothing with `-I` and `-P`.
    pub first_path: Option<PathBuf>,
    /// The top-level modules that it imports; `None` if that cannot be known.
    pub imports: Option<BTreeSet<String>>,
}

/// How a program is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
                reader.add(text.as_bytes(), None);
                reader.follow(first.as_deref(), None);
                Ok(reader.finish(Form::Command, first))
            }
            Program::Stdin { .. } => {
                let Some(text) = peek_stdin() else {
                    return Ok(Self { form: Form::Stdin, first_path: first, imports: None });
                };
                reader.add(&text, None);
                reader.follow(first.as_deref(), None);
                Ok(reader.finish(Form::Stdin, first))
            }
            Program::Module(name) => {
                let name = name.to_str().unwrap_or_default();
                let top = name.split('.').next().unwrap_or_default();
                reader.modules.insert(top.to_owned());
                let roots = first.iter().chain(search_path);
                let found = roots
                    .map(|root| (root, locate(root, name, true)))
                    .find(|(_, files)| !files.is_empty());
                if let Some((root, files)) = found {
                    files.into_iter().for_each(|file| reader.read(file));
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
                        let text = format!("{} has no __main__ module", script.display());
                        return Err(Miss::Program(text));
                    }
                    reader.read(path.join("__main__.py"));
                    reader.follow(Some(&path), None);
                    return Ok(reader.finish(Form::Archive, Some(path)));
                }
                let real = path.canonicalize().map_err(unreadable)?;
                let beside = real.parent().filter(|_| first.is_some()).map(Path::to_owned);
                if !metadata.is_file() {
                    return Ok(Self { form: Form::File, first_path: beside, imports: None });
                }
                let mut file = File::open(&path).map_err(unreadable)?;
                if is_zip(&mut file, metadata.len()).map_err(unreadable)? {
                    // It would have to be looked through for modules that come first.
                    let text = format!("{} is a zip archive", script.display());
                    return Err(Miss::Program(text));
                }
                let text = reader.text(&mut file).map_err(unreadable)?;
                if is_byte_code(&path, &text) {
                    return Ok(Self { form: Form::File, first_path: beside, imports: None });
                }
                reader.add(&text, None);
                reader.follow(beside.as_deref(), None);
                Ok(reader.finish(Form::File, beside))
            }
        }
    }
}

/// Collects what files import, and the files that are to be read for it.
#[derive(Default)]
struct Reader {
    modules: BTreeSet<String>,
    /// Names still to be looked for, with the package directory for relative ones.
    pending: Vec<(Option<PathBuf>, String)>,
    seen: BTreeSet<PathBuf>,
    bytes: usize,
}

impl Reader {
    fn add(&mut self, text: &[u8], file: Option<&Path>) {
        let imports = Imports::of(text);
        self.modules.extend(imports.top_level());
        self.pending.extend(imports.names.into_iter().map(|name| (None, name)));
        let Some(package) = file.and_then(Path::parent) else { return };
        for (dots, name) in imports.relative {
            if let Some(package) = package.ancestors().nth(dots - 1) {
                self.pending.push((Some(package.to_owned()), name));
            }
        }
    }

    /// Reads a file, unless it has been read or there has been enough.
    fn read(&mut self, path: PathBuf) {
        if self.seen.len() >= MAX_FILES || self.bytes >= MAX_BYTES || self.seen.contains(&path) {
            return;
        }
        let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
        let text = is_file.then(|| File::open(&path).and_then(|mut file| self.text(&mut file)));
        if let Some(Ok(text)) = text {
            self.add(&text, Some(&path));
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
        while let Some((package, name)) = self.pending.pop() {
            if self.seen.len() >= MAX_FILES || !looked_for.insert((package.clone(), name.clone())) {
                continue;
            }
            let files = match package {
                Some(package) => locate(&package, &name, false),
                None if only.is_some_and(|only| name.split('.').next() != Some(only)) => continue,
                None => locate(root, &name, false),
            };
            files.into_iter().for_each(|file| self.read(file));
        }
    }

    fn finish(self, form: Form, first_path: Option<PathBuf>) -> Source {
        Source { form, first_path, imports: Some(self.modules) }
    }
}

/// The files that importing `name` from a directory would run, as far as they are there;
/// with `main`, those of `python -m name`.
fn locate(root: &Path, name: &str, main: bool) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directory = root.to_owned();
    for part in name.split('.').filter(|part| !part.is_empty()) {
        directory.push(part);
        let init = directory.join("__init__.py");
        if init.is_file() {
            files.push(init);
        } else if directory.is_dir() {
            // A namespace package: what matters lies within it.
        } else {
            let file = directory.with_file_name(format!("{part}.py"));
            if file.is_file() {
                files.push(file);
            }
            return files;
        }
    }
    let program = directory.join("__main__.py");
    if main && program.is_file() {
        files.push(program);
    }
    files
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

/// Whether Python's `zipimport` would take a file for an archive: it looks for the record
/// that ends an archive's directory. Leaves the file at its beginning.
fn is_zip(file: &mut File, size: u64) -> io::Result<bool> {
    let back = MAX_ZIP_END.min(i64::try_from(size).unwrap_or(MAX_ZIP_END));
    let mut tail = Vec::new();
    file.seek(SeekFrom::End(-back))?;
    file.take(MAX_ZIP_END.unsigned_abs()).read_to_end(&mut tail)?;
    file.rewind()?;
    Ok(memchr::memmem::rfind(&tail, b"PK\x05\x06").is_some())
}

/// Whether Python would take a file for byte code: by its name, or by a magic number, of
/// which only the first byte differs between versions.
fn is_byte_code(path: &Path, text: &[u8]) -> bool {
    path.extension().is_some_and(|extension| extension == "pyc")
        || text.get(1..4).is_some_and(|magic| magic == b"\r\r\n")
}

#[cfg(test)]
mod tests;
