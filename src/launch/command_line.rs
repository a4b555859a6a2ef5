//! What `pyrun` was asked to run.
//!
//! `pyrun` is called as `python` is, so its command line is Python's, with a
//! few options of its own in front of it. They come first or not at all:
//! after the first argument that is not one of them everything is Python's.
//! Even `-h` and `-V` are: `pyrun -V` prints what `python -V` prints.
//!
//! Nothing is started and nothing is read here; the arguments are kept byte
//! for byte, so that plain Python can be given exactly what was typed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::key::flags::{End, Flags};
use crate::launch::miss::Miss;

/// A command line of `pyrun`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// `pyrun`'s own options.
    pub options: Options,
    /// Everything after them, without `argv[0]`: what plain Python is given.
    pub python: Vec<OsString>,
    /// What is to be run, or why no image can run it.
    pub run: Result<Run, Miss>,
}

/// `pyrun`'s own options.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Options {
    /// The image to use, by name: `--image`, `--load-image`, `PYIMG_IMAGE`.
    pub image: Option<OsString>,
    /// What brings an image back: `--engine`, `PYIMG_ENGINE`.
    pub engine: Option<Engine>,
}

/// What brings an image back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Whatever works and is fastest.
    Auto,
    /// libcriu.
    Criu,
    /// This process becomes the program.
    Direct,
    /// Nothing: plain Python.
    Off,
}

/// A program that an image may be able to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The interpreter's options.
    pub flags: Flags,
    /// The program.
    pub program: Program,
    /// `sys.argv` after its first element.
    pub arguments: Vec<OsString>,
}

/// Where a program comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// The text after `-c`.
    Command(OsString),
    /// The module after `-m`.
    Module(OsString),
    /// A file, a directory or a zip file, named as it was typed.
    Script(PathBuf),
    /// Standard input that is not a terminal.
    Stdin {
        /// It was asked for by `-`, which is then `sys.argv[0]`.
        dash: bool,
    },
}

impl CommandLine {
    /// Reads `args`, which do not include `argv[0]`.
    ///
    /// `stdin_is_terminal` is asked only if the answer matters: Python without
    /// a program reads one from standard input, or prompts on a terminal. A
    /// closed standard input counts as a terminal here, for Python prompts or
    /// ends by rules of its own then.
    ///
    /// An error is a misuse of `pyrun`'s own options; whatever is wrong with
    /// Python's is for Python to say.
    pub fn parse(
        args: impl IntoIterator<Item = OsString>,
        stdin_is_terminal: impl FnOnce() -> bool,
    ) -> Result<Self> {
        let mut python: Vec<OsString> = args.into_iter().collect();
        let (options, taken) = Options::read(&python)?;
        python.drain(..taken);
        let run = Run::read(&python, stdin_is_terminal);
        Ok(Self { options, python, run })
    }
}

impl Options {
    /// Reads the options at the front of `args`; also says how many elements
    /// they take.
    fn read(args: &[OsString]) -> Result<(Self, usize)> {
        let mut options = Self::default();
        let mut next = 0;
        while let Some(arg) = args.get(next) {
            let bytes = arg.as_bytes();
            let (name, attached) = match memchr::memchr(b'=', bytes) {
                Some(at) => (&bytes[..at], Some(OsString::from_vec(bytes[at + 1..].to_vec()))),
                None => (bytes, None),
            };
            let name = match name {
                b"--image" => "--image",
                b"--load-image" => "--load-image",
                b"--engine" => "--engine",
                _ => break,
            };
            next += 1;
            let value = match attached {
                Some(value) => value,
                None => {
                    next += 1;
                    args.get(next - 1).cloned().ok_or_else(|| lacks_value(name))?
                }
            };
            if value.is_empty() {
                return Err(lacks_value(name));
            }
            if name == "--engine" {
                let engine = Engine::named(&value).ok_or_else(|| {
                    Error::usage(format!("`{}` is not an engine", value.display()))
                        .hint("the engines are auto, criu, direct and off")
                })?;
                options.engine = Some(engine);
            } else {
                options.image = Some(value);
            }
        }
        Ok((options, next))
    }

    /// Fills in what `PYIMG_IMAGE` and `PYIMG_ENGINE` say where the command
    /// line says nothing. An unknown engine there is a miss, not an error: a
    /// variable set somewhere else must not keep a program from running.
    pub fn or_environment(
        mut self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Miss> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        if self.image.is_none() {
            self.image = set("PYIMG_IMAGE");
        }
        if self.engine.is_none()
            && let Some(value) = set("PYIMG_ENGINE")
        {
            self.engine = Some(Engine::named(&value).ok_or(Miss::EngineUnknown(value))?);
        }
        Ok(self)
    }
}

fn lacks_value(option: &str) -> Error {
    Error::usage(format!("{option} lacks its value"))
        .hint("pyrun [--image NAME] [--engine auto|criu|direct|off] PYTHON-ARGS…")
}

impl Engine {
    /// The engine of that name.
    pub fn named(name: &OsStr) -> Option<Self> {
        match name.as_bytes() {
            b"auto" => Some(Self::Auto),
            b"criu" => Some(Self::Criu),
            b"direct" => Some(Self::Direct),
            b"off" => Some(Self::Off),
            _ => None,
        }
    }
}

impl Run {
    fn read(args: &[OsString], stdin_is_terminal: impl FnOnce() -> bool) -> Result<Self, Miss> {
        let (flags, end, mut next) = Flags::read(args)?;
        let program = match end {
            End::Command(text) if text.to_str().is_none() => {
                return Err(Miss::Program("the text after -c is not UTF-8".to_owned()));
            }
            End::Command(text) => Program::Command(text),
            End::Module(name) if name.is_empty() => {
                return Err(Miss::Program("the module after -m has no name".to_owned()));
            }
            End::Module(name) => Program::Module(name),
            End::Rest => {
                let named = args.get(next);
                next += usize::from(named.is_some());
                match named {
                    Some(name) if name.is_empty() => {
                        return Err(Miss::Program("the script has no name".to_owned()));
                    }
                    Some(name) if name != "-" => Program::Script(name.into()),
                    _ if stdin_is_terminal() => return Err(Miss::Interactive),
                    named => Program::Stdin { dash: named.is_some() },
                }
            }
        };
        Ok(Self { flags, program, arguments: args[next..].to_vec() })
    }

    /// `sys.argv`, as the program sees it (for `-m`, before `runpy` puts the
    /// module's file in the first place).
    pub fn argv(&self) -> Vec<OsString> {
        let first: &OsStr = match &self.program {
            Program::Command(_) => "-c".as_ref(),
            Program::Module(_) => "-m".as_ref(),
            Program::Script(path) => path.as_os_str(),
            Program::Stdin { dash: true } => "-".as_ref(),
            Program::Stdin { dash: false } => "".as_ref(),
        };
        std::iter::once(first.to_owned()).chain(self.arguments.iter().cloned()).collect()
    }

    /// The script, if the program is one.
    pub fn script(&self) -> Option<&Path> {
        match &self.program {
            Program::Script(path) => Some(path),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> CommandLine {
        let args = line.iter().map(OsString::from);
        CommandLine::parse(args, || false).expect("pyrun's own options are right")
    }

    fn run(line: &[&str]) -> Run {
        parse(line).run.expect("an image may run this")
    }

    fn miss(line: &[&str]) -> String {
        parse(line).run.expect_err("no image can run this").to_string()
    }

    #[test]
    fn own_options_come_first_or_not_at_all() {
        let line = parse(&["--image", "x", "--engine=criu", "-c", "pass", "--image", "y"]);
        assert_eq!(line.options.image.as_deref(), Some("x".as_ref()));
        assert_eq!(line.options.engine, Some(Engine::Criu));
        assert_eq!(line.python, ["-c", "pass", "--image", "y"]);
        let run = line.run.expect("an image may run this");
        assert_eq!(run.program, Program::Command("pass".into()));
        assert_eq!(run.arguments, ["--image", "y"]);

        let line = parse(&["-B", "--image", "x"]);
        assert_eq!(line.options, Options::default());
        assert_eq!(line.run.expect_err("Python knows no --image").code(), "flag");
        assert_eq!(parse(&["--load-image=a=b"]).options.image, Some("a=b".into()));
        assert_eq!(parse(&["--image", "-c"]).options.image, Some("-c".into()));
    }

    #[test]
    fn own_options_used_wrongly() {
        let error = |line: &[&str]| {
            let args = line.iter().map(OsString::from);
            let error = CommandLine::parse(args, || false).expect_err("a misuse");
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        assert_eq!(error(&["--image"]), "--image lacks its value");
        assert_eq!(error(&["--load-image="]), "--load-image lacks its value");
        assert_eq!(error(&["--image", "", "-c", "pass"]), "--image lacks its value");
        assert_eq!(error(&["--engine", "warp"]), "`warp` is not an engine");
        // Not an option of ours: Python is to say what is wrong with it.
        assert_eq!(miss(&["--imagex"]), "unknown option --imagex");
    }

    #[test]
    fn environment_speaks_where_the_command_line_does_not() {
        let variable = |name: &str| match name {
            "PYIMG_IMAGE" => Some(OsString::from("env")),
            "PYIMG_ENGINE" => Some(OsString::from("off")),
            _ => None,
        };
        let options = parse(&[]).options.or_environment(variable).expect("a known engine");
        assert_eq!((options.image, options.engine), (Some("env".into()), Some(Engine::Off)));
        let line = parse(&["--image", "own", "--engine", "auto"]);
        let options = line.options.or_environment(variable).expect("a known engine");
        assert_eq!((options.image, options.engine), (Some("own".into()), Some(Engine::Auto)));
        let empty = Options::default().or_environment(|_| Some("".into()));
        assert_eq!(empty, Ok(Options::default()));
        let unknown = Options::default().or_environment(|_| Some("warp".into()));
        assert_eq!(unknown, Err(Miss::EngineUnknown("warp".into())));
    }

    #[test]
    fn programs_and_their_argv() {
        let argv = |line: &[&str]| run(line).argv();
        assert_eq!(argv(&["-cpass", "a", "-b"]), ["-c", "a", "-b"]);
        assert_eq!(argv(&["-m", "json.tool", "-"]), ["-m", "-"]);
        assert_eq!(argv(&["-B", "x.py", "-i", "--"]), ["x.py", "-i", "--"]);
        assert_eq!(argv(&["--", "x.py", "a"]), ["x.py", "a"]);
        assert_eq!(argv(&["--", "-c"]), ["-c"]);
        assert_eq!(argv(&["-", "a"]), ["-", "a"]);
        assert_eq!(argv(&["--", "-", "a"]), ["-", "a"]);
        assert_eq!(argv(&[]), [""]);
        assert_eq!(run(&["--", "-c"]).script(), Some(Path::new("-c")));
        assert_eq!(run(&["-m", "x"]).script(), None);
        assert_eq!(run(&["-O"]).flags.canonical(), ["-O"]);
    }

    #[test]
    fn programs_that_stay_plain() {
        assert_eq!(miss(&["-i", "x.py"]), "interactive use");
        assert_eq!(miss(&[""]), "the script has no name");
        assert_eq!(miss(&["-m", ""]), "the module after -m has no name");
        let prompt = CommandLine::parse([], || true).expect("no own options");
        assert_eq!(prompt.run, Err(Miss::Interactive));
        let prompt = CommandLine::parse(["-".into()], || true).expect("no own options");
        assert_eq!(prompt.run, Err(Miss::Interactive));
        let script = CommandLine::parse(["x.py".into()], || unreachable!("not asked"));
        assert!(script.expect("no own options").run.is_ok());
        let latin = OsString::from_vec(b"print('\xe9')".to_vec());
        let line = CommandLine::parse(["-c".into(), latin], || false).expect("no own options");
        let reason = line.run.expect_err("Python must say it").to_string();
        assert_eq!(reason, "the text after -c is not UTF-8");
    }

    #[test]
    fn bytes_are_kept() {
        let odd = OsString::from_vec(b"s\xff.py".to_vec());
        let line = CommandLine::parse([odd.clone(), odd.clone()], || false).expect("fine");
        assert_eq!(line.python, [odd.clone(), odd.clone()]);
        assert_eq!(line.run.expect("an image may run this").argv(), [odd.clone(), odd]);
    }

    /// Real Python's answer: what it makes of `line`, as `sys.argv` and
    /// `sys.flags`. `None` where it refuses the command line.
    fn python(python: &Path, line: &[&str]) -> Option<(String, String)> {
        let show = "import sys; print(sys.argv); print(sys.flags, sys._xoptions, sys.warnoptions)";
        let directory = tempfile::tempdir().expect("a temporary directory");
        for name in ["x.py", "mod.py", "-c"] {
            std::fs::write(directory.path().join(name), show).expect("a script");
        }
        let line = line.iter().map(|arg| if *arg == "CODE" { show } else { arg });
        let input = std::fs::File::open(directory.path().join("x.py")).expect("a script");
        let output = std::process::Command::new(python)
            .args(line)
            .current_dir(directory.path())
            .stdin(input)
            .output()
            .expect("Python runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let (argv, flags) = text.split_once('\n')?;
        (output.status.success() && argv.starts_with('['))
            .then(|| (argv.to_owned(), flags.to_owned()))
    }

    /// As Python writes a list of plain strings.
    fn list(argv: &[OsString]) -> String {
        let quoted: Vec<_> = argv.iter().map(|arg| format!("'{}'", arg.display())).collect();
        format!("[{}]", quoted.join(", "))
    }

    #[test]
    fn agrees_with_real_python() {
        let Some(executable) = crate::key::interpreter::for_tests() else { return };
        let python = |line: &[&str]| python(&executable, line);
        let lines: &[&[&str]] = &[
            &["-c", "CODE", "a", "-i", "--"],
            &["-Bc", "CODE", "-c", "x"],
            &["-OOBb", "x.py", "-v"],
            &["-O", "-B", "-b", "-O", "x.py"],
            &["-Wignore", "-W", "error", "-Xfoo=1", "-X", "bar", "x.py", "-W"],
            &["-BWignore", "x.py"],
            &["-BXdev", "x.py"],
            &["-W", "", "x.py"],
            &["-X", "", "x.py"],
            &["-t", "-qq", "-dd", "x.py"],
            &["-IEsS", "x.py"],
            &["-II", "-ss", "x.py"],
            &["--check-hash-based-pycs", "never", "x.py", "a"],
            &["--", "x.py", "--"],
            &["--", "-c", "a"],
            &["-", "a", "-b"],
            &["-u", "--", "-", "a"],
            &[],
            &["-B"],
            &["-c"],
            &["-Z"],
            &["--bogus", "x.py"],
            &["--check-hash-based-pycs", "sometimes", "x.py"],
            &["--check-hash-based-pycs=never", "x.py"],
            &["-W"],
            &["-X"],
        ];
        for line in lines {
            let real = python(line);
            match parse(line).run {
                Ok(run) => {
                    let (argv, flags) = real.unwrap_or_else(|| panic!("Python refuses {line:?}"));
                    assert_eq!(list(&run.argv()), argv, "sys.argv of {line:?}");
                    // The canonical options must mean what was typed.
                    let mut canonical = run.flags.canonical();
                    canonical.push("x.py".to_owned());
                    let canonical: Vec<&str> = canonical.iter().map(String::as_str).collect();
                    let (_, same) = python(&canonical).expect("canonical options are valid");
                    assert_eq!(same, flags, "sys.flags of {line:?} and {canonical:?}");
                }
                Err(miss) => assert!(real.is_none(), "{line:?} works, but is a miss: {miss}"),
            }
        }
    }
}
