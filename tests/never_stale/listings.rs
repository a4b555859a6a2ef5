//! Directories that modules list while they are imported.

use crate::common;
use crate::world::{Change, Says, World};

/// How a directory can be listed: a name for it, and an expression for what is in it.
const LISTERS: [(&str, &str); 10] = [
    ("listdir", "os.listdir(path)"),
    ("listdir_bytes", "os.listdir(os.fsencode(path))"),
    ("listdir_descriptor", "of_descriptor(path)"),
    ("scandir", "[entry.name for entry in os.scandir(path)]"),
    ("walk", "[name for _, inner, files in os.walk(path) for name in inner + files]"),
    ("glob", "[os.path.basename(name) for name in glob.glob(path + '/*.py')]"),
    ("iterdir", "[found.name for found in pathlib.Path(path).iterdir()]"),
    ("rglob", "[found.name for found in pathlib.Path(path).rglob('*.py')]"),
    ("iter_modules", "[found.name for found in pkgutil.iter_modules([path])]"),
    (
        "resources",
        "[found.name for found in importlib.resources.files('p').joinpath('resources').iterdir()]",
    ),
];

fn listers(world: &mut World) {
    let mut text = "import glob, importlib.resources, os, pathlib, pkgutil\n\
         here = os.path.dirname(__file__)\nVALUES = {}\n\
         def of_descriptor(path):\n\
         \x20   number = os.open(path, os.O_RDONLY)\n\
         \x20   try: return os.listdir(number)\n\
         \x20   finally: os.close(number)\n"
        .to_owned();
    for (name, expression) in LISTERS {
        text += &format!("path = here + '/{name}'\nVALUES['{name}'] = sorted({expression})\n");
        world.write(&format!("lib/p/{name}/one.py"), "old\n");
    }
    text +=
        "VALUES['missing'] = os.path.isdir(here + '/missing') and os.listdir(here + '/missing')\n";
    world.write("lib/p/walk/inner/two.py", "");
    world.write("lib/p/__init__.py", "");
    world.write("lib/p/lists.py", text);
    world.imports("import p.lists", "print(p.lists.VALUES)");
}

#[test]
fn directories_that_were_listed() {
    if !common::criu() {
        return;
    }
    let additions = LISTERS.map(|(name, _)| {
        let directory = format!("lib/p/{name}");
        move |w: &mut World| {
            w.unnoticed_in(&directory, |w| w.write(&format!("{directory}/new.py"), ""));
        }
    });
    let mut changes: Vec<Change<'_>> = vec![
        ("a file elsewhere", Says::Hit, &|w| w.write("lib/other.py", "")),
        ("a file in a directory beside", Says::Hit, &|w| w.write("lib/p/other/file.py", "")),
        ("the contents of a file in it", Says::Same, &|w| w.write("lib/p/listdir/one.py", "new")),
        ("a file added", Says::New, &|w| w.write("lib/p/scandir/new.py", "")),
        ("a file removed", Says::New, &|w| w.remove("lib/p/scandir/one.py")),
        ("a file renamed", Says::New, &|w| {
            w.rename("lib/p/listdir/one.py", "lib/p/listdir/eno.py");
        }),
        ("a file moved to and fro", Says::Same, &|w| {
            w.rename("lib/p/listdir/one.py", "lib/p/listdir/eno.py");
            w.rename("lib/p/listdir/eno.py", "lib/p/listdir/one.py");
        }),
        ("a file in an inner directory", Says::New, &|w| w.write("lib/p/walk/inner/new.py", "")),
        ("a directory exchanged", Says::New, &|w| {
            w.write("elsewhere/new.py", "");
            w.remove("lib/p/glob");
            w.rename("elsewhere", "lib/p/glob");
        }),
        ("a directory switched", Says::New, &|w| {
            w.write("elsewhere/new.py", "");
            w.rename("lib/p/iterdir", "old");
            w.link("../../elsewhere", "lib/p/iterdir");
        }),
        ("a directory that was not there", Says::New, &|w| w.write("lib/p/missing/new.py", "")),
    ];
    for ((name, _), addition) in LISTERS.iter().zip(&additions) {
        changes.push((name, Says::New, addition));
    }
    World::new().try_all(listers, &changes);
}

#[test]
fn the_working_directory_listed() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.imports("import m", "print(m.VALUE)");
    let setup = |w: &mut World| {
        w.write("cwd/one", "");
        w.write("other/two", "");
        w.write("lib/m.py", "import os; VALUE = sorted(os.listdir())\n");
    };
    world.try_all(
        setup,
        &[
            ("a file elsewhere", Says::Hit, &|w| w.write("other/three", "")),
            ("a file", Says::New, &|w| w.write("cwd/two", "")),
            ("another directory", Says::New, &|w| w.cwd = w.path("other")),
            ("a directory of the same contents", Says::Same, &|w| {
                w.write("same/one", "");
                w.cwd = w.path("same");
            }),
        ],
    );
}
