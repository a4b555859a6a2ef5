//! The journal of what a recipe looked at, which the park library wrote
//! (`park/observe.c`): records of a letter, a text and a NUL.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// What was looked at.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Paths that were opened for reading, and which record said so first.
    pub read: BTreeMap<PathBuf, usize>,
    /// Paths that were opened to be written, and which record said so last.
    pub written: BTreeMap<PathBuf, usize>,
    /// Paths that were looked at and were there.
    pub present: BTreeSet<PathBuf>,
    /// Paths that were looked for and were not there.
    pub absent: BTreeSet<PathBuf>,
    /// Symbolic links that were read.
    pub links: BTreeSet<PathBuf>,
    /// Variables that C code has read.
    pub variables: BTreeSet<String>,
    /// Whether a relative path was used.
    pub relative: bool,
    /// What was asked of the system, and by whom.
    pub questions: BTreeSet<(Question, Asker)>,
}

/// Something whose answer an image keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    Time,
    RandomBytes,
    Seed,
    UserId,
    WorkingDirectory,
    /// Whether this standard descriptor is a terminal.
    Terminal(u8),
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asker {
    /// The module whose code did.
    pub nearest: String,
    /// The module that was being imported.
    pub importing: String,
}

impl Journal {
    /// Understands the records; none if they are not complete.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut journal = Self::default();
        let Some(bytes) = bytes.strip_suffix(b"\0") else {
            return bytes.is_empty().then_some(journal);
        };
        for (number, record) in bytes.split(|byte| *byte == 0).enumerate() {
            let (kind, text) = record.split_first()?;
            let path = || place(Path::new(OsStr::from_bytes(text)));
            let asker = || {
                let text = String::from_utf8_lossy(text).into_owned();
                let (nearest, importing) = text.split_once('\t')?;
                Some(Asker { nearest: nearest.to_owned(), importing: importing.to_owned() })
            };
            let mut ask = |question| {
                asker().map(|asker| {
                    journal.questions.insert((question, asker));
                })
            };
            match kind {
                b't' => ask(Question::Time)?,
                b'n' => ask(Question::RandomBytes)?,
                b'm' => ask(Question::Seed)?,
                b'u' => ask(Question::UserId)?,
                b'c' => ask(Question::WorkingDirectory)?,
                b'0'..=b'2' => ask(Question::Terminal(kind - b'0'))?,
                b's' => journal.relative = true,
                b'v' => {
                    journal.variables.insert(String::from_utf8_lossy(text).into_owned());
                }
                b'r' | b'w' | b'e' | b'a' | b'k' => {
                    let Some(path) = path() else { continue };
                    match kind {
                        b'r' => _ = journal.read.entry(path).or_insert(number),
                        b'w' => _ = journal.written.insert(path, number),
                        b'e' => _ = journal.present.insert(path),
                        b'a' => _ = journal.absent.insert(path),
                        _ => _ = journal.links.insert(path),
                    }
                }
                _ => return None,
            }
        }
        Some(journal)
    }

    /// Whether the process wrote a file itself, and read it only after that, if at all.
    pub fn made(&self, path: &Path) -> bool {
        let read = self.read.get(path);
        self.written.get(path).is_some_and(|written| read.is_none_or(|read| read > written))
    }
}

/// A path on disk, as it can be found again: not one of the kernel's, and without `..`,
/// which means the directory that is there, behind any link.
pub(super) fn place(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?;
    let goes_up = path.components().any(|part| part == Component::ParentDir);
    let path = match goes_up {
        true => path.parent()?.canonicalize().ok()?.join(name),
        false => path.components().collect(),
    };
    let elsewhere = ["/dev", "/proc", "/sys"].iter().any(|root| path.starts_with(root));
    (!elsewhere).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_understood() {
        let bytes = b"r/a/b.py\0a/a/c\0e/a\0w/t\xff\0vHOME\0s/x\0ttime\tm\0r/proc/self/maps\0\
                      a/no-such-directory/../c\0e/usr/../usr/lib\0nrandom\tm.n\0";
        let journal = Journal::parse(bytes).unwrap();
        assert_eq!(journal.read, [(PathBuf::from("/a/b.py"), 0)].into());
        assert_eq!(journal.absent, [PathBuf::from("/a/c")].into());
        assert_eq!(journal.present, [PathBuf::from("/a"), PathBuf::from("/usr/lib")].into());
        assert_eq!(journal.written.len(), 1);
        assert_eq!(journal.variables, ["HOME".to_owned()].into());
        assert!(journal.relative);
        let asker = |nearest: &str, importing: &str| Asker {
            nearest: nearest.into(),
            importing: importing.into(),
        };
        let expected =
            [(Question::Time, asker("time", "m")), (Question::RandomBytes, asker("random", "m.n"))];
        assert_eq!(journal.questions, expected.into());
    }

    #[test]
    fn what_the_process_made_itself_is_told_from_what_it_changed() {
        let journal = Journal::parse(b"w/cache\0r/cache\0r/m.py\0w/m.py\0w/log\0").unwrap();
        let made = |path: &str| journal.made(Path::new(path));
        assert_eq!(["/cache", "/m.py", "/log", "/x"].map(made), [true, false, true, false]);
    }

    #[test]
    fn what_is_cut_off_is_no_journal() {
        assert!(Journal::parse(b"").is_some());
        assert!(Journal::parse(b"r/a").is_none());
        assert!(Journal::parse(b"r/a\0?b\0").is_none());
        assert!(Journal::parse(b"tno tab\0").is_none());
        assert!(Journal::parse(b"\0").is_none());
    }
}
