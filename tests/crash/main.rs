//! That no crash, no power cut and no failing disk harms a store.
//!
//! - [`power`]: the power fails after any operation, and what was not synced is lost in
//!   part or whole;
//! - [`faults`]: any operation fails, with ENOSPC or EIO;
//! - [`points`]: the process is killed at each named place.
//!
//! `tests/crash_kills.rs` kills processes at random.

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod model;
mod points;
mod power;
mod recorder;
mod steps;
mod tree;

use std::path::{Path, PathBuf};

/// A directory that goes at its end; in memory if possible, since there are thousands.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Where the store is below a scratch directory.
fn store_in(directory: &Path) -> PathBuf {
    directory.join(steps::STORE)
}

/// Does something with all items, on all processors.
fn in_parallel<T: Sync>(items: &[T], act: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, |number| number.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) =
                    items.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    act(item);
                }
            });
        }
    });
}
