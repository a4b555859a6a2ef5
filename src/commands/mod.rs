//! What `pyimg` does: one file for each verb.
//!
//! A command reads its arguments, asks the rooms that know, and tells the printer. What
//! several of them need is here.

mod build;
mod completions;
mod dir;
mod doctor;
mod gc;
mod ls;
mod man;
mod origin;
mod phases;
mod pin;
mod rm;
mod show;
mod verify;
mod view;
mod why;

pub use view::ImageView;

use crate::cli::Command;
use crate::error::{Error, Result};
use crate::store::{self, Image, RunStore, Store};
use crate::ui::Printer;

/// What to build first; said wherever there are no images yet.
const FIRST_IMAGE: &str = "build one, for example: `pyimg build \"import numpy, pandas\"`";

/// How alike a name must be to be suggested, from 0 to 1.
const ALIKE: f64 = 0.8;

/// Runs a command.
///
/// # Errors
/// With what is to be told to the user.
pub fn run(command: &Command, printer: &Printer) -> Result<()> {
    match command {
        Command::Build(args) => build::run(args, printer),
        Command::Ls(args) => ls::run(args, printer),
        Command::Show(args) => show::run(args, printer),
        Command::Rm(args) => rm::run(args, printer),
        Command::Verify(args) => verify::run(args, printer),
        Command::Pin(args) => pin::run(args, true, printer),
        Command::Unpin(args) => pin::run(args, false, printer),
        Command::Gc(args) => gc::run(args, printer),
        Command::Why(args) => why::run(args, printer),
        Command::Dir(args) => dir::run(args, printer),
        Command::Doctor(args) => doctor::run(args, printer),
        Command::Completions(args) => completions::run(args, printer),
        Command::Man(args) => man::run(args),
    }
}

/// The store, if there is one: looking for an image makes none.
fn existing_store() -> Result<Option<Store>> {
    let dir = store::default_dir()?;
    // What is wrong with a store, `Store::open` finds out and tells.
    let none = matches!(RunStore::open(&dir), Ok(None));
    if none { Ok(None) } else { Store::open(&dir).map(Some) }
}

/// The image that a person means, by its name or the first digits of its key.
fn find(store: Option<&Store>, wanted: &str) -> Result<Image> {
    let Some(store) = store else {
        return Err(Error::failed(format!("there is no image {wanted:?}")).hint(FIRST_IMAGE));
    };
    store.find(wanted).map_err(|error| {
        let names = store.images().unwrap_or_default();
        let names = names.iter().map(|image| image.record.name.as_str());
        match nearest(wanted, names) {
            Some(name) => error.hint(format!("is it {name:?}? `pyimg ls` lists the images")),
            None => error,
        }
    })
}

/// The images that are meant, each once; all of them must be there.
fn find_all(store: Option<&Store>, wanted: &[String]) -> Result<Vec<Image>> {
    let mut images: Vec<Image> = Vec::new();
    for wanted in wanted {
        let image = find(store, wanted)?;
        if !images.iter().any(|known| known.id == image.id) {
            images.push(image);
        }
    }
    Ok(images)
}

/// The name that was probably meant.
fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_alike_are_suggested() {
        let names = ["data", "python311-numpy", "web"];
        let nearest = |wanted| nearest(wanted, names.into_iter());
        assert_eq!(nearest("date"), Some("data"));
        assert_eq!(nearest("python311-nunpy"), Some("python311-numpy"));
        assert_eq!(nearest("qqq"), None);
        assert_eq!(nearest(""), None);
    }
}
