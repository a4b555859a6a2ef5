//! `pyimg pin` and `pyimg unpin`: images that cleaning up leaves alone, all that are named
//! or none.

use serde::Serialize;

use super::{existing_store, find_all};
use crate::cli;
use crate::error::{Error, Result};
use crate::ui::Printer;

/// `pyimg pin --json` and `pyimg unpin --json`
#[derive(Debug, Serialize)]
struct Answer {
    /// Names of the images.
    images: Vec<String>,
    /// Whether they are pinned now.
    pinned: bool,
}

pub(super) fn run(args: &cli::Pin, pinned: bool, printer: &Printer) -> Result<()> {
    let store = existing_store()?;
    let images = find_all(store.as_ref(), &args.images)?;
    // Without a store nothing can have been found.
    let Some(store) = store else { return Ok(()) };
    for image in &images {
        if image.pinned != pinned && !store.set_pinned(&image.record.key, pinned)? {
            let name = &image.record.name;
            return Err(Error::failed(format!("the image {name:?} was removed just now")));
        }
    }
    let images: Vec<_> = images.into_iter().map(|image| image.record.name).collect();
    if args.json {
        return printer.json(&Answer { images, pinned });
    }
    let done = if pinned { "pinned" } else { "unpinned" };
    printer.note(&format!("{done} {}", images.join(", ")));
    Ok(())
}
