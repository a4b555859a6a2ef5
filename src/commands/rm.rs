//! `pyimg rm`: removes images, all that are named or none.

use serde::Serialize;

use super::{existing_store, find_all};
use crate::cli;
use crate::error::Result;
use crate::ui::{Printer, human};

/// `pyimg rm --json`
#[derive(Debug, Serialize)]
struct Removed {
    /// Names of the images that were removed.
    removed: Vec<String>,
    /// Disk space that became free, in bytes. What other images use too stays.
    freed_bytes: u64,
}

pub(super) fn run(args: &cli::Rm, printer: &Printer) -> Result<()> {
    let store = existing_store()?;
    let images = find_all(store.as_ref(), &args.images)?;
    // Without a store nothing can have been found.
    let Some(store) = store else { return Ok(()) };
    let keys: Vec<_> = images.iter().map(|image| image.record.key).collect();
    let freed = store.remove(&keys)?;
    let removed: Vec<_> = images.into_iter().map(|image| image.record.name).collect();
    if args.json {
        return printer.json(&Removed { removed, freed_bytes: freed.bytes });
    }
    printer.note(&format!("removed {} ({} freed)", removed.join(", "), human::size(freed.bytes)));
    if freed.postponed {
        printer.note("the space is freed by the next removal: a program is just starting");
    }
    Ok(())
}
