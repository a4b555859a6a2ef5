//! Why a run does without an image.
//!
//! Every miss has a reason, shown in one line with `PYIMG_LOG=miss` and counted
//! by a short code in the statistics. The codes are stable: they are stored.
//! This module only names reasons; the modules that find them construct them.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::key::evidence::Changed;
use crate::key::flags::Unfit;

/// The reason why a run is plain Python.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Miss {
    /// The engine is `off`.
    EngineOff,
    /// `PYIMG_ENGINE` holds something else than an engine.
    EngineUnknown(OsString),
    /// A prompt is wanted: `-i`, or nothing to run and a terminal to read from.
    Interactive,
    /// An option of the interpreter that no image can serve.
    Flag(Unfit),
    /// The program itself cannot be run from an image, and why.
    Program(String),
    /// It cannot be seen beforehand what the program imports.
    Unseen,
    /// No Python was found at all.
    NoInterpreter,
    /// It is not certain which interpreter would run.
    Interpreter {
        /// What was found.
        path: PathBuf,
        /// What is doubtful about it.
        why: String,
    },
    /// There is no store yet.
    NoStore(PathBuf),
    /// The store is there and cannot be used.
    Store(String),
    /// The store holds no image of this interpreter.
    NoImage(PathBuf),
    /// The image that was asked for by name does not exist.
    ImageNotFound(OsString),
    /// Images there are, but none holds a module that the program imports.
    NotCovered,
    /// What the image would save is less than what restoring it costs, in nanoseconds.
    NotWorthIt {
        /// How long the program's imports take, as far as the image has them.
        saves: u64,
        /// How much longer a restore takes than bare Python's start.
        restore_ns: u64,
    },
    /// The image was built with other interpreter options.
    FlagsDiffer {
        /// The options of the image, as one text.
        image: String,
        /// The options of this run.
        run: String,
    },
    /// A variable that matters to the interpreter has another value.
    EnvironmentDiffers(String),
    /// A variable that no image can serve.
    Environment(String),
    /// The image is of another kernel, C library or processor.
    HostDiffers(String),
    /// The interpreter is not the one that the image was built with.
    InterpreterChanged(PathBuf),
    /// Something that the imports depended on is not as it was when the image was built.
    Evidence(Changed),
    /// A file that Python would import in place of a module of the image.
    Shadowed {
        /// The module.
        module: String,
        /// The file or directory that comes first.
        path: PathBuf,
    },
    /// A module of the image came from a directory in which this program does not look.
    NotSeen {
        /// The module.
        module: String,
        /// Where it came from.
        directory: PathBuf,
    },
    /// The image's files are damaged or missing.
    Damaged(String),
    /// The image is compressed, and was not decompressed: the store cannot be written,
    /// others were too slow, …
    Cold(String),
    /// This image cannot be brought back here, now: a limit, a privilege, a
    /// threading set-up, …
    Unrestorable(String),
    /// The image was dumped by a newer CRIU than the one that is here.
    CriuDiffers {
        /// The version that dumped it.
        image: String,
        /// The version that is here.
        here: String,
    },
    /// There is no usable CRIU.
    NoCriu(String),
    /// CRIU could not restore the image.
    CriuFailed(String),
    /// The process was restored and did not start the program.
    NotStarted(String),
}

impl Miss {
    /// A stable name for statistics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EngineOff => "engine-off",
            Self::EngineUnknown(_) => "engine-unknown",
            Self::Interactive => "interactive",
            Self::Flag(_) => "flag",
            Self::Program(_) => "program",
            Self::Unseen => "unseen",
            Self::NoInterpreter => "no-interpreter",
            Self::Interpreter { .. } => "interpreter",
            Self::NoStore(_) => "no-store",
            Self::Store(_) => "store",
            Self::NoImage(_) => "no-image",
            Self::ImageNotFound(_) => "image-not-found",
            Self::NotCovered => "not-covered",
            Self::NotWorthIt { .. } => "not-worth-it",
            Self::FlagsDiffer { .. } => "flags-differ",
            Self::EnvironmentDiffers(_) => "environment-differs",
            Self::Environment(_) => "environment",
            Self::HostDiffers(_) => "host-differs",
            Self::InterpreterChanged(_) => "interpreter-changed",
            Self::Evidence(changed) => match changed {
                Changed::File { .. } => "file-changed",
                Changed::Listing { .. } => "directory-changed",
                Changed::Variable(..) => "variable-differs",
                Changed::WorkingDirectory(_) => "working-directory-differs",
                Changed::Terminal(..) => "terminal-differs",
                Changed::Version => "evidence-version",
            },
            Self::Shadowed { .. } => "shadowed",
            Self::NotSeen { .. } => "not-seen",
            Self::Damaged(_) => "damaged",
            Self::Cold(_) => "cold",
            Self::Unrestorable(_) => "unrestorable",
            Self::CriuDiffers { .. } => "criu-differs",
            Self::NoCriu(_) => "no-criu",
            Self::CriuFailed(_) => "criu-failed",
            Self::NotStarted(_) => "not-started",
        }
    }

    /// How far an image with this obstacle is from being of use: the least tells most.
    pub(super) fn distance(&self) -> u8 {
        match self {
            Self::HostDiffers(_) => 2,
            Self::FlagsDiffer { .. } => 1,
            _ => 0,
        }
    }

    /// Whether another image may do what this one cannot.
    pub(super) fn is_of_one_image(&self) -> bool {
        match self {
            Self::NotCovered
            | Self::NotWorthIt { .. }
            | Self::FlagsDiffer { .. }
            | Self::EnvironmentDiffers(_)
            | Self::HostDiffers(_)
            | Self::InterpreterChanged(_)
            | Self::Evidence(_)
            | Self::Shadowed { .. }
            | Self::NotSeen { .. }
            | Self::Damaged(_)
            | Self::CriuDiffers { .. } => true,
            // To try a second one would cost more time than is lost already.
            _ => false,
        }
    }

    /// Whether an image that is built now, with this interpreter, would be a hit the next time.
    pub fn wants_an_image(&self) -> bool {
        matches!(
            self,
            Self::NoImage(_)
                | Self::NotCovered
                | Self::FlagsDiffer { .. }
                | Self::EnvironmentDiffers(_)
                | Self::HostDiffers(_)
                | Self::InterpreterChanged(_)
                | Self::NotWorthIt { .. }
                | Self::Evidence(_)
                | Self::CriuDiffers { .. }
                | Self::Damaged(_)
        )
    }

    /// The reason as a sentence that may hold line breaks.
    fn describe(&self) -> String {
        match self {
            Self::EngineOff => "the engine is off".to_owned(),
            Self::EngineUnknown(value) => {
                format!("PYIMG_ENGINE is `{}`, not auto, criu, direct or off", value.display())
            }
            Self::Interactive => "interactive use".to_owned(),
            Self::Flag(unfit) => unfit.to_string(),
            Self::Program(why)
            | Self::Store(why)
            | Self::Unrestorable(why)
            | Self::Damaged(why) => why.clone(),
            Self::Unseen => "what the program imports cannot be seen".to_owned(),
            Self::NoInterpreter => "no python3 found".to_owned(),
            Self::Interpreter { path, why } => format!("{}: {why}", path.display()),
            Self::NoStore(path) => format!("no store at {}", path.display()),
            Self::NoImage(path) => format!("no image of {}", path.display()),
            Self::ImageNotFound(name) => format!("no image is called `{}`", name.display()),
            Self::NotCovered => "no image holds a module that the program imports".to_owned(),
            Self::NotWorthIt { saves, restore_ns } => format!(
                "the image would save {} of imports and take {} longer to begin",
                milliseconds(*saves),
                milliseconds(*restore_ns)
            ),
            Self::FlagsDiffer { image, run } => {
                format!("the image was built with {}, not {}", options(image), options(run))
            }
            Self::EnvironmentDiffers(name) => format!("{name} is not as it was at the build"),
            Self::Environment(why) => why.clone(),
            Self::HostDiffers(what) => format!("the image is of another {what}"),
            Self::InterpreterChanged(path) => format!("{} has changed", path.display()),
            Self::Evidence(changed) => changed.to_string(),
            Self::Shadowed { module, path } => {
                format!("{} would be imported as {module}", path.display())
            }
            Self::NotSeen { module, directory } => {
                format!("{module} of the image is from {}", directory.display())
            }
            Self::Cold(why) => format!("the image is compressed: {why}"),
            Self::CriuDiffers { image, here } => {
                format!("the image is of CRIU {image}, newer than {here}")
            }
            Self::NoCriu(why) => format!("no usable CRIU: {why}"),
            Self::CriuFailed(why) => format!("CRIU failed: {why}"),
            Self::NotStarted(why) => format!("the program did not start: {why}"),
        }
    }
}

fn milliseconds(ns: u64) -> String {
    format!("{:.1} ms", ns as f64 / 1e6)
}

/// Interpreter options as a person reads them.
fn options(options: &str) -> &str {
    if options.is_empty() { "no options" } else { options }
}

impl fmt::Display for Miss {
    /// One line, whatever a path or a log line holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.describe();
        for (n, line) in text.split(|c: char| c.is_control()).enumerate() {
            if n > 0 {
                f.write_str(" ")?;
            }
            f.write_str(line)?;
        }
        Ok(())
    }
}

impl From<Unfit> for Miss {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Interactive => Self::Interactive,
            unfit => Self::Flag(unfit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::evidence::Difference;

    /// One of each, so that a new reason cannot be forgotten here unnoticed.
    fn all() -> Vec<Miss> {
        let text = || "text".to_owned();
        vec![
            Miss::EngineOff,
            Miss::EngineUnknown("warp".into()),
            Miss::Interactive,
            Miss::Flag(Unfit::Prints("-V".into())),
            Miss::Program(text()),
            Miss::Unseen,
            Miss::NoInterpreter,
            Miss::Interpreter { path: "/shims/python3".into(), why: "not an ELF file".into() },
            Miss::NoStore("/s".into()),
            Miss::Store(text()),
            Miss::NoImage("/usr/bin/python3.11".into()),
            Miss::ImageNotFound("data".into()),
            Miss::NotCovered,
            Miss::NotWorthIt { saves: 1_250_000, restore_ns: 6_600_000 },
            Miss::FlagsDiffer { image: "-B -O".into(), run: String::new() },
            Miss::EnvironmentDiffers("PYTHONPATH".into()),
            Miss::Environment("PYTHONHASHSEED is set".into()),
            Miss::HostDiffers("kernel".into()),
            Miss::InterpreterChanged("/usr/bin/python3.11".into()),
            Miss::Evidence(Changed::File { path: "/m.py".into(), what: Difference::Modified }),
            Miss::Evidence(Changed::Listing { directory: "/d".into(), entry: "m.py".into() }),
            Miss::Evidence(Changed::Variable("V".into(), true)),
            Miss::Evidence(Changed::WorkingDirectory("/d".into())),
            Miss::Evidence(Changed::Terminal(1, true)),
            Miss::Evidence(Changed::Version),
            Miss::Shadowed { module: "numpy".into(), path: "/w/numpy.py".into() },
            Miss::NotSeen { module: "helper".into(), directory: "/w".into() },
            Miss::Damaged(text()),
            Miss::Cold(text()),
            Miss::Unrestorable(text()),
            Miss::CriuDiffers { image: "4.2".into(), here: "4.1.1".into() },
            Miss::NoCriu(text()),
            Miss::CriuFailed(text()),
            Miss::NotStarted(text()),
        ]
    }

    #[test]
    fn lines_a_person_reads() {
        let shown: Vec<String> =
            all().iter().map(|miss| format!("{}: {miss}", miss.code())).collect();
        let wanted = "\
engine-off: the engine is off
engine-unknown: PYIMG_ENGINE is `warp`, not auto, criu, direct or off
interactive: interactive use
flag: -V makes Python print something and end
program: text
unseen: what the program imports cannot be seen
no-interpreter: no python3 found
interpreter: /shims/python3: not an ELF file
no-store: no store at /s
store: text
no-image: no image of /usr/bin/python3.11
image-not-found: no image is called `data`
not-covered: no image holds a module that the program imports
not-worth-it: the image would save 1.2 ms of imports and take 6.6 ms longer to begin
flags-differ: the image was built with -B -O, not no options
environment-differs: PYTHONPATH is not as it was at the build
environment: PYTHONHASHSEED is set
host-differs: the image is of another kernel
interpreter-changed: /usr/bin/python3.11 has changed
file-changed: /m.py has changed
directory-changed: /d/m.py has changed
variable-differs: the variable V has another value
working-directory-differs: the working directory was /d
terminal-differs: standard output was a terminal
evidence-version: another version of pyimg has recorded the evidence
shadowed: /w/numpy.py would be imported as numpy
not-seen: helper of the image is from /w
damaged: text
cold: the image is compressed: text
unrestorable: text
criu-differs: the image is of CRIU 4.2, newer than 4.1.1
no-criu: no usable CRIU: text
criu-failed: CRIU failed: text
not-started: the program did not start: text";
        assert_eq!(shown.join("\n"), wanted);
    }

    #[test]
    fn codes_are_kebab_case_and_differ() {
        let mut codes: Vec<_> = all().iter().map(Miss::code).collect();
        assert!(
            codes.iter().all(|code| { code.bytes().all(|b| b == b'-' || b.is_ascii_lowercase()) })
        );
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all().len());
    }

    #[test]
    fn a_reason_is_one_line() {
        let path = "/tmp/a\nb\u{1b}[31m.py".into();
        let miss = Miss::Evidence(Changed::File { path, what: Difference::Modified });
        assert_eq!(miss.to_string(), "/tmp/a b [31m.py has changed");
    }

    #[test]
    fn a_prompt_is_interactive_use() {
        assert_eq!(Miss::from(Unfit::Interactive), Miss::Interactive);
    }
}
