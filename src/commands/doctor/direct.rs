//! Whether images can be brought back by `pyrun` becoming the program, without CRIU.
//!
//! That takes no privilege and nothing that has to be installed; what speaks against it lies in
//! an image, or in a limit of this process. So the images are asked. Nothing is mapped.

use std::path::Path;

use super::{Finding, Status};
use crate::engine::direct;
use crate::error::Result;
use crate::key::host::Host;
use crate::store::{self, RunStore};
use crate::ui::human;

const NAME: &str = "direct";

pub(super) fn look() -> Finding {
    // What is wrong with the store is said where that is looked at.
    let refusals = store::default_dir().and_then(|dir| examine(&dir)).unwrap_or_default();
    told(&refusals)
}

/// The images of this machine, by name, each with what speaks against it.
fn examine(dir: &Path) -> Result<Vec<(String, Option<String>)>> {
    let Some(store) = RunStore::open(dir)? else { return Ok(Vec::new()) };
    let host = Host::read();
    let images = store.images()?.into_iter();
    Ok(images
        .filter(|image| image.record.kernel == host.kernel && image.record.cpu == host.processor)
        .map(|image| {
            let refusal = direct::examine(&store.image_dir(&image.id)).err();
            (image.record.name, refusal.map(|why| why.to_string()))
        })
        .collect())
}

fn told(images: &[(String, Option<String>)]) -> Finding {
    let refused: Vec<_> =
        images.iter().filter_map(|(name, why)| Some((name, why.as_deref()?))).collect();
    let all = human::count(images.len() as u64, "image");
    let taken = images.len() - refused.len();
    let Some((name, why)) = refused.first() else {
        return Finding::ok(
            NAME,
            match images.len() {
                0 => "programs run from images without privilege; no image to look at".to_owned(),
                _ => format!("programs run without privilege from each of {all}"),
            },
        );
    };
    let status = if taken > 0 { Status::Ok } else { Status::Warning };
    let detail =
        format!("programs run without privilege from {taken} of {all}; not from {name}: {why}");
    Finding::new(NAME, status, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_image_that_cannot_be_taken_is_named() {
        let image = |name: &str, why: Option<&str>| (name.to_owned(), why.map(str::to_owned));
        let said = |images: &[(String, Option<String>)]| {
            let finding = told(images);
            (finding.status, finding.detail)
        };
        let (taken, refused) = (image("data", None), image("web", Some("it has no plan")));
        assert_eq!(
            said(&[]),
            (Status::Ok, "programs run from images without privilege; no image to look at".into())
        );
        assert_eq!(
            said(std::slice::from_ref(&taken)),
            (Status::Ok, "programs run without privilege from each of 1 image".into())
        );
        let detail =
            "programs run without privilege from 1 of 2 images; not from web: it has no plan";
        assert_eq!(said(&[taken, refused.clone()]), (Status::Ok, detail.into()));
        assert_eq!(said(&[refused]).0, Status::Warning);
    }
}
