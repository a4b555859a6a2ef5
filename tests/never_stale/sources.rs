//! Modules, packages and their compiled files.

use std::time::{Duration, SystemTime};

use crate::common::{self, run};
use crate::world::{Change, Says, World};

const PRINT: &str =
    "print(m.VALUE, p.VALUE, p.inner.VALUE, p.deep.er.VALUE, linked.VALUE, switched.VALUE)";

/// A module, a package, a link to a file and a link to a directory.
fn tree(world: &mut World) {
    world.write("lib/m.py", "VALUE = 'old'\n");
    world.write("lib/p/__init__.py", "from . import inner\nfrom .deep import er\nVALUE = 'old'\n");
    world.write("lib/p/inner.py", "VALUE = 'old'\n");
    world.write("lib/p/deep/__init__.py", "");
    world.write("lib/p/deep/er.py", "VALUE = 'old'\n");
    for (version, value) in [("1", "old"), ("2", "new")] {
        world.write(&format!("versions/{version}.py"), format!("VALUE = '{value}'\n"));
        world.write(&format!("versions/{version}/__init__.py"), "from .value import VALUE\n");
        world.write(&format!("versions/{version}/value.py"), format!("VALUE = '{value}'\n"));
    }
    world.link("../versions/1.py", "lib/linked.py");
    world.link("../versions/1", "lib/switched");
    world.write("elsewhere/file.py", "");
    world.imports("import m, p, linked, switched", PRINT);
}

const NEW: &str = "VALUE = 'new'\n";

/// What can happen to source files. With compiled files beside them Python itself does not
/// see every change; then it only has to be the same.
fn changes(seen: Says) -> Vec<Change<'static>> {
    vec![
        ("another module beside", Says::Hit, &|w| w.write("lib/other.py", NEW)),
        ("another package beside", Says::Hit, &|w| w.write("lib/another/__init__.py", NEW)),
        ("a file touched elsewhere", Says::Hit, &|w| w.shift("elsewhere/file.py", 5)),
        ("a compiled file of another", Says::Hit, &|w| {
            w.write("lib/__pycache__/other.cpython-311.pyc", "x");
        }),
        ("an editor's backup", Says::Hit, &|w| w.write("lib/m.py~", NEW)),
        ("an editor's backup in the package", Says::Hit, &|w| w.write("lib/p/.inner.py.swp", NEW)),
        ("the directory touched", Says::Hit, &|w| w.touch("lib", SystemTime::now())),
        ("a file read", Says::Hit, &|w| drop(std::fs::read(w.path("lib/m.py")).unwrap())),
        ("the other version of the link edited", Says::Hit, &|w| w.write("versions/2.py", "1\n")),
        ("edited", Says::New, &|w| w.write("lib/m.py", "VALUE = 'newer'\n")),
        ("edited, the same size", seen, &|w| w.write("lib/m.py", NEW)),
        ("edited, the same size and time", seen, &|w| w.write_unnoticed("lib/m.py", NEW)),
        ("edited, the time in the future", Says::New, &|w| {
            w.write("lib/m.py", "VALUE = 'newer'\n");
            w.touch("lib/m.py", SystemTime::now() + Duration::from_secs(1000));
        }),
        ("edited, the time long ago", Says::New, &|w| {
            w.write("lib/m.py", NEW);
            w.shift("lib/m.py", -100_000);
        }),
        ("replaced, the same size and time", seen, &|w| w.replace_unnoticed("lib/m.py", NEW)),
        ("replaced", Says::New, &|w| w.replace("lib/m.py", "VALUE = 'newer'\n")),
        ("touched forwards", Says::Same, &|w| w.shift("lib/m.py", 1)),
        ("touched backwards", Says::Same, &|w| w.shift("lib/m.py", -100_000)),
        ("removed and written again", seen, &|w| {
            w.remove("lib/m.py");
            w.write("lib/m.py", NEW);
        }),
        ("removed and written again, the same size and time", seen, &|w| {
            let before = crate::world::modified(&w.path("lib/m.py"));
            w.remove("lib/m.py");
            w.write("lib/m.py", NEW);
            w.touch("lib/m.py", before);
        }),
        ("removed", Says::New, &|w| w.remove("lib/m.py")),
        ("emptied", Says::New, &|w| w.write("lib/m.py", "")),
        ("broken", Says::New, &|w| w.write("lib/m.py", "VALUE = 'new'(\n")),
        ("a package in its place", Says::New, &|w| {
            w.remove("lib/m.py");
            w.write("lib/m/__init__.py", NEW);
        }),
        ("the package's __init__ edited", Says::New, &|w| {
            w.write(
                "lib/p/__init__.py",
                "from . import inner\nfrom .deep import er\nVALUE = 'other'\n",
            );
        }),
        ("a module of the package edited, the same size and time", seen, &|w| {
            w.write_unnoticed("lib/p/inner.py", NEW);
        }),
        ("a module deep inside replaced, the same size and time", seen, &|w| {
            w.replace_unnoticed("lib/p/deep/er.py", NEW);
        }),
        ("the package's directory replaced, all times kept", seen, &|w| {
            w.rename("lib/p", "lib/p-old");
            run_cp(w, "lib/p-old", "lib/p");
            w.write_unnoticed("lib/p/inner.py", NEW);
            w.write_unnoticed("lib/p/deep/er.py", NEW);
        }),
        ("an inner directory replaced", Says::New, &|w| {
            w.rename("lib/p/deep", "old-deep");
            w.write("lib/p/deep/__init__.py", "");
            w.write("lib/p/deep/er.py", "VALUE = 'newer'\n");
        }),
        ("the package removed", Says::New, &|w| w.remove("lib/p")),
        ("the whole library exchanged for a copy", Says::New, &|w| {
            run_cp(w, "lib", "copy");
            w.write("copy/p/deep/er.py", "VALUE = 'newer'\n");
            w.rename("lib", "lib-old");
            w.rename("copy", "lib");
        }),
        ("a link leads to another file", seen, &|w| w.link("../versions/2.py", "lib/linked.py")),
        ("a link's file edited, the same size and time", seen, &|w| {
            w.write_unnoticed("versions/1.py", NEW);
        }),
        ("a link becomes a file", seen, &|w| w.replace_unnoticed("lib/linked.py", NEW)),
        ("a link leads to another directory", Says::New, &|w| {
            w.link("../versions/2", "lib/switched");
        }),
        ("a link's directory becomes another", Says::New, &|w| {
            w.rename("versions/1", "versions/0");
            w.rename("versions/2", "versions/1");
        }),
        ("a link leads nowhere", Says::New, &|w| w.link("nowhere", "lib/switched")),
    ]
}

/// `cp -a`, for trees with links and times.
fn run_cp(world: &World, from: &str, to: &str) {
    let mut command = std::process::Command::new("cp");
    command.arg("-a").arg(world.path(from)).arg(world.path(to));
    run(&mut command).success();
}

#[test]
fn sources_without_compiled_files() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.set("PYTHONDONTWRITEBYTECODE", "1");
    // Those that Python sees only now.
    let seen = |(_, with, _): &&Change<'_>| *with == Says::Any;
    let names: Vec<&str> = changes(Says::Any).iter().filter(seen).map(|change| change.0).collect();
    let mut changes = changes(Says::New);
    changes.retain(|(what, says, _)| *says == Says::Hit || names.contains(what));
    world.try_all(tree, &changes);
}

#[test]
fn sources_with_compiled_files() {
    if !common::criu() {
        return;
    }
    World::new().try_all(tree, &changes(Says::Any));
}

/// Python code that writes another compiled file for `m.py`, with the header of the old one
/// and the same size, in place.
const FORGE: &str = "
import glob, marshal, os
[path] = glob.glob('lib/__pycache__/m.*.pyc')
with open(path, 'r+b') as file:
    header = file.read(16)
    source = os.path.abspath('lib/m.py')
    file.seek(0)
    file.write(header + marshal.dumps(compile(\"VALUE = 'new'\\n\", source, 'exec')))
    file.truncate()
";

#[test]
fn compiled_files() {
    if !common::criu() {
        return;
    }
    let compiled = |w: &World| {
        let path = w.python("import glob; print(glob.glob('lib/__pycache__/m.*.pyc')[0])");
        path.trim().to_owned()
    };
    World::new().try_all(
        tree,
        &[
            ("touched", Says::Same, &|w| w.shift(&compiled(w), 10)),
            ("removed", Says::Same, &|w| w.remove(&compiled(w))),
            ("all removed", Says::Same, &|w| w.remove("lib/__pycache__")),
            ("edited", Says::New, &|w| {
                w.python(FORGE);
            }),
            ("edited, the same size and time", Says::New, &|w| {
                let path = compiled(w);
                let before = crate::world::modified(&w.path(&path));
                w.python(FORGE);
                w.touch(&path, before);
            }),
            ("replaced, the same size and time", Says::New, &|w| {
                let path = compiled(w);
                let before = crate::world::modified(&w.path(&path));
                run_cp(w, &path, "kept.pyc");
                w.python(FORGE);
                run_cp(w, &path, "forged.pyc");
                w.rename("kept.pyc", &path);
                w.rename("forged.pyc", &path);
                w.touch(&path, before);
            }),
            ("one that is never checked", Says::New, &|w| {
                w.python(
                    "import py_compile as p; open('new.py', 'w').write(\"VALUE = 'new'\\n\"); \
                     p.compile('new.py', __import__('importlib.util').util.cache_from_source('lib/m.py'), \
                     dfile='lib/m.py', invalidation_mode=p.PycInvalidationMode.UNCHECKED_HASH)",
                );
            }),
            ("the directory of another version's", Says::Any, &|w| {
                w.rename("lib/__pycache__", "old-cache");
                w.write("lib/m.py", NEW);
            }),
            ("only the compiled file is left", Says::New, &|w| {
                w.write("lib/m.py", "VALUE = 'newer'\n");
                w.python(
                    "import py_compile, os; py_compile.compile('lib/m.py', 'lib/m.pyc'); \
                     os.remove('lib/m.py')",
                );
            }),
        ],
    );
}

#[test]
fn changed_while_the_image_is_built() {
    if !common::criu() {
        return;
    }
    let mut faults = Vec::new();
    let write = "open(m.__file__, 'w').write(\"VALUE = 'new'\\n\")";
    for (what, code) in [
        ("edited", write.to_owned()),
        (
            "edited, the time put back",
            format!(
                "import os; s = os.stat(m.__file__); {write}.__class__; \
                 os.utime(m.__file__, ns=(s.st_atime_ns, s.st_mtime_ns))"
            ),
        ),
        (
            "replaced",
            "import os; open('new.py', 'w').write(\"VALUE = 'new'\\n\"); \
             s = os.stat(m.__file__); os.utime('new.py', ns=(s.st_atime_ns, s.st_mtime_ns)); \
             os.replace('new.py', m.__file__)"
                .to_owned(),
        ),
        ("removed", "import os; os.remove(m.__file__)".to_owned()),
        (
            "written and edited at once",
            format!(
                "import importlib; open(m.__file__, 'w').write(\"VALUE = 'mid'\\n\"); \
                 importlib.reload(m); {write}"
            ),
        ),
        (
            "shadowed",
            "import os; d = m.__file__[:-3]; os.mkdir(d); \
             open(d + '/__init__.py', 'w').write(\"VALUE = 'new'\\n\")"
                .to_owned(),
        ),
        ("data edited", "open(n.here + '/data', 'w').write('new')".to_owned()),
        (
            "data edited, the time put back",
            "import os; f = n.here + '/data'; s = os.stat(f); open(f, 'w').write('new').bit_length(); \
             os.utime(f, ns=(s.st_atime_ns, s.st_mtime_ns))"
                .to_owned(),
        ),
        ("a listed directory", "open(n.here + '/listed/two', 'w').close()".to_owned()),
        ("one that was looked for", "open(n.here + '/absent.py', 'w').close()".to_owned()),
    ] {
        let mut world = World::new();
        world.set("PYTHONDONTWRITEBYTECODE", "1");
        world.write("lib/m.py", "VALUE = 'old'\n");
        world.write("lib/data", "old");
        world.write("lib/listed/one", "");
        world.write(
            "lib/n.py",
            "import os\nhere = os.path.dirname(__file__)\n\
             DATA = open(here + '/data').read()\nLISTED = os.listdir(here + '/listed')\n\
             try: import absent; ABSENT = 'there'\nexcept ImportError: ABSENT = 'none'\n",
        );
        world.imports("import m, n", "print(m.VALUE, n.DATA, sorted(n.LISTED), n.ABSENT)");
        let before = run(world.plain().args(&world.program)).success();
        world.recipe = format!("import m, n; {code}");
        // To refuse such a build would be right as well.
        world.try_build(&[]);
        let pair = world.run();
        faults.extend(pair.difference().map(|difference| format!("{what}: {difference}")));
        assert_ne!(pair.plain.stdout_text(), before, "{what}: the test is wrong");
        world.finish();
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
