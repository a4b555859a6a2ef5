#: Hooks at fork and at exit run once each, in order, and never at the start.
#: run: python program.py
#: run: python -c "$(cat program.py)"
import atexit, multiprocessing, os, sys, threading
ran = []
for n in 1, 2:
    os.register_at_fork(before=lambda n=n: ran.append(("before", n)), after_in_parent=lambda n=n: ran.append(("parent", n)), after_in_child=lambda n=n: ran.append(("child", n)))
def fork():
    pid = os.fork()
    if pid == 0:
        os.write(1, f"{ran}\n".encode()); os._exit(0)
    os.waitpid(pid, 0)
    os.write(1, f"{ran}\n".encode()); ran.clear()
os.write(1, f"{ran}\n".encode())
fork(); fork()
pid, fd = os.forkpty()
if pid == 0: os._exit(len(ran))
print(os.waitpid(pid, 0)[1] >> 8, ran, flush=True); ran.clear()
import subprocess; subprocess.run(["true"]); print(ran); subprocess.run(["true"], preexec_fn=lambda: None); print(ran, flush=True); ran.clear()
p = multiprocessing.get_context("fork").Process(target=lambda: os.write(1, f"{ran}\n".encode())); p.start(); p.join(); print(ran, flush=True)
def end(what): os.write(1, f"{what} {os.getpid() == me}\n".encode())
me = os.getpid()
atexit.register(end, "first"); atexit.register(end, "second"); atexit.register(end, "never"); print(atexit._ncallbacks() >= 3)
f = lambda: end("never"); atexit.register(f); atexit.unregister(f)
sys.stdout.flush()
if os.fork() == 0: sys.exit()
os.wait()
if hasattr(threading, "_register_atexit"): threading._register_atexit(end, "threads")
