//! What came of all runs: counted, by program and by image.
//!
//! A value, made from the log's records; where it is kept is the business of [`super::runs`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::runs::{Outcome, RunRecord};

/// Under which the others are counted together.
const OTHERS: &str = "";

/// Programs and images that are counted one by one. Of more, those that were run the longest
/// time ago are counted together.
const COUNTED: usize = 1000;

/// Engines, and reasons for them, that are counted one by one; some name a file or a size.
const ENGINES: usize = 4;
const ENGINE_REASONS: usize = 16;

/// What came of some runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// How many were hits.
    pub hits: u64,
    /// How many were misses, by the code of the reason.
    pub misses: BTreeMap<String, u64>,
    /// How long all hits took to begin, in nanoseconds.
    pub restore_ns: u64,
    /// How long the imports of all hits take, in nanoseconds.
    pub import_ns: u64,
    /// How many hits there were by each engine, as far as that was recorded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub engines: BTreeMap<String, u64>,
    /// How many hits were not brought back by the engine that is preferred, by the reason; further
    /// reasons are counted together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub engine_reasons: BTreeMap<String, u64>,
    /// When the last one was, in nanoseconds since 1970.
    pub last_ns: i64,
}

/// What came of all runs of a program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramCounts {
    /// What it is called; nothing for programs that are counted together.
    pub what: String,
    /// What came of them.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What came of all runs that were recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The number that the next log to be added will have.
    pub(super) next: u64,
    /// Since when they were counted, in nanoseconds since 1970; 0 if there is none.
    pub since_ns: i64,
    /// All of them.
    pub all: Counts,
    /// By program: its id, or what it is called where there is none.
    pub programs: BTreeMap<String, ProgramCounts>,
    /// By image: its name.
    pub images: BTreeMap<String, Counts>,
}

impl Counts {
    /// The time that was saved, in nanoseconds: less than nothing if imports are quicker.
    pub fn saved_ns(&self) -> i64 {
        let signed = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
        signed(self.import_ns).saturating_sub(signed(self.restore_ns))
    }

    /// How many were misses.
    pub fn missed(&self) -> u64 {
        self.misses.values().sum()
    }

    fn add(&mut self, run: &RunRecord) {
        match &run.outcome {
            Outcome::Hit { restore_ns, import_ns, engine, engine_reason, .. } => {
                self.hits += 1;
                self.restore_ns = self.restore_ns.saturating_add(*restore_ns);
                self.import_ns = self.import_ns.saturating_add(*import_ns);
                if let Some(engine) = engine {
                    count(&mut self.engines, engine, 1, ENGINES);
                }
                if let Some(reason) = engine_reason {
                    count(&mut self.engine_reasons, reason, 1, ENGINE_REASONS);
                }
            }
            Outcome::Miss(code) => *self.misses.entry(code.clone()).or_default() += 1,
        }
        self.last_ns = self.last_ns.max(run.at_ns);
    }

    fn add_all(&mut self, other: &Self) {
        self.hits += other.hits;
        for (code, count) in &other.misses {
            *self.misses.entry(code.clone()).or_default() += count;
        }
        self.restore_ns = self.restore_ns.saturating_add(other.restore_ns);
        self.import_ns = self.import_ns.saturating_add(other.import_ns);
        for (engine, hits) in &other.engines {
            count(&mut self.engines, engine, *hits, ENGINES);
        }
        for (reason, hits) in &other.engine_reasons {
            count(&mut self.engine_reasons, reason, *hits, ENGINE_REASONS);
        }
        self.last_ns = self.last_ns.max(other.last_ns);
    }
}

/// Counts so many more of a kind, or, where there are too many kinds already, of the others.
fn count(kinds: &mut BTreeMap<String, u64>, kind: &str, more: u64, most: usize) {
    let is_known = kinds.contains_key(kind) || kinds.len() < most;
    *kinds.entry(if is_known { kind } else { OTHERS }.to_owned()).or_default() += more;
}

impl Tally {
    fn add(&mut self, run: &RunRecord) {
        if self.since_ns == 0 {
            self.since_ns = run.at_ns;
        }
        self.all.add(run);
        let key = run.program.map_or_else(|| run.what.clone(), |id| id.hex());
        let program = self.programs.entry(key).or_default();
        program.what.clone_from(&run.what);
        program.counts.add(run);
        if let Outcome::Hit { image, .. } = &run.outcome {
            self.images.entry(image.clone()).or_default().add(run);
        }
    }

    /// Adds what a log says; what is no whole record is passed over.
    pub(super) fn add_log(&mut self, text: &[u8]) {
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if let Ok(run) = serde_json::from_slice::<RunRecord>(line) {
                self.add(&run);
            }
        }
    }

    /// Counts together what has not been run for the longest time.
    pub(super) fn limit(&mut self) {
        let mut others = ProgramCounts::default();
        for key in oldest(&self.programs, |program| program.counts.last_ns) {
            if let Some(program) = self.programs.remove(&key) {
                others.counts.add_all(&program.counts);
            }
        }
        if others != ProgramCounts::default() {
            self.programs.insert(OTHERS.into(), others);
        }
        let mut others = Counts::default();
        for key in oldest(&self.images, |counts| counts.last_ns) {
            if let Some(counts) = self.images.remove(&key) {
                others.add_all(&counts);
            }
        }
        if others != Counts::default() {
            self.images.insert(OTHERS.into(), others);
        }
    }
}

/// The keys of those that are too many, with that of those that are counted together.
fn oldest<T>(all: &BTreeMap<String, T>, last_ns: impl Fn(&T) -> i64) -> Vec<String> {
    if all.len() <= COUNTED {
        return Vec::new();
    }
    let mut by_age: Vec<_> =
        all.iter().map(|(key, one)| (key != OTHERS, last_ns(one), key.clone())).collect();
    by_age.sort_unstable();
    let over = all.len() + 1 - COUNTED;
    by_age.into_iter().take(over).map(|(_, _, key)| key).collect()
}
