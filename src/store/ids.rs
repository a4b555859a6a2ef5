//! Names of things by their blake3: pages, packs, images, keys.
//!
//! Each kind has its own type, so that a pack cannot be looked up by a page's
//! hash. All of them show their first 12 hex digits with `{}` and all 64 with
//! `{:#}`; text and JSON always hold all 64, in lower case.

use std::fmt;
use std::str::FromStr;

/// Why a text is not a [`Digest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotADigest;

impl fmt::Display for NotADigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not 64 lower-case hex digits")
    }
}

impl std::error::Error for NotADigest {}

macro_rules! digests {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The id with these bytes.
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// All 64 hex digits.
            pub fn hex(&self) -> String {
                blake3::Hash::from_bytes(self.0).to_hex().to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let hex = blake3::Hash::from_bytes(self.0).to_hex();
                f.write_str(if f.alternate() { &hex } else { &hex[..12] })
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = NotADigest;

            fn from_str(text: &str) -> Result<Self, NotADigest> {
                if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    return Err(NotADigest); // one id, one spelling: ids are file names
                }
                blake3::Hash::from_hex(text).map(|hash| Self(hash.into())).map_err(|_| NotADigest)
            }
        }

        impl From<blake3::Hash> for $name {
            fn from(hash: blake3::Hash) -> Self {
                Self(hash.into())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Hex;
                impl serde::de::Visitor<'_> for Hex {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("64 lower-case hex digits")
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                from.deserialize_str(Hex)
            }
        }
    )*};
}

digests! {
    /// The blake3 of some bytes that have no type of their own: a file, say.
    Digest;
    /// The blake3 of one page of 4096 bytes.
    PageHash;
    /// What a pack holds: see [`super::pack`].
    PackId;
    /// What makes two builds the same image; the caller computes it.
    ImageKey;
    /// One build of an image: the blake3 of its manifest, and so of all that
    /// the manifest names. It is the name of the image's directory.
    ImageId;
    /// A program that runs, with its interpreter and flags; the caller computes it.
    ProgramId;
}

impl PageHash {
    /// The first eight bytes as a number: enough to look a page up by, not
    /// enough to trust.
    pub(super) fn prefix(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_short_and_full() {
        let id = PackId::new([0xab; 32]);
        assert_eq!(id.to_string(), "abababababab");
        assert_eq!(format!("{id:#}"), "ab".repeat(32));
        assert_eq!(id.hex(), "ab".repeat(32));
        assert_eq!(format!("{id:?}"), "PackId(abababababab)");
    }

    #[test]
    fn parses_only_its_own_spelling() {
        let hex = "0f".repeat(32);
        assert_eq!(hex.parse::<ImageId>().unwrap().hex(), hex);
        for bad in ["", "0f", &"0F".repeat(32), &"xx".repeat(32), &"0f".repeat(33)] {
            assert!(bad.parse::<ImageId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn json_is_the_full_hex() {
        let key = ImageKey::new([7; 32]);
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json, format!("\"{}\"", "07".repeat(32)));
        assert_eq!(serde_json::from_str::<ImageKey>(&json).unwrap(), key);
        let error = serde_json::from_str::<ImageKey>("\"07\"").unwrap_err().to_string();
        assert!(error.starts_with("not 64 lower-case hex digits"), "{error}");
    }
}
