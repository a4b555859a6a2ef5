//! The automatic gc: a build that leaves the store above its limit makes room.
//!
//! It removes what `pyimg gc` would remove, but never the image just built, and compresses
//! nothing, which would take too long. It goes a little below the limit, so that the next
//! builds need not do it again; and when it finds that nothing can be done, it does not
//! look again until the store has grown, or a day has passed.

use super::{described, stale};
use crate::commands::view::now_ns;
use crate::config::Config;
use crate::error::Result;
use crate::store::ImageKey;
use crate::store::Store;
use crate::store::gc::{Limits, NextGc};
use crate::ui::{Printer, human};

const DAY_NS: i64 = 24 * 3600 * 1_000_000_000;

/// Makes room for what was built. It is no reason for a build to fail that this does.
pub(in crate::commands) fn after_build(store: &Store, built: &ImageKey, printer: &Printer) {
    store.tidy_records(None);
    store.forget_replays();
    if let Err(error) = make_room(store, built, printer) {
        printer.warning(&format!("no room was made in the store: {error}"));
    }
}

fn make_room(store: &Store, built: &ImageKey, printer: &Printer) -> Result<()> {
    let config = Config::read()?;
    let Some(most) = config.max_size.filter(|_| config.auto_gc) else { return Ok(()) };
    let indexed = store.indexed_bytes()?;
    let now_ns = now_ns();
    let is_due = |next: NextGc| now_ns >= next.after_ns || indexed > next.above_bytes;
    if indexed <= most || !store.next_gc(most)?.is_none_or(is_due) {
        return Ok(());
    }
    let survey = store.survey()?;
    let (mut takes, mut problem) = (survey.bytes(), None);
    if takes > most {
        let limits = Limits {
            now_ns,
            max_bytes: Some(most - most / 10),
            unused_for: config.unused_for,
            cold_after: None,
        };
        let stale = stale::find(store, &survey, &limits);
        let plan = store.plan(&survey, &stale, &limits, Some(built));
        let cleaned = store.clean(&plan, &mut |_, _| {});
        takes = takes.saturating_sub(cleaned.bytes);
        if !cleaned.removed.is_empty() || cleaned.bytes > 0 {
            printer.note(&format!(
                "the store was above its limit of {}: removed {} ({} freed)",
                human::size(most),
                described(&plan, &cleaned.removed),
                human::size(cleaned.bytes)
            ));
        }
        let left = cleaned.repacked.len() < plan.repacks.len();
        problem = cleaned.problem;
        if problem.is_none() && (cleaned.postponed || left) {
            // A program is just starting, so the next build finds what this one had to leave.
            return Ok(());
        }
        if problem.is_none() && takes > most {
            printer.warning(&format!(
                "the store takes {}, more than its limit of {}; what is left is pinned or was built just now",
                human::size(takes),
                human::size(most)
            ));
        }
    }
    let room = if takes <= most { most - takes } else { most / 10 };
    let above_bytes = store.indexed_bytes()?.saturating_add(room);
    store.set_next_gc(most, &NextGc { after_ns: now_ns.saturating_add(DAY_NS), above_bytes })?;
    problem.map_or(Ok(()), Err)
}
