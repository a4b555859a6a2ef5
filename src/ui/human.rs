//! Sizes, durations and ages as people say them.
//!
//! Exact figures are in `--json`; here two or three digits are enough.

use std::time::Duration;

/// A size in decimal units: `612 B`, `73.4 MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1e3;
    let mut unit = 0;
    // What would be rounded to 1000 is said in the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    let decimals = usize::from(value < 99.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A duration, from microseconds to minutes: `2.1 ms`, `412 ms`, `3.2 s`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let (value, unit) = match seconds {
        s if s < 999.5e-6 => (s * 1e6, "us"),
        s if s < 999.5e-3 => (s * 1e3, "ms"),
        s if s < 99.95 => (s, "s"),
        s => (s / 60.0, "min"),
    };
    let decimals = usize::from(value < 9.95 && unit != "us");
    format!("{value:.decimals$} {unit}")
}

/// How long ago something was, roughly: `3 hours ago`.
pub fn age(age: Duration) -> String {
    match age.as_secs() {
        0..10 => "just now".into(),
        _ => format!("{} ago", span(age)),
    }
}

/// A longer duration, roughly: `3 hours`.
pub fn span(span: Duration) -> String {
    const STEPS: [(u64, &str); 5] =
        [(60, "second"), (60, "minute"), (24, "hour"), (7, "day"), (u64::MAX, "week")];
    let mut steps = span.as_secs();
    for (next, unit) in STEPS {
        if steps < next {
            return count(steps, unit);
        }
        steps /= next;
    }
    unreachable!("the last step takes every count")
}

/// One line of at most so many characters; what is left out shows as `…`.
pub fn shorten(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    let kept: String = line.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end_matches([' ', ',']))
}

/// `1 file`, `2 files`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let said = [0, 999, 1000, 99_949, 99_950, 999_499, 999_500, 73_400_000, 1_500_000_000_000];
        let said = said.map(size);
        let expected = [
            "0 B", "999 B", "1.0 kB", "99.9 kB", "100 kB", "999 kB", "1.0 MB", "73.4 MB", "1.5 TB",
        ];
        assert_eq!(said, expected);
        assert_eq!(size(u64::MAX), "18446744 TB");
    }

    #[test]
    fn durations() {
        let said = [250, 2_100, 12_400, 412_300, 999_600, 3_210_000, 99_900_000, 120_000_000];
        let said = said.map(|us| duration(Duration::from_micros(us)));
        let expected =
            ["250 us", "2.1 ms", "12 ms", "412 ms", "1.0 s", "3.2 s", "100 s", "2.0 min"];
        assert_eq!(said, expected);
    }

    #[test]
    fn ages() {
        let said = [3, 59, 60, 3_599, 7_200, 86_400, 6 * 86_400, 8 * 86_400, 4_000 * 86_400];
        let said = said.map(|seconds| age(Duration::from_secs(seconds)));
        let expected = [
            "just now",
            "59 seconds ago",
            "1 minute ago",
            "59 minutes ago",
            "2 hours ago",
            "1 day ago",
            "6 days ago",
            "1 week ago",
            "571 weeks ago",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn long_text_is_cut_and_put_on_one_line() {
        assert_eq!(shorten("import re\nimport os", 40), "import re import os");
        assert_eq!(shorten("import typing, re, os", 16), "import typing…");
        assert_eq!(shorten("größe", 5), "größe");
        assert_eq!(shorten("größer", 5), "größ…");
    }
}
