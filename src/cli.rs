//! The command line of `pyimg`, as types.
//!
//! Parsing, help, completions and man pages all come from here; nothing is read, written
//! or decided.

mod help;

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

/// Images of Python processes that have already imported what you need
///
/// Importing is most of what a short Python program does. `pyimg build` writes out the
/// memory of a Python process that has done it; `pyrun`, used instead of `python`, starts
/// programs from there, and is plain Python whenever no image fits.
#[derive(Debug, Parser)]
#[command(name = "pyimg", version, styles = STYLES, max_term_width = 100)]
#[command(after_help = help::PYIMG, subcommand_value_name = "COMMAND")]
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
#[command(after_help = help::BUILD)]
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
#[command(after_help = help::RM)]
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
#[command(after_help = help::VERIFY)]
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
#[command(after_help = help::PIN)]
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
#[command(after_help = help::GC)]
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
#[command(after_help = help::WHY)]
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
#[command(after_help = help::STATS)]
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
#[command(after_help = help::DOCTOR)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pyimg completions`
#[derive(Debug, Args)]
#[command(after_help = help::COMPLETIONS)]
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
    /// How the image is brought back, as with PYIMG_ENGINE: `direct`, by which pyrun becomes the
    /// program, without any privilege; `criu`, by which CRIU restores it as a child of pyrun; `auto`,
    /// `direct` and where that cannot be `criu` (default); `off` is plain Python
    #[arg(long, value_name = "ENGINE")]
    #[arg(value_parser = ["auto", "direct", "criu", "off"])]
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
