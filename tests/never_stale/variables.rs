//! Environment variables that modules read while they are imported.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::common;
use crate::tools::compile;
use crate::world::{Says, World};

/// How a variable can be read: its name, and an expression for its value.
const READERS: [(&str, &str); 13] = [
    ("MY_GET", "os.environ.get('MY_GET')"),
    ("MY_ITEM", "os.environ['MY_ITEM'] if 'MY_ITEM' in os.environ else None"),
    ("MY_TRY", "tried('MY_TRY')"),
    ("MY_IN", "'MY_IN' in os.environ"),
    ("MY_GETENV", "os.getenv('MY_GETENV')"),
    ("MY_DEFAULT", "os.getenv('MY_DEFAULT', 'default')"),
    ("MY_BYTES", "os.environb.get(b'MY_BYTES')"),
    ("MY_BYTES_IN", "b'MY_BYTES_IN' in os.environb"),
    ("MY_GETENVB", "os.getenvb(b'MY_GETENVB')"),
    ("MY_EXPANDED", "os.path.expandvars('$MY_EXPANDED')"),
    ("MY_SETDEFAULT", "os.environ.setdefault('MY_SETDEFAULT', 'default')"),
    ("MY_C", "c_getenv(b'MY_C')"),
    ("MY_FROM", "get('MY_FROM')"),
];

const HEAD: &str = "\
import ctypes, os
from os import environ
get = environ.get
def tried(name):
    try: return os.environ[name]
    except KeyError: return None
def c_getenv(name):
    c = ctypes.CDLL(None)
    c.getenv.restype = ctypes.c_char_p
    return c.getenv(name)
VALUES = {}
";

fn readers(world: &mut World) {
    let mut text = HEAD.to_owned();
    for (name, expression) in READERS {
        text += &format!("VALUES['{name}'] = {expression}\n");
    }
    world.write("lib/m.py", text);
    world.imports("import m", "print(m.VALUES)");
}

#[test]
fn variables_that_were_read() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    readers(&mut world);
    // Built where none is set, and where all are.
    for set in [false, true] {
        if set {
            READERS.iter().for_each(|(name, _)| world.set(name, "old"));
        }
        world.build();
        let back = |w: &mut World, name: &str| if set { w.set(name, "old") } else { w.unset(name) };
        world.try_next(&[
            ("one that nobody reads", Says::Hit, &|w| w.set("MY_UNREAD", "1")),
            ("that one changed", Says::Hit, &|w| w.set("MY_UNREAD", "2")),
            ("one of almost that name", Says::Hit, &|w| w.set("MY_GE", "1")),
            ("the shell's", Says::Hit, &|w| w.set("_", "1")),
            ("the shell's level", Says::Hit, &|w| w.set("SHLVL", "7")),
            ("the terminal's size", Says::Hit, &|w| w.set("COLUMNS", "7")),
            ("the terminal", Says::Hit, &|w| w.set("SSH_TTY", "/dev/pts/7")),
        ]);
        for (name, _) in READERS {
            // To be there at all is all that these tell.
            let by_presence = name.ends_with("_IN");
            let says = |news: bool| if news { Says::New } else { Says::Same };
            world.try_next(&[
                (&format!("{name} changed"), says(!(set && by_presence)), &|w| w.set(name, "new")),
                (&format!("{name} emptied"), says(!by_presence), &|w| w.set(name, "")),
                (&format!("{name} unset"), says(true), &|w| w.unset(name)),
                (&format!("{name} as it was"), says(set), &|w| back(w, name)),
            ]);
        }
        // As at the build again.
        world.try_next(&[("one that nobody reads", Says::Hit, &|w| w.set("MY_UNREAD", "3"))]);
    }
    world.finish();
}

#[test]
fn the_whole_environment_is_read() {
    if !common::criu() {
        return;
    }
    for expression in [
        "dict(os.environ)",
        "dict(os.environ.items())",
        "os.environ.copy()",
        "{name: os.environ[name] for name in os.environ}",
        "{os.fsdecode(n): os.fsdecode(v) for n, v in os.environb.items()}",
        "os.environ | {}",
    ] {
        let mut world = World::new();
        world.write(
            "lib/m.py",
            format!(
                "import os\n\
                 VALUE = {{n: v for n, v in ({expression}).items() if n.startswith('MY_')}}\n"
            ),
        );
        world.imports("import m", "print(sorted(m.VALUE.items()))");
        world.set("MY_FIRST", "1");
        world.build();
        let what = |change: &str| format!("{expression}: {change}");
        world.try_next(&[
            (&what("the shell's"), Says::Hit, &|w| w.set("_", "/usr/bin/other")),
            (&what("set"), Says::New, &|w| w.set("MY_SECOND", "1")),
            (&what("as at first"), Says::New, &|w| w.unset("MY_SECOND")),
            (&what("changed"), Says::New, &|w| w.set("MY_FIRST", "2")),
            (&what("unset"), Says::New, &|w| w.unset("MY_FIRST")),
        ]);
        world.finish();
    }
}

#[test]
fn what_os_environ_is_made_from() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.write("lib/m.py", "import posix; VALUE = posix.environ.get(b'MY_POSIX')\n");
    world.imports("import m", "print(m.VALUE)");
    world.build();
    world.try_next(&[("set", Says::New, &|w| w.set("MY_POSIX", "new"))]);
    world.finish();
}

#[test]
fn variables_behind_functions() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.write(
        "lib/m.py",
        "import os, shutil, tempfile, getpass, locale, webbrowser\n\
         VALUES = [os.path.expanduser('~'), tempfile.gettempdir(), shutil.which('tool'), \
         getpass.getuser()]\n",
    );
    for name in ["home", "temporary", "tools"] {
        world.mkdir(name);
    }
    world.write("tools/tool", "#!/bin/sh\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(world.path("tools/tool"), mode).unwrap();
    world.imports("import m", "print(m.VALUES)");
    world.set("LOGNAME", "me");
    world.build();
    let back = |w: &mut World, name: &str| w.unset(name);
    world.try_next(&[
        ("another variable", Says::Hit, &|w| w.set("MY_UNREAD", "1")),
        ("HOME", Says::New, &|w| w.set("HOME", w.path("home"))),
        ("HOME as it was", Says::New, &|w| back(w, "HOME")),
        ("TMPDIR", Says::New, &|w| w.set("TMPDIR", w.path("temporary"))),
        ("TMPDIR as it was", Says::New, &|w| back(w, "TMPDIR")),
        ("PATH", Says::New, &|w| {
            let path = format!("{}:/usr/bin:/bin", w.path("tools").display());
            w.set("PATH", path);
        }),
        ("PATH as it was", Says::New, &|w| back(w, "PATH")),
        ("LOGNAME", Says::New, &|w| w.set("LOGNAME", "somebody")),
        ("LOGNAME as it was", Says::New, &|w| w.set("LOGNAME", "me")),
        ("another variable", Says::Hit, &|w| w.set("MY_UNREAD", "2")),
    ]);
    world.finish();
}

#[test]
fn variables_that_an_extension_reads() {
    if !common::criu() {
        return;
    }
    let source = r#"
#define _GNU_SOURCE
#include <Python.h>
#include <stdlib.h>
extern char **environ;
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "ext", 0, -1, 0};
PyMODINIT_FUNC PyInit_ext(void) {
    PyObject *module = PyModule_Create(&definition);
    const char *get = getenv("MY_GET"), *secure = secure_getenv("MY_SECURE");
    const char *found = "none";
    PyModule_AddStringConstant(module, "GET", get ? get : "none");
    PyModule_AddStringConstant(module, "SECURE", secure ? secure : "none");
#ifdef WALKS
    for (char **entry = environ; *entry; entry++)
        if (!strncmp(*entry, "MY_WALKED=", 10)) found = *entry;
#endif
    PyModule_AddStringConstant(module, "WALKED", found);
    return module;
}
"#;
    let mut world = World::new();
    let object = common::ground().no_file("ext.so");
    if !compile(&world.lab.python, source, &object, &[]) {
        return;
    }
    world.put(&object, "lib/ext.so");
    world.imports("import ext", "print(ext.GET, ext.SECURE)");
    world.build();
    world.try_next(&[
        ("another variable", Says::Hit, &|w| w.set("MY_UNREAD", "1")),
        ("getenv", Says::New, &|w| w.set("MY_GET", "new")),
        ("getenv as it was", Says::New, &|w| w.unset("MY_GET")),
        ("secure_getenv", Says::New, &|w| w.set("MY_SECURE", "new")),
        ("secure_getenv as it was", Says::New, &|w| w.unset("MY_SECURE")),
        ("another variable", Says::Hit, &|w| w.set("MY_UNREAD", "2")),
    ]);
    world.finish();
}

#[test]
fn variables_of_numpy() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    if !world.lab.python.numpy {
        println!("skipped: no numpy");
        return;
    }
    // With one processor there is one thread, whatever is asked for.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let seen = if processors > 1 { Says::New } else { Says::Any };
    world.imports("import numpy", "import os; print(len(os.listdir('/proc/self/task')))");
    world.build();
    world.try_next(&[
        ("another variable", Says::Hit, &|w| w.set("MY_UNREAD", "1")),
        ("OMP_NUM_THREADS", seen, &|w| w.set("OMP_NUM_THREADS", "1")),
        ("OMP_NUM_THREADS as it was", seen, &|w| w.unset("OMP_NUM_THREADS")),
        ("OPENBLAS_NUM_THREADS", seen, &|w| w.set("OPENBLAS_NUM_THREADS", "1")),
        ("OPENBLAS_NUM_THREADS as it was", seen, &|w| w.unset("OPENBLAS_NUM_THREADS")),
        ("another variable", Says::Hit, &|w| w.set("MY_UNREAD", "2")),
    ]);
    world.finish();
}

/// Values that are hard to write down, or look alike where they are written with loss.
#[test]
fn strange_values() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.write(
        "lib/m.py",
        "import os\nVALUES = os.environb.get(b'MY_BYTES'), os.environ.get('MY_NAME\u{e4} x'), \
         len(os.environ.get('MY_LONG', ''))\n",
    );
    world.imports("import m", "print(m.VALUES)");
    world.set("MY_BYTES", OsStr::from_bytes(b"\xff\n=\"\\"));
    world.set("MY_NAME\u{e4} x", "old");
    world.set("MY_LONG", "x".repeat(100_000));
    world.build();
    world.try_next(&[
        ("another variable", Says::Hit, &|w| w.set("MY_UNREAD", OsStr::from_bytes(b"\xff\n"))),
        ("another byte", Says::New, &|w| w.set("MY_BYTES", OsStr::from_bytes(b"\xfe\n=\"\\"))),
        ("cut off", Says::New, &|w| w.set("MY_BYTES", OsStr::from_bytes(b"\xff"))),
        ("as it was", Says::New, &|w| w.set("MY_BYTES", OsStr::from_bytes(b"\xff\n=\"\\"))),
        ("another variable", Says::Hit, &|w| w.set("MY_UNREAD", "")),
        ("a strange name", Says::New, &|w| w.set("MY_NAME\u{e4} x", "new")),
        ("as it was", Says::New, &|w| w.set("MY_NAME\u{e4} x", "old")),
        ("a long value", Says::New, &|w| w.set("MY_LONG", "x".repeat(100_001))),
        ("as it was", Says::New, &|w| w.set("MY_LONG", "x".repeat(100_000))),
        ("another variable", Says::Hit, &|w| w.set("MY_UNREAD", "2")),
    ]);
    world.finish();
}
