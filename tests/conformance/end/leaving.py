#: A program that leaves at once, becomes another or dies of a signal leaves what CPython leaves.
#: varies: pid=\d+|0x[0-9a-f]+|\b\d{12,}\b|environment: line \d+: .*
#= exit_at_once
import os
print("lost")
open("left", "w").write("closed at once")
file = open("unflushed", "w")
file.write("lost")
os._exit(3)
#= exit_at_once_in_atexit
import atexit, os
atexit.register(print, "never")
atexit.register(os._exit, 4)
print("lost", end="")
#= exit_at_once_in_finaliser
import os
class A:
    def __del__(self, leave=os._exit):
        leave(5)
a = A()
print("text")
#= becomes
import os
print("lost", end="")
os.execv("/bin/echo", ["echo", "replaced"])
#= becomes_python
import os, sys
print("kept", flush=True)
os.execv(sys.executable, [sys.executable, "-c", "import sys; print(sys.argv); sys.exit(3)", "x"])
#= becomes_nothing
import os
try:
    os.execv("/nowhere", ["nowhere"])
except OSError as error:
    print(error)
#= becomes_in_atexit
import atexit, os
atexit.register(os.execv, "/bin/echo", ["echo", "replaced"])
print("text", flush=True)
#= aborts
import os
print("lost")
os.abort()
#= signals
import os, signal, sys
for number in sorted(set(range(1, 65)) - {19, 20, 21, 22, 32, 33}):
    child = os.fork()
    if child == 0:
        signal.raise_signal(number) if number != 9 else os.kill(os.getpid(), 9)
        os._exit(0)
    print(number, os.waitpid(child, 0)[1] & 0x7f)
#= terminated
import os, signal
file = open("unflushed", "w")
file.write("lost")
os.kill(os.getpid(), signal.SIGTERM)
#= hung_up_ignored
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.kill(os.getpid(), signal.SIGHUP)
print("end")
#= signal_in_finaliser
import os, signal
signal.signal(signal.SIGUSR1, lambda *a: print("handled"))
class A:
    def __del__(self, kill=os.kill, pid=os.getpid()):
        print("del", flush=True)
        kill(pid, 10)
a = A()
#= c_exit
import ctypes
print("out")
ctypes.CDLL(None).exit(6)
#= c_at_exit
import ctypes
c = ctypes.CDLL(None)
c.atexit(c.abort) if False else None
c.printf(b"unflushed by C")
print("by Python")
#= python_at_exit
import ctypes
c = ctypes.CDLL(None)
ctypes.pythonapi.Py_AtExit(ctypes.cast(c.abort, ctypes.c_void_p))
print("end", flush=True)
#= segmentation_fault
import ctypes
print("lost")
ctypes.string_at(0)
#= forked_child_falls_off
import atexit, os
atexit.register(print, "atexit")
file = open("both", "w")
print("before")
child = os.fork()
if child:
    os.waitpid(child, 0)
    print("parent")
#= forked_child_exits
import os, sys
class A:
    def __del__(self): print("del")
a = A()
child = os.fork()
if not child:
    sys.exit(7)
print(os.waitpid(child, 0)[1] >> 8)
#= forked_child_fails
import os
child = os.fork()
if not child:
    1 / 0
print(os.waitpid(child, 0)[1] >> 8)
#= forked_child_interrupted
import os
child = os.fork()
if not child:
    raise KeyboardInterrupt
print(os.waitpid(child, 0)[1])
#= forked_in_thread
import os, threading
def run():
    child = os.fork()
    if child:
        print(os.waitpid(child, 0)[1] >> 8)
    else:
        print("child", threading.enumerate() == [threading.main_thread()], flush=True)
threading.Thread(target=run).start()
#= forked_with_thread
import os, threading, time, warnings
warnings.simplefilter("ignore")
threading.Thread(target=time.sleep, args=(.1,)).start()
child = os.fork()
if child:
    print(os.waitpid(child, 0)[1] >> 8)
else:
    print("child", threading.active_count())
#= forked_twice
import os, sys
for _ in range(2):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
print("one of four", flush=True)
#= multiprocessing_children
import multiprocessing, time
def run(n):
    print("child", n, flush=True)
    time.sleep(.02)
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    p = context.Process(target=run, args=(1,))
    p.start()
    d = context.Process(target=time.sleep, args=(60,), daemon=True)
    d.start()
    p.join()
    print("end")
#= asyncio_pending
import asyncio
async def wait():
    try:
        await asyncio.sleep(60)
    finally:
        print("finally")
async def main():
    global task
    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
asyncio.run(main())
#= asyncio_pending_without_run
import asyncio
async def wait():
    try:
        await asyncio.Event().wait()
    finally:
        print("finally")
async def main():
    global task
    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
print("end")
#= asyncio_error_not_retrieved
import asyncio
async def fail():
    raise ValueError("not retrieved")
async def main():
    global task
    task = asyncio.ensure_future(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
asyncio.run(main())
print("end")
#= sqlite_uncommitted
import sqlite3
connection = sqlite3.connect("base")
connection.execute("pragma journal_mode=wal").fetchall()
connection.execute("create table t (x)")
connection.execute("insert into t values (1)")
