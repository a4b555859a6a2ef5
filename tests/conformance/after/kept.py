#: What a module of the image has set up stays in force: handlers, hooks, warnings, levels, locals.
#: recipe: import sys, types; own = sys.modules["own"] = types.ModuleType("own"); exec("import atexit, codecs, copyreg, decimal, gc, logging, os, signal, threading, time, warnings\nran = []\ndef say(*what): os.write(1, (' '.join(map(str, what)) + '\\n').encode())\nsignal.signal(signal.SIGUSR1, lambda n, f: say('handled', n))\nsignal.signal(signal.SIGUSR2, signal.SIG_IGN)\natexit.register(say, 'at exit')\nos.register_at_fork(after_in_parent=lambda: ran.append('parent'))\nlog = logging.getLogger('own')\nlog.setLevel(logging.DEBUG)\nlogging.addLevelName(25, 'NOTE')\nlocal = threading.local()\nlocal.x = 'of the main thread'\ndecimal.getcontext().prec = 9\ncodecs.register(lambda n: codecs.lookup('latin-1') if n == 'ours' else None)\nclass Own:\n  pass\ncopyreg.pickle(Own, lambda o: (str, ('reduced',)))\ndef old(): warnings.warn('old', UserWarning)\ndef main_module(): return sys.modules['__main__']\nimport sys\nwarnings.filterwarnings('ignore', message='quiet')\nlock = threading.RLock()\nevent = threading.Event()\ngenerator = (i for i in 'abc')\nnext(generator)\nclass Last:\n  def __del__(self): say('finished')\nlast = Last()\nsys.setrecursionlimit(1234)\nsys.excepthook = lambda *a: say('hook', a[0].__name__)\nos.environ['SET_BY_MODULE'] = 'yes'\nos.putenv('PUT', 'put')\n", own.__dict__)
#: run: python program.py; echo $?
#: run: python program.py error; echo $?
import os, sys
if "own" not in sys.modules:
    exec(next(line[11:] for line in open("program.py") if line.startswith("#: recipe: ")))
import own, copyreg, decimal, logging, pickle, signal, subprocess, threading, warnings
os.kill(os.getpid(), signal.SIGUSR1); os.kill(os.getpid(), signal.SIGUSR2)
print(own.ran)
pid = os.fork()
if pid == 0: os._exit(0)
os.waitpid(pid, 0)
print(own.ran)
for _ in range(3): own.old()
warnings.warn("quiet"); warnings.warn("loud")
own.log.debug("below the level of the last resort"); own.log.warning("said"); print(logging.getLevelName(25), own.log.level)
print(own.local.x)
t = threading.Thread(target=lambda: print(hasattr(own.local, "x"), decimal.getcontext().prec)); t.start(); t.join()
print(decimal.getcontext().prec, "ä".encode("ours"), pickle.loads(pickle.dumps(own.Own())), list(own.generator), sys.getrecursionlimit())
with own.lock: print(own.lock.acquire(False), own.event.wait(0))
print(own.main_module() is sys.modules["__main__"], os.environ["SET_BY_MODULE"], subprocess.run("echo $SET_BY_MODULE $PUT", shell=True, capture_output=True).stdout)
sys.stdout.flush()
if "error" in sys.argv: 1 / 0
