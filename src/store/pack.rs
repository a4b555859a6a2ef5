//! A pack: an immutable file of pages that can be mapped in place.
//!
//! ```text
//! offset 0                    one page of header: magic, version, counts
//! offset 4096 * (1 + slot)    the page in that slot; a page of zeroes is a hole
//! after the last page         32 bytes per page: its blake3
//! after these                 4 bytes per anchor: its slot, ascending
//! after these                 8 bytes per anchor: the first 8 of its page's hash
//! ```
//! All numbers are little-endian. The id of a pack is the blake3 of the page
//! hashes and the anchor slots, so whoever holds the id can tell whether both
//! are right, and by them whether the pages are.
//!
//! Anchors are the slots through which a pack is searched for known pages: see
//! [`super::dedup`]. They can be read without the hashes, which are ten times as
//! much; read so they are hints, and nothing is believed because of them.
//!
//! Compressed, a pack is read by the same offsets: see [`super::seekable`].
//!
//! This module knows one file. Which packs there are, it does not know.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::access;
use super::durable::AT_ONCE;
use super::failure::{Doing, write_failed};
use super::ids::{PackId, PageHash};
use super::pages::{self, PAGE};
use super::seekable::Seekable;
use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"pyimgpak";
const VERSION: u32 = 1;

/// The version's context for the id, as blake3's `derive_key` wants it.
const CONTEXT: &str = "pyimg pack of pages, version 1";

/// 64 GiB of pages: far beyond any image, small enough to allocate tables for.
pub(super) const MAX_PAGES: u64 = 1 << 24;

/// What there is to know about a pack without reading its pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackInfo {
    /// Its name, by content.
    pub id: PackId,
    /// How many pages it holds, those of zeroes included.
    pub pages: u64,
    /// The size of its file in bytes; on disk it takes less if it has holes.
    pub bytes: u64,
    /// When its file was last written, in nanoseconds since 1970. It never is
    /// again: another time means that somebody else did.
    pub modified_ns: i64,
}

/// Where the tables begin in the file of a pack of so many pages: the page hashes, behind
/// them the anchor slots, then their prefixes.
pub(super) const fn tables_of(pages: u64) -> u64 {
    offset_of(pages)
}

/// Where the page in `slot` begins in the file of its pack, in bytes.
pub const fn offset_of(slot: u64) -> u64 {
    (1 + slot) * PAGE as u64
}

/// After so many bytes the disk is set to work on what was written: beside hashing what
/// comes next, where the sync at the end would have to wait for all of it.
const WRITTEN_OUT_AT_ONCE: u64 = 4 << 20;

/// A pack that is being written.
#[derive(Debug)]
pub(super) struct PackWriter {
    file: File,
    path: PathBuf,
    needed: u64,
    stored: u64,
    /// Pages yet to be written, and where they begin in the file.
    waiting: (u64, Vec<u8>),
    /// Up to here the disk is at work.
    written_out: u64,
}

impl PackWriter {
    /// Starts a pack in a new file at `path`; `needed` bytes may come, which is
    /// only said when the disk is full.
    pub fn create(path: PathBuf, needed: u64) -> Result<Self> {
        let file = access::private_file(&path)?;
        let waiting = (0, Vec::with_capacity(AT_ONCE as usize));
        Ok(Self { file, path, needed, stored: 0, waiting, written_out: 0 })
    }

    /// Writes whole pages from `slot` on, which comes behind all that were written. Those of
    /// zeroes stay holes, if they are several.
    pub fn write(&mut self, slot: u64, hashes: &[PageHash], bytes: &[u8]) -> Result<()> {
        let zero = pages::zero_hash();
        let mut at = 0;
        for run in hashes.chunk_by(|a, b| (*a == zero) == (*b == zero)) {
            let (from, to) = (at * PAGE, (at + run.len()) * PAGE);
            if run[0] != zero || run.len() < pages::LEAST_HOLE {
                self.add(&bytes[from..to], offset_of(slot + at as u64))?;
            }
            if run[0] != zero {
                self.stored += run.len() as u64;
            }
            at += run.len();
        }
        Ok(())
    }

    fn add(&mut self, mut bytes: &[u8], mut offset: u64) -> Result<()> {
        if self.waiting.0 + self.waiting.1.len() as u64 != offset {
            self.flush()?;
            self.waiting.0 = offset;
        }
        while !bytes.is_empty() {
            let room = AT_ONCE - offset % AT_ONCE;
            let (now, later) = bytes.split_at(bytes.len().min(room as usize));
            self.waiting.1.extend_from_slice(now);
            offset += now.len() as u64;
            bytes = later;
            if offset.is_multiple_of(AT_ONCE) {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes what is waiting.
    fn flush(&mut self) -> Result<()> {
        let (start, bytes) = &self.waiting;
        self.put(bytes, *start)?;
        let end = start + bytes.len() as u64;
        self.waiting = (end, std::mem::take(&mut self.waiting.1));
        self.waiting.1.clear();
        if end >= self.written_out + WRITTEN_OUT_AT_ONCE {
            let length = end - self.written_out;
            crate::sys::begin_to_write_out(&self.file, self.written_out, length);
            self.written_out = end;
        }
        Ok(())
    }

    /// How many pages have been written, those of zeroes not counted.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Adds the tables and the header and makes everything durable. The file
    /// stays where it was created.
    pub fn seal(mut self, hashes: &[PageHash], anchors: &[u32]) -> Result<(PackInfo, PathBuf)> {
        self.flush()?;
        let (pages, slots) = (hashes.len() as u64, anchors.len() as u64);
        let mut tables = Vec::with_capacity(hashes.len() * 32 + anchors.len() * 12);
        hashes.iter().for_each(|hash| tables.extend_from_slice(hash.as_bytes()));
        anchors.iter().for_each(|slot| tables.extend_from_slice(&slot.to_le_bytes()));
        let id = id_of(&tables);
        for slot in anchors {
            tables.extend_from_slice(&hashes[*slot as usize].prefix().to_le_bytes());
        }
        self.put(&tables, offset_of(pages))?;
        self.put(&Header { pages, anchors: slots }.to_bytes(), 0)?;
        let synced = self.file.sync_all();
        synced.map_err(|error| write_failed(&self.path, self.needed, error))?;
        let found = self.file.metadata().doing("read", &self.path)?;
        let info = PackInfo { id, pages, bytes: found.len(), modified_ns: modified_ns(&found) };
        Ok((info, self.path))
    }

    fn put(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(|error| write_failed(&self.path, self.needed, error))
    }
}

fn id_of(tables: &[u8]) -> PackId {
    id_hasher().update(tables).finalize().into()
}

/// Makes the id of a pack out of its page hashes and the anchor slots.
pub(super) fn id_hasher() -> blake3::Hasher {
    blake3::Hasher::new_derive_key(CONTEXT)
}

/// When a file was last written, in nanoseconds since 1970.
pub(super) fn modified_ns(found: &std::fs::Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt;
    found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec())
}

#[derive(Debug, Clone, Copy)]
struct Header {
    pages: u64,
    anchors: u64,
}

impl Header {
    fn to_bytes(self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        page[..8].copy_from_slice(MAGIC);
        page[8..12].copy_from_slice(&VERSION.to_le_bytes());
        page[12..16].copy_from_slice(&(PAGE as u32).to_le_bytes());
        page[16..24].copy_from_slice(&self.pages.to_le_bytes());
        page[24..32].copy_from_slice(&self.anchors.to_le_bytes());
        page
    }

    /// The size of a pack with these counts.
    fn size(self) -> u64 {
        offset_of(self.pages) + self.pages * 32 + self.anchors * 12
    }

    /// `size` is the file's: the counts must say the same, so that nothing is
    /// allocated that the file does not hold.
    fn parse(bytes: &[u8; 32], size: u64) -> Result<Self, String> {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or([0; 4]));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or([0; 8]));
        if &bytes[..8] != MAGIC {
            return Err("it does not begin like a pack".into());
        }
        if u32_at(8) != VERSION {
            return Err(format!("it has version {}, known is {VERSION}", u32_at(8)));
        }
        if u32_at(12) != PAGE as u32 {
            return Err(format!("its pages have {} bytes", u32_at(12)));
        }
        let header = Self { pages: u64_at(16), anchors: u64_at(24) };
        if header.pages > MAX_PAGES || header.anchors > header.pages {
            return Err("it has impossible counts".into());
        }
        let wanted = header.size();
        match wanted == size {
            true => Ok(header),
            false => Err(format!("it has {size} bytes and should have {wanted}")),
        }
    }
}

/// A pack as it lies in the store, compressed or not, opened for its tables.
#[derive(Debug)]
pub(super) struct PackFile {
    bytes: Bytes,
    path: PathBuf,
    header: Header,
}

/// What a pack is read from. Offsets are the same in both.
#[derive(Debug)]
enum Bytes {
    Raw { file: File, modified_ns: i64 },
    Cold(Seekable),
}

impl PackFile {
    /// Opens a pack; what another user may have put there is refused.
    pub fn open(path: &Path) -> Result<Self> {
        access::trusted_file(path)?;
        let file = File::open(path).doing("open", path)?;
        Self::of(file, path).doing("read", path)?.map_err(|reason| damaged(path, &reason))
    }

    /// The same for a compressed one.
    pub fn open_cold(path: &Path) -> Result<Self> {
        access::trusted_file(path)?;
        let file = File::open(path).doing("open", path)?;
        Self::of_cold(file, path).doing("read", path)?.map_err(|reason| damaged(path, &reason))
    }

    /// Reads the header of an open file; a reason if it is none.
    pub fn of(file: File, path: &Path) -> io::Result<Result<Self, String>> {
        let found = file.metadata()?;
        let modified_ns = modified_ns(&found);
        Self::of_bytes(Bytes::Raw { file, modified_ns }, found.len(), path)
    }

    /// The same for a compressed one.
    pub fn of_cold(file: File, path: &Path) -> io::Result<Result<Self, String>> {
        let seekable = match Seekable::open(file)? {
            Ok(seekable) => seekable,
            Err(reason) => return Ok(Err(reason)),
        };
        let size = seekable.length();
        match Self::of_bytes(Bytes::Cold(seekable), size, path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Err(error.to_string())),
            opened => opened,
        }
    }

    fn of_bytes(bytes: Bytes, size: u64, path: &Path) -> io::Result<Result<Self, String>> {
        let mut start = [0; 32];
        if size >= PAGE as u64 {
            bytes.read_exact_at(&mut start, 0)?;
        }
        let header = Header::parse(&start, size);
        Ok(header.map(|header| Self { bytes, path: path.to_owned(), header }))
    }

    /// The parts that it is compressed in, if it is.
    pub fn cold(&self) -> Option<&Seekable> {
        match &self.bytes {
            Bytes::Raw { .. } => None,
            Bytes::Cold(seekable) => Some(seekable),
        }
    }

    /// The size of the pack in bytes, as it is or would be if it were not compressed.
    pub fn size(&self) -> u64 {
        self.header.size()
    }

    /// How many pages it has.
    pub fn pages(&self) -> u64 {
        self.header.pages
    }

    /// How many anchors it has.
    pub fn anchor_count(&self) -> u64 {
        self.header.anchors
    }

    /// Reads so many bytes as there is room for, from an offset in the file on.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.read_exact_at(bytes, offset)
    }

    /// Whether the file is as it was put there. When it was compressed does not matter:
    /// everything in it has to be decompressed before it is used, and is looked at then.
    pub fn is(&self, info: &PackInfo) -> bool {
        let unwritten = match &self.bytes {
            Bytes::Raw { modified_ns, .. } => *modified_ns == info.modified_ns,
            Bytes::Cold(_) => true,
        };
        unwritten && self.header.pages == info.pages && self.size() == info.bytes
    }

    /// The anchors: slot, and the first bytes of the hash of the page in it.
    /// These are hints.
    pub fn anchors(&self) -> Result<Vec<(u32, u64)>> {
        let count = self.header.anchors;
        let bytes = self.read(offset_of(self.header.pages) + self.header.pages * 32, count * 12)?;
        let (slots, prefixes) = bytes.split_at(count as usize * 4);
        let slots = slots.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let prefixes = prefixes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        Ok(slots.zip(prefixes).filter(|(slot, _)| u64::from(*slot) < self.header.pages).collect())
    }

    /// The hashes of all pages, if the pack is the one named `id`.
    pub fn hashes(&self, id: &PackId) -> Result<Vec<PageHash>> {
        let pages = self.header.pages;
        let bytes = self.read(offset_of(pages), pages * 32 + self.header.anchors * 4)?;
        if id_of(&bytes) != *id {
            return Err(damaged(&self.path, "its tables are not those that its name stands for"));
        }
        let hashes = bytes[..pages as usize * 32].as_chunks::<32>().0;
        Ok(hashes.iter().map(|hash| PageHash::new(*hash)).collect())
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Some of its bytes.
    pub fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        match self.bytes.read_exact_at(&mut bytes, offset) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(damaged(&self.path, &error.to_string()))
            }
            read => read.doing("read", &self.path).map(|()| bytes),
        }
    }
}

impl Bytes {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Raw { file, .. } => file.read_exact_at(bytes, offset),
            Self::Cold(seekable) => seekable.read_exact_at(bytes, offset),
        }
    }
}

pub(super) fn damaged(path: &Path, reason: &str) -> Error {
    Error::failed(format!("the pack {} is damaged: {reason}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn page(fill: u8) -> [u8; PAGE] {
        [fill; PAGE]
    }

    /// A sealed pack of pages filled with these bytes.
    fn pack(dir: &Path, fills: &[u8]) -> (PackInfo, PathBuf, Vec<PageHash>) {
        let bytes: Vec<u8> = fills.iter().flat_map(|fill| page(*fill)).collect();
        let hashes = pages::hash(&bytes);
        let mut writer = PackWriter::create(dir.join("p"), 0).unwrap();
        writer.write(0, &hashes, &bytes).unwrap();
        let stored = fills.iter().filter(|fill| **fill != 0).count() as u64;
        assert_eq!(writer.stored(), stored);
        let (info, path) = writer.seal(&hashes, &[0, 2]).unwrap();
        (info, path, hashes)
    }

    #[test]
    fn the_file_is_as_the_specification_says() {
        let dir = tempfile::tempdir().unwrap();
        let (info, path, hashes) = pack(dir.path(), &[1, 2, 0, 3]);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 4096 * 5 + 4 * 32 + 2 * 12);
        assert_eq!(bytes.len() as u64, info.bytes);
        assert_eq!(&bytes[..12], b"pyimgpak\x01\0\0\0");
        assert_eq!(bytes[12..16], 4096_u32.to_le_bytes());
        assert_eq!(bytes[16..24], 4_u64.to_le_bytes());
        assert_eq!(bytes[24..32], 2_u64.to_le_bytes());
        assert!(bytes[32..4096].iter().all(|byte| *byte == 0));
        for (slot, fill) in [1, 2, 0, 3].into_iter().enumerate() {
            let at = offset_of(slot as u64) as usize;
            assert_eq!(bytes[at..at + PAGE], page(fill));
        }
        let hash_at = 4096 * 5;
        assert_eq!(bytes[hash_at..hash_at + 32], *blake3::hash(&page(1)).as_bytes());
        let slots = hash_at + 4 * 32;
        assert_eq!(bytes[slots..slots + 8], [0, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(bytes[slots + 8..slots + 16], hashes[0].as_bytes()[..8]);
        assert_eq!(bytes[slots + 16..], hashes[2].as_bytes()[..8]);
        let id = blake3::derive_key(CONTEXT, &bytes[hash_at..slots + 8]);
        assert_eq!(info.id, PackId::new(id));
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn tables_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let (info, path, hashes) = pack(dir.path(), &[1, 2, 0, 3]);
        let pack = PackFile::open(&path).unwrap();
        assert_eq!(pack.anchors().unwrap(), [(0, hashes[0].prefix()), (2, hashes[2].prefix())]);
        assert_eq!(pack.hashes(&info.id).unwrap(), hashes);
    }

    #[test]
    fn zero_pages_take_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut fills = vec![0; 1000];
        fills[999] = 1;
        let (_, path, _) = pack(dir.path(), &fills);
        assert!(path.metadata().unwrap().blocks() * 512 < 200 * 1024);
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (info, path, _) = pack(dir.path(), &[1, 2, 3]);
        let good = std::fs::read(&path).unwrap();
        let fails = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let opened = PackFile::open(&path).and_then(|pack| pack.hashes(&info.id));
            let text = opened.unwrap_err().to_string();
            text.split(" is damaged: ").nth(1).unwrap().to_owned()
        };
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        assert_eq!(fails(&[]), "it does not begin like a pack");
        assert_eq!(fails(&with(0, b'P')), "it does not begin like a pack");
        assert_eq!(fails(&with(8, 9)), "it has version 9, known is 1");
        assert_eq!(fails(&with(13, 0)), "its pages have 0 bytes");
        assert_eq!(fails(&with(23, 255)), "it has impossible counts");
        assert_eq!(fails(&with(24, 4)), "it has impossible counts");
        assert_eq!(fails(&with(16, 4)), "it has 16504 bytes and should have 20632");
        assert_eq!(fails(&good[..good.len() - 1]), "it has 16503 bytes and should have 16504");
        let wrong_hash = fails(&with(4 * 4096, good[4 * 4096] ^ 1));
        assert_eq!(wrong_hash, "its tables are not those that its name stands for");
    }

    proptest::proptest! {
        /// Whatever lies there, opening it neither panics nor allocates more
        /// than the file is long.
        #[test]
        fn any_bytes_are_survived(start in proptest::collection::vec(0_u8.., 0..64)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("p");
            let mut bytes = Header { pages: 1, anchors: 1 }.to_bytes().to_vec();
            bytes.resize(2 * 4096 + 44, 7);
            bytes[8..8 + start.len().min(24)].copy_from_slice(&start[..start.len().min(24)]);
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(pack) = PackFile::open(&path) {
                pack.anchors().unwrap();
                pack.hashes(&PackId::new([0; 32])).unwrap_err();
            }
        }
    }
}
