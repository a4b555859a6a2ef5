//! The interpreter's own options: read as CPython 3.9 to 3.13 reads them, and
//! put into one canonical form.
//!
//! An image holds an interpreter that was started with certain options, so
//! they are part of the key: two spellings of the same options must give the
//! same key (`-BO`, `-O -B`), two different sets must not. This module knows
//! the grammar (CPython's `Python/getopt.c` and `initconfig.c`) and which
//! options no image can serve. It does not know what is run: that is
//! [`crate::launch::command_line`].

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::error::{Error, Result};

/// Options of the interpreter, in canonical form.
///
/// Order and repetition are kept where Python makes a difference of them:
/// `-OO` is not `-O`, and of two `-W` the later one wins.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Flags {
    /// Letters without a value, with the number of times each was given;
    /// always sorted by letter.
    letters: Vec<(u8, usize)>,
    warnings: Vec<String>,
    implementation: Vec<String>,
    hash_based_pycs: Option<String>,
}

/// Why an option is never served from an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// `-i`: a prompt follows the program.
    Interactive,
    /// The interpreter only prints something and ends, as for `-h` and `-V`.
    Prints(String),
    /// The option acts while the interpreter starts and imports, which an
    /// image has behind it: `-v`, `-X importtime`, …
    ActsAtStart(String),
    /// Python does not know the option, or it lacks its value: Python itself
    /// says so best.
    Invalid(String),
    /// The option's value is not UTF-8.
    NotUtf8(String),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interactive => f.write_str("-i asks for a prompt"),
            Self::Prints(option) => write!(f, "{option} makes Python print something and end"),
            Self::ActsAtStart(option) => {
                write!(f, "{option} acts while Python starts, which an image has behind it")
            }
            Self::Invalid(text) => f.write_str(text),
            Self::NotUtf8(option) => write!(f, "the value of {option} is not UTF-8"),
        }
    }
}

impl fmt::Display for Flags {
    /// The canonical form as one text, different for different options: space and
    /// backslash in a value stand behind a backslash, as in a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, argument) in self.canonical().iter().enumerate() {
            f.write_str(if n > 0 { " " } else { "" })?;
            if argument.is_empty() {
                f.write_str("''")?;
            }
            for c in argument.chars() {
                let escape = c.is_whitespace() || c == '\\' || c == '\'';
                write!(f, "{}{c}", if escape { "\\" } else { "" })?;
            }
        }
        Ok(())
    }
}

/// What the options were followed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// `-c` and its text.
    Command(OsString),
    /// `-m` and its module.
    Module(OsString),
    /// Neither: a script, `-`, or nothing follows.
    Rest,
}

/// Options that take no value and may be in an image. Those that count are
/// told from those that do not by [`COUNTED`].
const LETTERS: &[u8] = b"BEIOPSbdqsu";
/// Options that mean more when they are given more than once.
const COUNTED: &[u8] = b"Obdq";
/// Long options without a value; each prints and ends.
const LONG: &[&str] = &["help", "version", "help-all", "help-env", "help-xoptions"];
const PYCS: &str = "--check-hash-based-pycs";
/// `-X` options that report on, or change, what happens while modules are
/// imported: running from an image would lose their output.
const X_AT_START: &[&str] =
    &["importtime", "perf", "perf_jit", "presite", "showalloccount", "showrefcount", "tracemalloc"];

impl Flags {
    /// Reads the options at the front of `args`, which do not include
    /// `argv[0]`, and says what ended them and how many elements they take.
    pub fn read(args: &[OsString]) -> Result<(Self, End, usize), Unfit> {
        let mut flags = Self::default();
        let mut next = 0;
        while let Some(arg) = args.get(next) {
            let bytes = arg.as_bytes();
            if bytes.first() != Some(&b'-') || bytes == b"-" {
                break;
            }
            next += 1;
            if bytes == b"--" {
                break;
            }
            if let Some(name) = bytes.strip_prefix(b"--") {
                flags.long(arg, name, args.get(next))?;
                next += 1;
                continue;
            }
            let mut group = &bytes[1..];
            while let Some((&letter, rest)) = group.split_first() {
                group = rest;
                if !matches!(letter, b'c' | b'm' | b'W' | b'X') {
                    flags.letter(letter)?;
                    continue;
                }
                let value = if rest.is_empty() {
                    next += 1;
                    let missing = || {
                        let letter = letter as char;
                        Unfit::Invalid(format!("-{letter} lacks its value"))
                    };
                    args.get(next - 1).ok_or_else(missing)?.clone()
                } else {
                    OsString::from_vec(rest.to_vec())
                };
                group = &[];
                match letter {
                    b'c' => return Ok((flags, End::Command(value), next)),
                    b'm' => return Ok((flags, End::Module(value), next)),
                    b'W' => flags.warnings.push(utf8(&value, "-W")?),
                    _ => flags.implementation(utf8(&value, "-X")?)?,
                }
            }
        }
        Ok((flags, End::Rest, next))
    }

    /// Checks the options that `pyimg build` was given after `--`.
    pub fn for_build(args: &[OsString]) -> Result<Self> {
        let hint = "after `--` come only options of the interpreter, such as -O, -I, -W or -X";
        let (flags, end, taken) = Self::read(args)
            .map_err(|unfit| Error::usage(format!("cannot build an image: {unfit}")).hint(hint))?;
        let stray = match end {
            End::Command(_) => Some("-c".to_owned()),
            End::Module(_) => Some("-m".to_owned()),
            End::Rest => args.get(taken).map(|arg| arg.to_string_lossy().into_owned()),
        };
        match stray {
            None => Ok(flags),
            Some(stray) => Err(Error::usage(format!(
                "`{stray}` is not an option of the interpreter"
            ))
            .hint("code, -m MODULE and --script FILE come before `--`, interpreter options after")),
        }
    }

    /// The options of an image, from their form as one text.
    ///
    /// # Errors
    /// When this is no such text, as in an index that was tampered with.
    pub fn of_text(text: &str) -> Result<Self> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut argument: Option<String> = None;
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            match c {
                ' ' => arguments.extend(argument.take().map(OsString::from)),
                '\'' => _ = argument.get_or_insert_default(),
                '\\' => argument.get_or_insert_default().extend(characters.next()),
                c => argument.get_or_insert_with(String::new).push(c),
            }
        }
        arguments.extend(argument.map(OsString::from));
        Self::for_build(&arguments)
    }

    /// The options as arguments that Python accepts, the same for every
    /// spelling that means the same.
    pub fn canonical(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        for &(letter, count) in &self.letters {
            let letters = (letter as char).to_string().repeat(count);
            arguments.push(format!("-{letters}"));
        }
        if let Some(mode) = &self.hash_based_pycs {
            arguments.extend([PYCS.to_owned(), mode.clone()]);
        }
        for (option, values) in [("-W", &self.warnings), ("-X", &self.implementation)] {
            for value in values {
                // An empty value cannot be attached to its option.
                if value.is_empty() {
                    arguments.push(option.to_owned());
                    arguments.push(String::new());
                } else {
                    arguments.push(format!("{option}{value}"));
                }
            }
        }
        arguments
    }

    /// `-E` or `-I`: `PYTHON*` variables are not read.
    pub fn ignores_environment(&self) -> bool {
        self.has(b'E') || self.has(b'I')
    }

    /// `-I` or `-P`: nothing is put before `sys.path`.
    pub fn safe_path(&self) -> bool {
        self.has(b'I') || self.has(b'P')
    }

    /// `-s`, `-I` or `-S`: the user's own site directory is left out.
    pub fn no_user_site(&self) -> bool {
        self.has(b's') || self.has(b'I') || self.has(b'S')
    }

    fn has(&self, letter: u8) -> bool {
        self.letters.iter().any(|&(known, _)| known == letter)
    }

    fn letter(&mut self, letter: u8) -> Result<(), Unfit> {
        let shown = || format!("-{}", (letter as char).escape_default());
        match letter {
            // Accepted for old scripts, without any effect.
            b't' => return Ok(()),
            b'i' => return Err(Unfit::Interactive),
            b'h' | b'?' | b'V' => return Err(Unfit::Prints(shown())),
            // -R would make Python overlook the hash seed that a build sets.
            b'v' | b'x' | b'R' => return Err(Unfit::ActsAtStart(shown())),
            _ if !LETTERS.contains(&letter) => {
                return Err(Unfit::Invalid(format!("unknown option {}", shown())));
            }
            _ => {}
        }
        match self.letters.binary_search_by_key(&letter, |&(known, _)| known) {
            Ok(at) if COUNTED.contains(&letter) => self.letters[at].1 += 1,
            Ok(_) => {}
            Err(at) => self.letters.insert(at, (letter, 1)),
        }
        Ok(())
    }

    fn long(&mut self, arg: &OsStr, name: &[u8], value: Option<&OsString>) -> Result<(), Unfit> {
        let shown = arg.to_string_lossy().into_owned();
        if LONG.iter().any(|known| known.as_bytes() == name) {
            return Err(Unfit::Prints(shown));
        }
        if arg != PYCS {
            return Err(Unfit::Invalid(format!("unknown option {shown}")));
        }
        match value.map(|value| value.as_bytes()) {
            Some(b"default") => self.hash_based_pycs = None,
            Some(b"always") => self.hash_based_pycs = Some("always".to_owned()),
            Some(b"never") => self.hash_based_pycs = Some("never".to_owned()),
            Some(_) => {
                return Err(Unfit::Invalid(format!("{PYCS} is not always, default or never")));
            }
            None => return Err(Unfit::Invalid(format!("{PYCS} lacks its value"))),
        }
        Ok(())
    }

    fn implementation(&mut self, value: String) -> Result<(), Unfit> {
        let name = value.split('=').next().unwrap_or_default();
        if X_AT_START.contains(&name) {
            return Err(Unfit::ActsAtStart(format!("-X {name}")));
        }
        self.implementation.push(value);
        Ok(())
    }
}

fn utf8(value: &OsStr, option: &str) -> Result<String, Unfit> {
    match value.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Unfit::NotUtf8(option.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &[&str]) -> Vec<OsString> {
        line.iter().map(OsString::from).collect()
    }

    fn canonical(line: &[&str]) -> Vec<String> {
        Flags::read(&args(line)).expect("these options fit an image").0.canonical()
    }

    fn unfit(line: &[&str]) -> String {
        Flags::read(&args(line)).expect_err("these options do not fit").to_string()
    }

    #[test]
    fn spellings_that_mean_the_same_are_the_same() {
        for line in [&["-BO"][..], &["-O", "-B"], &["-B", "-B", "-O"], &["-tOB"]] {
            assert_eq!(canonical(line), ["-B", "-O"]);
        }
        assert_eq!(canonical(&["-OO"]), ["-OO"]);
        assert_eq!(canonical(&["-O", "-b", "-Ob"]), ["-OO", "-bb"]);
    }

    #[test]
    fn values_may_be_attached_or_follow_and_keep_their_order() {
        let wanted = ["-B", "-Werror", "-Wignore", "-Xdev", "-Xutf8=0"];
        assert_eq!(canonical(&["-Xdev", "-BWerror", "-W", "ignore", "-X", "utf8=0"]), wanted);
        assert_ne!(canonical(&["-Wa", "-Wb"]), canonical(&["-Wb", "-Wa"]));
        assert_eq!(canonical(&["-W", ""]), ["-W", ""]);
        assert_eq!(canonical(&["-W", "-c"]), ["-W-c"]);
    }

    #[test]
    fn hash_based_pycs_takes_its_last_value() {
        assert_eq!(canonical(&[PYCS, "never", PYCS, "always"]), [PYCS, "always"]);
        assert_eq!(canonical(&[PYCS, "never", PYCS, "default"]), [""; 0]);
        assert_eq!(unfit(&[PYCS]), "--check-hash-based-pycs lacks its value");
        assert_eq!(unfit(&[PYCS, "x"]), "--check-hash-based-pycs is not always, default or never");
        assert_eq!(
            unfit(&["--check-hash-based-pycs=never"]),
            "unknown option --check-hash-based-pycs=never"
        );
    }

    #[test]
    fn canonical_form_is_a_fixed_point() {
        let once = canonical(&["-Wa", "-OBO", "-X", "b=1", "-W", "", PYCS, "never"]);
        let again: Vec<OsString> = once.iter().map(OsString::from).collect();
        let (flags, end, taken) = Flags::read(&again).expect("canonical options can be read");
        assert_eq!((flags.canonical(), end, taken), (once.clone(), End::Rest, once.len()));
    }

    #[test]
    fn one_text_and_back() {
        for line in [
            &[][..],
            &["-BOO", "-X", "utf8", "-W", "error::x y"],
            &["-W", "", "-I"],
            &["-X", "a=\\ '", "--check-hash-based-pycs", "never"],
        ] {
            let flags = Flags::for_build(&args(line)).unwrap();
            assert_eq!(Flags::of_text(&flags.to_string()).unwrap(), flags, "{line:?}");
        }
        assert!(Flags::of_text("script.py").is_err());
    }

    #[test]
    fn as_one_text() {
        let text = |line: &[&str]| Flags::read(&args(line)).expect("fits").0.to_string();
        assert_eq!(text(&[]), "");
        assert_eq!(text(&["-O", "-B", "-Xdev"]), "-B -O -Xdev");
        assert_eq!(text(&["-W", "ignore:a b\\"]), r"-Wignore:a\ b\\");
        assert_eq!(text(&["-W", ""]), "-W ''");
        assert_ne!(text(&["-W", "a -Wb"]), text(&["-W", "a", "-W", "b"]));
        assert_ne!(text(&["-W", "''"]), text(&["-W", ""]));
    }

    #[test]
    fn says_what_ended_the_options_and_where() {
        let read = |line: &[&str]| {
            let (_, end, taken) = Flags::read(&args(line)).expect("these options fit an image");
            (end, taken)
        };
        assert_eq!(read(&["-Bc", "pass", "-v"]), (End::Command("pass".into()), 2));
        assert_eq!(read(&["-cpass", "-v"]), (End::Command("pass".into()), 1));
        assert_eq!(read(&["-Bmjson.tool", "-i"]), (End::Module("json.tool".into()), 1));
        assert_eq!(read(&["-B", "x.py", "-i"]), (End::Rest, 1));
        assert_eq!(read(&["-B", "--", "-c"]), (End::Rest, 2));
        assert_eq!(read(&["-", "-i"]), (End::Rest, 0));
        assert_eq!(read(&[]), (End::Rest, 0));
        assert_eq!(read(&["-c", ""]), (End::Command("".into()), 2));
    }

    #[test]
    fn options_no_image_can_serve() {
        assert_eq!(unfit(&["-Bi"]), "-i asks for a prompt");
        for option in ["-h", "-?", "-V", "--help", "--version", "--help-env", "--help-all"] {
            assert_eq!(unfit(&[option]), format!("{option} makes Python print something and end"));
        }
        for option in ["-v", "-x", "-R"] {
            assert_eq!(
                unfit(&[option]),
                format!("{option} acts while Python starts, which an image has behind it")
            );
        }
        assert_eq!(
            unfit(&["-Ximporttime=2"]),
            "-X importtime acts while Python starts, which an image has behind it"
        );
        assert_eq!(unfit(&["-J"]), "unknown option -J");
        assert_eq!(unfit(&["-:"]), "unknown option -:");
        assert_eq!(unfit(&["-B-"]), "unknown option --");
        assert_eq!(unfit(&["--image"]), "unknown option --image");
        assert_eq!(unfit(&["-c"]), "-c lacks its value");
        assert_eq!(unfit(&["-Bm"]), "-m lacks its value");
        assert_eq!(unfit(&["-W"]), "-W lacks its value");
        let latin = OsString::from_vec(b"-Wig\xe9".to_vec());
        let error = Flags::read(&[latin]).expect_err("not UTF-8");
        assert_eq!(error.to_string(), "the value of -W is not UTF-8");
    }

    #[test]
    fn build_takes_options_only() {
        let error = |line: &[&str]| {
            let error = Flags::for_build(&args(line)).expect_err("not options for a build");
            assert_eq!(error.exit_code(), 2);
            (error.to_string(), error.hint_text().expect("a hint").to_owned())
        };
        assert_eq!(Flags::for_build(&args(&["-O", "-B"])).expect("fits").canonical(), ["-B", "-O"]);
        let before =
            "code, -m MODULE and --script FILE come before `--`, interpreter options after";
        assert_eq!(
            error(&["-O", "x.py"]),
            ("`x.py` is not an option of the interpreter".into(), before.into())
        );
        assert_eq!(
            error(&["-c", "pass"]),
            ("`-c` is not an option of the interpreter".into(), before.into())
        );
        let only = "after `--` come only options of the interpreter, such as -O, -I, -W or -X";
        assert_eq!(
            error(&["-i"]),
            ("cannot build an image: -i asks for a prompt".into(), only.into())
        );
        assert_eq!(
            error(&["-Z"]),
            ("cannot build an image: unknown option -Z".into(), only.into())
        );
    }

    #[test]
    fn answers_what_the_options_mean() {
        let flags = |line: &[&str]| Flags::read(&args(line)).expect("fits").0;
        assert!(flags(&["-I"]).ignores_environment() && flags(&["-I"]).safe_path());
        assert!(flags(&["-I"]).no_user_site() && flags(&["-S"]).no_user_site());
        assert!(flags(&["-E"]).ignores_environment() && !flags(&["-E"]).safe_path());
        assert!(flags(&["-P"]).safe_path() && !flags(&["-P"]).no_user_site());
        assert_eq!(flags(&[]), Flags::default());
    }
}
