//! Looks at what there should be, one thing after the other, and collects what is wrong.
//!
//! Here: what is under way, the store's directory, which images and packs are looked at, and
//! what nobody knows. [`image_files`]: an image; [`pack_files`]: a pack; [`records`]: what
//! runs leave behind.

mod image_files;
mod pack_files;
mod records;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::ids::{ImageId, PackId};
use super::super::layout::{self, Layout};
use super::super::slots::Slots;
use super::entries::{Found, Rules, Type};
use super::finding::{FindingKind, Problem, Remedy, Subject};
use super::listing::{Listing, read_manifest};
use super::{Depth, Report, Watch};

/// Bytes of a secret.
const SECRET: u64 = 32;

/// Whether the store's directory may be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Root {
    Open,
    Closed,
}

/// Which of the listed things are looked at.
#[derive(Debug)]
pub(in super::super) enum Scope {
    All,
    Only(Doubts),
}

/// Listed things that something is wrong with.
#[derive(Debug, Default)]
pub(in super::super) struct Doubts {
    images: HashSet<ImageId>,
    packs: HashSet<PackId>,
}

impl Doubts {
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.packs.is_empty()
    }
}

impl Scope {
    fn image(&self, id: &ImageId) -> bool {
        match self {
            Self::All => true,
            Self::Only(doubts) => doubts.images.contains(id),
        }
    }

    fn pack(&self, id: &PackId) -> bool {
        match self {
            Self::All => true,
            Self::Only(doubts) => doubts.packs.contains(id),
        }
    }
}

/// A verification under way.
pub(in super::super) struct Survey<'a> {
    pub rules: Rules,
    layout: &'a Layout,
    depth: Depth,
    watch: &'a Watch<'a>,
    read: AtomicU64,
    to_read: u64,
    report: Report,
}

impl<'a> Survey<'a> {
    pub fn new(layout: &'a Layout, rules: Rules, depth: Depth, watch: &'a Watch<'a>) -> Self {
        let (read, report) = (AtomicU64::new(0), Report::default());
        Self { rules, layout, depth, watch, read, to_read: 0, report }
    }

    /// All that was found.
    pub fn report(mut self) -> Report {
        self.report.read_bytes = self.read.into_inner();
        self.report.findings.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
        self.report.leftovers.sort();
        self.report.quarantined.sort();
        self.report
    }

    /// Adds a finding, if there is a problem.
    pub fn add(&mut self, problem: Option<Problem>, subject: Subject, images: &[String]) {
        self.report.findings.extend(problem.map(|problem| problem.of(subject, images.to_vec())));
    }

    fn store(&mut self, kind: FindingKind, path: &Path, remedy: Remedy, detail: &str) {
        self.add(Some(Problem::new(kind, path, remedy, detail)), Subject::Store, &[]);
    }

    /// The listed things that something is wrong with.
    pub fn doubtful(&self) -> Doubts {
        let mut doubts = Doubts::default();
        for finding in &self.report.findings {
            match finding.subject {
                Subject::Store => {}
                Subject::Image(id) => drop(doubts.images.insert(id)),
                Subject::Pack(id) => drop(doubts.packs.insert(id)),
            }
        }
        doubts
    }

    /// Takes back what was found about listed things.
    pub fn forget_doubts(&mut self) {
        self.report.findings.retain(|finding| finding.subject == Subject::Store);
    }

    /// Looks at the store's directory and what lies right in it, but for the index.
    pub fn root(&mut self) -> Root {
        let layout = self.layout;
        // A link to the store is its owner's business.
        let root = fs::canonicalize(layout.root()).unwrap_or_else(|_| layout.root().to_owned());
        match self.rules.look(&root, Type::Directory) {
            Found::Bad(problem) => {
                let problem = Problem { remedy: Remedy::None, ..problem };
                self.add(Some(problem), Subject::Store, &[]);
                return Root::Closed;
            }
            Found::Good(_, mode) => self.add(mode, Subject::Store, &[]),
            Found::Missing => return Root::Closed,
        }
        for dir in [layout.packs(), layout.images(), layout.temporary()] {
            if self.entry(&dir, Type::Directory).is_none() {
                let detail = "it is not there";
                self.store(FindingKind::DirectoryMissing, &dir, Remedy::Make, detail);
            }
        }
        // They are not there in a store that never needed them.
        for file in [layout.changes_lock(), layout.builds_lock(), layout.journal()] {
            self.entry(&file, Type::File);
        }
        self.entry(&layout.quarantine(), Type::Directory);
        self.programs();
        self.runs();
        self.replays();
        let runs = layout.runs_lock();
        if self.entry(&runs, Type::File).is_none() {
            let detail = "it is not there: every run is plain Python";
            self.store(FindingKind::LockMissing, &runs, Remedy::Make, detail);
        }
        let secret = layout.secret();
        match self.entry(&secret, Type::File) {
            None => {
                let detail = "it is not there: nothing can be built";
                self.store(FindingKind::SecretDamaged, &secret, Remedy::Make, detail);
            }
            Some(Some(found)) if found.len() != SECRET => {
                let detail = format!("it has {} bytes and should have {SECRET}", found.len());
                self.store(FindingKind::SecretDamaged, &secret, Remedy::SetAside, &detail);
            }
            Some(_) => {}
        }
        self.unknown(layout.root(), Subject::Store, &[], |name| layout::ENTRIES.contains(&name));
        Root::Open
    }

    /// Looks at one entry of the store's directory: none if it is not there; the metadata
    /// if it may be used.
    fn entry(&mut self, path: &Path, wanted: Type) -> Option<Option<fs::Metadata>> {
        match self.rules.look(path, wanted) {
            Found::Missing => None,
            Found::Bad(problem) => {
                self.add(Some(problem), Subject::Store, &[]);
                Some(None)
            }
            Found::Good(found, mode) => {
                self.add(mode, Subject::Store, &[]);
                Some(Some(found))
            }
        }
    }

    /// Tells what lies in a directory under a name that the store has no use for.
    fn unknown(
        &mut self,
        dir: &Path,
        subject: Subject,
        images: &[String],
        known: impl Fn(&str) -> bool,
    ) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            // The root of a file system of its own has a lost+found.
            if name.to_str().is_some_and(&known) || name.as_bytes() == b"lost+found" {
                continue;
            }
            let detail = "the store knows no such file";
            let remedy = Remedy::SetAside;
            let problem = Problem::new(FindingKind::UnknownFile, entry.path(), remedy, detail);
            self.add(Some(problem), subject, images);
        }
    }

    /// Looks at the images and packs that are listed.
    pub fn things(&mut self, listing: &Listing, scope: &Scope) {
        let mut users: HashMap<PackId, Vec<String>> = HashMap::new();
        for image in &listing.images {
            for pack in listing.links.get(&image.id).into_iter().flat_map(|packs| packs.keys()) {
                users.entry(*pack).or_default().push(image.record.name.clone());
            }
        }
        if matches!(scope, Scope::All) {
            (self.report.images, self.report.packs) =
                (listing.images.len() as u64, listing.packs.len() as u64);
            if self.depth == Depth::Data {
                let packs = listing.packs.values().map(|pack| pack.pages.saturating_mul(4096));
                let files = listing.images.iter().map(|image| image.file_bytes);
                self.to_read = packs.chain(files).fold(0, u64::saturating_add);
            }
        }
        let mut used: HashMap<PackId, Slots> = HashMap::new();
        for image in &listing.images {
            let wanted = scope.image(&image.id);
            let mut packs = listing.links.get(&image.id).into_iter().flat_map(|all| all.keys());
            if !wanted && !packs.any(|pack| scope.pack(pack)) {
                continue;
            }
            match read_manifest(self.layout, &self.rules, &image.id) {
                Ok(manifest) => {
                    for (number, pack) in manifest.packs.iter().enumerate() {
                        let slots = Slots::of(&manifest.extents, number);
                        used.entry(pack.id).or_default().add(slots);
                    }
                    if wanted {
                        self.image(listing, image, &manifest);
                    }
                }
                Err(problem) if wanted => {
                    let names = [image.record.name.clone()];
                    self.add(Some(problem), Subject::Image(image.id), &names);
                }
                Err(_) => {}
            }
        }
        for pack in listing.packs.values().filter(|pack| scope.pack(&pack.id)) {
            let (used, users) = (used.remove(&pack.id), users.get(&pack.id));
            let problems = self.pack(pack, &used.unwrap_or_default());
            for problem in problems {
                self.add(Some(problem), Subject::Pack(pack.id), users.map_or(&[], |all| all));
            }
        }
    }

    fn have_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        (self.watch)(bytes, self.to_read);
    }

    /// Lists what the index does not know, and what was set aside.
    pub fn leftovers(&mut self, listing: &Listing) {
        let layout = self.layout;
        let images: HashSet<ImageId> = listing.images.iter().map(|image| image.id).collect();
        let name = |path: &Path| -> String {
            path.file_name().unwrap_or_default().to_string_lossy().into_owned()
        };
        for path in paths_in(&layout.images()) {
            if name(&path).parse().is_ok_and(|id: ImageId| !images.contains(&id)) {
                self.report.leftovers.push(path);
            }
        }
        for path in paths_in(&layout.packs()) {
            let pack = layout::pack_of(&name(&path));
            if pack.is_some_and(|id| !listing.packs.contains_key(&id)) {
                self.report.leftovers.push(path);
            }
        }
        self.report.leftovers.extend(paths_in(&layout.temporary()));
        let is_id = |name: &str| name.parse::<ImageId>().is_ok();
        self.unknown(&layout.images(), Subject::Store, &[], is_id);
        self.unknown(&layout.packs(), Subject::Store, &[], |name| layout::pack_of(name).is_some());
        let quarantined = paths_in(&layout.quarantine());
        let things = quarantined.into_iter().filter(|path| !layout::is_reason(&name(path)));
        self.report.quarantined.extend(things);
    }
}

fn paths_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
