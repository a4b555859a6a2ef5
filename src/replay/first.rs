//! What the code before us has seen of this process (`struct first` of `first/first.h`).
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_long};

/// Characters of a replay's name.
const NAME: usize = 32;

#[repr(C)]
struct First {
    argc: c_long,
    argv: *const *const c_char,
    environment: *const *const c_char,
    environment_count: u32,
    words: u32,
    name: [u8; NAME + 1],
    began: u64,
}

unsafe extern "C" {
    #[link_name = "first_seen"]
    static FIRST: First;
    #[link_name = "first_replay_size"]
    static REPLAY_SIZE: u64;
    #[link_name = "first_replay_magic"]
    static REPLAY_MAGIC: u64;
    fn replay_checksum(bytes: *const u8, length: usize) -> u64;
}

/// A run that can have a replay.
#[derive(Debug)]
pub struct Run {
    /// The name of the replay.
    pub name: String,
    /// How many words the command line has behind the program.
    pub arguments: usize,
    /// The environment, entry by entry.
    pub environment: Vec<&'static [u8]>,
}

/// The run of this process; none if it can have no replay, or another program than `pyrun` asks.
pub fn run() -> Option<Run> {
    // SAFETY: the code that begins `pyrun` has written it before anything of Rust ran, and nobody
    // writes to it after that; in other programs it is all zeros.
    let First { argc, environment, environment_count, words, name, .. } =
        unsafe { (&raw const FIRST).read() };
    if words == 0 {
        return None;
    }
    let entries = (0..environment_count as usize).map(|number| {
        // SAFETY: the kernel has put so many strings there, each of which ends with a zero, and
        // they are never changed: nothing of `pyrun` writes to its own environment.
        unsafe { CStr::from_ptr(*environment.add(number)).to_bytes() }
    });
    Some(Run {
        name: String::from_utf8(name[..NAME].to_vec()).ok()?,
        arguments: usize::try_from(argc).ok()?.checked_sub(words as usize)?,
        environment: entries.collect(),
    })
}

/// Bytes of `struct replay`.
pub(super) fn size_of_header() -> u64 {
    // SAFETY: a constant.
    unsafe { REPLAY_SIZE }
}

/// What a replay of this program begins with; other versions have another one.
pub(super) fn magic() -> u64 {
    // SAFETY: a constant.
    unsafe { REPLAY_MAGIC }
}

/// The checksum of bytes whose number is a multiple of 32.
pub(super) fn checksum_of(bytes: &[u8]) -> u64 {
    assert!(bytes.len().is_multiple_of(32));
    // SAFETY: the function reads so many bytes, as words that need not be aligned on this
    // machine.
    unsafe { replay_checksum(bytes.as_ptr(), bytes.len()) }
}
