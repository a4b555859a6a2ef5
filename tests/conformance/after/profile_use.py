#: cProfile, profile, trace, timeit and doctest see of the program what they see by plain Python, but for the imports.
#: run: python -m cProfile -o out program.py; python -c 'import pstats, os; s = pstats.Stats("out").stats; os.remove("out"); print(sorted((os.path.basename(f), l, n, c[:2]) for (f, l, n), c in s.items() if n in ("f", "g", "dumps", "encode", "iterencode")))'
#: run: python -m cProfile -s name program.py | grep "program.py\|json" | grep -v "module>\|class" | tr -s " " | cut -d" " -f 2,7-
#: run: python -m profile -s name program.py | grep program.py | tr -s " " | cut -d" " -f 2,7-
#: run: python -m trace --count --missing -C . program.py; cat program.cover; rm *.cover
#: run: python -m trace --trace --ignore-dir=/usr:/root program.py | grep "^program.py\|: program"
#: run: python -m trace --listfuncs program.py | grep program
#: run: python -m timeit -n 2 -r 1 -s 'import program' 'print(program.f(2))' | sed -n 1,2p
#: run: python -m doctest program.py -v
#: run: python program.py own
import json, sys

def f(n):
    """
    >>> f(2)
    4
    >>> f(-1)
    Traceback (most recent call last):
    ValueError: less
    """
    if n < 0:
        raise ValueError("less")
    return sum(g(n) for _ in range(n))

def g(n):
    return len(json.dumps([n])) - 1

if __name__ == "__main__":
    if "own" in sys.argv:
        import cProfile, pstats, threading
        with cProfile.Profile() as p:
            f(3)
        print(sorted((n, c[:2]) for (_, _, n), c in pstats.Stats(p).stats.items()))
        calls = []
        sys.setprofile(lambda frame, event, arg: calls.append((event, frame.f_code.co_name)))
        f(1)
        sys.setprofile(None)
        print(calls)
    print(f(3))
