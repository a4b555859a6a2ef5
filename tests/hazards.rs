//! Memory that must come back as the kind of memory that it was, and what becomes of it
//! when it is grown, advised and forked after waking.
//!
//! One test for each hazard that `src/image/hazards.rs` names, on the real thing. Each
//! recipe keeps what it made in a module of the image.

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use common::{Lab, ground, run};

/// Runs a program from an image of a recipe, on the oldest and the newest Python, and
/// requires that it prints `right`.
fn right(recipe: &str, program: &str) {
    right_by(Lab::hit, recipe, program);
}

/// The same of what only CRIU can bring back.
fn right_without_plan(recipe: &str, program: &str) {
    right_by(Lab::hit_without_plan, recipe, program);
}

fn right_by(hit: fn(&Lab, &[&str]) -> common::Output, recipe: &str, program: &str) {
    if !common::criu() {
        return;
    }
    let pythons = common::three_pythons();
    let (first, last) = (pythons[0], pythons[pythons.len() - 1]);
    for python in if first == last { vec![first] } else { vec![first, last] } {
        let lab = Lab::new(python, &format!("{PRELUDE}\n{recipe}"));
        // Twice, for what a run writes must not be there for the next one.
        for _ in 0..2 {
            let output = hit(
                &lab,
                &["-c", &format!("import kept\nfrom kept import *\n{program}\nprint('right')")],
            );
            assert_eq!(
                output.stdout_text(),
                "right\n",
                "{}: {}",
                python.label,
                output.stderr_text()
            );
            assert_eq!(
                (output.code(), output.stderr_text()),
                (0, String::new()),
                "{}",
                python.label
            );
        }
    }
}

/// The C library by ctypes, in a module that stays.
const PRELUDE: &str = r"
import ctypes, os, sys, types
kept = sys.modules['kept'] = types.ModuleType('kept')
kept.__file__ = '/nonexistent/kept.py'
exec('''
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
P, L, I = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
for name, result, *arguments in [
    ('mmap', P, P, L, I, I, I, L), ('munmap', I, P, L), ('mremap', P, P, L, L, I), ('madvise', I, P, L, I),
    ('mprotect', I, P, L, I), ('malloc', P, L), ('realloc', P, P, L), ('free', None, P), ('sbrk', P, L),
    ('malloc_trim', I, L), ('calloc', P, L, L),
]:
    function = getattr(libc, name)
    function.restype, function.argtypes = result, arguments
PAGE, RW, PRIVATE, ANONYMOUS, GROWSDOWN = 4096, 3, 2, 32, 0x100
DONTNEED, FREE, DONTFORK, DOFORK, WIPEONFORK, MAYMOVE = 4, 8, 10, 11, 18, 1
def new(pages, flags=0):
    address = libc.mmap(None, pages * PAGE, RW, PRIVATE | ANONYMOUS | flags, -1, 0)
    assert address not in (None, 2 ** 64 - 1)
    return address
def fill(address, pages, start=1):
    for page in range(pages):
        ctypes.memset(address + page * PAGE, (start + page) % 251, PAGE)
def filled(address, pages, start=1):
    return all(ctypes.string_at(address + page * PAGE, PAGE) == bytes([(start + page) % 251]) * PAGE for page in range(pages))
def zero(address, pages):
    return ctypes.string_at(address, pages * PAGE) == bytes(pages * PAGE)
def in_child(check):
    child = os.fork()
    if not child:
        os._exit(0 if check() else 1)
    return os.waitpid(child, 0)[1] == 0
def mapping(address):
    for line in open('/proc/self/maps'):
        start, end = (int(x, 16) for x in line.split()[0].split('-'))
        if start <= address < end:
            return line.split()
''', kept.__dict__)
from kept import *
";

#[test]
fn memory_that_is_wiped_on_fork() {
    right(
        "kept.a = new(4); fill(kept.a, 4); assert libc.madvise(kept.a, 4 * PAGE, WIPEONFORK) == 0",
        "assert zero(a, 4)\n\
         fill(a, 4)\n\
         assert in_child(lambda: zero(a, 4))\n\
         assert filled(a, 4)\n\
         b = new(1); fill(b, 1); assert libc.madvise(b, PAGE, WIPEONFORK) == 0\n\
         assert in_child(lambda: zero(b, 1))",
    );
}

#[test]
fn memory_that_a_fork_leaves_out() {
    right(
        "kept.a = new(4); fill(kept.a, 4); assert libc.madvise(kept.a, 4 * PAGE, DONTFORK) == 0",
        "assert filled(a, 4)\n\
         assert in_child(lambda: mapping(a) is None)\n\
         assert libc.madvise(a, 4 * PAGE, DOFORK) == 0 and in_child(lambda: filled(a, 4))",
    );
}

#[test]
fn large_chunks_of_malloc_that_grow() {
    right(
        "size = 1 << 20\n\
         kept.array = bytearray(b'x') * size\n\
         kept.chunks = [libc.malloc(size + n * PAGE) for n in range(20)]\n\
         for n, chunk in enumerate(kept.chunks): fill(chunk, size // PAGE + n, n)",
        "size = 1 << 20\n\
         array = kept.array\n\
         for n in range(6):\n    array.extend(b'y' * len(array))\n\
         assert array[:size] == b'x' * size and array[size:] == b'y' * (len(array) - size)\n\
         grown = []\n\
         for n, chunk in enumerate(chunks):\n\
        \x20   pages = size // PAGE + n\n\
        \x20   assert filled(chunk, pages, n)\n\
        \x20   chunk = libc.realloc(chunk, 5 * size)\n\
        \x20   assert filled(chunk, pages, n)\n\
        \x20   fill(chunk, 5 * size // PAGE, n + 7)\n\
        \x20   grown.append(chunk)\n\
         for n, chunk in enumerate(grown):\n\
        \x20   assert filled(chunk, 5 * size // PAGE, n + 7)\n\
        \x20   chunk = libc.realloc(chunk, 300 * PAGE)\n\
        \x20   assert filled(chunk, 300 - 1, n + 7)\n\
        \x20   libc.free(chunk)",
    );
}

#[test]
fn arrays_of_numpy_that_grow() {
    if !common::criu() {
        return;
    }
    let python = common::a_python();
    if !python.numpy {
        println!("skipped: there is no numpy");
        return;
    }
    let lab = Lab::new(
        python,
        "import numpy\nnumpy.kept = [numpy.arange(200_000) + n for n in range(8)]",
    );
    let program = "import numpy\nfor n, a in enumerate(numpy.kept):\n    a.resize(5_000_000, refcheck=False)\n    \
                   assert (a[:200_000] == numpy.arange(200_000) + n).all() and not a[200_000:].any()\n    a[:] = 1\nprint('right')";
    assert_eq!(lab.hit(&["-c", program]).success(), "right\n");
}

#[test]
fn regions_that_are_grown_or_moved() {
    right(
        "kept.a = new(8); fill(kept.a, 8); kept.b = new(8); fill(kept.b, 8, 50); kept.c = new(200); fill(kept.c, 200, 9)",
        "moved = libc.mremap(a, 8 * PAGE, 8 * PAGE, MAYMOVE)\n\
         assert moved == a and filled(a, 8)\n\
         a = libc.mremap(a, 8 * PAGE, 4 * PAGE, 0); assert filled(a, 4)\n\
         other = new(8)\n\
         libc.mremap.argtypes = [P, L, L, I, P]\n\
         b = libc.mremap(b, 8 * PAGE, 8 * PAGE, MAYMOVE | 2, other); assert b == other and filled(b, 8, 50)\n\
         assert libc.munmap(c + 50 * PAGE, 100 * PAGE) == 0 and filled(c, 50, 9) and filled(c + 150 * PAGE, 50, 9 + 150)\n\
         assert libc.mprotect(c, PAGE, 1) == 0 and libc.mprotect(c, PAGE, 3) == 0 and filled(c, 50, 9)\n\
         fill(c, 50, 77); assert filled(c, 50, 77)",
    );
}

/// A little allocator that takes memory for zeroed after `MADV_DONTNEED`, as jemalloc does,
/// and names itself so.
const ALLOCATOR: &str = r#"
#include <sys/mman.h>
#include <string.h>
const char *const name = "<jemalloc>: a likeness of it\n";
static char *arena;
const char *who(void) { return name; }
void *take(unsigned long bytes) {
    if (!arena) {
        arena = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (arena == MAP_FAILED) return 0;
    }
    return arena;
}
int give_back(unsigned long bytes) { return madvise(arena, bytes, MADV_DONTNEED); }
int give_back_lazily(unsigned long bytes) { return madvise(arena, bytes, MADV_FREE); }
"#;

/// The allocator as a library, built once; none where there is no C compiler.
fn allocator() -> Option<&'static PathBuf> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| {
        let place = ground().dir("allocator");
        let (source, library) = (place.join("allocator.c"), place.join("libzeroing.so"));
        std::fs::write(&source, ALLOCATOR).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
        (cc.status().is_ok_and(|status| status.success())).then_some(library)
    });
    if library.is_none() {
        println!("skipped: there is no C compiler");
    }
    library.as_ref()
}

#[test]
fn an_allocator_that_relies_on_zeros() {
    let Some(library) = allocator() else { return };
    right(
        &format!(
            "kept.lib = ctypes.CDLL({library:?}); kept.lib.take.restype = kept.lib.who.restype = P\n\
             kept.lib.take.argtypes = kept.lib.give_back.argtypes = kept.lib.give_back_lazily.argtypes = [L]\n\
             kept.a = kept.lib.take(64 * PAGE); fill(kept.a, 64)"
        ),
        "assert filled(a, 64)\n\
         assert lib.give_back_lazily(8 * PAGE) == 0\n\
         assert lib.give_back(64 * PAGE) == 0\n\
         assert zero(a, 64), 'the image shows again'\n\
         fill(a, 64, 5); assert filled(a, 64, 5)\n\
         assert lib.give_back(64 * PAGE) == 0 and zero(a, 64)\n\
         assert in_child(lambda: zero(a, 64))",
    );
}

#[test]
fn the_real_jemalloc() {
    let places =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let found = places
        .iter()
        .map(|place| format!("{place}/libjemalloc.so.2"))
        .find(|path| std::path::Path::new(path).exists());
    let Some(library) = found else {
        println!("skipped: libjemalloc.so.2 is not installed");
        return;
    };
    // By its prefixed names, beside the C library's malloc, as packages bring it along.
    right(
        &format!(
            "kept.je = ctypes.CDLL({library:?})\n\
             for name in ('mallocx', 'rallocx'): getattr(kept.je, name).restype = P\n\
             kept.je.mallocx.argtypes, kept.je.rallocx.argtypes, kept.je.dallocx.argtypes = [L, I], [P, L, I], [P, I]\n\
             kept.blocks = [kept.je.mallocx(n * PAGE, 0) for n in range(1, 60)]\n\
             for n, block in enumerate(kept.blocks, 1): fill(block, n, n)"
        ),
        "ZERO = 0x40\n\
         for n, block in enumerate(blocks, 1): assert filled(block, n, n)\n\
         for block in blocks[::2]: je.dallocx(block, 0)\n\
         je.mallctl(b'arena.0.purge', None, None, None, L(0))\n\
         new_blocks = [je.mallocx(n * PAGE, ZERO) for n in range(1, 60)]\n\
         for n, block in enumerate(new_blocks, 1):\n    assert zero(block, n)\n    fill(block, n, 3)\n\
         for n, block in enumerate(blocks, 1):\n    if n % 2 == 0: assert filled(je.rallocx(block, 4 * n * PAGE, 0), n, n)",
    );
}

#[test]
fn memory_that_is_given_back_and_shows_the_same_again() {
    // Of what the C library and Python do with their own memory after waking: whatever is
    // in a page after MADV_DONTNEED, it must be usable.
    right(
        "import threading\n\
         kept.lists = [[object() for _ in range(1000)] for _ in range(100)]\n\
         kept.pieces = [libc.malloc(1000) for _ in range(5000)]\n\
         t = threading.Thread(target=lambda: kept.pieces.extend(libc.malloc(500) for _ in range(1000))); t.start(); t.join()",
        "import threading\n\
         for piece in pieces: libc.free(piece)\n\
         kept.lists.clear()\n\
         libc.malloc_trim(0)\n\
         for _ in range(3):\n\
        \x20   pieces = [libc.calloc(1, 1000) for _ in range(8000)]\n\
        \x20   assert all(ctypes.string_at(p, 1000) == bytes(1000) for p in pieces), 'calloc gives what is not zero'\n\
        \x20   for p in pieces: ctypes.memset(p, 255, 1000); libc.free(p)\n\
        \x20   libc.malloc_trim(0)\n\
         r = []\n\
         def work():\n    p = [libc.calloc(1, 700) for _ in range(3000)]; r.append(all(ctypes.string_at(x, 700) == bytes(700) for x in p)); [libc.free(x) for x in p]\n\
         t = [threading.Thread(target=work) for _ in range(4)]; [x.start() for x in t]; [x.join() for x in t]\n\
         assert r == [True] * 4",
    );
}

#[test]
fn the_heap_grows_and_shrinks() {
    right(
        "kept.top = libc.sbrk(0)",
        "assert libc.sbrk(0) >= top - (64 << 20)\n\
         before = libc.sbrk(0)\n\
         assert libc.sbrk(1 << 24) == before\n\
         assert zero(before + PAGE - before % PAGE, 4000)\n\
         fill(before + PAGE - before % PAGE, 4000); assert libc.sbrk(-(1 << 24)) == before + (1 << 24)\n\
         small = [libc.malloc(100) for _ in range(500000)]\n\
         assert libc.sbrk(0) > before\n\
         for p in small: libc.free(p)\n\
         libc.malloc_trim(0); x = [str(n) for n in range(300000)]; assert x[-1] == '299999'",
    );
}

#[test]
fn the_stack_grows() {
    right(
        "",
        "import sys, threading\n\
         def depth(n): return 1 + depth(n - 1) if n else 0\n\
         sys.setrecursionlimit(20000)\n\
         assert depth(8000) == 8000\n\
         # Through C: each level takes much of the real stack.\n\
         def key(n): return min([n], key=lambda m: key(m - 1) if m else 0)\n\
         assert key(150) is not None\n\
         words = [l for l in open('/proc/self/maps') if '[stack]' in l]\n\
         assert len(words) == 1, words\n\
         threading.stack_size(64 << 20)\n\
         r = []; t = threading.Thread(target=lambda: r.append(depth(5000))); t.start(); t.join(); assert r == [5000]\n\
         assert in_child(lambda: depth(8000) == 8000)",
    );
}

#[test]
fn regions_that_grow_downwards() {
    right(
        "kept.a = new(64, GROWSDOWN); fill(kept.a, 64)",
        "assert filled(a, 64)\nfill(a, 64, 3); assert in_child(lambda: filled(a, 64, 3))",
    );
}

#[test]
fn forks_have_their_own_memory() {
    right(
        "kept.a = new(100); fill(kept.a, 100); kept.names = {str(n): n for n in range(50000)}",
        "def change():\n    fill(a, 100, 60); names.clear(); return filled(a, 100, 60) and not names\n\
         assert in_child(change) and in_child(change)\n\
         assert filled(a, 100) and len(names) == 50000\n\
         fill(a, 50, 33)\n\
         assert in_child(lambda: filled(a, 50, 33) and filled(a + 50 * PAGE, 50, 51))",
    );
}

#[test]
fn memory_without_access_and_without_pages() {
    right(
        "kept.a = new(300); kept.b = new(10); fill(kept.b, 10); assert libc.mprotect(kept.b, 10 * PAGE, 0) == 0\n\
         kept.c = new(10); fill(kept.c, 10); assert libc.mprotect(kept.c, 10 * PAGE, 1) == 0\n\
         kept.d = new(1000); fill(kept.d + 500 * PAGE, 1, 8)",
        "assert zero(a, 300); fill(a, 300); assert filled(a, 300)\n\
         assert mapping(b)[1] == '---p' and mapping(c)[1] == 'r--p'\n\
         assert libc.mprotect(b, 10 * PAGE, RW) == 0 and filled(b, 10)\n\
         assert filled(c, 10) and libc.mprotect(c, 10 * PAGE, RW) == 0\n\
         fill(c, 10, 4); assert filled(c, 10, 4)\n\
         assert zero(d, 500) and filled(d + 500 * PAGE, 1, 8) and zero(d + 501 * PAGE, 499)\n\
         fill(d, 1000); assert filled(d, 1000)",
    );
}

#[test]
fn huge_pages_that_were_wished_for() {
    right(
        "kept.a = new(2048); fill(kept.a, 2048); libc.madvise(kept.a, 2048 * PAGE, 14)\n\
         kept.b = new(64); fill(kept.b, 64); libc.madvise(kept.b, 64 * PAGE, 15); libc.madvise(kept.b, 64 * PAGE, 16)",
        "assert filled(a, 2048) and filled(b, 64)\nfill(a, 2048, 9); assert filled(a, 2048, 9)",
    );
}

#[test]
fn private_mappings_of_files() {
    let file = ground().dir("mapped").join("file");
    std::fs::write(&file, vec![b'f'; 40 * 4096]).unwrap();
    let file = file.to_str().unwrap();
    // The file is open, and some of the memory is shared.
    right_without_plan(
        &format!(
            "import mmap\nkept.f = open({file:?}, 'r+b')\n\
             kept.m = mmap.mmap(kept.f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=3); kept.m[0:4] = b'mine'\n\
             kept.m[PAGE * 20:PAGE * 21] = b'm' * PAGE\n\
             kept.r = mmap.mmap(kept.f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=1)\n\
             kept.s = mmap.mmap(-1, 40 * PAGE); kept.s[:6] = b'shared'"
        ),
        "assert m[0:6] == b'mineff' and m[PAGE * 20:PAGE * 21] == b'm' * PAGE and m[PAGE * 21:] == b'f' * PAGE * 19\n\
         assert r[:] == b'f' * 40 * PAGE\n\
         m[PAGE:PAGE + 4] = b'also'; assert m[PAGE:PAGE + 5] == b'alsof'\n\
         assert s[:6] == b'shared'\n\
         child = os.fork()\n\
         if not child:\n    s[:5] = b'child'; m[:5] = b'child'; os._exit(0)\n\
         os.waitpid(child, 0); assert s[:6] == b'childd' and m[:4] == b'mine'",
    );
    assert_eq!(std::fs::read(file).unwrap(), vec![b'f'; 40 * 4096], "the file itself is as it was");
}

#[test]
fn code_that_is_made_at_run_time() {
    // Of memory that is writable and executable no plan is made.
    right_without_plan(
        "kept.callback = ctypes.CFUNCTYPE(I, I)(lambda n: n + 1)\n\
         kept.compare = ctypes.CFUNCTYPE(I, ctypes.POINTER(I), ctypes.POINTER(I))(lambda a, b: a[0] - b[0])",
        "assert callback(4) == 5\n\
         a = (I * 5)(5, 1, 4, 2, 3); libc.qsort(a, 5, ctypes.sizeof(I), compare); assert list(a) == [1, 2, 3, 4, 5]\n\
         assert ctypes.CFUNCTYPE(I, I)(lambda n: n * 2)(21) == 42",
    );
}

#[test]
fn memory_of_removed_images_lives_on() {
    if !common::criu() {
        return;
    }
    let lab = Lab::new(
        common::a_python(),
        "import json\njson.kept = [bytes([n % 251]) * 4096 for n in range(5000)]",
    );
    let ready = ground().no_file("ready");
    let program = format!(
        "import json, os, time\nopen({ready:?}, 'w').close()\nwhile os.path.exists({ready:?}): time.sleep(.01)\n\
         print(all(page == bytes([n % 251]) * 4096 for n, page in enumerate(json.kept)))"
    );
    let output = common::run_while(lab.pyrun().args(["-c", &program]), |_| {
        assert!(common::eventually(|| ready.exists()));
        run(common::pyimg(&lab.store).args(["rm", common::IMAGE])).success();
        let left = std::fs::read_dir(lab.store.join("packs")).unwrap().count();
        assert_eq!(left, 0, "the packs are gone");
        std::fs::remove_file(&ready).unwrap();
    });
    assert_eq!(output.success(), "True\n");
}
