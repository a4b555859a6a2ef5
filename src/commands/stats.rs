//! `pyimg stats`: what runs have gained from images, and why others ran without.
//!
//! Counted by [`crate::store::Tally`]; here it is only said.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::view::{since, timestamp};
use super::{FIRST_IMAGE, existing_store};
use crate::cli;
use crate::error::Result;
use crate::store::{Counts, Tally};
use crate::ui::tables::{Align, with_head};
use crate::ui::{Printer, human};

/// Characters of what a program is called that fit into a line with the rest.
const WHAT: usize = 44;

/// Characters of a reason.
const WHY: usize = 80;

/// Lines of a table; JSON has all.
const MOST: usize = 20;

/// What programs and images are called that are counted together.
const OTHERS: &str = "(others)";

/// `pyimg stats --json`
#[derive(Debug, Serialize)]
struct Statistics {
    /// Since when runs are counted, RFC 3339, UTC; null if none has been.
    since: Option<String>,
    /// All of them.
    #[serde(flatten)]
    all: CountsView,
    /// By program, those that were run most often first.
    programs: Vec<ProgramView>,
    /// By image, those that saved most first.
    images: Vec<ImageCounts>,
    /// Whether counting begins anew with this.
    reset: bool,
}

/// What came of some runs.
#[derive(Debug, Serialize)]
struct CountsView {
    /// How many there were.
    runs: u64,
    /// How many of them were hits.
    hits: u64,
    /// How many were misses.
    misses: u64,
    /// These by the code of the reason.
    misses_by_reason: BTreeMap<String, u64>,
    /// Hits by the engine that brought the image back, as far as that was recorded.
    hits_by_engine: BTreeMap<String, u64>,
    /// Those by `criu` by the reason why they were not `direct`, where `criu` was not asked for.
    engine_reasons: BTreeMap<String, u64>,
    /// How long the imports of all hits take, in nanoseconds.
    import_ns: u64,
    /// How long all hits took to begin, in nanoseconds.
    restore_ns: u64,
    /// The difference, in nanoseconds.
    saved_ns: i64,
    /// When the last of them was, RFC 3339, UTC; null if there was none.
    last_run: Option<String>,
}

#[derive(Debug, Serialize)]
struct ProgramView {
    /// What it is called; null for those that are counted together.
    program: Option<String>,
    /// Its id, 64 hex digits; null if it cannot be recognised.
    id: Option<String>,
    #[serde(flatten)]
    counts: CountsView,
}

#[derive(Debug, Serialize)]
struct ImageCounts {
    /// What it is called; null for those that are counted together.
    image: Option<String>,
    /// How many runs began from it.
    hits: u64,
    /// These by the engine that brought it back, as far as that was recorded.
    hits_by_engine: BTreeMap<String, u64>,
    /// Those by `criu` by the reason why they were not `direct`, where `criu` was not asked for.
    engine_reasons: BTreeMap<String, u64>,
    /// How long its imports take that many times, in nanoseconds.
    import_ns: u64,
    /// How long these runs took to begin, in nanoseconds.
    restore_ns: u64,
    /// The difference, in nanoseconds.
    saved_ns: i64,
    /// When the last of them was, RFC 3339, UTC.
    last_run: Option<String>,
}

impl From<&Counts> for CountsView {
    fn from(counts: &Counts) -> Self {
        Self {
            runs: counts.hits + counts.missed(),
            hits: counts.hits,
            misses: counts.missed(),
            misses_by_reason: counts.misses.clone(),
            hits_by_engine: counts.engines.clone(),
            engine_reasons: counts.engine_reasons.clone(),
            import_ns: counts.import_ns,
            restore_ns: counts.restore_ns,
            saved_ns: counts.saved_ns(),
            last_run: moment(counts.last_ns),
        }
    }
}

/// A time of the store's; null for none.
fn moment(ns: i64) -> Option<String> {
    (ns != 0).then(|| timestamp(ns).to_string())
}

impl Statistics {
    fn of(tally: &Tally, reset: bool) -> Self {
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let mut programs: Vec<_> = tally
            .programs
            .iter()
            .map(|(key, program)| ProgramView {
                program: named(&program.what),
                id: (*key != program.what).then(|| key.clone()),
                counts: (&program.counts).into(),
            })
            .collect();
        programs.sort_by_key(|one| (std::cmp::Reverse(one.counts.runs), one.program.clone()));
        let mut images: Vec<_> = tally
            .images
            .iter()
            .map(|(name, counts)| ImageCounts {
                image: named(name),
                hits: counts.hits,
                hits_by_engine: counts.engines.clone(),
                engine_reasons: counts.engine_reasons.clone(),
                import_ns: counts.import_ns,
                restore_ns: counts.restore_ns,
                saved_ns: counts.saved_ns(),
                last_run: moment(counts.last_ns),
            })
            .collect();
        images.sort_by_key(|one| (std::cmp::Reverse(one.saved_ns), one.image.clone()));
        Self { since: moment(tally.since_ns), all: (&tally.all).into(), programs, images, reset }
    }
}

pub(super) fn run(args: &cli::Stats, printer: &Printer) -> Result<()> {
    let store = existing_store()?;
    let tally = store.as_ref().map_or_else(|| Ok(Tally::default()), |store| store.tally())?;
    if let Some(store) = &store {
        if args.reset {
            store.reset_tally()?;
        } else {
            // Who looks at it now will again, and then it is quicker.
            store.tidy_records(None);
        }
    }
    let statistics = Statistics::of(&tally, args.reset && store.is_some());
    if args.json {
        return printer.json(&statistics);
    }
    if statistics.all.runs == 0 {
        printer.note("no runs have been counted yet");
        let images = store.map_or_else(|| Ok(Vec::new()), |store| store.overview())?;
        match images.is_empty() {
            true => printer.hint(FIRST_IMAGE),
            false => printer.hint("run a program with pyrun instead of python"),
        }
        return Ok(());
    }
    printer.data(&text(&statistics, tally.since_ns))?;
    if args.reset {
        printer.note("from now on runs are counted anew");
    }
    Ok(())
}

/// The tables, one below the other.
fn text(statistics: &Statistics, since_ns: i64) -> String {
    let all = &statistics.all;
    let mut parts = vec![format!(
        "{} since {} ({}): {}, {}; {} saved",
        human::count(all.runs, "run"),
        timestamp(since_ns).strftime("%Y-%m-%d %H:%M:%S UTC"),
        human::age(since(since_ns)),
        human::count(all.hits, "hit"),
        match all.misses {
            1 => "1 miss".to_owned(),
            misses => format!("{misses} misses"),
        },
        saved(all.hits, all.saved_ns)
    )];
    if !all.hits_by_engine.is_empty() {
        parts.push(engines(all));
    }
    if all.misses > 0 {
        parts.push(reasons(all));
    }
    parts.push(programs(&statistics.programs));
    if !statistics.images.is_empty() {
        parts.push(images(&statistics.images));
    }
    parts.join("\n\n")
}

/// Hits by engine, and those of an engine by the reason for it.
fn engines(all: &CountsView) -> String {
    let why: u64 = all.engine_reasons.values().sum();
    let mut rows = Vec::new();
    for (engine, hits) in by_number(&all.hits_by_engine) {
        // Only one has reasons, and it may have been asked for besides.
        let explained = if engine == "criu" { why.min(hits) } else { 0 };
        if hits > explained {
            let asked = if engine == "criu" { "it was asked for" } else { "" };
            rows.push([engine.to_owned(), (hits - explained).to_string(), asked.to_owned()]);
        }
        if explained > 0 {
            rows.extend(by_number(&all.engine_reasons).map(|(reason, hits)| {
                let reason = if reason.is_empty() { OTHERS } else { reason };
                [engine.to_owned(), hits.to_string(), human::shorten(reason, WHY)]
            }));
        }
    }
    let head = [("ENGINE", Align::Left), ("HITS", Align::Right), ("WHY NOT DIRECT", Align::Left)];
    with_head(head, &rows)
}

/// The largest first.
fn by_number(counts: &BTreeMap<String, u64>) -> impl Iterator<Item = (&str, u64)> {
    let mut all: Vec<_> = counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    all.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    all.into_iter()
}

fn reasons(all: &CountsView) -> String {
    let head = [("REASON", Align::Left), ("MISSES", Align::Right)];
    let rows: Vec<_> = by_number(&all.misses_by_reason)
        .map(|(code, count)| [code.to_owned(), count.to_string()])
        .collect();
    with_head(head, &rows)
}

fn programs(programs: &[ProgramView]) -> String {
    let head = [
        ("PROGRAM", Align::Left),
        ("HITS", Align::Right),
        ("MISSES", Align::Right),
        ("SAVED", Align::Right),
        ("LAST RUN", Align::Left),
    ];
    let row = |one: &ProgramView| {
        [
            human::shorten(one.program.as_deref().unwrap_or(OTHERS), WHAT),
            one.counts.hits.to_string(),
            one.counts.misses.to_string(),
            saved(one.counts.hits, one.counts.saved_ns),
            last_run(one.counts.last_run.as_deref()),
        ]
    };
    cut(with_head(head, &programs.iter().take(MOST).map(row).collect::<Vec<_>>()), programs.len())
}

fn images(images: &[ImageCounts]) -> String {
    let head = [
        ("IMAGE", Align::Left),
        ("HITS", Align::Right),
        ("ENGINE", Align::Left),
        ("IMPORT", Align::Right),
        ("RESTORE", Align::Right),
        ("SAVED", Align::Right),
        ("LAST RUN", Align::Left),
    ];
    let each = |one: &ImageCounts, sum_ns: u64| {
        human::duration(Duration::from_nanos(sum_ns / one.hits.max(1)))
    };
    let row = |one: &ImageCounts| {
        [
            human::shorten(one.image.as_deref().unwrap_or(OTHERS), WHAT),
            one.hits.to_string(),
            names(&one.hits_by_engine),
            each(one, one.import_ns),
            each(one, one.restore_ns),
            saved(one.hits, one.saved_ns),
            last_run(one.last_run.as_deref()),
        ]
    };
    cut(with_head(head, &images.iter().take(MOST).map(row).collect::<Vec<_>>()), images.len())
}

/// The engines, the one with most hits first.
fn names(engines: &BTreeMap<String, u64>) -> String {
    match by_number(engines).map(|(engine, _)| engine).collect::<Vec<_>>() {
        none if none.is_empty() => "-".into(),
        engines => engines.join(", "),
    }
}

/// Says how many lines a table lacks.
fn cut(table: String, all: usize) -> String {
    match all.saturating_sub(MOST) {
        0 => table,
        more => format!("{table}\n… and {more} more"),
    }
}

/// The time that was saved; where restoring took longer than the imports, it is less than
/// nothing.
fn saved(hits: u64, saved_ns: i64) -> String {
    if hits == 0 {
        return "-".into();
    }
    let sign = if saved_ns < 0 { "-" } else { "" };
    format!("{sign}{}", human::duration(Duration::from_nanos(saved_ns.unsigned_abs())))
}

fn last_run(moment: Option<&str>) -> String {
    // Every one that is listed has been run.
    let at = moment.and_then(|text| text.parse().ok());
    let ns = at.map_or(0, |at: jiff::Timestamp| i64::try_from(at.as_nanosecond()).unwrap_or(0));
    human::age(since(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_may_be_less_than_nothing() {
        assert_eq!(saved(1, 400_000_000), "400 ms");
        assert_eq!(saved(1, -2_000_000), "-2.0 ms");
        assert_eq!(saved(0, 0), "-");
    }

    #[test]
    fn a_long_table_is_cut() {
        assert_eq!(cut("table".into(), MOST), "table");
        assert_eq!(cut("table".into(), MOST + 3), "table\n… and 3 more");
    }
}
