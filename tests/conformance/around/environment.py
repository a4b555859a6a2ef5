#: A program and what it starts have the variables that were given, whatever is in them.
#: run: ADDED=value python -c "$(cat shown.py)"; ADDED=$'\377\376=x' python shown.py
#: run: ADDED=value python children.py
#: run: ADDED=$(printf %0100000d 0) python large.py
#: run: ADDED=$(printf %0100000d 0) python large.py; ADDED=value python shown.py; python written.py
#:   recipe: import ctypes, json, numpy, os, subprocess
#:   needs: numpy
#: run: python written.py
#: run: exec env -i LANG=C.UTF-8 HOME="$HOME" PYIMG_IMAGE="$PYIMG_IMAGE" PYIMG_DIR="$PYIMG_DIR" PYIMG_PYTHON="$PYIMG_PYTHON" ${PYIMG_CRIU:+"PYIMG_CRIU=$PYIMG_CRIU"} PATH="$PATH" XDG_RUNTIME_DIR="$XDG_RUNTIME_DIR" "$PYTHON" $FLAGS large.py
#:   recipe: import json, os
#: run: for zone in America/New_York UTC-5 nonsense ""; do TZ=$zone python zone.py; done
#= shown
import ctypes, os
for name, value in sorted(os.environb.items()):
    if name != b"_":
        print(name, value)
c = ctypes.CDLL(None)
c.getenv.restype = ctypes.c_char_p
print(c.getenv(b"ADDED"), c.getenv(b"HOME"), c.getenv(b"PYTHONHASHSEED"), c.getenv(b"LD_PRELOAD"))
#= children
import os, subprocess
print(os.popen("env | sort | grep -v ^_=").read())
print(subprocess.run(["sh", "-c", "echo $ADDED"], capture_output=True).stdout)
#= large
import os
print(len(os.environ.get("ADDED", "")), len(os.environ))
#= written
import os
os.environ["NEW"] = "n"
del os.environ["HOME"]
os.system("echo $NEW ${HOME-none}")
#= zone
import time
print(time.strftime("%Z %H", time.localtime(0)), time.tzname, time.timezone)
