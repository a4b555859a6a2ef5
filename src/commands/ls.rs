//! `pyimg ls`: which images there are.

use std::time::Duration;

use serde::Serialize;

use super::view::{ImageView, since};
use super::{FIRST_IMAGE, existing_store};
use crate::cli;
use crate::error::Result;
use crate::store::Image;
use crate::ui::tables::{Align, with_head};
use crate::ui::{Printer, human};

/// Characters of a recipe that fit into a line with the rest.
const RECIPE: usize = 36;

/// `pyimg ls --json`
#[derive(Debug, Serialize)]
struct Listing {
    /// The images, the oldest first.
    images: Vec<ImageView>,
}

pub(super) fn run(args: &cli::Ls, printer: &Printer) -> Result<()> {
    let images = match existing_store()? {
        Some(store) if args.json => store.images()?,
        Some(store) => store.overview()?,
        None => Vec::new(),
    };
    if args.json {
        return printer.json(&Listing { images: images.iter().map(ImageView::from).collect() });
    }
    if images.is_empty() {
        printer.note("there are no images yet");
        printer.hint(FIRST_IMAGE);
        return Ok(());
    }
    printer.data(&table(&images))
}

fn table(images: &[Image]) -> String {
    let head = [
        ("NAME", Align::Left),
        ("PYTHON", Align::Left),
        ("RECIPE", Align::Left),
        ("SIZE", Align::Right),
        ("TIER", Align::Left),
        ("IMPORT", Align::Right),
        ("BUILT", Align::Left),
        ("LAST USED", Align::Left),
    ];
    with_head(head, images.iter().map(row).collect())
}

fn row(image: &Image) -> [String; 8] {
    let record = &image.record;
    [
        record.name.clone(),
        record.python.clone(),
        human::shorten(&record.recipe.trim().replace('\n', "; "), RECIPE),
        human::size(image.page_bytes),
        image.tier.to_string(),
        human::duration(Duration::from_nanos(record.import_ns)),
        human::age(since(image.created_ns)),
        used(image),
    ]
}

fn used(image: &Image) -> String {
    let used = image.last_used_ns.map_or_else(|| "never".into(), |ns| human::age(since(ns)));
    if image.pinned { format!("{used}, pinned") } else { used }
}
