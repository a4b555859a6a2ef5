#: multiprocessing works by fork, spawn and forkserver, from a script, a module, a command and standard input.
#: run: for m in fork spawn forkserver; do python program.py $m; done
#: run: for m in fork spawn forkserver; do python -m program $m; done
#: run: for m in fork spawn forkserver; do python -m package $m; done
#: run: python -c 'import work; work.all("fork")'
#: run: python -c 'import work; work.all("spawn")'
#: run: python - < stdin.py 2>&1 | grep -v "^  File\|^    "
#: run: python < stdin.py 2>&1 | grep -v "^  File\|^    "
#: run: cd /; for m in spawn forkserver; do python "$OLDPWD/program.py" $m; done
#: run: python -m zipapp package -o p.pyz; python p.pyz fork; rm p.pyz
import sys

def in_main(x):
    return __name__, x * 2

class Own:
    def __init__(self, x):
        self.x = x
    def __eq__(self, other):
        return self.x == other.x

if __name__ == "__main__":
    import multiprocessing
    import work
    work.all(sys.argv[1])
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        print(pool.map(in_main, [1, 2]))
        print(pool.apply(work.echo, [Own(3)]) == Own(3))
