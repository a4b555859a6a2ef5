#: Tracebacks of every kind of program hold the program's frames and no others.
#: run: for m in error syntax frames; do python program.py $m; MODE=$m python < program.py; python - $m < program.py; cat program.py | python /dev/stdin $m; done
#: run: for m in error syntax frames; do python -c "$(cat program.py)" $m; python -m program $m; done
#: run: mkdir d p q; cp program.py d/__main__.py; cp program.py p/__main__.py; echo 'import sys; sys.argv[1:] = ["frames"]; from p import __main__' > q/__main__.py; touch p/__init__.py q/__init__.py; for m in error syntax frames; do python d $m; python -m p $m; python -m q; done
#: run: echo 'x = (' > bad.py; echo 'def f(:' > bad2.py; mkdir b; cp bad.py b/__main__.py; touch b/__init__.py; python bad.py; python -m bad; python -m bad2; python b; python -m b; python -c 'x = ('; python - < bad.py; python -c $'def f():\nx'; python -m no_such; python -m os.path.no
#: run: cat program.py > __main__.py; python -c 'import zipfile; z = zipfile.ZipFile("z.pyz", "w"); z.write("__main__.py"); z.close()'; for m in error syntax frames; do python z.pyz $m; done; rm z.pyz
#: run: python -c 'import py_compile; py_compile.compile("program.py", "c.pyc", dfile="elsewhere.py")'; for m in error syntax frames; do python c.pyc $m; done; rm c.pyc
import inspect
import os
import sys
import traceback

mode = sys.argv[1] if len(sys.argv) > 1 else os.environ["MODE"]


def f(n):
    if n:
        return f(n - 1)
    if mode == "error":
        return 1 / 0
    if mode == "syntax":
        return compile("a b", "<text>", "exec")
    traceback.print_stack()
    print([(x.filename, x.lineno, x.function) for x in inspect.stack()])
    print(inspect.getsourcefile(f) if mode == "x" else f.__code__.co_filename)


f(2)
