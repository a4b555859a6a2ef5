#: What sys, gc and signal tell of the interpreter is what CPython's start makes of its options and variables.
#: recipe: import faulthandler, gc, signal, threading, tracemalloc, warnings
#: every
#: varies: 0x[0-9a-f]+
#: run [] [-O] [-OO] [-B] [-b] [-bb] [-d] [-q] [-s] [-S] [-u] [-I] [-E] [-P] [-BOOsSqbb] [-t] [-W error] [-W error -W ignore::DeprecationWarning -W default:text:Warning:mod:5]: python program.py
#: run [-X dev] [-X utf8] [-X utf8=0] [-X utf8=1] [-X faulthandler] [-X int_max_str_digits=640] [-X int_max_str_digits=0] [-X frozen_modules=off] [-X frozen_modules] [-X warn_default_encoding] [-X no_debug_ranges] [-X pycache_prefix=/nowhere] [-X cpu_count=3] [-X any=thing -X other] [-X dev -I] [-X gil=1] [--check-hash-based-pycs never]: python program.py
#: run [PYTHONOPTIMIZE=1] [PYTHONOPTIMIZE=2] [PYTHONOPTIMIZE=x] [PYTHONDONTWRITEBYTECODE=1] [PYTHONUNBUFFERED=1] [PYTHONNOUSERSITE=1] [PYTHONSAFEPATH=1] [PYTHONDEVMODE=1] [PYTHONFAULTHANDLER=1] [PYTHONASYNCIODEBUG=1] [PYTHONPLATLIBDIR=lib] [PYTHONMALLOC=malloc] [PYTHONMALLOC=debug] [PYTHONDEBUG=1] [PYTHONUTF8=1] [PYTHONUTF8=0] [PYTHONPYCACHEPREFIX=/nowhere] [PYTHONINTMAXSTRDIGITS=1000] [PYTHONNODEBUGRANGES=1] [PYTHONWARNDEFAULTENCODING=1] [PYTHON_CPU_COUNT=2] [PYTHON_FROZEN_MODULES=off] [PYTHON_GIL=1] [PYTHONWARNINGS=error,ignore::UserWarning] [PYTHONWARNINGS=error -W default] [PYTHONHASHSEED=random] [PYTHONCASEOK=1] [-E PYTHONOPTIMIZE=1 PYTHONHASHSEED=0]: python program.py
#: run: python -c "$(cat program.py)"; python - < program.py; python -m program
#: run: trap '' HUP INT USR1; python program.py
import gc
import signal
import sys

import faulthandler
import threading
import tracemalloc
import warnings

for name in dir(sys):
    value = getattr(sys, name)
    if name in ("__doc__", "modules", "path", "path_importer_cache", "builtin_module_names", "stdlib_module_names", "_git",
                "copyright", "_framework", "monitoring", "_stdlib_dir", "_base_executable", "last_exc"):
        value = type(value)
    if isinstance(value, (type(len), type(print))):
        value = value.__name__
    print(name, repr(value))
print(sys.getrecursionlimit(), sys.getswitchinterval(), sys.getdlopenflags(), sys.gettrace(), sys.getprofile())
print(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors(), sys.getdefaultencoding())
print(sys.get_coroutine_origin_tracking_depth(), sys.get_asyncgen_hooks(), sys.is_finalizing())
print([getattr(sys, name)() for name in ("get_int_max_str_digits", "is_stack_trampoline_active", "_is_gil_enabled", "_is_interned") if hasattr(sys, name) and name[1] != "i"])
print(hash("a") == hash("a"), __debug__, len(sys.stdlib_module_names) if hasattr(sys, "stdlib_module_names") else 0)
print(gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.callbacks, gc.garbage)
print([(int(number), signal.getsignal(number)) for number in sorted(signal.valid_signals())], signal.pthread_sigmask(0, []))
print(signal.set_wakeup_fd(-1), signal.getitimer(0))
print(faulthandler.is_enabled(), tracemalloc.is_tracing(), tracemalloc.get_traceback_limit())
print(threading.current_thread().name, threading.main_thread() is threading.current_thread(), threading.active_count(), threading.stack_size(), threading.gettrace() if hasattr(threading, "gettrace") else 0)
print([(f[0], f[1] and getattr(f[1], "pattern", f[1]), f[2], f[3] and getattr(f[3], "pattern", f[3]), f[4]) for f in warnings.filters], warnings.defaultaction, warnings.onceregistry)
import builtins
print(sorted(set(dir(builtins))), [repr(getattr(builtins, name, None)) for name in ("exit", "quit", "copyright", "credits", "license", "help", "_", "open", "__build_class__", "__import__", "__spec__", "__loader__", "__debug__")])
print(type(builtins.exit).__module__ if hasattr(builtins, "exit") else 0, sys.modules["site"].__dict__.get("ENABLE_USER_SITE") if "site" in sys.modules else 0)
print([name for name in ("readline", "rlcompleter", "sitecustomize", "usercustomize", "_pyrepl", "_distutils_hack") if name in sys.modules])
