//! What a person sees: text, tables, a spinner, a bar.
//!
//! Commands decide what is to be said; here is decided how and where. Data goes to
//! standard output, everything else to standard error. Nothing here knows what an image
//! is, but the phases of a build have their names from [`crate::capture`].

pub mod human;
mod printer;
mod progress;
pub mod tables;

pub use printer::{Printer, reader_is_gone};
pub use progress::{Bar, Progress};
