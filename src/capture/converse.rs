//! Listens to the park library while the interpreter is on its way to the park.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;

use super::Interrupted;
use crate::image::plan::Wake;

/// What the park library says.
#[derive(Debug)]
pub enum Message {
    /// The recipe ran to its end.
    Imported,
    /// What the recipe has looked at: records of `observe.c`.
    Journal(Vec<u8>),
    /// What the interpreter knows of itself.
    Report(Box<Report>),
    /// Something that must not be in an image.
    Refused(String),
    /// A woken process could not become what it was to be.
    Failed(String),
    /// The process waits to be dumped; and where it goes on if it is woken without the socket.
    Parked(Option<Wake>),
}

/// What the interpreter knows of itself after the recipe.
#[derive(Debug, Clone, Deserialize)]
pub struct Report {
    /// Top-level modules that the recipe has loaded.
    pub modules: Vec<String>,
    /// All top-level modules, each with the directory that it came from.
    pub origins: BTreeMap<String, Option<PathBuf>>,
    /// Files that the modules came from, and those that decided where to look.
    pub files: Vec<PathBuf>,
    /// The directories in which Python looks for `.pth` files when it starts.
    pub site_directories: Vec<PathBuf>,
    /// How long the recipe took, in nanoseconds.
    pub import_ns: u64,
    /// The interpreter's own allocator, where it relies on zeros after `MADV_DONTNEED`
    /// (mimalloc).
    #[serde(default)]
    pub zeroing_allocator: Option<String>,
    /// `sys.path` without the entry of the program itself.
    pub sys_path: Vec<PathBuf>,
    /// That entry, absolute.
    pub own_directory: Option<PathBuf>,
    /// Directories in which modules were looked for, with the last parts of their names.
    pub looked_for: BTreeMap<PathBuf, Vec<String>>,
    /// Directories in which distributions were looked for, with their names; none for all.
    pub distributions: BTreeMap<PathBuf, Vec<Option<String>>>,
    /// Top-level modules that were looked for in vain.
    pub absent_modules: Vec<String>,
    /// Directories that were listed, other than to look for modules.
    pub listed: Vec<PathBuf>,
    /// Variables that Python code has read.
    pub variables: Vec<String>,
    /// Whether it went through all of them.
    pub all_variables: bool,
    /// Whether a directory was listed by a relative path.
    pub relative: bool,
    /// What may make the image differ from plain Python, and the module that did it.
    pub doubts: Vec<(String, String)>,
    /// How long each top-level module took, in nanoseconds.
    pub import_times: BTreeMap<String, u64>,
    /// The top-level modules that each of them imports.
    pub import_needs: BTreeMap<String, Vec<String>>,
}

/// Waits for the next message, saying now and then that it still does; none when the interpreter has closed its end, as it does
/// by ending.
///
/// # Errors
/// When the message cannot be read or understood, or the user interrupted us.
pub fn next(
    socket: &OwnedFd,
    interrupted: &Interrupted,
    still_waiting: &dyn Fn(),
) -> io::Result<Option<Message>> {
    let often = PollTimeout::from(100_u8);
    loop {
        interrupted.check()?;
        still_waiting();
        // A signal that arrives between the check and the poll is seen a moment later.
        match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], often) {
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let (bytes, descriptors) = crate::sys::receive(socket)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end_matches('\n');
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Ok(Some(match word {
        "" => return Ok(None),
        "imported" => Message::Imported,
        "parked" => Message::Parked(wake(rest)),
        "refused" => Message::Refused(rest.to_owned()),
        "failed" => Message::Failed(rest.to_owned()),
        "journal" => Message::Journal(read_all(descriptors)?),
        "report" => Message::Report(Box::new(
            serde_json::from_slice(&read_all(descriptors)?)
                .map_err(|error| io::Error::other(format!("the park library's report: {error}")))?,
        )),
        other => return Err(io::Error::other(format!("the park library said {other:?}"))),
    }))
}

/// The two addresses that come with `parked`.
fn wake(text: &str) -> Option<Wake> {
    let mut numbers =
        text.split(' ').map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    Some(Wake { entry: numbers.next()??, stack: numbers.next()?? })
}

/// All of the file that came with a message.
fn read_all(descriptors: Vec<OwnedFd>) -> io::Result<Vec<u8>> {
    use std::io::{Read as _, Seek as _};

    let Some(descriptor) = descriptors.into_iter().next() else {
        return Err(io::Error::other("a file of the park library's has no descriptor"));
    };
    let mut bytes = Vec::new();
    let mut file = File::from(descriptor);
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
