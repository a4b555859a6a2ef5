//! `pyimg ls`: which images there are.

use std::time::Duration;

use serde::Serialize;

use super::view::{ImageView, since};
use super::{FIRST_IMAGE, existing_store};
use crate::cli;
use crate::error::Result;
use crate::store::Overview;
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
    let store = existing_store()?;
    if args.json {
        let images = store.map_or_else(|| Ok(Vec::new()), |store| store.images())?;
        return printer.json(&Listing { images: images.iter().map(ImageView::from).collect() });
    }
    let images = store.map_or_else(|| Ok(Vec::new()), |store| store.overview())?;
    if images.is_empty() {
        printer.note("there are no images yet");
        printer.hint(FIRST_IMAGE);
        return Ok(());
    }
    printer.data(&table(&images))
}

fn table(images: &[Overview]) -> String {
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
    let rows: Vec<_> = images.iter().map(row).collect();
    with_head(head, &rows)
}

fn row(image: &Overview) -> [String; 8] {
    [
        image.name.clone(),
        image.python.clone(),
        human::shorten(&image.recipe.trim().replace('\n', "; "), RECIPE),
        human::size(image.page_bytes),
        image.tier.to_string(),
        human::duration(Duration::from_nanos(image.import_ns)),
        human::age(since(image.created_ns)),
        used(image),
    ]
}

fn used(image: &Overview) -> String {
    let used = image.last_used_ns.map_or_else(|| "never".into(), |ns| human::age(since(ns)));
    if image.pinned { format!("{used}, pinned") } else { used }
}
