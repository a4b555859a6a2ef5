//! Room on the stack for a parser that goes down into what is nested.
//!
//! A text of nothing but opening brackets, which Python refuses, would have it use up any
//! stack there is, and `pyrun` would die of it in place of the program. How deep it can go
//! is bounded by the length of the text. So it gets a stack of its own that is large enough
//! for the worst such text; memory is used only as far as it goes. A thread would do as
//! well, but takes 0.15 ms to start and much longer on a busy machine. Where the stack that we
//! are on has room enough, as for the few lines of most commands, 0.1 ms are saved.

use nix::sys::resource::{Resource, getrlimit};

/// What one opening bracket can take, in bytes; the tests go all the way down.
const PER_BRACKET: usize = 12 * 1024 * UNOPTIMISED;
/// What any other byte can take.
const PER_BYTE: usize = 2 * 1024 * UNOPTIMISED;
/// What is needed anyway.
const LEAST: usize = 256 * 1024;
/// The most that is asked for: no program of a person has so many brackets.
const MOST: usize = (1 << 30) * UNOPTIMISED;
/// What our own stack has left at least, if it may have eight times as much.
const OURS: usize = 1 << 20;
/// How much more it is where the compiler saves no stack.
const UNOPTIMISED: usize = if cfg!(debug_assertions) { 8 } else { 1 };

/// Calls a function that parses `text`, if the stack for it can be had.
pub fn with_room_for<T>(text: &[u8], parse: impl FnOnce() -> T) -> Option<T> {
    let brackets = memchr::memchr3_iter(b'(', b'[', b'{', text).count();
    let room = LEAST + brackets * PER_BRACKET + text.len() * PER_BYTE;
    if room <= OURS && getrlimit(Resource::RLIMIT_STACK).is_ok_and(|(soft, _)| soft >= 8 << 20) {
        return Some(parse());
    }
    (room <= MOST && can_be_had(room)).then(|| stacker::grow(room, parse))
}

/// Whether this much memory can be allotted: `stacker` would panic if it cannot.
fn can_be_had(room: usize) -> bool {
    let mut memory = Vec::<u8>::new();
    let is_there = memory.try_reserve_exact(room).is_ok();
    std::hint::black_box(&memory);
    is_there
}
