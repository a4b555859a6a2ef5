#: As deep as Python recurs under plain Python it recurs from an image, and where C code would crash it does not.
#: run: parts
#: run: ulimit -s 1024; parts
#: run: ulimit -s 65536 && parts
#: run: ulimit -s unlimited && parts
#: varies: 0x[0-9a-f]+|\b\d{12,}\b|environment: line \d+: .*
#= python
import sys
def f(n=1):
    try:
        return f(n + 1)
    except RecursionError as e:
        return n, str(e)
print(f(), sys.getrecursionlimit())
def g():
    g()
g()
#= python_limited
import sys
for limit in 100, 5000:
    sys.setrecursionlimit(limit)
    def f(n=1):
        try:
            return f(n + 1)
        except RecursionError:
            return n
    print(f())
try:
    sys.setrecursionlimit(1)
except Exception as e:
    print(e)
#= through_c
import functools, json, pickle, sys, copy, ast
def depth(f):
    low, high = 1, 200000
    while low < high:
        middle = (low + high + 1) // 2
        try:
            f(middle)
            low = middle
        except (RecursionError, MemoryError):
            high = middle - 1
    return low
def nested(n):
    x = []
    for _ in range(n - 1):
        x = [x]
    return x
class A:
    def __init__(self, n): self.n = n
    def __repr__(self): return repr(A(self.n - 1)) if self.n else "x"
    def __eq__(self, other): return A(self.n - 1) == A(self.n - 1) if self.n else True
    def __getattr__(self, name): return getattr(A(self.n - 1), name) if self.n else 5
    def __call__(self): return functools.partial(A(self.n - 1))() if self.n else 5
print(depth(lambda n: repr(nested(n))))
print(depth(lambda n: json.dumps(nested(n), check_circular=False)))
print(depth(lambda n: json.loads("[" * n + "]" * n)))
print(depth(lambda n: pickle.dumps(nested(n))))
print(depth(lambda n: copy.deepcopy(nested(n))))
print(depth(lambda n: nested(n) == nested(n)))
print(depth(lambda n: repr(A(n))), depth(lambda n: A(n) == A(n)), depth(lambda n: A(n).x), depth(lambda n: A(n)()))
print(depth(lambda n: sorted([n], key=lambda x: f(x))))
def f(n):
    return max([n], key=lambda x: f(x - 1) if x else 0)
print(depth(f))
#= compiled
def depth(f):
    low, high = 1, 300
    while low < high:
        middle = (low + high + 1) // 2
        try:
            f(middle)
            low = middle
        except (RecursionError, MemoryError, SyntaxError):
            high = middle - 1
    return low
print(depth(lambda n: compile("(" * n + ")" * n, "x", "eval")), depth(lambda n: eval("-" * n + "1")))
#= in_threads
import threading
def f(n=1):
    try:
        return f(n + 1)
    except RecursionError:
        return n
got = []
t = threading.Thread(target=lambda: got.append(f()))
t.start(); t.join()
print(got, threading.stack_size())
def g(n):
    return max([n], key=lambda x: g(x - 1) if x else 0)
t = threading.Thread(target=lambda: got.append(g(100)))
t.start(); t.join()
print(got)
#= stack_left
# How much of the stack C code can use: most of 8 MB, or of what the limit allows.
import ctypes, resource, sys
soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
c = ctypes.CDLL(None)
wanted = 100 << 20 if soft < 0 else soft - (500 << 10)
mark = ctypes.create_string_buffer(8)
@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def compare(a, b):
    return 0
maps = [l for l in open("/proc/self/maps") if l.rstrip().endswith("[stack]")]
low, top = (int(x, 16) for x in maps[0].split()[0].split("-"))
below = max(int(l.split()[0].split("-")[1], 16) for l in open("/proc/self/maps") if int(l.split()[0].split("-")[1], 16) <= low)
print(len(maps), top - below > wanted)
#= deep_in_c
# 60 % of the limit in frames of C.
import resource, sys, threading
soft = resource.getrlimit(resource.RLIMIT_STACK)[0]
sys.setrecursionlimit(10 ** 6)
class A:
    def __init__(self, n): self.n = n
    def __getattr__(self, name): return getattr(A(self.n - 1), name) if self.n else 5
size = 8 << 20 if soft < 0 else soft
try:
    print(A(min(size, 64 << 20) * 6 // 10 // 1500).x)
except RecursionError as e:
    print(e)
