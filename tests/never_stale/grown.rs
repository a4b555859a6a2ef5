//! Images that grow from others, and images that are asked for by name.

use crate::common::{self, IMAGE, pyimg, run};
use crate::world::{Says, World};

/// A module that the parent holds, and one that is added.
fn setup(world: &mut World) {
    world.write("lib/data", "old");
    world.write(
        "lib/m.py",
        "import os\nVALUE = open(os.path.dirname(__file__) + '/data').read()\n\
         CHOSEN = os.environ.get('MY_CHOICE')\n",
    );
    world.write("lib/n.py", "import m\nVALUE = m.VALUE\n");
    world.imports("import m, n", "print(m.VALUE, n.VALUE, m.CHOSEN)");
}

/// Lets an image `grown` grow from the one of `m`; false if that is refused.
fn grow(world: &World) -> bool {
    let mut command = pyimg(&world.lab.store);
    command.args(["build", "--force", "--from", IMAGE, "--name", "grown", "import n"]);
    command.arg("--python").arg(&world.lab.python.path);
    let variables = world.variables.iter().map(|(name, value)| (name, value));
    run(command.envs(variables).current_dir(&world.cwd)).code() == 0
}

#[test]
fn images_that_have_grown() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.try_all(
        |w| {
            setup(w);
            w.recipe = "import m".into();
            w.build();
            assert!(grow(w));
            // The parent goes, so that no run can take that.
            run(pyimg(&w.lab.store).args(["rm", IMAGE])).success();
            w.recipe = "import json".into();
        },
        &[
            ("another file", Says::Hit, &|w| w.write("lib/other", "")),
            ("data that the parent read", Says::New, &|w| w.write_unnoticed("lib/data", "new")),
            ("a module of the parent", Says::New, &|w| {
                w.replace("lib/m.py", "VALUE = CHOSEN = 1\n")
            }),
            ("a module of its own", Says::New, &|w| w.replace("lib/n.py", "VALUE = 'newer'\n")),
            ("a variable that the parent read", Says::New, &|w| w.set("MY_CHOICE", "new")),
        ],
    );
}

/// What has changed since the parent was built is not made good by growing.
#[test]
fn images_that_grow_from_what_is_stale() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    let grown = |w: &mut World| {
        grow(w);
    };
    world.try_all(
        |w| {
            setup(w);
            w.recipe = "import m".into();
        },
        &[
            ("data that the parent read", Says::New, &|w| {
                w.write_unnoticed("lib/data", "new");
                grown(w);
            }),
            ("a module of the parent", Says::New, &|w| {
                w.replace("lib/m.py", "VALUE = CHOSEN = 'newer'\n");
                grown(w);
            }),
            ("a variable that the parent read", Says::New, &|w| {
                w.set("MY_CHOICE", "new");
                grown(w);
            }),
            ("a variable, set and unset", Says::Same, &|w| {
                w.set("MY_CHOICE", "new");
                grown(w);
                w.unset("MY_CHOICE");
            }),
        ],
    );
}

/// Who names an image wants it, but nothing stale.
#[test]
fn images_that_are_asked_for() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.set("PYIMG_IMAGE", IMAGE);
    world.try_all(
        setup,
        &[
            ("another file", Says::Hit, &|w| w.write("lib/other", "")),
            ("data", Says::New, &|w| w.write_unnoticed("lib/data", "new")),
            ("a module", Says::New, &|w| w.replace("lib/m.py", "VALUE = CHOSEN = 'newer'\n")),
            ("a variable", Says::New, &|w| w.set("MY_CHOICE", "new")),
            ("in front", Says::New, &|w| w.write("cwd/n.py", "VALUE = 'new'\n")),
        ],
    );
}

/// Where the best image is stale, another one that is not may serve.
#[test]
fn another_image_serves() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.try_all(
        |w| {
            setup(w);
            w.recipe = "import m".into();
            w.build();
            assert!(grow(w));
        },
        &[
            ("another file", Says::Hit, &|w| w.write("lib/other", "")),
            ("a module of the best", Says::New, &|w| w.replace("lib/n.py", "VALUE = 'newer'\n")),
            ("data of both", Says::New, &|w| w.write_unnoticed("lib/data", "new")),
        ],
    );
}
