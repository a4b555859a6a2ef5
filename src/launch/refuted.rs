//! What was found to make an image stale, kept so that the next run need not look for it.
//!
//! That an image is stale comes out while CRIU works, and CRIU's work is then for nothing. But
//! what an image depended on never changes: as long as the thing that was different is in the
//! very state in which it was found, it is different still. So a run that meets the same
//! again has to look at one thing.

use std::fs::Metadata;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::key::evidence::{Changed, Surroundings};
use crate::store::{self, FileState};

/// How long nothing else is looked at, in nanoseconds. A thing that was put right in the moment
/// between its being found different and its state being taken would stay in the way for
/// ever.
const HOLDS_FOR_NS: u64 = 600_000_000_000;

/// A piece of an image's evidence that does not hold, and the state that it was found in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuted {
    changed: Changed,
    state: String,
    at_ns: i64,
}

impl Refuted {
    /// What has just been found.
    pub fn by(changed: &Changed, now: Surroundings) -> Self {
        let (changed, state) = (changed.clone(), state_of(changed, now));
        Self { changed, state, at_ns: store::now_ns() }
    }

    /// Whether it is known to be so still.
    pub fn holds(&self, now: Surroundings) -> bool {
        let is_recent = store::now_ns().abs_diff(self.at_ns) < HOLDS_FOR_NS;
        is_recent && state_of(&self.changed, now) == self.state
    }

    /// Until when it may be known to be so, in nanoseconds since 1970.
    pub fn holds_until(&self) -> i64 {
        self.at_ns.saturating_add(HOLDS_FOR_NS as i64)
    }

    /// What is different.
    pub fn changed(&self) -> &Changed {
        &self.changed
    }
}

/// A hash of the present state of what is different, which another state does not share: not the
/// value of a variable, which may be secret.
fn state_of(changed: &Changed, now: Surroundings) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut file = |path: &Path| {
        for found in [path.symlink_metadata(), path.metadata()] {
            hasher.update(&file_state(found));
        }
    };
    match changed {
        Changed::File { path, .. } => file(path),
        Changed::Listing { directory, entry } => {
            file(directory);
            file(&directory.join(entry));
        }
        Changed::Variable(name, _) => {
            let value = now.environment.iter().find(|(set, _)| set == name.as_str());
            if let Some((_, value)) = value {
                hasher.update(b"=").update(value.as_encoded_bytes());
            }
        }
        Changed::Terminal(..) => {
            hasher.update(&now.terminals.map(u8::from));
        }
        Changed::WorkingDirectory(_) => {
            hasher.update(now.directory.as_os_str().as_encoded_bytes());
        }
        // It is told by the image alone.
        Changed::Version => {}
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

fn file_state(found: io::Result<Metadata>) -> Vec<u8> {
    match found {
        Ok(found) => FileState::of(&found).bytes(),
        Err(error) => error.raw_os_error().unwrap_or_default().to_le_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use super::*;
    use crate::key::evidence::Difference;

    fn nowhere() -> Surroundings<'static> {
        Surroundings { environment: &[], directory: Path::new("/"), terminals: [false; 3] }
    }

    #[test]
    fn a_file_or_directory_that_is_touched_is_looked_at_anew() {
        let tree = tempfile::tempdir().unwrap();
        let path = |name: &str| tree.path().join(name);
        fs::write(path("m.py"), "x = 1").unwrap();
        let modified = Changed::File { path: path("m.py"), what: Difference::Modified };
        let missing = Changed::File { path: path("gone.py"), what: Difference::Missing };
        let listing =
            Changed::Listing { directory: tree.path().to_owned(), entry: "new.py".into() };
        let all = [modified, missing, listing];
        let found = all.each_ref().map(|changed| Refuted::by(changed, nowhere()));
        let hold = || found.each_ref().map(|refuted| refuted.holds(nowhere()));
        assert_eq!(found[0].changed(), &all[0]);
        assert_eq!(hold(), [true; 3]);
        fs::write(path("m.py"), "x = 22").unwrap();
        assert_eq!(hold(), [false, true, true]);
        fs::write(path("gone.py"), "").unwrap();
        assert_eq!(hold(), [false; 3]);
    }

    #[test]
    fn surroundings_that_differ_are_looked_at_anew() {
        let variable = Changed::Variable("MODE".into(), true);
        let environment = |value: &str| [(OsString::from("MODE"), OsString::from(value))];
        let (one, two) = (environment("one"), environment("two"));
        let with = |environment| Surroundings { environment, ..nowhere() };
        let refuted = Refuted::by(&variable, with(&one));
        assert!(refuted.holds(with(&one)));
        assert!(!refuted.holds(with(&two)));
        assert!(!refuted.holds(nowhere()));
        let kept = serde_json::to_string(&refuted).unwrap();
        assert!(!kept.contains("one"), "{kept}");

        let terminal = Refuted::by(&Changed::Terminal(1, true), nowhere());
        assert!(terminal.holds(nowhere()));
        let on_terminal = Surroundings { terminals: [false, true, false], ..nowhere() };
        assert!(!terminal.holds(on_terminal));
    }

    #[test]
    fn it_does_not_hold_for_ever() {
        let now = Refuted::by(&Changed::Version, nowhere());
        assert!(now.holds(nowhere()));
        let before = now.at_ns - i64::try_from(HOLDS_FOR_NS).unwrap();
        assert!(!Refuted { at_ns: before, ..now }.holds(nowhere()));
    }
}
