//! What an image depends on, and what in it may be doubtful: made of what the interpreter
//! reported, what the park library observed, and what is mapped into the process.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Dumped;
use super::ingest::Identity;
use super::journal::{Asker, Question, place};
use crate::error::{Error, Result};
use crate::image::dump::Dump;
use crate::image::hazards::status;
use crate::key::evidence::{Evidence, Observed, Surroundings};
use crate::key::recipe::Recipe;
use crate::manifest::Doubt;
use crate::manifest::times::{self, Measured};

/// Modules that read the working directory while they are imported, and get it anew when an
/// image wakes (`renew` in `park/inside/woken.py`).
const DIRECTORY_RENEWED: [&str; 3] = ["multiprocessing.process", "pip._vendor.rich", "rich"];

/// Modules that read the time, likewise.
const TIME_RENEWED: [&str; 1] = ["logging"];

/// Modules that draw random bytes, likewise, besides those of `numpy.random`. (`secrets` and
/// `random` make generators that need no seed.)
const RANDOM_RENEWED: [&str; 3] = ["multiprocessing.process", "random", "secrets"];

/// Modules of the standard library whose random bytes are kept by whoever calls them. (Seeds
/// of generators are not among them: those get others.)
const DRAWS_FOR_OTHERS: [&str; 3] = ["random", "secrets", "uuid"];

impl Dumped {
    /// Everything that the imports depended on, together with what the image depended on
    /// that it was grown from.
    ///
    /// # Errors
    /// When something has changed meanwhile, or cannot be examined.
    pub(super) fn evidence(&self, dump: &Dump, identity: &Identity) -> Result<Evidence<'static>> {
        let mapped = dump
            .memory()
            .vmas
            .iter()
            .filter(|vma| vma.status() & status::FILE_PRIVATE != 0)
            .filter_map(|vma| dump.regular_file(vma.shmid()))
            .map(|file| PathBuf::from(file.name()));
        let own = self.own_files(&identity.recipe);
        let is_own = |path: &PathBuf| own.contains(path);
        let named = self.report.files.iter().chain(self.journal.read.keys()).cloned();
        let files = named.chain(mapped).filter(|path| !is_own(path));
        let mut read: BTreeSet<PathBuf> = files.collect();
        read.extend(identity.interpreter_files.iter().cloned());
        // importlib looks whether the program's own directory is there.
        let own_directory = self.report.own_directory.as_ref();
        let looked_at = self.journal.present.iter().filter(|path| !is_own(path));
        read.extend(looked_at.filter(|path| own_directory != Some(path)).cloned());
        // What was not there and is now, the imports have made themselves.
        let (made, absent) = self.absent();
        read.extend(made);
        self.refuse_changed(&read)?;

        let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        let directory = std::env::current_dir().unwrap_or_default();
        let surroundings = Surroundings {
            environment: &environment,
            directory: &directory,
            terminals: self.terminals,
        };
        let report = &self.report;
        let observed = Observed {
            read: read.into_iter().collect(),
            links: self.journal.links.iter().filter(|path| !is_own(path)).cloned().collect(),
            absent,
            modules: report.looked_for.clone(),
            distributions: report.distributions.clone(),
            sites: report.site_directories.clone(),
            listed: self.listed(),
            variables: self.journal.variables.iter().chain(&report.variables).cloned().collect(),
            all_variables: report.all_variables,
            directory: self.depends_on_directory(),
            terminals: self.asked_terminals(),
        };
        let known = self.inherited.as_ref().map(|parent| Evidence::parse(&parent.evidence));
        let evidence = known
            .unwrap_or_else(|| Ok(Evidence::default()))
            .and_then(|known| known.and(observed, surroundings))
            .map_err(|error| Error::failed("cannot examine what was imported").because(error))?;
        self.refuse_new(&evidence)?;
        Ok(evidence)
    }

    /// Files that are there for the build only: the park library, and the script whose
    /// imports are the recipe, for the image holds no more of it. Of a directory that is
    /// its `__main__.py`; an archive has modules as well.
    fn own_files(&self, recipe: &Recipe) -> BTreeSet<PathBuf> {
        let mut own: BTreeSet<PathBuf> = self.library.iter().cloned().collect();
        let Recipe::Script { script } = recipe.last() else { return own };
        if self.report.own_directory.as_ref() == Some(script) {
            own.insert(script.join("__main__.py"));
        } else {
            own.extend(script.canonicalize().ok());
            own.insert(script.clone());
        }
        own
    }

    /// Paths that were looked for in vain: those that are there now, and the others. Files
    /// that came and went, and compiled ones that are yet to be made, do not count.
    fn absent(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let counts = |path: &&PathBuf| {
            let is_cache = path.parent().is_some_and(|parent| parent.ends_with("__pycache__"));
            !self.journal.written.contains_key(*path) && !is_cache
        };
        let all = self.journal.absent.iter().filter(counts).cloned();
        all.partition(|path| path.symlink_metadata().is_ok())
    }

    /// What is recorded is the state of now, and imports may have seen another. Compiled files
    /// are made by importing, and go with their source; what the imports have written
    /// themselves they know.
    fn refuse_changed(&self, read: &BTreeSet<PathBuf>) -> Result<()> {
        let own = |path: &Path| {
            self.journal.made(path) || path.extension().is_some_and(|ending| ending == "pyc")
        };
        let was_read = |path: &PathBuf| self.journal.read.contains_key(path);
        let is_gone = |path: &PathBuf| was_read(path) && path.symlink_metadata().is_err();
        let changed = |path: &PathBuf| is_gone(path) || changed_since(path, self.started);
        match read.iter().find(|path| !own(path) && changed(path)) {
            Some(path) => Err(changed_meanwhile(path)),
            None => Ok(()),
        }
    }

    /// What has come into a directory since the imports looked there would be taken for what
    /// they saw.
    fn refuse_new(&self, evidence: &Evidence) -> Result<()> {
        let new =
            |path: &PathBuf| changed_since(path, self.started) || made_since(path, self.started);
        if let Some(path) = evidence.listed_paths().find(new) {
            return Err(changed_meanwhile(&path));
        }
        let changed = |directory: &&PathBuf| status_changed_since(directory, self.started);
        match self.listed().iter().find(changed) {
            Some(directory) => Err(changed_meanwhile(directory)),
            None => Ok(()),
        }
    }

    /// Directories that code listed, but for those of the kernel.
    fn listed(&self) -> Vec<PathBuf> {
        self.report.listed.iter().filter_map(|path| place(path)).collect()
    }

    /// The standard descriptors of which modules asked whether they are terminals; the
    /// interpreter and the library ask as well, for themselves.
    fn asked_terminals(&self) -> BTreeSet<u8> {
        let asked = self.journal.questions.iter().filter(|(_, asker)| asker.nearest != "?");
        let of = |(question, _): &(Question, Asker)| match question {
            Question::Terminal(descriptor) => Some(*descriptor),
            _ => None,
        };
        asked.filter_map(of).collect()
    }

    fn depends_on_directory(&self) -> bool {
        let asked = |(question, asker): &(Question, Asker)| {
            *question == Question::WorkingDirectory
                // For an entry of the search path that stands for the current directory.
                && !["?", "importlib._bootstrap_external", "_frozen_importlib_external"]
                    .contains(&asker.nearest.as_str())
                && !is_renewed(*question, &asker.importing)
        };
        self.journal.relative || self.report.relative || self.journal.questions.iter().any(asked)
    }

    /// # Errors
    /// When a module has drawn random bytes that all runs would share and take for their own.
    pub(super) fn refuse_drawn_secrets(&self) -> Result<()> {
        let origins = &self.report.origins;
        let library = origins.get("os").cloned().flatten();
        let is_standard = |module: &str| {
            let top = module.split('.').next().unwrap_or_default();
            match origins.get(top).cloned().flatten() {
                Some(origin) => library.as_ref().is_some_and(|library| {
                    origin == *library || origin == library.join("lib-dynload")
                }),
                None => top != "__main__",
            }
        };
        let is_kept = |(question, asker): &&(Question, Asker)| {
            *question == Question::RandomBytes
                && !is_renewed(*question, &asker.importing)
                && (DRAWS_FOR_OTHERS.contains(&asker.nearest.as_str())
                    || !is_standard(&asker.nearest))
        };
        match self.journal.questions.iter().find(is_kept) {
            Some((_, asker)) => Err(super::unfit(&format!(
                "{} has drawn random bytes while it was imported, which would be the same in every run",
                asker.importing
            ))),
            None => Ok(()),
        }
    }

    /// What the modules did that every run shares.
    pub(super) fn doubts(&self) -> Vec<Doubt> {
        let asked = self.journal.questions.iter().filter_map(|(question, asker)| {
            let what = match question {
                Question::Time => "read the time",
                Question::RandomBytes => "drew random bytes",
                Question::Seed => "seeded a random generator",
                Question::UserId => "read a user's id",
                // That is evidence.
                Question::WorkingDirectory | Question::Terminal(_) => return None,
            };
            let known = asker.nearest == "?" || is_renewed(*question, &asker.importing);
            (!known).then(|| Doubt { what: what.to_owned(), module: asker.importing.clone() })
        });
        let told = self.report.doubts.iter();
        let told = told.map(|(what, module)| Doubt { what: what.clone(), module: module.clone() });
        let before = self.inherited.iter().flat_map(|parent| parent.manifest.doubts.clone());
        let all: BTreeSet<Doubt> = asked.chain(told).chain(before).collect();
        all.into_iter().collect()
    }

    /// Top-level modules that were looked for in vain and have not been found since.
    pub(super) fn absent_modules(&self) -> Vec<String> {
        let before = self.inherited.iter().flat_map(|parent| &parent.manifest.absent_modules);
        let all: BTreeSet<&String> = before.chain(&self.report.absent_modules).collect();
        all.into_iter().filter(|name| !self.report.origins.contains_key(*name)).cloned().collect()
    }

    /// How long each top-level module took and what it imports, with those of the image that
    /// this was grown from; for the index.
    pub(super) fn import_times(&self) -> String {
        let measured = Measured {
            times: self.report.import_times.clone(),
            needs: self.report.import_needs.clone(),
        };
        let before = self.inherited.as_ref().map_or("", |parent| &parent.import_times);
        times::to_text(&measured.and(before))
    }

    /// The modules that came from the directory of the recipe itself, this one's and, of a
    /// grown image, those before.
    pub(super) fn local_modules(&self) -> BTreeMap<String, PathBuf> {
        let report = &self.report;
        let own = report.own_directory.as_ref().filter(|own| !report.sys_path.contains(own));
        let new =
            report.origins.iter().filter(|(_, origin)| own.is_some() && origin.as_ref() == own);
        let new = new.filter_map(|(name, origin)| Some((name.clone(), origin.clone()?)));
        let mut all: BTreeMap<_, _> = new.collect();
        let before = self.inherited.iter().flat_map(|parent| &parent.manifest.local_modules);
        all.extend(before.map(|(name, origin)| (name.clone(), origin.clone())));
        all
    }
}

/// Whether what a module asked for while it was imported is put right when an image wakes.
fn is_renewed(question: Question, module: &str) -> bool {
    let modules: &[&str] = match question {
        Question::Time => &TIME_RENEWED,
        Question::RandomBytes | Question::Seed if module.starts_with("numpy.random") => {
            return true;
        }
        Question::RandomBytes | Question::Seed => &RANDOM_RENEWED,
        Question::WorkingDirectory => &DIRECTORY_RENEWED,
        Question::UserId | Question::Terminal(_) => &[],
    };
    modules.contains(&module)
}

fn changed_meanwhile(path: &Path) -> Error {
    Error::failed(format!("{} has changed while the image was being built", path.display()))
        .hint("build it again")
}

/// Whether a file, no directory, has been written or put in its place after a moment.
fn changed_since(path: &Path, moment: SystemTime) -> bool {
    !path.is_dir() && status_changed_since(path, moment)
}

fn status_changed_since(path: &Path, moment: SystemTime) -> bool {
    path.metadata().is_ok_and(|found| {
        let changed = UNIX_EPOCH
            + Duration::new(found.ctime().max(0).cast_unsigned(), found.ctime_nsec() as u32);
        changed > moment
    })
}

/// Whether a directory, which changes with what is in it, has been made after a moment; no
/// if the file system does not know.
fn made_since(path: &Path, moment: SystemTime) -> bool {
    let made = path.metadata().and_then(|found| found.created());
    path.is_dir() && made.is_ok_and(|made| made > moment)
}
