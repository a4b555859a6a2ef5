#: Tracebacks are coloured where Python would colour them.
#: recipe: import traceback
#: every
#: run: python program.py; PYTHON_COLORS=1 python program.py; FORCE_COLOR=1 python program.py; NO_COLOR=1 FORCE_COLOR=1 python program.py; PYTHON_COLORS=0 FORCE_COLOR=1 python program.py; FORCE_COLOR=1 python -c "$(cat program.py)"; FORCE_COLOR=1 python - < program.py
import traceback


def fail():
    [1, 2][5 + 1] + 3


try:
    fail()
except IndexError:
    traceback.print_exc()
fail()
