//! Extension modules, the libraries that they need, and the interpreter itself.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{self, IMAGE, Python, ground, pyimg, run};
use crate::tools::{compile, environment};
use crate::world::{Says, World};

/// A module `ext` with a value that is read once, and a function that is called later.
const EXTENSION: &str = r#"
#include <Python.h>
#ifdef LINKED
const char *value(void);
#else
static const char *value(void) { return VALUE; }
#endif
static PyObject *now(PyObject *self, PyObject *none) { return PyUnicode_FromString(value()); }
static PyMethodDef methods[] = {{"now", now, METH_NOARGS, ""}, {0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "ext", 0, -1, methods};
PyMODINIT_FUNC PyInit_ext(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module) PyModule_AddStringConstant(module, "VALUE", value());
    return module;
}
"#;

/// A library `value` that such a module may be linked to.
const LIBRARY: &str = "const char *value(void) { return VALUE; }\n";

/// The compiled files: of the same size, but for the value.
struct Objects {
    directory: PathBuf,
}

impl Objects {
    fn new(python: &Python) -> Option<Self> {
        let directory = ground().dir("objects");
        let at = |name: &str| directory.join(name);
        for value in ["old", "new"] {
            let define = format!("-DVALUE=\"{value}\"");
            if !compile(python, EXTENSION, &at(&format!("ext-{value}.so")), &[&define]) {
                return None;
            }
            let name = "-Wl,-soname,libvalue.so.1";
            compile(python, LIBRARY, &at(&format!("lib-{value}.so")), &[&define, name]);
        }
        fs::copy(at("lib-old.so"), at("libvalue.so")).unwrap();
        let search = format!("-L{}", directory.display());
        let paths = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/first:$ORIGIN/second";
        let linked = ["-DLINKED", &search, "-lvalue", paths];
        compile(python, EXTENSION, &at("ext-linked.so"), &linked);
        Some(Self { directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }
}

#[test]
fn extension_modules() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    let Some(objects) = Objects::new(&world.lab.python) else { return };
    let (major, minor) = world.lab.python.version;
    let tagged = format!("lib/ext.cpython-{major}{minor}-x86_64-linux-gnu.so");
    world.imports("import ext, low", "print(ext.VALUE, ext.now(), low.VALUE)");
    let setup = |w: &mut World| {
        w.put(&objects.path("ext-old.so"), "versions/1/ext.abi3.so");
        w.put(&objects.path("ext-new.so"), "versions/2/ext.abi3.so");
        w.link("../versions/1/ext.abi3.so", "lib/ext.abi3.so");
        w.write("lib/low.py", "VALUE = 'old'\n");
    };
    let new = || objects.read("ext-new.so");
    world.try_all(
        setup,
        &[
            ("another extension beside", Says::Hit, &|w| w.write("lib/other.abi3.so", "x")),
            ("the other version touched", Says::Hit, &|w| w.shift("versions/2/ext.abi3.so", 9)),
            ("edited in place", Says::New, &|w| w.write("versions/1/ext.abi3.so", new())),
            ("edited in place, the same size and time", Says::New, &|w| {
                w.write_unnoticed("versions/1/ext.abi3.so", new());
            }),
            ("replaced, the same size and time", Says::New, &|w| {
                w.replace_unnoticed("versions/1/ext.abi3.so", new());
            }),
            ("touched backwards", Says::Same, &|w| w.shift("versions/1/ext.abi3.so", -1000)),
            ("a link switched", Says::New, &|w| {
                w.link("../versions/2/ext.abi3.so", "lib/ext.abi3.so");
            }),
            ("removed", Says::New, &|w| w.remove("lib/ext.abi3.so")),
            ("one for this very version beside", Says::New, &|w| {
                w.put(&objects.path("ext-new.so"), &tagged);
            }),
            ("one that comes later beside", Says::Same, &|w| {
                w.put(&objects.path("ext-new.so"), "lib/ext.so");
            }),
            ("source beside, which comes later", Says::Same, &|w| {
                w.write("lib/ext.py", "VALUE = 'new'\n");
            }),
            ("a package beside", Says::New, &|w| {
                w.write("lib/ext/__init__.py", "VALUE = 'new'\ndef now(): return 'new'\n");
            }),
            ("an extension beside a module of source", Says::New, &|w| {
                // It has the wrong name inside, which is an error; but it comes first.
                w.put(&objects.path("ext-new.so"), "lib/low.so");
            }),
        ],
    );
}

#[test]
fn libraries_of_extension_modules() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    let Some(objects) = Objects::new(&world.lab.python) else { return };
    world.imports(
        "import ext, called",
        "print(ext.VALUE, ext.now(), called.VALUE, called.library.value().decode())",
    );
    let setup = |w: &mut World| {
        w.put(&objects.path("ext-linked.so"), "lib/ext.so");
        w.put(&objects.path("lib-old.so"), "lib/second/libvalue.so.1.0");
        w.put(&objects.path("lib-new.so"), "lib/second/libvalue.so.1.1");
        w.link("libvalue.so.1.0", "lib/second/libvalue.so.1");
        w.put(&objects.path("lib-old.so"), "lib/opened/libother.so");
        w.mkdir("lib/first");
        w.write(
            "lib/called.py",
            "import ctypes, os\n\
             library = ctypes.CDLL(os.path.dirname(__file__) + '/opened/libother.so')\n\
             library.value.restype = ctypes.c_char_p\n\
             VALUE = library.value().decode()\n",
        );
    };
    let new = || objects.read("lib-new.so");
    world.try_all(
        setup,
        &[
            ("another library beside", Says::Hit, &|w| w.write("lib/first/libother.so", "x")),
            ("edited in place, the same size and time", Says::New, &|w| {
                w.write_unnoticed("lib/second/libvalue.so.1.0", new());
            }),
            ("replaced, the same size and time", Says::New, &|w| {
                w.replace_unnoticed("lib/second/libvalue.so.1.0", new());
            }),
            ("a link switched to a newer one", Says::New, &|w| {
                w.link("libvalue.so.1.1", "lib/second/libvalue.so.1");
            }),
            ("one where the loader looks first", Says::New, &|w| {
                w.put(&objects.path("lib-new.so"), "lib/first/libvalue.so.1");
            }),
            ("one in a directory of the loader's that was not there", Says::New, &|w| {
                w.put(&objects.path("lib-new.so"), "elsewhere/libvalue.so.1");
                w.remove("lib/first");
                w.link("../elsewhere", "lib/first");
            }),
            ("one that ctypes opened, in place", Says::New, &|w| {
                w.write_unnoticed("lib/opened/libother.so", new());
            }),
            ("one that ctypes opened, replaced", Says::New, &|w| {
                w.replace_unnoticed("lib/opened/libother.so", new());
            }),
            ("removed", Says::New, &|w| w.remove("lib/second/libvalue.so.1")),
        ],
    );
}

const BEFORE: &[u8] = b"Copyright (c) 2001-";
const AFTER: &[u8] = b"Copyright (C) 2001-";

/// The interpreter's binary with something else in `sys.copyright`, if that is in it.
fn patched(binary: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(binary).unwrap();
    let at = bytes.windows(BEFORE.len()).position(|window| window == BEFORE)?;
    bytes[at..at + AFTER.len()].copy_from_slice(AFTER);
    Some(bytes)
}

/// The changes of a binary at this path in the tree, `new` being its other build.
fn try_binary(world: &mut World, name: &str, old: &Path, new: &[u8]) {
    world.imports("import json, sys", "print(sys.copyright.splitlines()[0])");
    world.try_all(
        |w| w.put(old, name),
        &[
            ("replaced", Says::New, &|w| {
                w.put(old, "new");
                w.write("new", new);
                w.rename("new", name);
            }),
            ("replaced, the same size and time", Says::New, &|w| {
                w.put(old, "new");
                w.write("new", new);
                w.touch("new", crate::world::modified(&w.path(name)));
                w.rename("new", name);
            }),
            ("edited in place, the same size and time", Says::New, &|w| {
                w.write_unnoticed(name, new);
            }),
            ("edited in place, and built again", Says::New, &|w| {
                w.write_unnoticed(name, new);
                // The hash of before must not be taken for this one's.
                run(pyimg(&w.lab.store).args(["rm", IMAGE])).success();
                w.try_build(&[]).success();
            }),
            ("replaced by the same", Says::Same, &|w| w.put(old, name)),
        ],
    );
}

#[test]
fn another_build_of_the_interpreter() {
    if !common::criu() {
        return;
    }
    let mut tried = false;
    for python in common::pythons() {
        let real = python.path.canonicalize().unwrap();
        let Some(new) = patched(&real) else { continue };
        let (inside, _) = environment(python, &[]);
        let mut world = World::of(inside.clone());
        fs::remove_file(&inside.path).unwrap();
        std::os::unix::fs::symlink(world.path("python"), &inside.path).unwrap();
        try_binary(&mut world, "python", &real, &new);
        // A file in the environment itself, as `venv --copies` makes it.
        let mut world = World::of(inside.clone());
        let name = inside.path.to_str().unwrap();
        fs::remove_file(name).unwrap();
        try_binary(&mut world, name, &real, &new);
        tried = true;
        break;
    }
    if !tried {
        println!("skipped: all interpreters are in libraries");
    }
}

#[test]
fn another_build_of_the_interpreters_library() {
    if !common::criu() {
        return;
    }
    let python = common::a_python();
    let (major, minor) = python.version;
    let code = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))";
    let directory = run(std::process::Command::new(&python.path).args(["-c", code]));
    let name = format!("libpython{major}.{minor}.so.1.0");
    let library = Path::new(directory.success().trim()).join(&name);
    let Some(new) = library.exists().then(|| patched(&library)).flatten() else {
        println!("skipped: no {}", library.display());
        return;
    };
    let mut world = World::of(python.clone());
    world.set("LD_LIBRARY_PATH", world.path("shared"));
    fs::create_dir_all(world.path("shared")).unwrap();
    try_binary(&mut world, &format!("shared/{name}"), &library, &new);
}
