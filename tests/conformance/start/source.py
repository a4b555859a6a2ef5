#: The source of a program is decoded and compiled as Python does it.
#: every
#: run: printf 'x = "\351"\n' > bad.py; printf '# coding: latin-1\nprint(ascii("\351"))\n' > latin.py; for name in bad latin; do python $name.py; echo $?; python -m $name; echo $?; python - < $name.py; echo $?; done
#: run: python program.py; python -c "$(cat program.py)"; python - < program.py
#: run: python -c ""; echo $?; python - < /dev/null; echo $?
from __future__ import annotations
def f(x: undefined): pass
print(f.__annotations__)
