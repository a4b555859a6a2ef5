//! Files that modules read while they are imported, and those that they ask for.

use std::os::unix::ffi::OsStrExt as _;

use crate::common;
use crate::tools::compile;
use crate::world::{Change, Says, World};

/// How a file can be read: a name for it, and an expression for its contents as text, where
/// `path` is the file.
const READERS: [(&str, &str); 16] = [
    ("open", "open(path).read()"),
    ("open_bytes", "open(path, 'rb', buffering=0).read().decode()"),
    ("open_bytes_name", "open(os.fsencode(path)).read()"),
    ("open_in_directory", "in_directory(path)"),
    ("pathlib", "pathlib.Path(path).read_text()"),
    ("io_open", "io.FileIO(path).readall().decode()"),
    ("io_open_code", "io.open_code(path).read().decode()"),
    ("os_open", "contents(os.open(path, os.O_RDONLY))"),
    ("mmap", "mapped(path)"),
    ("resources", "importlib.resources.files('p').joinpath('data/resources').read_text()"),
    ("get_data", "pkgutil.get_data('p', 'data/get_data').decode()"),
    ("linecache", "''.join(linecache.getlines(path))"),
    ("fileinput", "text_of(fileinput.input([path]))"),
    ("relative", "open(os.path.relpath(path)).read()"),
    ("c_fopen", "c_fopen(path)"),
    ("c_open", "c_open(path)"),
];

const HEAD: &str = "\
import ctypes, fileinput, importlib.resources, io, linecache, mmap, os, pathlib, pkgutil
def contents(number):
    try: return os.read(number, 99).decode()
    finally: os.close(number)
def text_of(lines):
    with lines: return ''.join(lines)
def in_directory(path):
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    try: return contents(os.open(os.path.basename(path), os.O_RDONLY, dir_fd=directory))
    finally: os.close(directory)
def mapped(path):
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
        return memory[:].decode()
def c_fopen(path):
    c = ctypes.CDLL(None)
    c.fopen.restype = ctypes.c_void_p
    file = c.fopen(path.encode(), b'r')
    buffer = ctypes.create_string_buffer(99)
    c.fread(buffer, 1, 98, ctypes.c_void_p(file))
    c.fclose(ctypes.c_void_p(file))
    return buffer.value.decode()
def c_open(path):
    c = ctypes.CDLL(None)
    number = c.open(path.encode(), 0)
    buffer = ctypes.create_string_buffer(99)
    c.read(number, buffer, 98)
    c.close(number)
    return buffer.value.decode()
here = os.path.dirname(__file__)
VALUES = {}
";

fn readers(world: &mut World) {
    let mut text = HEAD.to_owned();
    for (name, expression) in READERS {
        text += &format!("path = here + '/data/{name}'\nVALUES['{name}'] = {expression}\n");
        world.write(&format!("lib/p/data/{name}"), "old\n");
    }
    world.write("lib/p/__init__.py", "");
    world.write("lib/p/reads.py", text);
    world.write("lib/p/data/unread", "old\n");
    world.imports("import p.reads", "print(p.reads.VALUES)");
}

#[test]
fn files_that_were_read() {
    if !common::criu() {
        return;
    }
    let names = READERS.map(|(name, _)| format!("lib/p/data/{name}"));
    let edits = names.each_ref().map(|name| move |w: &mut World| w.write_unnoticed(name, "new\n"));
    let mut changes: Vec<Change<'_>> = vec![
        ("a file beside", Says::Hit, &|w| w.write("lib/p/data/other", "x")),
        ("a file that nobody read", Says::Hit, &|w| w.write("lib/p/data/unread", "new\n")),
        ("a file touched elsewhere", Says::Hit, &|w| w.write("cwd/other", "new\n")),
        ("edited", Says::New, &|w| w.write("lib/p/data/open", "newer\n")),
        ("replaced, the same size and time", Says::New, &|w| {
            w.replace_unnoticed("lib/p/data/pathlib", "new\n");
        }),
        ("removed", Says::New, &|w| w.remove("lib/p/data/open")),
        ("a link in its place", Says::New, &|w| {
            w.write("elsewhere", "new\n");
            w.link("../../../elsewhere", "lib/p/data/os_open");
        }),
        ("touched", Says::Same, &|w| w.shift("lib/p/data/open", -9)),
    ];
    for ((name, _), edit) in READERS.iter().zip(&edits) {
        changes.push((name, Says::New, edit));
    }
    World::new().try_all(readers, &changes);
}

#[test]
fn files_behind_links() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.imports("import m", "print(m.VALUE, m.TARGET)");
    let setup = |w: &mut World| {
        w.write("releases/1/data", "old");
        w.write("releases/2/data", "new");
        w.link("1", "releases/stable");
        w.link("releases/stable", "current");
        w.link("releases/1/data", "noted");
        let text = "import os; root = os.path.dirname(os.path.dirname(__file__)); \
             VALUE = open(root + '/current/data').read(); TARGET = os.readlink(root + '/noted')";
        w.write("lib/m.py", text);
    };
    world.try_all(
        setup,
        &[
            ("the first link switched", Says::New, &|w| w.link("releases/2", "current")),
            ("the second link switched", Says::New, &|w| w.link("2", "releases/stable")),
            ("the directory renamed", Says::New, &|w| {
                w.rename("releases/1", "releases/0");
                w.rename("releases/2", "releases/1");
            }),
            ("a link that was read", Says::New, &|w| w.link("releases/2/data", "noted")),
            ("a link to the same, made anew", Says::Same, &|w| {
                w.link("releases/stable", "current")
            }),
        ],
    );
}

#[test]
fn files_that_were_not_there() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.imports("import m", "print(m.VALUES)");
    let setup = |w: &mut World| {
        w.mkdir("etc");
        w.write(
            "lib/m.py",
            "import configparser, os, pathlib\n\
             etc = os.path.dirname(os.path.dirname(__file__)) + '/etc/'\n\
             def read(name):\n\
             \x20   try:\n        return open(etc + name).read()\n\
             \x20   except OSError as error:\n        return error.strerror\n\
             config = configparser.ConfigParser()\n\
             config.read([etc + 'a.ini', etc + 'b.ini'])\n\
             VALUES = [read('open'), read('sub/open'), config.sections()]\n",
        );
    };
    world.try_all(
        setup,
        &[
            ("another file", Says::Hit, &|w| w.write("etc/other", "x")),
            ("created", Says::New, &|w| w.write("etc/open", "new")),
            ("created, the directory's time kept", Says::New, &|w| {
                w.unnoticed_in("etc", |w| w.write("etc/open", "new"));
            }),
            ("created in a new directory", Says::New, &|w| w.write("etc/sub/open", "new")),
            ("one of several", Says::New, &|w| w.write("etc/b.ini", "[new]\n")),
            ("a link to another", Says::New, &|w| {
                w.write("elsewhere", "new");
                w.link("../elsewhere", "etc/open");
            }),
            ("a directory of that name", Says::New, &|w| w.mkdir("etc/open")),
        ],
    );
}

#[test]
fn files_that_were_asked_for() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.imports("import m", "print(m.VALUES)");
    let setup = |w: &mut World| {
        w.write("etc/size", "12");
        w.write("etc/time", "12");
        // The same in every tree, for the program tells it.
        w.touch("etc/time", std::time::SystemTime::UNIX_EPOCH);
        w.write("etc/there", "");
        w.write(
            "lib/m.py",
            "import os, pathlib\n\
             etc = os.path.dirname(os.path.dirname(__file__)) + '/etc/'\n\
             VALUES = [os.path.exists(etc + 'exists'), os.path.isfile(etc + 'isfile'), \
             os.path.isdir(etc + 'isdir'), pathlib.Path(etc + 'pathlib').exists(), \
             os.access(etc + 'access', os.R_OK), os.path.lexists(etc + 'lexists'), \
             os.path.exists(etc + 'there'), \
             os.path.getsize(etc + 'size'), os.stat(etc + 'time').st_mtime_ns]\n",
        );
    };
    world.try_all(
        setup,
        &[
            ("another file", Says::Hit, &|w| w.write("etc/other", "x")),
            ("os.path.exists", Says::New, &|w| w.write("etc/exists", "")),
            ("os.path.isfile", Says::New, &|w| w.write("etc/isfile", "")),
            ("os.path.isdir", Says::New, &|w| w.mkdir("etc/isdir")),
            ("pathlib", Says::New, &|w| w.write("etc/pathlib", "")),
            ("os.access", Says::New, &|w| w.write("etc/access", "")),
            ("os.path.lexists", Says::New, &|w| w.link("nowhere", "etc/lexists")),
            ("os.path.exists, removed", Says::New, &|w| w.remove("etc/there")),
            ("os.path.getsize", Says::New, &|w| w.write("etc/size", "123")),
            ("os.stat", Says::New, &|w| w.shift("etc/time", 100)),
        ],
    );
}

#[test]
fn files_that_an_extension_reads() {
    if !common::criu() {
        return;
    }
    let source = r#"
#include <Python.h>
#include <stdio.h>
#include <unistd.h>
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "ext", 0, -1, 0};
PyMODINIT_FUNC PyInit_ext(void) {
    PyObject *module = PyModule_Create(&definition);
    char text[99] = "none";
    FILE *file = fopen(getenv("DATA_FILE"), "r");
    if (file) { if (!fgets(text, sizeof text, file)) text[0] = 0; fclose(file); }
    PyModule_AddStringConstant(module, "VALUE", text);
    PyModule_AddObject(module, "ASKED", PyLong_FromLong(access(getenv("ASKED_FILE"), F_OK)));
    return module;
}
"#;
    let mut world = World::new();
    let object = common::ground().no_file("ext.so");
    if !compile(&world.lab.python, source, &object, &[]) {
        return;
    }
    world.set("DATA_FILE", world.path("etc/data"));
    world.set("ASKED_FILE", world.path("etc/asked"));
    world.imports("import ext", "print(ext.VALUE, ext.ASKED)");
    let setup = |w: &mut World| {
        w.put(&object, "lib/ext.so");
        w.write("etc/data", "old");
    };
    world.try_all(
        setup,
        &[
            ("another file", Says::Hit, &|w| w.write("etc/other", "x")),
            ("fopen", Says::New, &|w| w.write_unnoticed("etc/data", "new")),
            ("fopen, removed", Says::New, &|w| w.remove("etc/data")),
            ("access", Says::New, &|w| w.write("etc/asked", "")),
            ("getenv", Says::New, &|w| {
                w.write("etc/elsewhere", "new");
                w.set("DATA_FILE", w.path("etc/elsewhere"));
            }),
        ],
    );
}

#[test]
fn files_of_the_working_directory() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.imports("import m", "print(m.VALUES)");
    let setup = |w: &mut World| {
        w.write("cwd/settings", "old");
        w.write("other/settings", "new");
        w.mkdir("empty");
        w.write(
            "lib/m.py",
            "import os\n\
             VALUES = [os.path.basename(os.getcwd())]\n\
             try: VALUES.append(open('settings').read())\n\
             except OSError: VALUES.append('none')\n\
             VALUES.append(os.path.abspath('settings')[-15:])\n",
        );
    };
    world.try_all(
        setup,
        &[
            ("another file", Says::Hit, &|w| w.write("cwd/other", "x")),
            ("edited, the same size and time", Says::New, &|w| {
                w.write_unnoticed("cwd/settings", "new");
            }),
            ("another directory", Says::New, &|w| w.cwd = w.path("other")),
            ("another directory, without it", Says::New, &|w| w.cwd = w.path("empty")),
            ("the directory exchanged", Says::New, &|w| {
                w.rename("cwd", "cwd-old");
                w.rename("other", "cwd");
            }),
        ],
    );
}

#[test]
fn a_file_that_the_import_writes() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.imports("import m", "print(m.VALUE)");
    let setup = |w: &mut World| {
        w.write(
            "lib/m.py",
            "import os\npath = os.path.dirname(__file__) + '/cache'\n\
             if not os.path.exists(path):\n    open(path, 'w').write('made')\n\
             VALUE = open(path).read()\n",
        );
        // The first import makes it; the image is of the second.
        w.python("import m");
    };
    world.try_all(
        setup,
        &[
            ("another file", Says::Hit, &|w| w.write("lib/other", "x")),
            ("removed, and made again", Says::Same, &|w| w.remove("lib/cache")),
            ("edited", Says::New, &|w| w.write_unnoticed("lib/cache", "MADE")),
        ],
    );
}

/// What the kernel makes up as it is read has no time of writing that means anything.
#[test]
fn files_of_the_kernel() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.write(
        "lib/m.py",
        "import os\nVALUES = [open(path).read(0) for path in ('/dev/null', '/proc/cpuinfo', \
         '/proc/self/status', '/sys/devices/system/cpu/online')]\n",
    );
    world.imports("import m", "print(m.VALUES)");
    world.build();
    for value in ["1", "2"] {
        world.set("MY_UNREAD", value);
        let pair = world.run();
        assert_eq!(pair.difference(), None);
        assert!(pair.is_hit(), "{}", pair.verdict);
    }
    world.finish();
}

/// Names of files that are hard to write down.
#[test]
fn strange_names() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    let library = "li b\n\"'\\\t\u{e4}";
    let data = |w: &World, last: u8| {
        let name = [b"data \n\"'\\".as_slice(), &[last]].concat();
        w.path(library).join(std::ffi::OsStr::from_bytes(&name))
    };
    world.imports("import m", "print(m.VALUE, m.ABSENT)");
    let setup = |w: &mut World| {
        w.search(&[library]);
        for last in [0xfe, 0xff] {
            std::fs::write(data(w, last), "old").unwrap();
        }
        w.write(
            &format!("{library}/m.py"),
            "import os\nhere = os.fsencode(os.path.dirname(__file__))\n\
             VALUE = open(here + b'/data \\n\"\\'\\\\\\xff').read()\n\
             try: ABSENT = open(here + b'/absent\\xff').read()\nexcept OSError: ABSENT = 'none'\n",
        );
    };
    world.try_all(
        setup,
        &[
            ("a file of almost the same name", Says::Hit, &|w| {
                std::fs::write(data(w, 0xfe), "new").unwrap();
            }),
            ("the file", Says::New, &|w| std::fs::write(data(w, 0xff), "new").unwrap()),
            ("one that was not there", Says::New, &|w| {
                let name = std::ffi::OsStr::from_bytes(b"absent\xff");
                std::fs::write(w.path(library).join(name), "new").unwrap();
            }),
            ("a module", Says::New, &|w| {
                w.write(&format!("{library}/m.py"), "VALUE = ABSENT = 'newer'\n");
            }),
            ("the directory exchanged", Says::New, &|w| {
                w.rename(library, "old");
                w.write(&format!("{library}/m.py"), "VALUE = ABSENT = 'newer'\n");
            }),
        ],
    );
}
