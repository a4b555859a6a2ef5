//! What there is in a store, and what it takes on disk: all that a plan is made from.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::parallel;
use crate::store::failure::Doing;
use crate::store::ids::{ImageId, PackId};
use crate::store::layout::Layout;
use crate::store::remove::{Orphans, disk_bytes};
use crate::store::{Image, PAGE, PackInfo, Reader, Tier, lock};

/// How long others are waited for to see what is left over. While they work it cannot be
/// told from what they are making.
const PATIENCE: Duration = Duration::from_secs(1);

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUse {
    /// The image.
    pub image: Image,
    /// Disk space of its own files, in bytes.
    pub bytes: u64,
    /// The packs that it uses, by their number in the survey, each with how many of its
    /// pages it uses; none if that is not known.
    pub packs: Vec<(usize, Option<u64>)>,
}

/// A pack that images use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackUse {
    /// Its name.
    pub id: PackId,
    /// How many pages it has, holes included.
    pub pages: u64,
    /// The size of its file, holes included, in bytes.
    pub size: u64,
    /// Disk space, in bytes.
    pub bytes: u64,
    /// Whether it is compressed.
    pub cold: bool,
}

impl PackUse {
    /// How many of its pages take disk space.
    pub fn stored(&self) -> u64 {
        let others = self.size.saturating_sub(self.pages * PAGE as u64);
        self.pages.min(self.bytes.saturating_sub(others) / PAGE as u64)
    }
}

/// A file or directory that nobody refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leftover {
    /// Its path in the store's directory.
    pub path: String,
    /// Disk space, in bytes.
    pub bytes: u64,
}

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The images, the oldest first.
    pub images: Vec<ImageUse>,
    /// The packs that they use.
    pub packs: Vec<PackUse>,
    /// What is left of processes that were killed; empty while others change the store.
    pub leftovers: Vec<Leftover>,
}

impl Survey {
    /// What all of it takes, in bytes.
    pub fn bytes(&self) -> u64 {
        self.images.iter().map(|image| image.bytes).sum::<u64>()
            + self.packs.iter().map(|pack| pack.bytes).sum::<u64>()
            + self.leftovers.iter().map(|left| left.bytes).sum::<u64>()
    }

    /// Looks at a store.
    ///
    /// # Errors
    /// When the index cannot be read. Files that are not there count as nothing.
    pub fn of(store: &Reader) -> Result<Self> {
        let (layout, images, tiers) = (&store.layout, store.images()?, store.tiers()?);
        let packs = parallel::by_parts(&store.rows().packs()?, |part| {
            let look = |info: &PackInfo| PackUse {
                id: info.id,
                pages: info.pages,
                size: info.bytes,
                bytes: pack_bytes(layout, &info.id),
                cold: tiers.of_pack(&info.id) == Some(Tier::Zstd),
            };
            part.iter().map(look).collect()
        });
        let sizes = parallel::by_parts(&images, |part| {
            part.iter().map(|image| disk_bytes(&layout.image(&image.id)).unwrap_or(0)).collect()
        });
        let number: HashMap<PackId, usize> =
            packs.iter().enumerate().map(|(at, pack)| (pack.id, at)).collect();
        let mut uses: HashMap<ImageId, Vec<(usize, Option<u64>)>> = HashMap::new();
        for (image, pack, pages) in store.rows().uses_of_packs()? {
            // A pack that came after the first look has images that did too.
            uses.entry(image).or_default().extend(number.get(&pack).map(|at| (*at, pages)));
        }
        let images = images
            .into_iter()
            .zip(sizes)
            .map(|(image, bytes)| {
                let packs = uses.remove(&image.id).unwrap_or_default();
                ImageUse { image, bytes, packs }
            })
            .collect();
        Ok(Self { images, packs, leftovers: leftovers(store).unwrap_or_default() })
    }
}

/// The disk space that a pack takes; after a tier change that was cut off it is in both.
fn pack_bytes(layout: &Layout, id: &PackId) -> u64 {
    let files = [layout.pack(id), layout.cold_pack(id)];
    files.iter().map(|path| disk_bytes(path).unwrap_or(0)).sum()
}

/// What is unlisted in `images` and `packs`, and all that is in `tmp`. Nobody makes
/// anything there while we hold the lock; without it (others are busy, or the store can
/// only be read) nothing is said to be left over.
fn leftovers(store: &Reader) -> Result<Vec<Leftover>> {
    let layout = &store.layout;
    let _alone = lock::alter(layout, PATIENCE)?;
    let orphans = Orphans::of(store)?;
    let mut paths: Vec<_> = orphans.images.iter().map(|id| layout.image(id)).collect();
    let files = orphans.packs.iter().flat_map(|id| [layout.pack(id), layout.cold_pack(id)]);
    paths.extend(files.filter(|path| path.symlink_metadata().is_ok()));
    let temporary = layout.temporary();
    for entry in fs::read_dir(&temporary).doing("read", &temporary)? {
        let entry = entry.doing("read", &temporary)?;
        if !lock::is_old_runs(&entry.file_name().to_string_lossy()) {
            paths.push(entry.path());
        }
    }
    let leftover = |path: &Path| Leftover {
        path: path.strip_prefix(layout.root()).unwrap_or(path).display().to_string(),
        bytes: disk_bytes(path).unwrap_or(0),
    };
    let mut leftovers: Vec<_> = paths.iter().map(|path| leftover(path)).collect();
    leftovers.sort();
    Ok(leftovers)
}
