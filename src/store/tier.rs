//! The two tiers of packs: raw ones are mapped in place, cold ones are compressed.
//!
//! A pack is cold while its compressed file is there, whatever else is: that is the one
//! thing to look at, and it comes and goes with one rename and one unlink. An image is cold
//! if one of its packs is. Nothing of that is in the index or in a manifest.
//!
//! How packs change their tier: [`super::freeze`] and [`super::thaw`].

use std::collections::HashSet;
use std::fs;
use std::io;

use super::failure::Doing;
use super::ids::{ImageId, PackId};
use super::layout::{self, Layout};
use super::pack::{self, PackFile, PackInfo};
use super::seekable::Seekable;
use super::verify::packs::check_tables;
use super::{Files, Reader, Store, access, lock};
use crate::error::{Error, Result};

/// How the pages of an image lie on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// As they are in memory: mapped in place.
    #[default]
    Raw,
    /// Compressed: brought back by the first run that wants them.
    Zstd,
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Raw => "raw",
            Self::Zstd => "zstd",
        })
    }
}

/// The tiers of all packs of a store, as they were at one moment.
#[derive(Debug, Default)]
pub struct Tiers {
    raw: HashSet<PackId>,
    cold: HashSet<PackId>,
}

impl Tiers {
    /// The tier of a pack; `None` if there is no such file.
    pub fn of_pack(&self, id: &PackId) -> Option<Tier> {
        match (self.cold.contains(id), self.raw.contains(id)) {
            (true, _) => Some(Tier::Zstd),
            (false, true) => Some(Tier::Raw),
            (false, false) => None,
        }
    }

    /// The packs that are cold.
    pub(super) fn cold(&self) -> &HashSet<PackId> {
        &self.cold
    }
}

impl Files {
    /// The tier of an image that uses these packs.
    pub fn tier(&self, packs: &[PackInfo]) -> Tier {
        let is_cold = |pack: &PackInfo| self.layout.cold_pack(&pack.id).symlink_metadata().is_ok();
        if packs.iter().any(is_cold) { Tier::Zstd } else { Tier::Raw }
    }
}

impl Reader {
    /// The tiers of all packs, read from the directory at once.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn tiers(&self) -> Result<Tiers> {
        let (dir, mut tiers) = (self.layout.packs(), Tiers::default());
        for entry in fs::read_dir(&dir).doing("read", &dir)? {
            let name = entry.doing("read", &dir)?.file_name();
            let name = name.to_str().unwrap_or_default();
            match (layout::cold_pack_of(name), layout::pack_of(name)) {
                (Some(id), _) => tiers.cold.extend([id]),
                (None, id) => tiers.raw.extend(id),
            }
        }
        Ok(tiers)
    }

    /// Opens a pack for reading in whichever tier it is.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged as far as its header says.
    pub(super) fn open_pack(&self, id: &PackId) -> Result<PackFile> {
        match PackFile::open_cold(&self.layout.cold_pack(id)) {
            // Or it has just been brought back.
            Err(_) if !is_cold(&self.layout, id)? => PackFile::open(&self.layout.pack(id)),
            opened => opened,
        }
    }
}

impl Reader {
    /// Whether those of these packs that are cold could be brought back: reads all of them,
    /// and writes nothing.
    pub fn cold_packs_are_sound(&self, packs: &[PackInfo]) -> bool {
        packs.iter().all(|info| {
            let path = self.layout.cold_pack(&info.id);
            if path.symlink_metadata().is_err() {
                return true;
            }
            PackFile::open_cold(&path).is_ok_and(|pack| {
                pack.is(info)
                    && check_tables(&pack, &info.id).is_none()
                    && pack.cold().is_some_and(Seekable::is_sound)
            })
        })
    }
}

impl Store {
    /// Moves an image to a tier. To become cold is only for packs that no other image uses;
    /// where there is none, it stays raw.
    ///
    /// # Errors
    /// As [`Store::freeze`] and [`Files::thaw`].
    pub fn move_to(&self, image: &ImageId, tier: Tier) -> Result<()> {
        let packs = self.rows().packs_of(image)?;
        if tier == Tier::Raw {
            return self.thaw(&packs, lock::PATIENCE);
        }
        let mut own = Vec::new();
        for pack in packs {
            if self.rows().users(&pack.id)?.len() == 1 {
                own.push(pack.id);
            }
        }
        self.freeze(&own, &mut |_| {}).map(|_| ())
    }
}

/// Whether a pack is cold; an error if its compressed file may not be trusted.
pub(super) fn is_cold(layout: &Layout, id: &PackId) -> Result<bool> {
    let path = layout.cold_pack(id);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => access::trusted(&path, &found.doing("read", &path)?).map(|()| true),
    }
}

/// That the raw file of a pack is as it was put there.
pub(super) fn check_raw(layout: &Layout, info: &PackInfo) -> Result<()> {
    let path = layout.pack(&info.id);
    let found = access::trusted_file(&path)?;
    if found.len() != info.bytes || pack::modified_ns(&found) != info.modified_ns {
        return Err(Error::failed(format!("the pack {} was changed", path.display())));
    }
    Ok(())
}
