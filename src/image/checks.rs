//! Whether a dumped process is one that may become an image.
//!
//! The process was looked at before the dump ([`crate::capture`] refuses by name what
//! CRIU could not dump). This is the second look, at what really was dumped: anything
//! that would make two runs of one image share something, or that is not understood,
//! is refused.

use crate::image::dump::Dump;

/// Kinds of files (`fd_types` of CRIU's `fdinfo.proto`) that an image may hold open, with
/// their names: each run gets its own.
const PRIVATE_KINDS: [(u32, &str); 7] = [
    (1, "regular file"),
    (2, "pipe"),
    (6, "eventfd"),
    (7, "epoll"),
    (8, "inotify"),
    (17, "timerfd"),
    (18, "memfd"),
];
/// `FD_TYPES__UNIXSK`: only the socket on which the process waits to be woken.
const UNIX_SOCKET: u32 = 5;

/// Why a dump cannot become an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsuitable(pub String);

/// Looks at the descriptors of the dump; `control` is the inode of the socket on which
/// the process is parked. Returns that socket's number in the file table.
///
/// # Errors
/// When there is a descriptor of a kind that is not known to be safe, or no such socket.
pub fn check(dump: &Dump, control: u32) -> Result<u32, Unsuitable> {
    let mut found = None;
    for descriptor in &dump.descriptors.entries {
        let kind = descriptor.type_();
        if kind == UNIX_SOCKET {
            let socket = dump
                .files
                .entries
                .iter()
                .find(|file| file.id() == descriptor.id())
                .and_then(|file| file.usk.as_ref());
            if socket.is_some_and(|socket| socket.ino() == control) {
                found = Some(descriptor.id());
                continue;
            }
            return Err(Unsuitable(format!(
                "descriptor {} is a Unix socket, which every run of the image would share",
                descriptor.fd()
            )));
        }
        if !PRIVATE_KINDS.iter().any(|(known, _)| *known == kind) {
            return Err(Unsuitable(format!(
                "descriptor {} is of a kind (CRIU's {kind}) that an image cannot hold",
                descriptor.fd()
            )));
        }
    }
    found.ok_or_else(|| Unsuitable("the socket that wakes the process was not dumped".into()))
}
