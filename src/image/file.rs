//! The container of CRIU's images: two magic numbers, then messages with their lengths.
//!
//! Layout (CRIU's `Documentation` and `criu/image.c`): `u32` common magic, `u32`
//! magic of the kind of image, then for each message a `u32` length and the
//! protobuf bytes, all little endian. Pages files have no such header and are not
//! read here.

use std::fmt;

use protobuf::Message;

/// The first word of every image but `stats` and `irmap-cache`.
pub const COMMON_MAGIC: u32 = 0x5456_4319;

/// No message of an image is longer than this; what claims to be is damaged.
const LONGEST_MESSAGE: usize = 16 << 20;

/// Why the bytes of an image could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong, for a person.
    pub what: String,
}

impl Malformed {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Malformed {}

/// The frames of an image: its second magic number and the raw messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    /// The magic number that names the kind of image; kept, not interpreted.
    pub magic: u32,
    /// The protobuf bytes of each message, in order.
    pub messages: Vec<Vec<u8>>,
}

impl Frames {
    /// Splits the bytes of an image file.
    ///
    /// # Errors
    /// When the magic is not CRIU's or a length points outside the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let common = take_u32(&mut rest)?;
        if common != COMMON_MAGIC {
            return Err(Malformed::new(format!("not a CRIU image: it begins with {common:#x}")));
        }
        let magic = take_u32(&mut rest)?;
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let length = take_u32(&mut rest)? as usize;
            if length > LONGEST_MESSAGE {
                return Err(Malformed::new(format!("a message claims {length} bytes")));
            }
            let Some((message, after)) = rest.split_at_checked(length) else {
                return Err(Malformed::new(format!(
                    "a message of {length} bytes is cut off after {}",
                    rest.len()
                )));
            };
            messages.push(message.to_vec());
            rest = after;
        }
        Ok(Self { magic, messages })
    }

    /// The bytes of the image file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let payload: usize = self.messages.iter().map(|message| message.len() + 4).sum();
        let mut bytes = Vec::with_capacity(8 + payload);
        bytes.extend(COMMON_MAGIC.to_le_bytes());
        bytes.extend(self.magic.to_le_bytes());
        for message in &self.messages {
            let length = u32::try_from(message.len()).expect("messages are limited in size");
            bytes.extend(length.to_le_bytes());
            bytes.extend(message);
        }
        bytes
    }
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, Malformed> {
    let Some((word, after)) = rest.split_first_chunk::<4>() else {
        return Err(Malformed::new("the file ends in the middle of a number"));
    };
    *rest = after;
    Ok(u32::from_le_bytes(*word))
}

/// An image whose messages are all of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct Image<M> {
    /// The magic number that names the kind of image.
    pub magic: u32,
    /// The messages.
    pub entries: Vec<M>,
}

impl<M: Message> Image<M> {
    /// Reads an image whose every message is an `M`.
    ///
    /// # Errors
    /// When the container or a message cannot be read.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let frames = Frames::parse(bytes)?;
        let entries =
            frames.messages.iter().map(|bytes| decode(bytes)).collect::<Result<_, _>>()?;
        Ok(Self { magic: frames.magic, entries })
    }

    /// The only message of an image that has exactly one.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn single(&self) -> Result<&M, Malformed> {
        match self.entries.as_slice() {
            [entry] => Ok(entry),
            entries => Err(Malformed::new(format!("{} messages in place of one", entries.len()))),
        }
    }

    /// The bytes of the image file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let messages = self.entries.iter().map(encode).collect();
        Frames { magic: self.magic, messages }.to_bytes()
    }
}

/// Reads one protobuf message.
pub(crate) fn decode<M: Message>(bytes: &[u8]) -> Result<M, Malformed> {
    M::parse_from_bytes(bytes).map_err(|error| {
        Malformed::new(format!("a message of type {} cannot be read: {error}", M::NAME))
    })
}

/// Writes one protobuf message.
pub(crate) fn encode<M: Message>(message: &M) -> Vec<u8> {
    message.write_to_bytes().expect("every required field was read or set")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::message::{Fown, Pstree};
    use proptest::prelude::*;

    fn pstree(pid: u32) -> Pstree {
        let mut entry = Pstree::new();
        entry.set_pid(pid);
        entry.set_ppid(0);
        entry.set_pgid(1);
        entry.set_sid(1);
        entry.threads = vec![pid];
        entry
    }

    #[test]
    fn what_is_written_is_read_back() {
        let image = Image { magic: 0x5032_4750, entries: vec![pstree(7), pstree(8)] };
        assert_eq!(Image::parse(&image.to_bytes()).unwrap(), image);
    }

    #[test]
    fn fields_that_are_not_known_are_kept() {
        // `Fown` has fields 1 to 5; read as `Pstree`, which has all of them as numbers.
        // `FdInfo` knows 1 to 4 only, so field 5 must survive as an unknown field.
        let original = encode(&pstree(9));
        let as_fdinfo: crate::image::message::FdInfo = decode(&original).unwrap();
        let again: Pstree = decode(&encode(&as_fdinfo)).unwrap();
        assert_eq!(again, pstree(9));
        assert!(decode::<Fown>(&[0xff]).is_err());
    }

    #[test]
    fn damage_is_named() {
        let bytes = Image { magic: 1, entries: vec![pstree(7)] }.to_bytes();
        let cut = Frames::parse(&bytes[..bytes.len() - 1]).unwrap_err();
        assert!(cut.what.contains("cut off"), "{cut}");
        let other = Frames::parse(&[0; 8]).unwrap_err();
        assert!(other.what.contains("not a CRIU image"), "{other}");
        let mut huge = bytes.clone();
        huge[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Frames::parse(&huge).unwrap_err().what.contains("claims"));
        assert!(Frames::parse(&bytes[..6]).unwrap_err().what.contains("middle of a number"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut with_magic = COMMON_MAGIC.to_le_bytes().to_vec();
            with_magic.extend(&bytes);
            if let Ok(frames) = Frames::parse(&with_magic) {
                prop_assert_eq!(frames.to_bytes(), with_magic);
            }
        }
    }
}
