//! Which pages a program will write, learnt from its runs before.
//!
//! A page that is written for the first time is a fault, in which the kernel copies it from the
//! image: 200 to 300 of them in a run that does little. A program mostly writes the same pages
//! each time. So its first two runs write down which, at their end (`src/capture/park/pages.c`),
//! and those that both have written are copied from then on before the program begins, all at
//! once, while the evidence is looked at.
//!
//! If that is less than half of what one of them has written, it would often be for nothing, and
//! nothing is copied. Once a day a run does without, and writes them down anew.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;

use crate::image::PAGE_SIZE;
use crate::store::{ImageId, ProgramId, Records, now_ns};

/// Pages that are copied at most: 8 MB.
const MOST: u64 = 2048;
/// How long what was learnt is relied upon, in nanoseconds: a day.
const RELIED_ON_NS: i64 = 86_400_000_000_000;

/// What a run is to do about pages.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Prefetch {
    /// What is to be copied before the program begins: addresses.
    pub ranges: Vec<Range<u64>>,
    /// Where the program is to write which it has written, and the first line of that.
    pub learn: Option<(PathBuf, String)>,
}

/// Images of which it is kept what a program writes: it may have one for each kind of
/// surroundings.
const MOST_IMAGES: usize = 4;
/// Bytes that are kept of all of them.
const MOST_BYTES: usize = 60_000;

/// Pages that runs of a program from one image have written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    /// The image's id.
    image: String,
    /// How many runs were looked at: with two it is known.
    runs: u32,
    /// When the last of them was, in nanoseconds since 1970.
    at_ns: i64,
    /// In order; what touches is one.
    ranges: Vec<Range<u64>>,
}

/// What is known of a program's runs from several images, the last one first.
#[derive(Debug, Default)]
struct Known(Vec<Written>);

impl Prefetch {
    /// What this run of the program from this image is to do.
    pub fn of(records: &Records, program: &ProgramId, image: &ImageId) -> Self {
        let (image, now_ns) = (image.to_string(), now_ns());
        let mut known = Known::parse(&records.pages(program).unwrap_or_default());
        let seen = records.take_seen_pages(program);
        if let Some(seen) = seen.as_deref().and_then(Written::parse) {
            known.add(Written { at_ns: now_ns, ..seen });
            records.put_pages(program, &known.to_text());
        }
        match known.of(&image) {
            Some(known) if known.is_enough(now_ns) => {
                Self { ranges: known.ranges.clone(), learn: None }
            }
            _ => {
                let header = Written { image, runs: 1, at_ns: 0, ranges: Vec::new() }.to_text();
                let learn = (records.seen_pages_path(program), header.trim_end().to_owned());
                Self { ranges: Vec::new(), learn: Some(learn) }
            }
        }
    }

    /// Until when what is known of the program's runs from this image is relied upon, in nanoseconds
    /// since 1970.
    pub fn known_until(records: &Records, program: &ProgramId, image: &ImageId) -> Option<i64> {
        let known = Known::parse(&records.pages(program)?);
        known.of(&image.to_string()).map(|known| known.at_ns.saturating_add(RELIED_ON_NS))
    }
}

impl Known {
    /// Texts of [`Written`], with an empty line between two.
    fn parse(text: &str) -> Self {
        Self(text.split("\n\n").filter_map(Written::parse).collect())
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for (number, written) in self.0.iter().take(MOST_IMAGES).enumerate() {
            let more = written.to_text();
            if text.len() + more.len() > MOST_BYTES {
                break;
            }
            text.push_str(if number > 0 { "\n" } else { "" });
            text.push_str(&more);
        }
        text
    }

    fn of(&self, image: &str) -> Option<&Written> {
        self.0.iter().find(|known| known.image == image)
    }

    /// Adds what a run has written.
    fn add(&mut self, seen: Written) {
        let known = self.0.iter().position(|known| known.image == seen.image);
        let known = known.map(|at| self.0.remove(at));
        let sum = match known {
            // Of what was known once and did not pay, two runs are looked at again.
            Some(known) if known.runs < 2 || !known.ranges.is_empty() => known.and(&seen),
            _ => seen,
        };
        self.0.insert(0, sum);
    }
}

impl Written {
    /// Whether that is known well enough now.
    fn is_enough(&self, now_ns: i64) -> bool {
        self.runs > 1 && now_ns.saturating_sub(self.at_ns) < RELIED_ON_NS
    }

    /// A line with the image, the number of runs and, if it is known, the time; then for each range
    /// its address and its number of pages in hexadecimal. Nothing if it is anything else; if
    /// there are too many pages, none.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (image, runs) = lines.next()?.split_once(' ')?;
        let (runs, at_ns) = runs.split_once(' ').unwrap_or((runs, "0"));
        let (mut ranges, mut pages) = (Vec::<Range<u64>>::new(), 0_u64);
        for line in lines {
            let (address, count) = line.split_once(' ')?;
            let number = |text| u64::from_str_radix(text, 16).ok();
            let (start, count) = (number(address)?, number(count)?);
            let end = count.checked_mul(PAGE_SIZE).and_then(|bytes| start.checked_add(bytes))?;
            let is_behind = ranges.last().is_none_or(|last| last.end <= start);
            pages = pages.saturating_add(count);
            if !start.is_multiple_of(PAGE_SIZE) || count == 0 || !is_behind {
                return None;
            }
            match ranges.last_mut().filter(|last| last.end == start) {
                Some(last) => last.end = end,
                None => ranges.push(start..end),
            }
        }
        if pages > MOST {
            ranges.clear();
        }
        let (runs, at_ns) = (runs.parse().ok()?, at_ns.parse().ok()?);
        Some(Self { image: image.to_owned(), runs, at_ns, ranges })
    }

    fn to_text(&self) -> String {
        let time = if self.at_ns == 0 { String::new() } else { format!(" {}", self.at_ns) };
        let mut text = format!("{} {}{time}\n", self.image, self.runs);
        for Range { start, end } in &self.ranges {
            let _ = writeln!(text, "{start:x} {:x}", (end - start) / PAGE_SIZE);
        }
        text
    }

    /// What both have written; nothing if that does not pay.
    fn and(self, other: &Self) -> Self {
        let most = pages(&self.ranges).max(pages(&other.ranges));
        let mut both = Vec::new();
        let mut others = other.ranges.iter().peekable();
        for range in &self.ranges {
            while let Some(next) = others.peek().filter(|next| next.start < range.end) {
                let common = range.start.max(next.start)..range.end.min(next.end);
                if common.start < common.end {
                    both.push(common);
                }
                if next.end > range.end {
                    break;
                }
                others.next();
            }
        }
        if pages(&both) * 2 < most {
            both.clear();
        }
        let runs = self.runs.saturating_add(1);
        Self { runs, at_ns: other.at_ns, ranges: both, ..self }
    }
}

fn pages(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| (range.end - range.start) / PAGE_SIZE).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Option<Vec<Range<u64>>> {
        Written::parse(text).map(|written| written.ranges)
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (time, at_ns) in [("", 0), (" 77", 77)] {
            let text = format!("abc 2{time}\n1000 2\n4000 1\nfff0000 10\n");
            let written = Written::parse(&text).unwrap();
            assert_eq!(written.to_text(), text);
            assert_eq!(written.ranges[..2], [0x1000..0x3000, 0x4000..0x5000]);
            assert_eq!((written.image.as_str(), written.runs, written.at_ns), ("abc", 2, at_ns));
        }
    }

    #[test]
    fn what_touches_is_one_and_what_makes_no_sense_is_nothing() {
        let one = 0x1000..0x3000;
        assert_eq!(written("a 1\n1000 1\n2000 1\n"), Some(vec![one]));
        assert_eq!(written("a 1\n").unwrap(), []);
        assert_eq!(written("a 1\n1000 801\n").unwrap(), [], "too many");
        for bad in [
            "",
            "a",
            "a b\n",
            "a 1\n1000\n",
            "a 1\n1001 1\n",
            "a 1\n1000 0\n",
            "a 1\n2000 1\n1000 1\n",
            "a 1\n1000 2\n2000 1\n",
            "a 1\nfffffffffffff000 2\n",
            "a 1\n1000 fffffffffffffff\n",
        ] {
            assert_eq!(written(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_image_has_its_own() {
        let seen = |image: &str, pages: &str, at_ns| {
            let seen = Written::parse(&format!("{image} 1\n{pages}")).unwrap();
            Written { at_ns, ..seen }
        };
        let mut known = Known::default();
        for (number, image) in ["a", "b", "a", "b", "c", "d", "e"].iter().enumerate() {
            known.add(seen(image, "1000 2\n", number as i64 + 1));
        }
        let known = Known::parse(&known.to_text());
        let runs = |image| known.of(image).map(|known| (known.runs, known.at_ns));
        assert_eq!(["b", "c", "d", "e"].map(runs), [(2, 4), (1, 5), (1, 6), (1, 7)].map(Some));
        assert_eq!(runs("a"), None, "the one that was longest ago");
        assert!(known.of("b").unwrap().is_enough(5));
        assert!(!known.of("b").unwrap().is_enough(4 + RELIED_ON_NS));
        assert!(!known.of("c").unwrap().is_enough(5));
    }

    /// Also what is no help is known after two runs.
    #[test]
    fn what_is_too_much_is_not_learnt_again_and_again() {
        let mut known = Known::default();
        let runs = [1, 2, 1, 2];
        for expected in runs {
            known.add(Written { at_ns: 1, ..Written::parse("a 1\n1000 801\n").unwrap() });
            let found = known.of("a").unwrap();
            assert_eq!((found.runs, found.ranges.len()), (expected, 0));
        }
    }

    #[test]
    fn what_both_have_written_is_known_if_it_is_most_of_it() {
        let both = |one: &str, other: &str| {
            let parse = |text: &str| Written::parse(&format!("a 1\n{text}")).unwrap();
            let both = parse(one).and(&parse(other));
            assert_eq!(both.runs, 2);
            both.ranges
        };
        assert_eq!(both("1000 4\n8000 2\n", "2000 8\n"), [0x2000..0x5000, 0x8000..0xa000]);
        assert_eq!(
            both("1000 1\n3000 1\n5000 1\n", "1000 5\n"),
            [0x1000..0x2000, 0x3000..0x4000, 0x5000..0x6000]
        );
        assert_eq!(both("1000 4\n", "4000 4\n"), [], "a quarter");
        assert_eq!(both("1000 4\n", ""), []);
    }
}
