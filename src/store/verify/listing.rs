//! What a store should hold: as its index says, or, if there is no index to believe, as the
//! manifests of its images say.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde::de::IgnoredAny;

use super::super::ids::{ImageId, PackId};
use super::super::images::Images;
use super::super::layout::Layout;
use super::super::manifest::{self, Manifest};
use super::super::pack::PackInfo;
use super::super::record::Image;
use super::super::slots::Slots;
use super::super::tier::Tier;
use super::entries::{Found, Rules, Type, unreadable};
use super::finding::{FindingKind, Problem, Remedy};
use crate::error::Result;

/// What a run reads of a manifest, without the builder's part.
pub(in super::super) type Plain = Manifest<IgnoredAny>;

/// The pages of each pack that an image uses; not known for images of format 1.
pub(in super::super) type Links = BTreeMap<PackId, Option<u64>>;

/// What there should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Listing {
    pub images: Vec<Image>,
    pub packs: BTreeMap<PackId, PackInfo>,
    /// Which packs each image uses.
    pub links: HashMap<ImageId, Links>,
    /// Whether the index says so.
    pub from_index: bool,
}

impl Listing {
    /// As the index says.
    pub fn of_index(index: &Connection, root: &Path) -> Result<Self> {
        let rows = Images { index, root };
        let mut links: HashMap<ImageId, Links> = HashMap::new();
        for (image, pack, pages) in rows.uses_of_packs()? {
            links.entry(image).or_default().insert(pack, pages);
        }
        let packs = rows.packs()?.into_iter().map(|pack| (pack.id, pack)).collect();
        Ok(Self { images: rows.all()?, packs, links, from_index: true })
    }

    /// As the manifests say, or some of them; those that cannot be relied upon come back as
    /// problems. Of two images of one key or one name the newer is listed: the older is what
    /// a build has replaced and nobody has swept yet.
    pub fn of_manifests(
        layout: &Layout,
        rules: &Rules,
        only: Option<&HashSet<ImageId>>,
    ) -> (Self, Vec<(ImageId, Problem)>) {
        let (mut all, mut problems) = (Vec::new(), Vec::new());
        for id in image_ids(layout).filter(|id| only.is_none_or(|only| only.contains(id))) {
            match read_manifest(layout, rules, &id) {
                // Pages are listed with the pack; extents are read again when they are needed.
                Ok(manifest) => all.push((image_of(id, &manifest), manifest.packs)),
                Err(problem) => problems.push((id, problem)),
            }
        }
        all.sort_by_key(|(image, _)| (std::cmp::Reverse(image.created_ns), image.id));
        let (mut listing, mut keys, mut names) = (Self::default(), HashSet::new(), HashSet::new());
        for (image, packs) in all {
            if keys.contains(&image.record.key) || names.contains(&image.record.name) {
                continue;
            }
            keys.insert(image.record.key);
            names.insert(image.record.name.clone());
            let links = packs.iter().map(|pack| (pack.id, None)).collect();
            listing.links.insert(image.id, links);
            // The newest one's word about a pack counts.
            packs.into_iter().for_each(|pack| {
                listing.packs.entry(pack.id).or_insert(pack);
            });
            listing.images.push(image);
        }
        listing.images.reverse();
        (listing, problems)
    }

    /// What the index says about an image that its manifest does not say.
    pub fn disagreement(&self, image: &Image, manifest: &Plain) -> Option<String> {
        let said = image_of(image.id, manifest);
        let mut different = Vec::new();
        let mut compare = |what, same: bool| different.extend((!same).then_some(what));
        let (row, own) = (&image.record, &said.record);
        compare("key", row.key == own.key);
        compare("name", row.name == own.name);
        compare("record", {
            let own = own.clone();
            *row == super::super::ImageRecord { key: row.key, name: row.name.clone(), ..own }
        });
        compare("time", image.created_ns == said.created_ns);
        let sizes = |image: &Image| (image.page_bytes, image.new_bytes, image.file_bytes);
        compare("sizes", sizes(image) == sizes(&said));
        let none = Links::new();
        let links = self.links.get(&image.id).unwrap_or(&none);
        let mut own = Links::new();
        for (number, pack) in manifest.packs.iter().enumerate() {
            let pages = Slots::of(&manifest.extents, number).len();
            own.insert(pack.id, links.get(&pack.id).copied().flatten().map(|_| pages));
            compare("packs", self.packs.get(&pack.id) == Some(pack));
        }
        compare("packs", own == *links);
        different.dedup();
        (!different.is_empty())
            .then(|| format!("the index has another {} of it", different.join(", ")))
    }
}

/// The image that a manifest is about; how it is used it does not say.
pub(in super::super) fn image_of(id: ImageId, manifest: &Plain) -> Image {
    Image {
        id,
        created_ns: manifest.created_ns,
        page_bytes: manifest.page_bytes(),
        new_bytes: manifest.new_pages.saturating_mul(super::super::PAGE as u64),
        file_bytes: manifest.file_bytes(),
        pinned: false,
        tier: Tier::Raw,
        hits: 0,
        last_used_ns: None,
        record: manifest.record.clone(),
    }
}

/// The manifest of an image, if it can be relied upon.
pub(in super::super) fn read_manifest(
    layout: &Layout,
    rules: &Rules,
    id: &ImageId,
) -> Result<Plain, Problem> {
    let (dir, path, aside) = (layout.image(id), layout.manifest(id), Remedy::SetAside);
    match rules.look(&dir, Type::Directory) {
        Found::Missing => {
            let detail = "the image has no directory";
            return Err(Problem::new(FindingKind::ImageMissing, dir, Remedy::Drop, detail));
        }
        Found::Bad(problem) => return Err(problem),
        Found::Good(..) => {}
    }
    let Some((file, found, _)) = rules.open(&path)? else {
        let detail = "the image has no manifest";
        return Err(Problem::new(FindingKind::ManifestMissing, path, aside, detail));
    };
    let bytes = manifest::read(file, found.len()).map_err(|error| unreadable(&path, &error))?;
    manifest::parse(&bytes, id)
        .map_err(|reason| Problem::new(FindingKind::ManifestDamaged, path, aside, reason))
}

/// The images whose directories are there.
pub(in super::super) fn image_ids(layout: &Layout) -> impl Iterator<Item = ImageId> {
    fs::read_dir(layout.images())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether there is anything that an index would list.
pub(in super::super) fn has_images(layout: &Layout) -> bool {
    image_ids(layout).next().is_some()
}
