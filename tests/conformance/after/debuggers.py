#: gdb finds the threads and the frames of a running program.
#: varies: \b\d{2,}\b
import os, shutil, subprocess, sys, threading, time

def inner():
    waiting.wait(60)
def outer():
    inner()
waiting = threading.Event()
thread = threading.Thread(target=outer, name="worker"); thread.start()
me = str(os.getpid())
if not shutil.which("gdb"):
    print("there is no gdb")
else:
    said = subprocess.run(["gdb", "-p", me, "-batch", "-nx", "-ex", "info threads", "-ex", "thread apply all bt 3",
        "-ex", "print (int)Py_IsInitialized()", "-ex", "print (int)getpid()"], capture_output=True, text=True, timeout=60)
    lines = said.stdout.splitlines()
    print(sum(l.lstrip("* ").startswith(("1 ", "2 ")) for l in lines), "Thread 1" in said.stdout, "Thread 2" in said.stdout)
    print([l for l in lines if l.startswith("$")][0], "Inferior 1" in said.stdout, any("clock_nanosleep" in l or "futex" in l or "wait" in l for l in lines))
waiting.set()
thread.join()
