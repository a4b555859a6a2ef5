//! The manifest of an image: which pages stand where, which packs and files
//! hold it, and what the builder has to say to a run.
//!
//! It is JSON, `images/ID/manifest.json`, and its blake3 is the ID. Loading it
//! checks everything that can be checked without reading pages, so that what
//! was truncated, replaced or put there by somebody else is found before it is
//! mapped. Reading the pages themselves is not for a run, and not done here: that
//! is [`super::verify()`].

use std::fs;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::failure::Doing;
use super::ids::{Digest, ImageId};
use super::layout::{self, Layout};
use super::pack::PackInfo;
use super::record::ImageRecord;
use super::{access, tier};
use crate::error::{Error, Result};

const FORMAT: u32 = 1;

/// A manifest of `import numpy, pandas` takes some hundred KB.
const MAX_BYTES: u64 = 64 << 20;

/// Files of at most this many bytes are read and hashed whenever a whole manifest is loaded.
const QUICKLY_HASHED: u64 = 64 << 10;

/// Files of at most this many are read and hashed by each run. Those that say what the process
/// is (registers, mappings, files) never have more: mappings take the most, at some 40 bytes
/// each, and the kernel allows 65,530 (`vm.max_map_count`). Beyond are copied pages, if there
/// are very many.
const HASHED_BY_RUNS: u64 = 4 << 20;

/// 16 TiB, so that sums of pages and of bytes cannot overflow.
const MAX_IMAGE_PAGES: u64 = 1 << 32;

/// Some consecutive pages of an image, and where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct Extent {
    /// Where the first page stands in memory, in bytes.
    pub address: u64,
    /// How many there are.
    pub pages: u64,
    /// What they are.
    pub source: Source,
}

/// Where the pages of an extent come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// They are zeroes and lie nowhere.
    Zero,
    /// They lie in a pack.
    Pack {
        /// Its number in the list of packs that comes with the extents.
        pack: u32,
        /// The slot of the first page; see [`pack::offset_of`].
        first_page: u64,
    },
}

/// `[address, pages, pack or null, first page]`
type Wire = (u64, u64, Option<u32>, u64);

impl From<Wire> for Extent {
    fn from((address, pages, pack, first_page): Wire) -> Self {
        let source = pack.map_or(Source::Zero, |pack| Source::Pack { pack, first_page });
        Self { address, pages, source }
    }
}

impl From<Extent> for Wire {
    fn from(extent: Extent) -> Self {
        match extent.source {
            Source::Zero => (extent.address, extent.pages, None, 0),
            Source::Pack { pack, first_page } => {
                (extent.address, extent.pages, Some(pack), first_page)
            }
        }
    }
}

/// A file in the directory of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Its name there.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The hash of its content.
    pub blake3: Digest,
}

/// What is known about one image; `T` is the builder's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest<T> {
    /// The version of this format.
    pub format: u32,
    /// What is in the index too.
    pub record: ImageRecord,
    /// When the image was stored, in nanoseconds since 1970.
    pub created_ns: i64,
    /// How many pages were new to the store then.
    pub new_pages: u64,
    /// The packs that hold its pages, as [`Source::Pack`] counts them.
    pub packs: Vec<PackInfo>,
    /// All its pages.
    pub extents: Vec<Extent>,
    /// All its files but the manifest.
    pub files: Vec<FileInfo>,
    /// What the builder left for the run.
    pub content: T,
}

impl<T> Manifest<T> {
    /// A manifest of the current format.
    pub(super) fn new(record: ImageRecord, created_ns: i64, content: T) -> Self {
        let (packs, extents, files) = (Vec::new(), Vec::new(), Vec::new());
        let (format, new_pages) = (FORMAT, 0);
        Self { format, record, created_ns, new_pages, packs, extents, files, content }
    }

    /// The bytes of memory that the image holds.
    pub fn page_bytes(&self) -> u64 {
        self.extents.iter().map(|extent| extent.pages * super::PAGE as u64).sum()
    }

    /// The bytes of its files.
    pub fn file_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

impl<T: Serialize> Manifest<T> {
    /// The text and the id of the image that it makes.
    pub(super) fn to_bytes(&self) -> Result<(Vec<u8>, ImageId)> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| Error::failed("cannot write the manifest as JSON").because(error))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Error::failed(format!(
                "the manifest would have {} bytes, more than {MAX_BYTES}",
                bytes.len()
            )));
        }
        let id = blake3::hash(&bytes).into();
        Ok((bytes, id))
    }
}

impl<T> Manifest<T> {
    /// What the manifest says that cannot be, if anything: extents that are not in
    /// their packs, and files that would not lie in the image's directory.
    fn contradiction(&self) -> Option<String> {
        let mut pages = 0_u64;
        for extent in &self.extents {
            let end = extent.pages.checked_mul(super::PAGE as u64);
            let end = end.and_then(|bytes| extent.address.checked_add(bytes));
            pages = pages.saturating_add(extent.pages);
            if end.is_none() || pages > MAX_IMAGE_PAGES {
                return Some("it has more pages than there is memory".into());
            }
            let Source::Pack { pack, first_page } = extent.source else { continue };
            let end = first_page.checked_add(extent.pages);
            let held = self.packs.get(pack as usize).map(|pack| pack.pages);
            if end.is_none_or(|end| held.is_none_or(|held| end > held)) {
                return Some("an extent is not in its pack".into());
            }
        }
        let odd = self.files.iter().find(|file| !layout::is_file_name(&file.name));
        odd.map(|file| format!("it names a file {:?}", file.name))
    }
}

/// What of a manifest a run needs: the least to be read, since somebody waits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RunManifest<T> {
    format: u32,
    /// [`Manifest::packs`]
    pub packs: Vec<PackInfo>,
    /// [`Manifest::files`]
    pub files: Vec<FileInfo>,
    /// [`Manifest::content`]
    pub content: T,
}

/// Reads a manifest and checks all that it names: see the module.
pub(super) fn load<T: DeserializeOwned>(layout: &Layout, id: &ImageId) -> Result<Manifest<T>> {
    let path = layout.manifest(id);
    let manifest: Manifest<T> =
        parse(&read_manifest(layout, id)?, id).map_err(|why| damaged(&path, why))?;
    check_packs(layout, &manifest.packs)?;
    check_contents(&layout.image(id), &manifest.files, QUICKLY_HASHED)?;
    Ok(manifest)
}

/// The same for a run, which is to call [`check_files`] as well. What it does not read of the
/// manifest is what its hash says, so it fits.
pub(super) fn load_for_run<T: DeserializeOwned>(
    layout: &Layout,
    id: &ImageId,
) -> Result<RunManifest<T>> {
    let path = layout.manifest(id);
    let bytes = read_manifest(layout, id)?;
    let format_of = |manifest: &RunManifest<T>| manifest.format;
    let manifest = parse_as(&bytes, id, format_of).map_err(|why| damaged(&path, why))?;
    check_packs(layout, &manifest.packs)?;
    Ok(manifest)
}

fn read_manifest(layout: &Layout, id: &ImageId) -> Result<Vec<u8>> {
    for dir in [layout.images(), layout.packs(), layout.image(id)] {
        access::trusted_dir(&dir)?;
    }
    let path = layout.manifest(id);
    let size = access::trusted_file(&path)?.len();
    let file = fs::File::open(&path).doing("read", &path)?;
    read(file, size).doing("read", &path)
}

/// Reads a manifest of so many bytes, but never more than may be.
pub(super) fn read(file: fs::File, size: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(size.min(MAX_BYTES) as usize + 1);
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The manifest that these bytes are, if it is the one of the image `id` and can be
/// relied upon; else why not.
pub(super) fn parse<T: DeserializeOwned>(
    bytes: &[u8],
    id: &ImageId,
) -> Result<Manifest<T>, String> {
    let manifest: Manifest<T> = parse_as(bytes, id, |manifest: &Manifest<T>| manifest.format)?;
    match manifest.contradiction() {
        None => Ok(manifest),
        Some(reason) => Err(reason),
    }
}

/// What these bytes are, if they are those of the image `id`, and of this format.
fn parse_as<M: DeserializeOwned>(
    bytes: &[u8],
    id: &ImageId,
    format_of: impl FnOnce(&M) -> u32,
) -> Result<M, String> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it has more than {MAX_BYTES} bytes"));
    }
    if ImageId::from(blake3::hash(bytes)) != *id {
        return Err("it was changed".into());
    }
    match serde_json::from_slice::<M>(bytes) {
        Ok(manifest) if format_of(&manifest) == FORMAT => Ok(manifest),
        result => Err(match (serde_json::from_slice::<Version>(bytes), result) {
            (Ok(Version { format }), _) if format != FORMAT => {
                format!("it has format {format}, this pyimg knows format {FORMAT}")
            }
            (_, Err(error)) => error.to_string(),
            (_, Ok(_)) => "it has no format".into(),
        }),
    }
}

fn check_packs(layout: &Layout, packs: &[PackInfo]) -> Result<()> {
    for info in packs {
        // What is compressed is looked at when it is brought back.
        if !tier::is_cold(layout, &info.id)? {
            tier::check_raw(layout, info)?;
        }
    }
    Ok(())
}

/// Compares the files of an image in this directory with what its manifest says of them,
/// contents included. It takes about a millisecond, so a run does it beside other work.
///
/// # Errors
/// When one was changed, or cannot be read.
pub fn check_files(directory: &Path, files: &[FileInfo]) -> Result<()> {
    check_contents(directory, files, HASHED_BY_RUNS)
}

/// Reads a file of an image in this directory, which must be what its manifest says.
///
/// # Errors
/// When it was changed, or cannot be read.
pub fn read_file(directory: &Path, file: &FileInfo) -> Result<Vec<u8>> {
    let path = directory.join(&file.name);
    access::trusted_file(&path)?;
    let bytes = fs::read(&path).doing("read", &path)?;
    match bytes.len() as u64 == file.bytes && file.blake3 == blake3::hash(&bytes).into() {
        true => Ok(bytes),
        false => Err(was_changed(&path)),
    }
}

/// The same as [`check_files`], but of the contents only of files of at most so many bytes.
fn check_contents(directory: &Path, files: &[FileInfo], hashed: u64) -> Result<()> {
    for file in files {
        let path = directory.join(&file.name);
        let mut same = access::trusted_file(&path)?.len() == file.bytes;
        if same && file.bytes <= hashed {
            let mut hasher = blake3::Hasher::new();
            let read = fs::File::open(&path).and_then(|file| hasher.update_reader(file).map(drop));
            read.doing("read", &path)?;
            same = file.blake3 == hasher.finalize().into();
        }
        if !same {
            return Err(was_changed(&path));
        }
    }
    Ok(())
}

fn was_changed(path: &Path) -> Error {
    Error::failed(format!("the file {} was changed", path.display()))
}

fn damaged(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::failed(format!("the manifest {} is damaged: {reason}", path.display()))
        .hint("remove the image with `pyimg rm` and build it again")
}
