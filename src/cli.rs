//! The command line of `pyimg`, as types.
//!
//! Parsing, help, completions and man pages all come from here; nothing is read, written
//! or decided.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::config::{self, Limit};
use crate::error::{Error, Result};
use crate::key::recipe::Recipe;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  pyimg build \"import numpy, pandas\" --name data
  pyrun -c 'import pandas; print(pandas.__version__)'
  pyimg ls
  pyimg doctor

Environment:
  PYIMG_DIR     the store (default: $XDG_CACHE_HOME/pyimg, else ~/.cache/pyimg)
  PYIMG_PYTHON  the interpreter, where none is named
  PYIMG_CRIU    the criu binary
  NO_COLOR      no colours

Exit status: 0 done, 1 the request failed, 2 wrong usage or this machine cannot do it.";

const BUILD_EXAMPLES: &str = "\
Examples:
  pyimg build \"import numpy, pandas\"           called python311-numpy-pandas
  pyimg build \"import numpy, pandas\" --name data
  pyimg build -m black -m http.server          what `python -m` would import
  pyimg build --script report.py               what the script imports; it is not run
  pyimg build \"import re\" --python python3.12 -- -X utf8
  pyimg build --from data \"import rich\"       what data holds, and rich

Nothing is done if the image is there already and its modules are unchanged. What the
code prints is shown; if it raises an exception, nothing is stored.";

const RM_EXAMPLES: &str = "\
Examples:
  pyimg rm data
  pyimg rm python311-numpy python311-pandas

If one of the images does not exist, none is removed. Programs that were started from an
image go on.";

const VERIFY_EXAMPLES: &str = "\
Examples:
  pyimg verify
  pyimg verify --read-data
  pyimg verify --repair

It changes nothing and keeps nobody waiting. A repair deletes nothing: what is damaged goes
into the directory `quarantine` of the store, with the reason beside it, and so do images
that need it; all others stay and work.

Exit status: 0 if nothing is wrong, or no more after a repair; 1 if something is.";

const PIN_EXAMPLES: &str = "\
A pinned image is left alone by `pyimg gc` and when a build makes room, whatever the limits.
`pyimg rm` removes it all the same.";

const GC_EXAMPLES: &str = "\
Removed are, in this order: stale images, which no run can use because a module or the
interpreter has changed; images that were not used for long; then those that were used the
longest time ago, until the rest fits. Images built on another machine or kernel count as
stale once they have not been used for a week. Pinned images stay. Then packs that no image
uses go, packs of which most is dead are written anew, and images that are not used are
compressed; the first run that uses one again decompresses it. Programs that run go on.

Examples:
  pyimg gc --dry-run
  pyimg gc --max-size 2GB --unused-for 14d
  pyimg gc --max-size 0                        removes all that is not pinned

Configuration, in $XDG_CONFIG_HOME/pyimg/config.toml, else ~/.config/pyimg/config.toml:
  max-size = \"10GB\"      or \"unlimited\"; variable PYIMG_MAX_SIZE
  unused-for = \"30d\"     or \"never\"; variable PYIMG_UNUSED_FOR
  cold-after = \"7d\"      or \"never\"; variable PYIMG_COLD_AFTER
  auto-gc = true         a build over max-size makes room; variable PYIMG_AUTO_GC
These are the defaults. Variables are stronger than the file, options stronger than both;
PYIMG_CONFIG names another file.";

const WHY_EXAMPLES: &str = "\
Nothing is run. It shows the interpreter and by what it was found, what the program imports,
and each image of that interpreter: how long the program's imports take that it holds, how
much longer it takes to begin from it than in bare Python, and the first thing that does not
fit. Options of `pyimg` itself come before the arguments, or before `--`.

Examples:
  pyimg why -m black
  pyimg why --image data script.py
  pyimg why --json -c 'import numpy'
  pyimg why \"$(command -v http)\"

Exit status: 0 if there is an answer, 2 if pyrun's own options are used wrongly.";

const STATS_EXAMPLES: &str = "\
A hit is a program that pyrun started from an image, a miss one that it ran with plain
Python, with the reason. Saved is how long what the program imports took when its image was
built, less the time that the run took to begin. Runs are counted as long as there is a store;
those of which nothing could be written are not.";

const DOCTOR_EXAMPLES: &str = "\
It looks at CRIU, the privilege that CRIU needs, the kernel, a place on a tmpfs, the store
and the Pythons of this machine, and changes nothing.

Exit status: 0 if images can be built and used, 2 if not. Warnings do not count.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  pyimg completions bash > ~/.local/share/bash-completion/completions/pyimg
  pyimg completions zsh > ~/.zfunc/_pyimg
  pyimg completions fish > ~/.config/fish/completions/pyimg.fish";

/// Images of Python processes that have already imported what you need
///
/// Importing is most of what a short Python program does. `pyimg build` writes out the
/// memory of a Python process that has done it; `pyrun`, used instead of `python`, starts
/// programs from there, and is plain Python whenever no image fits.
#[derive(Debug, Parser)]
#[command(name = "pyimg", version, styles = STYLES, max_term_width = 100)]
#[command(after_help = EXAMPLES, subcommand_value_name = "COMMAND")]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Say only what was asked for and what went wrong
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// When to use colours: auto, always or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_possible_values = true)]
    pub color: Color,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl From<Color> for anstream::ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an image: let Python import what you name, and store its memory
    Build(Build),
    /// List the images
    Ls(Ls),
    /// Show all that is known about an image
    Show(Show),
    /// Remove images
    Rm(Rm),
    /// Keep images whatever the limits
    Pin(Pin),
    /// Let images go like all others again
    Unpin(Pin),
    /// Remove images that are of no use, and make the store small
    Gc(Gc),
    /// Check the store, and mend what can be mended
    Verify(Verify),
    /// Say what `pyrun` would do with a command line, and why
    Why(Why),
    /// Tell what images have saved, and why programs ran without
    Stats(Stats),
    /// Print the directory of the store, which may be deleted at any time
    Dir(Dir),
    /// Check what building and using images needs, and say what mends it
    Doctor(Doctor),
    /// Print completions for a shell
    Completions(Completions),
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man(Man),
    /// Look whether an image would help a program, and build it if that is wanted
    #[command(hide = true)]
    Consider(Consider),
}

/// How an image's memory is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// As it is, to be mapped in place
    Raw,
    /// Compressed
    Zstd,
}

impl From<Tier> for crate::store::Tier {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Raw => Self::Raw,
            Tier::Zstd => Self::Zstd,
        }
    }
}

/// `pyimg build`
#[derive(Debug, Args)]
#[command(after_help = BUILD_EXAMPLES)]
#[command(
    override_usage = "pyimg build [OPTIONS] <CODE | -m MODULE... | --script FILE> [-- PYTHON-FLAGS]"
)]
pub struct Build {
    /// Python code to run, as after `python -c`
    #[arg(value_name = "CODE", conflicts_with_all = ["modules", "script"])]
    pub code: Option<String>,
    /// The image's name (default: made from the Python version and the imports)
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Restore this image and let it import more: built faster, and shares its memory
    #[arg(long, value_name = "IMAGE")]
    pub from: Option<String>,
    /// The interpreter (default: as a shell would find `python3`)
    #[arg(long, value_name = "EXE", value_hint = ValueHint::CommandName)]
    pub python: Option<PathBuf>,
    /// Import what `python -m MODULE` would; may be given several times
    #[arg(short = 'm', value_name = "MODULE", conflicts_with = "script")]
    pub modules: Vec<String>,
    /// Import what this script imports, without running it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub script: Option<PathBuf>,
    /// How its memory is kept: raw, which starts fastest, or zstd, compressed until the
    /// first run (default: raw; an image that is there already stays as it is)
    #[arg(long, value_name = "TIER", hide_possible_values = true)]
    pub store: Option<Tier>,
    /// Build it even if it is there already and unchanged
    #[arg(long)]
    pub force: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Standard descriptors that imports are to see as terminals, by number
    #[arg(
        long,
        value_name = "NUMBERS",
        value_delimiter = ',',
        hide = true,
        conflicts_with = "from"
    )]
    pub terminals: Vec<u8>,
    /// Flags for the interpreter, such as `-O` or `-X utf8`
    #[arg(last = true, value_name = "PYTHON-FLAGS")]
    pub flags: Vec<OsString>,
}

impl Build {
    /// What is to be preloaded; a script's path is made absolute.
    ///
    /// # Errors
    /// When nothing was named.
    pub fn recipe(&self) -> Result<Recipe> {
        if let Some(code) = &self.code {
            return Ok(Recipe::Code { code: code.clone() });
        }
        if let Some(script) = &self.script {
            let script = std::path::absolute(script).map_err(|error| {
                Error::usage(format!("{} is no path of a script", script.display())).because(error)
            })?;
            return Ok(Recipe::Script { script });
        }
        if self.modules.is_empty() {
            return Err(Error::usage("nothing to build was named").hint(
                "give the code, or `-m MODULE`, or `--script FILE`: \
                 `pyimg build \"import numpy, pandas\"`",
            ));
        }
        Ok(Recipe::Module { modules: self.modules.clone() })
    }
}

/// `pyimg ls`
#[derive(Debug, Args)]
pub struct Ls {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pyimg show`
#[derive(Debug, Args)]
pub struct Show {
    /// Name of the image, or the first digits of its key
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pyimg rm`
#[derive(Debug, Args)]
#[command(after_help = RM_EXAMPLES)]
pub struct Rm {
    /// Names of the images, or the first digits of their keys
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pyimg verify`
#[derive(Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct Verify {
    /// Read every page and every file too, and compare them with their hashes
    #[arg(long)]
    pub read_data: bool,
    /// Set aside what is damaged, keep what is good, and make it work again
    #[arg(long)]
    pub repair: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pyimg pin` and `pyimg unpin`
#[derive(Debug, Args)]
#[command(after_help = PIN_EXAMPLES)]
pub struct Pin {
    /// Names of the images, or the first digits of their keys
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pyimg gc`
#[derive(Debug, Args)]
#[command(after_help = GC_EXAMPLES)]
pub struct Gc {
    /// Only show what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Disk space that the store may take, such as 500MB or 2GiB
    #[arg(long, value_name = "SIZE", value_parser = config::parse_size)]
    pub max_size: Option<Limit<u64>>,
    /// Remove images that no run has used for so long, such as 30d or 12h
    #[arg(long, value_name = "DURATION", value_parser = config::parse_duration)]
    pub unused_for: Option<Limit<Duration>>,
    /// Compress images that no run has used for so long
    #[arg(long, value_name = "DURATION", value_parser = config::parse_duration)]
    pub cold_after: Option<Limit<Duration>>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pyimg why`
#[derive(Debug, Args)]
#[command(after_help = WHY_EXAMPLES)]
pub struct Why {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// What `pyrun` would be given: its own options, then what `python` takes
    #[arg(value_name = "PYTHON-ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// `pyimg stats`
#[derive(Debug, Args)]
#[command(after_help = STATS_EXAMPLES)]
pub struct Stats {
    /// Count anew from now on; what was counted is shown once more
    #[arg(long)]
    pub reset: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pyimg dir`
#[derive(Debug, Args)]
pub struct Dir {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pyimg doctor`
#[derive(Debug, Args)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pyimg completions`
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub struct Completions {
    /// The shell: bash, zsh or fish
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    pub shell: Shell,
}

/// Shells that completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// `pyimg man`
#[derive(Debug, Args)]
pub struct Man {
    /// An existing directory
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}

/// `pyimg consider`, which only `pyrun` calls, and nobody waits for
#[derive(Debug, Args)]
pub struct Consider {
    /// The program's id
    #[arg(long, value_name = "ID")]
    pub program: String,
    /// What is known of it, if it is not in the store
    #[arg(long, value_name = "JSON")]
    pub memory: String,
    /// The image that it would have started from, had nothing changed
    #[arg(long, value_name = "IMAGE")]
    pub stale: Option<String>,
    /// Its image is for other variables, another directory or other terminals
    #[arg(long)]
    pub elsewhere: bool,
    /// Which of its standard descriptors were terminals, by number
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    pub terminals: Vec<u8>,
}

/// `pyrun`, for its man page only: it takes Python's command line, which is not clap's.
#[derive(Debug, Parser)]
#[command(name = "pyrun", version, disable_help_flag = true, disable_version_flag = true)]
#[command(override_usage = "pyrun [--image NAME] [--engine ENGINE] PYTHON-ARGUMENTS...")]
#[command(about = "Run a Python program from an image, or else with plain Python")]
#[command(long_about = "\
pyrun takes what python takes: -c, -m, a script, - and Python's flags. If there is an image of \
that interpreter which holds modules that the program imports, and nothing that the image was made \
of has changed, the program starts from the image; else python is executed with the same \
arguments. pyrun's own options come first or not at all.

The exit status is the program's own; if the program dies of a signal, so does pyrun.")]
pub struct Pyrun {
    /// Use this image and no other, as with PYIMG_IMAGE; plain Python if it does not fit
    #[arg(long, value_name = "NAME", visible_alias = "load-image")]
    pub image: Option<String>,
    /// How the image is brought back, as with PYIMG_ENGINE; `off` is plain Python
    #[arg(long, value_name = "ENGINE")]
    #[arg(value_parser = ["auto", "criu", "off"])]
    pub engine: Option<String>,
    /// What `python` would be given
    #[arg(value_name = "PYTHON-ARGUMENTS", trailing_var_arg = true)]
    pub arguments: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn clap_finds_no_contradiction() {
        Cli::command().debug_assert();
        Pyrun::command().debug_assert();
    }

    fn build(arguments: &[&str]) -> Result<Build, clap::error::ErrorKind> {
        let all = ["pyimg", "build"].iter().chain(arguments);
        match Cli::try_parse_from(all).map_err(|error| error.kind())?.command {
            Command::Build(build) => Ok(build),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_recipe_is_one_of_three() {
        let recipe = |arguments: &[&str]| build(arguments).unwrap().recipe().unwrap();
        assert_eq!(recipe(&["import re"]), Recipe::Code { code: "import re".into() });
        let modules = vec!["black".into(), "http.server".into()];
        assert_eq!(recipe(&["-m", "black", "-m", "http.server"]), Recipe::Module { modules });
        assert_eq!(recipe(&["--script", "/x.py"]), Recipe::Script { script: "/x.py".into() });
        let Recipe::Script { script } = recipe(&["--script", "x.py"]) else { panic!() };
        assert!(script.is_absolute());
    }

    #[test]
    fn a_recipe_is_not_two_of_three() {
        let conflict = Err(clap::error::ErrorKind::ArgumentConflict);
        let kind = |arguments: &[&str]| build(arguments).map(|_| ());
        assert_eq!(kind(&["import re", "-m", "black"]), conflict);
        assert_eq!(kind(&["import re", "--script", "x.py"]), conflict);
        assert_eq!(kind(&["-m", "black", "--script", "x.py"]), conflict);
    }

    #[test]
    fn no_recipe_says_what_to_give() {
        let error = build(&["--name", "x"]).unwrap().recipe().unwrap_err();
        assert_eq!(error.to_string(), "nothing to build was named");
        assert!(error.hint_text().unwrap().contains("pyimg build \"import"));
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn flags_of_the_interpreter_come_last() {
        let build = build(&["import re", "--force", "--", "-O", "-X", "utf8"]).unwrap();
        assert!(build.force);
        assert_eq!(build.flags, ["-O", "-X", "utf8"]);
    }
}
