//! What imports do to the process itself: the program must find it done, as if they had
//! just run. To refuse such an image, or not to use it, is right as well.

use crate::common;
use crate::world::World;

/// What is printed of the environment, by the program and by a child.
const ENVIRONMENT: &str = "\
import os, sys
print(sorted(item for item in os.environ.items() if item[0].startswith('MY_')))
sys.stdout.flush()
os.system('env | grep ^MY_ | sort')";

/// Builds an image of a module with this code, if it can be built, with the variables of the
/// first run, and compares each run.
fn check(
    faults: &mut Vec<String>,
    code: &str,
    print: &str,
    runs: &[&[(&str, &str)]],
) -> Option<World> {
    let mut world = World::new();
    world.write("lib/m.py", code);
    world.imports("import m", print);
    let original = world.variables.clone();
    for variables in runs {
        world.variables.clone_from(&original);
        variables.iter().for_each(|(name, value)| world.set(name, value));
        // Of the first only: the second is what a later run finds.
        if !world.lab.store.exists() && world.try_build(&[]).code() != 0 {
            return None;
        }
        let pair = world.run();
        let difference = pair.difference();
        faults.extend(difference.map(|difference| format!("{code:?} {variables:?}: {difference}")));
    }
    Some(world)
}

#[test]
fn variables_that_imports_change() {
    if !common::criu() {
        return;
    }
    let mut faults = Vec::new();
    for code in [
        "import os; os.environ['MY_SET'] = 'new'",
        "import os; os.environ.setdefault('MY_SET', 'new')",
        "import os; os.environ.pop('MY_SET', None)",
        "import os; os.environ.update(MY_SET='new', MY_OTHER='new')",
        "import os; os.putenv('MY_SET', 'new')",
        "import ctypes; ctypes.CDLL(None).setenv(b'MY_SET', b'new', 1)",
    ] {
        let set: &[(&str, &str)] = &[("MY_SET", "old"), ("MY_OTHER", "old")];
        for runs in [[&[], set], [set, &[]]] {
            if let Some(mut world) = check(&mut faults, code, ENVIRONMENT, &runs) {
                world.finish();
            }
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

/// A variable that one module sets and another reads is no concern of who runs the program.
#[test]
fn variables_that_imports_set_for_each_other() {
    if !common::criu() {
        return;
    }
    let mut world = World::new();
    world.write("lib/m.py", "import os; os.environ['MY_SET'] = 'by m'\n");
    world.write("lib/n.py", "import os; VALUE = os.environ['MY_SET']\n");
    world.imports("import m, n", "print(n.VALUE)");
    world.build();
    for value in ["1", "2"] {
        world.set("MY_UNREAD", value);
        let pair = world.run();
        assert_eq!(pair.difference(), None);
        assert!(pair.is_hit(), "{}", pair.verdict);
        world.set("MY_SET", value);
        assert_eq!(world.run().difference(), None);
        world.unset("MY_SET");
    }
    world.finish();
}

#[test]
fn other_state_that_imports_change() {
    if !common::criu() {
        return;
    }
    let mut faults = Vec::new();
    for (code, print) in [
        ("import os; os.umask(0o77)", "import os; print(oct(os.umask(0)))"),
        ("import os; os.chdir('/')", "import os; print(os.getcwd())"),
        ("import os; os.nice(1)", "import os; print(os.nice(0))"),
        (
            "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (100, 200))",
            "import resource as r; print(r.getrlimit(r.RLIMIT_NOFILE))",
        ),
        (
            "import signal as s; s.signal(s.SIGTERM, s.SIG_IGN); s.signal(s.SIGHUP, print)",
            "import signal as s; print(s.getsignal(s.SIGTERM), s.getsignal(s.SIGHUP))",
        ),
        (
            "import signal as s; s.signal(s.SIGPIPE, s.SIG_DFL)",
            "import signal as s; print(s.getsignal(s.SIGPIPE))",
        ),
        (
            "import signal as s; s.pthread_sigmask(s.SIG_BLOCK, [s.SIGUSR1])",
            "import signal as s; print(s.pthread_sigmask(s.SIG_BLOCK, []))",
        ),
        (
            "import locale; locale.setlocale(locale.LC_ALL, 'C')",
            "import locale; print(locale.setlocale(locale.LC_ALL))",
        ),
        (
            "import sys; sys.path.insert(0, '/first'); sys.path.append('/last')",
            "import sys; print(sys.path)",
        ),
        ("import sys; sys.setrecursionlimit(77)", "import sys; print(sys.getrecursionlimit())"),
        ("import sys; sys.setswitchinterval(0.5)", "import sys; print(sys.getswitchinterval())"),
        (
            "import gc; gc.set_threshold(7); gc.disable()",
            "import gc; print(gc.get_threshold(), gc.isenabled())",
        ),
        (
            "import sys; sys.dont_write_bytecode = True",
            "import sys; print(sys.dont_write_bytecode)",
        ),
        (
            "import sys; sys.stdout.reconfigure(line_buffering=True, errors='replace')",
            "import sys; print(sys.stdout.line_buffering, sys.stdout.errors)",
        ),
        (
            "import warnings; warnings.simplefilter('error')",
            "import warnings; print(warnings.filters[0])",
        ),
        ("import atexit; atexit.register(print, 'end')", "print('program')"),
        (
            "import os, time; os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()",
            "import time; print(time.localtime(0).tm_hour)",
        ),
        (
            "import decimal; decimal.getcontext().prec = 7",
            "import decimal; print(decimal.Decimal(1) / 3)",
        ),
        (
            "import socket; socket.setdefaulttimeout(7)",
            "import socket; print(socket.getdefaulttimeout())",
        ),
        ("import builtins; builtins.ADDED = 7", "print(ADDED)"),
    ] {
        if let Some(mut world) = check(&mut faults, code, print, &[&[]]) {
            world.finish();
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}
