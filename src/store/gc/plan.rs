//! What cleaning up is going to do: decided from a [`Survey`], and nothing is touched.
//!
//! First go the images that no run can use, then those that no run has used for long, then,
//! until the rest fits, those that were used the longest time ago. Pinned images stay.
//! Then, of the packs that are left, those that are mostly dead are written anew, and those
//! that only idle images use become cold.
//!
//! Whether an image can be used is the caller's to say: the store knows nothing of Python.

use std::time::Duration;

use super::survey::{Leftover, Survey};
use crate::store::ids::{ImageId, ImageKey, PackId};
use crate::store::{Image, PAGE};

/// What a pack is reckoned to shrink to when it becomes cold: a third, which is rather
/// careful (3.9 times smaller was measured).
const COLD: u64 = 3;

/// With fewer pages to gain, writing a pack anew is not worth the syncs.
const WORTH_REPACKING: u64 = 16;

/// What cleaning up goes by; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The present time, in nanoseconds since 1970.
    pub now_ns: i64,
    /// Bytes of disk space that the store may take.
    pub max_bytes: Option<u64>,
    /// How long an image may be unused before it is removed.
    pub unused_for: Option<Duration>,
    /// How long an image may be unused before it becomes cold.
    pub cold_after: Option<Duration>,
}

impl Limits {
    /// For how long an image has not been used; a new one counts as used.
    pub fn idle(&self, image: &Image) -> Duration {
        let idle = self.now_ns.saturating_sub(used_ns(image));
        Duration::from_nanos(u64::try_from(idle).unwrap_or(0))
    }
}

/// When an image was last of use, in nanoseconds since 1970.
pub fn used_ns(image: &Image) -> i64 {
    image.last_used_ns.unwrap_or(image.created_ns)
}

/// Why an image is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No run can use it, because of this.
    Stale(String),
    /// No run has used it for so long.
    Unused(Duration),
    /// The store takes too much, and of what was left this was used the longest time ago.
    OverLimit(Duration),
}

/// An image to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The image.
    pub image: Image,
    /// Why.
    pub reason: Reason,
    /// Bytes of disk space that this frees, with the packs that it was the last to use.
    pub bytes: u64,
}

/// A pack to be written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repack {
    /// The pack.
    pub pack: PackId,
    /// How many of its pages images use.
    pub used: u64,
    /// How many of them take disk space.
    pub stored: u64,
}

impl Repack {
    /// Bytes of disk space that this frees.
    pub fn bytes(&self) -> u64 {
        (self.stored - self.used) * PAGE as u64
    }
}

/// A pack to become cold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// The pack.
    pub pack: PackId,
    /// The size of its file in bytes.
    pub size: u64,
    /// The images that use it, by their place among [`Plan::colder`].
    pub images: Vec<usize>,
}

/// What is going to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The images to remove, in this order.
    pub removals: Vec<Removal>,
    /// What nobody refers to.
    pub leftovers: Vec<Leftover>,
    /// The packs to write anew.
    pub repacks: Vec<Repack>,
    /// The packs that become cold.
    pub freezes: Vec<Freeze>,
    /// The images that become cold by that.
    pub colder: Vec<Image>,
    /// Bytes of disk space that everything takes now.
    pub bytes_before: u64,
    /// And about what it will take.
    pub bytes_after: u64,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.removals.is_empty()
            && self.leftovers.is_empty()
            && self.repacks.is_empty()
            && self.freezes.is_empty()
    }

    /// Bytes that have to be dealt with, for a progress bar.
    pub fn work(&self) -> u64 {
        self.removals.iter().map(|removal| removal.bytes).sum::<u64>()
            + self.leftovers.iter().map(|left| left.bytes).sum::<u64>()
            + self.repacks.iter().map(Repack::bytes).sum::<u64>()
            + self.freezes.iter().map(|freeze| freeze.size).sum::<u64>()
    }

    /// Makes a plan. `stale` says of each image of the survey why no run can use it;
    /// `spared` is an image that stays whatever it takes; `used` counts the distinct pages
    /// of a pack that some images use, if that can be told, and takes long.
    pub fn new(
        survey: &Survey,
        stale: &[Option<String>],
        limits: &Limits,
        spared: Option<&ImageKey>,
        mut used: impl FnMut(&PackId, &[ImageId]) -> Option<u64>,
    ) -> Self {
        let mut rest = Rest::new(survey, limits, spared);
        let mut plan = Self {
            leftovers: survey.leftovers.clone(),
            bytes_before: survey.bytes(),
            ..Self::default()
        };
        // The longest unused first; of those, the order in which they were made.
        let mut candidates: Vec<usize> = (0..survey.images.len())
            .filter(|at| {
                let image = &survey.images[*at].image;
                !image.pinned && Some(&image.record.key) != spared
            })
            .collect();
        candidates.sort_by_key(|at| used_ns(&survey.images[*at].image));
        candidates.retain(|at| {
            let image = &survey.images[*at].image;
            let idle = limits.idle(image);
            let reason = match stale.get(*at).cloned().flatten() {
                Some(why) => Reason::Stale(why),
                None if limits.unused_for.is_some_and(|most| idle >= most) => Reason::Unused(idle),
                None => return true,
            };
            plan.removals.push(Removal { image: image.clone(), reason, bytes: rest.remove(*at) });
            false
        });
        for at in candidates {
            if limits.max_bytes.is_none_or(|most| rest.bytes_to_be() <= most) {
                break;
            }
            let image = survey.images[at].image.clone();
            let reason = Reason::OverLimit(limits.idle(&image));
            plan.removals.push(Removal { image, reason, bytes: rest.remove(at) });
        }
        for at in 0..survey.packs.len() {
            if let Some(repack) = rest.repack(at, &mut used) {
                rest.gains[at] = repack.bytes();
                plan.repacks.push(repack);
            }
        }
        (plan.freezes, plan.colder) = rest.freeze();
        plan.bytes_after = rest.bytes_after();
        plan
    }
}

/// What is left of the store while images are taken out of the survey.
struct Rest<'s> {
    survey: &'s Survey,
    /// Whether each image keeps its packs from becoming cold.
    warm: Vec<bool>,
    packs: Vec<Users>,
    /// Disk space of the images' own files.
    files: u64,
    /// The sum of what the packs will take.
    sizes: u64,
    /// What writing each pack anew frees.
    gains: Vec<u64>,
}

/// The images that still use a pack.
#[derive(Debug, Clone, Default)]
struct Users {
    images: Vec<usize>,
    warm: usize,
    /// Of how many of them it is not known how many pages they use.
    unknown: usize,
    /// The sum of the pages that the others use: at least as many as are in use.
    pages: u64,
}

impl Users {
    fn count(&mut self, pages: Option<u64>, warm: bool, step: impl Fn(&mut usize)) {
        match pages {
            Some(_) => {}
            None => step(&mut self.unknown),
        }
        if warm {
            step(&mut self.warm);
        }
    }
}

/// Whether a pack is worth writing anew.
fn mostly_dead(used: u64, stored: u64) -> bool {
    used * 2 < stored && stored - used >= WORTH_REPACKING
}

impl<'s> Rest<'s> {
    fn new(survey: &'s Survey, limits: &Limits, spared: Option<&ImageKey>) -> Self {
        let warm = |image: &Image| {
            image.pinned
                || Some(&image.record.key) == spared
                || limits.cold_after.is_none_or(|most| limits.idle(image) < most)
        };
        let warm: Vec<bool> = survey.images.iter().map(|used| warm(&used.image)).collect();
        let mut packs = vec![Users::default(); survey.packs.len()];
        for (at, image) in survey.images.iter().enumerate() {
            for (pack, pages) in &image.packs {
                let users = &mut packs[*pack];
                users.images.push(at);
                users.pages += pages.unwrap_or(0);
                users.count(*pages, warm[at], |count| *count += 1);
            }
        }
        let files = survey.images.iter().map(|image| image.bytes).sum();
        let gains = vec![0; packs.len()];
        let mut rest = Self { survey, warm, packs, files, sizes: 0, gains };
        rest.sizes = (0..rest.packs.len()).map(|pack| rest.size(pack)).sum();
        rest
    }

    /// What it will take about, once packs are written anew and cold.
    fn bytes_to_be(&self) -> u64 {
        self.files + self.sizes
    }

    /// What a pack will take about, as far as can be told without reading manifests.
    fn size(&self, at: usize) -> u64 {
        let (pack, users) = (&self.survey.packs[at], &self.packs[at]);
        if users.images.is_empty() || pack.cold {
            return if users.images.is_empty() { 0 } else { pack.bytes };
        }
        let dead = match users.unknown == 0 && mostly_dead(users.pages, pack.stored()) {
            true => (pack.stored() - users.pages) * PAGE as u64,
            false => 0,
        };
        self.when_cold(at, pack.bytes - dead)
    }

    fn when_cold(&self, at: usize, bytes: u64) -> u64 {
        if self.gets_cold(at) { bytes / COLD } else { bytes }
    }

    fn gets_cold(&self, at: usize) -> bool {
        let users = &self.packs[at];
        !self.survey.packs[at].cold && !users.images.is_empty() && users.warm == 0
    }

    /// Takes an image out; tells the disk space that this frees.
    fn remove(&mut self, at: usize) -> u64 {
        let image = &self.survey.images[at];
        let mut freed = image.bytes;
        self.files -= image.bytes;
        for (pack, pages) in &image.packs {
            self.sizes -= self.size(*pack);
            let users = &mut self.packs[*pack];
            users.images.retain(|user| *user != at);
            users.pages -= pages.unwrap_or(0);
            users.count(*pages, self.warm[at], |count| *count -= 1);
            if users.images.is_empty() {
                freed += self.survey.packs[*pack].bytes;
            }
            self.sizes += self.size(*pack);
        }
        freed
    }

    /// Whether to write a pack anew. The manifests are only asked where the index cannot
    /// tell.
    fn repack(
        &self,
        at: usize,
        used: &mut impl FnMut(&PackId, &[ImageId]) -> Option<u64>,
    ) -> Option<Repack> {
        let (pack, users) = (&self.survey.packs[at], &self.packs[at]);
        if users.images.is_empty() || pack.cold {
            return None;
        }
        let pages_of = |image: &usize| {
            let packs = &self.survey.images[*image].packs;
            packs.iter().find(|(number, _)| *number == at).and_then(|(_, pages)| *pages)
        };
        let most = users.images.iter().filter_map(pages_of).max().unwrap_or(0);
        if !mostly_dead(most, pack.stored()) {
            return None;
        }
        let images: Vec<ImageId> =
            users.images.iter().map(|image| self.survey.images[*image].image.id).collect();
        let used = match users.images[..] {
            [image] if pages_of(&image).is_some() => most,
            _ => used(&pack.id, &images)?,
        };
        mostly_dead(used, pack.stored()).then_some(Repack {
            pack: pack.id,
            used,
            stored: pack.stored(),
        })
    }

    /// The packs that become cold, and the images that do so by that.
    fn freeze(&self) -> (Vec<Freeze>, Vec<Image>) {
        let packs: Vec<usize> = (0..self.packs.len()).filter(|at| self.gets_cold(*at)).collect();
        let mut images: Vec<usize> =
            packs.iter().flat_map(|at| self.packs[*at].images.iter().copied()).collect();
        images.sort_unstable();
        images.dedup();
        let freeze = |at: usize| {
            let pack = &self.survey.packs[at];
            let number = |image: &usize| images.binary_search(image).unwrap_or_default();
            let images = self.packs[at].images.iter().map(number).collect();
            Freeze { pack: pack.id, size: pack.size, images }
        };
        (
            packs.into_iter().map(freeze).collect(),
            images.iter().map(|at| self.survey.images[*at].image.clone()).collect(),
        )
    }

    fn bytes_after(&self) -> u64 {
        let used = (0..self.packs.len()).filter(|at| !self.packs[*at].images.is_empty());
        let size = |at: usize| self.when_cold(at, self.survey.packs[at].bytes - self.gains[at]);
        self.files + used.map(size).sum::<u64>()
    }
}

#[cfg(test)]
mod tests;
