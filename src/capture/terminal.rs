//! A terminal for a build that has none.
//!
//! Some modules ask, while they are imported, whether the standard descriptors are terminals.
//! A build in the background has none of the program's own, and an image of it would never
//! do for a program that is run on a terminal. So the interpreter is given one that nobody
//! looks at.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;

use nix::pty::{Winsize, openpty};

use crate::key::evidence::Surroundings;

/// The size that programs assume of a terminal that does not tell, in characters.
const SIZE: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// What the interpreter has as its standard descriptors: ours, and a terminal in place of some.
#[derive(Debug)]
pub struct Terminal {
    /// The program's end, if it is needed.
    end: Option<OwnedFd>,
    replaced: [bool; 3],
}

impl Terminal {
    /// A terminal in place of those of these standard descriptors that are none.
    ///
    /// # Errors
    /// When there are no more terminals.
    pub fn in_place_of(descriptors: &[u8]) -> io::Result<Self> {
        let own = Surroundings::own_terminals();
        let mut replaced = [false; 3];
        for (number, replaced) in (0_u8..).zip(&mut replaced) {
            *replaced = descriptors.contains(&number) && !own[usize::from(number)];
        }
        if replaced == [false; 3] {
            return Ok(Self { end: None, replaced });
        }
        let terminal = openpty(&SIZE, None)?;
        let mut ours = File::from(terminal.master);
        // Who writes to a terminal that nobody reads stops when it is full. It ends with
        // whoever has the other end.
        thread::Builder::new().spawn(move || {
            let mut lost = [0; 4096];
            while ours.read(&mut lost).is_ok_and(|read| read > 0) {}
        })?;
        Ok(Self { end: Some(terminal.slave), replaced })
    }

    /// Gives it to a program that is to be started.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn give(&self, command: &mut Command) -> io::Result<()> {
        let Some(end) = &self.end else { return Ok(()) };
        let [input, output, error] = self.replaced;
        let stdio = || Ok::<_, io::Error>(Stdio::from(end.try_clone()?));
        if input {
            command.stdin(stdio()?);
        }
        if output {
            command.stdout(stdio()?);
        }
        if error {
            command.stderr(stdio()?);
        }
        Ok(())
    }

    /// Which of the standard descriptors the program sees as terminals.
    pub fn seen(&self) -> [bool; 3] {
        let mut seen = Surroundings::own_terminals();
        seen.iter_mut().zip(self.replaced).for_each(|(seen, replaced)| *seen |= replaced);
        seen
    }
}
