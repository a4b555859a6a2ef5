//! Archives on the path, and namespace packages, which lie in several directories.

use crate::common;
use crate::tools::environment;
use crate::world::{Says, World};

#[test]
fn archives_on_the_path() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    let archives = ["empty.zip", "packed.zip"].map(|name| world.path(name));
    world.set("PYTHONPATH", std::env::join_paths(archives).unwrap());
    // The same size and the same times inside, for all values of three letters.
    let pack = |w: &World, name: &str, value: &str| {
        w.python(&format!(
            "import zipfile\nwith zipfile.ZipFile('{name}', 'w') as archive:\n\
             \x20   archive.writestr(zipfile.ZipInfo('m.py'), \"VALUE = '{value}'\")\n\
             \x20   archive.writestr(zipfile.ZipInfo('data'), '{value}')\n",
        ));
    };
    let packed = |w: &World, value: &str| {
        pack(w, "new.zip", value);
        std::fs::read(w.path("new.zip")).unwrap()
    };
    let setup = |w: &mut World| {
        w.python("import zipfile; zipfile.ZipFile('empty.zip', 'w').writestr('x.txt', '')");
        pack(w, "packed.zip", "old");
        w.imports(
            "import m",
            "import pkgutil; print(m.VALUE, pkgutil.get_data('m', 'data').decode())",
        );
    };
    world.try_all(
        setup,
        &[
            ("another archive", Says::Hit, &|w| pack(w, "other.zip", "new")),
            ("edited, the same size and time", Says::New, &|w| {
                w.write_unnoticed("packed.zip", packed(w, "new"));
            }),
            ("replaced, the same size and time", Says::New, &|w| {
                w.replace_unnoticed("packed.zip", packed(w, "new"));
            }),
            ("removed", Says::New, &|w| w.remove("packed.zip")),
            ("the one in front gets a module", Says::New, &|w| pack(w, "empty.zip", "new")),
            ("touched backwards", Says::Same, &|w| w.shift("packed.zip", -9)),
            ("a directory in its place", Says::New, &|w| {
                w.remove("packed.zip");
                w.write("packed.zip/m.py", "VALUE = 'new'");
                w.write("packed.zip/data", "new");
            }),
        ],
    );
}

/// A namespace package in one directory, and whatever makes it more or less.
#[test]
fn a_namespace_package() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.search(&["first", "second"]);
    let setup = |w: &mut World| {
        w.search(&["first", "second"]);
        w.write("first/ns/a.py", "VALUE = 'old'\n");
        let print =
            "import os; print(ns.a.VALUE, *[os.path.relpath(p, '..') for p in ns.__path__])";
        w.imports("import ns.a", print);
    };
    world.try_all(
        setup,
        &[
            ("a module in it", Says::Hit, &|w| w.write("first/ns/other.py", "")),
            ("another namespace", Says::Hit, &|w| w.write("second/other/a.py", "")),
            ("a portion more", Says::New, &|w| w.mkdir("second/ns")),
            ("a portion more, the directory's time kept", Says::New, &|w| {
                w.unnoticed_in("second", |w| w.mkdir("second/ns"));
            }),
            ("an __init__", Says::New, &|w| w.write("first/ns/__init__.py", "print('new')")),
            ("a package behind", Says::New, &|w| w.write("second/ns/__init__.py", "")),
            ("a module behind", Says::New, &|w| w.write("second/ns.py", "")),
            ("moved", Says::New, &|w| w.rename("first/ns", "second/ns")),
        ],
    );
}

#[test]
fn a_namespace_package_of_several_directories() {
    if !common::criu() {
        return;
    }
    // As packages that were installed separately have it: the path is the environment's.
    let (python, site) = environment(common::a_python(), &[]);
    let mut world = World::of(python);
    world.unset("PYTHONPATH");
    let names = ["first", "second", "third"];
    let lines = names.map(|name| format!("{}\n", world.path(name).display())).concat();
    std::fs::write(site.join("projects.pth"), lines).unwrap();
    let setup = |w: &mut World| {
        for name in names {
            w.mkdir(name);
        }
        w.write("first/ns/a.py", "VALUE = 'old'\n");
        w.write("second/ns/b.py", "VALUE = 'old'\n");
        w.write("second/ns/inner/c.py", "VALUE = 'old'\n");
        w.imports(
            "import ns.a, ns.b, ns.inner.c",
            "import os\n\
             print(ns.a.VALUE, ns.b.VALUE, ns.inner.c.VALUE)\n\
             print(*[os.path.relpath(path, '..') for path in [*ns.__path__, *ns.inner.__path__]])\n\
             try: import ns.later; print(ns.later.VALUE)\n\
             except ImportError as error: print(error)",
        );
    };
    world.try_all(
        setup,
        &[
            ("a module in a portion", Says::Hit, &|w| w.write("second/ns/other.py", "")),
            ("another namespace", Says::Hit, &|w| w.write("third/other/a.py", "")),
            ("a portion more", Says::New, &|w| w.write("third/ns/later.py", "VALUE = 'new'\n")),
            ("a portion more, the directory's time kept", Says::New, &|w| {
                w.unnoticed_in("third", |w| w.write("third/ns/d.py", ""));
            }),
            ("a portion more of an inner one", Says::New, &|w| w.mkdir("first/ns/inner")),
            ("a portion less", Says::New, &|w| w.remove("first/ns")),
            ("a portion moved", Says::New, &|w| w.rename("second/ns", "third/ns")),
            ("an __init__", Says::New, &|w| w.write("first/ns/__init__.py", "")),
            ("an __init__ of an inner one", Says::New, &|w| {
                w.write("second/ns/inner/__init__.py", "print('new')");
            }),
            ("a regular package behind", Says::New, &|w| w.write("third/ns/__init__.py", "")),
            ("a module in front", Says::New, &|w| w.write("first/ns.py", "VALUE = 'new'\n")),
            ("a module in the first portion", Says::New, &|w| {
                w.write("first/ns/b.py", "VALUE = 'new'\n");
            }),
            ("a portion by a link", Says::New, &|w| {
                w.write("elsewhere/later.py", "VALUE = 'new'\n");
                w.link("../elsewhere", "third/ns");
            }),
            ("edited, the same size and time", Says::Any, &|w| {
                w.write_unnoticed("second/ns/b.py", "VALUE = 'new'\n");
            }),
        ],
    );
}

/// A program of two modules, as a directory and as an archive of it.
fn put_program(world: &World, value: &str, more: &str) {
    let main = format!("import sys, m\nprint(m.VALUE, m.__file__, sys.path[0], __file__{more})\n");
    world.write("app/__main__.py", main);
    world.write("app/m.py", format!("VALUE = '{value}'\n"));
    world.python(
        "import zipfile\nwith zipfile.ZipFile('new.zip', 'w') as archive:\n\
         \x20   for name in '__main__.py', 'm.py': archive.write('app/' + name, name)\n",
    );
    world.rename("new.zip", "app.pyz");
}

#[test]
fn programs_that_are_directories_or_archives() {
    if !common::criu() {
        return;
    }
    for kind in ["app", "app.pyz"] {
        let mut world = World::new();
        let path = world.path(kind);
        world.recipe = format!("--script={}", path.display());
        world.program = vec![path.into()];
        world.try_all(
            |w| put_program(w, "old", ""),
            &[
                ("a module is edited", Says::New, &|w| put_program(w, "newer", "")),
                ("the program is edited", Says::New, &|w| put_program(w, "old", ", 7")),
                ("something else", Says::Hit, &|w| w.write("other.py", "")),
            ],
        );
        // Called otherwise, its modules have other names.
        let mut world = World::new();
        world.recipe = format!("--script={}", world.path(kind).display());
        put_program(&world, "old", "");
        world.build();
        world.cwd = world.root.clone();
        for name in [format!("./{kind}"), kind.to_owned()] {
            world.program = vec![name.into()];
            let pair = world.run();
            assert_eq!(pair.difference(), None);
        }
        world.finish();
    }
}
