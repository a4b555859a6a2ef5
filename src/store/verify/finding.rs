//! What verifying finds: values, which `pyimg verify` prints and a repair acts upon.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::super::ids::{ImageId, PackId};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal: $meaning:literal,)*) => {
        /// What kind of damage a [`Finding`] is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FindingKind {$($(#[doc = $doc])* $name,)*}

        impl FindingKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name, as it is printed and in JSON.
            pub const fn name(self) -> &'static str {
                match self {$(Self::$name => $text,)*}
            }

            /// What it means for builds and runs.
            pub const fn meaning(self) -> &'static str {
                match self {$(Self::$name => $meaning,)*}
            }
        }
    };
}

kinds! {
    /// There are images and no index.
    IndexMissing = "index-missing": "no image is found",
    /// The index contradicts itself or cannot be read.
    IndexDamaged = "index-damaged": "images may not be found",
    /// An image of the index has no directory.
    ImageMissing = "image-missing": "the image is not used",
    /// An image has no manifest.
    ManifestMissing = "manifest-missing": "the image is not used",
    /// A manifest is not what its image is named after, or cannot be understood.
    ManifestDamaged = "manifest-damaged": "the image is not used",
    /// The index says something else than a manifest.
    ManifestDisagrees = "manifest-disagrees": "the image may not be found or not be used",
    /// A file of an image is not there.
    ImageFileMissing = "image-file-missing": "the image is not used",
    /// A file of an image is not what was written.
    ImageFileChanged = "image-file-changed": "the image cannot be restored",
    /// The file of a pack is not there.
    PackMissing = "pack-missing": "images that need it are not used",
    /// The file of a pack has another size or time of writing than when it was stored.
    PackChanged = "pack-changed": "images that need it are not used",
    /// The header or the tables of a pack are not what was written.
    PackDamaged = "pack-damaged": "no build shares its pages",
    /// Pages of a pack are not what was written.
    PageDamaged = "page-damaged": "programs that start from it may go wrong",
    /// The store's secret is missing or no secret.
    SecretDamaged = "secret-damaged": "nothing can be built",
    /// A lock file of the store is not there.
    LockMissing = "lock-missing": "every run is plain Python",
    /// A directory of the store is not there.
    DirectoryMissing = "directory-missing": "nothing can be built",
    /// Something in the store is not the store's.
    UnknownFile = "unknown-file": "it does no harm",
    /// A link, say, in place of a file or directory.
    WrongType = "wrong-type": "it is not used",
    /// Something belongs to another user.
    WrongOwner = "wrong-owner": "it is not used",
    /// Others may read or write something, or its owner may not.
    WrongMode = "wrong-mode": "others could read or change it, or its owner cannot",
    /// The system refuses to read something.
    Unreadable = "unreadable": "it is not used",
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for FindingKind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// Where it is.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// The names of the images that suffer from it.
    pub images: Vec<String>,
    /// What is wrong, in words.
    pub detail: String,
    #[serde(skip)]
    pub(in super::super) subject: Subject,
    #[serde(skip)]
    pub(in super::super) remedy: Remedy,
}

/// Paths are shown as everywhere else: what is not UTF-8 is replaced.
pub(in super::super) fn as_text<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.display())
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) enum Subject {
    /// The store itself.
    Store,
    Image(ImageId),
    Pack(PackId),
}

/// What mends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Remedy {
    /// Nothing that this program could do.
    None,
    /// The mode that it should have.
    SetMode(u32),
    /// The pack's time of writing, in nanoseconds since 1970; its pages are right.
    SetTime(i64),
    /// Making what is not there.
    Make,
    /// Setting it aside, and its image or the images of its pack with it.
    SetAside,
    /// Taking its image, or the images of its pack, out of the index.
    Drop,
    /// An index made of the manifests.
    Rebuild,
}

/// Something that is wrong with one file or directory, before it is known whose it is.
#[derive(Debug, Clone)]
pub(in super::super) struct Problem {
    pub kind: FindingKind,
    pub path: PathBuf,
    pub detail: String,
    pub remedy: Remedy,
}

impl Problem {
    pub fn new(
        kind: FindingKind,
        path: impl Into<PathBuf>,
        remedy: Remedy,
        detail: impl Into<String>,
    ) -> Self {
        Self { kind, path: path.into(), detail: detail.into(), remedy }
    }

    pub fn of(self, subject: Subject, images: Vec<String>) -> Finding {
        let Self { kind, path, detail, remedy } = self;
        Finding { kind, path, images, detail, subject, remedy }
    }
}
