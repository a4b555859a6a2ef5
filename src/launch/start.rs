//! Starting the program of a run from the image that was chosen, by whichever engine can.
//!
//! Here it is decided which: the one that becomes the program, if it can, else CRIU. Nothing is
//! chosen here, and nobody waits for the program.

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use super::choice::Chosen;
use super::command_line::Engine;
use super::miss::Miss;
use super::rescue;
use super::situation::{ImageEvidence, Situation, check_criu, check_files};
use crate::criu::Criu;
use crate::engine::criu::{NotStarted, Parked};
use crate::engine::direct::{self, Complete, Ready, Refusal};
use crate::engine::request::Request;
use crate::engine::{self, By, Running};
use crate::image::mapping::PackFile;
use crate::image::plan;
use crate::store::{Tier, read_file};
use crate::trace;

/// Bounds of how long a run waits for others who decompress its image.
const LEAST_PATIENCE: Duration = Duration::from_millis(250);
const MOST_PATIENCE: Duration = Duration::from_secs(10);

/// A program that has been started from an image, or is about to be.
pub(super) enum Prepared {
    /// By CRIU, and why.
    Running(Running, By),
    /// This process is about to become it.
    Direct(Complete),
}

/// Has an image run the program of the request; `prefetched` is memory that it will write to.
///
/// # Errors
/// Why it cannot; the program has not begun.
pub(super) fn start(
    situation: &Situation<'_>,
    chosen: &Chosen,
    request: &Request,
    prefetched: &[Range<u64>],
) -> Result<Prepared, Miss> {
    trace::reached("request");
    let store = &situation.store;
    let packs = chosen
        .manifest
        .packs
        .iter()
        .map(|pack| {
            let path = store.pack_path(&pack.id).into_os_string().into_string();
            path.map(|path| PackFile { path, size: pack.bytes })
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|path| Miss::Unrestorable(format!("{} is not UTF-8", path.display())))?;
    let images = store.image_dir(&chosen.id);
    warm_up(situation, chosen)?;
    let evidence = situation.evidence(chosen);
    let image = Parts { images: &images, packs: &packs, chosen, request };
    let note = |news: Option<Vec<u8>>| {
        if let Some(news) = news {
            store.note_looked_through(&chosen.id, &news);
        }
    };
    let instead = match situation.engine {
        Engine::Criu => None,
        engine => match image.ready(&evidence, prefetched) {
            Ok((ready, news)) => {
                note(news);
                return Ok(Prepared::Direct(ready));
            }
            Err(NotReady::Miss(miss)) => return Err(miss),
            Err(NotReady::Refused(why)) if engine == Engine::Direct => {
                return Err(Miss::Unrestorable(why.to_string()));
            }
            Err(NotReady::Refused(why)) => Some(why),
        },
    };
    let noted = OnceLock::new();
    let check = || {
        check_files(&images, &chosen.manifest.files)?;
        trace::reached("files");
        let _ = noted.set(evidence.check()?);
        trace::reached("evidence");
        Ok(())
    };
    let prepared = image.restore(situation, instead, check)?;
    note(noted.into_inner().flatten());
    Ok(prepared)
}

/// What an engine needs of an image, and what it is to do.
#[derive(Clone, Copy)]
struct Parts<'a> {
    images: &'a Path,
    packs: &'a [PackFile],
    chosen: &'a Chosen,
    request: &'a Request,
}

/// Why this process cannot become the program.
enum NotReady {
    Miss(Miss),
    Refused(Refusal),
}

impl From<Miss> for NotReady {
    fn from(miss: Miss) -> Self {
        Self::Miss(miss)
    }
}

impl From<Refusal> for NotReady {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Parts<'_> {
    /// Makes this process ready to become the program while the evidence is looked at; and what
    /// is to be noted of that.
    fn ready(
        self,
        evidence: &ImageEvidence<'_>,
        prefetched: &[Range<u64>],
    ) -> Result<(Complete, Option<Vec<u8>>), NotReady> {
        let Self { images, packs, chosen, request } = self;
        let damaged = |error: crate::error::Error| Miss::Damaged(error.to_string());
        let file = |name: &str| chosen.manifest.files.iter().find(|file| file.name == name);
        let plan = match file(plan::FILE) {
            Some(file) => direct::parse_plan(&read_file(images, file).map_err(damaged)?)?,
            None => direct::read_plan(images)?,
        };
        check_files(images, file(direct::PAGES).map_or(&[], std::slice::from_ref))?;
        trace::reached("files");
        let prepare = || {
            let ready = Ready::prepare(&plan, images, packs, request, prefetched);
            trace::reached("mapped");
            ready
        };
        let (ready, news) = evidence.check_beside(prepare)?;
        trace::reached("evidence");
        Ok((ready?.complete()?, news))
    }

    /// Has CRIU restore the image and run the program; `instead` is why this process did not
    /// become it.
    fn restore(
        self,
        situation: &Situation<'_>,
        instead: Option<Refusal>,
        check: impl FnOnce() -> Result<(), Miss> + Send,
    ) -> Result<Prepared, Miss> {
        let manifest = &self.chosen.manifest.content;
        situation.suits_criu(manifest)?;
        let criu = Criu::find().map_err(|error| Miss::NoCriu(error.to_string()))?;
        check_criu(&criu, manifest)?;
        let parked = Parked { images: self.images, process: &manifest.process, packs: self.packs };
        rescue::disarm();
        let started = engine::start(&criu, &parked, self.request, check);
        let started = started.map_err(|not_started| match not_started {
            NotStarted::Unwanted(miss) => miss,
            NotStarted::Refused(_) => Miss::NotStarted(not_started.to_string()),
            NotStarted::Damaged(_) => Miss::Damaged(not_started.to_string()),
            NotStarted::Criu(_) | NotStarted::Io(_) | NotStarted::Namespace(_) => {
                Miss::CriuFailed(not_started.to_string())
            }
        });
        Ok(Prepared::Running(started?, By::Criu(instead)))
    }
}

/// Decompresses an image that is cold, which takes longer than all else: so not one that
/// cannot be used anyway.
///
/// Others who are at it already are waited for as long as the imports would take. Who
/// comes first pays once for all runs to come, however long that takes.
fn warm_up(situation: &Situation<'_>, chosen: &Chosen) -> Result<(), Miss> {
    let store = &situation.store;
    let packs = &chosen.manifest.packs;
    if store.tier(packs) == Tier::Raw {
        return Ok(());
    }
    situation.evidence(chosen).check()?;
    let imports = Duration::from_nanos(chosen.manifest.content.import_ns);
    let patience = imports.clamp(LEAST_PATIENCE, MOST_PATIENCE);
    store.thaw(packs, patience).map_err(|error| Miss::Cold(error.to_string()))
}
