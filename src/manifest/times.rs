//! How long each module of an image took to import, in a form that the index can hold.
//!
//! A run chooses among many images before it reads the manifest of one, so the index has the
//! numbers, as text that is quick to read: a line for each top-level module, with its name, the nanoseconds that it took itself (without other
//! top-level modules), and the names of those that it was seen to import. What cannot be
//! read in it counts as nothing: it decides which image is taken, never whether one may be.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The text for the index; see the module. A name that would not survive is left out, and so
/// is a module without a time: it was there before the imports, and what it imports later, it
/// imports for others.
pub fn to_text(Measured { times, needs }: &Measured) -> String {
    let is_plain = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
    let mut text = String::new();
    for (name, own) in times.iter().filter(|(name, _)| is_plain(name)) {
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

/// What was measured while an image was built, by top-level module.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// How long each took, without the other ones, in nanoseconds.
    pub times: BTreeMap<String, u64>,
    /// The modules that each was seen to import.
    pub needs: BTreeMap<String, Vec<String>>,
}

impl Measured {
    /// Adds what the image has that this one grew from, by the text of [`to_text`].
    pub fn and(mut self, before: &str) -> Self {
        for (name, own, needs) in ImportTimes::parse(before).modules {
            let time = self.times.entry(name.to_owned()).or_default();
            *time = time.saturating_add(own);
            let all = self.needs.entry(name.to_owned()).or_default();
            all.extend(needs.split_whitespace().map(str::to_owned));
            all.sort();
            all.dedup();
        }
        self
    }
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

    /// These modules and all that they import, as far as the image has them, each with the
    /// nanoseconds that it took itself.
    pub fn of<'b>(&self, wanted: impl IntoIterator<Item = &'b str>) -> Vec<(&'a str, u64)> {
        let mut reached = vec![false; self.modules.len()];
        let mut next: Vec<&str> = Vec::new();
        let mut all = Vec::new();
        let mut reach = |name: &str, next: &mut Vec<&'a str>| {
            let Ok(at) = self.modules.binary_search_by_key(&name, |(name, ..)| name) else {
                return;
            };
            if !std::mem::replace(&mut reached[at], true) {
                let (name, own, needs) = self.modules[at];
                all.push((name, own));
                next.extend(needs.split(' ').filter(|need| !need.is_empty()));
            }
        };
        for name in wanted {
            reach(name, &mut next);
            while let Some(name) = next.pop() {
                reach(name, &mut next);
            }
        }
        all
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
        let needs_of = |needs: &[&str]| needs.iter().map(|need| (*need).into()).collect();
        to_text(&Measured {
            times: times.map(|(name, ns)| (name.to_owned(), ns)).into(),
            needs: needs.map(|(name, needs)| (name.to_owned(), needs_of(needs))).into(),
        })
    }

    fn sum(times: &ImportTimes<'_>, wanted: &[&str]) -> u64 {
        times.of(wanted.iter().copied()).iter().map(|(_, own)| own).sum()
    }

    #[test]
    fn a_line_for_each_module() {
        let expected = "\
json 3
numpy 100 re json sys
pandas 300 numpy pytz pandas
pytz 7 pandas
re 5
";
        assert_eq!(text(), expected);
        let times = [("a b".to_owned(), 1), ("a\nb".to_owned(), 1), (String::new(), 1)].into();
        assert_eq!(to_text(&Measured { times, ..Measured::default() }), "");
    }

    #[test]
    fn a_grown_image_has_both() {
        let times = [("re".to_owned(), 2), ("csv".to_owned(), 4)].into();
        let needs =
            [("csv", "re"), ("re", "enum")].map(|(of, need)| (of.into(), vec![need.into()]));
        let grown = Measured { times, needs: needs.into() }.and("json 3\nre 5 copyreg enum\n");
        assert_eq!(to_text(&grown), "csv 4 re\njson 3\nre 7 copyreg enum\n");
    }

    #[test]
    fn what_is_imported_brings_what_it_imports() {
        let text = text();
        let times = ImportTimes::parse(&text);
        let of = |wanted: &[&str]| sum(&times, wanted);
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&["unknown", "sys", ""]), 0);
        assert_eq!(of(&["json"]), 3);
        assert_eq!(of(&["os"]), 0, "it was there before");
        assert_eq!(of(&["numpy"]), 108);
        assert_eq!(of(&["numpy", "json", "re", "numpy"]), 108, "each counts once");
        assert_eq!(of(&["pytz"]), 415, "imports in a ring");
    }

    #[test]
    fn any_text_can_be_read() {
        for text in ["", "\n\n", "x", "x y", "x -1", "x 99999999999999999999", " 1", "x 1  y \0"] {
            assert!(sum(&ImportTimes::parse(text), &["x", "y", ""]) <= 1, "{text:?}");
        }
        let unsorted = "b 2 a\na 1\nb 2";
        assert_eq!(sum(&ImportTimes::parse(unsorted), &["a", "b"]), 3);
        assert!(ImportTimes::parse("").is_empty());
    }
}
