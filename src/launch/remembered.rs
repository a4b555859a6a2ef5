//! What a run knows of its program from earlier ones, and what it leaves for later ones.
//!
//! A hit and a miss are written to the store's log, and what has changed about the program
//! to its own file; the modules that it needed the program writes down itself when it ends,
//! if it runs from an image ([`Recording`]). All of that is silent: where it fails, the
//! program runs no less.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::background::TOLD_AFTER;
use super::choice::Chosen;
use super::command_line::{CommandLine, Run};
use super::decision::Decision;
use super::miss::Miss;
use super::program::what;
use super::source::Source;
use crate::engine::By;
use crate::engine::request::Recording;
use crate::key::interpreter::Interpreter;
use crate::store::{self, Outcome, Outlook, Program, ProgramId, Records, RunRecord};

/// Characters of the reason why an engine was taken that are recorded.
const ENGINE_REASON: usize = 200;

/// When a run began.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    clock: SystemTime,
    instant: Instant,
}

impl Start {
    /// Just now.
    pub fn now() -> Self {
        Self { clock: SystemTime::now(), instant: Instant::now() }
    }

    /// How long ago that was.
    pub fn elapsed(&self) -> Duration {
        self.instant.elapsed()
    }

    /// When that was, in nanoseconds since 1970.
    pub fn at_ns(&self) -> i64 {
        let since = self.clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }
}

/// A program, and what is remembered of it.
#[derive(Debug)]
pub struct Remembered {
    records: Records,
    id: Option<ProgramId>,
    /// As the store has it.
    known: Option<Program>,
    /// As it is to be, but for what comes of this run.
    program: Program,
}

impl Remembered {
    /// What is remembered of the program that is to run.
    pub fn of(records: Records, run: &Run, interpreter: &Interpreter, cwd: &Path) -> Self {
        let id = ProgramId::of(run, interpreter, cwd);
        let mut known = id.and_then(|id| records.program(&id));
        // What a script needed before it was edited says little.
        if let (Some(known), Some(script)) = (&mut known, run.script())
            && modified_ns(&cwd.join(script)).is_none_or(|edited| edited > known.last_run_ns)
        {
            known.modules = None;
        }
        let program = known.clone().unwrap_or_else(|| Program::new(run, interpreter, cwd));
        Self { records, id, known, program }
    }

    /// The top-level modules that the program needed at its last run from an image.
    pub fn modules(&self) -> Option<&BTreeSet<String>> {
        self.known.as_ref()?.modules.as_ref()
    }

    /// Which program it is, if it can be recognised.
    pub fn id(&self) -> Option<&ProgramId> {
        self.id.as_ref()
    }

    /// What its last run has decided.
    pub fn decision(&self) -> Option<&serde_json::Value> {
        self.known.as_ref().map(|known| &known.decision)
    }

    /// Why the last build for the program failed that nobody waited for, in one line.
    pub fn failed_build(&self) -> Option<&str> {
        self.known.as_ref()?.outlook.as_ref()?.failure.as_deref()
    }

    /// What the program is to write down at its end if it runs from this image: nothing if
    /// it cannot be recognised.
    ///
    /// A module that the image holds cannot be seen to be imported. So those count that the
    /// program has needed before, and those that its source names.
    pub fn recording(&self, image: &Chosen, source: &Source) -> Option<Recording> {
        let id = self.id?;
        if self.known.is_none() {
            // There must be a place to write to, even if the program ends before we go on.
            self.records.make_room_for_program(&id);
            self.records.put_program(&id, &self.program);
        }
        let held = &image.manifest.content.modules;
        let none = BTreeSet::new();
        let before = self.modules().unwrap_or(&none);
        let named = source.imports.as_ref().unwrap_or(&none);
        let is_one = |name: &&String| !name.is_empty() && !name.contains(['.', '\n', '\0']);
        let kept: BTreeSet<&String> =
            before.union(named).filter(|name| held.contains_key(*name)).filter(is_one).collect();
        let outdated = self.modules().is_none()
            || !before.iter().filter(|name| held.contains_key(*name)).eq(kept.iter().copied());
        Some(Recording {
            path: self.records.modules_path(&id),
            kept: kept.into_iter().cloned().collect(),
            others: before.iter().filter(|name| !held.contains_key(*name)).cloned().collect(),
            outdated,
            pages: None,
        })
    }

    /// Records that the program runs from an image, after so long and by which engine, and what
    /// was decided, if that is news.
    pub fn note_hit(
        &self,
        start: &Start,
        restore: Duration,
        image: &Chosen,
        by: &By,
        decision: Option<&Decision>,
    ) {
        // What the program imports of it, if that is known.
        let import_ns = image.saves_ns.unwrap_or(image.manifest.content.import_ns);
        self.records.add_run(&RunRecord {
            at_ns: start.at_ns(),
            program: self.id,
            what: self.program.what.clone(),
            outcome: Outcome::Hit {
                image: image.name.clone(),
                restore_ns: u64::try_from(restore.as_nanos()).unwrap_or(u64::MAX),
                import_ns,
                engine: Some(by.name().into()),
                engine_reason: by.refusal().map(|why| why.0.chars().take(ENGINE_REASON).collect()),
            },
        });
        // What the user was told and what was found out have come to their end.
        let outlook = self.program.outlook.as_ref().and_then(Outlook::after_a_hit);
        let (import_ns, told) = (Some(import_ns), false);
        let mut program = Program { misses: 0, import_ns, told, outlook, ..self.program.clone() };
        if let Some(decision) = decision {
            program.decision = decision.to_json();
        }
        self.put(program);
    }

    fn put(&self, program: Program) {
        let Some(id) = self.id else { return };
        match &self.known {
            Some(known) if *known == program => self.records.touch_program(&id),
            _ => self.records.put_program(&id, &program),
        }
    }
}

/// When a file was written, in nanoseconds since 1970.
fn modified_ns(path: &Path) -> Option<i64> {
    let modified = path.metadata().and_then(|found| found.modified()).ok()?;
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok()
}

/// A program whose run has counted as a miss.
#[derive(Debug)]
pub struct Counted {
    /// Where that is remembered.
    pub records: Records,
    /// Which program.
    pub id: ProgramId,
    /// What is remembered of it now.
    pub program: Program,
}

/// Records that a program is about to be run by plain Python, with this interpreter if that is
/// known, and what was decided about it, if that is news. Where there is no store,
/// nothing is. Returns the program if an image would have helped it.
pub fn note_miss(
    start: &Start,
    line: &CommandLine,
    with: Option<(&Interpreter, Option<&Decision>)>,
    cwd: Option<&Path>,
    miss: &Miss,
) -> Option<Counted> {
    let records = Records::of(&store::default_dir().ok()?)?;
    let mut run_record = RunRecord {
        at_ns: start.at_ns(),
        program: None,
        what: String::new(),
        outcome: Outcome::Miss(miss.code().into()),
    };
    let (Ok(run), Some(cwd)) = (&line.run, cwd) else {
        records.add_run(&run_record);
        return None;
    };
    run_record.what = what(run, cwd);
    let Some((interpreter, decision)) = with else {
        records.add_run(&run_record);
        return None;
    };
    let remembered = Remembered::of(records, run, interpreter, cwd);
    run_record.program = remembered.id;
    remembered.records.add_run(&run_record);
    let mut program = remembered.program.clone();
    if let Some(decision) = decision {
        program.decision = decision.to_json();
    }
    let counts = miss.wants_an_image();
    if !counts && decision.is_none() {
        return None;
    }
    let id = remembered.id?;
    if remembered.known.is_none() {
        remembered.records.make_room_for_program(&id);
    }
    // Further ones change nothing once it was looked at, so there is nothing to be written.
    let matters = program.outlook.is_none() || program.misses < TOLD_AFTER;
    program.misses = program.misses.saturating_add(u32::from(counts && matters));
    remembered.put(program.clone());
    if !counts {
        return None;
    }
    Some(Counted { records: remembered.records, id, program })
}
