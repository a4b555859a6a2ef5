#: A signal from outside ends a program, or is handled by it.
#: run: exec "$PYTHON" $FLAGS sleeps.py
#:   signal: SIGINT
#:   ends: -2
#: run: exec "$PYTHON" $FLAGS -c "$(cat sleeps.py)"
#:   signal: SIGINT
#:   ends: -2
#: run: exec "$PYTHON" $FLAGS -m sleeps
#:   signal: SIGINT
#:   ends: -2
#: run: exec "$PYTHON" $FLAGS sleeps.py
#:   signal: SIGINT
#:   recipe: import json, numpy, os, threading, time
#:   needs: numpy
#:   ends: -2
#: run: exec "$PYTHON" $FLAGS catches.py
#:   signal: SIGINT
#:   ends: 0
#: run: exec "$PYTHON" $FLAGS sleeps.py
#:   signal: SIGTERM
#:   ends: -15
#: run: exec "$PYTHON" $FLAGS sleeps.py
#:   signal: SIGTERM
#:   recipe: import json, numpy, os, threading, time
#:   needs: numpy
#:   ends: -15
#: run: exec "$PYTHON" $FLAGS sleeps.py
#:   signal: SIGHUP
#:   ends: -1
#: run: exec "$PYTHON" $FLAGS sleeps.py
#:   signal: SIGQUIT
#:   ends: -3
#: run: exec "$PYTHON" $FLAGS sleeps.py
#:   signal: SIGUSR1
#:   ends: -10
#: run: exec "$PYTHON" $FLAGS sleeps.py
#:   signal: SIGALRM
#:   ends: -14
#: run: exec "$PYTHON" $FLAGS handles.py SIGTERM
#:   signal: SIGTERM
#:   ends: 9
#: run: exec "$PYTHON" $FLAGS handles.py SIGALRM
#:   signal: SIGALRM
#:   ends: 9
#: run: exec "$PYTHON" $FLAGS handles.py SIGUSR2
#:   signal: SIGUSR2
#:   ends: 9
#: run: exec "$PYTHON" $FLAGS handles.py SIGCHLD
#:   signal: SIGCHLD
#:   ends: 9
#: run: trap '' HUP; "$PYTHON" $FLAGS survives.py & child=$!; while [[ ! -e ready ]]; do sleep .01; done; kill -HUP $child; wait $child; echo $?
#= sleeps
import time
try:
    open("ready", "w").close()
    time.sleep(20)
finally:
    print("cleaned up")
#= catches
import time
try:
    open("ready", "w").close()
    time.sleep(20)
except KeyboardInterrupt:
    print("caught")
#= handles
import signal, sys, time
signal.signal(getattr(signal, sys.argv[1]), lambda *a: sys.exit(9))
open("ready", "w").close()
time.sleep(20)
#= survives
import time
open("ready", "w").close()
time.sleep(.1)
print("survived")
