//! A run that is like one before, without looking at it anew.
//!
//! Most runs of a program differ in nothing that decides how it is started: the same command
//! line up to the program, environment, working directory and files. What such a run comes to
//! is kept as a *replay*: claims about all files that it has looked at, and lists of system
//! calls that map the image and make the process the program. The next run begins with it, in
//! code that needs no C library (`first`, see its `first.h`), and takes about half the time.
//!
//! - Which run it is, is told by the replay's name, a hash keyed by the id of the boot. Nothing
//!   of the environment is written down.
//! - Whatever does not fit is no error: the run is looked at as if there were no replay, by
//!   [`crate::launch`], which also writes them.
//! - A replay is only a help: it says nothing that could not be found out again, and all of
//!   them may be removed at any time.
//!
//! Here is what Rust has to know: which run the code before us has seen ([`run`]), and how the
//! file is made ([`Replay`]).

mod file;
mod first;

pub use file::{
    ASIDE_AT, Copied, Descriptors, End, Kept, PLACE, Records, Replay, SIZE, Strings, WHOLE,
};
pub use first::{Run, run};
