//! An image as `--json` shows it, the same in every command.

use jiff::Timestamp;
use serde::Serialize;

use crate::store::{Image, Tier};

/// An image. Fields may be added, never renamed or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageView {
    /// What it is called.
    pub name: String,
    /// Its key, 64 hex digits: what makes two builds the same image.
    pub key: String,
    /// Version of the interpreter, such as `3.11.7`.
    pub python: String,
    /// The interpreter, as it is started.
    pub executable: String,
    /// The interpreter's flags, in one spelling; empty if there are none.
    pub flags: String,
    /// What was preloaded, as it was given.
    pub recipe: String,
    /// Top-level modules that it holds.
    pub modules: Vec<String>,
    /// Bytes of memory that it holds.
    pub size_bytes: u64,
    /// Bytes of memory that were new to the store when it was built; the rest it shares
    /// with older images.
    pub new_bytes: u64,
    /// `raw`, or `zstd` if it is compressed and is brought back by its first run.
    pub tier: Tier,
    /// Bytes of its own files, besides the memory.
    pub file_bytes: u64,
    /// How long plain Python took to import it, in nanoseconds.
    pub import_ns: u64,
    /// When it was built, RFC 3339, UTC.
    pub created: String,
    /// How many runs began from it.
    pub uses: u64,
    /// When the last of them began, RFC 3339, UTC; null if there was none.
    pub last_used: Option<String>,
    /// Whether cleaning up leaves it alone.
    pub pinned: bool,
}

impl From<&Image> for ImageView {
    fn from(image: &Image) -> Self {
        let record = &image.record;
        Self {
            name: record.name.clone(),
            key: record.key.hex(),
            python: record.python.clone(),
            executable: record.executable.clone(),
            flags: record.flags.clone(),
            recipe: record.recipe.clone(),
            modules: record.modules.clone(),
            size_bytes: image.page_bytes,
            new_bytes: image.new_bytes,
            tier: image.tier,
            file_bytes: image.file_bytes,
            import_ns: record.import_ns,
            created: timestamp(image.created_ns).to_string(),
            uses: image.hits,
            last_used: image.last_used_ns.map(|ns| timestamp(ns).to_string()),
            pinned: image.pinned,
        }
    }
}

/// A time of the store's.
pub(super) fn timestamp(ns: i64) -> Timestamp {
    // Every i64 of nanoseconds lies within the years that jiff knows.
    Timestamp::from_nanosecond(ns.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Now, as the store counts time.
pub(super) fn now_ns() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// How long ago a time of the store's was; none at all if the clock was set back.
pub(super) fn since(ns: i64) -> std::time::Duration {
    Timestamp::now().duration_since(timestamp(ns)).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(timestamp(1_700_000_000_000_000_000).to_string(), "2023-11-14T22:13:20Z");
        assert_eq!(timestamp(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(since(i64::MAX), std::time::Duration::ZERO);
    }
}
