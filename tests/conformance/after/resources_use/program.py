#: importlib.resources, importlib.metadata, pkgutil and inspect find the files and the sources of modules.
import importlib.metadata as metadata, importlib.resources as resources, inspect, json, linecache, pkgutil, sys, textwrap

import package
print(resources.files(package).joinpath("data/text.txt").read_text())
with resources.as_file(resources.files("package") / "data" / "text.txt") as path:
    print(path.name, path.exists())
print(sorted(p.name for p in resources.files("package").iterdir() if not p.name.startswith("__pyc")))
print(pkgutil.get_data("package", "data/text.txt"), [m.name for m in pkgutil.iter_modules(package.__path__)])
print(metadata.version("pip") == __import__("pip").__version__, sorted(d.metadata["Name"] for d in metadata.distributions() if d.metadata["Name"] in ("pip", "own")))
print(metadata.version("own"), metadata.metadata("own")["Summary"], [e.value for e in metadata.distribution("own").entry_points], [str(f) for f in metadata.files("own")])
try:
    metadata.version("no-such-thing")
except metadata.PackageNotFoundError as error:
    print(error)
print(len(inspect.getsource(json.dumps)), inspect.getsourcelines(textwrap.dedent)[1], inspect.getsourcefile(json) == json.__file__)
print(inspect.getsource(package.f), inspect.getmodule(json.dumps) is json, inspect.getdoc(json.loads)[:20])
class Own:
    def method(self): return 1
print(inspect.getsource(Own), inspect.signature(json.dumps), inspect.getfile(Own) == __file__)
print(linecache.getline(json.__file__, 1), len(linecache.getlines(package.__file__)), json.__cached__[-14:] if hasattr(json, "__cached__") else "")
