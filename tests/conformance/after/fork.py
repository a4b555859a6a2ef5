#: A forked child has all that its parent has, and each ends by itself.
#: run: python program.py
#: run: python -c "$(cat program.py)"
#: run: python - < program.py
import atexit, json, os, random, sys, tempfile, threading

def child(what, code):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code()
        sys.stdout.flush()
        os._exit(7)
    print(what, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)

parent = os.getpid()
child("parent", lambda: print(os.getppid() == parent, os.getpid() != parent, os.getpgrp() == os.getpgid(parent)))
child("thread", lambda: print(threading.active_count(), threading.current_thread() is threading.main_thread(),
                              threading.get_native_id() == os.getpid(), threading.main_thread().native_id == os.getpid()))
before = random.getstate()
child("random", lambda: print(random.getstate() != before, sys.argv[1:], json.dumps({"a": [1]})))
print(random.getstate() == before)
child("imports", lambda: print(__import__("colorsys").rgb_to_hsv(0, 0, 1)))
child("temporary", lambda: print(tempfile.gettempdir() == os.environ["TMPDIR"]))
child("new thread", lambda: (t := threading.Thread(target=print, args=("in a thread",)), t.start(), t.join()))
child("fork in the child", lambda: child("inner", lambda: print("innermost", os.getppid() != parent)))

waiting = threading.Event()
thread = threading.Thread(target=waiting.wait)
thread.start()
import warnings
warnings.simplefilter("ignore")
child("with a thread", lambda: print(threading.active_count(), threading.enumerate()[0].name, thread.is_alive()))
waiting.set()
thread.join()

atexit.register(lambda: print("end of", "the parent" if os.getpid() == parent else "a child", flush=True))
sys.stdout.flush()
for way in "return", "exit", "error":
    pid = os.fork()
    if pid == 0:
        if way == "exit":
            sys.exit(9)
        if way == "error":
            raise ValueError("in the child")
        break
    print(way, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
print("last line", flush=True)
