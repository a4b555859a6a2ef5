use super::*;

fn read(source: impl AsRef<[u8]>) -> Imports {
    Imports::of(source.as_ref(), &mut usize::MAX.clone())
}

fn names(source: &str) -> Vec<String> {
    let imports = read(source);
    imports.eager.absolute.into_iter().chain(imports.lazy.absolute).collect()
}

fn relative(source: &str) -> Vec<(usize, String)> {
    read(source).eager.relative.into_iter().collect()
}

/// What is imported at once, and what later.
fn both(source: &str) -> [Vec<String>; 2] {
    let imports = read(source);
    [imports.eager.absolute, imports.lazy.absolute].map(|names| names.into_iter().collect())
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
    let imports = read("import a.b, a.c\nfrom d.e import f");
    assert_eq!(imports.eager.top_level(), ["a", "d"].map(String::from).into());
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
    assert_eq!(names("\"\"\"a\\\"\"\"import b\"\"\"\nimport c"), ["c"]);
}

#[test]
fn calls_that_import() {
    assert_eq!(names("import importlib\nx = importlib.import_module('a.b')"), ["a.b", "importlib"]);
    assert_eq!(names("__import__ ( \"a\", x)"), ["a"]);
    assert_eq!(names("f(\n __import__('a'))"), ["a"]);
    assert_eq!(names("import_module(name); import_module('a' + b)"), [""; 0]);
    assert_eq!(relative("import_module('.a', __name__)"), [own((1, "a"))]);
    assert_eq!(names("import_module('a b'); import_module(''); import_module(f'a{x}')"), [""; 0]);
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
        let _ = read(source);
    }
    assert_eq!(names("import a.\nimport b"), ["a", "b"]);
    assert_eq!(names("f(\nimport a\n"), ["a"], "a bracket that was forgotten");
    assert_eq!(names("from a import\nimport b"), ["a", "b"]);
    assert_eq!(names("x = 'open\nimport b"), ["b"]);
    assert_eq!(names("x)]\nimport b"), ["b"]);
    assert_eq!(read(b"import \xff\xfe\nimport b").eager.absolute.len(), 1);
    assert_eq!(read(b"x = '\xe9'\nimport b").eager.absolute.len(), 1, "Latin-1");
}

proptest::proptest! {
    #[test]
    fn never_panics(source in proptest::collection::vec(
        proptest::sample::select(b"import from.a\\\n\r'\"#(),;:_\xff* as".to_vec()), 0..60,
    )) {
        let _ = read(&source);
    }
}

#[test]
fn what_is_imported_later() {
    let both_of = |source: &str| both(source).map(|names| names.join(" "));
    let source = "import a\ndef f(x=__import__('b')):\n import c, a\n class C: import d\nimport e";
    assert_eq!(both_of(source), ["a b e", "c d"]);
    let source = "class C:\n import a\n async def f(self):\n  import b\n import c";
    assert_eq!(both_of(source), ["a c", "b"]);
    let source =
        "try:\n import a\nexcept E:\n import b\nelse:\n with x: import c\nfinally: import d";
    assert_eq!(both_of(source), ["a b c d", ""]);
    let source = "for x in y:\n while z: import a\nmatch x:\n case 1: import b\nimport c";
    assert_eq!(both_of(source), ["a b c", ""]);
    let source = "@__import__('a').b\ndef f():\n import c\nx = lambda: __import__('d')";
    assert_eq!(both_of(source), ["a", "c d"]);
    assert_eq!(both_of("lazy import a\nimport b"), ["b", "a"]);
    let imports = read("from . import a\ndef f():\n from . import a, b");
    assert_eq!(imports.lazy.relative, [own((1, "b"))].into());
}

#[test]
fn what_only_type_checkers_import() {
    for source in [
        "if TYPE_CHECKING:\n import a\n",
        "if typing.TYPE_CHECKING: import a\nelse: import b",
        "if t.TYPE_CHECKING:\n if x: import a\n def f(): import c\nelif x: import b",
        "if not TYPE_CHECKING: import b\nelse: import a",
        "if x: import b\nelif TYPE_CHECKING and y: import a",
        "if not (TYPE_CHECKING and y): import b\nelif x: import a",
        "if False: import a\nif True: import b\nelse: import a",
        "class C:\n if TYPE_CHECKING: import a\n import b",
    ] {
        let wanted: &[&str] = if source.contains('b') { &["b"] } else { &[] };
        assert_eq!(names(source), wanted, "{source}");
    }
    for source in [
        "if TYPE_CHECKING or x: import a",
        "if checking: import a",
        "if TYPE_CHECKING is x: import a",
    ] {
        assert_eq!(names(source), ["a"], "{source}");
    }
}

#[test]
fn no_more_is_parsed_than_allowed() {
    let source = b"import a\nimport b\nx = 1\n";
    let mut budget = 20;
    let imports = Imports::of(source, &mut budget);
    assert_eq!((imports.eager.absolute.len(), budget), (2, 2));
    assert_eq!(Imports::of(source, &mut budget), Imports::default());
    assert_eq!(budget, 2);
    let mut budget = 17;
    assert_eq!(Imports::of(source, &mut budget).eager.absolute.len(), 1);
}

/// Texts that Python refuses, or nearly; a parser that goes down into them needs much stack.
#[test]
fn deep_texts() {
    const LENGTH: usize = 10_000;
    for (start, part) in [
        ("", "("),
        ("", "["),
        ("x = ", "{"),
        ("x = ", "f'{"),
        ("x = ", "not "),
        ("x = ", "-"),
        ("x = ", "a**"),
        ("x = ", "a+"),
        ("x = ", "a."),
        ("x = a", "()"),
        ("x = ", "await "),
        ("x = ", "lambda:"),
        ("x = ", "a if b else "),
        ("", "if x:"),
        ("", "def f():"),
        ("", "class C("),
        ("match x:\n case ", "["),
        ("match x:\n case ", "C("),
        ("match x:\n case ", "{1:"),
        ("x = ", "*"),
        ("x: ", "a["),
        ("x = ", "(yield "),
        ("with ", "(a as "),
        ("del ", "("),
        ("@", "("),
        ("type X[T] = ", "X["),
        ("def f(x=", "lambda y="),
    ] {
        let text = format!("import a\n{start}{}\nimport b", part.repeat(LENGTH / part.len()));
        assert!(names(&text).contains(&"a".to_owned()), "{start}{part}");
        let text = format!("import a\nif x:\n {text}\n __import__('c')\n");
        assert!(names(&text).contains(&"a".to_owned()), "{start}{part}");
    }
    let text = (0..300).map(|depth| format!("{}if x:\n", " ".repeat(depth))).collect::<String>();
    assert!(names(&format!("{text}{}import a", " ".repeat(300))).contains(&"a".to_owned()));
}

/// Every file of the standard library, with Python's own parser to compare with.
#[test]
fn agrees_with_pythons_parser() {
    const ORACLE: &str = r"
import ast, os, sys, sysconfig

def never(test):
    name = getattr(test, 'id', getattr(test, 'attr', None))
    return name == 'TYPE_CHECKING' or isinstance(test, ast.Constant) and test.value is False

class Reader(ast.NodeVisitor):
    def __init__(self):
        self.found, self.later = (set(), set()), 0
    def add(self, name):
        self.found[self.later].add(name)
    def visit_Import(self, node):
        for alias in node.names: self.add(alias.name)
    def visit_ImportFrom(self, node):
        module = '.' * node.level + (node.module or '')
        self.add(module)
        for alias in node.names:
            if alias.name != '*':
                self.add(module + ('.' if node.module else '') + alias.name)
    def visit_If(self, node):
        if not never(node.test):
            for child in node.body: self.visit(child)
        for child in node.orelse: self.visit(child)
    def visit_Call(self, node):
        name = getattr(node.func, 'id', getattr(node.func, 'attr', None))
        if name in ('__import__', 'import_module') and node.args:
            text = getattr(node.args[0], 'value', None)
            if isinstance(text, str) and all(part.isidentifier() for part in text.lstrip('.').split('.')):
                self.add(text)
        self.generic_visit(node)
    def visit_FunctionDef(self, node):
        for child in node.decorator_list + [node.args]: self.visit(child)
        before, self.later = self.later, 1
        for child in node.body: self.visit(child)
        self.later = before
    visit_AsyncFunctionDef = visit_FunctionDef
    def visit_Lambda(self, node):
        before, self.later = self.later, 1
        self.visit(node.body)
        self.later = before

top = sysconfig.get_path('stdlib')
for directory, below, files in os.walk(top):
    below[:] = [name for name in below if name not in ('site-packages', 'dist-packages', 'lib2to3')]
    for name in files:
        path = os.path.join(directory, name)
        if not name.endswith('.py') or '\n' in path: continue
        try:
            tree = ast.parse(open(path, 'rb').read())
        except (SyntaxError, ValueError): continue
        reader = Reader()
        reader.visit(tree)
        eager, lazy = reader.found
        print(path, ' '.join(sorted(eager)), ' '.join(sorted(lazy - eager)), sep='\t')
";
    let Some(python) = crate::key::interpreter::for_tests() else { return };
    let mut python = std::process::Command::new(python);
    let output = python.args(["-W", "ignore", "-c", ORACLE]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let as_python_says = |names: &Names| {
        let relative = names.relative.iter().map(|(dots, name)| ".".repeat(*dots) + name);
        names.absolute.iter().cloned().chain(relative).collect::<BTreeSet<String>>()
    };
    let (mut files, mut bytes) = (0, 0);
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let [path, eager, lazy] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let source = std::fs::read(path).unwrap();
        let found = read(&source);
        assert_eq!(
            (as_python_says(&found.eager), as_python_says(&found.lazy)),
            (words(eager), words(lazy)),
            "{path}"
        );
        files += 1;
        bytes += source.len();
    }
    println!("{files} files, {bytes} bytes");
    assert!(files > 100, "only {files} files were compared");
}
