//! What a run has decided, kept for the next run of the same program: from which image it
//! begins, or that none would help.
//!
//! Opening the index and reading the program's source take most of the time in which an image
//! is found, and come to the same each time: a decision holds as long as all that it was made
//! of is as it was, which its basis tells, a hash. Nothing of it has to be right. An image that
//! was decided on is examined as if it had just been chosen; one that cannot be used makes the
//! run decide anew. What speaks against better images is looked at ([`super::refuted`]).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::choice::{Ranked, Ranking, imported, takes_any};
use super::miss::Miss;
use super::refuted::Refuted;
use super::source::Source;
use crate::key::evidence::{Surroundings, surroundings_difference};
use crate::key::host::Host;
use crate::store::{FileState, ImageId, ProgramId};

/// Bytes of the JSON of a decision that is kept.
const LONGEST: usize = 16 << 10;

/// All that a decision is made of, but for files beside the program's.
#[derive(Debug)]
pub struct Basis<'a> {
    /// The program.
    pub program: &'a ProgramId,
    /// The state of its file, if it is one.
    pub file: Option<FileState>,
    /// The state of the index.
    pub index: &'a FileState,
    /// The machine.
    pub host: &'a Host,
    /// The variables that change an interpreter's start.
    pub python_env: &'a str,
    /// The working directory.
    pub cwd: &'a std::path::Path,
    /// The modules that the program had when it ran last.
    pub remembered: Option<&'a BTreeSet<String>>,
}

impl Basis<'_> {
    /// A hash of it.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        part(env!("CARGO_PKG_VERSION").as_bytes());
        part(&[u8::from(takes_any())]);
        part(self.program.as_bytes());
        for state in [self.file.as_ref(), Some(self.index)] {
            part(state.map(FileState::bytes).unwrap_or_default().as_slice());
        }
        let Host { kernel, libc, processor } = self.host;
        for text in [kernel, libc, processor, self.python_env] {
            part(text.as_bytes());
        }
        part(self.cwd.as_os_str().as_encoded_bytes());
        part(&[u8::from(self.remembered.is_some())]);
        for module in self.remembered.into_iter().flatten() {
            part(module.as_bytes());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    basis: String,
    taken: Taken,
    /// What makes each of the better images stale, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refuted: Vec<Refuted>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Taken {
    Image {
        id: ImageId,
        name: String,
        import_ns: u64,
        saves_ns: Option<u64>,
        restore_ns: u64,
        #[serde(default)]
        surroundings: String,
        source: Source,
    },
    NotCovered,
    NotWorthIt {
        saves: u64,
        restore_ns: u64,
    },
    /// Something speaks against all that would help; the name of the best.
    Stale {
        name: String,
    },
}

impl Decision {
    /// What the ranking comes to, its first images being refuted, if that can be kept: what would
    /// not help today could once a file beside the program has changed, so of a program that
    /// has others read nothing is, but for as long as a refutation holds.
    pub fn of(basis: String, ranking: &Ranking, refuted: Vec<Refuted>) -> Option<Self> {
        let first = ranking.images.first()?;
        let taken = match ranking.images.get(refuted.len()) {
            Some(image) if image.against.is_none() => Taken::Image {
                id: image.id,
                name: image.name.clone(),
                import_ns: image.import_ns,
                saves_ns: image.saves_ns,
                restore_ns: image.restore_ns,
                surroundings: image.surroundings.clone(),
                source: ranking.source.clone(),
            },
            _ if !refuted.is_empty() => Taken::Stale { name: first.name.clone() },
            _ if !ranking.source.is_alone => return None,
            _ => match first.against {
                Some(Miss::NotCovered) => Taken::NotCovered,
                Some(Miss::NotWorthIt { saves, restore_ns }) => {
                    Taken::NotWorthIt { saves, restore_ns }
                }
                _ => return None,
            },
        };
        Some(Self { basis, taken, refuted })
    }

    /// Reads what [`Self::to_json`] has made, if it is of this basis and holds.
    pub fn read(json: &serde_json::Value, basis: &str, now: Surroundings) -> Option<Self> {
        if json.get("basis")?.as_str()? != basis {
            return None;
        }
        let decision = Self::deserialize(json).ok()?;
        let fits = match &decision.taken {
            Taken::Image { surroundings, .. } => {
                surroundings_difference(surroundings, now).is_none()
            }
            _ => true,
        };
        let holds = fits && decision.refuted.iter().all(|refuted| refuted.holds(now));
        holds.then_some(decision)
    }

    /// What speaks against better images.
    pub fn refuted(&self) -> &[Refuted] {
        &self.refuted
    }

    /// The image that would be taken had nothing changed since it was built, where no other one
    /// is.
    pub fn stale(&self) -> Option<&str> {
        let Taken::Stale { name } = &self.taken else { return None };
        let has_changed = !self.refuted.first()?.changed().is_of_surroundings();
        has_changed.then_some(name)
    }

    /// As it is kept; null if it cannot be.
    pub fn to_json(&self) -> serde_json::Value {
        let json = serde_json::to_value(self).unwrap_or_default();
        if json.to_string().len() <= LONGEST { json } else { serde_json::Value::Null }
    }

    /// The ranking again, as far as it was kept.
    ///
    /// # Errors
    /// Why no image would help.
    pub fn ranking(&self, remembered: Option<&BTreeSet<String>>) -> Result<Ranking, Miss> {
        match self.taken.clone() {
            Taken::Image { id, name, import_ns, saves_ns, restore_ns, surroundings, source } => {
                let imported = imported(remembered, &source);
                let against = None;
                let image =
                    Ranked { id, name, import_ns, saves_ns, restore_ns, surroundings, against };
                Ok(Ranking { source, imported, images: vec![image] })
            }
            Taken::NotCovered => Err(Miss::NotCovered),
            Taken::NotWorthIt { saves, restore_ns } => Err(Miss::NotWorthIt { saves, restore_ns }),
            Taken::Stale { .. } => {
                let best = self.refuted.first().map(|best| best.changed().clone());
                Err(best.map_or(Miss::NotCovered, Miss::Evidence))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::source::Form;
    use super::*;
    use crate::key::evidence::{Changed, Difference};

    fn state(number: u64) -> FileState {
        FileState { device: 1, inode: number, size: 3, mtime_ns: 4, ctime_ns: 5 }
    }

    #[test]
    fn all_of_the_basis_counts() {
        let programs: [ProgramId; 2] = [blake3::hash(b"a").into(), blake3::hash(b"b").into()];
        let host = Host { kernel: "k".into(), libc: "l".into(), processor: "p".into() };
        let other = Host { libc: "m".into(), ..host.clone() };
        let modules: [BTreeSet<String>; 3] =
            [BTreeSet::new(), ["re".to_owned()].into(), ["r".to_owned(), "e".to_owned()].into()];
        let (one, two) = (state(1), state(2));
        let basis = || Basis {
            program: &programs[0],
            file: Some(one),
            index: &one,
            host: &host,
            python_env: "X=1",
            cwd: Path::new("/a"),
            remembered: None,
        };
        let hashes = [
            basis(),
            Basis { program: &programs[1], ..basis() },
            Basis { file: Some(two), ..basis() },
            Basis { file: None, ..basis() },
            Basis { index: &two, ..basis() },
            Basis { host: &other, ..basis() },
            Basis { python_env: "X=2", ..basis() },
            Basis { cwd: Path::new("/b"), ..basis() },
            Basis { remembered: Some(&modules[0]), ..basis() },
            Basis { remembered: Some(&modules[1]), ..basis() },
            Basis { remembered: Some(&modules[2]), ..basis() },
        ];
        let hashes: BTreeSet<String> = hashes.iter().map(Basis::hash).collect();
        assert_eq!(hashes.len(), 11);
        assert!(hashes.contains(&basis().hash()));
    }

    fn ranking(against: Option<Miss>, is_alone: bool) -> Ranking {
        let source = Source {
            form: Form::File,
            first_path: Some("/a".into()),
            imports: Some(["re".to_owned()].into()),
            eager: BTreeSet::new(),
            is_alone,
        };
        let image = Ranked {
            id: blake3::hash(b"image").into(),
            name: "one".into(),
            import_ns: 9,
            saves_ns: Some(8),
            restore_ns: 7,
            surroundings: String::new(),
            against,
        };
        Ranking { imported: imported(None, &source), source, images: vec![image] }
    }

    fn nowhere() -> Surroundings<'static> {
        Surroundings { environment: &[], directory: Path::new("/"), terminals: [false; 3] }
    }

    fn kept(ranking: &Ranking, refuted: Vec<Refuted>) -> Option<Decision> {
        let json = Decision::of("basis".into(), ranking, refuted)?.to_json();
        assert_eq!(Decision::read(&json, "other", nowhere()), None);
        Some(Decision::read(&json, "basis", nowhere()).unwrap())
    }

    #[test]
    fn what_is_kept_is_the_same_again() {
        let again = |ranking: &Ranking| Some(kept(ranking, Vec::new())?.ranking(None));
        let used = ranking(None, false);
        let same = again(&used).unwrap().unwrap();
        assert_eq!(format!("{same:?}"), format!("{used:?}"));
        let misses =
            [Miss::NotCovered, Miss::NotWorthIt { saves: 1, restore_ns: 2 }, Miss::Interactive];
        for miss in misses {
            let same = again(&ranking(Some(miss.clone()), true));
            match miss {
                Miss::Interactive => assert!(same.is_none()),
                _ => assert_eq!(same.unwrap().unwrap_err(), miss),
            }
            assert!(again(&ranking(Some(miss), false)).is_none(), "others may change");
        }
        assert!(again(&Ranking { images: Vec::new(), ..ranking(None, true) }).is_none());
    }

    #[test]
    fn stale_images_are_passed_over_while_they_are() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("m.py");
        let changed = Changed::File { path: path.clone(), what: Difference::Missing };
        let refuted = || vec![Refuted::by(&changed, nowhere())];
        for (is_alone, second) in [(true, None), (false, Some(Miss::NotCovered))] {
            let mut two = ranking(None, is_alone);
            let stale = kept(&two, refuted()).unwrap();
            assert_eq!(stale.ranking(None).unwrap_err(), Miss::Evidence(changed.clone()));
            assert_eq!(stale.stale(), Some("one"));
            let other =
                Ranked { name: "two".into(), ..ranking(second.clone(), true).images.remove(0) };
            two.images.push(other);
            let decision = kept(&two, refuted()).unwrap();
            match second {
                None => assert_eq!(decision.ranking(None).unwrap().images[0].name, "two"),
                Some(_) => assert_eq!(decision.stale(), Some("one")),
            }
        }
        let stale = kept(&ranking(None, true), refuted()).unwrap().to_json();
        assert!(Decision::read(&stale, "basis", nowhere()).is_some());
        std::fs::write(&path, "").unwrap();
        assert_eq!(Decision::read(&stale, "basis", nowhere()), None);

        // An image for others is as good as it was.
        let elsewhere = vec![Refuted::by(&Changed::Terminal(1, true), nowhere())];
        assert_eq!(kept(&ranking(None, true), elsewhere).unwrap().stale(), None);
    }

    #[test]
    fn what_cannot_be_understood_says_nothing() {
        for json in ["null", "7", "{}", r#"{"basis":"b"}"#, r#"{"basis":"b","taken":"x"}"#] {
            let json = serde_json::from_str(json).unwrap();
            assert_eq!(Decision::read(&json, "b", nowhere()), None, "{json}");
        }
        let mut large = ranking(None, true);
        large.source.imports = Some((0..5000).map(|number| format!("module{number}")).collect());
        assert!(Decision::of("b".into(), &large, Vec::new()).unwrap().to_json().is_null());
    }
}
