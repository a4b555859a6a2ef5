//! Repairing: what is damaged is set aside, what is good stays and works again.
//!
//! Alone, with `changes.lock` held exclusively, a repair verifies the store, mends what can be
//! mended, and begins again until there is nothing left to do, since one damage can hide
//! another. It deletes nothing: what is damaged is moved into `quarantine`, with the reason
//! beside it ([`quarantine`]), and an index that cannot be believed is made again from the
//! manifests ([`rebuild`]). Killed anywhere, it is simply to be run again: things are moved
//! before their rows are deleted, so that until the end something is found.
//!
//! What a crash left is not its business: cleaning up takes that away.

mod quarantine;
mod rebuild;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::failure::Doing;
use super::ids::{ImageId, PackId};
use super::images::Images;
use super::layout::Layout;
use super::record::Image;
use super::verify::entries::{Found, Rules, Type};
use super::verify::finding::{Remedy, Subject, as_text};
use super::verify::listing::Listing;
use super::verify::survey::{Root, Scope, Survey};
use super::verify::{Depth, Finding, FindingKind, Report, Watch, enter, list};
use super::{access, durable, fault, index, lock, open};
use crate::error::{Error, Result};

/// One damage may hide another, but not many times.
const ROUNDS: usize = 8;

/// What a repair has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// What was changed, in order.
    pub actions: Vec<Action>,
    /// Images that are no longer in the store.
    pub lost: Vec<Lost>,
    /// Whether it could not be found out which images had been pinned.
    pub pins_lost: bool,
    /// How the store is now.
    #[serde(skip)]
    pub report: Report,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    /// What was done.
    pub done: Done,
    /// To what.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// More about it: why, and where it is now, or why it could not be done.
    pub detail: String,
}

/// What was done to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It has the mode that it should have.
    ModeSet,
    /// It was missing and was made.
    Made,
    /// It has its time of writing back.
    TimeRestored,
    /// It was moved into the quarantine.
    SetAside,
    /// The index was made again.
    IndexRebuilt,
    /// The index does not list it any more.
    Unlisted,
    /// Nothing: it failed.
    Failed,
}

impl Done {
    /// Its name, as it is printed and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ModeSet => "mode-set",
            Self::Made => "made",
            Self::TimeRestored => "time-restored",
            Self::SetAside => "set-aside",
            Self::IndexRebuilt => "index-rebuilt",
            Self::Unlisted => "unlisted",
            Self::Failed => "failed",
        }
    }
}

impl Serialize for Done {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// An image that could not be saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// What it was called.
    pub name: String,
    /// What it was made of.
    pub recipe: String,
}

/// Repairs the store in `dir`; `None` if there is none. `depth` says how much is read to find
/// damage; a pack whose time of writing is wrong is always read.
pub fn repair(dir: &Path, depth: Depth, watch: &Watch<'_>) -> Result<Option<Repaired>> {
    let layout = Layout::new(dir);
    let Some(rules) = enter(&layout)? else { return Ok(None) };
    // Without changing anything: is it a store, and one that we may repair?
    let mut survey = Survey::new(&layout, rules, Depth::Tables, watch);
    if survey.root() == Root::Closed {
        access::check(dir, &fs::metadata(dir).doing("read", dir)?)?;
        let shown = dir.display();
        return Err(Error::environment(format!("the store {shown} cannot be looked into")));
    }
    if list(&layout, &mut survey)?.is_none() {
        return Ok(None);
    }
    let mut mender = Mender { layout: &layout, rules, repaired: Repaired::default() };
    mender.make_lockable()?;
    let _alone = lock::alter(&layout, lock::PATIENCE)?;
    mender.mend(depth.max(Depth::Changed), watch)?;
    Ok(Some(mender.repaired))
}

struct Mender<'a> {
    layout: &'a Layout,
    rules: Rules,
    repaired: Repaired,
}

impl Mender<'_> {
    /// A link in place of the lock, say, must go before anything is locked.
    fn make_lockable(&mut self) -> Result<()> {
        let (root, path) = (self.layout.root(), self.layout.changes_lock());
        if let Found::Good(_, Some(_)) = self.rules.look(root, Type::Directory) {
            access::make_private(root).doing("change the mode of", root)?;
            durable::sync_file(root)?;
            self.did(Done::ModeSet, root, "0700");
        }
        for dir in [self.layout.temporary(), self.layout.quarantine()] {
            if let Found::Bad(problem) = self.rules.look(&dir, Type::Directory) {
                return Err(Error::failed(format!(
                    "cannot repair the store: {}: {}",
                    dir.display(),
                    problem.detail
                ))
                .hint(format!("move it away: `mv {0} {0}.old`", dir.display())));
            }
            if dir == self.layout.temporary() && !dir.exists() {
                access::private_dir(&dir)?;
                durable::sync_name(&dir)?;
                self.did(Done::Made, &dir, "");
            }
        }
        if let Found::Bad(problem) = self.rules.look(&path, Type::File) {
            self.set_aside(&path, &problem.detail);
        }
        Ok(())
    }

    fn did(&mut self, done: Done, path: &Path, detail: impl Into<String>) {
        let action = Action { done, path: path.to_owned(), detail: detail.into() };
        if !self.repaired.actions.contains(&action) {
            self.repaired.actions.push(action);
        }
    }

    /// Notes what was done, or that it failed; tells which.
    fn tried(&mut self, done: Done, path: &Path, detail: &str, result: Result<()>) -> bool {
        match result {
            Ok(()) => {
                self.did(done, path, detail);
                true
            }
            Err(error) => {
                self.did(Done::Failed, path, error.to_string());
                false
            }
        }
    }

    fn set_aside(&mut self, path: &Path, reason: &str) -> bool {
        match quarantine::set_aside(self.layout, path, reason) {
            Ok(_) => {
                self.did(Done::SetAside, path, reason);
                true
            }
            Err(error) => {
                self.did(Done::Failed, path, error.to_string());
                false
            }
        }
    }

    fn mend(&mut self, wanted: Depth, watch: &Watch<'_>) -> Result<()> {
        let (mut depth, mut read_bytes) = (wanted, 0);
        for _ in 0..ROUNDS {
            let mut survey = Survey::new(self.layout, self.rules, depth, watch);
            survey.root();
            let Some((listing, _)) = list(self.layout, &mut survey)? else { break };
            survey.things(&listing, &Scope::All);
            survey.leftovers(&listing);
            let report = survey.report();
            read_bytes += report.read_bytes;
            let findings = report.findings.clone();
            self.repaired.report = Report { read_bytes, ..report };
            if findings.is_empty() || !self.round(&listing, &findings)? {
                break;
            }
            // What lies in packs and files has been read, unless the whole was not as it seemed.
            if findings.iter().all(|finding| finding.subject != Subject::Store) {
                depth = Depth::Changed;
            }
        }
        Ok(())
    }

    /// Mends what was found; whether anything was changed.
    fn round(&mut self, listing: &Listing, findings: &[Finding]) -> Result<bool> {
        let mut changed = self.modes_and_makings(findings);
        // What lies in a directory that is a link, say, is not to be judged before that is
        // mended.
        for finding in findings {
            let alone = finding.kind == FindingKind::UnknownFile;
            let store = finding.subject == Subject::Store;
            if finding.remedy == Remedy::SetAside && (store || alone) {
                changed |= self.set_aside(&finding.path, &said(finding));
            }
        }
        if changed {
            return Ok(true);
        }
        // An index that contradicts the manifests is no judge of packs: first it is made right.
        let wrong_index = findings.iter().any(|finding| finding.remedy == Remedy::Rebuild);
        let judge = !(wrong_index && listing.from_index);
        if judge {
            changed |= self.times(findings);
        }
        let bad = Condemned::of(self.layout, listing, findings, judge);
        changed |= self.condemn(&bad, listing, findings);
        changed |= self.index(&bad, listing, findings)?;
        Ok(changed)
    }

    /// Has the index list what is there and works; what is not any more is lost.
    fn index(
        &mut self,
        bad: &Condemned<'_>,
        listing: &Listing,
        findings: &[Finding],
    ) -> Result<bool> {
        let (layout, rules) = (self.layout, &self.rules);
        // An image without a directory may be there under another id than the index says.
        let missing = |finding: &&Finding| finding.kind == FindingKind::ImageMissing;
        let missing: HashSet<_> = findings.iter().filter(missing).map(|f| f.subject).collect();
        let keys = bad.images.values().filter(|image| missing.contains(&Subject::Image(image.id)));
        let found_again = rebuild::unlisted(
            layout,
            rules,
            listing,
            &keys.map(|image| image.record.key).collect(),
        );
        let wrong = |finding: &&Finding| match finding.remedy {
            Remedy::Rebuild => true,
            Remedy::Drop => !found_again.is_empty() && missing.contains(&finding.subject),
            _ => false,
        };
        let mut kept = Vec::new();
        if let Some(reason) = findings.iter().find(wrong) {
            let salvaged = index::salvage(layout);
            let condemned = |id: &ImageId| bad.directories.contains_key(id);
            kept = rebuild::kept(layout, rules, listing, &found_again, condemned, &salvaged);
            rebuild::rebuild(layout, rules, &kept, &said(reason))?;
            self.repaired.pins_lost |= !salvaged.complete;
            let said = format!("with {} images, from their manifests", kept.len());
            self.did(Done::IndexRebuilt, &layout.index(), said);
            // Those whose manifest is damaged only the old index can name.
            let named = salvaged.images.into_iter().filter(|old| {
                bad.directories.contains_key(&old.id) && !bad.images.contains_key(&old.id)
            });
            let lost = named.map(|old| Lost { name: old.name, recipe: old.recipe });
            self.repaired.lost.extend(lost);
        } else if bad.images.is_empty() {
            return Ok(false);
        } else {
            self.unlist(bad)?;
        }
        let kept: HashSet<_> = kept.iter().map(|image| image.record.key).collect();
        let lost = bad.images.values().filter(|image| !kept.contains(&image.record.key));
        self.repaired.lost.extend(lost.map(|image| Lost {
            name: image.record.name.clone(),
            recipe: image.record.recipe.clone(),
        }));
        Ok(true)
    }

    fn modes_and_makings(&mut self, findings: &[Finding]) -> bool {
        let mut changed = false;
        for finding in findings {
            let Remedy::SetMode(mode) = finding.remedy else { continue };
            let set = access::set_mode(&finding.path, mode);
            let set = set
                .doing("change the mode of", &finding.path)
                .and_then(|()| durable::sync_file(&finding.path));
            changed |= self.tried(Done::ModeSet, &finding.path, &format!("{mode:04o}"), set);
            fault::point("repair-mode-set");
        }
        let layout = self.layout;
        let made = findings.iter().filter(|finding| finding.remedy == Remedy::Make);
        // Directories first: the others are made in one of them.
        let is_dir = |finding: &&Finding| finding.kind == FindingKind::DirectoryMissing;
        let (dirs, files): (Vec<_>, Vec<_>) = made.partition(is_dir);
        for finding in dirs.into_iter().chain(files) {
            let path = &finding.path;
            let make = match finding.kind {
                FindingKind::DirectoryMissing => access::private_dir(path),
                FindingKind::LockMissing => lock::renew_runs(layout),
                FindingKind::SecretDamaged => open::make_secret(layout),
                _ => access::private_file(path).map(drop),
            };
            let make = make.and_then(|()| durable::sync_name(path));
            changed |= self.tried(Done::Made, path, "", make);
            fault::point("repair-made");
        }
        changed
    }

    /// Gives packs that are whole their time of writing back.
    fn times(&mut self, findings: &[Finding]) -> bool {
        let mut changed = false;
        for finding in findings {
            if let Remedy::SetTime(ns) = finding.remedy {
                let set = durable::set_time(&finding.path, ns);
                let detail = "every page is what was written";
                changed |= self.tried(Done::TimeRestored, &finding.path, detail, set);
                fault::point("repair-time-set");
            }
        }
        changed
    }

    /// Moves what is damaged, and the images that cannot be without it, into the quarantine.
    fn condemn(&mut self, bad: &Condemned<'_>, listing: &Listing, findings: &[Finding]) -> bool {
        let mut changed = false;
        for (id, reasons) in &bad.directories {
            let dir = self.layout.image(id);
            if fs::symlink_metadata(&dir).is_err() {
                continue;
            }
            let mut reason = reasons.join("\n");
            if let Some(image) = listing.images.iter().find(|image| image.id == *id) {
                let record = &image.record;
                reason += &format!("\nIt is the image {}: {}", record.name, record.recipe);
            }
            changed |= self.set_aside(&dir, &reason);
        }
        // A pack may lie there compressed and not: each file is its own.
        let packs = findings.iter().filter(|finding| bad.files.contains(&finding.path));
        let paths: BTreeSet<_> = packs.map(|finding| &finding.path).collect();
        for path in paths {
            let of_it = |finding: &&Finding| finding.path == **path;
            let reasons: Vec<_> = findings.iter().filter(of_it).map(said).collect();
            if fs::symlink_metadata(path).is_ok() {
                changed |= self.set_aside(path, &reasons.join("\n"));
            }
        }
        changed
    }

    /// Takes images out of the index, and packs that no other uses.
    fn unlist(&mut self, bad: &Condemned<'_>) -> Result<()> {
        let (index, _) = index::open(self.layout)?;
        let root = self.layout.root();
        index::shrink(&index, root, |_| {
            let rows = Images { index: &index, root };
            for image in bad.images.values() {
                rows.delete(&image.record.key)?;
            }
            rows.delete_unused_packs()
        })?;
        fault::point("repair-unlisted");
        for image in bad.images.values() {
            let name = &image.record.name;
            self.did(Done::Unlisted, &self.layout.image(&image.id), format!("the image {name}"));
        }
        Ok(())
    }
}

/// A finding as it is said beside what was set aside because of it.
fn said(finding: &Finding) -> String {
    let mut said = format!("{}: {}", finding.kind, finding.detail);
    if !finding.images.is_empty() {
        said += &format!(" (images: {})", finding.images.join(", "));
    }
    said
}

/// What cannot be mended.
struct Condemned<'a> {
    /// Listed images, because of themselves or of a pack.
    images: BTreeMap<ImageId, &'a Image>,
    /// Directories of images, with the reasons, listed or not.
    directories: BTreeMap<ImageId, Vec<String>>,
    /// Files of packs.
    files: BTreeSet<PathBuf>,
}

impl<'a> Condemned<'a> {
    fn of(layout: &Layout, listing: &'a Listing, findings: &[Finding], with_packs: bool) -> Self {
        let (mut packs, mut files) = (HashSet::new(), BTreeSet::new());
        let mut directories: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for finding in findings {
            let final_one = matches!(finding.remedy, Remedy::SetAside | Remedy::Drop);
            match finding.subject {
                _ if !final_one || finding.kind == FindingKind::UnknownFile => {}
                Subject::Store => {}
                Subject::Pack(_) if !with_packs => {}
                Subject::Pack(id) => {
                    packs.insert(id);
                    files.insert(finding.path.clone());
                }
                Subject::Image(id) => directories.entry(id).or_default().push(said(finding)),
            }
        }
        // One of two files of a pack is enough.
        packs.retain(|id: &PackId| {
            let lies = |path: &PathBuf| !files.contains(path) && path.symlink_metadata().is_ok();
            ![layout.pack(id), layout.cold_pack(id)].iter().any(lies)
        });
        for image in &listing.images {
            for pack in listing.links.get(&image.id).into_iter().flat_map(|packs| packs.keys()) {
                if packs.contains(pack) {
                    let reason = format!("its pack {pack:#} is damaged or missing");
                    directories.entry(image.id).or_default().push(reason);
                }
            }
        }
        let condemned = |image: &&Image| directories.contains_key(&image.id);
        let images = listing.images.iter().filter(condemned).map(|image| (image.id, image));
        Self { images: images.collect(), directories, files }
    }
}
