//! Says things in the right place: data on standard output, the rest on standard error.

use std::io::{self, IsTerminal as _, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::progress::{self, Bar, Progress};
use crate::error::{Error, Result};

/// Where a command says what it has to say.
///
/// Colours are written into the text by whoever makes it and taken out here where they
/// are not wanted.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    quiet: bool,
    color: ColorChoice,
}

impl Printer {
    /// A printer; a quiet one says only data and what went wrong.
    pub fn new(quiet: bool, color: ColorChoice) -> Self {
        Self { quiet, color }
    }

    /// Writes what was asked for, and a line break, to standard output.
    ///
    /// # Errors
    /// When it cannot be written; see [`reader_is_gone`].
    pub fn data(&self, text: &str) -> Result<()> {
        let mut out = AutoStream::new(io::stdout().lock(), self.color);
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(cannot_write)
    }

    /// Writes what was asked for to standard output, byte for byte.
    ///
    /// # Errors
    /// As [`Self::data`].
    pub fn raw_data(&self, bytes: &[u8]) -> Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(cannot_write)
    }

    /// Writes what was asked for as JSON to standard output.
    ///
    /// # Errors
    /// As [`Self::data`].
    pub fn json(&self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::failed("this cannot be said in JSON").because(error))?;
        self.raw_data(format!("{text}\n").as_bytes())
    }

    /// Says on standard error what was done, or what may be of interest.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Says on standard error what the user can do next.
    pub fn hint(&self, text: &str) {
        if !self.quiet {
            self.labelled("hint", AnsiColor::Cyan, text);
        }
    }

    /// Warns on standard error.
    pub fn warning(&self, text: &str) {
        self.labelled("warning", AnsiColor::Yellow, text);
    }

    /// Says on standard error what went wrong, and what to do next.
    pub fn error(&self, error: &Error) {
        self.labelled("error", AnsiColor::Red, &error.to_string());
        if let Some(hint) = error.hint_text() {
            self.labelled("hint", AnsiColor::Cyan, hint);
        }
    }

    /// Shows how far a build is: on a terminal, else nowhere.
    pub fn progress(&self) -> Box<dyn Progress> {
        match self.shows_progress() {
            true => Box::new(progress::Spinner::new(self.color != ColorChoice::Never)),
            false => Box::new(progress::Hidden),
        }
    }

    /// Shows how much of so many bytes is done: on a terminal, else nowhere.
    pub fn bar(&self, bytes: u64) -> Bar {
        match self.shows_progress() {
            true => Bar::new(bytes, self.color != ColorChoice::Never),
            false => Bar::hidden(),
        }
    }

    fn shows_progress(&self) -> bool {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        !self.quiet && !dumb && io::stderr().is_terminal()
    }

    fn labelled(&self, label: &str, color: AnsiColor, text: &str) {
        let style = Style::new().fg_color(Some(color.into())).bold();
        self.say(&format!("{style}{label}{style:#}: {text}"));
    }

    fn say(&self, text: &str) {
        let mut err = AutoStream::new(io::stderr().lock(), self.color);
        // There is nobody left to tell.
        let _ = writeln!(err, "{text}");
    }
}

fn cannot_write(error: io::Error) -> Error {
    Error::failed("cannot write to standard output").because(error)
}

/// Whether a command failed only because nobody reads its output any more, as with
/// `pyimg ls | head -n 1`.
pub fn reader_is_gone(error: &Error) -> bool {
    std::error::Error::source(error)
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_went_away_is_told_from_a_full_disk() {
        assert!(reader_is_gone(&cannot_write(io::ErrorKind::BrokenPipe.into())));
        let full = cannot_write(io::ErrorKind::StorageFull.into());
        assert!(!reader_is_gone(&full));
        assert_eq!(full.to_string(), "cannot write to standard output: no storage space");
    }
}
