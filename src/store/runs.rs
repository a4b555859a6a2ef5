//! The log of runs: a line for each, and the tally of older ones.
//!
//! A run appends its line with one write, without a lock and without a sync; where that
//! fails nobody is told. So a line may be lost, or be cut off by a full disk or a power
//! cut: a line begins with a line break as well, and what is no whole record is passed
//! over.
//!
//! When the log has grown, whoever changes the store anyway (a build, gc, statistics) adds
//! it to the tally, alone: the log is renamed to a numbered one, the tally that includes it,
//! and says so by its number, is put in place durably, and the numbered log is removed. So
//! wherever that is cut off, each line counts once or, where a run was just writing it, not
//! at all.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use serde::{Deserialize, Serialize};

use super::ids::ProgramId;
use super::layout::{self, Layout, OfRuns};
use super::lock::{self, Lock};
use super::programs::{Records, now_ns};
use super::tally::Tally;
use super::{Reader, Store, access, durable, fault};
use crate::error::{Error, Result};

/// Bytes of a log beyond which it is added to the tally.
const FOLD_ABOVE: u64 = 256 << 10;

/// Bytes of a log beyond which runs are not recorded any more, until it is added to the tally.
const MOST_BYTES: u64 = 8 << 20;

/// Bytes of a tally that are read.
const MOST_OF_TALLY: u64 = 16 << 20;

/// How long statistics wait for whoever changes the store.
const PATIENCE: Duration = Duration::from_secs(1);

/// A run, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// When it began, in nanoseconds since 1970.
    pub at_ns: i64,
    /// The program, where it can be recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramId>,
    /// What it is called.
    pub what: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The program ran from an image.
    Hit {
        /// What the image is called.
        image: String,
        /// From the beginning of the run to that of the program, in nanoseconds.
        restore_ns: u64,
        /// How long the imports take that the image had behind it, in nanoseconds.
        import_ns: u64,
        /// What brought the image back; nothing in records of a time when there was but one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        engine: Option<String>,
        /// Why that was not the one that is preferred, if another was not asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        engine_reason: Option<String>,
    },
    /// It was plain Python, and the code of the reason.
    Miss(String),
}

impl Records {
    /// Adds a run to the log. Where that cannot be written nothing is, and that is no error.
    pub fn add_run(&self, run: &RunRecord) {
        let Ok(mut line) = serde_json::to_vec(run) else { return };
        line.insert(0, b'\n');
        line.push(b'\n');
        let path = self.layout.run_log();
        let open = || {
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(O_NOFOLLOW | O_NONBLOCK)
                .open(&path)
        };
        // A store of before has no directory for it.
        let opened = open().or_else(|error| match access::private_dir(&self.layout.runs()) {
            Ok(()) => open(),
            Err(_) => Err(error),
        });
        let Ok(mut log) = opened else { return };
        let Ok(found) = log.metadata() else { return };
        if !found.is_file() || found.len() > MOST_BYTES || access::check(&path, &found).is_err() {
            return;
        }
        if found.mode() & 0o7777 != 0o600 {
            // The umask has taken more away than was asked for.
            let _ = access::make_private_file(&path);
        }
        let _ = log.write(&line);
    }
}

impl Reader {
    /// What came of all runs since they are counted.
    ///
    /// # Errors
    /// When the store is being changed all the time.
    pub fn tally(&self) -> Result<Tally> {
        // Nobody adds the log to the tally meanwhile. Where the store can only be read,
        // nobody does so at all.
        let _beside = match lock::add(&self.layout) {
            Err(error) if error.exit_code() != 2 => return Err(error),
            locked => locked.ok(),
        };
        let mut tally = read_tally(&self.layout);
        for (number, path) in numbered(&self.layout) {
            if number >= tally.next {
                tally.add_log(&read(&path, MOST_BYTES * 2).unwrap_or_default());
            }
        }
        tally.add_log(&read(&self.layout.run_log(), MOST_BYTES * 2).unwrap_or_default());
        tally.limit();
        Ok(tally)
    }
}

impl Store {
    /// Adds the log of runs to the tally if it has grown, and forgets programs that have not
    /// been run for so long. It is no error if others keep us from it.
    pub fn tidy_records(&self, unused_for: Option<Duration>) {
        if let Some(unused_for) = unused_for {
            let age = i64::try_from(unused_for.as_nanos()).unwrap_or(i64::MAX);
            self.records().forget_programs_before(now_ns().saturating_sub(age));
        }
        let log = fs::symlink_metadata(self.layout.run_log());
        let is_due =
            log.is_ok_and(|log| log.len() > FOLD_ABOVE) || numbered(&self.layout).next().is_some();
        if is_due && let Ok(lock) = lock::alter(&self.layout, PATIENCE) {
            let _ = self.fold(&lock, false);
        }
    }

    /// Adds the log of runs to the tally now.
    ///
    /// # Errors
    /// When the store cannot be changed.
    pub fn fold_runs(&self) -> Result<()> {
        self.fold(&lock::alter(&self.layout, lock::PATIENCE)?, false)
    }

    /// Begins to count runs anew.
    ///
    /// # Errors
    /// When the store cannot be changed.
    pub fn reset_tally(&self) -> Result<()> {
        self.fold(&lock::alter(&self.layout, lock::PATIENCE)?, true)
    }

    fn fold(&self, _alone: &Lock, anew: bool) -> Result<()> {
        let layout = &self.layout;
        access::private_dir(&layout.runs())?;
        let mut tally = read_tally(layout);
        if anew {
            tally = Tally { next: tally.next, since_ns: now_ns(), ..Tally::default() };
        }
        let mut done = Vec::new();
        for (number, path) in numbered(layout) {
            // One before has been added, and was to be removed.
            if number >= tally.next {
                if !anew {
                    tally.add_log(&read(&path, MOST_BYTES * 2).unwrap_or_default());
                }
                tally.next = number + 1;
            }
            done.push(path);
        }
        let moved = layout.numbered_run_log(tally.next);
        if fs::rename(layout.run_log(), &moved).is_ok() {
            fault::point("runs-log-moved");
            // The tally with what is in it must not outlive its old name.
            durable::sync_dir(&layout.runs())?;
            if !anew {
                tally.add_log(&read(&moved, MOST_BYTES * 2).unwrap_or_default());
            }
            tally.next += 1;
            done.push(moved);
        }
        tally.limit();
        let text = serde_json::to_vec(&tally)
            .map_err(|error| Error::failed("cannot write the tally as JSON").because(error))?;
        durable::put_anew(&layout.tally(), &layout.temporary(), &text)?;
        fault::point("runs-tally-put");
        for path in done {
            let _ = fs::remove_file(path);
        }
        Ok(())
    }
}

/// The tally; one without anything if there is none, or it is damaged. Then the logs that it
/// may have counted do not count.
fn read_tally(layout: &Layout) -> Tally {
    let path = layout.tally();
    let sound = read(&path, MOST_OF_TALLY).and_then(|text| serde_json::from_slice(&text).ok());
    sound.unwrap_or_else(|| {
        let there = path.symlink_metadata().is_ok();
        let next =
            numbered(layout).next_back().filter(|_| there).map_or(0, |(number, _)| number + 1);
        Tally { next, ..Tally::default() }
    })
}

/// The logs that have been renamed, in order.
fn numbered(layout: &Layout) -> impl DoubleEndedIterator<Item = (u64, std::path::PathBuf)> {
    let dir = layout.runs();
    let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
    let mut logs: Vec<_> = entries
        .filter_map(|entry| match layout::of_runs(entry.file_name().to_str()?) {
            Some(OfRuns::Numbered(number)) => Some((number, entry.path())),
            _ => None,
        })
        .collect();
    logs.sort_unstable();
    logs.into_iter()
}

fn read(path: &Path, most: u64) -> Option<Vec<u8>> {
    access::read_trusted(path, most).map(|(bytes, _)| bytes)
}
