#: PYTHONBREAKPOINT is read when breakpoint() is called.
#: recipe: import os, pdb
#: run: PYTHONBREAKPOINT=0 python program.py; PYTHONBREAKPOINT=builtins.print python program.py; PYTHONBREAKPOINT=no.such python program.py; PYTHONBREAKPOINT=os.getcwd python program.py; PYTHONBREAKPOINT=print python -E program.py < /dev/null 2>&1 | tail -1
#: run: PYTHONSTARTUP=/nowhere PYTHON_HISTORY=/nowhere PYTHON_COLORS=0 PYTHON_BASIC_REPL=1 NO_COLOR=1 FORCE_COLOR= python -W error program.py < /dev/null 2>&1 | grep -v '^[->]'
#: either
import sys

breakpoint()
print(sys.breakpointhook is sys.__breakpointhook__)
