//! Puts a dump into the store, in mapping form.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{Dumped, Interrupted, check_interrupt, refused};
use crate::error::{Error, Result};
use crate::image::checks;
use crate::image::dump::Dump;
use crate::image::file::Malformed;
use crate::image::hazards::WIPE_ON_FORK;
use crate::image::mapping::{self, PageSink, Place, Placed, Surroundings};
use crate::image::plan::{self, Plan, Unplannable, Wake};
use crate::image::portable::make_portable;
use crate::key::evidence::Evidence;
use crate::key::recipe::Recipe;
use crate::manifest::{EVIDENCE, Manifest, Process, Python, Thread};
use crate::store::{self, Image, ImageKey, ImageRecord, Ingest, Source, Store};

/// Images that CRIU writes and a restore does not need.
const NOT_NEEDED: [&str; 1] = ["stats-dump"];

/// Who the image is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// What the index says of it; modules and import time are filled in here.
    pub record: ImageRecord,
    /// What was preloaded.
    pub recipe: Recipe,
    /// The interpreter.
    pub python: Python,
    /// The interpreter's own files: its binary and its library, if it has one. They
    /// stay mapped from where they are.
    pub interpreter_files: Vec<PathBuf>,
    /// The version of CRIU that dumped it.
    pub criu: String,
    /// User and group ids and capabilities of whoever builds it.
    pub credentials: String,
}

/// A dump that can be an image, and what that depends on.
#[derive(Debug)]
pub struct Examined {
    dumped: Dumped,
    dump: Dump,
    process: Process,
    /// What was mapped in the image that it was grown from.
    settled: Vec<Range<u64>>,
    evidence: Evidence<'static>,
    identity: Identity,
}

/// An image that was stored.
#[derive(Debug)]
pub struct Stored {
    /// As the store has it.
    pub image: Image,
    /// Its manifest.
    pub manifest: Manifest,
}

impl Dumped {
    /// Looks at what was dumped. The key in `identity` is that of the recipe.
    ///
    /// # Errors
    /// When the process holds what an image cannot hold.
    pub fn examine(self, mut identity: Identity) -> Result<Examined> {
        let mut dump = self.read()?;
        checks::check(&dump, self.socket_inode).map_err(|unsuitable| refused(&unsuitable.0))?;
        let process = process(&dump, self.socket_inode);
        make_portable(&mut dump);
        for vma in &mut dump.memory_mut().vmas {
            if self.untold.wiped_on_fork.contains(&vma.start()) {
                vma.set_madv(vma.madv() | WIPE_ON_FORK);
            }
        }
        let inherited = self.inherited.as_ref();
        let settled = match inherited {
            Some(inherited) => inherited.unmap(&mut dump)?,
            None => Vec::new(),
        };
        self.refuse_drawn_secrets()?;
        let evidence = self.evidence(&dump, &identity)?;
        identity.record.surroundings = evidence.of_surroundings();
        Ok(Examined { dumped: self, dump, process, settled, evidence, identity })
    }
}

impl Examined {
    /// The key of the image: the recipe's, and where its imports depended on variables, the
    /// working directory or terminals, another one for each state of them.
    pub fn key(&self) -> ImageKey {
        let ImageRecord { key, surroundings, .. } = &self.identity.record;
        if surroundings.is_empty() {
            return *key;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(key.as_bytes()).update(surroundings.as_bytes());
        hasher.finalize().into()
    }

    /// Rewrites the dump and puts it into the store under this name. `replaced` are images that
    /// make room for it.
    ///
    /// # Errors
    /// When a file that the imports depended on has changed meanwhile, or the store cannot take
    /// it.
    pub fn store(
        self,
        store: &Store,
        name: String,
        replaced: &[ImageKey],
        interrupted: &Interrupted,
    ) -> Result<Stored> {
        let key = self.key();
        let Self { dumped, mut dump, process, settled, evidence, identity } = self;
        let inherited = dumped.inherited.as_ref();
        let known = inherited.and_then(|parent| parent.manifest.memory.zeroing_allocator.clone());

        let interpreter =
            |path: &str| identity.interpreter_files.iter().any(|own| own.as_os_str() == path);
        let mut sink = Sink { ingest: store.begin(dump.pages.len() as u64)?, interrupted };
        let summary = mapping::rewrite(
            &mut dump,
            &mut Surroundings {
                read: &read_mapped,
                interpreter: &interpreter,
                zeroing_allocator: dumped.report.zeroing_allocator.clone().or(known),
                settled,
            },
            &mut sink,
        )?;
        let mut sealed = sink.ingest.seal()?;
        match plan(&dump, dumped.wake, dumped.untold.is_sealed) {
            Ok(plan) => sealed.add_file(plan::FILE, &plan.to_bytes())?,
            Err(Unplannable(why)) => sealed.add_file(plan::WHY_NONE, why.as_bytes())?,
        };
        for (name, bytes) in dump.into_files() {
            if !NOT_NEEDED.contains(&name.as_str()) {
                sealed.add_file(&name, &bytes)?;
            }
        }
        sealed.add_file(EVIDENCE, &evidence.to_bytes())?;
        check_interrupt(interrupted)?;
        if let Some(changed) = evidence.first_change() {
            return Err(Error::failed(format!("{changed} while the image was being built"))
                .hint("build it again"));
        }
        let local_modules = dumped.local_modules();
        let manifest = Manifest {
            local_modules,
            credentials: inherited
                .map_or(identity.credentials, |parent| parent.manifest.credentials.clone()),
            recipe: identity.recipe,
            python: identity.python,
            criu: identity.criu,
            process,
            modules: dumped.report.origins.clone(),
            search_path: dumped.report.sys_path.clone(),
            absent_modules: dumped.absent_modules(),
            doubts: dumped.doubts(),
            import_ns: dumped.report.import_ns
                + inherited.map_or(0, |parent| parent.manifest.import_ns),
            memory: summary.into(),
        };
        let record = ImageRecord {
            key,
            name,
            modules: dumped.report.modules.clone(),
            import_ns: manifest.import_ns,
            import_times: dumped.import_times(),
            ..identity.record
        };
        let image = sealed.commit(record, &manifest, replaced)?;
        Ok(Stored { image, manifest })
    }
}

impl Dumped {
    fn read(&self) -> Result<Dump> {
        let unreadable = |path: &Path, error: std::io::Error| {
            Error::failed(format!("cannot read {}", path.display())).because(error)
        };
        let directory = self.directory.path();
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(|error| unreadable(directory, error))? {
            let entry = entry.map_err(|error| unreadable(directory, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".img") {
                let bytes =
                    fs::read(entry.path()).map_err(|error| unreadable(&entry.path(), error))?;
                files.insert(name, bytes);
            }
        }
        Ok(Dump::read(files)?)
    }
}

/// How a run brings the image back by itself, or why it cannot.
fn plan(dump: &Dump, wake: Option<Wake>, is_sealed: bool) -> Result<Plan, Unplannable> {
    if is_sealed {
        return Err(Unplannable("some of its memory is sealed".into()));
    }
    let wake = wake.ok_or_else(|| Unplannable("it does not know how to wake by itself".into()))?;
    let size_of = |path: &str| fs::metadata(path).ok().map(|file| file.len());
    Plan::compile(dump, wake, &crate::sys::extended_state(), &size_of)
}

fn process(dump: &Dump, socket: u32) -> Process {
    let threads = dump
        .threads()
        .iter()
        .map(|id| Thread {
            id: *id,
            id_address: dump.cores[id].entries[0].thread_info.clear_tid_addr(),
        })
        .collect();
    Process { threads, socket }
}

/// A part of a mapped file; shorter where the file ends.
fn read_mapped(path: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
    let read = || {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut bytes = vec![0; size.saturating_sub(offset).min(length) as usize];
        file.read_exact_at(&mut bytes, offset)?;
        Ok::<_, std::io::Error>(bytes)
    };
    read().map_err(|error| {
        Error::failed(format!("cannot read {path}, which is mapped into the process"))
            .because(error)
    })
}

/// The store, as the rewriting sees it.
struct Sink<'a> {
    ingest: Ingest<'a>,
    interrupted: &'a Interrupted,
}

impl PageSink for Sink<'_> {
    type Error = Error;

    fn put(&mut self, address: u64, pages: &[u8]) -> Result<Vec<Placed>> {
        check_interrupt(self.interrupted)?;
        let extents = self.ingest.add_run(address, pages)?;
        Ok(extents
            .into_iter()
            .map(|extent| Placed {
                address: extent.address,
                pages: extent.pages,
                place: match extent.source {
                    Source::Zero => Place::Zeros,
                    Source::Pack { pack, first_page } => {
                        Place::Pack { pack, offset: store::offset_of(first_page) }
                    }
                },
            })
            .collect())
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::failed(format!("CRIU's dump cannot be used: {malformed}"))
            .hint("`pyimg doctor` shows the version of CRIU")
    }
}
