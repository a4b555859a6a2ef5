#: What a process inherits a program has that pyrun becomes; one that CRIU restores could not: plain Python has it then.
#: run: ulimit -f 1; python limits.py; echo $?
#:   refused: File too large
#: run: ulimit -n 40; python descriptors.py
#:   refused: CRIU failed
#: run: chrt --batch 0 "$PYTHON" $FLAGS scheduler.py
#:   refused: scheduling
#: run: exec "$PYIMG_PYTHON" -c 'import os, signal, sys; signal.setitimer(signal.ITIMER_REAL, .5); os.execvp(sys.argv[1], sys.argv[1:])' "$PYTHON" $FLAGS timer.py
#:   refused: a timer is running
#:   ends: -14
#: run: "$PYIMG_PYTHON" -c 'import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])' "$PYTHON" $FLAGS orphans.py; echo $?
#:   refused: orphans are to become
#: run: "$PYIMG_PYTHON" -c 'import ctypes, os, sys; ctypes.CDLL(None).prctl(41, 1, 0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])' "$PYTHON" $FLAGS huge_pages.py; echo $?
#:   refused: no transparent huge pages
#: run: "$PYIMG_PYTHON" -c 'import ctypes, os, sys; ctypes.CDLL(None).prctl(28, 64, 0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])' "$PYTHON" $FLAGS securebits.py; echo $?
#:   refused: securebits are set
#: run: "$PYIMG_PYTHON" -c 'import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); os.execvp(sys.argv[1], sys.argv[1:])' "$PYTHON" $FLAGS blocked.py; echo $?
#:   refused: signals are blocked
#:   recipe: import json, numpy, os, signal
#:   needs: numpy
#: run: sh -c '(sleep .3; exit 3) & exec "$@"' sh "$PYTHON" $FLAGS children.py; echo $?
#:   refused: there are children from before
#: run: sh -c 'export LISTEN_PID=$$; exec "$@"' sh "$PYTHON" $FLAGS activated.py
#:   refused: LISTEN_PID names this process
#: run: PYTHONWARNINGS=default python left.py
#:   miss: PYTHONWARNINGS
#= limits
import resource
print(resource.getrlimit(resource.RLIMIT_FSIZE))
#= descriptors
import os
print(len(os.listdir("/proc/self/fd")))
try:
    while True:
        os.dup(0)
except OSError as error:
    print(error, error.errno)
#= scheduler
import os
print(os.sched_getscheduler(0))
#= timer
import time
time.sleep(9)
#= orphans
import ctypes
value = ctypes.c_int()
ctypes.CDLL(None).prctl(37, ctypes.byref(value), 0, 0, 0)
print(value)
#= huge_pages
import ctypes
print(ctypes.CDLL(None).prctl(42, 0, 0, 0, 0))
#= securebits
import ctypes
print(ctypes.CDLL(None).prctl(27, 0, 0, 0, 0))
#= blocked
import os, signal, time
os.kill(os.getpid(), signal.SIGUSR1)
time.sleep(.1)
print(signal.sigpending())
#= children
import os
print(os.wait()[1] >> 8)
#= activated
import os
print(os.environ["LISTEN_PID"] == str(os.getpid()))
#= left
f = open("/dev/null")
print("end")
