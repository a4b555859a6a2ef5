//! Chooses the image of a run: the one that saves most time.
//!
//! The index names the images of the same interpreter, flags, variables and machine, and how
//! long each of their modules took to import. What the program imports, with all that those
//! modules import in turn, is what an image saves; what restoring it costs is taken off. Images
//! are looked at closely in that order: is the interpreter the same, and does nothing stand
//! in front of its modules? The reason that is told is the best image's.
//!
//! Whether every file is as it was is not looked at here: that takes longer than all the
//! rest, and CRIU can work meanwhile.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::command_line::{Program, Run};
use super::miss::Miss;
use super::shadow;
use super::source::{Form, Source};
use crate::key::evidence::{Surroundings, surroundings_difference};
use crate::key::host::Host;
use crate::key::interpreter::Interpreter;
use crate::key::python_env::PythonEnv;
use crate::manifest::Manifest;
use crate::manifest::times::ImportTimes;
use crate::store::{self, Candidate, CandidateQuery, Files, Image, ImageId, Reader};
use crate::trace;

/// What a small image spares besides imports, in nanoseconds: the interpreter's own start,
/// less what `pyrun` takes.
const SPARED_NS: u64 = 6_500_000;
/// What a megabyte of memory adds to a restore, in nanoseconds.
const NS_PER_MEGABYTE: u64 = 20_000;

/// How much longer a program takes to begin from an image of so many bytes than in bare
/// Python, in nanoseconds, imports aside.
///
/// Measured with `-c pass`, from start to end (CPython 3.11, medians of 40, where bare Python
/// takes 9.2 ms), without a replay: an image of 11 MB (nothing imported) 6.8 ms less than bare
/// Python, one of 105 MB (matplotlib) 5.3 ms, of 215 MB (sklearn) 2.8 ms, of 265 MB (both, scipy
/// and sqlalchemy) 1.5 ms less; with one 1.4 to 2.5 ms less still. By CRIU scipy and sklearn take
/// 4 and 7 ms more than bare Python (`scripts/bench-start`), but few images need CRIU. It need
/// not be exact: imports that are worth an image take tens of milliseconds.
pub fn restore_ns(bytes: u64) -> u64 {
    (bytes / 1_000_000).saturating_mul(NS_PER_MEGABYTE).saturating_sub(SPARED_NS)
}

/// What a run needs of an image.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// What is to run.
    pub run: &'a Run,
    /// The interpreter.
    pub interpreter: &'a Interpreter,
    /// The variables that changed its start.
    pub python_env: &'a PythonEnv,
    /// The directories of `PYTHONPATH`, which come before those that every run has.
    pub python_path: &'a [PathBuf],
    /// The working directory.
    pub cwd: &'a Path,
    /// The top-level modules that the program had in the end when it ran last, if that is
    /// remembered.
    pub remembered: Option<&'a BTreeSet<String>>,
    /// What the run has from its caller.
    pub surroundings: Surroundings<'a>,
}

/// The modules that a program is taken to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Their top-level names.
    pub modules: BTreeSet<String>,
    /// Where that is known from.
    pub from: KnownFrom,
}

/// Where it is known from what a program imports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownFrom {
    /// It was seen when the program ran last.
    LastRun,
    /// Its source says so.
    Source,
}

/// The images that a run may begin from.
#[derive(Debug)]
pub struct Ranking {
    /// The program, looked at.
    pub source: Source,
    /// What it imports; nothing if that cannot be known.
    pub imported: Option<Imported>,
    /// The images, the best first.
    pub images: Vec<Ranked>,
}

/// An image, as far as the index tells about it.
#[derive(Debug)]
pub struct Ranked {
    /// Which image.
    pub id: ImageId,
    /// What it is called.
    pub name: String,
    /// How long its imports took in plain Python, in nanoseconds.
    pub import_ns: u64,
    /// How much of that the program would have to wait for in plain Python; none if that is
    /// not known.
    pub saves_ns: Option<u64>,
    /// What restoring it costs: [`restore_ns`].
    pub restore_ns: u64,
    /// What of its surroundings it depends on, as the index has it.
    pub surroundings: String,
    /// Why it is not used, if the index tells.
    pub against: Option<Miss>,
}

/// An image that may be used.
#[derive(Debug)]
pub struct Chosen {
    /// Which image.
    pub id: ImageId,
    /// What it is called.
    pub name: String,
    /// As [`Ranked::saves_ns`].
    pub saves_ns: Option<u64>,
    /// What it says of itself and where its pages are.
    pub manifest: store::RunManifest<Manifest>,
}

/// What a program is taken to import: what it was seen to need, also in code that is not beside
/// it, and what its source says, which may have changed since.
pub fn imported(remembered: Option<&BTreeSet<String>>, source: &Source) -> Option<Imported> {
    let (seen, read) = (remembered, source.imports.as_ref());
    let from = if seen.is_some() { KnownFrom::LastRun } else { KnownFrom::Source };
    let modules = seen.into_iter().chain(read).flatten().cloned().collect();
    (seen.is_some() || read.is_some()).then_some(Imported { modules, from })
}

/// How long the program's imports take in plain Python, as far as each image has them, in
/// nanoseconds; none for images that have no times.
///
/// What differs between two images is noise of the moment in which they were built, so the
/// least time of a module counts for all of them; else a noisy one would always win.
fn savings<'a>(images: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>) -> Vec<Option<u64>> {
    let images = images.into_iter().map(|(times, wanted)| {
        let times = ImportTimes::parse(times);
        (!times.is_empty()).then(|| times.of(wanted))
    });
    let images: Vec<_> = images.collect();
    let mut least: HashMap<&str, u64, foldhash::fast::RandomState> = HashMap::default();
    for (name, own) in images.iter().flatten().flatten() {
        least.entry(name).and_modify(|least| *least = (*own).min(*least)).or_insert(*own);
    }
    let sum = |modules: &Vec<(&str, u64)>| {
        modules.iter().fold(0_u64, |sum, (name, _)| sum.saturating_add(least[name]))
    };
    images.iter().map(|modules| modules.as_ref().map(sum)).collect()
}

/// Those of an image's modules that the program imports itself.
fn covered<'a>(modules: &'a [String], imported: &Imported) -> Vec<&'a str> {
    let is_wanted = |module: &&String| imported.modules.contains(*module);
    modules.iter().filter(is_wanted).map(String::as_str).collect()
}

/// The images, given from the newest to the oldest, in the order in which they are tried.
fn in_order(candidates: Vec<Candidate>, imported: &Imported, now: Surroundings<'_>) -> Vec<Ranked> {
    let savings =
        savings(candidates.iter().map(|candidate| {
            (candidate.import_times.as_str(), covered(&candidate.modules, imported))
        }));
    let images = candidates.into_iter().zip(savings).map(|(candidate, saves_ns)| {
        let Candidate { id, name, modules, import_ns, page_bytes, surroundings, .. } = candidate;
        let (covered, size) = (covered(&modules, imported).len(), modules.len());
        let restore_ns = restore_ns(page_bytes);
        // Of an image of an older store only the sum is known; each module is taken to have
        // its share of it. That is too little for a package with many modules below it, and
        // so nothing that is held against the image.
        let share = || u128::from(import_ns) * covered as u128 / size.max(1) as u128;
        let gain = saves_ns.map_or_else(share, u128::from) as i128 - i128::from(restore_ns);
        let against = match saves_ns {
            _ if covered == 0 => Some(Miss::NotCovered),
            Some(saves) if saves <= restore_ns && !takes_any() => {
                Some(Miss::NotWorthIt { saves, restore_ns })
            }
            _ => surroundings_difference(&surroundings, now).map(Miss::Evidence),
        };
        let image = Ranked { id, name, import_ns, saves_ns, restore_ns, surroundings, against };
        (gain, size, image)
    });
    let mut images: Vec<_> = images.collect();
    // Among equals the one with the least that is not needed, then the newest.
    images.sort_by_key(|(gain, size, image)| (rank_of(image), Reverse(*gain), *size));
    images.into_iter().map(|(_, _, image)| image).collect()
}

impl Wanted<'_> {
    /// Ranks the images of the interpreter by the time that they save the program.
    ///
    /// # Errors
    /// Why there is none to rank.
    pub fn rank(&self, store: &Reader) -> Result<Ranking, Miss> {
        let host = Host::read();
        let flags = self.run.flags.to_string();
        let python_env = self.python_env.canonical();
        let query = CandidateQuery {
            executable: self.interpreter.invoked.to_str().unwrap_or_default(),
            interpreter: None,
            kernel: &host.kernel,
            glibc: Some(&*host.libc).filter(|libc| !libc.is_empty()),
            cpu: &host.processor,
            flags: &flags,
            python_env: &python_env,
        };
        let candidates =
            store.candidates(&query).map_err(|error| Miss::Store(error.to_string()))?;
        trace::reached("index");
        if candidates.is_empty() {
            return Err(self.why_no_candidate(store, &host));
        }
        let source = Source::of(self.run, self.cwd, &self.search_path(store, &candidates[0])?)?;
        trace::reached("source");
        let Some(imported) = imported(self.remembered, &source) else {
            return Err(Miss::Unseen);
        };
        let images = in_order(candidates, &imported, self.surroundings);
        Ok(Ranking { source, imported: Some(imported), images })
    }

    /// The image that the user named, whatever it saves.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn only(&self, image: &Image) -> Result<Ranking, Miss> {
        let elsewhere = || surroundings_difference(&image.record.surroundings, self.surroundings);
        let against = self.misfit(image, &Host::read()).or_else(|| elsewhere().map(Miss::Evidence));
        let source = Source::of(self.run, self.cwd, &[])?;
        let imported = imported(self.remembered, &source);
        let record = &image.record;
        let wanted = imported.as_ref().map(|imported| covered(&record.modules, imported));
        let saves_ns = wanted.and_then(|wanted| savings([(&*record.import_times, wanted)])[0]);
        let ranked = Ranked {
            id: image.id,
            name: record.name.clone(),
            import_ns: record.import_ns,
            saves_ns,
            restore_ns: restore_ns(image.page_bytes),
            surroundings: record.surroundings.clone(),
            against,
        };
        Ok(Ranking { source, imported, images: vec![ranked] })
    }

    /// The images of the interpreter, the newest first, each with what makes it one for
    /// another machine, other options or other variables.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn images_of_interpreter(
        &self,
        store: &Reader,
        host: &Host,
    ) -> Result<Vec<(Image, Option<Miss>)>, Miss> {
        let images = store.images().map_err(|error| Miss::Store(error.to_string()))?;
        let own = images.into_iter().rev().filter(|image| self.is_of_interpreter(image));
        let with_misfit = |image| {
            let misfit = self.misfit(&image, host);
            (image, misfit)
        };
        Ok(own.map(with_misfit).collect())
    }

    fn is_of_interpreter(&self, image: &Image) -> bool {
        Path::new(&image.record.executable) == self.interpreter.invoked
    }

    /// Where a module that is to be run would be looked for; nobody else needs to know.
    fn search_path(&self, store: &Reader, candidate: &Candidate) -> Result<Vec<PathBuf>, Miss> {
        match self.run.program {
            Program::Module(_) => Ok(load(store, &candidate.id)?.content.search_path),
            _ => Ok(Vec::new()),
        }
    }

    /// What of the index's words on an image does not fit this run.
    fn misfit(&self, image: &Image, host: &Host) -> Option<Miss> {
        let record = &image.record;
        let built_on = Host {
            kernel: record.kernel.clone(),
            libc: record.glibc.clone(),
            processor: record.cpu.clone(),
        };
        if let Some(difference) = host.difference(&built_on) {
            return Some(Miss::HostDiffers(difference.to_owned()));
        }
        if record.flags != self.run.flags.to_string() {
            return Some(Miss::FlagsDiffer {
                image: record.flags.clone(),
                run: self.run.flags.to_string(),
            });
        }
        self.python_env.difference(&record.python_env).map(Miss::EnvironmentDiffers)
    }

    /// The closest reason why the index names no image for this run.
    fn why_no_candidate(&self, store: &Reader, host: &Host) -> Miss {
        let images = self.images_of_interpreter(store, host).unwrap_or_default();
        images
            .into_iter()
            .filter_map(|(_, misfit)| misfit)
            .min_by_key(Miss::distance)
            .unwrap_or_else(|| Miss::NoImage(self.interpreter.invoked.clone()))
    }

    /// Looks at what could have changed since the image was built, but for its files.
    ///
    /// # Errors
    /// Why the image cannot be used.
    pub fn examine(&self, store: &Files, image: &Ranked, source: &Source) -> Result<Chosen, Miss> {
        if let Some(miss) = &image.against {
            return Err(miss.clone());
        }
        let manifest = load(store, &image.id)?;
        trace::reached("manifest");
        let content = &manifest.content;
        if content.python.real != self.interpreter.real {
            return Err(Miss::InterpreterChanged(self.interpreter.invoked.clone()));
        }
        let suffixes = &content.python.suffixes;
        let (modules, absent) = (&content.modules, &content.absent_modules);
        let odd = |path: &Path, why: String| Miss::Program(format!("{} {why}", path.display()));
        let shadowed =
            |found: shadow::Shadow| Err(Miss::Shadowed { module: found.module, path: found.path });
        for directory in source.first_path.iter().chain(self.python_path) {
            let shadow = shadow::find(directory, modules, absent, suffixes);
            shadow.map_err(|why| odd(directory, why))?.map_or(Ok(()), shadowed)?;
        }
        let shadow = shadow::find_among(&content.search_path, modules, suffixes);
        shadow.map_err(|(path, why)| odd(&path, why))?.map_or(Ok(()), shadowed)?;
        // The modules of a directory or an archive that is the program are called as that was.
        let own = match (source.form, self.run.script()) {
            (Form::Archive, script) => script,
            _ => source.first_path.as_deref(),
        };
        let elsewhere = |(_, directory): &(&String, &PathBuf)| {
            own.map(Path::as_os_str) != Some(directory.as_os_str())
                && !self.python_path.contains(directory)
        };
        if let Some((module, directory)) = content.local_modules.iter().find(elsewhere) {
            return Err(Miss::NotSeen { module: module.clone(), directory: directory.clone() });
        }
        let Ranked { id, saves_ns, .. } = *image;
        Ok(Chosen { id, name: image.name.clone(), saves_ns, manifest })
    }
}

/// Images that are of use come first, then those that would be elsewhere, and those that would
/// be if they saved more.
fn rank_of(image: &Ranked) -> u8 {
    match image.against {
        None => 0,
        Some(Miss::Evidence(_)) => 1,
        Some(Miss::NotWorthIt { .. }) => 2,
        Some(_) => 3,
    }
}

/// Whether images are used whatever they save: in a debug build, where a test says so that is
/// about something else, since times differ from run to run.
pub(super) fn takes_any() -> bool {
    cfg!(debug_assertions)
        && std::env::var_os("PYIMG_TEST_WORTH").is_some_and(|worth| worth == "any")
}

fn load(store: &Files, id: &ImageId) -> Result<store::RunManifest<Manifest>, Miss> {
    store.load_for_run(id).map_err(|error| Miss::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests;
