//! Which images no run can use any more, as far as can be told without starting Python.
//!
//! What is damaged is not stale: `pyimg verify` is for that.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::commands::show::foreign;
use crate::key::evidence::many::Many;
use crate::key::host::Host;
use crate::manifest::EVIDENCE;
use crate::parallel;
use crate::store::gc::{ImageUse, Limits, Survey};
use crate::store::{ImageRecord, Reader};

/// How long an image of another machine or kernel stays although it is not used. A machine
/// may be started with one kernel today and the other tomorrow, and a home may be that of
/// several machines.
const GRACE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Of each image of the survey, why no run can use it; none if runs can, or if it cannot be
/// told.
pub(super) fn find(store: &Reader, survey: &Survey, limits: &Limits) -> Vec<Option<String>> {
    let here = Host::read();
    let with_files: Vec<(&ImageUse, PathBuf)> = survey
        .images
        .iter()
        .map(|used| (used, store.image_dir(&used.image.id).join(EVIDENCE)))
        .collect();
    parallel::by_parts(&with_files, |part| {
        let mut seen = Seen::default();
        part.iter()
            .map(|(used, evidence)| {
                let record = &used.image.record;
                match foreign(record, &here) {
                    // Its files are perhaps those of another machine.
                    Some(why) if limits.idle(&used.image) >= GRACE => Some(why),
                    Some(_) => None,
                    None => seen.change(record, evidence),
                }
            })
            .collect()
    })
}

/// What was looked up already: most images share it.
#[derive(Default)]
struct Seen<'a> {
    executables: HashMap<&'a str, Option<PathBuf>>,
    evidence: Many,
}

impl<'a> Seen<'a> {
    fn change(&mut self, record: &'a ImageRecord, evidence: &Path) -> Option<String> {
        let executable = record.executable.as_str();
        let real = self.executables.entry(executable);
        match real.or_insert_with(|| fs::canonicalize(executable).ok()) {
            None => return Some(format!("{executable} is missing")),
            Some(real) if real.as_os_str() != record.real_executable.as_str() => {
                return Some(format!("{executable} has changed"));
            }
            Some(_) => {}
        }
        let change = self.evidence.first_change(&fs::read(evidence).ok()?).ok()?;
        change.map(|change| change.to_string())
    }
}
