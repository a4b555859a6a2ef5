#: What faulthandler shows are the program's frames.
#: run [] [-X faulthandler]: parts
#: varies: 0x[0-9a-f]+|\b\d{12,}\b|environment: line \d+: .*
#= dumped
import faulthandler, sys
def f():
    faulthandler.dump_traceback()
f()
print(faulthandler.is_enabled())
#= dumped_threads
import faulthandler, threading
ready, done = threading.Event(), threading.Event()
def run():
    ready.set()
    done.wait()
t = threading.Thread(target=run)
t.start()
ready.wait()
import time
time.sleep(.1)
faulthandler.dump_traceback(all_threads=False)
done.set()
#= later
import faulthandler, time
faulthandler.dump_traceback_later(.2)
time.sleep(.6)
faulthandler.cancel_dump_traceback_later()
#= later_exits
import faulthandler, time
faulthandler.dump_traceback_later(.2, exit=True)
time.sleep(5)
#= later_unfinished
import faulthandler
faulthandler.dump_traceback_later(60)
print("end")
#= registered
import faulthandler, os, signal
faulthandler.register(signal.SIGUSR1, all_threads=True, chain=False)
def f():
    os.kill(os.getpid(), signal.SIGUSR1)
f()
print("survived")
#= fault
import faulthandler
faulthandler.enable()
def f():
    faulthandler._sigsegv()
f()
#= fault_as_given
import faulthandler
def f():
    faulthandler._sigsegv()
f()
#= fatal
import faulthandler
faulthandler._fatal_error_c_thread() if False else faulthandler._sigabrt()
#= overflow
import faulthandler
faulthandler.enable()
faulthandler._stack_overflow()
#= disabled
import faulthandler
faulthandler.enable()
faulthandler.disable()
faulthandler._sigfpe()
