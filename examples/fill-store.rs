//! Fills a store with copies of an image under other keys and names: for
//! `scripts/bench-store`, which measures how commands do with thousands of images.
//!
//! `fill-store IMAGE COUNT`, in the store of the environment. The copies have the record,
//! the evidence and CRIU's images, so that looking at one of them costs what looking at a
//! real one costs. But of the memory they have only some pages that are the same in all,
//! and every twentieth one of its own, so there are packs too; none of them can be run.

use pyimg::error::{Error, Result};
use pyimg::manifest::Manifest;
use pyimg::store::{self, ImageRecord, PAGE, Store};

/// Where the pages stand in memory.
const ADDRESS: u64 = 0x2aaa_aaaa_a000;

/// How many pages all copies have in common: enough to be used in place.
const COMMON: u32 = 16;

fn main() {
    if let Err(error) = fill() {
        eprintln!("error: {error}");
        std::process::exit(error.exit_code().into());
    }
}

fn fill() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(image), Some(Ok(count))) =
        (arguments.next(), arguments.next().map(|count| count.parse::<u32>()))
    else {
        return Err(Error::usage("it takes the name of an image and a number of copies"));
    };
    let store = Store::open(&store::default_dir()?)?;
    let image = store.find(&image)?;
    let manifest = store.load_manifest::<Manifest>(&image.id)?;
    let mut files = Vec::new();
    for file in manifest.files.iter().filter(|file| !file.name.starts_with("pages-")) {
        let path = store.image_dir(&image.id).join(&file.name);
        let bytes = std::fs::read(&path).map_err(|error| {
            Error::failed(format!("cannot read {}", path.display())).because(error)
        })?;
        files.push((&file.name, bytes));
    }
    for number in 0..count {
        let mut ingest = store.begin(0)?;
        ingest.add_run(ADDRESS, &pages(1..=COMMON))?;
        if number % 20 == 0 {
            ingest.add_run(2 * ADDRESS, &pages(number + COMMON + 1..=number + COMMON + 1))?;
        }
        let mut sealed = ingest.seal()?;
        for (name, bytes) in &files {
            sealed.add_file(name, bytes)?;
        }
        let name = format!("{}-{number}", image.record.name);
        let key = blake3::hash(name.as_bytes()).into();
        let record = ImageRecord { key, name, ..image.record.clone() };
        sealed.commit(record, &manifest.content, &[])?;
    }
    Ok(())
}

/// Pages that are told from each other by a number.
fn pages(numbers: std::ops::RangeInclusive<u32>) -> Vec<u8> {
    let mut bytes = vec![0; numbers.clone().count() * PAGE];
    for (page, number) in bytes.chunks_exact_mut(PAGE).zip(numbers) {
        page[..4].copy_from_slice(&number.to_le_bytes());
    }
    bytes
}
