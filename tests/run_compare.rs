//! Programs from an image behave as they do with plain Python, to the byte.

mod common;

use std::sync::OnceLock;

use common::sides::{Case, SAY_READY, compare};
use common::{Lab, labs, pythons};
use nix::sys::signal::Signal;
use std::os::unix::ffi::OsStringExt as _;

/// What the image holds: modules with state of their own, and numpy with its threads.
const RECIPE: &str = "\
import asyncio, csv, ctypes, json, logging, multiprocessing, os, random, secrets, ssl, subprocess
import tempfile, threading, timeit, uuid, warnings
try:
    import numpy
except ImportError:
    pass";

fn all() -> &'static [Lab] {
    static LABS: OnceLock<Vec<Lab>> = OnceLock::new();
    LABS.get_or_init(|| labs(pythons().iter().collect(), RECIPE))
}

/// On every Python: what its version has to do with.
fn same(cases: &[Case]) {
    if common::criu() {
        compare(&all().iter().collect::<Vec<_>>(), cases);
    }
}

/// On three of them: what is rather the kernel's.
fn same_on_three(cases: &[Case]) {
    if common::criu() {
        let three = common::three_pythons();
        let labs: Vec<&Lab> = all().iter().filter(|lab| three.contains(&&lab.python)).collect();
        compare(&labs, cases);
    }
}

fn code(name: &str, code: &str) -> Case {
    Case::code(name, code)
}

#[test]
fn every_kind_of_program() {
    let say =
        "import sys\nprint(sys.argv, sys.path[:1], __name__, __package__, __spec__ is None)\n";
    let named = "print(sorted(n for n in globals() if not n.startswith('__')), sys.modules['__main__'].__dict__ is globals())";
    let all = format!("{say}{named}");
    let csv = "b,2\na,1\nc,3\n";
    let upper = "import sys\nfor line in sys.stdin: print(line.strip().upper(), *sys.argv[1:])\n";
    same(&[
        Case::code("command", &all).arguments(["a", "-c", "--image", "x"]),
        Case::script("script", &all).arguments(["one", "two words", "-v", ""]),
        Case::of("script in a directory", ["sub/script.py", "x"]).file("sub/script.py", &all),
        Case::of("linked script", ["link.py"])
            .file("real/script.py", format!("{all}\nimport beside"))
            .file("real/beside.py", "print('beside')")
            .shell("ln -s real/script.py link.py; \"$@\""),
        Case::of("module", ["-m", "package.inner", "x"])
            .file("package/__init__.py", "print('package')")
            .file("package/inner.py", &all),
        Case::of("package with main", ["-m", "package"])
            .file("package/__init__.py", "")
            .file("package/__main__.py", format!("{all}\nfrom . import other"))
            .file("package/other.py", "print(__name__)"),
        Case::of("library module", ["-m", "json.tool"]).stdin("{\"b\": [1, 2], \"a\": null}"),
        Case::of("library module fails", ["-m", "json.tool"]).stdin("{").ends(1),
        Case::of("timeit", ["-m", "timeit", "-n", "1", "-r", "1", "-u", "sec"])
            .arguments(["import os; print(os.path.basename('a/b'))"])
            .shell("\"$@\" | head -1"),
        Case::of("no such module", ["-m", "no_such_module"]).ends(1),
        Case::of("no such module in a package", ["-m", "json.no_such"]).ends(1),
        Case::of("package without main", ["-m", "json"]).ends(1),
        Case::of("directory", ["program", "x"])
            .file("program/__main__.py", format!("{all}\nimport helper"))
            .file("program/helper.py", "print(__file__)"),
        Case::of("zip file", ["program.zip", "x"])
            .file("make.py", "import zipfile, sys\nz = zipfile.ZipFile('program.zip', 'w')\nz.writestr('__main__.py', sys.stdin.read())\nz.close()")
            .file("__main__.py", format!("{all}\nprint(__file__)\n1/0"))
            .shell("PYIMG_DIR= $PYIMG_PYTHON make.py < __main__.py && rm make.py && \"$@\"; echo $?; rm program.zip"),
        Case::of("compiled file", ["program.pyc", "x"])
            .file("program.py", &all)
            .shell("$PYIMG_PYTHON -c 'import py_compile; py_compile.compile(\"program.py\", \"program.pyc\")' && \"$@\""),
        Case::of("dash", ["-", "x"]).stdin(&all),
        Case::of("standard input", [""; 0]).stdin(format!("{say}\nprint(input())\nread by the program")),
        Case::of("dash through a pipe", ["-", "x"]).file("p.py", &all).shell("cat p.py | \"$@\""),
        Case::of("standard input through a pipe", [""; 0]).file("p.py", &all).shell("cat p.py | \"$@\""),
        Case::script("filter", upper).arguments(["x"]).file("in.csv", csv).shell("\"$@\" < in.csv | sort"),
        Case::script("filter in a pipe", upper).file("in.csv", csv).shell("cat in.csv | \"$@\" | sort -r; echo ${PIPESTATUS[@]}"),
        Case::of("no such script", ["missing.py"]).misses("cannot open missing.py").ends(2),
        Case::of("script that is not UTF-8", ["script.py"]).file("script.py", b"x = '\xe9'\n").ends(1),
        Case::of("script in Latin-1", ["script.py"]).file("script.py", b"# coding: latin-1\nprint(ascii('\xe9'))\n").ends(0),
        Case::of("empty command", ["-c", ""]).ends(0),
        Case::script("future", "from __future__ import annotations\ndef f(x: undefined): pass\nprint(f.__annotations__)"),
        code("original arguments", "import sys; print(getattr(sys, 'orig_argv', None), sys.executable, sys.flags, sys.prefix)"),
    ]);
}

#[test]
fn exceptions() {
    let deep =
        "def f(n):\n    if n:\n        f(n - 1)\n    else:\n        raise ValueError('deep')\n";
    let chained = "try:\n    f(3)\nexcept ValueError as e:\n    raise KeyError('second') from e\n";
    let program = format!("{deep}{chained}");
    same(&[
        code("in a command", &program).ends(1),
        Case::script("in a script", &program).ends(1),
        Case::of("in a module", ["-m", "program"]).file("program.py", &program).ends(1),
        Case::of("in standard input", ["-"]).stdin(&program).ends(1),
        Case::of("in a package", ["-m", "package"])
            .file("package/__init__.py", "")
            .file("package/__main__.py", "from . import other\nother.g()\n")
            .file("package/other.py", format!("{deep}def g():\n    f(2)\n"))
            .ends(1),
        code("syntax error", "def f(:\n    pass").ends(1),
        Case::script("syntax error in a script", "print('never')\nx = = 1\n").ends(1),
        Case::script("syntax error in an import", "import broken\n").file("broken.py", "x = (\n").ends(1),
        code("import error", "import no_such_module").ends(1),
        code("recursion", "def f(): f()\nf()").ends(1),
        code("suggestion", "foo_bar = 1\nprint(foo_baz)").ends(1),
        code("group", "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])").since(3, 11).ends(1),
        code("note", "e = ValueError(1); e.add_note('a note'); raise e").since(3, 11).ends(1),
        code("excepthook", "import sys\nsys.excepthook = lambda *a: print('hook', a[0])\n1/0").ends(1),
        code("in a thread", "import threading\nt = threading.Thread(target=lambda: 1/0, name='T'); t.start(); t.join()").ends(0),
        code("in a callback", "import sys\nsys.unraisablehook = lambda u: print(u.exc_type, u.exc_traceback.tb_lineno, u.err_msg)\nclass A:\n    def __del__(self): 1/0\na = A()\ndel a\nprint('after')").ends(0),
        code("unprintable", "class E(Exception):\n    def __str__(self): 1/0\nraise E").ends(1),
        Case::script("frames", "import inspect, sys\ndef f():\n    return [(x.filename, x.lineno, x.function, x.code_context) for x in inspect.stack()]\nprint(f(), sys._getframe().f_back)"),
        Case::of("frames of a module", ["-m", "program"]).file("program.py", "import inspect\nfor x in inspect.stack(): print(x.filename, x.function)"),
        Case::script("warnings", "import warnings\ndef f(): warnings.warn('here', stacklevel=2)\nf()\nf()\nwarnings.warn('old', DeprecationWarning)\nwarnings.warn('old', FutureWarning)"),
        Case::script("stack", "import traceback\ndef f(): traceback.print_stack()\nf()"),
        code("last exception", "import sys, atexit\natexit.register(lambda: print(sys.last_type, sys.last_value, sys.last_traceback.tb_lineno))\n1/0").ends(1),
    ]);
}

#[test]
fn endings() {
    let exit = |name: &str, value: &str, status| {
        code(
            &format!("exit {name}"),
            &format!("import sys; print('out', end=''); sys.exit({value})"),
        )
        .ends(status)
    };
    same(&[
        exit("nothing", "", 0),
        exit("0", "0", 0),
        exit("3", "3", 3),
        exit("256", "256", 0),
        exit("-1", "-1", 255),
        exit("None", "None", 0),
        exit("text", "'a text'", 1),
        exit("object", "[1, 'two']", 1),
        Case::script("exit in a script", "print('x', end='')\nexit(4)").ends(4),
        Case::of("exit in a module", ["-m", "program"]).file("program.py", "raise SystemExit(5)").ends(5),
        code("exit at once", "import os; print('lost?'); os._exit(3)").ends(3),
        code("exit in a finally", "import sys\ntry:\n    sys.exit(3)\nfinally:\n    print('finally')").ends(3),
        code("SIGTERM", "import os, signal; print('x', flush=True); os.kill(os.getpid(), signal.SIGTERM)").ends(-15),
        code("SIGKILL", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)").ends(-9),
        code("SIGSEGV", "import ctypes; ctypes.string_at(0)").ends(-11),
        code("abort", "import os; os.abort()").ends(-6),
        code("SIGALRM", "import signal, time; signal.setitimer(signal.ITIMER_REAL, .05); time.sleep(9)").ends(-14),
        code("real-time signal", "import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 3)"),
        code("SIGPIPE", "import os, signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGPIPE)").ends(-13),
        code("keyboard interrupt", "raise KeyboardInterrupt").ends(-2),
        code("shell sees the signal", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)").shell("\"$@\"; echo $?").ends(0),
        code("shell sees the status", "exit(7)").shell("\"$@\"; echo $?").ends(0),
        code("atexit", "import atexit\nfor i in range(3): atexit.register(print, i)\natexit.register(divmod, 1, 0)\nprint('main')").ends(0),
        code("atexit after an error", "import atexit\natexit.register(print, 'run')\n1/0").ends(1),
        code("atexit sees the program", "import atexit\nx = 5\natexit.register(lambda: print('x is', x, __name__))").ends(0),
        Case::script("files are flushed", "f = open('out', 'w'); f.write('text' * 10)\nb = open('bytes', 'wb'); b.write(b'bytes')\nimport json; json.kept = open('kept', 'w'); json.kept.write('in a module of the image')"),
        Case::script("files are flushed after an error", "f = open('out', 'w'); f.write('text')\n1/0").ends(1),
        Case::script("files are flushed after exit", "import sys\nf = open('out', 'w'); f.write('text')\nsys.exit(3)").ends(3),
        Case::script("files in cycles are flushed", "class A: pass\na = A(); a.me = a; a.f = open('out', 'w'); a.f.write('cycle'); del a"),
        Case::script("files of functions are flushed", "def f():\n    f.file = open('out', 'w')\n    f.file.write('attribute')\nf()"),
        Case::script("last words", "class A:\n    def __init__(self): self.f = open('out', 'w')\n    def __del__(self): self.f.write('last words')\na = A()"),
        code("finalisers", "class A:\n    def __init__(self, n): self.n = n\n    def __del__(self): print('del', self.n)\na = A('a'); _b = A('_b'); c = A('c'); c.me = c\nprint('end')"),
        Case::script("finalisers in modules", "import one, two\nclass B:\n    def __del__(self): print('del main')\nb = B()\n")
            .file("one.py", "class A:\n    def __del__(self): print('del one')\na = A()\n")
            .file("two.py", "class A:\n    def __del__(self): print('del two')\na = A()\ndef f(): return a\n")
            // In no order that is promised.
            .shell("\"$@\" | sort"),
        code("finalisers of what the image holds", "import json\nclass A:\n    def __del__(self): print('del held')\njson.held = A()\nprint('end')"),
        code("finalisers of what sys holds", "import sys\nclass A:\n    def __init__(self): self.write = sys.stderr.write\n    def __del__(self): self.write('del sys\\n'); print('lost'); 1/0\nsys.held = A()\nprint('end')"),
        code("finalisers ask whether this is the end", "import sys, atexit\nclass A:\n    is_finalizing = sys.is_finalizing\n    def __del__(self): print(self.is_finalizing(), flush=True)\na = A()\natexit.register(lambda: print(sys.is_finalizing()))\nprint(sys.is_finalizing, sys.is_finalizing.__doc__, sys.is_finalizing.__text_signature__)"),
        code("the end is audited", "import sys, gc\ndef hook(event, args):\n    if not event.startswith(('import', 'open', 'object', 'marshal')): print(event, flush=True)\nsys.addaudithook(hook)\nprint('end')"),
        code("finalisers interrupt", "import _thread\nclass A:\n    def __del__(self): _thread.interrupt_main(); print('after')\na = A()").since(3, 12).ends(0), // 3.11.2 crashes
        code("weak references", "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'finalised')\nprint('end')"),
        code("generators are closed", "def g():\n    try:\n        yield 1\n    finally:\n        print('closed')\nx = g(); next(x)\nprint('end')"),
        code("threads are joined", "import threading, time\ndef f():\n    time.sleep(.1); print('thread done')\nthreading.Thread(target=f).start()\nprint('main done')"),
        code("threads are joined after an error", "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.1), print('late'))).start()\n1/0").ends(1),
        code("daemon threads are not", "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint('main done')").ends(0),
        code("pools", "from concurrent.futures import ThreadPoolExecutor\ne = ThreadPoolExecutor(2)\nprint(list(e.map(lambda x: x * 2, range(5))))\ne.submit(print, 'last')"),
        code("standard output is full", "print('x' * 100)").shell("\"$@\" > /dev/full; echo $?"),
        code("standard error is full", "import sys; sys.stderr.write('x')").shell("\"$@\" 2> /dev/full; echo $?"),
        code("C's own buffer", "import ctypes; c = ctypes.CDLL(None); c.puts(b'from C'); print('from Python')").shell("\"$@\" | cat"),
        code("standard output replaced", "import sys, io\nsys.stdout = io.StringIO(); print('lost')"),
        code("standard output closed", "import sys; print('x'); sys.stdout.close()").shell("\"$@\" | cat"),
        code("standard output closed beneath", "import os; print('x'); os.close(1)").shell("\"$@\" | cat; echo ${PIPESTATUS[0]}"),
        Case::code("resources that were left", "f = open('/dev/null'); print('end')").variable("PYTHONWARNINGS", "default").misses("PYTHONWARNINGS"),
    ]);
}

#[test]
fn signals_from_outside() {
    let sleep = format!(
        "import time\ntry:\n    {SAY_READY}\n    time.sleep(20)\nfinally:\n    print('cleaned up')"
    );
    let handled = |signal: &str| {
        format!(
            "import signal, sys, time\nsignal.signal(signal.{signal}, lambda *a: sys.exit(9))\n{SAY_READY}\ntime.sleep(20)"
        )
    };
    same_on_three(&[
        Case::script("interrupted", &sleep).signal(Signal::SIGINT).ends(-2),
        code("interrupted command", &sleep).signal(Signal::SIGINT).ends(-2),
        Case::of("interrupted module", ["-m", "program"]).file("program.py", &sleep).signal(Signal::SIGINT).ends(-2),
        Case::script("interrupt caught", format!("import time\ntry:\n    {SAY_READY}\n    time.sleep(20)\nexcept KeyboardInterrupt: print('caught')").as_str()).signal(Signal::SIGINT).ends(0),
        Case::script("terminated", &sleep).signal(Signal::SIGTERM).ends(-15),
        Case::script("hung up", &sleep).signal(Signal::SIGHUP).ends(-1),
        Case::script("quit", &sleep).signal(Signal::SIGQUIT).ends(-3),
        Case::script("user signal", &sleep).signal(Signal::SIGUSR1).ends(-10),
        Case::script("termination handled", &handled("SIGTERM")).signal(Signal::SIGTERM).ends(9),
        Case::script("alarm", &sleep).signal(Signal::SIGALRM).ends(-14),
        Case::script("alarm handled", &handled("SIGALRM")).signal(Signal::SIGALRM).ends(9),
        Case::script("user signal handled", &handled("SIGUSR2")).signal(Signal::SIGUSR2).ends(9),
        Case::script("child signal handled", &handled("SIGCHLD")).signal(Signal::SIGCHLD).ends(9),
        Case::script("hang-up ignored", &format!("import time\n{SAY_READY}\ntime.sleep(.1)\nprint('survived')"))
            .shell("trap '' HUP; \"$@\" & child=$!; while [[ ! -e ready ]]; do sleep .01; done; kill -HUP $child; wait $child; echo $?"),
        code("dispositions", "import signal\nprint([(s.name, str(signal.getsignal(s))) for s in sorted(signal.valid_signals() & set(signal.Signals))])\nprint(signal.pthread_sigmask(signal.SIG_BLOCK, []))"),
        code("ignored signals", "import signal\nprint([str(signal.getsignal(s)) for s in (1, 2, 13, 15, 10)])").shell("trap '' HUP INT TERM USR1; exec \"$@\""),
        code("nohup", "import signal; print(signal.getsignal(1))").shell("nohup \"$@\" 2>&1 | grep -v nohup:"),
        code("ignored children", "import subprocess; print(subprocess.run(['true']).returncode)").shell("trap '' CHLD; exec \"$@\""),
    ]);
}

#[test]
fn descriptors() {
    let list = "import os\nnumbers = sorted(int(n) for n in os.listdir('/proc/self/fd'))\nopen('fds', 'w').write(str([(n, os.path.exists(f'/proc/self/fd/{n}')) for n in numbers]))\n";
    let streams = format!(
        "{list}import sys\nopen('streams', 'w').write(repr([(s and (s.fileno(), s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.isatty())) for s in (sys.stdin, sys.stdout, sys.stderr)]))\n"
    );
    let write = format!(
        "{streams}print('out')\nprint('err', file=sys.stderr)\nprint(sys.stdin and sys.stdin.read())"
    );
    let mut cases = Vec::new();
    for closed in ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"] {
        cases.push(
            code(&format!("closed {closed}"), &write)
                .stdin("input")
                .shell(&format!("\"$@\" {closed}; echo $?")),
        );
        cases.push(
            code(&format!("closed, with others {closed}"), &write)
                .shell(&format!("\"$@\" {closed} 3</dev/null 9>nine; echo $?")),
        );
    }
    cases.extend([
        code("all open", &write).stdin("input"),
        code("further files", &format!("{list}os.write(9, os.read(3, 99))")).file("three", "from three").shell("\"$@\" 3<three 9>nine"),
        code("read and write", "import os; os.lseek(7, 0, 0); os.write(7, b'X'); print(os.read(7, 9))").file("seven", "abc").shell("\"$@\" 7<>seven"),
        code("a pipe", "import os; os.write(5, b'through a pipe'); print(os.read(4, 99))").shell("mkfifo p; exec 5<>p 4<p; \"$@\"; rm p"),
        code("many files", &format!("{list}import os\nprint(sum(os.read(n, 1) == b'x' for n in range(20, 320)))"))
            .file("x", "x")
            .shell("for ((n = 20; n < 320; n++)); do eval \"exec $n<x\"; done; \"$@\""),
        code("one file twice", "import os; os.write(3, b'three'); os.write(4, b'four'); print(os.lseek(3, 0, 1))").shell("\"$@\" 3>file 4>&3"),
        code("appended", "print('second')").file("log", "first\n").shell("\"$@\" >> log; echo third >> log"),
        code("shared offset", "import sys; print('from Python'); sys.stdout.flush()").shell("{ echo before; \"$@\"; echo after; } > out"),
        code("shared input", "import os; print(os.read(0, 4))").file("in", "abcdefgh").shell("{ \"$@\"; cat; } < in"),
        code("both in one", "import sys; print('out', flush=True); print('err', file=sys.stderr)").shell("\"$@\" > both 2>&1"),
        code("input from a pipe", "import sys; print(len(sys.stdin.buffer.read()))").shell("head -c 300000 /dev/zero | \"$@\""),
        code("a socket", "import socket; s = socket.socket(fileno=0); s.sendall(b'hello'); print(s.recv(99), flush=True, file=open('got', 'w'))").shell(
            "PYIMG_LOG= $PYIMG_PYTHON -c 'import socket, subprocess, sys\na, b = socket.socketpair()\np = subprocess.Popen(sys.argv[1:], stdin=b)\nb.close()\nprint(a.recv(99)); a.sendall(b\"world\"); a.close(); p.wait()' \"$@\"",
        ),
        code("inheritable", "import os; print([os.get_inheritable(n) for n in (0, 1, 2, 3)])").shell("\"$@\" 3</dev/null"),
        code("unbuffered output", "import os; print('a', end=''); os.write(1, b'b')").variable("X", "1"),
        code("stops when the reader does", "while True: print('y' * 1000)").shell("\"$@\" 2>err | head -c 5; echo ${PIPESTATUS[0]}"),
        code("stops by the signal", "import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)\nwhile True: print('y' * 1000)").shell("\"$@\" | head -c 5; echo ${PIPESTATUS[0]}"),
        code("a lot of output", "import sys\nfor i in range(100000): print(i, i * i)\nsys.stderr.write('e' * 1000000)"),
        code("a lot through a pipe", "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 20000)").shell("\"$@\" | md5sum"),
    ]);
    same_on_three(&cases);
}

#[test]
fn surroundings() {
    let environment = "import os, ctypes\nfor b in sorted(os.environb.items()):\n    if b[0] != b'_': print(b)\nc = ctypes.CDLL(None); c.getenv.restype = ctypes.c_char_p\nprint(c.getenv(b'ADDED'), c.getenv(b'HOME'), c.getenv(b'PYTHONHASHSEED'), c.getenv(b'LD_PRELOAD'))";
    let exec = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])";
    let children = "import os, subprocess\nprint(os.popen('env | sort | grep -v ^_=').read(), subprocess.run(['sh', '-c', 'echo $ADDED'], capture_output=True).stdout)";
    same_on_three(&[
        code("environment", environment).variable("ADDED", "value"),
        code("environment of children", children).variable("ADDED", "value"),
        code("environment that is not UTF-8", environment).variable("ADDED", std::ffi::OsString::from_vec(b"\xff\xfe=x".to_vec())),
        code("a large environment", "import os; print(len(os.environ['ADDED']), len(os.environ))").variable("ADDED", "x".repeat(100_000)),
        code("environment written", "import os; os.environ['NEW'] = 'n'; del os.environ['HOME']; os.system('echo $NEW ${HOME-none}')"),
        code("an empty environment", "import os; print(len(os.environ))")
            .shell("exec env -i LANG=C.UTF-8 HOME=\"$HOME\" PYIMG_DIR=\"$PYIMG_DIR\" PYIMG_LOG=miss PYIMG_PYTHON=\"$PYIMG_PYTHON\" PYIMG_CRIU=\"$PYIMG_CRIU\" XDG_RUNTIME_DIR=\"$XDG_RUNTIME_DIR\" \"$@\""),
        code("time zone", "import time; print(time.strftime('%Z %H', time.localtime(0)), time.tzname, time.timezone)").variable("TZ", "America/New_York"),
        code("working directory", "import os; print(os.getcwd(), os.listdir('.'))").file("f", ""),
        code("another working directory", "import os, sys; print(os.getcwd(), sys.path[0])").shell("mkdir -p a/b; cd a/b; \"$@\""),
        code("umask", "import os; os.mkdir('d'); open('f', 'w'); print(oct(os.umask(0)), *(oct(os.stat(n).st_mode) for n in 'df'))").shell("umask 027; \"$@\"; ls -l | cut -c 1-10"),
        code("limits", "import resource\nprint([resource.getrlimit(i) for i in range(16)])").shell("ulimit -S -n 200; ulimit -c 0; ulimit -S -f 5000; \"$@\""),
        code("small files only", "import resource; print(resource.getrlimit(resource.RLIMIT_FSIZE))").shell("ulimit -f 1; \"$@\"; echo $?").misses("File too large"),
        code("few descriptors", "import os; print(len(os.listdir('/proc/self/fd')))\ntry:\n    while True: os.dup(0)\nexcept OSError as e: print(e, e.errno)").shell("ulimit -n 40; \"$@\"").misses("CRIU failed"),
        code("niceness", "import os; print(os.nice(0), os.getpriority(0, 0))").shell("nice -n 5 \"$@\""),
        code("processors", "import os; print(os.sched_getscheduler(0), os.sched_getaffinity(0))").shell("taskset -c 0 \"$@\""),
        code("scheduling", "import os; print(os.sched_getscheduler(0))").shell("chrt --batch 0 \"$@\"").misses("scheduling"),
        code("process group", "import os; print(os.getpgrp() == int(os.environ['GROUP']), os.getsid(0) == int(os.environ['SESSION']))")
            .shell("export GROUP=$(ps -o pgid= $$) SESSION=$(ps -o sid= $$); \"$@\""),
        code("name", "print(open('/proc/self/comm').read(), open('/proc/self/cmdline').read().split(chr(0))[-3:])"),
        code("proc", "import os; print(os.readlink('/proc/self/exe'), os.readlink('/proc/self/cwd'), os.readlink('/proc/self/root'))"),
        // The C library keeps signals 32 and 33 to itself.
        code("status", "w = ('Uid', 'Gid', 'Groups', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'Umask')\ns = dict(l.strip().split(':', 1) for l in open('/proc/self/status'))\nprint([s[n] for n in w], [int(s[n], 16) & ~(3 << 31) for n in ('SigBlk', 'SigIgn', 'SigCgt', 'SigPnd')])"),
        code("timer slack and priorities", "import subprocess; print(open('/proc/self/timerslack_ns').read(), subprocess.run(['ionice'], capture_output=True).stdout)").shell("ionice -c 3 \"$@\""),
        code("no new privileges", "print([l for l in open('/proc/self/status') if l.startswith('NoNewPrivs')])").shell("setpriv --no-new-privs \"$@\""),
        code("address space", "print(open('/proc/self/personality').read())"),
        code("oom score", "print(open('/proc/self/oom_score_adj').read())").shell("echo 77 > /proc/self/oom_score_adj; \"$@\""),
        code("nothing else is mapped or open", "print([l.split()[-1] for l in open('/proc/self/maps') if 'criu' in l or 'restorer' in l])"),
        code("a timer from before", "import time; time.sleep(9)")
            .shell(&format!("exec $PYIMG_PYTHON -c 'import signal; signal.setitimer(signal.ITIMER_REAL, .5); {exec}' \"$@\""))
            .ends(-14)
            .misses("a timer is running"),
        code("orphans", "import ctypes; v = ctypes.c_int(); ctypes.CDLL(None).prctl(37, ctypes.byref(v), 0, 0, 0); print(v)")
            .shell(&format!("$PYIMG_PYTHON -c 'import ctypes; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); {exec}' \"$@\"; echo $?"))
            .misses("orphans are to become"),
        code("no huge pages", "import ctypes; print(ctypes.CDLL(None).prctl(42, 0, 0, 0, 0))")
            .shell(&format!("$PYIMG_PYTHON -c 'import ctypes; ctypes.CDLL(None).prctl(41, 1, 0, 0, 0); {exec}' \"$@\"; echo $?"))
            .misses("no transparent huge pages"),
        code("securebits", "import ctypes; print(ctypes.CDLL(None).prctl(27, 0, 0, 0, 0))")
            .shell(&format!("$PYIMG_PYTHON -c 'import ctypes; ctypes.CDLL(None).prctl(28, 64, 0, 0, 0); {exec}' \"$@\"; echo $?"))
            .misses("securebits are set"),
        code("blocked signals", "import os, signal, time; os.kill(os.getpid(), signal.SIGUSR1); time.sleep(.1); print(signal.sigpending())")
            .shell(&format!("$PYIMG_PYTHON -c 'import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); {exec}' \"$@\"; echo $?"))
            .misses("signals are blocked"),
        code("children from before", "import os; print(os.wait()[1] >> 8)")
            .shell("sh -c '(sleep .3; exit 3) & exec \"$@\"' sh \"$@\"; echo $?")
            .misses("there are children from before"),
        code("socket activation", "import os; print(os.environ['LISTEN_PID'] == str(os.getpid()))")
            .shell("sh -c 'export LISTEN_PID=$$; exec \"$@\"' sh \"$@\"")
            .misses("LISTEN_PID names this process"),
        code("timers", "import signal, time; print(signal.getitimer(signal.ITIMER_REAL), time.process_time() < 5, time.monotonic() > 0)"),
    ]);
}

#[test]
fn what_programs_do() {
    same(&[
        code(
            "subprocess",
            "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(1+1)'], capture_output=True))\nprint(subprocess.run('exit 3', shell=True).returncode)",
        ),
        code(
            "subprocess input",
            "import subprocess\nprint(subprocess.run(['tr', 'a-z', 'A-Z'], input='through', text=True, stdout=subprocess.PIPE).stdout)",
        ),
        Case::code(
            "multiprocessing in the working directory",
            "import multiprocessing, work\np = multiprocessing.get_context('spawn').Process(target=work.say)\np.start(); p.join(); print(p.exitcode)",
        )
        .file("work.py", "def say(): print('said')"),
        code(
            "fork",
            "import os\np = os.fork()\nif not p:\n    print('child'); os._exit(3) if 0 else exit(3)\nprint(os.waitpid(p, 0)[1] >> 8)",
        ),
        code(
            "forked end",
            "import os, atexit\natexit.register(print, 'end', flush=True)\np = os.fork()\nif p: os.waitpid(p, 0)",
        ),
        Case::script(
            "multiprocessing by fork",
            "import multiprocessing as m\ndef f(x): return x * x\nif __name__ == '__main__':\n    with m.get_context('fork').Pool(2) as p: print(p.map(f, range(5)))",
        ),
        Case::script(
            "multiprocessing by spawn",
            "import multiprocessing as m\ndef f(x): return x * x\nif __name__ == '__main__':\n    with m.get_context('spawn').Pool(2) as p: print(p.map(f, range(5)))",
        ),
        Case::script(
            "multiprocessing queue",
            "import multiprocessing as m\ndef f(q): q.put('from the child')\nif __name__ == '__main__':\n    c = m.get_context('fork'); q = c.Queue(); p = c.Process(target=f, args=(q,)); p.start(); print(q.get()); p.join(); print(p.exitcode)",
        ),
        code(
            "asyncio",
            "import asyncio\nasync def f():\n    p = await asyncio.create_subprocess_exec('echo', 'x', stdout=asyncio.subprocess.PIPE)\n    print(await p.stdout.read(), await p.wait())\n    await asyncio.gather(*(asyncio.sleep(.01) for _ in range(5)))\nasyncio.run(f())",
        ),
        code(
            "threads",
            "import threading\nr = []\nt = [threading.Thread(target=lambda i=i: r.append(i)) for i in range(20)]\n[x.start() for x in t]; [x.join() for x in t]\nprint(sorted(r), threading.active_count(), threading.current_thread().name, threading.main_thread().native_id == threading.get_native_id())",
        ),
        code(
            "own pid",
            "import os, threading\nprint(os.getpid() == threading.get_native_id() == int(os.readlink('/proc/self')))",
        ),
        Case::script(
            "pickles of the program",
            "import pickle\nclass A: pass\nprint(pickle.loads(pickle.dumps(A())).__class__, pickle.dumps(A()))",
        ),
        code(
            "logging",
            "import logging\nlogging.basicConfig(format='%(levelname)s %(message)s %(process)d' % () if 0 else '%(levelname)s %(message)s')\nlogging.warning('careful')",
        ),
        code(
            "temporary files",
            "import tempfile, os\nwith tempfile.NamedTemporaryFile() as f: print(os.path.dirname(f.name))\nd = tempfile.TemporaryDirectory()\nprint(os.path.isdir(d.name))",
        ),
        code(
            "modules",
            "import sys\nprint('__main__' in sys.modules, sys.modules['__main__'], sorted(sys.modules['__main__'].__dict__))",
        ),
        Case::script(
            "modules beside the script",
            "import beside\nfrom package import inner\nprint(beside.x, inner.__file__)",
        )
        .file("beside.py", "x = 1")
        .file("package/__init__.py", "")
        .file("package/inner.py", ""),
        code("imports that came before", "import json, numpy_is_not_here").ends(1),
        Case::script(
            "dataclasses",
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: int = 2\nprint(P(1))",
        ),
        code(
            "source of a command",
            "import inspect\ndef f(): pass\ntry:\n    print(inspect.getsource(f))\nexcept OSError as e: print(e)",
        ),
        code(
            "garbage",
            "import gc; print(gc.isenabled(), gc.get_threshold(), gc.garbage, gc.callbacks, gc.get_debug())",
        ),
        code(
            "memory",
            "x = [bytearray(1 << 20) for _ in range(50)]; del x[::2]; y = b'z' * (1 << 25); print(len(x), len(y))",
        ),
        code("big numbers", "print(len(str(7 ** 4000)), sum(range(10 ** 6)))"),
        code(
            "locale",
            "import locale, sys; print(locale.setlocale(locale.LC_ALL), sys.getfilesystemencoding(), locale.getpreferredencoding())",
        ),
        code("input", "print(input('prompt: '))").stdin("answer\n"),
        code("help", "help(len)").shell("\"$@\" | head -3"),
        code(
            "tracing",
            "import sys\ndef t(f, e, a):\n    if f.f_code.co_name == 'g': print(e)\n    return t\nsys.settrace(t)\ndef g(): return 1\ng()",
        ),
        code("exec", "import os; os.execv('/bin/echo', ['echo', 'replaced'])").ends(0),
        code(
            "exec of Python",
            "import os, sys; os.execv(sys.executable, [sys.executable, '-c', 'print(2)'])",
        )
        .ends(0),
    ]);
}

#[test]
fn numpy_works() {
    if !common::criu() {
        return;
    }
    let with_numpy: Vec<&Lab> = all().iter().filter(|lab| lab.python.numpy).collect();
    for lab in with_numpy {
        let program = "import numpy as np, threading\n\
            a = np.arange(250000.).reshape(500, 500)\n\
            print((a @ a.T).sum(), np.linalg.norm(a), np.random.default_rng(1).random(3))\n\
            t = [threading.Thread(target=lambda: a @ a) for _ in range(4)]\n\
            [x.start() for x in t]; [x.join() for x in t]; print(np.fft.fft(a[0])[:2])";
        let plain = common::run(lab.plain().args(["-c", program]));
        assert_eq!(lab.hit(&["-c", program]).success(), plain.success(), "{}", lab.python.label);
    }
}

#[test]
fn what_is_random_differs() {
    if !common::criu() {
        return;
    }
    let program = "import random, secrets, uuid, tempfile, os, ssl, multiprocessing, hashlib\n\
        print(random.random()); print(random.SystemRandom().random()); print(secrets.token_hex())\n\
        print(uuid.uuid4()); print(uuid.uuid1()); print(os.path.basename(tempfile.mktemp()))\n\
        print(ssl.RAND_bytes(8)); print(multiprocessing.current_process().authkey.hex())\n\
        print(random.getstate()[1][:3])";
    for lab in all() {
        let more = "\nimport numpy\nprint(numpy.random.random()); print(numpy.random.default_rng().random())";
        let program = format!("{program}{}", if lab.python.numpy { more } else { "" });
        let [first, second] = [(); 2].map(|()| lab.hit(&["-c", &program]).success());
        for (first, second) in first.lines().zip(second.lines()) {
            assert_ne!(first, second, "{}", lab.python.label);
        }
        let seeded = "import random; random.seed(5); print(random.random())";
        assert_eq!(lab.hit(&["-c", seeded]), common::run(lab.plain().args(["-c", seeded])));
    }
}

#[test]
fn the_log_says_which_image_or_why_none() {
    if !common::criu() {
        return;
    }
    let lab = &all()[0];
    let log = |value: &str, arguments: &[&str]| {
        common::run(lab.pyrun().env("PYIMG_LOG", value).args(arguments)).stderr_text()
    };
    let (hit, miss) = (["-c", "import json"], ["-c", "pass"]);
    assert_eq!(log("hit", &hit), "pyrun: hit: image\n");
    assert_eq!(log("debug", &hit), "pyrun: hit: image\n");
    assert_eq!(log("miss", &hit), "");
    assert_eq!(log("hit", &miss), "");
    let reason = "pyrun: miss: no image holds a module that the program imports\n";
    assert_eq!(log("miss", &miss), reason);
    assert_eq!(log("debug", &miss), reason);
    assert_eq!(log("", &miss), "");
    // For the benchmark: what was reached when, and nothing else.
    for (arguments, outcome, reached) in
        [(&hit, "hit", "evidence restored started end"), (&miss, "not-covered", "store end")]
    {
        let line = log("phases", arguments);
        let phases: serde_json::Value = serde_json::from_str(&line).expect(&line);
        assert_eq!(phases["outcome"], outcome, "{line}");
        let marks = phases["marks"].as_array().unwrap();
        for point in reached.split(' ') {
            assert!(marks.iter().any(|mark| mark[0] == point), "{point} is not in {line}");
        }
        assert!(
            marks.iter().all(|mark| mark[1].as_u64() >= marks[0][1].as_u64() && mark[2].is_u64()),
            "{line}"
        );
    }
    // Wherever standard error leads, the program runs.
    for redirection in ["2>/dev/full", "2>&-", "2> >(exit 1)"] {
        let script = format!("\"$@\" {redirection}; echo $?");
        for (arguments, log) in [(hit, "debug"), (miss, "debug"), (hit, "phases"), (miss, "phases")]
        {
            let mut command = std::process::Command::new("bash");
            common::ground().clean(&mut command, &lab.store);
            command.env("PYIMG_PYTHON", &lab.python.path).env("PYIMG_LOG", log);
            command.args(["-c", &script, "bash"]).arg(common::binary("pyrun")).args(arguments);
            assert_eq!(
                common::run(&mut command).stdout_text(),
                "0\n",
                "{redirection} {arguments:?} {log}"
            );
        }
    }
}
