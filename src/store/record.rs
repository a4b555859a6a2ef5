//! What the store remembers about an image: the words that builder, `ls` and
//! runs exchange with it.
//!
//! To the store these are opaque: it compares them for equality and nothing
//! else. Only names have a rule, because people type them.

use serde::{Deserialize, Serialize};

use super::ids::{Digest, ImageId, ImageKey};
use super::tier::Tier;
use crate::error::{Error, Result};

/// What the builder says about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// What makes two builds the same image.
    pub key: ImageKey,
    /// What people call it; unique in the store. See [`check_name`].
    pub name: String,
    /// The interpreter's version, as a text: `3.11.7`.
    pub python: String,
    /// The interpreter as it is invoked: in a virtual environment, the link
    /// there and not what it points to.
    pub executable: String,
    /// The interpreter's real path.
    pub real_executable: String,
    /// The blake3 of the interpreter's binary.
    pub interpreter: Digest,
    /// The kernel that the image was made under.
    pub kernel: String,
    /// The C library that the image was made with.
    pub glibc: String,
    /// The processor features that the image relies on.
    pub cpu: String,
    /// The interpreter's flags, in one canonical spelling.
    pub flags: String,
    /// The variables that Python reads at start, in one canonical spelling.
    pub python_env: String,
    /// What was imported, as a person wrote it.
    pub recipe: String,
    /// The top-level modules that are loaded; no name holds a line break.
    pub modules: Vec<String>,
    /// How long plain Python took to import them, in nanoseconds.
    pub import_ns: u64,
    /// How long each of them took, and which of the others it imports: text that the store
    /// does not look into. Empty in images of a store of format 2 and older.
    #[serde(default)]
    pub import_times: String,
    /// The version of CRIU that dumped it; empty in images of format 2 and older.
    #[serde(default)]
    pub criu: String,
    /// What of a process's surroundings the imports depended on: text that the store does not
    /// look into. Empty if nothing, and in images of format 3 and older.
    #[serde(default)]
    pub surroundings: String,
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// This build of it; names its directory.
    pub id: ImageId,
    /// What the builder said.
    #[serde(flatten)]
    pub record: ImageRecord,
    /// When it was stored, in nanoseconds since 1970.
    pub created_ns: i64,
    /// The bytes of memory it holds, zeroes included.
    pub page_bytes: u64,
    /// The bytes of pages that were new to the store when it was stored.
    pub new_bytes: u64,
    /// The bytes of its own files (all but the packs).
    pub file_bytes: u64,
    /// How its pages lie on disk.
    pub tier: Tier,
    /// Whether cleaning up leaves it alone.
    pub pinned: bool,
    /// How many runs began from it.
    pub hits: u64,
    /// When the last of them began, in nanoseconds since 1970.
    pub last_used_ns: Option<i64>,
}

/// What a list says of an image; the fields are those of [`Image`] and its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// [`Image::id`]
    pub id: ImageId,
    /// [`ImageRecord::name`]
    pub name: String,
    /// [`ImageRecord::python`]
    pub python: String,
    /// [`ImageRecord::recipe`]
    pub recipe: String,
    /// [`Image::page_bytes`]
    pub page_bytes: u64,
    /// [`ImageRecord::import_ns`]
    pub import_ns: u64,
    /// [`Image::created_ns`]
    pub created_ns: i64,
    /// [`Image::pinned`]
    pub pinned: bool,
    /// [`Image::tier`]
    pub tier: Tier,
    /// [`Image::last_used_ns`]
    pub last_used_ns: Option<i64>,
}

/// What a run needs: images that fit all of it are candidates.
#[derive(Debug, Clone, Copy)]
pub struct CandidateQuery<'a> {
    /// The interpreter, as [`ImageRecord::executable`].
    pub executable: &'a str,
    /// The hash of its binary, if it is known already.
    pub interpreter: Option<&'a Digest>,
    /// As [`ImageRecord::kernel`].
    pub kernel: &'a str,
    /// As [`ImageRecord::glibc`], if it is known.
    pub glibc: Option<&'a str>,
    /// As [`ImageRecord::cpu`].
    pub cpu: &'a str,
    /// As [`ImageRecord::flags`].
    pub flags: &'a str,
    /// As [`ImageRecord::python_env`].
    pub python_env: &'a str,
}

/// An image that a run may use, if its evidence still holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its manifest is asked for by this.
    pub id: ImageId,
    /// Its key.
    pub key: ImageKey,
    /// Its name.
    pub name: String,
    /// The hash of the interpreter it was made by.
    pub interpreter: Digest,
    /// The top-level modules it has loaded.
    pub modules: Vec<String>,
    /// How long importing them takes without it, in nanoseconds.
    pub import_ns: u64,
    /// [`ImageRecord::import_times`]
    pub import_times: String,
    /// [`ImageRecord::surroundings`]
    pub surroundings: String,
    /// [`Image::page_bytes`]
    pub page_bytes: u64,
}

/// What tells that a file has not changed since it was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileState {
    /// The device that it lies on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When its content was last written, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// When anything about it was last changed, in nanoseconds since 1970.
    pub ctime_ns: i64,
}

impl FileState {
    /// The state that `stat` tells.
    pub fn of(found: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let ns =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            mtime_ns: ns(found.mtime(), found.mtime_nsec()),
            ctime_ns: ns(found.ctime(), found.ctime_nsec()),
        }
    }

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        let [device, inode, size] = self.numbers();
        let numbers = [device, inode, size, self.mtime_ns, self.ctime_ns];
        numbers.into_iter().flat_map(i64::to_le_bytes).collect()
    }

    /// Whether it has been so for longer than a file system takes to tell two changes apart:
    /// times have the kernel's ticks, of at most 10 ms.
    pub fn is_settled(&self, now_ns: i64) -> bool {
        const TICKS_NS: i64 = 50_000_000;
        self.ctime_ns.saturating_add(TICKS_NS) < now_ns
    }

    /// SQLite's integers have a sign; only equality matters.
    pub(super) fn numbers(&self) -> [i64; 3] {
        [self.device, self.inode, self.size].map(u64::cast_signed)
    }
}

/// Refuses names that could not be typed, or would be taken for an option.
pub fn check_name(name: &str) -> Result<()> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > 200 {
        "it is longer than 200 bytes"
    } else if name.starts_with('-') {
        "it begins with a dash"
    } else if name.chars().any(|c| c.is_control() || c.is_whitespace() || c == '/') {
        "it holds a blank, a slash or a control character"
    } else {
        return Ok(());
    };
    Err(Error::usage(format!("an image cannot be called {name:?}: {reason}"))
        .hint("letters, digits and -._+ make good names"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_typed() {
        for good in ["data", "python311-typing-re", "Größe", "a.b+c_d"] {
            check_name(good).unwrap();
        }
        let said = |name: &str| check_name(name).unwrap_err().to_string();
        assert_eq!(said(""), "an image cannot be called \"\": it is empty");
        assert_eq!(said("-x"), "an image cannot be called \"-x\": it begins with a dash");
        for bad in ["a b", "a/b", "a\n", "\u{7f}"] {
            assert!(said(bad).ends_with("it holds a blank, a slash or a control character"));
        }
        assert!(said(&"n".repeat(201)).ends_with("it is longer than 200 bytes"));
        assert_eq!(check_name("").unwrap_err().exit_code(), 2);
    }
}
