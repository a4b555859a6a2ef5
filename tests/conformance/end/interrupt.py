#: KeyboardInterrupt dies by SIGINT, wherever it strikes.
#: run: for part in *.py; do echo "= $part" >&2; echo "= $part"; (python $part); echo "= $?"; done
#: run: trap '' INT; parts
#: varies: 0x[0-9a-f]+|\b\d{12,}\b|environment: line \d+: .*
#= caught
try:
    raise KeyboardInterrupt
except KeyboardInterrupt:
    print("caught")
#= chained
try:
    raise KeyboardInterrupt
finally:
    1 / 0
#= raised_in_finally
try:
    1 / 0
finally:
    raise KeyboardInterrupt("text")
#= subclass
class Interrupt(KeyboardInterrupt):
    pass
raise Interrupt("sub")
#= from_itself
import os, signal, time
print("out")
os.kill(os.getpid(), signal.SIGINT)
time.sleep(.2)
print("survived")
#= raised_signal
import signal
with open("unflushed", "w") as file:
    file.write("text")
    signal.raise_signal(signal.SIGINT)
    print("survived")
#= simulated
import _thread, time
_thread.interrupt_main()
time.sleep(.2)
print("survived")
#= default_action
import os, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
print("lost", end="")
os.kill(os.getpid(), signal.SIGINT)
#= own_handler
import os, signal
signal.signal(signal.SIGINT, lambda *a: print("handled", a[0]))
os.kill(os.getpid(), signal.SIGINT)
print("end")
#= own_handler_then_unhandled
import signal
signal.signal(signal.SIGINT, lambda *a: print("handled"))
raise KeyboardInterrupt
#= ignored_then_unhandled
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
raise KeyboardInterrupt
#= blocked
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
raise KeyboardInterrupt
#= pending_while_blocked
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
os.kill(os.getpid(), signal.SIGINT)
print("end")
#= at_exit
import atexit, os, signal
atexit.register(print, "earlier")
atexit.register(os.kill, os.getpid(), signal.SIGINT)
print("end")
#= raised_at_exit
import atexit
def interrupt():
    raise KeyboardInterrupt
atexit.register(print, "earlier")
atexit.register(interrupt)
#= in_thread
import threading
def interrupt():
    raise KeyboardInterrupt
thread = threading.Thread(target=interrupt, name="T")
thread.start()
thread.join()
print("end")
#= while_joining
import os, signal, threading, time
def interrupt():
    time.sleep(.1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(.2)
    print("thread ends")
threading.Thread(target=interrupt).start()
print("main ends")
#= in_excepthook
import sys
def hook(*a):
    print("hook", a[0])
    raise KeyboardInterrupt
sys.excepthook = hook
1 / 0
#= with_excepthook
import sys
sys.excepthook = lambda *a: print("hook", a[0].__name__)
raise KeyboardInterrupt
#= excepthook_fails
import sys
def hook(*a):
    raise ValueError("in hook")
sys.excepthook = hook
raise KeyboardInterrupt("first")
#= with_atexit_and_files
import atexit
file = open("left", "w")
file.write("text")
atexit.register(print, "atexit")
class A:
    def __del__(self):
        print("del")
a = A()
print("out")
raise KeyboardInterrupt
#= in_finaliser
class A:
    def __del__(self):
        raise KeyboardInterrupt
A()
a = A()
print("end")
#= in_generator
def values():
    try:
        yield
    except GeneratorExit:
        raise KeyboardInterrupt
values_ = values()
next(values_)
print("end")
#= in_exec
exec("raise KeyboardInterrupt")
#= in_eval
try:
    eval("[].pop(KeyboardInterrupt())")
except TypeError:
    pass
eval("(_ for _ in ()).throw(KeyboardInterrupt)")
#= in_runpy
import runpy
open("beside_interrupt.txt", "w").write("raise KeyboardInterrupt")
runpy.run_path("beside_interrupt.txt")
#= caught_in_exec
try:
    exec("raise KeyboardInterrupt")
except KeyboardInterrupt:
    print("caught")
raise SystemExit(3)
#= in_asyncio
import asyncio, os, signal
async def main():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(.1)
    finally:
        print("finally")
    print("survived")
asyncio.run(main())
#= in_group
import sys
if sys.version_info < (3, 11):
    raise KeyboardInterrupt
raise BaseExceptionGroup("group", [KeyboardInterrupt()])
