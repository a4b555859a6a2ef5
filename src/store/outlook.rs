//! What was found about a program when nobody waited for it: whether an image would help it,
//! how one is built, and what came of building it.
//!
//! It is part of what is remembered of a program. The store only keeps it; who looks and who
//! decides is elsewhere ([`crate::launch::background`]).

use serde::{Deserialize, Serialize};

/// How many builds are remembered.
const BUILDS: usize = 10;

/// What was found about a program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outlook {
    /// When it was found, in nanoseconds since 1970.
    pub at_ns: i64,
    /// What the program was then, as a number; with another one all of this is out of date.
    pub state: u64,
    /// What came of it.
    pub verdict: Verdict,
    /// The command that would help, as it is typed into a shell; empty if none would.
    pub command: String,
    /// The image that this command builds again, if there is one that has become stale.
    pub renews: Option<String>,
    /// Why the last build failed, in one line.
    pub failure: Option<String>,
    /// When builds for this program began, in nanoseconds since 1970, the last ones.
    pub builds_ns: Vec<i64>,
}

/// What came of looking at a program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing yet: it is being looked at, or an image is being built.
    #[default]
    Begun,
    /// Its user may be told what would help.
    Advised,
    /// It does not import long enough.
    NotWorthIt,
    /// An image was built.
    Built,
    /// The image that it would need was there already, and could not be used.
    NoHelp,
    /// The image could not be built.
    Failed,
    /// The build was disturbed: what it imported was changed meanwhile, or it was told to end.
    Disturbed,
}

impl Outlook {
    /// Notes that a build begins.
    pub fn add_build(&mut self, at_ns: i64) {
        self.builds_ns.push(at_ns);
        let over = self.builds_ns.len().saturating_sub(BUILDS);
        self.builds_ns.drain(..over);
    }

    /// How many builds began since then.
    pub fn builds_since(&self, time_ns: i64) -> usize {
        self.builds_ns.iter().filter(|&&at_ns| at_ns >= time_ns).count()
    }

    /// What remains once the program has run from an image: all else is to be found anew.
    pub fn after_a_hit(&self) -> Option<Self> {
        let builds_ns = self.builds_ns.clone();
        (!builds_ns.is_empty()).then(|| Self { builds_ns, ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_builds_are_remembered() {
        let mut outlook = Outlook { failure: Some("text".into()), ..Outlook::default() };
        assert_eq!(outlook.after_a_hit(), None);
        (1..=15).for_each(|at_ns| outlook.add_build(at_ns));
        assert_eq!(outlook.builds_ns, (6..=15).collect::<Vec<i64>>());
        assert_eq!((outlook.builds_since(14), outlook.builds_since(0)), (2, 10));
        let after = outlook.after_a_hit().unwrap();
        assert_eq!(after, Outlook { builds_ns: outlook.builds_ns, ..Outlook::default() });
    }

    #[test]
    fn what_an_older_version_has_not_written_is_empty() {
        let read: Outlook = serde_json::from_str(r#"{ "verdict": "not-worth-it" }"#).unwrap();
        let expected = Outlook { verdict: Verdict::NotWorthIt, ..Outlook::default() };
        assert_eq!(read, expected);
    }
}
