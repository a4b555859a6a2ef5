//! Packages that are installed: by pip, by hand, and what `site` reads of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{self, Python, ground, run};
use crate::tools::{environment, pip, wheel};
use crate::world::{Says, World};

#[test]
fn upgrades_and_downgrades_by_pip() {
    if !common::criu() {
        return;
    }
    let base = common::a_python();
    let (python, _) = environment(base, &[]);
    let wheels = ground().dir("wheels");
    let thing = |value: &str| {
        [
            ("thing/__init__.py".to_owned(), "from .inner import VALUE\ntry: import extra; EXTRA = extra.VALUE\nexcept ImportError: EXTRA = 'none'\n".to_owned()),
            ("thing/inner.py".to_owned(), format!("VALUE = '{value}'\n")),
        ]
    };
    for (version, value) in [("1.0", "old"), ("2.0", "new")] {
        let files = thing(value);
        let files = files.each_ref().map(|(path, text)| (path.as_str(), text.as_str()));
        wheel(&wheels, "thing", version, &files);
    }
    wheel(&wheels, "extra", "1.0", &[("extra.py", "VALUE = 'extra'\n")]);
    wheel(&wheels, "another", "1.0", &[("another/__init__.py", "")]);
    if !pip(base, &python, &wheels, &["install", "thing==1.0"]) {
        return;
    }
    let pip = |arguments: &[&str]| assert!(pip(base, &python, &wheels, arguments));
    let mut world = World::of(python.clone());
    world.unset("PYTHONPATH");
    world.imports("import thing", "print(thing.VALUE, thing.EXTRA)");
    world.build();
    assert!(world.run().is_hit());
    // Without being forced, a build sees what a run sees.
    let renew = |w: &mut World| drop(w.try_build(&[]).success());
    world.try_next(&[
        ("another package", Says::Hit, &|_| pip(&["install", "another"])),
        ("the other package removed", Says::Hit, &|_| pip(&["uninstall", "-y", "another"])),
        ("an upgrade", Says::New, &|_| pip(&["install", "thing==2.0"])),
        ("built again", Says::Hit, &renew),
        ("a downgrade", Says::New, &|_| pip(&["install", "thing==1.0"])),
        ("built again", Says::Hit, &renew),
        ("installed again", Says::Same, &|_| {
            pip(&["install", "--force-reinstall", "--no-compile", "thing==1.0"]);
        }),
        ("built again", Says::Hit, &renew),
        ("an optional package", Says::New, &|_| pip(&["install", "extra"])),
        ("built again", Says::Hit, &renew),
        ("the optional package removed", Says::New, &|_| pip(&["uninstall", "-y", "extra"])),
        ("removed", Says::New, &|_| pip(&["uninstall", "-y", "thing"])),
    ]);
    world.finish();
}

/// An environment for each tree, since `site-packages` is changed; the tree's `site` leads
/// there.
fn with_site(python: &Python, site: &Path) -> World {
    let world = World::of(python.clone());
    fs::remove_dir_all(site).unwrap();
    std::os::unix::fs::symlink(world.path("site"), site).unwrap();
    world
}

#[test]
fn metadata_of_what_is_installed() {
    if !common::criu() {
        return;
    }
    let (python, site) = environment(common::a_python(), &[]);
    let mut world = with_site(&python, &site);
    world.imports("import m", "print(m.VALUES)");
    let plugin = |w: &World, name: &str, version: &str, points: &str| {
        let info = format!("site/{name}-{version}.dist-info");
        w.write(&format!("{info}/METADATA"), format!("Name: {name}\nVersion: {version}\n"));
        w.write(&format!("{info}/entry_points.txt"), format!("[app.plugins]\n{points}\n"));
    };
    let setup = |w: &mut World| {
        plugin(w, "one", "1.0", "one = one:main");
        w.mkdir("lib");
        w.write(
            "lib/m.py",
            "from importlib import metadata\n\
             points = [p for d in metadata.distributions() for p in d.entry_points]\n\
             VALUES = [sorted(p.name for p in points if p.group == 'app.plugins'), \
             metadata.version('one'), sorted({d.metadata['Name'] for d in metadata.distributions()})]\n\
             try: VALUES.append(metadata.version('two'))\n\
             except metadata.PackageNotFoundError: VALUES.append('none')\n",
        );
    };
    world.try_all(
        setup,
        &[
            ("a file elsewhere", Says::Hit, &|w| w.write("other/file", "")),
            ("a plugin installed", Says::New, &|w| plugin(w, "two", "1.0", "two = two:main")),
            ("a plugin installed, the directory's time kept", Says::New, &|w| {
                w.unnoticed_in("site", |w| plugin(w, "two", "1.0", "two = two:main"));
            }),
            ("a plugin on the path", Says::New, &|w| {
                w.write("lib/three.egg-info/PKG-INFO", "Name: three\nVersion: 1\n");
            }),
            ("a plugin changed, the same size and time", Says::New, &|w| {
                let path = "site/one-1.0.dist-info/entry_points.txt";
                w.write_unnoticed(path, "[app.plugins]\neno = one:main\n");
            }),
            ("an upgrade", Says::New, &|w| {
                w.rename("site/one-1.0.dist-info", "site/one-2.0.dist-info");
                w.replace("site/one-2.0.dist-info/METADATA", "Name: one\nVersion: 2.0\n");
            }),
            ("a version changed, the same size and time", Says::New, &|w| {
                let text = "Name: one\nVersion: 2.0\n";
                w.write_unnoticed("site/one-1.0.dist-info/METADATA", text);
            }),
            ("removed", Says::New, &|w| w.remove("site/one-1.0.dist-info")),
        ],
    );
}

#[test]
fn files_that_extend_the_path() {
    if !common::criu() {
        return;
    }
    let (python, site) = environment(common::a_python(), &[]);
    // Debian's Python has one of its own, found before those in site-packages.
    let loaded = "import sys; print('sitecustomize' in sys.modules)";
    let loaded = run(Command::new(&python.path).args(["-I", "-c", loaded])).success();
    let customized = if loaded == "True\n" { Says::Same } else { Says::New };
    let mut world = with_site(&python, &site);
    world.imports(
        "import m",
        "import sys\nprint(m.VALUE, *[p.rpartition('/')[2] for p in sys.path[1:]])\n\
         print(sorted(set(sys.modules) & {'startup', 'sitecustomize', 'usercustomize'}))",
    );
    let setup = |w: &mut World| {
        let root = w.root.display().to_string();
        for (version, value) in [("1", "old"), ("2", "new")] {
            w.write(&format!("projects/{version}/m.py"), format!("VALUE = '{value}'\n"));
        }
        w.write("site/startup.py", "");
        w.write("site/project.pth", format!("{root}/projects/1\n{root}/projects/later\n"));
        w.write("site/installed.py", "");
        w.mkdir("lib");
    };
    let root = world.root.display().to_string();
    world.try_all(
        setup,
        &[
            ("a package", Says::Hit, &|w| w.write("site/another/__init__.py", "")),
            ("its metadata", Says::Hit, &|w| w.write("site/another-1.0.dist-info/METADATA", "")),
            ("a module of the project", Says::Hit, &|w| w.write("projects/1/other.py", "")),
            ("edited", Says::New, &|w| {
                w.write("site/project.pth", format!("{root}/projects/2\n"));
            }),
            ("edited, the same size and time", Says::New, &|w| {
                w.write_unnoticed(
                    "site/project.pth",
                    format!("{root}/projects/2\n{root}/projects/later\n"),
                );
            }),
            ("replaced, the same size and time", Says::New, &|w| {
                w.replace_unnoticed(
                    "site/project.pth",
                    format!("{root}/projects/2\n{root}/projects/later\n"),
                );
            }),
            ("a directory that it names comes", Says::New, &|w| w.mkdir("projects/later")),
            ("a directory that it names goes", Says::New, &|w| w.remove("projects/1")),
            ("another one", Says::New, &|w| {
                w.write("site/before.pth", format!("{root}/projects/2\n"));
            }),
            ("another one, the directory's time kept", Says::New, &|w| {
                w.unnoticed_in("site", |w| {
                    w.write("site/before.pth", format!("{root}/projects/2\n"));
                });
            }),
            ("one that runs code", Says::New, &|w| {
                w.write("site/code.pth", "import startup\n");
            }),
            ("removed", Says::New, &|w| w.remove("site/project.pth")),
            ("renamed", Says::New, &|w| w.rename("site/project.pth", "site/project.old")),
            ("sitecustomize", customized, &|w| w.write("site/sitecustomize.py", "")),
            ("sitecustomize on the path", Says::New, &|w| {
                w.write("lib/sitecustomize.py", "import startup\n");
            }),
            ("sitecustomize as a package", customized, &|w| {
                w.write("site/sitecustomize/__init__.py", "");
            }),
            ("the project switched", Says::New, &|w| {
                w.rename("projects/1", "projects/0");
                w.link("2", "projects/1");
            }),
        ],
    );
}

#[test]
fn settings_of_the_environment() {
    if !common::criu() {
        return;
    }
    let (python, site) = environment(common::a_python(), &[]);
    let mut world = World::of(python.clone());
    let settings = site.ancestors().nth(3).unwrap().join("pyvenv.cfg");
    let (settings, original) =
        (settings.to_str().unwrap().to_owned(), fs::read_to_string(&settings).unwrap());
    world.imports(
        "import json",
        "import site, sys; print(site.ENABLE_USER_SITE, len(sys.path), sys.prefix, sys.base_prefix)",
    );
    let open = || original.replace("system-site-packages = false", "system-site-packages = true");
    world.try_all(
        |w| {
            w.write(&settings, &original);
            // The user's own packages count only where the environment lets them in.
            w.mkdir("lib");
        },
        &[
            ("a file beside", Says::Hit, &|w| w.write(&format!("{settings}.old"), "")),
            ("edited", Says::New, &|w| w.write(&settings, open())),
            ("edited, the same size and time", Says::New, &|w| {
                w.write_unnoticed(&settings, open().replace("= true", "=  true"));
            }),
            ("replaced, the same size and time", Says::New, &|w| {
                w.replace_unnoticed(&settings, open().replace("= true", "=  true"));
            }),
            ("touched backwards", Says::Same, &|w| w.shift(&settings, -1000)),
            ("removed", Says::New, &|w| w.remove(&settings)),
        ],
    );
}

#[test]
fn packages_of_the_user() {
    if !common::criu() {
        return;
    }
    // Where the environment lets them in.
    let (python, _) = environment(common::a_python(), &["--system-site-packages"]);
    let (major, minor) = python.version;
    let site = format!("home/.local/lib/python{major}.{minor}/site-packages");
    let mut world = World::of(python);
    world.imports(
        "import json, m",
        "import sys; print(m.VALUE, len(sys.path), 'usercustomize' in sys.modules)",
    );
    let absent = |w: &mut World| {
        w.set("HOME", w.path("home"));
        w.mkdir("home");
        w.write(
            "lib/m.py",
            "try: import extra; VALUE = extra.VALUE\nexcept ImportError: VALUE = 'none'\n",
        );
    };
    let present = |w: &mut World| {
        absent(w);
        w.write(&format!("{site}/installed.py"), "");
    };
    let variables = world.variables.clone();
    world.try_all(
        absent,
        &[
            ("a file in the home", Says::Hit, &|w| w.write("home/file", "")),
            ("another home", Says::New, &|w| {
                w.write(&format!("other/{site}/extra.py"), "VALUE = 'extra'\n");
                w.set("HOME", w.path("other/home"));
            }),
            ("the first package", Says::New, &|w| {
                w.write(&format!("{site}/extra.py"), "VALUE = 'extra'\n");
            }),
            ("the first package, unrelated", Says::New, &|w| {
                w.write(&format!("{site}/other.py"), "")
            }),
        ],
    );
    world.variables = variables;
    world.try_all(
        present,
        &[
            ("another package", Says::Hit, &|w| w.write(&format!("{site}/other.py"), "")),
            ("one that was looked for", Says::New, &|w| {
                w.write(&format!("{site}/extra.py"), "VALUE = 'extra'\n");
            }),
            ("usercustomize", Says::New, &|w| w.write(&format!("{site}/usercustomize.py"), "")),
            ("a .pth file", Says::New, &|w| w.write(&format!("{site}/x.pth"), "/usr\n")),
        ],
    );
}

/// What runs before any recipe does reads files and variables as well.
/// Of what such code looks at, files are seen, but not variables and directories: README says so.
#[test]
fn code_that_runs_at_the_start() {
    if !common::criu() {
        return;
    }
    let (python, site) = environment(common::a_python(), &[]);
    let mut world = with_site(&python, &site);
    world.imports(
        "import json",
        "import sitecustomize as s, startup; print(s.VALUES, startup.VALUES)",
    );
    let setup = |w: &mut World| {
        let root = w.root.display();
        let text = |data: &str, variable: &str| {
            format!(
                "import os\nVALUES = [open('{root}/{data}').read(), os.environ.get('{variable}')]\n"
            )
        };
        // On the path, before the one that Debian's Python has.
        w.write("lib/sitecustomize.py", text("site-data", "MY_SITE"));
        w.write("site/startup.py", text("start-data", "MY_START"));
        w.write("site/startup.pth", "import startup\n");
        for name in ["site-data", "start-data"] {
            w.write(name, "old");
        }
    };
    world.try_all(
        setup,
        &[
            ("a package", Says::Hit, &|w| w.write("site/another.py", "")),
            ("another variable", Says::Hit, &|w| w.set("MY_UNREAD", "1")),
            ("data of sitecustomize", Says::New, &|w| w.write_unnoticed("site-data", "new")),
            ("data of a .pth file", Says::New, &|w| w.write_unnoticed("start-data", "new")),
            ("a module that a .pth file runs", Says::New, &|w| {
                w.replace_unnoticed("site/startup.py", "VALUES = 'new'\n");
            }),
        ],
    );
}
