#: Tracebacks look as under plain Python, wherever the error comes from.
#: run [] [-X no_debug_ranges] [-X utf8 -O]: parts
#: varies: 0x[0-9a-f]+|\b\d{12,}\b|environment: line \d+: .*
#= chained
def f(n):
    if n:
        f(n - 1)
    else:
        raise ValueError("deep")
try:
    f(3)
except ValueError as error:
    raise KeyError("second") from error
#= context
try:
    1 / 0
except ZeroDivisionError:
    None.nothing
#= repeated
def f(n):
    return f(n - 1) if n else 1 / 0
f(50)
#= syntax
x = = 1
#= indentation
def f():
x = 1
#= syntax_in_exec
exec("x = (\n")
#= syntax_in_compile
compile("a b", "named.py", "exec")
#= decoding
exec(b"x = '\xff'")
#= null_byte
exec("x = '\0'")
#= in_exec
code = "def f():\n    return 1 / 0\n"
exec(code)
f()
#= in_eval
eval("1 / 0")
#= in_lambda
(lambda: (lambda: 1 / 0)())()
#= in_comprehension
[1 / x for x in (1, 0)]
#= in_class
class A:
    x = 1 / 0
#= in_decorator
def decorate(f):
    1 / 0
@decorate
def g():
    pass
#= in_generator
def values():
    yield 1
    raise ValueError
list(values())
#= in_library
import json
json.loads("{")
#= in_library_callback
import functools
functools.reduce(lambda a, b: a / b, [1, 0])
#= in_import
open("beside_it.py", "w").write("def f():\n    1 / 0\nf()\n")
import os, sys
sys.dont_write_bytecode = True
try:
    import beside_it
finally:
    os.remove("beside_it.py")
#= syntax_in_import
open("broken.py", "w").write("x = (\n")
try:
    import broken
finally:
    import os
    os.remove("broken.py")
#= in_missing_import
import no_such.module
#= in_import_from
from json import no_such_name
#= in_thread
import threading
t = threading.Thread(target=lambda: 1 / 0, name="T")
t.start()
t.join()
#= in_finaliser
class A:
    def __del__(self):
        1 / 0
A()
#= in_finaliser_with_hook
import sys
sys.unraisablehook = lambda u: print(u.exc_type, u.exc_traceback.tb_lineno, u.err_msg)
class A:
    def __del__(self):
        1 / 0
A()
print("after")
#= in_callback_of_c
import ctypes
@ctypes.CFUNCTYPE(ctypes.c_int)
def f():
    1 / 0
f()
#= in_signal_handler
import os, signal
def handle(number, frame):
    print(frame.f_code.co_name, frame.f_back)
    1 / 0
signal.signal(signal.SIGUSR1, handle)
os.kill(os.getpid(), signal.SIGUSR1)
#= in_asyncio
import asyncio
async def inner():
    raise ValueError("in a task")
async def main():
    await asyncio.gather(inner())
asyncio.run(main())
#= in_runpy
import runpy
open("run.txt", "w").write("1 / 0")
runpy.run_path("run.txt")
#= groups
import sys
if sys.version_info >= (3, 11):
    e = ValueError("noted")
    e.add_note("a note")
    raise ExceptionGroup("group", [e, ExceptionGroup("inner", [TypeError(1), KeyError("k")])])
#= limit
import sys
sys.tracebacklimit = 2
def f(n):
    return f(n - 1) if n else 1 / 0
f(5)
#= limit_none
import sys
sys.tracebacklimit = 0
1 / 0
#= suggestions
import sys, collections
foo_bar = 1
try:
    foo_baz
except NameError as e:
    sys.excepthook(*sys.exc_info())
collections.namedtoplo
#= printed
import sys, traceback
def f():
    traceback.print_stack()
    print(traceback.extract_stack(), traceback.format_stack())
    print([(x.f_code.co_name, n) for x, n in traceback.walk_stack(None)])
f()
try:
    1 / 0
except ZeroDivisionError as e:
    traceback.print_exc()
    print(traceback.TracebackException.from_exception(e).stack)
#= inspected
import inspect, sys
def f():
    return [(x.filename, x.lineno, x.function, x.code_context) for x in inspect.stack()]
print(f(), sys._getframe().f_back, inspect.currentframe().f_back)
try:
    sys._getframe(1)
except ValueError as e:
    print(e)
print(sys._getframe().f_globals is globals(), sys._getframe().f_locals is globals(), sys._getframe().f_builtins["len"])
#= frames_of_threads
import sys, threading
print([f.f_code.co_name for f in sys._current_frames().values()], threading.enumerate(), threading.active_count())
print(threading.stack_size(), threading.main_thread().ident == threading.get_ident())
#= frames_at_exit
import atexit, sys, traceback
def f():
    traceback.print_stack()
    print(sys._getframe().f_back)
atexit.register(f)
#= frames_in_finaliser
import sys
class A:
    def __del__(self, get=sys._getframe):
        print(get().f_back)
a = A()
#= warned
import warnings
def f(level):
    warnings.warn(f"level {level}", stacklevel=level)
for level in 1, 2, 3, 9:
    f(level)
warnings.warn("old", DeprecationWarning)
warnings.warn_explicit("explicit", UserWarning, "file", 3)
open("beside_warning.py", "w").write("import warnings\nwarnings.warn('in an import', stacklevel=2)\n")
import beside_warning, os
os.remove("beside_warning.py")
print(sorted(k for k in globals() if "warn" in k), __warningregistry__.keys())
#= traced
import sys
seen = []
def trace(frame, event, argument):
    seen.append((frame.f_code.co_name, event, frame.f_back and frame.f_back.f_code.co_name))
    return trace
def f():
    return 1
sys.settrace(trace)
f()
sys.settrace(None)
sys.setprofile(trace)
f()
sys.setprofile(None)
print(seen)
#= line_cache
import linecache
print(sorted(k for k in linecache.cache if "pyimg" in k or k.startswith("<")))
