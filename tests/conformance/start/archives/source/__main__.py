import sys, json, csv, pkgutil
print(sys.argv, sys.path[0], __file__, __name__, repr(__package__), __spec__.name)
print(__spec__.origin, type(__loader__).__name__, __loader__.archive, __loader__.get_data(__file__)[:6])
print(sorted(n for n in globals() if not n.startswith("__")))
import helper, package.part
from package import data
print(helper.__file__, helper.__cached__, package.__path__, data())
print(pkgutil.get_data("package", "data.txt"), [m.name for m in pkgutil.iter_modules([sys.path[0]])])
try:
    import importlib.resources as resources
    print(resources.files("package").joinpath("data.txt").read_text())
except (ImportError, AttributeError):
    pass
import inspect
print(inspect.getsource(helper))
if sys.argv[1:] == ["exit"]: sys.exit(3)
if sys.argv[1:] == ["say"]: sys.exit("said")
if sys.argv[1:] == ["raise"]: helper.fail(0)
