//! Puts a dump into the store, in mapping form.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Dumped, Interrupted, check_interrupt, refused};
use crate::error::{Error, Result};
use crate::image::checks;
use crate::image::dump::Dump;
use crate::image::file::Malformed;
use crate::image::hazards::{WIPE_ON_FORK, status};
use crate::image::mapping::{self, PageSink, Place, Placed, Surroundings};
use crate::image::portable::make_portable;
use crate::key::evidence::Evidence;
use crate::key::recipe::Recipe;
use crate::manifest::{EVIDENCE, Manifest, Process, Python, Thread, times};
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

/// An image that was stored.
#[derive(Debug)]
pub struct Stored {
    /// As the store has it.
    pub image: Image,
    /// Its manifest.
    pub manifest: Manifest,
}

impl Dumped {
    /// Rewrites the dump and puts it into the store. `replaced` are images that make
    /// room for it.
    ///
    /// # Errors
    /// When the process holds what an image cannot hold, a file that the imports depended
    /// on has changed meanwhile, or the store cannot take it.
    pub fn store(
        self,
        store: &Store,
        identity: Identity,
        replaced: &[ImageKey],
        interrupted: &Interrupted,
    ) -> Result<Stored> {
        let mut dump = self.read()?;
        checks::check(&dump, self.socket_inode).map_err(|unsuitable| refused(&unsuitable.0))?;
        let process = process(&dump, self.socket_inode);
        make_portable(&mut dump);
        for vma in &mut dump.memory_mut().vmas {
            if self.wiped_on_fork.contains(&vma.start()) {
                vma.set_madv(vma.madv() | WIPE_ON_FORK);
            }
        }
        let inherited = self.inherited.as_ref();
        let settled = match inherited {
            Some(inherited) => inherited.unmap(&mut dump)?,
            None => Vec::new(),
        };
        let evidence = self.evidence(&dump, &identity)?;
        let known = inherited.and_then(|parent| parent.manifest.memory.zeroing_allocator.clone());

        let interpreter =
            |path: &str| identity.interpreter_files.iter().any(|own| own.as_os_str() == path);
        let mut sink = Sink { ingest: store.begin(dump.pages.len() as u64)?, interrupted };
        let summary = mapping::rewrite(
            &mut dump,
            &mut Surroundings {
                read: &read_mapped,
                interpreter: &interpreter,
                zeroing_allocator: self.report.zeroing_allocator.clone().or(known),
                settled,
            },
            &mut sink,
        )?;
        let mut sealed = sink.ingest.seal()?;
        for (name, bytes) in dump.into_files() {
            if !NOT_NEEDED.contains(&name.as_str()) {
                sealed.add_file(&name, &bytes)?;
            }
        }
        sealed.add_file(EVIDENCE, &evidence.to_json())?;
        check_interrupt(interrupted)?;
        if let Some(changed) = evidence.first_change() {
            return Err(Error::failed(format!("{changed} while the image was being built"))
                .hint("build it again"));
        }
        let local_modules = self.local_modules();
        let manifest = Manifest {
            local_modules,
            credentials: inherited
                .map_or(identity.credentials, |parent| parent.manifest.credentials.clone()),
            recipe: identity.recipe,
            python: identity.python,
            criu: identity.criu,
            process,
            modules: self.report.origins,
            search_path: self.report.sys_path,
            import_ns: self.report.import_ns
                + inherited.map_or(0, |parent| parent.manifest.import_ns),
            import_times: BTreeMap::new(),
            import_needs: BTreeMap::new(),
            memory: summary.into(),
        };
        let record = ImageRecord {
            modules: self.report.modules,
            import_ns: manifest.import_ns,
            import_times: times::to_text(&manifest.import_times, &manifest.import_needs),
            ..identity.record
        };
        let image = sealed.commit(record, &manifest, replaced)?;
        Ok(Stored { image, manifest })
    }

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

    /// The modules that came from the directory of the recipe itself, this one's and, of a
    /// grown image, those before.
    fn local_modules(&self) -> BTreeMap<String, PathBuf> {
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

    /// Everything that the imports depended on: what the interpreter named, every file
    /// that is mapped, and what the image depended on that it was grown from.
    fn evidence(&self, dump: &Dump, identity: &Identity) -> Result<Evidence> {
        let mapped = dump
            .memory()
            .vmas
            .iter()
            .filter(|vma| vma.status() & status::FILE_PRIVATE != 0)
            .filter_map(|vma| dump.regular_file(vma.shmid()))
            .map(|file| PathBuf::from(file.name()))
            .filter(|path| self.library.as_ref() != Some(path));
        let files = self.report.files.iter().cloned();
        let files = files.chain(mapped).chain(identity.interpreter_files.iter().cloned());
        let files: Vec<PathBuf> = files.collect();
        // What is recorded is the state of now, and imports may have seen another. Compiled
        // files are made by importing, and go with their source.
        let compiled = |path: &Path| path.extension().is_some_and(|ending| ending == "pyc");
        if let Some(changed) =
            files.iter().find(|path| !compiled(path) && changed_since(path, self.started))
        {
            let path = changed.display();
            return Err(Error::failed(format!(
                "{path} has changed while the image was being built"
            ))
            .hint("build it again"));
        }
        let known = self.inherited.as_ref().map(|parent| parent.evidence.clone());
        known
            .unwrap_or_default()
            .and(files, self.report.site_directories.iter().cloned())
            .map_err(|error| Error::failed("cannot examine the modules' files").because(error))
    }
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

/// Whether a file has been written, or put in its place, after a moment.
fn changed_since(path: &Path, moment: SystemTime) -> bool {
    path.metadata().is_ok_and(|found| {
        let changed = UNIX_EPOCH
            + Duration::new(found.ctime().max(0).cast_unsigned(), found.ctime_nsec() as u32);
        changed > moment
    })
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
