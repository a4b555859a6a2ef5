//! What was looked for in vain and comes later, and what comes to stand in front of
//! something else.

use crate::common;
use crate::tools::environment;
use crate::world::{Change, Says, World};

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

/// A package and a module in the second of three directories on the path.
fn shadowed(world: &mut World) {
    for directory in ["first", "second", "third", "scripts"] {
        world.mkdir(directory);
    }
    world.write("second/m.py", "VALUE = 'old'\n");
    world.write("second/p/__init__.py", "from .inner import VALUE\n");
    world.write("second/p/inner.py", "VALUE = 'old'\n");
    let program = "import m, p, json\nprint(m.VALUE, p.VALUE, len(json.dumps(1)))\n";
    world.write("scripts/program.py", program);
    world.write("second/program.py", program);
    world.imports("import m, p, json", "print(m.VALUE, p.VALUE, len(json.dumps(1)))");
}

const SHADOW: &str = "VALUE = 'new'\n";

fn in_front() -> Vec<Change<'static>> {
    vec![
        ("a file of data in front", Says::Hit, &|w| w.write("first/m.txt", "")),
        ("another module in front", Says::Hit, &|w| w.write("first/another.py", "")),
        ("a module behind", Says::Same, &|w| w.write("third/m.py", SHADOW)),
        ("a directory without __init__ in front", Says::Same, &|w| w.mkdir("first/m")),
        ("a module in front", Says::New, &|w| w.write("first/m.py", SHADOW)),
        ("a module in front, the directory's time kept", Says::New, &|w| {
            w.unnoticed_in("first", |w| w.write("first/m.py", SHADOW));
        }),
        ("a module in front by a link", Says::New, &|w| {
            w.write("elsewhere.py", SHADOW);
            w.link("../elsewhere.py", "first/m.py");
        }),
        ("a package in front", Says::New, &|w| w.write("first/p/__init__.py", SHADOW)),
        ("a module in front of a package", Says::New, &|w| w.write("first/p.py", SHADOW)),
        ("a package beside", Says::New, &|w| w.write("second/m/__init__.py", SHADOW)),
        ("a package beside, where a directory was", Says::New, &|w| {
            w.mkdir("second/m");
            w.build();
            w.write("second/m/__init__.py", SHADOW);
        }),
        ("a package beside a module of a package", Says::New, &|w| {
            w.write("second/p/inner/__init__.py", SHADOW);
        }),
        ("one of the standard library", Says::New, &|w| {
            w.write("first/json.py", "def dumps(x): return 'new'");
        }),
        ("one that the standard library imports", Says::New, &|w| {
            w.write("first/json/__init__.py", "def dumps(x): return 'new'");
        }),
        ("another directory in front", Says::New, &|w| {
            w.write("zeroth/m.py", SHADOW);
            let mut path = w.path("zeroth:").into_os_string();
            path.push(&w.variables.iter().find(|(name, _)| name == "PYTHONPATH").unwrap().1);
            w.set("PYTHONPATH", path);
        }),
        ("the other order", Says::New, &|w| {
            w.write("third/m.py", SHADOW);
            w.build();
            w.search(&["third", "second", "first"]);
        }),
        ("a directory of the path exchanged", Says::New, &|w| {
            w.write("new/m.py", SHADOW);
            w.rename("first", "old");
            w.rename("new", "first");
        }),
        ("a directory of the path switched", Says::New, &|w| {
            w.write("new/m.py", SHADOW);
            w.remove("first");
            w.link("new", "first");
        }),
    ]
}

#[test]
fn in_front_on_the_path() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.search(&["first", "second", "third"]);
    world.try_all(shadowed, &in_front());
}

/// Beside the program, whatever a program is.
#[test]
fn in_front_beside_the_program() {
    if !common::criu() {
        return;
    }
    for (program, beside) in [
        (&["-c", "import m, p, json; print(m.VALUE, p.VALUE)"][..], "cwd"),
        (&["-m", "program"], "cwd"),
        (&["../scripts/program.py"], "scripts"),
    ] {
        let mut world = World::new();
        world.search(&["first", "second", "third"]);
        let file = |name: &str| format!("{beside}/{name}");
        world.try_all(
            |w| {
                shadowed(w);
                w.program = program.iter().map(Into::into).collect();
            },
            &[
                ("another module", Says::Hit, &|w| w.write(&file("another.py"), "")),
                ("a module", Says::New, &|w| w.write(&file("m.py"), SHADOW)),
                ("a package", Says::New, &|w| w.write(&file("p/__init__.py"), SHADOW)),
                ("a compiled module", Says::New, &|w| {
                    w.write("new.py", SHADOW);
                    w.python(&format!(
                        "import py_compile as p; p.compile('new.py', '{beside}/m.pyc')"
                    ));
                }),
                ("one of the standard library's", Says::Any, &|w| {
                    w.write(&file("json.py"), "print('new')\ndef dumps(x): return 'new'");
                }),
                ("one that the program does not import", Says::Any, &|w| {
                    w.write(&file("codecs.py"), "print('not read')");
                    w.write(&file("decoder.py"), "print('not read')");
                }),
            ],
        );
    }
}

/// An image of a script, which holds what lies beside it.
#[test]
fn modules_beside_a_script() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    let setup = |w: &mut World| {
        w.write("scripts/helper.py", "VALUE = 'old'\n");
        w.write("others/helper.py", "VALUE = 'other'\n");
        w.write("lib/m.py", "import helper\nVALUE = helper.VALUE\n");
        for directory in ["scripts", "others"] {
            let text = "import helper, m\nprint(helper.VALUE, m.VALUE)\n";
            w.write(&format!("{directory}/program.py"), text);
        }
        w.recipe = "--script=../scripts/program.py".into();
        w.program = ["../scripts/program.py".into()].into();
    };
    world.try_all(
        setup,
        &[
            ("a module beside", Says::Hit, &|w| w.write("scripts/another.py", "")),
            ("edited, the same size and time", Says::Any, &|w| {
                w.write_unnoticed("scripts/helper.py", "VALUE = 'new'\n");
            }),
            ("removed", Says::New, &|w| w.remove("scripts/helper.py")),
            ("another script", Says::New, &|w| w.program = ["../others/program.py".into()].into()),
            ("the directory exchanged", Says::New, &|w| {
                w.rename("scripts", "old");
                w.rename("others", "scripts");
            }),
        ],
    );
}

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
