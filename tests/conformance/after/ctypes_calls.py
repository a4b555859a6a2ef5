#: ctypes calls C, is called back, and keeps errno; libraries are loaded that the image does not hold.
import ctypes, ctypes.util, os, threading
from ctypes import CFUNCTYPE, POINTER, Structure, Union, byref, c_char_p, c_double, c_int, c_void_p, cast, sizeof

c = ctypes.CDLL(None, use_errno=True)
print(c.getpid() == os.getpid(), c.abs(-5), c.strlen(b"four"))
c.close(-1)
print(os.strerror(ctypes.get_errno()), ctypes.set_errno(5), ctypes.get_errno())
m = ctypes.CDLL("libm.so.6")
m.cos.restype, m.cos.argtypes = c_double, [c_double]
print(m.cos(0.5))
array = (c_int * 6)(5, 3, 9, 1, 7, 2)
compare = CFUNCTYPE(c_int, POINTER(c_int), POINTER(c_int))(lambda a, b: a[0] - b[0])
c.qsort(array, len(array), sizeof(c_int), compare)
print(list(array))
def in_thread():
    c.qsort(array, len(array), sizeof(c_int), CFUNCTYPE(c_int, POINTER(c_int), POINTER(c_int))(lambda a, b: b[0] - a[0]))
t = threading.Thread(target=in_thread); t.start(); t.join()
print(list(array))
class P(Structure):
    _fields_ = [("x", c_int), ("y", c_double), ("flag", c_int, 3)]
class U(Union):
    _fields_ = [("i", c_int), ("b", ctypes.c_ubyte * 4)]
print(sizeof(P), P(1, 2.5, 3).flag, list(U(0x01020304).b))
buffer = ctypes.create_string_buffer(32)
c.snprintf(buffer, 32, b"%d %s", 7, b"seven")
print(buffer.value, ctypes.string_at(buffer, 1), ctypes.wstring_at("wide"))
c.getenv.restype = c_char_p
os.environ["NEW"] = "new"
print(c.getenv(b"NEW"), c.getenv(b"HOME") == os.environ["HOME"].encode(), c.getenv(b"LD_PRELOAD"))
z = ctypes.CDLL(ctypes.util.find_library("z") or "libz.so.1")
z.zlibVersion.restype = c_char_p
print(z.zlibVersion().count(b"."), ctypes.util.find_library("c"))
print(ctypes.pythonapi.Py_IsInitialized(), ctypes.py_object(os).value is os)
try:
    ctypes.CDLL("libdoes-not-exist.so")
except OSError as error:
    print(error)
ctypes.memset(buffer, 65, 3); print(buffer.value)
p = cast(c.malloc, c_void_p).value; print(p > 0)
c.malloc.restype = c_void_p; c.free.argtypes = [c_void_p]
block = c.malloc(1 << 22); ctypes.memset(block, 1, 1 << 22); c.free(block)
@CFUNCTYPE(None)
def at_end(): os.write(1, b"at the end\n")
c.atexit(at_end)
@CFUNCTYPE(c_int)
def bad(): raise ValueError("in a callback")
import sys
sys.unraisablehook = lambda u: print("unraisable", u.exc_value)
bad()
sys.stdout.flush()
