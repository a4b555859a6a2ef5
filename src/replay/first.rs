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
    fn facts_processor(words: *mut [u64; 4]);
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

/// What this processor can do, as two leaves of CPUID say.
pub(super) fn processor() -> [u64; 4] {
    let mut words = [0; 4];
    // SAFETY: the function writes eight numbers of 32 bits, for which there is room.
    unsafe { facts_processor(&raw mut words) };
    words
}

/// The checksum of bytes whose number is a multiple of 32.
pub(super) fn checksum_of(bytes: &[u8]) -> u64 {
    assert!(bytes.len().is_multiple_of(32));
    // SAFETY: the function reads so many bytes, as words that need not be aligned on this
    // machine.
    unsafe { replay_checksum(bytes.as_ptr(), bytes.len()) }
}

#[cfg(test)]
mod tests {
    use std::ffi::{CString, OsString};
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;
    use crate::launch::command_line::{CommandLine, Program};

    unsafe extern "C" {
        fn first_words(argc: c_long, argv: *const *const c_char) -> u32;
        fn key_begin(state: *mut [u64; 6], key: *const [u64; 2]);
        fn key_add(state: *mut [u64; 6], bytes: *const u8, length: usize);
        fn key_end(state: *mut [u64; 6], result: *mut [u64; 2]);
    }

    fn words_of(line: &[&str]) -> usize {
        let words: Vec<CString> = line.iter().map(|word| CString::new(*word).unwrap()).collect();
        let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
        pointers.push(std::ptr::null());
        // SAFETY: so many strings and a null, as `main` has them, which live until the call has
        // returned.
        unsafe { first_words(line.len() as c_long, pointers.as_ptr()) as usize }
    }

    #[test]
    fn the_program_is_found_where_the_command_line_has_it() {
        for (line, words) in [
            (&["pyrun", "s.py"][..], 2),
            (&["pyrun", "s.py", "-c", "x"], 2),
            (&["pyrun", "--image", "a", "-c", "pass", "x"], 5),
            (&["pyrun", "--image=a", "--engine", "direct", "-m", "json"], 6),
            (&["pyrun", "-cpass", "x"], 2),
            (&["pyrun", "-Ic", "pass"], 3),
            (&["pyrun", "-W", "ignore", "-Xutf8", "-B", "s.py"], 6),
            (&["pyrun", "--", "s.py", "x"], 3),
            (&["pyrun"], 0),
            (&["pyrun", "-"], 0),
            (&["pyrun", "-V"], 0),
            (&["pyrun", "-c"], 0),
            (&["pyrun", "--image"], 0),
            (&["pyrun", ""], 0),
        ] {
            assert_eq!(words_of(line), words, "{line:?}");
        }
    }

    /// Whatever the line is, either there is no replay or both agree.
    #[test]
    fn it_agrees_with_the_command_line() {
        let vocabulary = [
            "-",
            "--",
            "-c",
            "-m",
            "-B",
            "-W",
            "-X",
            "-Wx",
            "-Ic",
            "-cx",
            "-mjson",
            "--image",
            "--image=a",
            "--engine",
            "direct",
            "s.py",
            "",
            "-V",
            "-i",
            "--help",
            "-x",
            "-E",
            "json",
            "dev",
        ];
        let mut found = 0;
        for number in 0..vocabulary.len().pow(4) {
            let digits = (0..4).map(|at| number / vocabulary.len().pow(at) % vocabulary.len());
            let line: Vec<&str> =
                std::iter::once("pyrun").chain(digits.map(|digit| vocabulary[digit])).collect();
            let words = words_of(&line);
            if words == 0 {
                continue;
            }
            let given = line[1..].iter().map(|word| OsString::from_vec(word.as_bytes().to_vec()));
            // What is no command line is for the long way to say.
            let Ok(CommandLine { run: Ok(run), .. }) = CommandLine::parse(given, || true) else {
                continue;
            };
            assert_eq!(run.arguments.len(), line.len() - words, "{line:?}");
            assert!(!matches!(run.program, Program::Stdin { .. }), "{line:?}");
            found += 1;
        }
        assert!(found > 100_000, "{found}");
    }

    fn siphash(message: &[u8], part: usize) -> String {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let (mut state, mut result) = ([0; 6], [0; 2]);
        // SAFETY: the state has six words, and each part is as long as is said.
        unsafe {
            key_begin(&raw mut state, &raw const key);
            for part in message.chunks(part) {
                key_add(&raw mut state, part.as_ptr(), part.len());
            }
            key_end(&raw mut state, &raw mut result);
        }
        let bytes = result.map(u64::to_le_bytes);
        bytes.as_flattened().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The reference's own vectors (`vectors_sip128`): the key is 00 01 02 …, and so is the message,
    /// however it comes in parts.
    #[test]
    fn the_name_is_a_siphash() {
        let message: Vec<u8> = (0..100).collect();
        for (length, expected) in [
            (0, "a3817f04ba25a8e66df67214c7550293"),
            (1, "da87c1d86b99af44347659119b22fc45"),
            (2, "8177228da4a45dc7fca38bdef60affe4"),
        ] {
            assert_eq!(siphash(&message[..length], 1), expected);
        }
        let whole = siphash(&message, message.len());
        assert!((1..message.len()).all(|part| siphash(&message, part) == whole));
    }
}
