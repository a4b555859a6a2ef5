//! A CRIU dump as typed values, and what is done to it.
//!
//! A dump is a directory of small protobuf files and one file of pages. This
//! room reads them ([`file`]), says whether the process is one that may become an
//! image ([`checks`]), rewrites the memory so that packs are mapped instead of
//! copied ([`mapping`], with the exceptions that [`hazards`] finds; [`unmapping`] undoes it), takes out what
//! belongs to the machine at dump time ([`portable`]) and gives the restored
//! process new pids ([`pids`]).
//!
//! It opens no file by itself: bytes come in, bytes go out, so that every part can
//! be tested and fuzzed without CRIU. The message types are generated from
//! `criu.proto`, which names only the fields that are used; everything else in a
//! message is kept and written back unchanged.

/// Generated message types; see `criu.proto`.
#[allow(missing_docs, unsafe_code, clippy::all, clippy::undocumented_unsafe_blocks)]
pub mod message {
    include!(concat!(env!("OUT_DIR"), "/image/mod.rs"));
    pub use criu::*;
}

pub mod checks;
pub mod dump;
pub mod file;
pub mod hazards;
pub mod mapping;
pub mod pids;
pub mod plan;
pub mod portable;
#[cfg(test)]
mod testing;
pub mod unmapping;

/// Bytes in a page of memory. The only page size of x86-64 processes that CRIU dumps.
pub const PAGE_SIZE: u64 = 4096;
