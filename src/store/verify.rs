//! Verifying: is everything in the store what was written there?
//!
//! The answer is a value, a [`Report`]. Nothing is changed, no right to write is needed, and
//! no lock is held, but for the milliseconds in which SQLite reads the index: builds, runs
//! and removals go on meanwhile. So what looks damaged may only have been removed since the
//! index was read. Therefore the index is read again, and what it still lists is looked at
//! again, until the same index has been seen before and after. `store-layout.md` says why
//! that is enough. Mending is [`super::repair`].
//!
//! - [`finding`]: what is found; [`entries`]: one file or directory by itself
//! - [`listing`]: what there should be; [`survey`]: looks at all of it, file by file;
//!   [`packs`]: what is in a pack

pub(super) mod entries;
pub(super) mod finding;
pub(super) mod listing;
pub(super) mod packs;
pub(super) mod survey;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::failure::Doing;
use super::index::{self, Examined};
use super::layout::Layout;
use super::open::refuse_foreign;
use super::reader::not_a_directory;
use crate::error::Result;
use entries::{Found, Rules, Type};
pub use finding::{Finding, FindingKind};
use finding::{Problem, Remedy, Subject};
use listing::Listing;
use survey::{Scope, Survey};

/// How often what looks damaged is looked at again while the index keeps changing.
const ROUNDS: usize = 5;

/// Is told how far it is: how many bytes have just been read, and how many are to be read
/// in all, which is 0 where that is not known beforehand.
pub type Watch<'a> = dyn Fn(u64, u64) + Sync + 'a;

/// How much is read to verify a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Everything but the pages of packs and the builder's files of images.
    Tables,
    /// The pages of packs whose time of writing is wrong, besides.
    Changed,
    /// Everything.
    Data,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many images were looked at.
    pub images: u64,
    /// How many packs were looked at.
    pub packs: u64,
    /// How many bytes of pages and files were read and compared with their hashes.
    pub read_bytes: u64,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// What the index does not know: a crash left it there, or a build or removal is using
    /// it just now. Cleaning up takes it away.
    pub leftovers: Vec<PathBuf>,
    /// What earlier repairs have set aside.
    pub quarantined: Vec<PathBuf>,
}

/// Verifies the store in `dir`; `None` if there is none. A store of a newer format is an
/// error.
pub fn verify(dir: &Path, depth: Depth, watch: &Watch<'_>) -> Result<Option<Report>> {
    let layout = Layout::new(dir);
    let Some(rules) = enter(&layout)? else { return Ok(None) };
    let mut survey = Survey::new(&layout, rules, depth, watch);
    if survey.root() == survey::Root::Closed {
        return Ok(Some(survey.report()));
    }
    let Some((mut listing, sound)) = list(&layout, &mut survey)? else { return Ok(None) };
    survey.things(&listing, &Scope::All);
    for _ in 0..ROUNDS {
        let doubtful = survey.doubtful();
        if !sound || doubtful.is_empty() {
            break;
        }
        // The findings that are about what is listed are found again, or are none.
        let Examined::Sound(connection) = index::examine(&layout)? else { break };
        let again = Listing::of_index(&connection, layout.root())?;
        drop(connection);
        let settled = again == listing;
        listing = again;
        survey.forget_doubts();
        survey.things(&listing, &Scope::Only(doubtful));
        if settled {
            break;
        }
    }
    survey.leftovers(&listing);
    Ok(Some(survey.report()))
}

/// The rules for the files of a store, if there is one.
pub(super) fn enter(layout: &Layout) -> Result<Option<Rules>> {
    let dir = layout.root();
    let found = match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.doing("read", dir)?,
    };
    if !found.is_dir() {
        return Err(not_a_directory(dir));
    }
    Ok(Some(Rules::of(&found)))
}

/// What there should be: as the index says, and whether it can be believed; else as the
/// manifests say. `None` if there is no store.
pub(super) fn list(layout: &Layout, survey: &mut Survey<'_>) -> Result<Option<(Listing, bool)>> {
    let path = layout.index();
    let problem = match survey.rules.look(&path, Type::File) {
        // The directory may be anybody's: then it is not for us to judge what is in it.
        Found::Missing if !listing::has_images(layout) => return Ok(None),
        Found::Missing if refuse_foreign(layout).is_err() => return Ok(None),
        Found::Missing => {
            let detail = "there are images and no index";
            Problem::new(FindingKind::IndexMissing, path, Remedy::Rebuild, detail)
        }
        Found::Bad(problem) => problem,
        Found::Good(_, mode) => {
            survey.add(mode, Subject::Store, &[]);
            match index::examine(layout)? {
                Examined::Sound(connection) => {
                    match Listing::of_index(&connection, layout.root()) {
                        Ok(listing) => return Ok(Some((listing, true))),
                        // A negative size, say, which SQLite does not mind.
                        Err(error) => {
                            let (kind, remedy) = (FindingKind::IndexDamaged, Remedy::Rebuild);
                            Problem::new(kind, path, remedy, error.to_string())
                        }
                    }
                }
                Examined::Empty if !listing::has_images(layout) => return Ok(None),
                Examined::Empty => {
                    let detail = "it is empty, but there are images";
                    Problem::new(FindingKind::IndexDamaged, path, Remedy::Rebuild, detail)
                }
                Examined::Damaged(reasons) => {
                    let (kind, remedy) = (FindingKind::IndexDamaged, Remedy::Rebuild);
                    Problem::new(kind, path, remedy, reasons.join("; "))
                }
            }
        }
    };
    survey.add(Some(problem), Subject::Store, &[]);
    let (listing, problems) = Listing::of_manifests(layout, &survey.rules, None);
    for (id, problem) in problems {
        survey.add(Some(problem), Subject::Image(id), &[]);
    }
    Ok(Some((listing, false)))
}
