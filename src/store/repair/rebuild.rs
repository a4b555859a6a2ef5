//! Makes the index again from the manifests.
//!
//! The new one is finished and durable before it takes the place of the old one, of which a
//! copy goes into the quarantine. What only the old one knew is carried over as far as it can
//! still be read: which images are pinned. (The hashes of interpreters are found again.)

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::Path;

use super::super::failure::Doing;
use super::super::ids::{ImageId, ImageKey};
use super::super::images::Images;
use super::super::index::{self, Salvaged};
use super::super::layout::Layout;
use super::super::record::Image;
use super::super::verify::entries::Rules;
use super::super::verify::listing::{Listing, image_ids, read_manifest};
use super::super::{access, durable, fault};
use super::quarantine;
use crate::error::{Error, Result};

/// Images that are not listed and have one of these keys.
pub(super) fn unlisted(
    layout: &Layout,
    rules: &Rules,
    listing: &Listing,
    keys: &HashSet<ImageKey>,
) -> HashSet<ImageId> {
    if keys.is_empty() {
        return HashSet::new();
    }
    let listed: HashSet<_> = listing.images.iter().map(|image| image.id).collect();
    let others: HashSet<_> = image_ids(layout).filter(|id| !listed.contains(id)).collect();
    let others = Listing::of_manifests(layout, rules, Some(&others)).0.images;
    let wanted = others.into_iter().filter(|image| keys.contains(&image.record.key));
    wanted.map(|image| image.id).collect()
}

/// The images that the new index is to have: those that are listed, and some others, but not
/// the condemned ones; with their pins.
pub(super) fn kept(
    layout: &Layout,
    rules: &Rules,
    listing: &Listing,
    others: &HashSet<ImageId>,
    condemned: impl Fn(&ImageId) -> bool,
    salvaged: &Salvaged,
) -> Vec<Image> {
    let pinned: HashSet<_> =
        salvaged.images.iter().filter(|image| image.pinned).map(|image| image.key).collect();
    // An index that can be read, and only says something else than the manifests, still says
    // which images there are.
    let images = match listing.from_index {
        true => {
            let listed = listing.images.iter().map(|image| image.id);
            let only: HashSet<ImageId> = listed.chain(others.iter().copied()).collect();
            Listing::of_manifests(layout, rules, Some(&only)).0.images
        }
        false => listing.images.clone(),
    };
    let kept = images.into_iter().filter(|image| !condemned(&image.id));
    kept.map(|image| Image { pinned: pinned.contains(&image.record.key), ..image }).collect()
}

/// Makes a new index of these images and puts it into its place.
pub(super) fn rebuild(
    layout: &Layout,
    rules: &Rules,
    images: &[Image],
    reason: &str,
) -> Result<()> {
    let new = layout.temporary().join("index.sqlite");
    for old in [new.clone(), layout.temporary().join("index.sqlite-journal")] {
        if fs::symlink_metadata(&old).is_ok() {
            fs::remove_file(&old).doing("remove", &old)?;
        }
    }
    access::private_file(&new)?;
    index::create(&new, layout.root(), |connection| {
        let rows = Images { index: connection, root: layout.root() };
        for image in images {
            let manifest = read_manifest(layout, rules, &image.id).map_err(|problem| {
                let path = problem.path.display();
                Error::failed(format!("cannot use {path}: {}", problem.detail))
            })?;
            rows.insert(image, &manifest.packs, &manifest.extents)?;
        }
        Ok(())
    })?;
    durable::sync_file(&new)?;
    fault::point("repair-index-built");
    take_place(layout, &new, reason)
}

/// Puts the new index into the place of the old one.
fn take_place(layout: &Layout, new: &Path, reason: &str) -> Result<()> {
    let path = layout.index();
    let old = fs::symlink_metadata(&path).is_ok();
    if old {
        quarantine::keep_copy(layout, &path, reason)?;
    }
    // The journal of the old one must never be applied to the new one. Without it the old
    // one is no worse than it was: SQLite has just been asked to undo what can be undone.
    if fs::symlink_metadata(layout.journal()).is_ok() {
        quarantine::set_aside(layout, &layout.journal(), reason)?;
    }
    let file = old.then(|| File::options().write(true).open(&path)).transpose();
    let file = file.doing("open", &path)?;
    durable::overwrite(new, layout.root(), &path)?;
    fault::point("repair-index-put");
    // A build that began before us still has the old one open. What it would store there
    // would be lost without a word; in an empty file it finds no tables and says so.
    if let Some(file) = file {
        file.set_len(0).doing("write", &path)?;
    }
    Ok(())
}
