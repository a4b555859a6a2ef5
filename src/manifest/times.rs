//! How long each module of an image took to import, in a form that the index can hold.
//!
//! The manifest has the numbers as maps, but a run chooses among many images before it reads
//! the manifest of one. So the index has them too, as text that is quick to read: a line for
//! each top-level module, with its name, the nanoseconds that it took itself (without other
//! top-level modules), and the names of those that it was seen to import. What cannot be
//! read in it counts as nothing: it decides which image is taken, never whether one may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The text for the index; see the module. A name that would not survive is left out.
pub fn to_text(times: &BTreeMap<String, u64>, needs: &BTreeMap<String, Vec<String>>) -> String {
    let is_plain = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
    let all: BTreeSet<&String> = times.keys().chain(needs.keys()).collect();
    let mut text = String::new();
    for name in all.into_iter().filter(|name| is_plain(name)) {
        let own = times.get(name).copied().unwrap_or(0);
        // Writing to a string cannot fail.
        let _ = write!(text, "{name} {own}");
        for need in needs.get(name).into_iter().flatten().filter(|need| is_plain(need)) {
            text.push(' ');
            text.push_str(need);
        }
        text.push('\n');
    }
    text
}

/// The numbers of one image, read from the index.
#[derive(Debug)]
pub struct ImportTimes<'a> {
    /// Sorted by name: the time, and the rest of the line.
    modules: Vec<(&'a str, u64, &'a str)>,
}

impl<'a> ImportTimes<'a> {
    /// Reads the text of [`to_text`].
    pub fn parse(text: &'a str) -> Self {
        let line = |line: &'a str| {
            let (name, rest) = line.split_once(' ')?;
            let (own, needs) = rest.split_once(' ').unwrap_or((rest, ""));
            Some((name, own.parse().ok()?, needs))
        };
        let mut modules: Vec<_> = text.lines().filter_map(line).collect();
        // They are in order already, unless somebody else wrote them.
        modules.sort_unstable_by_key(|(name, ..)| *name);
        Self { modules }
    }

    /// Whether there are none: the image is of an older store.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// How long it takes to import these modules and all that they import, as far as the
    /// image has them, in nanoseconds.
    pub fn of<'b>(&self, wanted: impl IntoIterator<Item = &'b str>) -> u64 {
        let mut reached = vec![false; self.modules.len()];
        let mut next: Vec<&str> = Vec::new();
        let mut total = 0_u64;
        let mut reach = |name: &str, next: &mut Vec<&'a str>| {
            let Ok(at) = self.modules.binary_search_by_key(&name, |(name, ..)| name) else {
                return;
            };
            if !std::mem::replace(&mut reached[at], true) {
                let (_, own, needs) = self.modules[at];
                total = total.saturating_add(own);
                next.extend(needs.split(' ').filter(|need| !need.is_empty()));
            }
        };
        for name in wanted {
            reach(name, &mut next);
            while let Some(name) = next.pop() {
                reach(name, &mut next);
            }
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        let times = [("re", 5), ("numpy", 100), ("pandas", 300), ("json", 3), ("pytz", 7)];
        let needs: [(&str, &[&str]); 4] = [
            ("numpy", &["re", "json", "sys"]),
            ("pandas", &["numpy", "pytz", "pandas"]),
            ("pytz", &["pandas"]),
            ("os", &["re"]),
        ];
        to_text(
            &times.map(|(name, ns)| (name.to_owned(), ns)).into(),
            &needs
                .map(|(name, needs)| (name.to_owned(), needs.iter().map(|n| (*n).into()).collect()))
                .into(),
        )
    }

    #[test]
    fn a_line_for_each_module() {
        let expected = "\
json 3
numpy 100 re json sys
os 0 re
pandas 300 numpy pytz pandas
pytz 7 pandas
re 5
";
        assert_eq!(text(), expected);
        let odd = [("a b".to_owned(), 1), ("a\nb".to_owned(), 1), (String::new(), 1)].into();
        assert_eq!(to_text(&odd, &BTreeMap::new()), "");
    }

    #[test]
    fn what_is_imported_brings_what_it_imports() {
        let text = text();
        let times = ImportTimes::parse(&text);
        let of = |wanted: &[&str]| times.of(wanted.iter().copied());
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&["unknown", "sys", ""]), 0);
        assert_eq!(of(&["json"]), 3);
        assert_eq!(of(&["os"]), 5);
        assert_eq!(of(&["numpy"]), 108);
        assert_eq!(of(&["numpy", "json", "re", "numpy"]), 108, "each counts once");
        assert_eq!(of(&["pytz"]), 415, "imports in a ring");
    }

    #[test]
    fn any_text_can_be_read() {
        for text in ["", "\n\n", "x", "x y", "x -1", "x 99999999999999999999", " 1", "x 1  y \0"] {
            assert!(ImportTimes::parse(text).of(["x", "y", ""]) <= 1, "{text:?}");
        }
        let unsorted = "b 2 a\na 1\nb 2";
        assert_eq!(ImportTimes::parse(unsorted).of(["a", "b"]), 3);
        let most = format!("a {0} b\nb {0}", u64::MAX);
        assert_eq!(ImportTimes::parse(&most).of(["a"]), u64::MAX);
        assert!(ImportTimes::parse("").is_empty());
    }
}
