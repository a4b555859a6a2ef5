#: pdb steps through a program, from the command line, by breakpoint() and after an error.
#: run: printf 'b f\nc\np x\nw\nu\nd\nr\nn\nl\nq\n' | python -m pdb program.py
#: run: printf 'tbreak f\nc\ns\ns\nn\nc\nq\n' | python -m pdb program.py stop
#: run: printf 'p args\nwhere\nc\n' | python program.py breakpoint
#: run: printf 'p a\nup\nwhere\nq\n' | python program.py after
#: run: printf 'c\np 1\nq\n' | python -m pdb program.py raise
#: run: python -m pdb -c 'tbreak 18' -c continue -c 'p args' -c c -c q program.py x < /dev/null
#: run: printf 'p json.__name__\ns\nargs\nq\n' | python program.py image
#: varies: 0x[0-9a-f]+
import json
import sys

def f(x):
    y = x * 2
    return y

args = sys.argv[1:]
if "breakpoint" in args:
    breakpoint()
    print("after the breakpoint")
elif "after" in args:
    import pdb
    try:
        a = 5
        1 / 0
    except ZeroDivisionError:
        pdb.post_mortem()
elif "raise" in args:
    raise ValueError("uncaught")
elif "image" in args:
    breakpoint(); json.dumps([1])
print(f(21))
