#: What the interpreter knows of itself holds nothing of the image's making.
#: varies: 0x[0-9a-f]+|\b\d{12,}\b|environment: line \d+: .*
#= objects
import gc
ours = [o for o in gc.get_objects() if getattr(getattr(o, "__code__", None), "co_filename", "") == "<pyimg>" or type(o) is dict and "RECIPE" in o]
print(ours, gc.garbage, gc.callbacks, gc.get_threshold(), gc.isenabled(), gc.get_debug(), len(gc.get_stats()))
#= referrers
import gc, os, sys
def names(o):
    return sorted({type(x).__name__ for x in gc.get_referrers(o)} - {"dict", "module"})
print([names(o) for o in (sys.argv, sys.path, os.environ, sys.stdout)])
class A: pass
a = A()
print(len(gc.get_referrers(a)), sys.getrefcount(a), gc.get_referents(a) in ([A], [{}, A], [A, {}]))
#= counts
import sys
print(sys.getrefcount(sys.argv) < 10, sys.getrefcount(sys.path) < 20, sys.getrefcount(sys.stdout) < 12, sys.getrefcount(sys) > 1)
#= modules
import sys
print([n for n in sys.modules if "pyimg" in n or "park" in n], list(sys.modules)[:5], "__main__" in sys.modules)
print(sys.meta_path, [type(h).__name__ for h in sys.path_hooks], sys.path_hooks)
print([p for p in sys.path_importer_cache if "pyimg" in p and "conformance" not in p])
print(sorted(k for k in globals()), sorted(k for k in vars(sys) if not k.startswith("_")), sorted(__builtins__.__dict__))
#= handlers
import atexit, threading, concurrent.futures, logging
import sys
print(sys.excepthook is sys.__excepthook__, sys.displayhook is sys.__displayhook__, sys.unraisablehook is sys.__unraisablehook__, threading.excepthook is threading.__excepthook__ if hasattr(threading, "__excepthook__") else "", sys.gettrace(), sys.getprofile(), sys.breakpointhook is sys.__breakpointhook__)
print(sys.getswitchinterval(), sys.getdlopenflags(), sys.get_asyncgen_hooks(), sys.get_coroutine_origin_tracking_depth(), sys.is_finalizing(), sys.getrecursionlimit())
#= streams
import sys
for s in sys.stdin, sys.stdout, sys.stderr:
    print(s, s.fileno(), s.buffer, s.buffer.raw, s.line_buffering, s.write_through, s.newlines, s.errors, s.buffer.raw.closefd, s.buffer.raw.mode, s is getattr(sys, "__%s__" % s.name.strip("<>")))
#= audit
import sys
events = []
def hook(event, arguments):
    if event.split(".")[0] not in ("import", "object"):
        events.append((event, str(arguments)[:60]))
sys.addaudithook(hook)
open("/dev/null").close()
exec("1")
eval("2")
compile("3", "x", "eval")
sys._getframe()
print(events)
#= memory
import tracemalloc
print(tracemalloc.is_tracing(), tracemalloc.get_traced_memory())
tracemalloc.start(5)
x = [bytes(1000) for _ in range(100)]
print(tracemalloc.get_traced_memory()[0] > 100000, tracemalloc.get_object_traceback(x[0]))
print([str(s.traceback) for s in tracemalloc.take_snapshot().statistics("lineno")[:1]])
#= forks
import os
ran = []
os.register_at_fork(before=lambda: ran.append("before"), after_in_parent=lambda: ran.append("parent"), after_in_child=lambda: ran.append("child"))
p = os.fork()
if not p:
    print(ran, flush=True)
    os._exit(0)
os.waitpid(p, 0)
print(ran)
#= weak
import weakref, sys, collections
print(weakref.getweakrefcount(sys), weakref.getweakrefcount(collections.OrderedDict))
class A: pass
print(weakref.getweakrefs(A), A.__subclasses__(), weakref.getweakrefcount(A))
#= hooks_of_site
import builtins, sys
print(exit, quit, copyright.__class__, builtins.help, getattr(sys, "ps1", None), sys.flags, getattr(sys, "last_type", None))
