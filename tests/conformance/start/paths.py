#: sys.path is CPython's, entry by entry, for every kind of program, and so is what stands beside it.
#: every
#: recipe: import os
#: run [] [-I] [-E] [-s] [-S] [-P] [PYTHONSAFEPATH=1] [PYTHONNOUSERSITE=1] [PYTHONPATH=/a:/usr] [-E PYTHONPATH=/a] [PYTHONPLATLIBDIR=lib] [PYTHONUSERBASE=/usr] [-X frozen_modules=off]: top=$PWD; mkdir d; cp program.py d/__main__.py; cp program.py d/m.py; python program.py; python d/m.py; python d; python -c "$(cat program.py)"; python - < program.py; python < program.py; cd d; python ../program.py; python -m m; python .; cd /; python "$top/program.py"
#: run: mkdir -p d/e; ln -s d/e l; cp program.py d/e/m.py; ln -s e/m.py d/m; python l/m.py; python d/m; cd l; python ../../program.py; python -c "$(cat m.py)"; cp m.py n.py; python -m n
#: run: mkdir d; cp program.py d/__main__.py; cd d; "$PYIMG_PYTHON" -m zipfile -c ../a.zip __main__.py; cd ..; python a.zip; python ./a.zip; ln -s a.zip b; python b; rm a.zip
import os
import sys

hooks = [getattr(hook, "__qualname__", hook) for hook in sys.path_hooks]
print(sys.path, sys.flags.isolated, hooks, [getattr(finder, "__qualname__", type(finder)) for finder in sys.meta_path])
cache = sys.path_importer_cache
print(getattr(sys, "platlibdir", None), sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)
site = sys.modules.get("site")
print(site and (site.ENABLE_USER_SITE, site.USER_SITE, site.USER_BASE, site.PREFIXES, site.__file__))
try:
    import absent  # goes through all of sys.path
except ImportError as error:
    print(error.name, error.path)
print([path and type(cache[path]).__name__ for path in (path or os.getcwd() for path in sys.path)])
print([name in cache for name in (sys.argv[0], os.path.abspath(sys.argv[0]), "", "-c")])
