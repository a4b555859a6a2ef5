#: Who started a program that dies of a signal of its own sees it die of that.
#: run: exec "$PYTHON" $FLAGS program.py SIGTERM
#:   ends: -15
#: run: exec "$PYTHON" $FLAGS program.py SIGKILL
#:   ends: -9
#: run: exec "$PYTHON" $FLAGS program.py SIGRTMIN
#:   ends: -34
#: run: exec "$PYTHON" $FLAGS program.py SIGPIPE
#:   ends: -13
#: run: exec "$PYTHON" $FLAGS program.py alarm
#:   ends: -14
#: run: exec "$PYTHON" $FLAGS program.py fault
#:   ends: -11
#: run: exec "$PYTHON" $FLAGS program.py fault
#:   recipe: import ctypes, json, numpy, os, signal, threading
#:   needs: numpy
#:   ends: -11
#: run: exec "$PYTHON" $FLAGS program.py abort
#:   ends: -6
#: run: exec "$PYTHON" $FLAGS -c "$(cat program.py)" interrupt
#:   ends: -2
import ctypes, os, signal, sys, time

how = sys.argv[1]
print(how, flush=True)
if how == "alarm":
    signal.setitimer(signal.ITIMER_REAL, .05)
    time.sleep(9)
if how == "fault":
    ctypes.string_at(0)
if how == "abort":
    os.abort()
if how == "interrupt":
    raise KeyboardInterrupt
number = getattr(signal, how)
if how == "SIGPIPE":
    signal.signal(number, signal.SIG_DFL)
os.kill(os.getpid(), number)
