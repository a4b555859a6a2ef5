#: On a terminal tracebacks are coloured as Python does it.
#: recipe: import traceback
#: either
#: terminal:
#: run [] [TERM=xterm] [TERM=xterm NO_COLOR=1] [TERM=xterm PYTHON_COLORS=0]: python program.py
import traceback


def fail():
    [1, 2][5 + 1] + 3


try:
    fail()
except IndexError:
    traceback.print_exc()
fail()
