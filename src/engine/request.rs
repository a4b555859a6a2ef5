//! What a run hands to the woken process.
//!
//! The process was parked in a `recvmsg` of the park library (`src/capture/park`), which
//! reads this and becomes the program. What it begins with, C code knows as a structure
//! (`request.h`). The bytes go into a memfd, since environments can be larger than a socket
//! takes; the descriptors go with the message.

use std::ffi::OsString;
use std::io::{self, IoSlice, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Begins the bytes of a request: `PRQ1`.
const MAGIC: u32 = 0x3151_5250;
/// Flag of a request: the program is not to start before the message `go`.
const AWAIT_GO: u32 = 1;
/// Flag of a request: the program's modules are to be written even if the others are as known.
const RECORD_OUTDATED: u32 = 2;
/// Flag of a request: the process is the caller's own already.
const IN_PLACE: u32 = 4;
/// Descriptors in one message; the kernel takes 253 (`SCM_MAX_FD`).
const DESCRIPTORS_PER_MESSAGE: usize = 250;

/// What kind of program is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `-c CODE`.
    Command = 0,
    /// `-m MODULE`.
    Module = 1,
    /// A script file.
    Script = 2,
    /// A program on standard input.
    Stdin = 3,
    /// A directory or a zip file with a `__main__` module.
    Directory = 4,
    /// None: the process runs a further recipe, given as a line of Python for `inside/`,
    /// and parks again.
    Grow = 5,
}

/// A descriptor of the caller, to be given to the program under the same number.
#[derive(Debug)]
pub struct Descriptor {
    /// The number that the program sees.
    pub number: RawFd,
    /// Our own duplicate.
    pub file: OwnedFd,
}

/// What the program is to write down when it ends: the top-level modules that it needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    /// Where to.
    pub path: PathBuf,
    /// Modules of the image that count as needed; they are written in any case.
    pub kept: Vec<String>,
    /// What is known of the others, sorted: if it is still so, nothing is written.
    pub others: Vec<String>,
    /// Whether to write even then, for what is kept is not as it was written.
    pub outdated: bool,
    /// Where to write which pages it has written, and the first line of that, if that is to be
    /// known.
    pub pages: Option<(PathBuf, String)>,
}

/// All that a program gets from whoever starts it.
#[derive(Debug)]
pub struct Request {
    /// What kind of program.
    pub kind: Kind,
    /// The code, the module or the path, as given.
    pub text: OsString,
    /// `sys.argv`.
    pub argv: Vec<OsString>,
    /// `sys.orig_argv`.
    pub orig_argv: Vec<OsString>,
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The file mode creation mask.
    pub umask: u32,
    /// Signals that the caller ignores; bit n-1 is signal n.
    pub ignored_signals: u64,
    /// Signals that the caller blocks; bit n-1 is signal n.
    pub blocked_signals: u64,
    /// The nice value.
    pub nice: i32,
    /// Soft and hard resource limits, by `RLIMIT_*` number.
    pub limits: Vec<(u64, u64)>,
    /// The execution domain (`personality(2)`).
    pub personality: u32,
    /// What the program is to write down when it ends, if anything.
    pub recording: Option<Recording>,
    /// The descriptors that the program inherits.
    pub descriptors: Vec<Descriptor>,
}

/// What the engine knows and the caller does not.
#[derive(Debug, Clone, Default)]
pub struct Waking {
    /// Where to store which new thread id: the other threads' ids as the C library
    /// remembers them.
    pub thread_ids: Vec<(u64, u32)>,
    /// The signal that the program gets when its supervisor dies, or 0.
    pub death_signal: u32,
    /// The supervisor's pid, or 0.
    pub supervisor: i32,
    /// Whether the process is the caller's own, and so has its descriptors, limits and the like.
    pub in_place: bool,
}

/// A request, taken apart: some bytes, then strings, each of which a zero follows.
#[derive(Debug)]
pub struct Sections {
    /// The numbers, the working directory and the program's text.
    pub bytes: Vec<u8>,
    /// `sys.argv`.
    pub argv: Vec<Vec<u8>>,
    /// `sys.orig_argv`.
    pub orig_argv: Vec<Vec<u8>>,
    /// `NAME=VALUE`.
    pub environment: Vec<Vec<u8>>,
    /// What the program is to record.
    pub last: Vec<Vec<u8>>,
}

impl Request {
    /// The bytes that the park library reads.
    pub fn to_bytes(&self, waking: &Waking) -> Vec<u8> {
        let Sections { mut bytes, argv, orig_argv, environment, last } = self.sections(waking);
        let strings = argv.iter().chain(&orig_argv).chain(&environment).chain(&last);
        strings.for_each(|string| {
            bytes.extend(string);
            bytes.push(0);
        });
        bytes
    }

    /// The same, taken apart.
    pub fn sections(&self, waking: &Waking) -> Sections {
        let lines = |names: &[String]| names.iter().map(|name| format!("{name}\n")).collect();
        let none = Recording::default();
        let recording = self.recording.as_ref().unwrap_or(&none);
        let (kept, others): (String, String) = (lines(&recording.kept), lines(&recording.others));
        // Images that were built before there was a recording read none of it.
        let (pages, header) = recording.pages.clone().unwrap_or_default();
        let last = [
            recording.path.as_os_str().as_bytes(),
            kept.as_bytes(),
            others.as_bytes(),
            pages.as_os_str().as_bytes(),
            header.as_bytes(),
        ];
        let count = |length: usize| u32::try_from(length).expect("fewer than 2^32 of anything");
        let (limits, descriptors) = match waking.in_place {
            true => (&[][..], &[][..]),
            false => (&self.limits[..], &self.descriptors[..]),
        };
        let mut bytes = Vec::with_capacity(4096);
        for word in [MAGIC, self.kind as u32, self.umask, count(descriptors.len())] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.ignored_signals.to_le_bytes());
        bytes.extend(self.blocked_signals.to_le_bytes());
        bytes.extend(self.nice.to_le_bytes());
        for word in [
            count(waking.thread_ids.len()),
            count(limits.len()),
            count(self.argv.len()),
            count(self.orig_argv.len()),
            count(self.environment.len()),
            self.personality,
            waking.death_signal,
        ] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(waking.supervisor.to_le_bytes());
        let flags = if waking.in_place { IN_PLACE } else { AWAIT_GO }
            | if recording.outdated { RECORD_OUTDATED } else { 0 };
        bytes.extend(flags.to_le_bytes());
        for descriptor in descriptors {
            bytes.extend(descriptor.number.to_le_bytes());
        }
        for (address, id) in &waking.thread_ids {
            bytes.extend(address.to_le_bytes());
            bytes.extend(id.to_le_bytes());
            bytes.extend(0_u32.to_le_bytes());
        }
        for (soft, hard) in limits {
            bytes.extend(soft.to_le_bytes());
            bytes.extend(hard.to_le_bytes());
        }
        for string in [self.cwd.as_os_str(), &self.text] {
            bytes.extend(string.as_bytes());
            bytes.push(0);
        }
        let all = |strings: &[OsString]| strings.iter().map(|s| s.as_bytes().to_vec()).collect();
        let pair = |(name, value): &(OsString, OsString)| {
            [name.as_bytes(), b"=", value.as_bytes()].concat()
        };
        Sections {
            bytes,
            argv: all(&self.argv),
            orig_argv: all(&self.orig_argv),
            environment: self.environment.iter().map(pair).collect(),
            last: last.map(<[u8]>::to_vec).into(),
        }
    }

    /// Sends the request and the descriptors into the socket.
    ///
    /// # Errors
    /// When memory or descriptors run out, or nobody can receive it any more.
    pub fn send(&self, socket: impl AsFd, waking: &Waking) -> io::Result<()> {
        let mut memory =
            std::fs::File::from(memfd_create(c"pyimg-request", MFdFlags::MFD_CLOEXEC)?);
        memory.write_all(&self.to_bytes(waking))?;
        let all: Vec<RawFd> = std::iter::once(memory.as_raw_fd())
            .chain(self.descriptors.iter().map(|descriptor| descriptor.file.as_raw_fd()))
            .collect();
        for (position, some) in all.chunks(DESCRIPTORS_PER_MESSAGE).enumerate() {
            let text: &[u8] = if position == 0 { b"request" } else { b"more" };
            sendmsg::<()>(
                socket.as_fd().as_raw_fd(),
                &[IoSlice::new(text)],
                &[ControlMessage::ScmRights(some)],
                MsgFlags::MSG_NOSIGNAL,
                None,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_as_the_park_library_reads_them() {
        let request = Request {
            kind: Kind::Module,
            text: "black".into(),
            argv: vec!["-m".into(), "x".into()],
            orig_argv: vec!["python3".into()],
            environment: vec![("A".into(), "b=c".into())],
            cwd: "/tmp".into(),
            umask: 0o22,
            ignored_signals: 1,
            blocked_signals: 2,
            nice: -3,
            limits: vec![(4, u64::MAX)],
            personality: 0,
            recording: Some(Recording {
                path: "/r".into(),
                kept: vec!["k".into(), "l".into()],
                others: vec!["o".into()],
                outdated: true,
                pages: Some(("/p".into(), "image 1".into())),
            }),
            descriptors: Vec::new(),
        };
        let waking = Waking {
            thread_ids: vec![(0x1000, 77)],
            death_signal: 9,
            supervisor: 5,
            in_place: false,
        };
        let bytes = request.to_bytes(&waking);
        assert_eq!(&bytes[..4], b"PRQ1");
        assert_eq!(&bytes[68..72], 3_u32.to_le_bytes());
        assert_eq!(&bytes[32..36], (-3_i32).to_le_bytes());
        let fixed = 4 * 4 + 8 * 2 + 4 + 7 * 4 + 4 + 4;
        assert_eq!(fixed, 72);
        assert_eq!(&bytes[fixed..fixed + 8], 0x1000_u64.to_le_bytes());
        assert_eq!(&bytes[fixed + 8..fixed + 12], 77_u32.to_le_bytes());
        assert_eq!(
            &bytes[fixed + 32..],
            b"/tmp\0black\0-m\0x\0python3\0A=b=c\0/r\0k\nl\n\0o\n\0/p\0image 1\0"
        );
    }
}
