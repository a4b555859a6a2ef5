#: What is imported after the start is found in every way: packages, namespaces, archives, paths, hooks, C modules.
#: run: python program.py
#: run: python -m program
import importlib, importlib.abc, importlib.machinery, importlib.util, os, sys, threading, zipfile

import package.inner
from package import sub_later
print(package.__file__.endswith("package/__init__.py"), package.inner.up, sub_later.__package__, package.__spec__.parent)
sys.path[0:0] = ["space1", "space2"]
import ns.one, ns.two
print(type(ns.__path__).__name__, len(list(ns.__path__)), ns.one.x, ns.two.x)
with zipfile.ZipFile("lib.zip", "w") as z:
    z.writestr("zipped/__init__.py", "from . import more")
    z.writestr("zipped/more.py", "x = 'from a zip'")
    z.writestr("zipped/data.txt", "some data")
sys.path.append("lib.zip")
import zipped, pkgutil, zipimport
print(zipped.more.x, type(zipped.__loader__).__name__, pkgutil.get_data("zipped", "data.txt"), zipped.more.__file__[-19:])
os.remove("lib.zip")
try:
    print(sorted(m.name for m in pkgutil.walk_packages(package.__path__, "package.")))
    import added
except ImportError as error:
    print(error, error.name, error.path)

import site
os.makedirs("site/elsewhere")
for name, text in ("site/one.pth", "elsewhere\nimport sys; sys.by_pth = 1\n"), ("site/elsewhere/found_by_pth.py", "x = 1"):
    with open(name, "w") as f: f.write(text)
site.addsitedir("site")
import found_by_pth
print(found_by_pth.x, sys.by_pth, [os.path.relpath(p) for p in sys.path[-2:]])
__import__("shutil").rmtree("site")
del sys.path[-2:]

# Created after the start, beside the program and in a package.
with open("new_one.py", "w") as f: f.write("x = 1")
try:
    import new_one
except ImportError as error:
    print(error)
importlib.invalidate_caches()
import new_one
with open("package/new_two.py", "w") as f: f.write("x = 2")
importlib.invalidate_caches()
import package.new_two
print(new_one.x, package.new_two.x)
os.utime("new_one.py", (1, 1))
with open("new_one.py", "w") as f: f.write("x = 111")
print(importlib.reload(new_one).x, importlib.reload(package).__name__)
os.remove("new_one.py"); os.remove("package/new_two.py")

# Modules of the image again.
import json, random, collections.abc, string
old = json.dumps
print(importlib.reload(json) is json, json.dumps is old, json.dumps([1]), json.decoder.JSONDecodeError("m", "d", 0))
print(importlib.reload(string).digits, importlib.reload(sys) is sys)
was = random
del sys.modules["random"], random
import random
print(random is was, random.Random(5).random(), was.Random(5).random())
for name in [n for n in sys.modules if n.partition(".")[0] == "json"]: del sys.modules[name]
import json
print(json.dumps is old, json.loads("[2]"))
sys.modules["string"] = None
try:
    import string
except ImportError as error:
    print(error)
del sys.modules["string"]

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        asked.append(name)
        if name.startswith("made_up"):
            return importlib.machinery.ModuleSpec(name, self, is_package=name == "made_up")
    def create_module(self, spec): return None
    def exec_module(self, module): module.x = module.__name__ * 2
asked = []
sys.meta_path.insert(0, Finder())
import made_up.one
import json.tool, colorsys
print(made_up.one.x, made_up.__path__, [a for a in asked if a.startswith(("made", "json", "colorsys"))])
del sys.meta_path[0]
print([getattr(f, "__name__", type(f).__name__) for f in sys.meta_path], len(sys.path_hooks))

spec = importlib.util.find_spec("shelve")
spec.loader = importlib.util.LazyLoader(spec.loader)
lazy = importlib.util.module_from_spec(spec)
sys.modules["shelve"] = lazy
spec.loader.exec_module(lazy)
print(type(lazy).__name__, lazy.open.__name__, type(lazy).__name__)
for name in "_lzma", "_curses", "_bz2", "audioop", "termios", "mmap", "_testcapi", "_elementtree", "readline", "_zoneinfo", "_dbm":
    try:
        found = importlib.import_module(name)
        print(name, type(found.__loader__).__name__ if hasattr(found.__loader__, "name") else found.__loader__.__name__)
    except ImportError as error:
        print(error)
import lzma
print(lzma.decompress(lzma.compress(b"x" * 99))[:3])
import circular_a
print(circular_a.b.a is circular_a)
try:
    import circular_bad
except ImportError as error:
    print(type(error).__name__, str(error).partition("(/")[0])
results = []
def in_thread(i):
    import calendar, statistics, wave
    importlib.import_module(("tarfile", "plistlib", "configparser")[i % 3])
    results.append(calendar.MONDAY)
threads = [threading.Thread(target=in_thread, args=(i,)) for i in range(12)]
for t in threads: t.start()
for t in threads: t.join()
print(len(results))
import runpy
print(runpy.run_path("package/inner.py", run_name="other")["__name__"], runpy.run_module("circular_a")["__name__"])
print(importlib.util.resolve_name(".x", "a.b"), importlib.util.find_spec("no.such") if "no" in sys.modules else None)
module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("by_file", "package/inner.py"))
module.__spec__.loader.exec_module(module)
print(module.__name__, module.up, [n for n in sys.builtin_module_names if n == "sys"])
