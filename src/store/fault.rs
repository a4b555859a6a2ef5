//! Named places at which a test ends the process, as a crash would.
//!
//! In a debug build `PYIMG_FAULT=NAME` kills the process with SIGKILL when it comes to
//! the place of that name, `PYIMG_FAULT=NAME:3` when it does so for the third time. In a
//! release build there is nothing.

/// All names: what each has durably behind it is in `store-layout.md`. The crash tests go
/// through this list, so that no place is left out.
pub const POINTS: &[&str] = &[
    "build-pack-put",
    "build-image-put",
    "build-committed",
    "repair-mode-set",
    "repair-made",
    "repair-time-set",
    "repair-reason-put",
    "repair-set-aside",
    "repair-copy-kept",
    "repair-index-built",
    "repair-index-put",
    "repair-unlisted",
    "gc-index-changed",
    "gc-swept",
    "gc-pack-copied",
    "gc-pack-replaced",
    "freeze-compressed",
    "freeze-cold-put",
    "freeze-raw-removed",
    "thaw-decompressed",
    "thaw-raw-put",
    "thaw-cold-removed",
    "runs-log-moved",
    "runs-tally-put",
];

/// A place of this name.
#[cfg(debug_assertions)]
pub(super) fn point(name: &str) {
    use std::sync::atomic::{AtomicU32, Ordering};

    use nix::sys::signal::{Signal, raise};

    static PASSED: AtomicU32 = AtomicU32::new(0);

    debug_assert!(POINTS.contains(&name), "{name} is not in the list");
    let Ok(wanted) = std::env::var("PYIMG_FAULT") else { return };
    let (wanted, time) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if wanted == name && time.parse() == Ok(PASSED.fetch_add(1, Ordering::Relaxed) + 1) {
        let _ = raise(Signal::SIGKILL);
    }
}

/// A place of this name.
#[cfg(not(debug_assertions))]
pub(super) fn point(_name: &str) {}
