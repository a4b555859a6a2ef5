//! Chooses the image of a run.
//!
//! The index names the images of the same interpreter, flags, variables and machine. Of
//! those, the one that covers most of what the program imports is looked at closely: is
//! the interpreter the same, and does nothing stand in front of its modules? If that fails
//! the next one is tried; the reason that is told is the best image's.
//!
//! Whether every file is as it was is not looked at here: that takes longer than all the
//! rest, and CRIU can work meanwhile.

use std::path::{Path, PathBuf};

use super::command_line::{Program, Run};
use super::miss::Miss;
use super::shadow;
use super::source::Source;
use crate::key::host::Host;
use crate::key::interpreter::Interpreter;
use crate::key::python_env::PythonEnv;
use crate::manifest::Manifest;
use crate::store::{self, Candidate, CandidateQuery, Image, ImageId, RunStore};

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
}

/// An image that may be used.
#[derive(Debug)]
pub struct Chosen {
    /// The program, looked at.
    pub source: Source,
    /// Which image.
    pub id: ImageId,
    /// What it is called.
    pub name: String,
    /// What it says of itself and where its pages are.
    pub manifest: store::Manifest<Manifest>,
}

impl Wanted<'_> {
    /// Chooses among the images of the interpreter by what the program imports, but for
    /// those that were tried already.
    ///
    /// # Errors
    /// Why there is none.
    pub fn choose(&self, store: &RunStore, passed_over: &[ImageId]) -> Result<Chosen, Miss> {
        let host = Host::read();
        let flags = self.run.flags.to_string();
        let python_env = self.python_env.canonical();
        let query = CandidateQuery {
            executable: self.interpreter.invoked.to_str().unwrap_or_default(),
            interpreter: None,
            kernel: &host.kernel,
            glibc: &host.libc,
            cpu: &host.processor,
            flags: &flags,
            python_env: &python_env,
        };
        let candidates =
            store.candidates(&query).map_err(|error| Miss::Store(error.to_string()))?;
        if candidates.is_empty() {
            return Err(self.why_no_candidate(store, &host));
        }
        let source = Source::of(self.run, self.cwd, &self.search_path(store, &candidates[0])?)?;
        let Some(imports) = &source.imports else {
            return Err(Miss::Program("what the program imports cannot be seen".into()));
        };
        let covered = |candidate: &Candidate| {
            candidate.modules.iter().filter(|module| imports.contains(*module)).count()
        };
        let mut covering: Vec<(usize, Candidate)> = candidates
            .into_iter()
            .map(|candidate| (covered(&candidate), candidate))
            .filter(|(covered, candidate)| *covered > 0 && !passed_over.contains(&candidate.id))
            .collect();
        // Most of what is needed first; among equals, least of what is not.
        covering.sort_by_key(|(covered, candidate)| {
            (std::cmp::Reverse(*covered), candidate.modules.len())
        });
        let mut first_miss = None;
        for (_, candidate) in covering {
            match self.examine(store, candidate.id, candidate.name, source.clone()) {
                Ok(chosen) => return Ok(chosen),
                Err(miss) => first_miss = first_miss.or(Some(miss)),
            }
        }
        Err(first_miss.unwrap_or(Miss::NotCovered))
    }

    /// Takes the image that the user named, if it fits.
    ///
    /// # Errors
    /// Why it does not.
    pub fn take(&self, store: &RunStore, image: &Image) -> Result<Chosen, Miss> {
        if let Some(miss) = self.misfit(image, &Host::read()) {
            return Err(miss);
        }
        let source = Source::of(self.run, self.cwd, &[])?;
        self.examine(store, image.id, image.record.name.clone(), source)
    }

    /// Where a module that is to be run would be looked for; nobody else needs to know.
    fn search_path(&self, store: &RunStore, candidate: &Candidate) -> Result<Vec<PathBuf>, Miss> {
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
    fn why_no_candidate(&self, store: &RunStore, host: &Host) -> Miss {
        let executable = self.interpreter.invoked.as_path();
        let images = store.images().unwrap_or_default();
        images
            .iter()
            .rev()
            .filter(|image| Path::new(&image.record.executable) == executable)
            .find_map(|image| self.misfit(image, host))
            .unwrap_or_else(|| Miss::NoImage(executable.to_owned()))
    }

    /// Looks at what could have changed since the image was built, but for its files.
    fn examine(
        &self,
        store: &RunStore,
        id: ImageId,
        name: String,
        source: Source,
    ) -> Result<Chosen, Miss> {
        let manifest = load(store, &id)?;
        let content = &manifest.content;
        if content.python.real != self.interpreter.real {
            return Err(Miss::InterpreterChanged(self.interpreter.invoked.clone()));
        }
        let suffixes = &content.python.suffixes;
        let modules = &content.modules;
        let odd = |path: &Path, why: String| Miss::Program(format!("{} {why}", path.display()));
        let shadowed =
            |found: shadow::Shadow| Err(Miss::Shadowed { module: found.module, path: found.path });
        for directory in source.first_path.iter().chain(self.python_path) {
            let shadow = shadow::find(directory, modules, suffixes);
            shadow.map_err(|why| odd(directory, why))?.map_or(Ok(()), shadowed)?;
        }
        let shadow = shadow::find_among(&content.search_path, modules, suffixes);
        shadow.map_err(|(path, why)| odd(&path, why))?.map_or(Ok(()), shadowed)?;
        let elsewhere = |(_, directory): &(&String, &PathBuf)| {
            source.first_path.as_ref() != Some(directory) && !self.python_path.contains(directory)
        };
        if let Some((module, directory)) = content.local_modules.iter().find(elsewhere) {
            return Err(Miss::NotSeen { module: module.clone(), directory: directory.clone() });
        }
        Ok(Chosen { source, id, name, manifest })
    }
}

fn load(store: &RunStore, id: &ImageId) -> Result<store::Manifest<Manifest>, Miss> {
    store.load_manifest(id).map_err(|error| Miss::Damaged(error.to_string()))
}
