//! Names and paths are bytes, which may stay where they were read. In JSON they are text where
//! they are UTF-8, else a list of numbers.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name or a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Text<'a>(Cow<'a, [u8]>);

impl Text<'_> {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// As a person reads it.
    pub fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The same, without a copy.
    pub fn borrowed(&self) -> Text<'_> {
        Text(Cow::Borrowed(&self.0))
    }

    /// The same, for as long as it is wanted.
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_path().fmt(f)
    }
}

impl From<Vec<u8>> for Text<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Cow::Owned(bytes))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<PathBuf> for Text<'_> {
    fn from(path: PathBuf) -> Self {
        path.into_os_string().into_vec().into()
    }
}

impl<'a> From<&'a OsStr> for Text<'a> {
    fn from(text: &'a OsStr) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            _ if !serializer.is_human_readable() => serializer.serialize_bytes(&self.0),
            Ok(text) => serializer.serialize_str(text),
            Err(_) => self.0.serialize(serializer),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Readable {
            Text(String),
            Bytes(Vec<u8>),
        }

        if !deserializer.is_human_readable() {
            return <&[u8]>::deserialize(deserializer).map(|bytes| Self(Cow::Borrowed(bytes)));
        }
        Ok(match Readable::deserialize(deserializer)? {
            Readable::Text(text) => text.into(),
            Readable::Bytes(bytes) => bytes.into(),
        })
    }
}

/// All of these for as long as they are wanted.
pub(super) fn owned(texts: Vec<Text>) -> Vec<Text<'static>> {
    texts.into_iter().map(Text::into_owned).collect()
}
