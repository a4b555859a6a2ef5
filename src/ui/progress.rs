//! Shows how far a build, or cleaning up, is.
//!
//! There is no thread behind it: CRIU is to be called while this process has only one,
//! so whoever waits says now and then that it still goes on.

use std::cell::{Cell, RefCell};
use std::io::{Write as _, stderr};
use std::iter::Cycle;
use std::str::Chars;

use indicatif::{ProgressBar, ProgressStyle};

use crate::capture::Phase;

const FRAMES: &str = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";

/// What a phase is called.
fn text(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting python",
        Phase::Importing => "importing",
        Phase::Dumping => "dumping",
        Phase::Storing => "storing",
    }
}

/// Is told how far a build is, and shows it or not. Dropping it takes away what it shows.
pub trait Progress {
    /// A phase begins, or, if it is the one that was named last, still goes on: that
    /// turns the spinner, and is to be said a few times a second where that is possible.
    fn phase(&self, phase: Phase);
}

/// A bar for work that is counted in bytes. Dropping it takes away what it shows.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar for so many bytes; nothing is shown without work.
    pub(super) fn new(bytes: u64, color: bool) -> Self {
        if bytes == 0 {
            return Self::hidden();
        }
        let bar = if color { "{wide_bar:.cyan}" } else { "{wide_bar}" };
        let template = format!("{{msg:11}} {bar} {{decimal_bytes}}/{{decimal_total_bytes}}");
        let style = ProgressStyle::with_template(&template).expect("the template is well-formed");
        Self(ProgressBar::new(bytes).with_style(style))
    }

    /// One that shows nothing.
    pub(super) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// So many bytes more are done, by this.
    pub fn advance(&self, text: &'static str, bytes: u64) {
        if self.0.message() != text {
            self.0.set_message(text);
        }
        self.0.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Shows nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hidden;

impl Progress for Hidden {
    fn phase(&self, _: Phase) {}
}

/// A spinner with the phase next to it, on standard error.
///
/// While the recipe runs the terminal is the program's: it may print, or ask something.
/// Then the phase is a line of its own, and the spinner is one character under the
/// cursor, which the next thing printed replaces.
pub(super) struct Spinner {
    style: ProgressStyle,
    bar: RefCell<ProgressBar>,
    phase: Cell<Option<Phase>>,
    frames: RefCell<Cycle<Chars<'static>>>,
}

impl Spinner {
    /// A spinner that does not show yet.
    pub fn new(color: bool) -> Self {
        let template = if color { "{spinner:.cyan} {msg}" } else { "{spinner} {msg}" };
        let style = ProgressStyle::with_template(template)
            .expect("the template is well-formed")
            .tick_chars(&format!("{FRAMES} "));
        Self {
            style,
            bar: RefCell::new(ProgressBar::hidden()),
            phase: Cell::new(None),
            frames: RefCell::new(FRAMES.chars().cycle()),
        }
    }

    fn clear(&self) {
        self.bar.borrow().finish_and_clear();
        if self.phase.get() == Some(Phase::Importing) {
            write(" \u{8}");
        }
    }

    fn tick(&self) {
        if self.phase.get() == Some(Phase::Importing) {
            let frame = self.frames.borrow_mut().next().unwrap_or(' ');
            write(&format!("{frame}\u{8}"));
        } else {
            self.bar.borrow().tick();
        }
    }
}

impl Progress for Spinner {
    fn phase(&self, phase: Phase) {
        if self.phase.get() == Some(phase) {
            return self.tick();
        }
        self.clear();
        self.phase.set(Some(phase));
        if phase == Phase::Importing {
            write(&format!("{}\n", text(phase)));
        } else {
            let bar = ProgressBar::new_spinner().with_style(self.style.clone());
            bar.set_message(text(phase));
            self.bar.replace(bar);
        }
        self.tick();
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Writes in one piece, so that nothing of the program's comes in between.
fn write(text: &str) {
    let _ = stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_progress_takes_every_phase() {
        let hidden: Box<dyn Progress> = Box::new(Hidden);
        for phase in [Phase::Starting, Phase::Importing, Phase::Importing, Phase::Dumping] {
            hidden.phase(phase);
        }
        assert_eq!(text(Phase::Storing), "storing");
    }
}
