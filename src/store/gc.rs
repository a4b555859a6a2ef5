//! Cleaning up: a plan, which is a value, and its execution.
//!
//! [`Store::survey`] looks at what there is, [`Store::plan`] decides, and
//! [`Store::clean`] does it, step by step: images and what nobody refers to, as `rm` does;
//! then mostly dead packs; then packs that become cold. A plan may be shown and thrown away,
//! and what it says is checked again when it is done: an image that was used, pinned or
//! built again since stays. It can be killed at any point, since each step leaves a store
//! that is whole.

mod plan;
mod survey;

pub use plan::{Freeze, Limits, Plan, Reason, Removal, Repack, used_ns};
pub use survey::{ImageUse, Leftover, PackUse, Survey};

use super::ids::ImageKey;
use super::repack::InUse;
use super::{Reader, Store, fault, index, lock};
use crate::error::{Error, Result};

/// So many images are taken out at once: few enough that builds are not kept waiting, and
/// that the journal stays small (see [`index::shrink`]).
const AT_ONCE: usize = 100;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Images and leftovers are being removed.
    Removing,
    /// Packs are being written anew.
    Repacking,
    /// Packs are becoming cold.
    Freezing,
}

/// When the next automatic gc is due, so that builds do not look in vain: after that time,
/// or once the store has grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextGc {
    /// In nanoseconds since 1970.
    pub after_ns: i64,
    /// Once [`Reader::indexed_bytes`] are more than this.
    pub above_bytes: u64,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// The images that were removed, by their place in the plan.
    pub removed: Vec<usize>,
    /// The packs that were written anew, likewise.
    pub repacked: Vec<usize>,
    /// The packs that became cold, likewise.
    pub frozen: Vec<usize>,
    /// Bytes of disk space that were freed.
    pub bytes: u64,
    /// Whether files were left to the next removal, because a run that is just beginning
    /// may need them.
    pub postponed: bool,
    /// What ended it before its time.
    pub problem: Option<Error>,
}

impl Reader {
    /// Looks at all that there is and what it takes on disk.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn survey(&self) -> Result<Survey> {
        Survey::of(self)
    }

    /// Plans what cleaning up does. `stale` says of each image of the survey why no run can
    /// use it, if so; `spared` is an image that stays, whatever it takes.
    pub fn plan(
        &self,
        survey: &Survey,
        stale: &[Option<String>],
        limits: &Limits,
        spared: Option<&ImageKey>,
    ) -> Plan {
        let mut in_use = InUse::new(self);
        Plan::new(survey, stale, limits, spared, |pack, images| {
            in_use.of(pack, images).map(|slots| slots.len())
        })
    }

    /// What the store takes up as far as the index knows, in bytes: quick, and about as much
    /// as a survey says before anything was compressed.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn indexed_bytes(&self) -> Result<u64> {
        self.rows().bytes()
    }

    /// When the next automatic gc is due, if the last one had to keep this limit.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn next_gc(&self, max_bytes: u64) -> Result<Option<NextGc>> {
        self.rows().next_gc(max_bytes)
    }
}

impl Store {
    /// Remembers when the next automatic gc is due, for this limit.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn set_next_gc(&self, max_bytes: u64, next: &NextGc) -> Result<()> {
        let _beside_repairs = lock::add(&self.layout)?;
        index::shrink(&self.index, self.dir(), |_| self.rows().set_next_gc(max_bytes, next))
    }

    /// Carries out a plan. `progress` hears of each step how many bytes more it has dealt
    /// with, as the plan counts them.
    pub fn clean(&self, plan: &Plan, progress: &mut dyn FnMut(Step, u64)) -> Cleaned {
        let mut cleaned = Cleaned::default();
        cleaned.problem = self.clean_into(plan, progress, &mut cleaned).err();
        cleaned
    }

    fn clean_into(
        &self,
        plan: &Plan,
        progress: &mut dyn FnMut(Step, u64),
        cleaned: &mut Cleaned,
    ) -> Result<()> {
        let all: Vec<(usize, &Removal)> = plan.removals.iter().enumerate().collect();
        progress(Step::Removing, 0);
        for part in all.chunks(AT_ONCE) {
            self.remove_planned(part, cleaned)?;
            progress(Step::Removing, part.iter().map(|(_, removal)| removal.bytes).sum());
        }
        let left = !plan.leftovers.is_empty() || lock::has_old_runs(&self.layout);
        if plan.removals.is_empty() && left {
            self.remove_planned(&[], cleaned)?;
        }
        progress(Step::Removing, plan.leftovers.iter().map(|left| left.bytes).sum());
        // One pack that is damaged is no reason to leave the others as they are.
        let mut first_problem = Ok(());
        for (at, repack) in plan.repacks.iter().enumerate() {
            progress(Step::Repacking, 0);
            match self.repack(&repack.pack) {
                Ok(Some(bytes)) => {
                    cleaned.repacked.push(at);
                    cleaned.bytes += bytes;
                }
                Ok(None) => {}
                Err(problem) => first_problem = first_problem.and(Err(problem)),
            }
            progress(Step::Repacking, repack.bytes());
        }
        for (at, freeze) in plan.freezes.iter().enumerate() {
            progress(Step::Freezing, 0);
            let mut report = |bytes| progress(Step::Freezing, bytes);
            match self.freeze(&[freeze.pack], &mut report) {
                Ok(frozen) if frozen.packs > 0 => {
                    cleaned.frozen.push(at);
                    cleaned.bytes += frozen.bytes_before.saturating_sub(frozen.bytes_after);
                }
                Ok(_) => {}
                Err(problem) => first_problem = first_problem.and(Err(problem)),
            }
        }
        first_problem
    }

    /// Removes those of these images that are still as they were, and what nobody refers to.
    fn remove_planned(&self, part: &[(usize, &Removal)], cleaned: &mut Cleaned) -> Result<()> {
        let lock = lock::alter(&self.layout, lock::PATIENCE)?;
        let removed = index::shrink(&self.index, self.dir(), |_| {
            let mut removed = Vec::new();
            for (at, removal) in part {
                if self.is_as_planned(removal)? && self.rows().delete(&removal.image.record.key)? {
                    removed.push(*at);
                }
            }
            self.rows().delete_unused_packs()?;
            Ok(removed)
        })?;
        fault::point("gc-index-changed");
        cleaned.removed.extend(removed);
        let freed = self.sweep_under(lock)?;
        fault::point("gc-swept");
        cleaned.bytes += freed.bytes;
        cleaned.postponed |= freed.postponed;
        Ok(())
    }

    /// Whether an image is the one of the plan, still not pinned, and, if that is why it
    /// goes, not used since.
    fn is_as_planned(&self, removal: &Removal) -> Result<bool> {
        let Some(now) = self.by_key(&removal.image.record.key)? else { return Ok(false) };
        let is_stale = matches!(removal.reason, Reason::Stale(_));
        Ok(now.id == removal.image.id
            && !now.pinned
            && (is_stale || now.last_used_ns == removal.image.last_used_ns))
    }
}
