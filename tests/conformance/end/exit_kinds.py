#: Every kind of program ends by SystemExit, an error and an interrupt as in CPython.
#: run: for how in exit error interrupt end; do for in in file dash stdin; do f=program.py; case $in in file) python $f $how;; dash) python - $how < $f;; stdin) HOW=$how python < $f;; esac; echo "$how $in $?"; done; done
#: run: for how in exit error interrupt end; do python -m program $how; echo "$how $?"; done
#: run: for how in exit error interrupt end; do python -c "$(cat program.py)" $how; echo "$how $?"; done
#: run: mkdir d; cp program.py d/__main__.py; for how in exit error interrupt end; do python d $how; echo "$how $?"; done
#: run: mkdir p; cp program.py p/__main__.py; touch p/__init__.py; for how in exit error interrupt end; do python -m p $how; echo "$how $?"; done
#: run: (cp program.py __main__.py; PYTHONDONTWRITEBYTECODE=1 python3 -m zipfile -c z.pyz __main__.py); for how in exit error interrupt end; do python z.pyz $how; echo "$how $?"; done; rm z.pyz
#: run: python3 -c pass; python -c 'import py_compile; py_compile.compile("program.py", "c.pyc", dfile="program.py")'; for how in exit error interrupt end; do python c.pyc $how; echo "$how $?"; done; rm c.pyc
import atexit
import os
import sys

how = sys.argv[1] if len(sys.argv) > 1 else os.environ["HOW"]
atexit.register(print, "atexit", how)


class Noted:
    def __del__(self):
        print("del", how)


noted = Noted()
print("out", how)
if how == "exit":
    sys.exit(3)
if how == "error":
    raise ValueError("an error")
if how == "interrupt":
    raise KeyboardInterrupt
