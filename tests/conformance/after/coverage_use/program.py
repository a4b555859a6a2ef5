#: coverage measures the same lines, branches and processes.
#: needs: coverage
#: recipe: import argparse, json, multiprocessing, os, subprocess, sqlite3, threading
#: run: python -m coverage run program.py; python -m coverage report -m; python -m coverage json -q -o -; rm .coverage
#: run: python -m coverage run --branch --concurrency=multiprocessing,thread program.py many; python -m coverage combine -q; python -m coverage report -m; rm -f .coverage*
#: run: python -m coverage run -m package.inner; python -m coverage report; rm .coverage
#: run: COVERAGE_PROCESS_START=$PWD/rc python start.py; python -m coverage report --rcfile rc -m; rm -f .coverage*
#: varies: "timestamp": "[^"]*"
import json, sys

def f(x):
    if x:
        return json.dumps(x)
    else:
        return None

def work(n):
    return f(n)

if __name__ == "__main__":
    f(1)
    if "many" in sys.argv:
        import multiprocessing, threading
        with multiprocessing.get_context("fork").Pool(1) as pool:
            print(pool.map(work, [0, 1]))
            pool.close(); pool.join()
        t = threading.Thread(target=f, args=(0,)); t.start(); t.join()
