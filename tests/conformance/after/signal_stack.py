#: faulthandler's own signal stack shows where a program was when its stack was full or its memory wrong.
#: varies: line 1: +\d+
#: varies: 0x[0-9a-f]+
#: run: python program.py segv; echo $?
#: run: python program.py abort; echo $?
#: run: python program.py later; echo $?
#: run: python program.py user; echo $?
#: run [-X faulthandler]: python program.py plain; echo $?
import faulthandler, os, signal, sys, threading, time

def f(what):
    if what == "segv":
        faulthandler.enable()
        faulthandler._sigsegv()
    if what == "plain":
        print(faulthandler.is_enabled(), flush=True)
        os.kill(os.getpid(), signal.SIGSEGV); time.sleep(9)
    if what == "abort":
        faulthandler.enable(file=open("trace", "w"))
        os.abort()
    if what == "later":
        faulthandler.dump_traceback_later(0.1, exit=True)
        time.sleep(9)
    if what == "user":
        faulthandler.register(signal.SIGUSR1, file=sys.stdout, chain=False)
        os.kill(os.getpid(), signal.SIGUSR1)
        faulthandler.dump_traceback(file=sys.stderr)
        faulthandler.unregister(signal.SIGUSR1)
sys.stdout.reconfigure(line_buffering=True)
f(sys.argv[1])
