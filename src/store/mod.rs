//! The store: images on disk, deduplicated by page.
//!
//! `store-layout.md` says to the byte what lies where, in which order it is
//! written, and why a crash does no harm. In short: pages lie in immutable
//! packs, named by content; an image is a directory with a manifest, named by
//! its content too; a SQLite index says which images there are. It is a cache:
//! the whole directory may be deleted at any time.
//!
//! - to store: [`Store::open`], [`Store::begin`], [`Ingest::add_run`] for each
//!   run of pages, [`Ingest::seal`], [`Sealed::add_file`], [`Sealed::commit`];
//! - to run: [`RunFiles::open`], [`Reader::candidates`], [`Files::load_for_run`],
//!   [`Files::note_use`];
//! - to look and to remove: [`Reader::images`], [`Reader::find`], [`Store::remove`];
//! - to remember runs and programs, silently: [`Records`]; to count runs: [`Reader::tally`];
//! - to check and to mend: [`verify`], [`repair`];
//! - to compress and to bring back: [`Store::freeze`], [`Files::thaw`];
//! - to clean up: [`Reader::survey`], [`Reader::plan`], [`Store::clean`].
//!
//! The store knows nothing of CRIU or Python. Threads are started for hashing and
//! for syncing only, by a build, and none outlives its call.

mod access;
mod commit;
mod dedup;
mod durable;
mod failure;
mod fault;
mod freeze;
pub mod gc;
mod ids;
mod images;
mod index;
mod ingest;
mod layout;
mod lock;
mod manifest;
mod open;
mod outlook;
mod pack;
mod pages;
mod programs;
mod reader;
mod record;
mod remove;
mod repack;
mod repair;
mod replays;
mod runs;
mod seekable;
mod slots;
mod tally;
#[cfg(test)]
mod tests;
mod thaw;
mod tier;
mod verify;

pub use commit::Sealed;
pub use fault::POINTS as FAULT_POINTS;
pub use freeze::Frozen;
pub use ids::{Digest, ImageId, ImageKey, NotADigest, PackId, PageHash, ProgramId};
pub use index::FORMAT;
pub use ingest::Ingest;
pub use layout::default_dir;
pub use lock::BuildLock;
pub use manifest::{Extent, FileInfo, Manifest, RunManifest, Source, check_files, read_file};
pub use open::{Store, check_vacant};
pub use outlook::{Outlook, Verdict};
pub use pack::{PackInfo, offset_of};
pub use pages::PAGE;
pub use programs::{Program, Records, now_ns};
pub use reader::{Files, Reader, RunFiles, RunStore};
pub use record::{Candidate, CandidateQuery, FileState, Image, ImageRecord, Overview, check_name};
pub use remove::Freed;
pub use repair::{Action, Done, Lost, Repaired, repair};
pub use replays::GOOD_FOR;
pub use runs::{Outcome, RunRecord};
pub use tally::{Counts, ProgramCounts, Tally};
pub use tier::{Tier, Tiers};
pub use verify::{Depth, Finding, FindingKind, Report, Watch, verify};
