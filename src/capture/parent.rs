//! The image that another one is grown from.
//!
//! It is restored as a child of ours, by the same engine that runs programs, but its
//! request asks for a further recipe and for parking again. From there on the process is
//! like a spawned interpreter: it says the same, is looked at and dumped in the same way.
//! Its dump is taken out of mapping form with the packs that it was restored from, and
//! what the parent depended on is what the grown image depends on as well.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use super::spawn::{Interpreter, Process};
use crate::criu::Criu;
use crate::engine::caller::{self, Caller};
use crate::engine::criu::{NotStarted, Parked, wake_to_grow};
use crate::engine::request::{Kind, Request};
use crate::error::{Error, Result};
use crate::image::dump::Dump;
use crate::image::mapping::PackFile;
use crate::image::unmapping::unmap;
use crate::key::evidence::Evidence;
use crate::key::recipe::Recipe;
use crate::manifest::{self, Manifest};
use crate::store::{self, Image, RunStore};

/// How long others are waited for who decompress the image.
const PATIENCE: Duration = Duration::from_secs(10);

/// An image of the store that is to grow.
#[derive(Debug)]
pub struct Parent {
    name: String,
    manifest: store::Manifest<Manifest>,
    evidence: Vec<u8>,
    packs: Vec<Pack>,
    /// Keeps the packs in their place until the process has been dumped.
    store: RunStore,
    images: std::path::PathBuf,
}

/// A pack that the process is mapped from.
#[derive(Debug)]
struct Pack {
    /// Open, so that it can be read whatever becomes of its name.
    file: File,
    /// As CRIU is to open it.
    named: PackFile,
    /// As the kernel calls it.
    canonical: String,
}

impl Parent {
    /// Looks at an image of the store in this directory, all of which must still be as it
    /// was when it was built.
    ///
    /// # Errors
    /// When it is not, or cannot be read.
    pub fn open(dir: &Path, image: &Image) -> Result<Self> {
        let name = image.record.name.clone();
        let unusable = |what: &str| {
            Error::failed(format!("the image {name:?} cannot grow: {what}")).hint(rebuild(&name))
        };
        let store = RunStore::open(dir)?.ok_or_else(|| unusable("the store is gone"))?;
        let now = store.by_key(&image.record.key)?;
        if now.is_none_or(|now| now.id != image.id) {
            let gone = "it was removed, or built again, in this very moment";
            return Err(
                Error::failed(format!("the image {name:?} cannot grow: {gone}")).hint("try again")
            );
        }
        let damaged = |error: Error| unusable("it is damaged").because(error);
        let manifest = store.load_manifest::<Manifest>(&image.id).map_err(damaged)?;
        let images = store.image_dir(&image.id);
        store::check_files(&images, &manifest.files).map_err(damaged)?;
        let unreadable = |error: io::Error| unusable("it is damaged").because(error);
        let evidence = manifest::read_evidence(&images).map_err(unreadable)?;
        let changed = Evidence::parse(&evidence).map_err(unreadable)?.first_change();
        if let Some(changed) = changed {
            return Err(unusable(&format!("{changed} since it was built")));
        }
        store
            .thaw(&manifest.packs, PATIENCE)
            .map_err(|error| unusable("its memory is compressed").because(error))?;
        let mut packs = Vec::new();
        for info in &manifest.packs {
            let path = store.pack_path(&info.id);
            let unreadable = |error: io::Error| {
                Error::failed(format!("cannot read {}", path.display())).because(error)
            };
            let text = |path: &Path| {
                path.to_str()
                    .map(str::to_owned)
                    .ok_or_else(|| unusable(&format!("{} is not UTF-8", path.display())))
            };
            packs.push(Pack {
                file: File::open(&path).map_err(unreadable)?,
                canonical: text(&path.canonicalize().map_err(unreadable)?)?,
                named: PackFile { path: text(&path)?, size: info.bytes },
            });
        }
        Ok(Self { name, manifest, evidence, packs, store, images })
    }

    /// Restores the process and has it run a further recipe.
    ///
    /// # Errors
    /// When it cannot be restored, or does not know how to grow.
    pub(super) fn wake(
        &self,
        criu: &Criu,
        executable: &Path,
        flags: &[String],
        recipe: &Recipe,
    ) -> Result<Interpreter> {
        let request = request(executable, flags, recipe)
            .map_err(|error| Error::failed("cannot describe this process").because(error))?;
        let packs: Vec<PackFile> = self.packs.iter().map(|pack| pack.named.clone()).collect();
        let parked =
            Parked { images: &self.images, process: &self.manifest.content.process, packs: &packs };
        let nothing_to_check = || Ok::<(), std::convert::Infallible>(());
        let restored = wake_to_grow(criu, &parked, &request, nothing_to_check);
        let restored = restored.map_err(|error| match error {
            NotStarted::Criu(error) => Error::from(error),
            other => Error::failed(format!("the image {:?} cannot grow: {other}", self.name)),
        })?;
        let inode = u32::try_from(restored.socket_inode)
            .map_err(|error| Error::failed("a socket has a strange inode").because(error))?;
        Ok(Interpreter::new(Process::Restored(restored.pid), restored.socket, inode))
    }

    /// What of this is needed once the process has been dumped; from here on the image may
    /// be removed.
    pub(super) fn bequeath(self) -> Inherited {
        drop(self.store);
        Inherited {
            manifest: self.manifest.content,
            import_times: self.manifest.record.import_times,
            evidence: self.evidence,
            packs: self.packs,
        }
    }

    /// What a process says that gives its request up.
    pub(super) fn refusal(&self, what: &str) -> Error {
        Error::failed(format!("the image {:?} cannot grow: {what}", self.name))
            .hint(rebuild(&self.name))
    }
}

/// What to do with an image that cannot grow as it is.
pub fn rebuild(name: &str) -> String {
    format!("build {name} again with --force, from what `pyimg show {name}` names, then this")
}

/// What a grown image has from its parent.
#[derive(Debug)]
pub(super) struct Inherited {
    /// The parent's manifest.
    pub manifest: Manifest,
    /// How long its modules took, as the index has it.
    pub import_times: String,
    /// What it depended on, for [`Evidence::parse`].
    pub evidence: Vec<u8>,
    packs: Vec<Pack>,
}

impl Inherited {
    /// Takes the dump out of mapping form; returns what was mapped.
    pub fn unmap(&self, dump: &mut Dump) -> Result<Vec<std::ops::Range<u64>>> {
        let pack_of = |path: &str| self.packs.iter().position(|pack| pack.canonical == path);
        unmap(dump, &pack_of, &mut |pack, offset, bytes| {
            let pack = &self.packs[pack];
            pack.file.read_exact_at(bytes, offset).map_err(|error| {
                Error::failed(format!("cannot read {}", pack.named.path)).because(error)
            })
        })
    }
}

/// Asks for the further recipe, with all that a spawned interpreter would have inherited.
fn request(executable: &Path, flags: &[String], recipe: &Recipe) -> io::Result<Request> {
    let caller = Caller::read()?;
    // JSON made of strings and lists of strings is a literal in Python as well.
    let recipe = serde_json::to_string(recipe).map_err(io::Error::other)?;
    let descriptors = caller::inherited_descriptors()?;
    let argv0 = executable.as_os_str().to_owned();
    let flags = flags.iter().map(OsString::from);
    Ok(Request {
        kind: Kind::Grow,
        text: format!("RECIPE = {recipe}\n").into(),
        argv: vec![OsString::new()],
        orig_argv: std::iter::once(argv0).chain(flags).chain([OsString::new()]).collect(),
        // The hash seed is chosen already.
        environment: std::env::vars_os().filter(|(name, _)| name != "PYTHONHASHSEED").collect(),
        cwd: std::env::current_dir()?,
        umask: caller.umask,
        // Rust's runtime ignores it; children of ours do not.
        ignored_signals: caller.ignored_signals & !(1 << (libc::SIGPIPE - 1)),
        blocked_signals: caller.blocked_signals,
        nice: caller.nice,
        limits: caller.limits,
        personality: caller.personality,
        recording: None,
        descriptors: descriptors.into_iter().filter(|inherited| inherited.number <= 2).collect(),
    })
}
