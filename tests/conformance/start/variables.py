#: A variable that changes Python's start, given to a run that has an image without it, is never overlooked.
#: either
#: recipe: import os, warnings
#: varies: 0x[0-9a-f]+
#: varies: import time:.*
#: run: for v in PYTHONIOENCODING=latin-1 PYTHONUTF8=1 PYTHONUTF8=0 PYTHONUNBUFFERED=1 PYTHONWARNINGS=error PYTHONOPTIMIZE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/usr PYTHONNOUSERSITE=1 PYTHONSAFEPATH=1; do env "$v" "$PYTHON" program.py; done
#: run: for v in PYTHONDEVMODE=1 PYTHONFAULTHANDLER=1 PYTHONTRACEMALLOC=3 PYTHONPROFILEIMPORTTIME=1 PYTHONASYNCIODEBUG=1 PYTHONMALLOC=debug PYTHONCOERCECLOCALE=0 PYTHONHASHSEED=0 PYTHONHASHSEED=random PYTHONHASHSEED=17 PYTHONHASHSEED= PYTHONHASHSEED=x PYTHONPYCACHEPREFIX=/nowhere; do env "$v" "$PYTHON" program.py; done
#: run: for v in PYTHONINTMAXSTRDIGITS=700 PYTHONPLATLIBDIR=lib PYTHONEXECUTABLE=/x PYTHONUSERBASE=/usr PYTHONNODEBUGRANGES=1 PYTHONWARNDEFAULTENCODING=1 PYTHON_CPU_COUNT=5 PYTHON_GIL=1 PYTHON_FROZEN_MODULES=off PYTHONPERFSUPPORT=0 PYTHONTHREADDEBUG=1 PYTHONDEBUG=1 PYTHONVERBOSE= PYTHONINSPECT= HOME=/nowhere HOME=; do env "$v" "$PYTHON" program.py; done
#: run: for v in LANG=C LANG=POSIX LANG= LANG=en_US.UTF-8 LANG=C.ISO-8859-1 LC_ALL=C LC_ALL=POSIX LC_ALL=C.UTF-8 LC_ALL=C.utf8 LC_ALL=x LC_CTYPE=C LC_CTYPE=C.UTF-8 LC_CTYPE= LC_NUMERIC=C LC_MESSAGES=C LANGUAGE=de; do env "$v" "$PYTHON" program.py; env -u LANG "$v" "$PYTHON" program.py; done; env -u LANG "$PYTHON" program.py; env -i PYIMG_DIR="$PYIMG_DIR" PYIMG_PYTHON="$PYIMG_PYTHON" "$PYTHON" program.py
#: run [LANG=C]: "$PYTHON" program.py; for v in LC_ALL=C LC_ALL=POSIX LC_CTYPE=C LC_CTYPE=POSIX LANG=POSIX LANG= LANG=C.UTF-8; do env "$v" "$PYTHON" program.py; done
#: run [LC_CTYPE=C.UTF-8 LANG=]: "$PYTHON" program.py; for v in LC_ALL=C.UTF-8 LANG=C.UTF-8 LC_CTYPE=C.utf8 LANG=C LC_CTYPE=; do env "$v" "$PYTHON" program.py; done
#: run [PYTHONHASHSEED=random] [PYTHONPATH=/usr] [PYTHONWARNINGS=default]: "$PYTHON" program.py; for v in PYTHONHASHSEED=1 PYTHONPATH= PYTHONPATH=. PYTHONWARNINGS=; do env "$v" "$PYTHON" program.py; done
#: run: for f in -O -OO -B -b -bb -d -q -s -S -u -I -E -P -t -Werror -Xdev -Xutf8 -Xutf8=0 -Xfaulthandler -Xtracemalloc -Xint_max_str_digits=800 -Xfrozen_modules=off -Xno_debug_ranges -Xpycache_prefix=/n -Xcpu_count=2 -Xshowrefcount -Xany; do "$PYTHON" $f program.py; done
#: run: for f in -R -v -x -Ximporttime -Xperf; do "$PYTHON" $f program.py 2> /dev/null; done; "$PYTHON" --check-hash-based-pycs always program.py
import locale
import os
import sys
import warnings

print(sys.flags, sys.warnoptions, sys._xoptions, [f[:1] + f[2:3] for f in warnings.filters], sys.path[1:], sys.dont_write_bytecode, sys.pycache_prefix)
print([(s.encoding, s.errors, s.line_buffering, s.write_through, type(s.buffer).__name__) for s in (sys.stdin, sys.stdout, sys.stderr)], sys.executable)
print(locale.setlocale(locale.LC_ALL), locale.getpreferredencoding(), sys.getfilesystemencoding(), os.environ.get("LC_CTYPE"), os.cpu_count() if sys.flags.dev_mode else 0)
print(hash("text") if os.environ.get("PYTHONHASHSEED", "random").isdigit() and not sys.flags.ignore_environment else sys.flags.hash_randomization)
print({name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "LC_", "LANG"))})
print(getattr(sys, "get_int_max_str_digits", int)(), [name for name in sys.modules if name in ("faulthandler", "tracemalloc")], os.path.expanduser("~")[:9])
