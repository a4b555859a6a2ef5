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
use crate::manifest;
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
    let with_directories: Vec<(&ImageUse, PathBuf)> =
        survey.images.iter().map(|used| (used, store.image_dir(&used.image.id))).collect();
    parallel::by_parts(&with_directories, |part| {
        let mut seen = Seen::default();
        part.iter()
            .map(|(used, directory)| {
                let record = &used.image.record;
                match foreign(record, &here) {
                    // Its files are perhaps those of another machine.
                    Some(why) if limits.idle(&used.image) >= GRACE => Some(why),
                    Some(_) => None,
                    None => seen.change(record, directory),
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
    fn change(&mut self, record: &'a ImageRecord, directory: &Path) -> Option<String> {
        let executable = record.executable.as_str();
        let real = self.executables.entry(executable);
        match real.or_insert_with(|| fs::canonicalize(executable).ok()) {
            None => return Some(format!("{executable} is missing")),
            Some(real) if real.as_os_str() != record.real_executable.as_str() => {
                return Some(format!("{executable} has changed"));
            }
            Some(_) => {}
        }
        let change = self.evidence.first_change(&manifest::read_evidence(directory).ok()?).ok()?;
        change.map(|change| change.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::evidence::Evidence;
    use crate::manifest::EVIDENCE;
    use crate::store::{Digest, ImageKey, Store};

    const DAY_NS: i64 = 24 * 3600 * 1_000_000_000;

    /// A store in which images differ in what their records say.
    struct World {
        directory: tempfile::TempDir,
        store: Store,
        record: ImageRecord,
    }

    impl World {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(&directory.path().join("store")).unwrap();
            let executable = directory.path().canonicalize().unwrap().join("python");
            fs::write(&executable, "a Python").unwrap();
            let executable = executable.display().to_string();
            let Host { kernel, libc, processor } = Host::read();
            let record = ImageRecord {
                key: ImageKey::new([0; 32]),
                name: String::new(),
                python: "3.11.7".into(),
                real_executable: executable.clone(),
                executable,
                interpreter: Digest::new([1; 32]),
                kernel,
                glibc: libc,
                cpu: processor,
                flags: String::new(),
                python_env: String::new(),
                recipe: String::new(),
                modules: Vec::new(),
                import_ns: 0,
                import_times: String::new(),
                criu: String::new(),
                surroundings: String::new(),
            };
            Self { directory, store, record }
        }

        fn add(&self, name: &str, evidence: &[u8], change: impl FnOnce(&mut ImageRecord)) {
            self.add_with(name, (EVIDENCE, evidence), change);
        }

        fn add_with(
            &self,
            name: &str,
            (file, evidence): (&str, &[u8]),
            change: impl FnOnce(&mut ImageRecord),
        ) {
            let key = ImageKey::from(blake3::hash(name.as_bytes()));
            let mut record = ImageRecord { key, name: name.into(), ..self.record.clone() };
            change(&mut record);
            let mut sealed = self.store.begin(0).unwrap().seal().unwrap();
            sealed.add_file(file, evidence).unwrap();
            sealed.commit(record, &"", &[]).unwrap();
        }

        /// What is stale so many days from now.
        fn stale(&self, days: i64) -> Vec<Option<String>> {
            let survey = self.store.survey().unwrap();
            let now_ns = crate::commands::view::now_ns() + days * DAY_NS;
            let limits = Limits { now_ns, max_bytes: None, unused_for: None, cold_after: None };
            find(&self.store, &survey, &limits)
        }
    }

    #[test]
    fn images_of_another_machine_have_a_week() {
        let world = World::new();
        let module = world.directory.path().join("module.py");
        fs::write(&module, "x = 1\n").unwrap();
        let evidence = Evidence::record([module.clone()], []).unwrap().to_bytes();
        world.add("here", &evidence, |_| {});
        world.add("kernel", &evidence, |record| record.kernel = "another".into());
        world.add("cpu", &evidence, |record| record.cpu = "another".into());
        assert_eq!(world.stale(6), [None, None, None]);
        let foreign = |what: &str| Some(format!("it was built with another {what}"));
        assert_eq!(world.stale(8), [None, foreign("kernel"), foreign("processor")]);
        fs::write(&module, "x = 22\n").unwrap();
        // That says nothing about the other machine's.
        assert_eq!(world.stale(0), [Some(format!("{} has changed", module.display())), None, None]);
    }

    #[test]
    fn an_interpreter_that_is_gone_makes_stale_and_damage_does_not() {
        let world = World::new();
        let evidence = Evidence::default().to_bytes();
        world.add("good", &evidence, |_| {});
        world.add("damaged", &evidence[..evidence.len() - 1], |_| {});
        world.add("gone", &evidence, |record| record.executable = "/nonexistent/python".into());
        world.add("other", &evidence, |record| record.real_executable = "/bin/sh".into());
        let executable = &world.record.executable;
        assert_eq!(
            world.stale(0),
            [
                None,
                None,
                Some("/nonexistent/python is missing".into()),
                Some(format!("{executable} has changed")),
            ]
        );
    }

    #[test]
    fn images_from_before_this_version_are_stale_and_damaged_ones_are_not() {
        let world = World::new();
        let json = br#"{"version":2,"directories":[],"listings":[]}"#;
        world.add_with("before", ("evidence.json", json), |_| {});
        world.add_with("without", ("core-1.img", b"a core"), |_| {});
        let version = "another version of pyimg has recorded the evidence";
        assert_eq!(world.stale(0), [Some(version.into()), None]);
    }
}
