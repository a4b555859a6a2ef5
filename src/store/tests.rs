//! The store as a whole, through its public face.
//!
//! What only root can arrange (other owners, full and read-only file systems)
//! is skipped for others, with a line that says so.

mod access;
mod damages;
mod disks;
mod formats;
mod gc;
mod images;
mod lab;
mod pages;
mod programs;
mod repair;
mod runs;
mod tiers;
mod verify;

use std::path::Path;

use super::*;
use crate::error::Result;

/// What tests keep as the builder's part of a manifest.
type Content = std::collections::BTreeMap<String, String>;

/// A new store in a directory that goes with it; in memory if possible, because
/// hundreds of images are stored here and each of them is synced.
fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    (dir, store)
}

/// A record that differs by its name only, and so by its key.
fn record(name: &str) -> ImageRecord {
    let text = |text: &str| text.to_owned();
    ImageRecord {
        key: blake3::hash(name.as_bytes()).into(),
        name: text(name),
        python: text("3.11.7"),
        executable: text("/venv/bin/python"),
        real_executable: text("/usr/bin/python3.11"),
        interpreter: Digest::new([1; 32]),
        kernel: text("Linux 6.18"),
        glibc: text("2.36"),
        cpu: text("avx2"),
        flags: text("-B"),
        python_env: text(""),
        recipe: text("import this"),
        modules: vec![text("numpy"), text("re")],
        import_ns: 260_000_000,
        import_times: text("numpy 250000000 re\nre 10000000\n"),
        criu: text("4.1.1"),
        surroundings: text("{}"),
    }
}

/// A query that [`record`] answers.
fn query(record: &ImageRecord) -> CandidateQuery<'_> {
    CandidateQuery {
        executable: &record.executable,
        interpreter: None,
        kernel: &record.kernel,
        glibc: Some(&record.glibc),
        cpu: &record.cpu,
        flags: &record.flags,
        python_env: &record.python_env,
    }
}

/// Pages that are told from each other by a number; 0 is a page of zeroes.
fn pages(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let page = |number: u32| {
        let mut page = [0; PAGE];
        for place in [0, 100, PAGE - 4] {
            page[place..place + 4].copy_from_slice(&number.to_le_bytes());
        }
        page
    };
    numbers.into_iter().flat_map(page).collect()
}

/// Where the runs of test images stand.
const ADDRESS: u64 = 0x5555_5555_4000;

/// Stores an image of one run and a file.
fn build(store: &Store, record: ImageRecord, bytes: &[u8]) -> Result<Image> {
    let mut ingest = store.begin(bytes.len() as u64)?;
    ingest.add_run(ADDRESS, bytes)?;
    let mut sealed = ingest.seal()?;
    sealed.add_file("core-1.img", b"core")?;
    sealed.commit(record, &Content::from([("words".into(), "few".into())]), &[])
}

/// The memory of an image: its first address and all bytes, put together from
/// its extents, which must follow each other.
fn read_back(store: &Reader, id: &ImageId) -> Vec<u8> {
    let manifest = store.load_manifest::<Content>(id).unwrap();
    let packs: Vec<_> = manifest
        .packs
        .iter()
        .map(|pack| std::fs::read(store.pack_path(&pack.id)).unwrap())
        .collect();
    let mut bytes = Vec::new();
    for extent in &manifest.extents {
        assert_eq!(extent.address, ADDRESS + bytes.len() as u64);
        let length = extent.pages as usize * PAGE;
        match extent.source {
            Source::Zero => bytes.resize(bytes.len() + length, 0),
            Source::Pack { pack, first_page } => {
                let at = offset_of(first_page) as usize;
                bytes.extend_from_slice(&packs[pack as usize][at..at + length]);
            }
        }
    }
    bytes
}

/// All files below a directory of the store, by name.
fn files_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// That a store holds these images and nothing else.
fn assert_clean(store: &Store, names: &[&str]) {
    let images = store.images().unwrap();
    assert_eq!(images.iter().map(|image| &image.record.name).collect::<Vec<_>>(), names);
    let mut ids: Vec<_> = images.iter().map(|image| image.id.hex()).collect();
    ids.sort();
    assert_eq!(files_in(&store.dir().join("images")), ids);
    let mut packs = std::collections::BTreeSet::new();
    for image in &images {
        let manifest = store.load_manifest::<Content>(&image.id).unwrap();
        packs.extend(manifest.packs.iter().map(|pack| format!("{:#}.pack", pack.id)));
    }
    assert_eq!(files_in(&store.dir().join("packs")), packs.into_iter().collect::<Vec<_>>());
    assert_eq!(files_in(&store.dir().join("tmp")), [""; 0]);
}
