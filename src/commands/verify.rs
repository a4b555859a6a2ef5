//! `pyimg verify`: is the store what was written, and what is to be done if not?

use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Serialize;

use crate::cli;
use crate::error::{Error, Result};
use crate::store::{self, Depth, Finding, Lost, Repaired, Report};
use crate::ui::{Printer, human};

/// `pyimg verify --json`
#[derive(Debug, Serialize)]
struct Verified {
    /// The store's directory.
    directory: String,
    /// Whether there is a store.
    exists: bool,
    /// Whether nothing is wrong (now, after a repair).
    ok: bool,
    /// How many images were looked at.
    images: u64,
    /// How many packs were looked at.
    packs: u64,
    /// How many bytes were read and compared with their hashes.
    read_bytes: u64,
    /// What is wrong.
    findings: Vec<Found>,
    /// What cleaning up will take away.
    leftovers: Vec<String>,
    /// What repairs have set aside.
    quarantined: Vec<String>,
    /// What this repair has done; null without `--repair`.
    repaired: Option<Repaired>,
}

/// A finding, and what it means.
#[derive(Debug, Serialize)]
struct Found {
    #[serde(flatten)]
    finding: Finding,
    meaning: &'static str,
}

pub(super) fn run(args: &cli::Verify, printer: &Printer) -> Result<()> {
    let dir = store::default_dir()?;
    let depth = if args.read_data { Depth::Data } else { Depth::Tables };
    let bar = OnceLock::new();
    let watch = |read, all| bar.get_or_init(|| printer.bar(all)).advance("reading", read);
    let (report, repaired) = if args.repair {
        match store::repair(&dir, depth, &watch)? {
            Some(repaired) => (Some(repaired.report.clone()), Some(repaired)),
            None => (None, None),
        }
    } else {
        (store::verify(&dir, depth, &watch)?, None)
    };
    drop(bar);
    let exists = report.is_some();
    let report = report.unwrap_or_default();
    let wrong = report.findings.len() as u64;
    if args.json {
        printer.json(&Verified::new(&dir, exists, report, repaired))?;
    } else {
        if let Some(repaired) = &repaired {
            say_repaired(repaired, printer)?;
        }
        if exists {
            say(&report, printer)?;
        } else {
            printer.note(&format!("there is no store yet: {}", dir.display()));
        }
    }
    if wrong == 0 {
        return Ok(());
    }
    let shown = dir.display();
    let message = format!("the store {shown} is not as it was written: {}", findings(wrong));
    Err(Error::failed(message).hint(if args.repair {
        format!("see why above; it is only a cache: `rm -r {shown}` removes all of it")
    } else {
        "`pyimg verify --repair` sets aside what is damaged and keeps the rest".into()
    }))
}

impl Verified {
    fn new(
        dir: &std::path::Path,
        exists: bool,
        report: Report,
        repaired: Option<Repaired>,
    ) -> Self {
        let texts = |paths: Vec<PathBuf>| {
            paths.into_iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        let with_meaning = |finding: Finding| Found { meaning: finding.kind.meaning(), finding };
        Self {
            directory: dir.display().to_string(),
            exists,
            ok: report.findings.is_empty(),
            images: report.images,
            packs: report.packs,
            read_bytes: report.read_bytes,
            findings: report.findings.into_iter().map(with_meaning).collect(),
            leftovers: texts(report.leftovers),
            quarantined: texts(report.quarantined),
            repaired,
        }
    }
}

fn findings(number: u64) -> String {
    human::count(number, "finding")
}

/// Says how the store is: what is wrong with it is data, and the rest is said beside it.
fn say(report: &Report, printer: &Printer) -> Result<()> {
    for finding in &report.findings {
        printer.data(&line(finding))?;
    }
    for path in &report.leftovers {
        printer.data(&format!("leftover {}", path.display()))?;
    }
    let (images, packs) =
        (human::count(report.images, "image"), human::count(report.packs, "pack"));
    let mut checked = format!("checked {images} and {packs}");
    if report.read_bytes > 0 {
        checked += &format!(", {} read", human::size(report.read_bytes));
    }
    let result = match report.findings.len() as u64 {
        0 => "all is well".to_owned(),
        wrong => findings(wrong),
    };
    printer.note(&format!("{checked}: {result}"));
    if !report.leftovers.is_empty() {
        printer.note(
            "leftovers are of builds and removals that were cut off, or are under way: \
             the next removal deletes them",
        );
    }
    if let Some(first) = report.quarantined.first().and_then(|path| path.parent()) {
        let number = report.quarantined.len() as u64;
        printer.note(&format!(
            "{} set aside by repairs in {}: delete it when you like",
            human::count(number, "thing"),
            first.display()
        ));
    }
    Ok(())
}

/// A finding in one line.
fn line(finding: &Finding) -> String {
    let Finding { kind, path, images, detail, .. } = finding;
    let mut line = format!("{kind} {}: {detail}; {}", path.display(), kind.meaning());
    if !images.is_empty() {
        line += &format!(" (images: {})", images.join(", "));
    }
    line
}

/// Says what was done and what is to be done next.
fn say_repaired(repaired: &Repaired, printer: &Printer) -> Result<()> {
    for action in &repaired.actions {
        let (done, path) = (action.done.name(), action.path.display());
        let colon = if action.detail.is_empty() { "" } else { ": " };
        printer.data(&format!("{done} {path}{colon}{}", action.detail.replace('\n', "; ")))?;
    }
    if repaired.actions.is_empty() {
        printer.note("there was nothing to repair");
    }
    if repaired.pins_lost {
        printer.warning("which images were pinned could not be read: pin them again");
    }
    for Lost { name, recipe } in &repaired.lost {
        let recipe = human::shorten(&recipe.trim().replace('\n', "; "), 60);
        printer.hint(&format!("build {name} again, it was made of: {recipe}"));
    }
    Ok(())
}
