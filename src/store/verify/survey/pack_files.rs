//! The files of a pack, which may be compressed: are they there, as recorded, and sound?

use std::fs::{self, File};
use std::path::Path;

use super::super::Depth;
use super::super::finding::{FindingKind, Problem, Remedy};
use super::super::packs;
use super::Survey;
use crate::store::pack::{PackFile, PackInfo, modified_ns};
use crate::store::slots::Slots;

/// How many pages a finding names.
const NAMED: usize = 8;

/// How often a pack is looked for that changes its place.
const LOOKS: usize = 3;

impl Survey<'_> {
    /// Looks at a pack, compressed or not. Both files are there while it changes from one to
    /// the other, or that was cut off: then the compressed one counts, and the other as well if
    /// it is as recorded, for then it takes its place.
    pub(super) fn pack(&self, info: &PackInfo, used: &Slots) -> Vec<Problem> {
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
