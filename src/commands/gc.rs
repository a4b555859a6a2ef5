//! `pyimg gc`: removes images that are of no use, and makes the store small.
//!
//! What is to be done is decided by [`crate::store::gc`] and shown here; that an image is
//! stale is found out in [`stale`], because the store knows nothing of Python.

mod auto;
mod stale;

use std::collections::BTreeSet;

use serde::Serialize;

pub(super) use auto::after_build;

use super::view::{now_ns, timestamp};
use super::{FIRST_IMAGE, existing_store};
use crate::cli;
use crate::config::Config;
use crate::error::Result;
use crate::store::gc::{Cleaned, Limits, Plan, Reason, Removal, Step, used_ns};
use crate::ui::tables::{Align, with_head};
use crate::ui::{Printer, human};

/// `pyimg gc --json`
#[derive(Debug, Serialize)]
struct Answer {
    /// Whether this is only what would be done.
    dry_run: bool,
    /// What was gone by.
    limits: LimitsView,
    /// The images that were removed.
    removed: Vec<Removed>,
    /// Files and directories that nobody referred to.
    leftovers: Vec<Leftover>,
    /// The packs that were written anew without the pages that no image uses.
    repacked: Vec<Repacked>,
    /// Names of the images that became cold.
    compressed: Vec<String>,
    /// Disk space that the store took before, in bytes.
    bytes_before: u64,
    /// Disk space that was freed, in bytes; of a dry run, about what would be.
    freed_bytes: u64,
    /// Whether files were left to the next removal, because a program is just starting.
    postponed: bool,
}

#[derive(Debug, Serialize)]
struct LimitsView {
    /// In bytes; null if there is no limit.
    max_size_bytes: Option<u64>,
    /// In seconds, likewise.
    unused_for_s: Option<u64>,
    /// In seconds, likewise.
    cold_after_s: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Removed {
    /// What it was called.
    name: String,
    /// Its key, 64 hex digits.
    key: String,
    /// `stale`, `unused` or `over-limit`.
    reason: &'static str,
    /// The same for a person.
    detail: String,
    /// When it was last used, or else built; RFC 3339, UTC.
    last_used: String,
    /// Disk space that this frees, in bytes, with the packs that it was the last to use.
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Leftover {
    /// Path in the store's directory.
    path: String,
    /// Disk space, in bytes.
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Repacked {
    /// The pack, 64 hex digits.
    pack: String,
    /// Pages that images use.
    used_pages: u64,
    /// Pages that took disk space.
    stored_pages: u64,
    /// Disk space that this frees, in bytes.
    bytes: u64,
}

pub(super) fn run(args: &cli::Gc, printer: &Printer) -> Result<()> {
    let config = Config::read()?;
    let limits = Limits {
        now_ns: now_ns(),
        max_bytes: args.max_size.map_or(config.max_size, |limit| limit.0),
        unused_for: args.unused_for.map_or(config.unused_for, |limit| limit.0),
        cold_after: args.cold_after.map_or(config.cold_after, |limit| limit.0),
    };
    let Some(store) = existing_store()? else {
        if args.json {
            return printer.json(&answer(args, &limits, &Plan::default(), &Cleaned::default()));
        }
        printer.note("there is no store yet");
        printer.hint(FIRST_IMAGE);
        return Ok(());
    };
    let survey = store.survey()?;
    let stale = stale::find(&store, &survey, &limits);
    let plan = store.plan(&survey, &stale, &limits, None);
    if args.dry_run {
        if args.json {
            return printer.json(&answer(args, &limits, &plan, &foreseen(&plan)));
        }
        if !plan.is_empty() {
            printer.data(&table(&plan))?;
        }
        printer.note(&format!(
            "would free {} of {}",
            human::size(plan.bytes_before.saturating_sub(plan.bytes_after)),
            human::size(plan.bytes_before)
        ));
        return Ok(());
    }
    let bar = printer.bar(plan.work());
    let cleaned = store.clean(&plan, &mut |step, bytes| bar.advance(text(step), bytes));
    drop(bar);
    store.tidy_records(limits.unused_for);
    store.forget_replays();
    if args.json {
        printer.json(&answer(args, &limits, &plan, &cleaned))?;
    } else {
        say(&plan, &cleaned, printer);
    }
    cleaned.problem.map_or(Ok(()), Err)
}

/// What a step is called.
fn text(step: Step) -> &'static str {
    match step {
        Step::Removing => "removing",
        Step::Repacking => "repacking",
        Step::Freezing => "compressing",
    }
}

/// What is done if all goes as planned.
fn foreseen(plan: &Plan) -> Cleaned {
    Cleaned {
        removed: (0..plan.removals.len()).collect(),
        repacked: (0..plan.repacks.len()).collect(),
        frozen: (0..plan.freezes.len()).collect(),
        bytes: plan.bytes_before.saturating_sub(plan.bytes_after),
        ..Cleaned::default()
    }
}

fn answer(args: &cli::Gc, limits: &Limits, plan: &Plan, cleaned: &Cleaned) -> Answer {
    let seconds = |limit: Option<std::time::Duration>| limit.map(|limit| limit.as_secs());
    let removed = |removal: &Removal| Removed {
        name: removal.image.record.name.clone(),
        key: removal.image.record.key.hex(),
        reason: match removal.reason {
            Reason::Stale(_) => "stale",
            Reason::Unused(_) => "unused",
            Reason::OverLimit(_) => "over-limit",
        },
        detail: why(&removal.reason),
        last_used: timestamp(used_ns(&removal.image)).to_string(),
        bytes: removal.bytes,
    };
    let repacked = |at: &usize| {
        let repack = &plan.repacks[*at];
        Repacked {
            pack: repack.pack.hex(),
            used_pages: repack.used,
            stored_pages: repack.stored,
            bytes: repack.bytes(),
        }
    };
    Answer {
        dry_run: args.dry_run,
        limits: LimitsView {
            max_size_bytes: limits.max_bytes,
            unused_for_s: seconds(limits.unused_for),
            cold_after_s: seconds(limits.cold_after),
        },
        removed: cleaned.removed.iter().map(|at| removed(&plan.removals[*at])).collect(),
        leftovers: plan
            .leftovers
            .iter()
            .map(|left| Leftover { path: left.path.clone(), bytes: left.bytes })
            .collect(),
        repacked: cleaned.repacked.iter().map(repacked).collect(),
        compressed: colder(plan, cleaned).into_iter().map(str::to_owned).collect(),
        bytes_before: plan.bytes_before,
        freed_bytes: cleaned.bytes,
        postponed: cleaned.postponed,
    }
}

fn why(reason: &Reason) -> String {
    match reason {
        Reason::Stale(why) => format!("stale: {why}"),
        Reason::Unused(idle) => format!("unused for {}", human::span(*idle)),
        Reason::OverLimit(idle) => format!("over the limit, unused for {}", human::span(*idle)),
    }
}

/// The plan, a line for each thing, in the order in which it is done.
fn table(plan: &Plan) -> String {
    let removals = plan.removals.iter().map(|removal| {
        let name = removal.image.record.name.clone();
        ["remove".into(), name, why(&removal.reason), human::size(removal.bytes)]
    });
    let leftovers = plan.leftovers.iter().map(|left| {
        let why = "nobody refers to it".into();
        ["remove".into(), human::shorten(&left.path, 40), why, human::size(left.bytes)]
    });
    let repacks = plan.repacks.iter().map(|repack| {
        let why = format!("{} of {} pages are used", repack.used, repack.stored);
        ["repack".into(), repack.pack.to_string(), why, human::size(repack.bytes())]
    });
    let freezes = plan.colder.iter().map(|image| {
        let idle = super::view::since(used_ns(image));
        let why = format!("unused for {}", human::span(idle));
        ["compress".into(), image.record.name.clone(), why, String::new()]
    });
    let head =
        [("DO", Align::Left), ("WHAT", Align::Left), ("WHY", Align::Left), ("FREES", Align::Right)];
    let rows: Vec<_> = removals.chain(leftovers).chain(repacks).chain(freezes).collect();
    with_head(head, &rows)
}

/// Says what was done.
fn say(plan: &Plan, cleaned: &Cleaned, printer: &Printer) {
    for at in &cleaned.removed {
        let Removal { image, reason, bytes } = &plan.removals[*at];
        let (name, why) = (&image.record.name, why(reason));
        printer.note(&format!("removed {name}: {why} ({})", human::size(*bytes)));
    }
    if !plan.leftovers.is_empty() && cleaned.problem.is_none() {
        let count = human::count(plan.leftovers.len() as u64, "leftover");
        printer.note(&format!("removed {count} of processes that were killed"));
    }
    if !cleaned.repacked.is_empty() {
        let packs = human::count(cleaned.repacked.len() as u64, "pack");
        printer.note(&format!("wrote {packs} anew without the pages that no image uses"));
    }
    if !cleaned.frozen.is_empty() {
        printer.note(&format!("compressed {}", colder(plan, cleaned).join(", ")));
    }
    let left = plan.repacks.len() - cleaned.repacked.len();
    if left > 0 {
        printer.note(&format!(
            "{} left as they are: in use, or damaged",
            human::count(left as u64, "pack")
        ));
    }
    printer.note(&format!(
        "{} freed, {} in use",
        human::size(cleaned.bytes),
        human::size(plan.bytes_before.saturating_sub(cleaned.bytes))
    ));
    if cleaned.postponed {
        printer.note("some space is freed by the next removal: a program is just starting");
    }
}

/// Names of the images that became cold.
fn colder<'p>(plan: &'p Plan, cleaned: &Cleaned) -> Vec<&'p str> {
    let images: BTreeSet<usize> =
        cleaned.frozen.iter().flat_map(|at| plan.freezes[*at].images.iter().copied()).collect();
    images.into_iter().map(|at| plan.colder[at].record.name.as_str()).collect()
}

/// Names of removed images, a few of them.
fn described(plan: &Plan, removed: &[usize]) -> String {
    let names = removed.iter().map(|at| plan.removals[*at].image.record.name.as_str());
    match removed.len() {
        0 => "what no image uses".into(),
        1..=3 => names.collect::<Vec<_>>().join(", "),
        count => format!("{} and {} more", names.take(2).collect::<Vec<_>>().join(", "), count - 2),
    }
}
