//! Which modules a program imports, read from its source.
//!
//! The answer decides which image is taken, never whether one may be: a module too many or
//! too few costs time, not correctness. But it is asked for at every run, so it has to be
//! had in well under a millisecond. A full parse takes ten times that: tree-sitter takes
//! 1.5 ms for 12 KB. `import` is a keyword, though, and begins a statement wherever it
//! stands; so it is enough to know where statements begin, which takes a tokenizer that
//! knows strings, comments, brackets and continued lines. The tests compare with Python's
//! own `ast` over the whole standard library.
//!
//! Imports anywhere in the file count, those inside functions too, as do
//! `importlib.import_module("x")` and `__import__("x")` of a literal name.

use std::collections::BTreeSet;

use memchr::{memchr, memchr2, memmem};

/// The modules that a piece of source imports.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Imports {
    /// Full names, as in `import a.b`. `from a.b import c` gives `a.b` and `a.b.c`, for
    /// `c` may be a module too.
    pub names: BTreeSet<String>,
    /// Those relative to the package: the number of dots, and the name behind them.
    pub relative: BTreeSet<(usize, String)>,
}

/// The top-level modules that a piece of source imports: `a` of `import a.b`.
pub fn imports(source: &[u8]) -> BTreeSet<String> {
    Imports::of(source).top_level()
}

impl Imports {
    /// Reads a source text. Broken source gives what can be made out.
    pub fn of(source: &[u8]) -> Self {
        let mut imports = Self::default();
        // What follows the last mention cannot import anything.
        let Some(last) = memmem::rfind(source, b"import") else { return imports };
        let end = memchr2(b'\n', b'\r', &source[last..]).map_or(source.len(), |at| last + at);
        // The statement that begins there may go on in brackets.
        let mut reader = Reader { source, at: 0 };
        reader.skip_byte_order_mark();
        let mut depth = 0_usize;
        let mut starts = true;
        while reader.at < end {
            let Some(byte) = reader.peek() else { break };
            match byte {
                b'\n' | b'\r' => {
                    starts = depth == 0;
                    reader.at += 1;
                    continue;
                }
                b' ' | b'\t' | b'\x0c' => reader.at += 1,
                b'#' => reader.skip_comment(),
                b'\\' => reader.skip_continuation(),
                b';' | b':' => {
                    starts = depth == 0;
                    reader.at += 1;
                    continue;
                }
                b'\'' | b'"' => {
                    reader.skip_string();
                    starts = false;
                }
                b'(' | b'[' | b'{' => {
                    depth += 1;
                    reader.at += 1;
                    starts = false;
                }
                b')' | b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    reader.at += 1;
                    starts = false;
                }
                _ if is_name(byte) => {
                    match reader.name() {
                        b"import" if starts => imports.read_import(&mut reader),
                        b"from" if starts => imports.read_from(&mut reader),
                        b"__import__" | b"import_module" => imports.read_call(&mut reader),
                        _ => {}
                    }
                    starts = false;
                }
                _ => {
                    reader.at += 1;
                    starts = false;
                }
            }
        }
        imports
    }

    /// The first part of each full name.
    pub fn top_level(&self) -> BTreeSet<String> {
        let first = |name: &String| name.split('.').next().unwrap_or_default().to_owned();
        self.names.iter().map(first).collect()
    }

    /// `import a.b as c, d`
    fn read_import(&mut self, reader: &mut Reader<'_>) {
        loop {
            let Some(name) = reader.dotted_name(false) else { return };
            self.names.insert(name);
            reader.skip_alias(false);
            if !reader.take(b',', false) {
                return;
            }
        }
    }

    /// `from ..a.b import (c as d, e)`
    fn read_from(&mut self, reader: &mut Reader<'_>) {
        let mut dots = 0;
        loop {
            reader.skip_space(false);
            match reader.peek() {
                Some(b'.') => dots += 1,
                _ => break,
            }
            reader.at += 1;
        }
        let before = reader.at;
        let mut module = reader.dotted_name(false).unwrap_or_default();
        // `from . import x`: what was read as the module is the keyword.
        if dots > 0 && module == "import" {
            module.clear();
            reader.at = before;
        }
        reader.skip_space(false);
        if module.is_empty() && dots == 0 || reader.name() != b"import" {
            return;
        }
        self.insert(dots, &module);
        let bracket = reader.take(b'(', false);
        while let Some(name) = reader.dotted_name(bracket) {
            let dot = if module.is_empty() { "" } else { "." };
            self.insert(dots, &format!("{module}{dot}{name}"));
            reader.skip_alias(bracket);
            if !reader.take(b',', bracket) {
                break;
            }
        }
        // The bracket that was opened here is closed here too, but nothing else is: after
        // an error the main loop goes on wherever this ended.
        reader.take(b')', bracket);
    }

    /// `import_module("a.b")`, if its argument is a plain string.
    fn read_call(&mut self, reader: &mut Reader<'_>) {
        let before = reader.at;
        if reader.take(b'(', false) {
            reader.skip_space(true);
            if let Some(text) = reader.plain_string()
                && let Ok(text) = std::str::from_utf8(text)
            {
                let dots = text.bytes().take_while(|&byte| byte == b'.').count();
                let name = &text[dots..];
                if !name.is_empty() && name.bytes().all(|byte| is_name(byte) || byte == b'.') {
                    self.insert(dots, name);
                }
            }
        }
        reader.at = before;
    }

    fn insert(&mut self, dots: usize, name: &str) {
        if dots > 0 {
            self.relative.insert((dots, name.to_owned()));
        } else {
            self.names.insert(name.to_owned());
        }
    }
}

/// Whether a byte may be part of a name; letters that are not ASCII count whole.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// A place in a source text.
struct Reader<'a> {
    source: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.source[self.at.min(self.source.len())..]
    }

    fn skip_byte_order_mark(&mut self) {
        if self.source.starts_with(b"\xef\xbb\xbf") {
            self.at = 3;
        }
    }

    /// To the end of the line, but not beyond.
    fn skip_comment(&mut self) {
        self.at += memchr2(b'\n', b'\r', self.rest()).unwrap_or(self.rest().len());
    }

    /// A backslash, and the end of the line behind it.
    fn skip_continuation(&mut self) {
        self.at += match self.rest() {
            [_, b'\r', b'\n', ..] => 3,
            [_, b'\n' | b'\r', ..] => 2,
            _ => 1,
        };
    }

    /// Space; in brackets, ends of lines and comments too.
    fn skip_space(&mut self, bracket: bool) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\x0c') => self.at += 1,
                Some(b'\\') => self.skip_continuation(),
                Some(b'\n' | b'\r') if bracket => self.at += 1,
                Some(b'#') if bracket => self.skip_comment(),
                _ => return,
            }
        }
    }

    /// The letters here that can be part of a name; maybe none.
    fn name(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|&byte| !is_name(byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn take(&mut self, wanted: u8, bracket: bool) -> bool {
        self.skip_space(bracket);
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn dotted_name(&mut self, bracket: bool) -> Option<String> {
        let mut dotted = String::new();
        loop {
            self.skip_space(bracket);
            let name = self.name();
            if name.is_empty() || name[0].is_ascii_digit() {
                return None;
            }
            dotted.push_str(std::str::from_utf8(name).ok()?);
            if !self.take(b'.', bracket) {
                return Some(dotted);
            }
            dotted.push('.');
        }
    }

    /// `as c`, if it is there.
    fn skip_alias(&mut self, bracket: bool) {
        self.skip_space(bracket);
        let before = self.at;
        if self.name() == b"as" {
            self.skip_space(bracket);
            self.name();
        } else {
            self.at = before;
        }
    }

    /// The string whose opening quote is here. In a raw one a backslash keeps a quote from
    /// closing it just as in others, so prefixes do not matter.
    fn skip_string(&mut self) {
        let quote = self.source[self.at];
        if self.rest().starts_with(&[quote; 3]) {
            self.at += 3;
            while let Some(found) = memchr2(quote, b'\\', self.rest()) {
                self.at += found;
                if self.rest().starts_with(&[quote; 3]) {
                    self.at += 3;
                    return;
                }
                self.at += if self.peek() == Some(b'\\') { 2 } else { 1 };
            }
            self.at = self.source.len();
            return;
        }
        self.at += 1;
        while let Some(byte) = self.peek() {
            match byte {
                b'\\' => self.skip_escape(),
                // Not closed: the line's end is the statement's.
                b'\n' | b'\r' => return,
                _ => {
                    self.at += 1;
                    if byte == quote {
                        return;
                    }
                }
            }
        }
    }

    fn skip_escape(&mut self) {
        self.at += if self.rest().starts_with(b"\\\r\n") { 3 } else { 2 };
    }

    /// The text of a string here that has no prefix and no escapes, on one line.
    fn plain_string(&mut self) -> Option<&'a [u8]> {
        let quote = self.peek().filter(|byte| matches!(byte, b'\'' | b'"'))?;
        let text = &self.rest()[1..];
        let text = &text[..memchr(quote, text)?];
        self.at += text.len() + 2;
        (!text.is_empty() && memchr2(b'\\', b'\n', text).is_none()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str) -> Vec<String> {
        Imports::of(source.as_bytes()).names.into_iter().collect()
    }

    fn relative(source: &str) -> Vec<(usize, String)> {
        Imports::of(source.as_bytes()).relative.into_iter().collect()
    }

    #[test]
    fn forms_of_import() {
        assert_eq!(names("import a"), ["a"]);
        assert_eq!(names("import a.b as c, d , e . f"), ["a.b", "d", "e.f"]);
        assert_eq!(names("import a, \\\r\n  b\nimport\\\n c"), ["a", "b", "c"]);
        assert_eq!(names("from a.b import c"), ["a.b", "a.b.c"]);
        assert_eq!(names("from a import (b as c, # d\n e,\n)\nimport f"), ["a", "a.b", "a.e", "f"]);
        assert_eq!(names("from a import *\nimport b"), ["a", "b"]);
        assert_eq!(names("from a import(b)"), ["a", "a.b"]);
        assert_eq!(names("import größe"), ["größe"]);
        assert_eq!(names("\u{feff}import a"), ["a"]);
        assert_eq!(names("import a;import b"), ["a", "b"]);
        assert_eq!(names("import a\rimport b\r\nimport c"), ["a", "b", "c"]);
        assert_eq!(
            imports(b"import a.b, a.c\nfrom d.e import f"),
            ["a", "d"].map(String::from).into()
        );
    }

    #[test]
    fn relative_imports() {
        assert_eq!(relative("from . import a, b"), [(1, ""), (1, "a"), (1, "b")].map(own));
        assert_eq!(relative("from .. a import b"), [(2, "a"), (2, "a.b")].map(own));
        assert_eq!(relative("from ...import a"), [(3, ""), (3, "a")].map(own));
        assert_eq!(names("from . import a"), [""; 0]);
    }

    fn own((dots, name): (usize, &str)) -> (usize, String) {
        (dots, name.to_owned())
    }

    #[test]
    fn statements_begin_in_many_places() {
        assert_eq!(names("try: import a\nexcept: import b"), ["a", "b"]);
        assert_eq!(names("def f():\n\timport a\n\tif x: import b; import c"), ["a", "b", "c"]);
        assert_eq!(names("x = {1: 2,\n 3: 4}\nimport a"), ["a"]);
        assert_eq!(names("x = [\n'a]',\n]\nimport a"), ["a"]);
        assert_eq!(names("if (x and\n  y): import a"), ["a"]);
    }

    #[test]
    fn what_only_looks_like_an_import() {
        assert_eq!(names("'''\nimport a\n'''\nimport b"), ["b"]);
        assert_eq!(names("x = 'import a'\n# import b\nimport c"), ["c"]);
        assert_eq!(names("r'\\'\nimport a'\nimport b"), ["a", "b"]);
        assert_eq!(names("f'{x}\\\nimport a'\nimport b"), ["b"]);
        assert_eq!(names("raise x from import_y\nyield from a\nimportant = 1"), [""; 0]);
        assert_eq!(names("reimport a\nx.import_\nimport_ = 2"), [""; 0]);
        assert_eq!(names("f(\nimport a\n)"), [""; 0]);
        assert_eq!(names("\"\"\"a\\\"\"\"import b\"\"\"\nimport c"), ["c"]);
    }

    #[test]
    fn calls_that_import() {
        assert_eq!(
            names("import importlib\nx = importlib.import_module('a.b')"),
            ["a.b", "importlib"]
        );
        assert_eq!(names("__import__ ( \"a\", x)"), ["a"]);
        assert_eq!(names("f(\n __import__('a'))"), ["a"]);
        assert_eq!(names("import_module(name); import_module('a' + b)"), ["a"]);
        assert_eq!(relative("import_module('.a', __name__)"), [own((1, "a"))]);
        assert_eq!(
            names("import_module('a b'); import_module(''); import_module(f'a{x}')"),
            [""; 0]
        );
    }

    #[test]
    fn broken_source() {
        for source in [
            "import",
            "import ",
            "from",
            "from .",
            "from a",
            "from a import",
            "from a import (",
            "import a.",
            "import 1",
            "import a,",
            "from a import (b",
            "'",
            "'''import a",
            "\\",
            "import\\",
            "__import__(",
            "__import__('",
            "__import__('a",
            "((((import a",
            "import a as",
        ] {
            let _ = imports(source.as_bytes());
        }
        assert_eq!(names("import a.\nimport b"), ["b"]);
        assert_eq!(names("from a import\nimport b"), ["a", "b"]);
        assert_eq!(names("x = 'open\nimport b"), ["b"]);
        assert_eq!(names("x)]\nimport b"), ["b"]);
        assert_eq!(imports(b"import \xff\xfe\nimport b").len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(source in proptest::collection::vec(
            proptest::sample::select(b"import from.a\\\n\r'\"#(),;:_\xff* as".to_vec()), 0..60,
        )) {
            let _ = imports(&source);
        }
    }

    /// Every file of the standard library, with Python's own parser to compare with.
    #[test]
    fn agrees_with_pythons_parser() {
        const ORACLE: &str = r"
import ast, os, sys, sysconfig
top = sysconfig.get_path('stdlib')
for directory, below, files in os.walk(top):
    below[:] = [name for name in below if name not in ('site-packages', 'dist-packages', 'lib2to3')]
    for name in files:
        path = os.path.join(directory, name)
        if not name.endswith('.py') or '\n' in path: continue
        try:
            tree = ast.parse(open(path, 'rb').read())
        except (SyntaxError, ValueError): continue
        found = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                module = '.' * node.level + (node.module or '')
                dot = '.' if node.module else ''
                found |= {module} | {module + dot + alias.name for alias in node.names if alias.name != '*'}
        print(path, *sorted(found), sep='\t')
";
        let Some(python) = crate::key::interpreter::for_tests() else { return };
        let mut python = std::process::Command::new(python);
        let output = python.args(["-W", "ignore", "-c", ORACLE]).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let (mut files, mut time, mut bytes) = (0, std::time::Duration::ZERO, 0);
        for line in lines.lines() {
            let mut fields = line.split('\t');
            let path = fields.next().unwrap();
            let wanted: BTreeSet<String> = fields.map(str::to_owned).collect();
            let source = std::fs::read(path).unwrap();
            let start = std::time::Instant::now();
            let found = Imports::of(&source);
            time += start.elapsed();
            bytes += source.len();
            let relative = found.relative.iter().map(|(dots, name)| ".".repeat(*dots) + name);
            let all: BTreeSet<String> = found.names.iter().cloned().chain(relative).collect();
            // Calls are no statements, and only found here.
            let missing: Vec<_> = wanted.difference(&all).collect();
            let text = String::from_utf8_lossy(&source);
            let is_call = |name: &&String| {
                let name = name.as_str();
                text.contains(&format!("'{name}'")) || text.contains(&format!("\"{name}\""))
            };
            let surplus: Vec<_> = all.difference(&wanted).filter(|name| !is_call(name)).collect();
            assert!(missing.is_empty() && surplus.is_empty(), "{path}: -{missing:?} +{surplus:?}");
            files += 1;
        }
        println!("{files} files, {bytes} bytes in {time:?}");
        assert!(files > 100 || !output.status.success(), "only {files} files were compared");
    }
}
