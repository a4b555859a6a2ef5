//! What was looked for in vain and comes later.

use crate::common;
use crate::tools::environment;
use crate::world::{Says, World};

/// A module that does without others, in the second of three directories on the path; the
/// fourth is not there.
fn lonely(world: &mut World) {
    for directory in ["first", "second", "third"] {
        world.mkdir(directory);
    }
    world.write(
        "second/m.py",
        "import importlib.util\n\
         try: import speedups; VALUE = speedups.VALUE\n\
         except ImportError: VALUE = 'slow'\n\
         except AttributeError: VALUE = 'strange'\n\
         FOUND = importlib.util.find_spec('maybe') is not None\n",
    );
    world.write(
        "second/p/__init__.py",
        "try: from ._speedups import VALUE\nexcept ImportError: VALUE = 'slow'\n\
         try: import other.inner; OTHER = other.inner.VALUE\nexcept ImportError: OTHER = 'slow'\n\
         try: from . import optional; VALUE += optional.VALUE\nexcept ImportError: pass\n",
    );
    world.write("third/other/__init__.py", "");
    world.imports("import m, p", "print(m.VALUE, m.FOUND, p.VALUE, p.OTHER)");
}

const NEW: &str = "VALUE = 'fast'\n";

#[test]
fn modules_that_were_not_there() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.search(&["first", "second", "third"]);
    let mut paths = ["first", "second", "third", "fourth"].map(|name| world.path(name)).to_vec();
    paths.push(world.path("packed.zip"));
    world.set("PYTHONPATH", std::env::join_paths(paths).unwrap());
    world.try_all(
        lonely,
        &[
            ("a package beside", Says::Hit, &|w| w.write("second/another/__init__.py", NEW)),
            ("a module in front", Says::Hit, &|w| w.write("first/another.py", NEW)),
            ("a module of almost that name", Says::Hit, &|w| w.write("third/speedups2.py", NEW)),
            ("a file of no module's name", Says::Hit, &|w| w.write("third/speedups.txt", NEW)),
            ("a module in the package", Says::Hit, &|w| w.write("second/p/another.py", NEW)),
            ("a package with metadata", Says::Hit, &|w| {
                w.write("third/another/__init__.py", NEW);
                w.write("third/another-1.0.dist-info/METADATA", "Name: another\nVersion: 1.0\n");
            }),
            ("a module in the first directory", Says::New, &|w| w.write("first/speedups.py", NEW)),
            ("a module beside", Says::New, &|w| w.write("second/speedups.py", NEW)),
            ("a module in the last directory", Says::New, &|w| w.write("third/speedups.py", NEW)),
            ("a module, the directory's time kept", Says::New, &|w| {
                w.unnoticed_in("third", |w| w.write("third/speedups.py", NEW));
            }),
            ("a module, the times of all kept", Says::New, &|w| {
                w.unnoticed_in("second", |w| {
                    w.write("second/speedups.py", NEW);
                    w.touch("second/speedups.py", std::time::SystemTime::UNIX_EPOCH);
                });
            }),
            ("a compiled module", Says::New, &|w| {
                w.write("speedups.py", NEW);
                w.python("import py_compile as p; p.compile('speedups.py', 'third/speedups.pyc')");
            }),
            ("a package", Says::New, &|w| w.write("first/speedups/__init__.py", NEW)),
            ("a package by a link", Says::New, &|w| {
                w.write("elsewhere/__init__.py", NEW);
                w.link("../elsewhere", "third/speedups");
            }),
            ("a directory without __init__", Says::New, &|w| w.mkdir("third/speedups")),
            ("an extension that is none", Says::Any, &|w| w.write("first/speedups.so", "x")),
            ("a directory of the path that was not there", Says::New, &|w| {
                w.write("fourth/speedups.py", NEW);
            }),
            ("an archive of the path that was not there", Says::New, &|w| {
                w.python("import zipfile; zipfile.ZipFile('packed.zip', 'w').writestr('speedups.py', \"VALUE = 'fast'\")");
            }),
            ("a module in the working directory", Says::New, &|w| w.write("cwd/speedups.py", NEW)),
            ("one that was only looked for", Says::New, &|w| w.write("third/maybe.py", NEW)),
            ("an optional module of the package", Says::New, &|w| {
                w.write("second/p/_speedups.py", NEW);
            }),
            ("another one", Says::New, &|w| w.write("second/p/optional/__init__.py", NEW)),
            ("a module of another package", Says::New, &|w| w.write("third/other/inner.py", NEW)),
            ("another package in front of that", Says::New, &|w| {
                w.write("first/other/__init__.py", "");
                w.write("first/other/inner.py", NEW);
            }),
            ("a directory of the path exchanged", Says::New, &|w| {
                w.write("new/speedups.py", NEW);
                w.rename("third", "old");
                w.rename("new", "third");
            }),
        ],
    );
}

/// What the program itself imports later is found as it is then, though the image knows
/// what the directories held.
#[test]
fn modules_that_the_program_imports_later() {
    if !common::criu() {
        return;
    }
    let (python, site) = environment(common::a_python(), &[]);
    let mut world = World::of(python);
    world.search(&["first", "second"]);
    let site = site.to_str().unwrap().to_owned();
    let late = |directory: &str| format!("{directory}/late.py");
    let installed = late(&site);
    let setup = |w: &mut World| {
        let _ = std::fs::remove_file(&installed);
        w.write("first/m.py", "VALUE = 'old'\n");
        w.write("second/p/__init__.py", "");
        w.imports(
            "import m, p",
            "print(m.VALUE)\nfor name in 'late', 'p.late':\n\
             \x20   try: print(__import__(name, fromlist=['VALUE']).VALUE)\n\
             \x20   except ImportError as error: print(error)",
        );
    };
    world.try_all(
        setup,
        &[
            ("in the first directory", Says::New, &|w| w.write(&late("first"), NEW)),
            ("in the last directory", Says::New, &|w| w.write(&late("second"), NEW)),
            ("in the package", Says::New, &|w| w.write(&late("second/p"), NEW)),
            ("in the working directory", Says::New, &|w| w.write(&late("cwd"), NEW)),
            ("in the environment", Says::New, &|w| w.write(&installed, NEW)),
            ("in the first directory, its time kept", Says::New, &|w| {
                w.unnoticed_in("first", |w| w.write(&late("first"), NEW));
            }),
            ("in the package, its time kept", Says::New, &|w| {
                w.unnoticed_in("second/p", |w| w.write(&late("second/p"), NEW));
            }),
            ("in the environment, its time kept", Says::New, &|w| {
                w.unnoticed_in(&site, |w| w.write(&installed, NEW));
            }),
            ("a directory exchanged for one of the same time", Says::New, &|w| {
                w.mkdir("new");
                w.write(&late("new"), NEW);
                w.write("new/m.py", "VALUE = 'old'\n");
                w.touch("new", crate::world::modified(&w.path("first")));
                w.rename("first", "old");
                w.rename("new", "first");
            }),
        ],
    );
}
