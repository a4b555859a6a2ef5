//! Where the imports of a text end: what is behind the last mention of one need not be
//! parsed.
//!
//! This looks at words and lines only. A mention in a comment or a string costs time; that
//! what is cut off begins in the middle of a block or a string does no harm to what is before.

use memchr::memmem;

/// Functions that import what they are given the name of.
pub const CALLS: [&[u8]; 2] = [b"import_module", b"__import__"];

/// The length of the part of `source` that holds all its imports, and ends with a line; at
/// most `limit`, in bytes.
pub fn of_imports(source: &[u8], limit: usize) -> usize {
    let last = memmem::rfind_iter(source, b"import").find(|&at| is_mention(source, at));
    let end = last.map_or(0, |at| end_of_statement(source, at));
    if end <= limit {
        return end;
    }
    memchr::memrchr2(b'\n', b'\r', &source[..limit]).map_or(0, |at| at + 1)
}

/// Whether the `import` here can be a statement's, or a part of the name of a function that
/// imports.
fn is_mention(source: &[u8], at: usize) -> bool {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    let before = source[..at].iter().rev().take_while(is_part).count();
    let after = source[at..].iter().take_while(is_part).count();
    let word = &source[at - before..at + after];
    if word != b"import" {
        return CALLS.contains(&word);
    }
    let line = memchr::memrchr2(b'\n', b'\r', &source[..at]).map_or(0, |end| end + 1);
    let line = source[line..at].trim_ascii_end();
    matches!(line.last(), None | Some(b':' | b';' | b'\\'))
        || memmem::find(line, b"from").is_some()
        // The byte order mark; Python 3.15 knows `lazy import`.
        || matches!(line.trim_ascii_start(), b"\xef\xbb\xbf" | b"lazy")
}

/// The end of the line that a statement ends with: brackets and backslashes join lines.
fn end_of_statement(source: &[u8], start: usize) -> usize {
    let mut depth = 0_i32;
    for (at, &byte) in source.iter().enumerate().skip(start) {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'\n' if source[..at].ends_with(b"\r") => {}
            b'\n' | b'\r' if depth <= 0 && source[at - 1] != b'\\' => return at + 1,
            _ => {}
        }
    }
    source.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(source: &str) -> &str {
        &source[..of_imports(source.as_bytes(), usize::MAX)]
    }

    #[test]
    fn what_is_behind_the_last_import_is_cut_off() {
        assert_eq!(kept("import a\nx = 1\n"), "import a\n");
        assert_eq!(kept("import a; x\rx = 1\n"), "import a; x\r");
        assert_eq!(kept("from a import (b, # c\n c)\nx = 1\n"), "from a import (b, # c\n c)\n");
        assert_eq!(kept("from a import b, \\\n c\nx = 1\n"), "from a import b, \\\n c\n");
        assert_eq!(kept("from a \\\n import b\nx = 1\n"), "from a \\\n import b\n");
        assert_eq!(kept("try: import a\nexcept E: pass\n"), "try: import a\n");
        assert_eq!(kept("x\nf(__import__(\n'a'))\ny\n"), "x\nf(__import__(\n'a'))\n");
        assert_eq!(kept("x\nm.import_module('a')\ny\n"), "x\nm.import_module('a')\n");
        assert_eq!(kept("\u{feff}import a\ny\n"), "\u{feff}import a\n");
        assert_eq!(kept("import a"), "import a");
        assert_eq!(kept("from a import (b\nc\n"), "from a import (b\nc\n");
    }

    #[test]
    fn what_is_no_import_does_not_count() {
        for source in
            ["", "x", "important = 1", "reimport()", "# to import a", "x.import_", "improt"]
        {
            assert_eq!(kept(source), "", "{source}");
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_line() {
        let source = b"import a\nimport b\nimport c\n";
        for (limit, wanted) in [(0, 0), (8, 0), (9, 9), (17, 9), (18, 18), (26, 18), (27, 27)] {
            assert_eq!(of_imports(source, limit), wanted, "{limit}");
        }
    }
}
