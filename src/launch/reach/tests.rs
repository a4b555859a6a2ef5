use super::*;

/// A directory with these files, each with its text.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn search_path(directory: &Path) -> SearchPath {
    SearchPath {
        directories: vec![directory.join("missing"), directory.to_owned()],
        suffixes: vec![".cpython-311.so".into(), ".so".into()],
        loaded: ["sys", "os"].map(str::to_owned).into(),
    }
}

fn reach(directory: &Path, code: &str) -> (u64, u64) {
    let recipe = Recipe::Code { code: code.into() };
    let reach = Reach::of(&recipe, &search_path(directory), None);
    (reach.modules, reach.extensions)
}

#[test]
fn modules_lead_to_others() {
    let dir = tree(&[
        ("a.py", "import b.c, sys, os\nfrom . import nothing\n"),
        ("os.py", "import never\n"),
        ("never.py", ""),
        ("b/__init__.py", "from .d import x\nfrom . import fast\nimport a\n"),
        ("b/c.py", "from ..b import d\nfrom ...above import x\nfrom b.e.deep import y\n"),
        ("b/d.py", "import b.c\n"),
        ("b/fast.cpython-311.so", ""),
        ("b/e/deep.py", ""),
        ("cycle/__init__.py", "import cycle.x"),
        ("cycle/x.py", "import cycle"),
    ]);
    assert_eq!(reach(dir.path(), ""), (0, 0));
    assert_eq!(reach(dir.path(), "import unknown, sys"), (0, 0));
    // a, b, b.c, b.d, b.e.deep
    assert_eq!(reach(dir.path(), "import a"), (5, 1));
    assert_eq!(reach(dir.path(), "import b.e.deep"), (5, 1));
    assert_eq!(reach(dir.path(), "import cycle"), (2, 0));
}

#[test]
fn what_is_imported_later_does_not_count() {
    let text = "\
import one
def f(
    x,
) -> None:
    import two

    import three
class C:
    import four
    async def f(self): import five
    if x:
        from six import y
if TYPE_CHECKING:
    import seven
else:
    import eight
";
    let names: Vec<String> = imports(text.as_bytes()).eager.absolute.into_iter().collect();
    assert_eq!(names, ["eight", "four", "one", "six", "six.y"]);
}

#[test]
fn what_entry_points_import_counts() {
    let dir = tree(&[
        ("bin/tool", "from prog.cli import main\nimport other\nmain()\n"),
        ("bin/own", "def main():\n    import other\nmain()\n"),
        ("site/prog/__init__.py", "def f(): import never"),
        ("site/prog/__main__.py", "def main(): import other"),
        ("site/prog/cli.py", "def main():\n    from .core import work\n    import other\n"),
        ("site/prog/core.py", "def work(): import never"),
        ("site/other.py", "def f(): import never"),
        ("site/never.py", ""),
    ]);
    let (bin, site) = (dir.path().join("bin"), search_path(&dir.path().join("site")));
    let modules = |recipe: &Recipe| Reach::of(recipe, &site, None).modules;
    let script = |name: &str| modules(&Recipe::Script { script: bin.join(name) });
    assert_eq!(script("tool"), 4, "prog, prog.cli, prog.core, other");
    assert_eq!(script("own"), 1, "other");
    let module = Recipe::Module { modules: vec!["prog".into()] };
    assert_eq!(modules(&module), 3, "prog, prog.__main__, other");
}

#[test]
fn programs_have_modules_of_their_own() {
    let dir = tree(&[
        ("bin/tool.py", "import helper, lib"),
        ("bin/helper.py", ""),
        ("site/lib.py", ""),
        ("site/prog/__init__.py", ""),
        ("site/prog/__main__.py", "import lib"),
    ]);
    let (bin, site) = (dir.path().join("bin"), search_path(&dir.path().join("site")));
    let script = Recipe::Script { script: bin.join("tool.py") };
    let modules = |recipe: &Recipe, first| Reach::of(recipe, &site, first).modules;
    assert_eq!(modules(&script, Some(Path::new("/"))), 2, "the script's own directory");
    assert_eq!(modules(&script, None), 1, "-I");
    let module = Recipe::Module { modules: vec!["prog".into()] };
    assert_eq!(modules(&module, Some(Path::new("/"))), 3);
    let code = Recipe::Code { code: "import helper".into() };
    assert_eq!(modules(&code, Some(&bin)), 1, "the working directory");
}

#[test]
fn time_is_made_of_modules_and_bytes() {
    let reach = Reach { modules: 109, bytes: 2_786_580, extensions: 10 };
    let ms = reach.import_ns() / 1_000_000;
    assert!((80..=120).contains(&ms), "numpy takes 117 ms, not {ms}");
}

#[test]
fn answers_of_interpreters() {
    let text = b"noise\n\0pyimg\0/a\0/b c\0\n\0pyimg\0.so\0\n\0pyimg\0sys\0os\0\n";
    let read = SearchPath::read(text).unwrap();
    assert_eq!(read.directories, ["/a", "/b c"].map(PathBuf::from));
    assert_eq!(read.suffixes, [".so"]);
    assert_eq!(read.loaded.len(), 2);
    for bad in [&b""[..], b"\0pyimg\0", b"noise", b"\0pyimg\0/a\0\n\0pyimg\0.so\0\n"] {
        assert!(SearchPath::read(bad).is_none(), "{bad:?}");
    }
}
