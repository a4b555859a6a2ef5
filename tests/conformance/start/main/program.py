#: `__main__` is what CPython makes of it, for every kind of program.
#: every
#: varies: 0x[0-9a-f]+
#: run [] [-O] [-I]: for script in program.py ./program.py "$PWD/program.py" ../place/program.py .//program.py; do python $script; done
#: run: mkdir bin; ln -s ../program.py bin/link; cp program.py "bin/a name"; python bin/link; python "bin/a name"; ln -s bin also; python also/link; cd bin; python ../also/../program.py
#: run: python -c "$(cat program.py)"; python -c "exec(open('program.py').read())" program.py
#: run: python - x < program.py; python < program.py; cat program.py | python - x; cat program.py | python; python /dev/stdin < program.py
#: run: python -m program; python -m program x; mkdir -p p/q; touch p/__init__.py; cp program.py p/q/__main__.py; cp program.py p/m.py; python -m p.q x; python -m p.q.__main__; python -m p.m
#: run [] [-I]: mkdir -p d/e; cp program.py d/__main__.py; for d in d d/ ./d "$PWD/d" d/e/..; do python $d x; done; cd d; python . x
#: run: mkdir d; cp program.py d/__main__.py; "$PYIMG_PYTHON" -m zipfile -c a.zip d/__main__.py program.py; cd d; "$PYIMG_PYTHON" -m zipfile -c ../b.zip __main__.py; cd ..; (echo '#!/bin/x'; cat b.zip) > b.pyz; python b.zip; python ./b.pyz x; python "$PWD/b.zip"; rm *.zip b.pyz
#: run: "$PYIMG_PYTHON" -c 'import py_compile; py_compile.compile("program.py", "a.pyc"); py_compile.compile("program.py", "b")'; python a.pyc; python ./b; mkdir d; mv a.pyc d/__main__.pyc; python d; rm -r b d
import sys


def show(name, value):
    print("   ", name, type(value), "the module" if value is sys.modules["builtins"] else repr(value))


print(sys.argv, getattr(sys, "orig_argv", None))
print("  ", __name__, type(sys.modules["__main__"]), sys.modules["__main__"].__dict__ is globals())
print("  ", [name for name in sys.modules if "__main__" in name or "program" in name])
for name in list(globals()):
    show(name, globals()[name])
for owner in __spec__, __loader__:
    for name in "name", "origin", "parent", "cached", "has_location", "submodule_search_locations", "loader_state", "path", "archive", "prefix":
        if hasattr(owner, name):
            show(name, getattr(owner, name))
print("  ", sys._getframe().f_code.co_filename, sys._getframe().f_code.co_name, sys._getframe().f_back is None)
print("  ", hasattr(__loader__, "get_source") and not isinstance(__loader__, type) and len(__loader__.get_source(__name__) or ""))
