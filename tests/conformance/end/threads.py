#: Threads that still run at the end are waited for or stopped as by CPython.
#: varies: 0x[0-9a-f]+|\d{9,}
#= print_later
import threading, time
def run():
    for i in range(3):
        time.sleep(.03)
        print("thread", i)
threading.Thread(target=run).start()
print("main ends")
#= print_after_error
import threading, time
threading.Thread(target=lambda: (time.sleep(.05), print("thread ends"))).start()
1 / 0
#= print_after_exit
import sys, threading, time
threading.Thread(target=lambda: (time.sleep(.05), print("thread ends"))).start()
sys.exit(3)
#= before_atexit
import atexit, threading, time
atexit.register(print, "atexit")
threading.Thread(target=lambda: (time.sleep(.05), print("thread ends"))).start()
#= starts_another
import threading, time
def run(n):
    time.sleep(.02)
    print("thread", n)
    if n:
        threading.Thread(target=run, args=(n - 1,)).start()
run(3)
#= registers_atexit
import atexit, threading, time
threading.Thread(target=lambda: (time.sleep(.05), atexit.register(print, "registered late"))).start()
#= fails
import threading
threading.Thread(target=lambda: 1 / 0, name="T").start()
#= fails_late
import threading, time
threading.Thread(target=lambda: (time.sleep(.05), 1 / 0), name="T").start()
print("main ends")
#= exits
import sys, threading, time
threading.Thread(target=lambda: (time.sleep(.05), sys.exit(5)), name="T").start()
#= kills
import os, signal, threading, time
threading.Thread(target=lambda: (time.sleep(.05), os.kill(os.getpid(), signal.SIGTERM))).start()
#= leaves
import os, threading, time
threading.Thread(target=lambda: (time.sleep(.05), os._exit(6))).start()
#= daemon_sleeps
import threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("main ends")
#= daemon_with_files
import threading, time
def run():
    file = open("daemon", "w")
    file.write("unflushed")
    time.sleep(60)
threading.Thread(target=run, daemon=True).start()
time.sleep(.05)
own = open("own", "w")
own.write("own")
#= daemon_counts
import threading
ready = threading.Event()
def run():
    n = 0
    while True:
        n += 1
        ready.set()
threading.Thread(target=run, daemon=True).start()
ready.wait()
print("main ends")
#= daemon_holds_lock
import threading, time
lock = threading.Lock()
def run():
    with lock:
        time.sleep(60)
threading.Thread(target=run, daemon=True).start()
time.sleep(.03)
print(lock.locked())
#= daemon_in_c
import os, threading, time
r, w = os.pipe()
threading.Thread(target=os.read, args=(r, 1), daemon=True).start()
time.sleep(.02)
print("main ends")
#= daemon_and_finalisers
import threading, time, weakref
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
def run(a):
    time.sleep(60)
a = A("global")
threading.Thread(target=run, args=(A("in the thread"),), daemon=True).start()
weakref.finalize(a, print, "finalised")
print("main ends")
#= daemon_and_plain
import threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
threading.Thread(target=lambda: (time.sleep(.05), print("thread ends"))).start()
#= low_level
import _thread, time
_thread.start_new_thread(time.sleep, (60,))
time.sleep(.02)
print("main ends")
#= low_level_fails
import _thread, time
_thread.start_new_thread(lambda: 1 / 0, ())
time.sleep(.05)
print("main ends")
#= timer
import threading
threading.Timer(.05, print, ["timer"]).start()
print("main ends")
#= daemon_timer
import threading
timer = threading.Timer(60, print, ["timer"])
timer.daemon = True
timer.start()
print("main ends")
#= pool
import time
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(2)
for i in range(6):
    pool.submit(lambda i=i: (time.sleep(.02 * (i + 1)), print("job", i)))
print("main ends")
#= pool_submits
import time
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(1)
def job():
    time.sleep(.05)
    try:
        pool.submit(print, "never")
    except RuntimeError as error:
        print(error)
pool.submit(job)
#= pool_fails
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(1)
future = pool.submit(lambda: 1 / 0)
#= pool_in_atexit
import atexit
from concurrent.futures import ThreadPoolExecutor
def late():
    try:
        print(ThreadPoolExecutor(1).submit(int).result())
    except RuntimeError as error:
        print(error)
atexit.register(late)
#= process_pool
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1)
    future = pool.submit(print, "in the process", flush=True)
    future.result()
    print("main ends")
#= threading_register
import threading
if hasattr(threading, "_register_atexit"):
    threading._register_atexit(print, "threading's atexit")
import atexit
atexit.register(print, "atexit")
#= queue_of_jobs
import queue, threading
jobs = queue.Queue()
def run():
    while True:
        job = jobs.get()
        if job is None:
            print("queue ends")
            return
        print("job", job)
threading.Thread(target=run).start()
jobs.put(1)
import atexit
threading.Timer(.03, jobs.put, [None]).start()
#= local_values
import threading
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
kept = threading.local()
kept.value = A("of main")
def run():
    kept.value = A("of the thread")
thread = threading.Thread(target=run)
thread.start()
thread.join()
print("main ends")
#= main_thread
import atexit, threading
def show():
    print(threading.current_thread(), threading.main_thread().is_alive(), threading.enumerate())
atexit.register(show)
show()
#= main_joined_by_thread
import threading
def run():
    threading.main_thread().join()
    print("main is over")
threading.Thread(target=run).start()
print("main ends")
#= asyncio_to_thread
import asyncio, sys, time
async def main():
    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, lambda: (time.sleep(.05), print("job ends")))
    print("main ends")
asyncio.run(main())
#= asyncio_unfinished_loop
import asyncio, time
loop = asyncio.new_event_loop()
async def main():
    loop.run_in_executor(None, lambda: (time.sleep(.05), print("job ends")))
loop.run_until_complete(main())
print("main ends")
