//! Looks at what there should be, one thing after the other, and collects what is wrong.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::ids::{ImageId, PackId};
use super::super::layout::{self, LOOKED_THROUGH, Layout, MANIFEST, USES};
use super::super::manifest::FileInfo;
use super::super::pack::{PackFile, PackInfo, modified_ns};
use super::super::record::Image;
use super::super::slots::Slots;
use super::entries::{Found, Rules, Type, unreadable};
use super::finding::{FindingKind, Problem, Remedy, Subject};
use super::listing::{Listing, Plain, read_manifest};
use super::packs;
use super::{Depth, Report, Watch};

/// How many pages a finding names.
const NAMED: usize = 8;

/// Bytes of a file that are read at a time.
const PIECE: usize = 1 << 18;

/// How often a pack is looked for that changes its place.
const LOOKS: usize = 3;

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

    fn image(&mut self, listing: &Listing, image: &Image, manifest: &Plain) {
        let (dir, names) = (self.layout.image(&image.id), [image.record.name.clone()]);
        let subject = Subject::Image(image.id);
        if let Some(detail) = listing.disagreement(image, manifest) {
            let path = self.layout.manifest(&image.id);
            let remedy = if listing.from_index { Remedy::Rebuild } else { Remedy::SetAside };
            let problem = Problem::new(FindingKind::ManifestDisagrees, path, remedy, detail);
            self.add(Some(problem), subject, &names);
        }
        if let Found::Good(_, mode) = self.rules.look(&dir, Type::Directory) {
            self.add(mode, subject, &names);
        }
        for file in &manifest.files {
            let problems = self.file(&dir.join(&file.name), Some(file));
            problems.into_iter().for_each(|problem| self.add(Some(problem), subject, &names));
        }
        for name in [MANIFEST, USES] {
            let problems = self.file(&dir.join(name), None);
            problems.into_iter().for_each(|problem| self.add(Some(problem), subject, &names));
        }
        let noted = dir.join(LOOKED_THROUGH);
        if noted.symlink_metadata().is_ok() {
            let problems = self.file(&noted, None);
            problems.into_iter().for_each(|problem| self.add(Some(problem), subject, &names));
        }
        let own: HashSet<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
        let known =
            |name: &str| [MANIFEST, USES, LOOKED_THROUGH].contains(&name) || own.contains(name);
        self.unknown(&dir, subject, &names, known);
    }

    /// Looks at a file of an image; what it should hold is known of the builder's.
    fn file(&self, path: &Path, info: Option<&FileInfo>) -> Vec<Problem> {
        let aside = Remedy::SetAside;
        let (file, found, mode) = match self.rules.open(path) {
            Ok(Some(opened)) => opened,
            Ok(None) => {
                // Only what counts uses can be made again.
                let remedy = if info.is_none() { Remedy::Make } else { aside };
                let kind = FindingKind::ImageFileMissing;
                return vec![Problem::new(kind, path, remedy, "it is not there")];
            }
            Err(problem) => return vec![problem],
        };
        let mut problems = Vec::from_iter(mode);
        let Some(info) = info else { return problems };
        let kind = FindingKind::ImageFileChanged;
        if found.len() != info.bytes {
            let detail = format!("it has {} bytes and should have {}", found.len(), info.bytes);
            problems.push(Problem::new(kind, path, aside, detail));
        } else if self.depth == Depth::Data {
            match self.hash(file) {
                Ok(hash) if hash == *info.blake3.as_bytes() => {}
                Ok(_) => problems.push(Problem::new(kind, path, aside, "its content has changed")),
                Err(error) => problems.push(unreadable(path, &error)),
            }
        }
        problems
    }

    fn hash(&self, mut file: File) -> std::io::Result<blake3::Hash> {
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), vec![0; PIECE]);
        loop {
            let count = file.read(&mut bytes)?;
            if count == 0 {
                return Ok(hasher.finalize());
            }
            hasher.update(&bytes[..count]);
            self.have_read(count as u64);
        }
    }

    fn have_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        (self.watch)(bytes, self.to_read);
    }

    /// Looks at a pack, compressed or not. Both files are there while it changes from one to
    /// the other, or that was cut off: then the compressed one counts, and the other as well if
    /// it is as recorded, for then it takes its place.
    fn pack(&self, info: &PackInfo, used: &Slots) -> Vec<Problem> {
        let (path, cold) = (self.layout.pack(&info.id), self.layout.cold_pack(&info.id));
        let mut problems = Vec::new();
        let mut is_cold = false;
        // It may be compressed or brought back while it is looked for.
        for _ in 0..LOOKS {
            match self.rules.open(&cold) {
                Ok(Some((file, _, mode))) => {
                    is_cold = true;
                    problems.extend(mode);
                    self.content(
                        PackFile::of_cold(file, &cold),
                        &cold,
                        info,
                        used,
                        self.deep(),
                        &mut problems,
                    );
                }
                Ok(None) => {}
                Err(problem) => {
                    is_cold = true;
                    problems.push(problem);
                }
            }
            match self.rules.open(&path) {
                Ok(Some((file, found, mode))) => {
                    self.raw_pack(file, &found, &path, info, used, is_cold, mode, &mut problems);
                    return problems;
                }
                Ok(None) if is_cold => return problems,
                Ok(None) => {}
                Err(problem) => {
                    problems.push(problem);
                    return problems;
                }
            }
        }
        vec![Problem::new(FindingKind::PackMissing, path, Remedy::Drop, "it is not there")]
    }

    fn deep(&self) -> bool {
        self.depth == Depth::Data
    }

    #[allow(clippy::too_many_arguments, reason = "what is known of one file")]
    fn raw_pack(
        &self,
        file: File,
        found: &fs::Metadata,
        path: &Path,
        info: &PackInfo,
        used: &Slots,
        is_cold: bool,
        mode: Option<Problem>,
        problems: &mut Vec<Problem>,
    ) {
        let aside = Remedy::SetAside;
        let changed = modified_ns(found) != info.modified_ns;
        if is_cold && (changed || found.len() != info.bytes) {
            return; // bringing the pack back replaces it
        }
        problems.extend(mode);
        if found.len() != info.bytes {
            let detail = format!("it has {} bytes and should have {}", found.len(), info.bytes);
            problems.push(Problem::new(FindingKind::PackChanged, path, aside, detail));
            return;
        }
        let deep = self.deep() || self.depth == Depth::Changed && changed;
        let opened = PackFile::of(file, path);
        let sound = self.content(opened, path, info, used, deep, problems);
        if changed {
            let remedy = if sound { Remedy::SetTime(info.modified_ns) } else { aside };
            let detail = "its time of writing is another than when it was stored";
            problems.push(Problem::new(FindingKind::PackChanged, path, remedy, detail));
        }
    }

    /// Looks into a pack; whether it is sound.
    fn content(
        &self,
        opened: std::io::Result<Result<PackFile, String>>,
        path: &Path,
        info: &PackInfo,
        used: &Slots,
        deep: bool,
        problems: &mut Vec<Problem>,
    ) -> bool {
        let mut sound = true;
        let mut bad = |kind, detail: String| {
            sound = false;
            problems.push(Problem::new(kind, path, Remedy::SetAside, detail));
        };
        match opened {
            Err(error) => bad(FindingKind::Unreadable, format!("it cannot be read: {error}")),
            Ok(Err(reason)) => bad(FindingKind::PackDamaged, reason),
            Ok(Ok(pack)) if pack.size() != info.bytes => {
                let detail = format!("it has {} bytes and should have {}", pack.size(), info.bytes);
                bad(FindingKind::PackDamaged, detail);
            }
            Ok(Ok(pack)) => {
                if let Some(reason) = packs::check_tables(&pack, &info.id) {
                    bad(FindingKind::PackDamaged, reason);
                }
                if deep {
                    let damaged = packs::check_pages(&pack, used, &|bytes| self.have_read(bytes));
                    if !damaged.is_empty() {
                        bad(FindingKind::PageDamaged, pages_said(&damaged, pack.pages()));
                    }
                }
            }
        }
        sound
    }

    /// Lists what the index does not know, and what was set aside.
    pub fn leftovers(&mut self, listing: &Listing) {
        let layout = self.layout;
        let images: HashSet<ImageId> = listing.images.iter().map(|image| image.id).collect();
        let paths = |dir: &Path| -> Vec<_> {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        };
        let name = |path: &Path| -> String {
            path.file_name().unwrap_or_default().to_string_lossy().into_owned()
        };
        for path in paths(&layout.images()) {
            if name(&path).parse().is_ok_and(|id: ImageId| !images.contains(&id)) {
                self.report.leftovers.push(path);
            }
        }
        for path in paths(&layout.packs()) {
            let pack = layout::pack_of(&name(&path));
            if pack.is_some_and(|id| !listing.packs.contains_key(&id)) {
                self.report.leftovers.push(path);
            }
        }
        self.report.leftovers.extend(paths(&layout.temporary()));
        let is_id = |name: &str| name.parse::<ImageId>().is_ok();
        self.unknown(&layout.images(), Subject::Store, &[], is_id);
        self.unknown(&layout.packs(), Subject::Store, &[], |name| layout::pack_of(name).is_some());
        let quarantined = paths(&layout.quarantine());
        let things = quarantined.into_iter().filter(|path| !layout::is_reason(&name(path)));
        self.report.quarantined.extend(things);
    }
}

fn pages_said(damaged: &[u64], all: u64) -> String {
    let named: Vec<_> = damaged.iter().take(NAMED).map(u64::to_string).collect();
    let named = match (damaged.len() - named.len(), damaged.len()) {
        (0, 1) => format!("page {}", named[0]),
        (0, _) => format!("pages {}", named.join(", ")),
        (more, _) => format!("pages {} and {more} more", named.join(", ")),
    };
    let verb = if damaged.len() == 1 { "is" } else { "are" };
    format!("{named} of {all} {verb} not what was written")
}
