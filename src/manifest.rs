//! What an image says of itself: its manifest.
//!
//! Written once, when the image is built, and read at every run; the store keeps
//! it and does not look into it. `store-layout.md` lists the fields.

pub mod times;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::image::mapping::Summary;
use crate::key::recipe::Recipe;

/// The manifest of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What was preloaded.
    pub recipe: Recipe,
    /// The interpreter.
    pub python: Python,
    /// Version of the CRIU that made the dump.
    pub criu: String,
    /// The parked process.
    pub process: Process,
    /// Top-level modules that the image holds, each with the directory that it came
    /// from; none for what is built in.
    pub modules: BTreeMap<String, Option<PathBuf>>,
    /// `sys.path` behind its first entry, which each run has for itself.
    pub search_path: Vec<PathBuf>,
    /// Those of the modules that came from the directory of the recipe itself, where only
    /// some programs would find them: the script's, or the working directory.
    #[serde(default)]
    pub local_modules: BTreeMap<String, PathBuf>,
    /// Top-level modules that were looked for in vain: where one of them can be found, the
    /// imports would have gone another way.
    #[serde(default)]
    pub absent_modules: Vec<String>,
    /// What may make a run differ from plain Python.
    #[serde(default)]
    pub doubts: Vec<Doubt>,
    /// User and group ids and capabilities of whoever built it, as `/proc/PID/status` has
    /// them: a restored process has these.
    #[serde(default)]
    pub credentials: String,
    /// How long the recipe took, in nanoseconds: what a hit saves.
    pub import_ns: u64,
    /// How the memory comes back.
    pub memory: Memory,
}

/// Name of the image's file with its [`crate::key::evidence::Evidence`]: most of what there is
/// to read, and apart, so that a run checks it while CRIU restores.
pub const EVIDENCE: &str = "evidence";

/// The same in images built while it was JSON, up to version 2.
const EVIDENCE_AS_JSON: &str = "evidence.json";

/// The evidence of the image in this directory, for [`crate::key::evidence::Evidence::parse`];
/// of an image built while it was JSON that text, which is evidence of another version.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn read_evidence(image: &Path) -> io::Result<Vec<u8>> {
    fs::read(image.join(EVIDENCE)).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => fs::read(image.join(EVIDENCE_AS_JSON)).map_err(|_| error),
        _ => Err(error),
    })
}

/// Something that a module did while it was imported, and that every run of the image shares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Doubt {
    /// What it did: `read the time`.
    pub what: String,
    /// The module that was being imported.
    pub module: String,
}

/// The interpreter of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Python {
    /// Such as `3.11.7`.
    pub version: String,
    /// As it is started: `argv[0]`.
    pub executable: PathBuf,
    /// The binary behind it.
    pub real: PathBuf,
    /// What the names of its extension modules end with.
    pub suffixes: Vec<String>,
}

/// A parked process, as CRIU dumped it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its threads, the main thread first.
    pub threads: Vec<Thread>,
    /// Inode of the socket on which it waits to be woken.
    pub socket: u32,
}

/// A thread of a parked process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Its id at the dump.
    pub id: u32,
    /// Where the C library keeps that id: the address given to `set_tid_address(2)`.
    pub id_address: u64,
}

/// How the memory of an image comes back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Pages mapped from packs.
    pub mapped_pages: u64,
    /// Pages copied at every restore.
    pub copied_pages: u64,
    /// Mappings of the restored process.
    pub mappings: u64,
    /// The allocator because of which private memory is copied, and where it was found.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub zeroing_allocator: Option<String>,
}

impl From<Summary> for Memory {
    fn from(summary: Summary) -> Self {
        Self {
            mapped_pages: summary.mapped_pages,
            copied_pages: summary.copied_pages,
            mappings: summary.mappings,
            zeroing_allocator: summary.zeroing_allocator,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::evidence::{Changed, Evidence};

    #[test]
    fn evidence_that_is_json_is_of_another_version() {
        let image = tempfile::tempdir().unwrap();
        let missing = read_evidence(image.path()).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let change = || {
            let bytes = read_evidence(image.path()).unwrap();
            Evidence::parse(&bytes).unwrap().first_change()
        };
        let json = r#"{"version":2,"directories":[],"listings":[]}"#;
        fs::write(image.path().join(EVIDENCE_AS_JSON), json).unwrap();
        assert_eq!(change(), Some(Changed::Version));
        fs::write(image.path().join(EVIDENCE), Evidence::default().to_bytes()).unwrap();
        assert_eq!(change(), None);
    }
}
