//! An image's directory and its files: are they there, and as its manifest says?

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::super::Depth;
use super::super::entries::{Found, Type, unreadable};
use super::super::finding::{FindingKind, Problem, Remedy, Subject};
use super::super::listing::{Listing, Plain};
use super::Survey;
use crate::store::layout::{LOOKED_THROUGH, MANIFEST, USES};
use crate::store::manifest::FileInfo;
use crate::store::record::Image;

/// Bytes of a file that are read at a time.
const PIECE: usize = 1 << 18;

impl Survey<'_> {
    /// Looks at an image whose manifest could be read.
    pub(super) fn image(&mut self, listing: &Listing, image: &Image, manifest: &Plain) {
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
}
