//! Asks an interpreter what it is, by running it: for builds only.
//!
//! A run never does this, for it would cost more than it saves; a run finds the binary and
//! looks up what a build has recorded of it. Here is also where an interpreter is refused
//! that images cannot be built of.

use std::fmt;
use std::io::{Read, Seek};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::which;
use crate::error::{Error, Result};

/// How long an interpreter may take to answer.
const DEADLINE: Duration = Duration::from_secs(20);
/// More than this no interpreter has to say, in bytes.
const MAX_ANSWER: u64 = 256 * 1024;
/// Comes first in the answer, whatever a `sitecustomize` or a wrapper prints before it.
const MARK: &[u8] = b"\0pyimg\0";
/// Works on Python 2.7 and PyPy too, so that they can be refused by name. Only built-in
/// modules are imported: nothing in the current directory can come in between.
const QUESTION: &str = r"
import sys, posix
name = getattr(getattr(sys, 'implementation', None), 'name', 'cpython')
if hasattr(sys, 'pypy_version_info'):
    name = 'pypy'
maps = open('/proc/self/maps', 'rb').read().split(b'\n')
paths = [line.split(None, 5)[5] for line in maps if b'/libpython' in line]
try:
    from _imp import extension_suffixes
except ImportError:
    from imp import get_suffixes
    extension_suffixes = lambda: [suffix[0] for suffix in get_suffixes()]
said = ['%d.%d.%d' % sys.version_info[:3], name, getattr(sys, 'abiflags', ''), sys.executable or '']
said += [posix.readlink('/proc/self/exe'), sys.prefix, getattr(sys, 'base_prefix', sys.prefix)]
said += [':'.join(extension_suffixes())]
if sys.version_info[0] > 2:
    said = [text.encode('utf-8', 'surrogateescape') for text in said]
answer = b'\0'.join([b'', b'pyimg'] + said + sorted(set(paths)) + [b''])
while answer:
    answer = answer[posix.write(1, answer):]
";

/// What an interpreter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Its version.
    pub version: Version,
    /// `sys.executable`: how it is to be started.
    pub executable: PathBuf,
    /// The binary that runs.
    pub real: PathBuf,
    /// The shared `libpython`, if there is one.
    pub libraries: Vec<PathBuf>,
    /// `sys.prefix`.
    pub prefix: PathBuf,
    /// `sys.base_prefix`: differs from the prefix in a virtual environment.
    pub base_prefix: PathBuf,
    /// What the names of extension modules end with, in the order in which Python looks:
    /// `.cpython-311-x86_64-linux-gnu.so`, `.abi3.so`, `.so`.
    pub suffixes: Vec<String>,
}

/// A version of Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 3.
    pub major: u32,
    /// 11 of 3.11.7.
    pub minor: u32,
    /// 7 of 3.11.7.
    pub micro: u32,
}

/// The first version that images can be built of.
const OLDEST: (u32, u32) = (3, 9);
/// The last version that is known to work.
const NEWEST: (u32, u32) = (3, 13);

impl Version {
    /// Reads `3.11.7`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(str::parse);
        let mut next = || parts.next()?.ok();
        let version = Self { major: next()?, minor: next()?, micro: next()? };
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// Runs the interpreter at `path` and asks it what it is.
///
/// # Errors
/// When there is none, or it is not a CPython from 3.9 to 3.13 (exit status 2).
pub fn inspect(path: &Path) -> Result<Inspected> {
    let shown = path.display();
    let usable = "images can be built of CPython 3.9 to 3.13";
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::environment(format!("there is no Python at {shown}"))
                .hint("name one with --python, or put one on PATH"));
        }
        Err(error) => {
            return Err(Error::environment(format!("cannot look at {shown}")).because(error));
        }
        Ok(metadata) if metadata.is_dir() => {
            return Err(Error::environment(format!("{shown} is a directory, not a Python"))
                .hint(format!("did you mean {}?", path.join("bin/python").display())));
        }
        Ok(_) if which::executable(path).is_none() => {
            return Err(Error::environment(format!("{shown} is not executable"))
                .hint(format!("{usable}; name another with --python")));
        }
        Ok(_) => {}
    }
    let hint = format!("{usable}; name one with --python");
    let answer = ask(path)?;
    let not_python = || Error::environment(format!("{shown} is not a Python interpreter"));
    let Some(said) = answer.said else {
        let error = not_python().hint(hint);
        return Err(match answer.complaint {
            Some(complaint) => error.because(complaint),
            None => error,
        });
    };
    let (inspected, implementation, abi) = parse(&said).ok_or_else(not_python)?;
    let version = inspected.version;
    let short = (version.major, version.minor);
    let refused = if implementation != "cpython" {
        format!("{shown} is {implementation}, not CPython")
    } else if short < OLDEST {
        format!("{shown} is Python {version}, which is too old")
    } else if short > NEWEST {
        format!("{shown} is Python {version}, which is newer than what is known to work")
    } else if abi.contains('t') {
        format!("{shown} is a free-threaded build of Python {version}")
    } else {
        return Ok(inspected);
    };
    Err(Error::environment(refused).hint(hint))
}

struct Answer {
    said: Option<Vec<u8>>,
    complaint: Option<String>,
}

/// Runs the question. Output goes to files, not pipes: whatever is run here by mistake can
/// neither block on us nor fill our memory.
fn ask(path: &Path) -> Result<Answer> {
    let failed = |error: std::io::Error| {
        Error::environment(format!("cannot run {}", path.display())).because(error)
    };
    let mut output = tempfile::tempfile().map_err(failed)?;
    let mut complaints = tempfile::tempfile().map_err(failed)?;
    let mut child = Command::new(path)
        .args(["-S", "-s", "-c", QUESTION])
        .env_remove("PYTHONINSPECT")
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(complaints.try_clone().map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    let start = Instant::now();
    let status: ExitStatus = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        let too_much = output.metadata().map_err(failed)?.len() > MAX_ANSWER;
        if too_much || start.elapsed() > DEADLINE {
            let _ = child.kill();
            let _ = child.wait();
            let text = format!("{} does not answer as a Python does", path.display());
            return Err(Error::environment(text).hint("name a Python with --python"));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let read = |file: &mut std::fs::File| {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.take(MAX_ANSWER).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let said = read(&mut output).map_err(failed)?;
    let complaints = read(&mut complaints).map_err(failed)?;
    let at = memchr::memmem::find(&said, MARK).filter(|_| status.success());
    let complaints = String::from_utf8_lossy(&complaints);
    // Of a traceback the last line says what it is about.
    let complaint = complaints.lines().rfind(|line| !line.trim().is_empty());
    Ok(Answer {
        said: at.map(|at| said[at + MARK.len()..].to_vec()),
        complaint: complaint.map(|line| line.trim().to_owned()),
    })
}

/// Takes an answer apart; also gives the implementation's name and the ABI's flags.
fn parse(said: &[u8]) -> Option<(Inspected, String, String)> {
    let mut fields = said.split(|&byte| byte == 0);
    let mut text = || Some(String::from_utf8_lossy(fields.next()?).into_owned());
    let (version, implementation, abi) = (Version::parse(&text()?)?, text()?, text()?);
    let mut path = || Some(PathBuf::from(std::ffi::OsString::from_vec(fields.next()?.to_vec())));
    let (executable, real, prefix, base_prefix) = (path()?, path()?, path()?, path()?);
    let suffixes = String::from_utf8_lossy(fields.next()?).split(':').map(str::to_owned).collect();
    let mut libraries: Vec<_> =
        fields.map(|field| PathBuf::from(std::ffi::OsString::from_vec(field.to_vec()))).collect();
    libraries.retain(|library| library.is_absolute());
    let executable = if executable.as_os_str().is_empty() { real.clone() } else { executable };
    let inspected =
        Inspected { version, executable, real, libraries, prefix, base_prefix, suffixes };
    Some((inspected, implementation, abi))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A Python of pyenv's, by the beginning of its version.
    fn installed(version: &str) -> Option<PathBuf> {
        let versions = Path::new(&std::env::var_os("HOME")?).join(".pyenv/versions");
        let found = fs::read_dir(versions)
            .ok()?
            .flatten()
            .find(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(version)));
        let python = found.map(|entry| entry.path().join("bin/python"));
        if python.is_none() {
            eprintln!("skipped: pyenv has no Python {version}");
        }
        python
    }

    fn refusal(path: &Path) -> String {
        let error = inspect(path).expect_err("refused");
        assert_eq!(error.exit_code(), 2);
        let hint = error.hint_text().unwrap_or_default();
        format!("{error} ({hint})").replace(&path.display().to_string(), "IT")
    }

    fn program(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("python3");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        (directory, path)
    }

    #[test]
    fn interpreters_that_can_be_used() {
        for version in ["3.9.", "3.10.", "3.11.", "3.12.", "3.13."] {
            let Some(path) = installed(version) else { continue };
            let found = inspect(&path).expect("a usable Python");
            assert!(found.version.to_string().starts_with(version));
            assert_eq!(found.executable, path);
            assert_eq!(found.real, path.canonicalize().unwrap());
            assert_eq!(found.prefix, path.parent().unwrap().parent().unwrap());
            assert_eq!(found.prefix, found.base_prefix);
            assert!(found.libraries.iter().all(|library| library.is_file()), "{found:?}");
            let digits = version.replace('.', "");
            assert!(found.suffixes[0].starts_with(&format!(".cpython-{digits}-")), "{found:?}");
            assert_eq!(found.suffixes.last().map(String::as_str), Some(".so"));
        }
    }

    #[test]
    fn interpreters_that_are_too_old() {
        let hint = "(images can be built of CPython 3.9 to 3.13; name one with --python)";
        for version in ["2.7.", "3.6.", "3.7.", "3.8."] {
            let Some(path) = installed(version) else { continue };
            let refused = refusal(&path);
            let start = format!("IT is Python {version}");
            assert!(refused.starts_with(&start), "{refused}");
            assert!(refused.ends_with(&format!(", which is too old {hint}")), "{refused}");
        }
    }

    #[test]
    fn answers_of_other_interpreters() {
        let refused = |version: &str, name: &str, abi: &str| {
            let answer = format!(
                "\\000pyimg\\000{version}\\000{name}\\000{abi}\\000/p\\000/p\\000/\\000/\\000.so\\000"
            );
            let (_directory, path) = program(&format!("#!/bin/sh\nprintf 'hello{answer}'\n"));
            let text = refusal(&path);
            text.split(" (").next().unwrap_or_default().to_owned()
        };
        assert_eq!(refused("3.10.12", "pypy", ""), "IT is pypy, not CPython");
        assert_eq!(refused("3.8.1", "cpython", ""), "IT is Python 3.8.1, which is too old");
        assert_eq!(
            refused("3.14.0", "cpython", ""),
            "IT is Python 3.14.0, which is newer than what is known to work"
        );
        assert_eq!(
            refused("3.13.1", "cpython", "t"),
            "IT is a free-threaded build of Python 3.13.1"
        );
        assert_eq!(refused("three", "cpython", ""), "IT is not a Python interpreter");
    }

    #[test]
    fn what_is_no_interpreter() {
        let hint = "(images can be built of CPython 3.9 to 3.13; name one with --python)";
        assert_eq!(
            refusal(Path::new("/nonexistent/python3")),
            "there is no Python at IT (name one with --python, or put one on PATH)"
        );
        assert_eq!(
            refusal(Path::new("/usr")),
            "IT is a directory, not a Python (did you mean IT/bin/python?)"
        );
        assert_eq!(
            refusal(Path::new("/etc/passwd")),
            "IT is not executable (images can be built of CPython 3.9 to 3.13; name another with \
             --python)"
        );
        let (_directory, path) = program("#!/bin/sh\nexit 0\n");
        assert_eq!(refusal(&path), format!("IT is not a Python interpreter {hint}"));
        let (_directory, path) = program("#!/bin/sh\necho >&2 'odd option'\nexit 3\n");
        assert_eq!(refusal(&path), format!("IT is not a Python interpreter: odd option {hint}"));
        let (_directory, path) = program("#!/nonexistent/interpreter\n");
        assert!(refusal(&path).starts_with("cannot run IT: No such file"), "{}", refusal(&path));
        let (_directory, path) = program("#!/bin/sh\nexec yes\n");
        assert_eq!(
            refusal(&path),
            "IT does not answer as a Python does (name a Python with --python)"
        );
    }

    #[test]
    fn versions() {
        let version = Version::parse("3.11.7").expect("a version");
        assert_eq!((version.major, version.minor, version.micro), (3, 11, 7));
        assert_eq!(version.to_string(), "3.11.7");
        assert_eq!(Version::parse("3.11"), None);
        assert_eq!(Version::parse("3.11.7.1"), None);
        assert!(version < Version { major: 3, minor: 12, micro: 0 });
    }
}
