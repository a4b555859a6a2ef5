#: What is finalised at the end, and in which order, wherever it is kept.
#: varies: 0x[0-9a-f]+|\b\d{12,}\b|environment: line \d+: .*
#= globals
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
b = A("b")
_a = A("_a")
a = A("a")
__c = A("__c")
_d = A("_d")
#= globals_without_class
import helper_of_globals_maker as maker
a, _b, c = maker.A("a"), maker.A("_b"), maker.A("c")
#= helper_of_globals_maker
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
#= several_modules
open("one_of_them.py", "w").write("class A:\n    def __init__(self, n): self.n = n\n    def __del__(self): print('del', self.n)\nx = A('one.x')\n_y = A('one._y')\n")
open("two_of_them.py", "w").write("from one_of_them import A\nz = A('two.z')\ndef f(): return z\n")
import os
import one_of_them, two_of_them
a = one_of_them.A("main.a")
os.remove("one_of_them.py"), os.remove("two_of_them.py")
#= attributes
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
class Holder:
    kept = A("of a class")
def function():
    pass
def default(x=A("default")):
    pass
class Slots:
    __slots__ = ("kept",)
slots = Slots()
slots.kept = A("in a slot")
#= containers
import array, collections
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
things = [A("list"), {A("set")}, {1: A("dict")}, (A("tuple"),), collections.deque([A("deque")])]
nested = collections.OrderedDict(x=collections.defaultdict(list, y=[A("nested")]))
#= cycles
class A:
    def __init__(self, n): self.n, self.me = n, self
    def __del__(self): print("del", self.n)
a = A("a")
A("dropped")
b, c = A("b"), A("c")
b.other, c.other = c, b
#= closures
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
def make():
    kept = A("in a closure")
    def inner():
        return kept
    return inner
inner = make()
#= frames
import sys
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
def keep():
    local = A("in a frame")
    return sys._getframe()
frame = keep()
try:
    (lambda a=A("in a traceback"): 1 / 0)()
except ZeroDivisionError as error:
    kept = error
#= builtins_
import builtins
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
builtins.kept = A("in builtins")
builtins.other = A("also in builtins")
#= builtins_replaced
import builtins
class Print:
    def __init__(self, real): self.real = real
    def __call__(self, *a): self.real("replaced:", *a)
    def __del__(self): self.real("del print")
builtins.print = Print(print)
print("text")
#= sys_
import sys
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
sys.path.append(A("in sys.path"))
sys.argv.append(A("in sys.argv"))
sys.modules["kept"] = A("in sys.modules")
#= image_modules
import json, logging, os, re
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
json.kept = A("in json")
#= image_modules_with_file
import json, os
json.kept = open("kept", "w")
json.kept.write("text")
json.list = [open("bytes", "wb")]
json.list[0].write(b"bytes")
json.raw = open("raw", "wb", buffering=0)
json.raw.write(b"raw")
#= caches
import functools
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
@functools.lru_cache(None)
def make(n):
    return A(n)
make("cached")
@functools.singledispatch
def dispatched(x): pass
#= context_variables
import contextvars
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
variable = contextvars.ContextVar("variable")
contextvars.copy_context().run(variable.set, A("in another"))
#= finalize
import atexit, weakref
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
a, b, c = A("a"), A("b"), A("c")
weakref.finalize(a, print, "finalised a")
atexit.register(print, "atexit")
f = weakref.finalize(b, print, "finalised b")
f.atexit = False
weakref.finalize(c, print, "finalised c")
weakref.finalize(c, lambda: 1 / 0)
#= weak_references
import weakref
class A: pass
def called(r):
    print("called", r())
a, b = A(), A()
ra, rb = weakref.ref(a, called), weakref.ref(b, called)
b.me = b
proxy = weakref.proxy(a, lambda _: print("proxy called"))
values = weakref.WeakValueDictionary(x=a)
#= weak_reference_dies_first
import weakref
class A: pass
r = weakref.ref(A(), lambda _: print("at once"))
b = A()
b.r = weakref.ref(b, lambda _: print("never"))
#= finaliser_resurrects
kept = []
class A:
    def __del__(self):
        print("del")
        kept.append(self)
a = A()
b = A()
b.me = b
#= finaliser_imports
class A:
    def __init__(self, n): self.n = n
    def __del__(self):
        for name in "json", "os", "colorsys", "sys":
            try:
                print(self.n, __import__(name).__name__)
            except Exception as error:
                print(self.n, type(error).__name__, error)
        try:
            import wave
        except Exception as error:
            print(type(error).__name__, error)
a = A("a")
b = A("b")
b.me = b
#= finaliser_sees
import sys, gc, threading
value = "value"
class A:
    def __del__(self):
        print(value, __name__, sys and sys.is_finalizing(), sys and sys.path, sys and sys.meta_path, sys and sys.argv, gc, threading)
a = A()
b = A()
b.me = b
#= finaliser_of_class
class Meta(type):
    def __del__(cls): print("del", cls.__name__)
class A(metaclass=Meta): pass
#= order_with_atexit
import atexit
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
a = A("a")
atexit.register(print, "plain")
atexit.register(lambda kept: print("handler"), A("argument"))
#= generators
def values(n):
    try:
        yield 1
    finally:
        print("finally", n)
a = values("a"); next(a)
_b = values("_b"); next(_b)
never_started = values("never")
things = [values("in a list")]; next(things[0])
#= generator_yields_again
def values():
    try:
        yield 1
    except GeneratorExit:
        yield 2
a = values()
next(a)
#= generator_in_cycle
def values():
    me = yield
    try:
        yield
    finally:
        print("finally")
a = values()
next(a)
a.send(a)
del a
#= context_manager
import contextlib
@contextlib.contextmanager
def manage():
    print("enter")
    try:
        yield
    finally:
        print("exit")
context = manage()
context.__enter__()
stack = contextlib.ExitStack()
stack.callback(print, "never")
#= local_thread
import threading
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
kept = threading.local()
kept.value = A("local")
#= logging_in_finaliser
import logging
class A:
    def __del__(self):
        logging.warning("in del")
a = A()
#= frozen
import gc
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
a = A("a")
b = A("b")
b.me = b
gc.freeze()
print("end")
#= unfrozen
import gc
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
a = A("a")
b = A("b")
b.me = b
gc.unfreeze()
print("end")
#= collector_off
import gc
gc.disable()
class A:
    def __init__(self, n): self.n, self.me = n, self
    def __del__(self): print("del", self.n)
A("dropped")
a = A("a")
#= collector_callback
import gc
class A:
    def __init__(self, n): self.n, self.me = n, self
    def __del__(self): print("del", self.n)
a = A("a")
gc.callbacks.append(lambda phase, info: print(phase) if phase == "stop" and info["collected"] > 1000000 else None)
#= collector_saves
import gc
gc.set_debug(gc.DEBUG_SAVEALL)
class A:
    pass
a = A()
a.me = a
del a
print("end")
#= excepthook_and_files
import sys
sys.excepthook = lambda *a: print("hook")
file = open("left.txt", "w")
file.write("text")
1 / 0
#= callback_of_c
import ctypes
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
@ctypes.CFUNCTYPE(None)
def callback(kept=A("kept by a callback")):
    print("called")
callback()
#= tracing
import sys
def trace(frame, event, argument):
    if frame.f_code.co_name in ("f", "__del__"):
        print(event, frame.f_code.co_name)
    return trace
class A:
    def __del__(self):
        print("del")
def f(): pass
a = A()
sys.settrace(trace)
f()
#= profiling
import sys
def profile(frame, event, argument):
    if frame.f_code.co_name in ("f", "__del__"):
        print(event, frame.f_code.co_name)
class A:
    def __del__(self):
        print("del")
def f(): pass
a = A()
sys.setprofile(profile)
f()
#= audit
import os, sys
from json import loads
ends = {"cpython._PySys_ClearAuditHooks", "cpython.PyInterpreterState_Clear"}
def hook(event, arguments, write=os.write):
    if event in ends or event.startswith(("gc.", "sys.", "os.")):
        write(1, event.encode() + b"\n")
sys.addaudithook(hook)
os.listdir(".")
class A:
    def __del__(self):
        print("del")
a = A()
#= deep
class Node:
    def __init__(self, next): self.next = next
node = None
for _ in range(200000):
    node = Node(node)
print("end")
#= attribute_of_function
class A:
    def __del__(self): print("del")
def function():
    pass
function.kept = A()
#= generator_in_image_module
import json
def values():
    try:
        yield
    finally:
        print("finally")
json.kept = values()
next(json.kept)
#= held_by_sys
import sys
class A:
    def __init__(self): self.write = sys.stderr.write
    def __del__(self):
        self.write("del sys\n")
        print("lost")
        1 / 0
sys.held = A()
print("end")
#= asks_for_the_end
import atexit, sys
class A:
    is_finalizing = sys.is_finalizing
    def __del__(self): print(self.is_finalizing(), flush=True)
a = A()
atexit.register(lambda: print(sys.is_finalizing()))
print(sys.is_finalizing, sys.is_finalizing.__doc__, sys.is_finalizing.__text_signature__)
#= audited_to_the_end
import gc, sys
def hook(event, arguments):
    if not event.startswith(("import", "open", "object", "marshal")):
        print(event, flush=True)
sys.addaudithook(hook)
print("end")
