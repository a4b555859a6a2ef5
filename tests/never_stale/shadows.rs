//! What comes to stand in front of something else.

use crate::common;
use crate::world::{Change, Says, World};

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
