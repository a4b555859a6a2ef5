//! `pyimg build --from IMAGE`: the image that is to grow, and whether it may.
//!
//! A grown image has its parent's interpreter, flags and variables; what is asked for
//! besides must fit, and so must this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{existing_store, find};
use crate::capture::{Parent, rebuild};
use crate::error::{Error, Result};
use crate::key::flags::Flags;
use crate::key::host::Host;
use crate::key::python_env::PythonEnv;
use crate::key::recipe::Recipe;
use crate::manifest::Manifest;
use crate::store::{self, Image, ImageRecord, RunStore};

/// An image that is to grow.
#[derive(Debug)]
pub(super) struct Origin {
    image: Image,
    recipe: Recipe,
}

impl Origin {
    /// The image that a person means.
    pub fn find(wanted: &str) -> Result<Self> {
        // A store of an older format is brought up to date by this.
        let store = existing_store()?;
        // As a run: so that nothing that is found goes before it is read.
        let reader = match &store {
            Some(store) => RunStore::open(store.dir())?,
            None => None,
        };
        let image = find(store.as_ref(), wanted)?;
        let manifest = reader.map(|store| store.load_manifest::<Manifest>(&image.id)).transpose();
        match manifest {
            Ok(manifest) => {
                let manifest = manifest.expect("it was found in a store");
                Ok(Self { recipe: manifest.content.recipe, image })
            }
            Err(error) => Err(refused(&image.record, "it is damaged").because(error)),
        }
    }

    /// What the grown image is to hold.
    pub fn recipe(&self, more: Recipe) -> Recipe {
        Recipe::Grown { from: Box::new(self.recipe.clone()), more: Box::new(more) }
    }

    /// Its interpreter, which another one that was named must not contradict.
    pub fn executable(&self, named: Option<PathBuf>) -> Result<PathBuf> {
        let ImageRecord { name, executable, .. } = &self.image.record;
        match named {
            Some(named) if named != Path::new(executable) => Err(Error::usage(format!(
                "the image {name:?} is of {executable}, not of {}",
                named.display()
            ))
            .hint("leave --python out, or build without --from")),
            _ => Ok(executable.into()),
        }
    }

    /// Its interpreter's options, which others that were given must not contradict.
    pub fn flags(&self, given: &[OsString]) -> Result<Flags> {
        let ImageRecord { name, flags, .. } = &self.image.record;
        if !given.is_empty() && Flags::for_build(given)?.to_string() != *flags {
            let own = if flags.is_empty() { "without flags" } else { flags };
            return Err(Error::usage(format!(
                "the interpreter of the image {name:?} was started {own}, and is not started anew"
            ))
            .hint("leave the flags out, or build without --from"));
        }
        Flags::of_text(flags)
    }

    /// Whether variables, machine and interpreter are still those of the image. `new` is
    /// what the index would say of the grown one.
    pub fn check(&self, env: &PythonEnv, host: &Host, new: &ImageRecord) -> Result<()> {
        let record = &self.image.record;
        if let Some(variable) = env.difference(&record.python_env) {
            return Err(Error::environment(format!(
                "{variable} is not as it was when the image {:?} was built",
                record.name
            ))
            .hint(format!(
                "give it the value that `pyimg show {}` names, or {}",
                record.name,
                rebuild(&record.name)
            )));
        }
        let built_on = Host {
            kernel: record.kernel.clone(),
            libc: record.glibc.clone(),
            processor: record.cpu.clone(),
        };
        if let Some(difference) = host.difference(&built_on) {
            return Err(refused(record, &format!("it was built with another {difference}")));
        }
        if (&record.interpreter, &record.real_executable)
            != (&new.interpreter, &new.real_executable)
        {
            return Err(refused(record, &format!("{} has changed since", record.executable)));
        }
        Ok(())
    }

    /// The image, ready to be restored.
    pub fn open(&self) -> Result<Parent> {
        Parent::open(&store::default_dir()?, &self.image)
    }
}

fn refused(record: &ImageRecord, what: &str) -> Error {
    Error::failed(format!("the image {:?} cannot grow: {what}", record.name))
        .hint(rebuild(&record.name))
}
