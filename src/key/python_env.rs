//! The environment variables that change how an interpreter starts.
//!
//! They acted when the image was built and cannot act again, so they are part of the key.
//! These count:
//!
//! - every `PYTHON*` variable that is set and not empty (Python takes empty ones for
//!   unset), unless `-E` or `-I` makes the interpreter ignore them;
//! - the locale that decides how text is decoded: `LC_ALL`, else `LC_CTYPE` or `LANG`;
//! - `HOME`, under which the user's own site directory lies, unless that is left out;
//! - what the loader and the C library read before Python does: `LD_*`, `GLIBC_TUNABLES`,
//!   `MALLOC_*`, `LOCPATH`.
//!
//! These do not, for Python reads them when they are needed, or only for a prompt:
//! [`READ_LATER`]. Variables that modules read while they are imported are evidence, not
//! part of this.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

use super::flags::Flags;
use super::interpreter::GUARD;

/// Variables that do not count although their names begin with `PYTHON`.
pub const READ_LATER: &[&str] = &[
    "PYTHONBREAKPOINT",
    "PYTHONSTARTUP",
    "PYTHON_BASIC_REPL",
    "PYTHON_COLORS",
    "PYTHON_HISTORY",
    // Read at the start like the others, but only one value may be in force: see `read`.
    "PYTHONHASHSEED",
];
/// Variables that act on starting or importing itself, or ask for a prompt afterwards: no
/// image can serve them.
const AT_START: &[&str] = &[
    "PYTHONDUMPREFS",
    "PYTHONDUMPREFSFILE",
    "PYTHONINSPECT",
    "PYTHONPERFSUPPORT",
    "PYTHONPROFILEIMPORTTIME",
    "PYTHONTRACEMALLOC",
    "PYTHONVERBOSE",
    "PYTHON_PERF_JIT_SUPPORT",
    "PYTHON_PRESITE",
];

/// The variables that count, with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PythonEnv(BTreeMap<String, String>);

impl PythonEnv {
    /// Picks the variables that count for an interpreter with these options.
    ///
    /// # Errors
    /// Names a variable that no image can serve, as a sentence.
    pub fn read<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        variables: impl IntoIterator<Item = (N, V)>,
        flags: &Flags,
    ) -> Result<Self, String> {
        let mut counted = BTreeMap::new();
        let (mut all, mut ctype, mut language) = (None, None, None);
        for (name, value) in variables {
            let (name, value) = (name.as_ref(), value.as_ref());
            if value.is_empty() {
                continue;
            }
            let plain = name.to_str().unwrap_or_default();
            match plain {
                "LC_ALL" => all = Some(escaped(value)),
                "LC_CTYPE" => ctype = Some(escaped(value)),
                "LANG" => language = Some(escaped(value)),
                "HOME" if flags.no_user_site() => {}
                "HOME" | "GLIBC_TUNABLES" | "LOCPATH" => {
                    counted.insert(plain.to_owned(), escaped(value));
                }
                _ if ["LD_", "MALLOC_"].iter().any(|start| plain.starts_with(start)) => {
                    counted.insert(plain.to_owned(), escaped(value));
                }
                _ if flags.ignores_environment() || !name.as_bytes().starts_with(b"PYTHON") => {}
                // An image has a hash seed of its own; a fixed one would have to be kept.
                "PYTHONHASHSEED" if value != "random" => {
                    return Err(format!("PYTHONHASHSEED is `{}`", escaped(value)));
                }
                _ if AT_START.contains(&plain) => return Err(format!("{plain} is set")),
                // Says at each start what became of the locale.
                "PYTHONCOERCECLOCALE" if value == "warn" => {
                    return Err(format!("{plain} is `warn`"));
                }
                _ if READ_LATER.contains(&plain) => {}
                _ => {
                    if NAMES_DIRECTORIES.contains(&plain) && is_relative(value) {
                        let cwd = std::env::current_dir().unwrap_or_default();
                        counted.insert("working directory".to_owned(), escaped(cwd.as_os_str()));
                    }
                    counted.insert(escaped(name), escaped(value));
                }
            }
        }
        // Python prefers UTF-8 to the C locale, but not where LC_ALL says C: the two are
        // not the same even where the values are.
        match all {
            Some(all) => counted.insert("LC_ALL".to_owned(), all),
            None => counted.insert("LC_CTYPE".to_owned(), ctype.or(language).unwrap_or_default()),
        };
        Ok(Self(counted))
    }

    /// This process's environment.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn of_this_process(flags: &Flags) -> Result<Self, String> {
        Self::read(std::env::vars_os(), flags)
    }

    /// The form that is part of the key: a line for each variable.
    pub fn canonical(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }

    /// The first variable whose value is not as in `canonical`, another's form.
    pub fn difference(&self, canonical: &str) -> Option<String> {
        let lines = canonical.lines().filter_map(|line| line.split_once('='));
        let other: BTreeMap<&str, &str> = lines.collect();
        let own = self
            .0
            .iter()
            .find(|(name, value)| other.get(name.as_str()).copied() != Some(value.as_str()));
        let missing = || other.keys().find(|name| !self.0.contains_key(**name));
        own.map(|(name, _)| name.clone()).or_else(|| missing().map(|name| (*name).to_owned()))
    }
}

/// Variables that name directories, from which Python makes absolute paths when it starts.
const NAMES_DIRECTORIES: [&str; 3] = ["PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE"];

/// Whether a list of directories depends on the working directory, which an empty name means.
fn is_relative(list: &OsStr) -> bool {
    list.as_bytes().split(|byte| *byte == b':').any(|path| !path.starts_with(b"/"))
}

/// Any bytes as one line of text, different for different bytes.
fn escaped(text: &OsStr) -> String {
    let mut escaped = String::new();
    for chunk in text.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => escaped.push_str("\\\\"),
                '\n' => escaped.push_str("\\n"),
                '\r' => escaped.push_str("\\r"),
                c => escaped.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(escaped, "\\x{byte:02x}");
        }
    }
    escaped
}

/// The environment that a program is to see: with the variables that `changes` sets, as a
/// shim would have, and without the mark that only `pyrun` itself looks at.
pub fn with_changes(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    changes: &[(OsString, OsString)],
) -> Vec<(OsString, OsString)> {
    let is_changed = |name: &OsString| changes.iter().any(|(changed, _)| changed == name);
    let kept = variables.into_iter().filter(|(name, _)| !is_changed(name) && name != GUARD);
    kept.chain(changes.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn flags(line: &[&str]) -> Flags {
        let line: Vec<OsString> = line.iter().map(OsString::from).collect();
        Flags::read(&line).expect("these options fit an image").0
    }

    fn canonical(options: &[&str], variables: &[(&str, &str)]) -> String {
        let read = PythonEnv::read(variables.iter().copied(), &flags(options));
        read.expect("an image can serve these").canonical()
    }

    fn refusal(variables: &[(&str, &str)]) -> String {
        PythonEnv::read(variables.iter().copied(), &Flags::default()).expect_err("refused")
    }

    #[test]
    fn pythons_variables_count() {
        let variables = [
            ("PYTHONPATH", "/a:/b"),
            ("PYTHONUTF8", "1"),
            ("PYTHON_GIL", "0"),
            ("PYTHONWARNINGS", ""),
            ("PYTHONSTARTUP", "/x"),
            ("PYTHONHASHSEED", "random"),
            ("NOTPYTHON", "1"),
            ("LANG", "C.UTF-8"),
        ];
        let wanted = "LC_CTYPE=C.UTF-8\nPYTHONPATH=/a:/b\nPYTHONUTF8=1\nPYTHON_GIL=0\n";
        assert_eq!(canonical(&[], &variables), wanted);
        assert_eq!(canonical(&["-I"], &variables), "LC_CTYPE=C.UTF-8\n");
        assert_eq!(canonical(&["-E"], &variables), "LC_CTYPE=C.UTF-8\n");
    }

    #[test]
    fn variables_no_image_can_serve() {
        assert_eq!(refusal(&[("PYTHONHASHSEED", "0")]), "PYTHONHASHSEED is `0`");
        assert_eq!(refusal(&[("PYTHONINSPECT", "1")]), "PYTHONINSPECT is set");
        assert_eq!(refusal(&[("PYTHONVERBOSE", "1")]), "PYTHONVERBOSE is set");
        assert_eq!(refusal(&[("PYTHONCOERCECLOCALE", "warn")]), "PYTHONCOERCECLOCALE is `warn`");
        assert_eq!(
            canonical(&[], &[("PYTHONCOERCECLOCALE", "0")]),
            "LC_CTYPE=\nPYTHONCOERCECLOCALE=0\n"
        );
        let ignored = [("PYTHONHASHSEED", "0"), ("PYTHONINSPECT", "1")];
        assert_eq!(canonical(&["-E"], &ignored), "LC_CTYPE=\n");
        assert_eq!(canonical(&[], &[("PYTHONINSPECT", "")]), "LC_CTYPE=\n");
    }

    #[test]
    fn the_locale_in_force() {
        let locale = |variables: &[(&str, &str)]| canonical(&[], variables);
        assert_eq!(locale(&[("LANG", "a"), ("LC_CTYPE", "b"), ("LC_TIME", "c")]), "LC_CTYPE=b\n");
        assert_eq!(locale(&[("LANG", "a"), ("LC_CTYPE", "b"), ("LC_ALL", "c")]), "LC_ALL=c\n");
        assert_eq!(locale(&[("LANG", "a"), ("LC_ALL", "")]), "LC_CTYPE=a\n");
        assert_ne!(locale(&[("LANG", "C")]), locale(&[("LC_ALL", "C")]));
    }

    #[test]
    fn what_comes_before_python_counts() {
        let variables = [("LD_PRELOAD", "/x.so"), ("MALLOC_ARENA_MAX", "1"), ("HOME", "/h")];
        let wanted = "HOME=/h\nLC_CTYPE=\nLD_PRELOAD=/x.so\nMALLOC_ARENA_MAX=1\n";
        assert_eq!(canonical(&["-E"], &variables), wanted);
        assert_eq!(canonical(&["-s"], &[("HOME", "/h")]), "LC_CTYPE=\n");
    }

    #[test]
    fn names_what_differs() {
        let read = |variables: &[(&str, &str)]| {
            PythonEnv::read(variables.iter().copied(), &Flags::default()).expect("served")
        };
        let one = read(&[("PYTHONPATH", "/a=b"), ("LANG", "C")]);
        assert_eq!(one.difference(&one.canonical()), None);
        let other = read(&[("PYTHONPATH", "/b"), ("LANG", "C")]);
        assert_eq!(one.difference(&other.canonical()).as_deref(), Some("PYTHONPATH"));
        let none = read(&[("LANG", "C")]);
        assert_eq!(one.difference(&none.canonical()).as_deref(), Some("PYTHONPATH"));
        assert_eq!(none.difference(&one.canonical()).as_deref(), Some("PYTHONPATH"));
    }

    #[test]
    fn odd_bytes_stay_apart() {
        let value = |bytes: &[u8]| escaped(&OsString::from_vec(bytes.to_vec()));
        assert_eq!(value(b"a\xffb\nc\\"), "a\\xffb\\nc\\\\");
        assert_ne!(value(b"\xff"), value(b"\\xff"));
    }

    #[test]
    fn changes_replace_and_add() {
        let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let before = [pair("PATH", "/a"), pair("X", "1"), pair(GUARD, "1:2")];
        let after = with_changes(before, &[pair("PATH", "/b:/a"), pair("Y", "2")]);
        assert_eq!(after, [pair("X", "1"), pair("PATH", "/b:/a"), pair("Y", "2")]);
    }
}
