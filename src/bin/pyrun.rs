//! `pyrun`: a drop-in for `python` that starts programs from images.
//!
//! There is a C `main` in place of Rust's: Rust's start-up ignores SIGPIPE and opens
//! `/dev/null` in place of closed standard descriptors, and a program that is started
//! from here must find both as they were.
#![no_main]
#![allow(unsafe_code, reason = "an exported `main` is unsafe to declare, nothing else is")]

/// Called by the C library; the arguments are read from where the standard library finds
/// them as well.
// SAFETY: `main` is the name that the C runtime calls, with this signature, and no other
// symbol of that name is linked: `no_main` leaves Rust's out.
#[unsafe(no_mangle)]
pub extern "C" fn main(_argc: i32, _argv: *const *const i8) -> i32 {
    pyimg::launch::main()
}
