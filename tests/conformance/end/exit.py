#: SystemExit in all its forms, from everywhere, ends as in CPython.
#: recipe: import os, re, subprocess, traceback
#: run: parts
#: varies: 0x[0-9a-f]+|\b\d{12,}\b|environment: line \d+: .*
#= attribute
import sys
error = SystemExit(3)
error.code = "changed"
raise error
#= attribute_gone
class Exit(SystemExit):
    @property
    def code(self):
        raise AttributeError("none")
raise Exit(3)
#= attribute_raises
class Exit(SystemExit):
    @property
    def code(self):
        raise ValueError("none")
raise Exit(3)
#= subclass
class Exit(SystemExit):
    def __init__(self):
        self.code = 9
raise Exit
#= type
raise SystemExit
#= text_raises
class Bad:
    def __str__(self):
        raise ValueError("no text")
raise SystemExit(Bad())
#= text_exits
class Bad:
    def __str__(self):
        raise SystemExit(7)
raise SystemExit(Bad())
#= text_long
import sys
sys.exit(2**200)
#= text_unprintable
import sys
sys.exit("\udc80 \N{SNOWMAN}")
#= object_dies
class Said:
    def __str__(self):
        return "said"
    def __del__(self):
        print("gone")
raise SystemExit(Said())
#= frames_die_first
import atexit
class Noted:
    def __del__(self):
        print("local gone")
def inner():
    local = Noted()
    raise SystemExit(2)
atexit.register(print, "atexit")
inner()
#= error_frames_die_later
import atexit
class Noted:
    def __del__(self):
        print("local gone")
def inner():
    local = Noted()
    raise ValueError(2)
atexit.register(print, "atexit")
inner()
#= stderr_none
import sys
sys.stderr = None
print("out")
sys.exit("to C's stream")
#= stderr_gone
import sys
del sys.stderr
sys.exit("to C's stream")
#= stderr_closed
import sys
sys.stderr.close()
sys.exit("nowhere")
#= stderr_replaced
import io, sys
class Stream(io.StringIO):
    def write(self, text):
        print("written", repr(text))
        return len(text)
sys.stderr = Stream()
sys.exit("text")
#= stderr_raises
import sys
class Stream:
    def write(self, text):
        raise OSError("no")
sys.stderr = Stream()
sys.exit("text")
#= stdout_unflushed_first
import sys
sys.stdout.write("first")
sys.exit("second")
#= in_finally
import sys
try:
    try:
        1 / 0
    finally:
        sys.exit(3)
except SystemExit as error:
    print(repr(error), repr(error.__context__))
    raise
#= in_except
try:
    1 / 0
except ZeroDivisionError:
    raise SystemExit("while handling")
#= in_generator
def values():
    try:
        yield 1
        raise SystemExit(4)
    finally:
        print("finally")
list(values())
#= in_atexit
import atexit, sys
atexit.register(print, "earlier")
atexit.register(sys.exit, 5)
atexit.register(sys.exit, "text")
atexit.register(print, "later")
#= in_atexit_after_exit
import atexit, sys
atexit.register(sys.exit, 5)
sys.exit(6)
#= in_atexit_object
import atexit
def leave():
    raise SystemExit(Exception("object"))
atexit.register(leave)
#= in_thread
import sys, threading
threads = [threading.Thread(target=sys.exit, args=(value,)) for value in (0, 3, "text", None)]
[t.start() for t in threads]
[t.join() for t in threads]
import _thread, time
_thread.start_new_thread(sys.exit, (4,))
time.sleep(.05)
print("main")
#= in_thread_excepthook
import sys, threading
def hook(arguments):
    print("hook", arguments.exc_type, arguments.thread.name)
    sys.exit(3)
threading.excepthook = hook
thread = threading.Thread(target=lambda: 1 / 0, name="T")
thread.start()
thread.join()
print("main")
#= in_signal_handler
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *a: sys.exit(9))
os.kill(os.getpid(), signal.SIGTERM)
print("never")
#= in_finaliser
import sys
class A:
    def __del__(self):
        sys.exit(3)
A()
print("main")
a = A()
#= in_weakref_callback
import sys, weakref
class A: pass
a = A()
r = weakref.ref(a, lambda _: sys.exit(3))
del a
print("main")
#= in_excepthook
import sys
def hook(*a):
    print("hook", a[0])
    sys.exit(7)
sys.excepthook = hook
1 / 0
#= in_excepthook_with_unflushed_files
import json, sys
json.kept = open("kept", "w")
json.kept.write("kept")
own = open("own", "w")
own.write("own")
class A:
    def __del__(self):
        print("del")
json.object = A()
a = A()
def hook(*a):
    sys.exit("text")
sys.excepthook = hook
1 / 0
#= in_unraisablehook
import sys
def hook(arguments):
    print("hook", arguments.exc_type)
    sys.exit(7)
sys.unraisablehook = hook
class A:
    def __del__(self):
        1 / 0
A()
print("main")
#= in_displayhook
import sys
sys.displayhook = sys.exit
exec(compile("5", "x", "single"))
#= in_asyncio
import asyncio
async def main():
    async def leave():
        raise SystemExit(6)
    task = asyncio.ensure_future(leave())
    try:
        await asyncio.sleep(5)
    finally:
        print("main is cancelled")
asyncio.run(main())
#= in_import
import sys
open("beside_exit.py", "w").write("import sys\nprint('imported')\nsys.exit(3)\n")
import beside_exit
#= in_comparison
class A:
    def __lt__(self, other):
        raise SystemExit("compared")
sorted([A(), A()])
#= in_exec
exec("raise SystemExit(12)")
#= in_settrace
import sys
def trace(*a):
    sys.exit(13)
def f():
    pass
sys.settrace(trace)
f()
#= in_group
import sys
if sys.version_info < (3, 11):
    sys.exit(11)
raise BaseExceptionGroup("both", [SystemExit(3), KeyboardInterrupt()])
#= quit_
quit("quit")
#= exit_without_site
import builtins
del builtins.exit
exit(3)
#= exit_of_site
print("x", end="")
exit(4)
#= raised_from
try:
    1 / 0
except ZeroDivisionError as error:
    raise SystemExit("from") from error
