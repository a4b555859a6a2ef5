//! zstd's seekable format: a file of independent frames, with a table of them at its end.
//!
//! `zstd -d` makes the whole of it, since the table lies in a frame that it skips; with the
//! table any part can be had alone, and all parts at once. What the format is, zstd says in
//! `contrib/seekable_format/zstd_seekable_compression_format.md`. Of it this module writes,
//! and reads, tables without checksums: each frame ends with one of its own.
//!
//! Nothing that such a file says is believed before it fits the size of the file, and no
//! frame may hold more than [`FRAME`] bytes: so a damaged file costs no more memory than a
//! good one. What the bytes mean is not known here.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use zstd::bulk::{Compressor, Decompressor};

/// The most that a frame holds, in bytes, and how much those of pages hold. Chosen with
/// [`LEVEL`]: what both were measured to be worth is in `store-layout.md`.
pub(super) const FRAME: usize = 4 << 20;

/// zstd's level.
pub(super) const LEVEL: i32 = 9;

const SKIPPABLE: u32 = 0x184D_2A5E;
const SEEKABLE: u32 = 0x8F92_EAB1;
const FOOTER: usize = 9;
const HEAD: usize = 8;
const ENTRY: usize = 8;

/// So many frames that were read last are kept: readers go through pages and their hashes
/// side by side.
const KEPT: usize = 3;

/// Where a frame lies: in the file, and in what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    at: u64,
    length: u32,
    /// Where its content begins in the whole.
    pub raw_at: u64,
    /// The bytes of its content.
    pub raw_length: u32,
}

/// The table of a file that is being written.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<(u32, u32)>);

impl Table {
    /// Adds the next frame by its compressed and its plain size.
    pub fn add(&mut self, length: usize, raw_length: usize) {
        // Neither is above a few times FRAME.
        self.0.push((length as u32, raw_length as u32));
    }

    /// The frame that holds the table.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + self.0.len() * ENTRY + FOOTER);
        bytes.extend_from_slice(&SKIPPABLE.to_le_bytes());
        bytes.extend_from_slice(&((self.0.len() * ENTRY + FOOTER) as u32).to_le_bytes());
        for (length, raw_length) in &self.0 {
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&raw_length.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.0.len() as u32).to_le_bytes());
        bytes.push(0); // no checksums
        bytes.extend_from_slice(&SEEKABLE.to_le_bytes());
        bytes
    }
}

/// Makes frames.
pub(super) struct Packer(Compressor<'static>);

impl Packer {
    /// One of these takes some 13 MiB of memory, besides what it is given and gives back.
    pub fn new() -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        Ok(Self(compressor))
    }

    /// One frame.
    pub fn pack(&mut self, raw: &[u8]) -> io::Result<Vec<u8>> {
        self.0.compress(raw)
    }
}

/// A file in this format, opened to be read.
pub(super) struct Seekable {
    file: File,
    frames: Vec<Frame>,
    length: u64,
    kept: Mutex<VecDeque<(usize, Arc<Vec<u8>>)>>,
}

impl std::fmt::Debug for Seekable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seekable({} frames, {} bytes)", self.frames.len(), self.length)
    }
}

impl Seekable {
    /// Reads the table of a file; a reason if it is damaged.
    pub fn open(file: File) -> io::Result<Result<Self, String>> {
        let size = file.metadata()?.len();
        let mut footer = [0; FOOTER];
        if size < (HEAD + FOOTER) as u64 {
            return Ok(Err("it is too short to be compressed".into()));
        }
        file.read_exact_at(&mut footer, size - FOOTER as u64)?;
        let count = match count_of(&footer, size) {
            Ok(count) => count,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut table = vec![0; HEAD + count * ENTRY + FOOTER];
        let at = size - table.len() as u64;
        file.read_exact_at(&mut table, at)?;
        Ok(frames_of(&table, count, at).map(|frames| {
            let length =
                frames.last().map_or(0, |frame| frame.raw_at + u64::from(frame.raw_length));
            Self { file, frames, length, kept: Mutex::default() }
        }))
    }

    /// The bytes of the whole.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes of the file.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Whether all of it can be decompressed to what its checksums say; looks no further than
    /// to the first part that cannot.
    pub fn is_sound(&self) -> bool {
        let Ok(mut unpacker) = Unpacker::new() else { return false };
        let mut raw = Vec::new();
        self.frames.iter().all(|frame| self.unpack(&mut unpacker, frame, &mut raw).is_ok())
    }

    /// Reads so many bytes as there is room for, from an offset in the whole on.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.length);
        if end.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let number = self.frames.partition_point(|frame| frame.raw_at <= at) - 1;
            let raw = self.frame(number)?;
            let from = (at - self.frames[number].raw_at) as usize;
            let length = (raw.len() - from).min(bytes.len() - done);
            bytes[done..done + length].copy_from_slice(&raw[from..from + length]);
            done += length;
        }
        Ok(())
    }

    /// A frame that is kept for those who come next. Whoever wants the same one waits for it.
    fn frame(&self, number: usize) -> io::Result<Arc<Vec<u8>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(known, _)| *known == number) {
            // The one that is wanted again goes to the end of the queue.
            let found = kept.remove(at).expect("it is there");
            kept.push_back(found.clone());
            return Ok(found.1);
        }
        let mut raw = Vec::new();
        self.unpack(&mut Unpacker::new()?, &self.frames[number], &mut raw)?;
        let raw = Arc::new(raw);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((number, Arc::clone(&raw)));
        Ok(raw)
    }

    /// Puts the content of a frame into `raw`, in place of what is there. An error of the
    /// kind `InvalidData` if it is damaged.
    pub fn unpack(
        &self,
        unpacker: &mut Unpacker,
        frame: &Frame,
        raw: &mut Vec<u8>,
    ) -> io::Result<()> {
        unpacker.packed.resize(frame.length as usize, 0);
        self.file.read_exact_at(&mut unpacker.packed, frame.at)?;
        raw.resize(frame.raw_length as usize, 0);
        let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        // Into the slice: a vector would be filled as far as its capacity goes.
        match unpacker.context.decompress_to_buffer(&unpacker.packed, &mut raw[..]) {
            Ok(length) if length == raw.len() => Ok(()),
            Ok(_) => Err(damaged("a part is shorter than it should be")),
            Err(error) => Err(damaged(&error.to_string())),
        }
    }
}

/// What unpacking needs again and again.
pub(super) struct Unpacker {
    context: Decompressor<'static>,
    packed: Vec<u8>,
}

impl Unpacker {
    pub fn new() -> io::Result<Self> {
        Ok(Self { context: Decompressor::new()?, packed: Vec::new() })
    }
}

/// How many frames the footer of a file of so many bytes says there are.
fn count_of(footer: &[u8; FOOTER], size: u64) -> Result<usize, String> {
    if footer[5..] != SEEKABLE.to_le_bytes() {
        return Err("it does not end with a table".into());
    }
    if footer[4] != 0 {
        return Err(format!("its table is of the kind {}, known is 0", footer[4]));
    }
    let count = u64::from(u32_at(footer, 0));
    match HEAD as u64 + count * ENTRY as u64 + FOOTER as u64 <= size {
        true => Ok(count as usize),
        false => Err("its table is longer than the file".into()),
    }
}

/// The frames that a table of so many entries names, if they fill what is before it.
fn frames_of(table: &[u8], count: usize, room: u64) -> Result<Vec<Frame>, String> {
    let length = (count * ENTRY + FOOTER) as u64;
    if u32_at(table, 0) != SKIPPABLE || u64::from(u32_at(table, 4)) != length {
        return Err("its table has another beginning than end".into());
    }
    let (mut at, mut raw_at) = (0, 0);
    let mut frames = Vec::with_capacity(count);
    for number in 0..count {
        let entry = HEAD + number * ENTRY;
        let (length, raw_length) = (u32_at(table, entry), u32_at(table, entry + 4));
        if raw_length == 0 || raw_length as usize > FRAME {
            return Err(format!("its part {number} would have {raw_length} bytes"));
        }
        if length as usize > zstd::zstd_safe::compress_bound(FRAME) {
            return Err(format!("its part {number} would take {length} bytes"));
        }
        frames.push(Frame { at, length, raw_at, raw_length });
        at += u64::from(length);
        raw_at += u64::from(raw_length);
    }
    match at == room {
        true => Ok(frames),
        false => Err(format!("its parts take {at} bytes, there are {room}")),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A file of these frames.
    fn file_of(parts: &[&[u8]]) -> Vec<u8> {
        let (mut packer, mut table) = (Packer::new().unwrap(), Table::default());
        let mut bytes = Vec::new();
        for part in parts {
            let packed = packer.pack(part).unwrap();
            table.add(packed.len(), part.len());
            bytes.extend(packed);
        }
        bytes.extend(table.to_bytes());
        bytes
    }

    fn open(bytes: &[u8]) -> Result<Seekable, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Seekable::open(file).unwrap()
    }

    #[test]
    fn any_part_reads_back() {
        let text: Vec<u8> = (0..10_000_u32).flat_map(|number| number.to_le_bytes()).collect();
        let parts: Vec<&[u8]> = text.chunks(7_000).collect();
        let packed = file_of(&parts);
        let seekable = open(&packed).unwrap();
        assert_eq!((seekable.length(), seekable.frames().len()), (40_000, 6));
        for (offset, length) in [(0, 40_000), (6_999, 2), (7_000, 1), (39_999, 1), (40_000, 0)] {
            let mut bytes = vec![0; length];
            seekable.read_exact_at(&mut bytes, offset as u64).unwrap();
            assert_eq!(bytes, text[offset..offset + length]);
        }
        for (offset, length) in [(40_000, 1), (39_999, 2), (u64::MAX, 2)] {
            let error = seekable.read_exact_at(&mut vec![0; length], offset).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    /// Field by field as the format's specification lists them.
    #[test]
    fn the_table_is_as_the_specification_says() {
        let mut table = Table::default();
        table.add(0x11, 0x2222);
        let expected = [
            &[0x5e, 0x2a, 0x4d, 0x18, 17, 0, 0, 0][..],
            &[0x11, 0, 0, 0, 0x22, 0x22, 0, 0],
            &[1, 0, 0, 0, 0, 0xb1, 0xea, 0x92, 0x8f],
        ];
        assert_eq!(table.to_bytes(), expected.concat());
    }

    #[test]
    fn everybody_can_decompress_it() {
        let packed = file_of(&[b"one ", b"two"]);
        assert_eq!(zstd::stream::decode_all(&packed[..]).unwrap(), b"one two");
    }

    #[test]
    fn damage_is_named() {
        let good = file_of(&[&[1; 5000], &[2; 5000]]);
        let end = good.len();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            open(&bytes).unwrap_err()
        };
        assert_eq!(open(&[]).unwrap_err(), "it is too short to be compressed");
        assert_eq!(open(&good[..end - 1]).unwrap_err(), "it does not end with a table");
        assert_eq!(with(end - 1, 0), "it does not end with a table");
        assert_eq!(with(end - 5, 0x80), "its table is of the kind 128, known is 0");
        assert_eq!(with(end - 6, 9), "its table is longer than the file");
        assert_eq!(with(end - 9, 1), "its table has another beginning than end");
        let table = end - 33;
        assert_eq!(with(table, 0), "its table has another beginning than end");
        assert_eq!(with(table + 15, 9), "its part 0 would have 150999944 bytes");
        let length = u32_at(&good, table + 8) + (9 << 24);
        assert_eq!(with(table + 11, 9), format!("its part 0 would take {length} bytes"));
        assert!(with(table + 8, 0).starts_with("its parts take "));
        // In a frame it is noticed when that is read.
        let mut bytes = good;
        assert!(open(&bytes).unwrap().is_sound());
        bytes[12] ^= 1;
        assert!(!open(&bytes).unwrap().is_sound());
        let error = open(&bytes).unwrap().read_exact_at(&mut [0], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_frame_that_holds_more_or_less_than_it_says_is_damaged() {
        for said in [4999, 5001] {
            let packed = Packer::new().unwrap().pack(&[1; 5000]).unwrap();
            let mut table = Table::default();
            table.add(packed.len(), said);
            let seekable = open(&[packed, table.to_bytes()].concat()).unwrap();
            let error = seekable.read_exact_at(&mut [0], 0).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    proptest::proptest! {
        /// Whatever a file says, it is opened or refused, and read or not, without a panic
        /// and without believing in more than there is.
        #[test]
        fn any_bytes_are_survived(
            start in proptest::collection::vec(0_u8.., 0..80),
            table in proptest::collection::vec((0_u32..60, 0_u32..9000), 0..4),
            damage in proptest::collection::vec((0_usize..200, 0_u8..), 0..4),
        ) {
            let table = Table(table);
            let mut bytes = [start, table.to_bytes()].concat();
            for (at, byte) in damage {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            if let Ok(seekable) = open(&bytes) {
                let _ = seekable.read_exact_at(&mut vec![0; seekable.length().min(1 << 16) as usize], 0);
            }
        }

        /// Damage anywhere in a good file is noticed, or does not matter.
        #[test]
        fn damage_is_never_taken_for_content(at in 0_usize..300, byte in 0_u8..) {
            let text: Vec<u8> = (0..3_000_u32).map(|number| (number * number / 7) as u8).collect();
            let mut bytes = file_of(&[&text[..1000], &text[1000..]]);
            let at = at * bytes.len() / 300;
            bytes[at] = byte;
            if let Ok(seekable) = open(&bytes) {
                let mut found = vec![0; 3_000];
                if seekable.length() == 3_000 && seekable.read_exact_at(&mut found, 0).is_ok() {
                    proptest::prop_assert_eq!(found, text);
                }
            }
        }
    }
}
