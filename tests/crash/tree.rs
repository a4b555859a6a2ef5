//! A directory in memory: what a store was, and what it may be after a power cut.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Directory { mode: u32 },
    File { mode: u32, modified_ns: i64, bytes: Vec<u8> },
}

/// Everything below a directory, by relative path: a directory comes before what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<String, Node>);

impl Tree {
    /// Reads a directory.
    pub fn read(directory: &Path) -> Self {
        let mut tree = Self::default();
        for entry in walkdir::WalkDir::new(directory).min_depth(1) {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            let path = entry.path().strip_prefix(directory).unwrap().to_str().unwrap();
            let mode = found.mode() & 0o7777;
            let node = match found.is_dir() {
                true => Node::Directory { mode },
                false => Node::File {
                    mode,
                    modified_ns: found.mtime() * 1_000_000_000 + found.mtime_nsec(),
                    bytes: fs::read(entry.path()).unwrap(),
                },
            };
            tree.0.insert(path.to_owned(), node);
        }
        tree
    }

    /// Writes it into an empty directory.
    pub fn write(&self, directory: &Path) {
        for (path, node) in &self.0 {
            let path = directory.join(path);
            match node {
                Node::Directory { mode } => {
                    DirBuilder::new().mode(0o700).create(&path).unwrap();
                    fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
                }
                Node::File { mode, modified_ns, bytes } => {
                    let mut file =
                        OpenOptions::new().write(true).create_new(true).mode(*mode).open(&path);
                    let file = file.as_mut().unwrap();
                    file.write_all(bytes).unwrap();
                    let modified = Duration::from_nanos(modified_ns.cast_unsigned());
                    file.set_modified(UNIX_EPOCH + modified).unwrap();
                }
            }
        }
    }

    /// A hash of all that a reader of a store looks at, to tell states that differ. (The
    /// time of writing matters for packs only.)
    pub fn essence(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for (path, node) in &self.0 {
            let (kind, number, bytes) = match node {
                Node::Directory { mode } => (*mode, 0, [].as_slice()),
                Node::File { mode, modified_ns, bytes } => {
                    let is_pack = path.contains("/packs/");
                    (1 << 16 | mode, if is_pack { *modified_ns } else { 0 }, bytes.as_slice())
                }
            };
            for part in [path.as_bytes(), &kind.to_le_bytes(), &number.to_le_bytes(), bytes] {
                hasher.update(&part.len().to_le_bytes()).update(part);
            }
        }
        hasher.finalize()
    }

    /// How it differs from another one; empty if it does not.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let differs = |path: &&&String| self.0.get(**path) != other.0.get(**path);
        let tell = |node: Option<&Node>| match node {
            None => "nothing".to_owned(),
            Some(Node::Directory { mode }) => format!("directory {mode:o}"),
            Some(Node::File { mode, modified_ns, bytes }) => {
                format!("file {mode:o} at {modified_ns}: {} {}", bytes.len(), blake3::hash(bytes))
            }
        };
        let show = |path: &String| {
            format!("{path}: {} / {}", tell(self.0.get(path)), tell(other.0.get(path)))
        };
        paths.iter().filter(differs).map(|path| show(path)).collect()
    }
}
