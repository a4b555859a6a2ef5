//! A store that is there to be damaged, and how its files are changed.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::store::verify::Report;

/// Three images: the first and the second share a pack, the third is by itself.
pub(super) struct Lab {
    _dir: tempfile::TempDir,
    pub path: PathBuf,
    pub images: Vec<Image>,
    pub packs: Vec<Vec<PathBuf>>,
}

pub(super) const NAMES: [&str; 3] = ["one", "two", "three"];

/// The pages of the images of a lab.
pub(super) fn memory(number: usize) -> Vec<u8> {
    match number {
        0 => pages((1..=40).chain([0; 20]).chain(41..=60)),
        1 => pages((1..=30).chain(200..=230)),
        _ => pages(500..=520),
    }
}

impl Lab {
    pub fn new() -> Self {
        let (dir, store) = store();
        let images: Vec<_> =
            (0..3).map(|at| build(&store, record(NAMES[at]), &memory(at)).unwrap()).collect();
        let packs = images.iter().map(|image| {
            let manifest = store.load_manifest::<Content>(&image.id).unwrap();
            manifest.packs.iter().map(|pack| store.pack_path(&pack.id)).collect()
        });
        let packs = packs.collect();
        assert_eq!(store.images().unwrap(), images);
        Self { path: store.dir().to_owned(), _dir: dir, images, packs }
    }

    pub fn file(&self, image: usize, name: &str) -> PathBuf {
        self.path.join("images").join(self.images[image].id.hex()).join(name)
    }

    pub fn verify(&self, depth: Depth) -> Report {
        verify(&self.path, depth, &|_, _| ()).unwrap().unwrap()
    }

    /// The kinds of what is found, with the names of the images.
    pub fn kinds(&self, depth: Depth) -> Vec<(&'static str, String)> {
        let findings = self.verify(depth).findings;
        findings.iter().map(|f| (f.kind.name(), f.images.join(" "))).collect()
    }

    /// That nothing is wrong.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert_eq!(self.verify(Depth::Data).findings, []);
    }
}

/// Changes one byte of a file without leaving a trace.
pub(super) fn flip(path: &Path, at: usize, bits: u8) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= bits;
    let file = File::options().write(true).truncate(true).open(path).unwrap();
    std::io::Write::write_all(&mut &file, &bytes).unwrap();
    file.set_modified(modified).unwrap();
}

pub(super) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
