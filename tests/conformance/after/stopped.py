#: A program that is stopped and continued by its own pid goes on, and whoever waits for it learns of both.
#: run: python program.py; echo $?
#: run: python program.py term; echo $?
import os, signal, subprocess, sys
signal.signal(signal.SIGCONT, lambda *a: os.write(1, b"continued\n"))
for s in ("TSTP", "STOP") if sys.argv[1:] else ("STOP", "STOP"):
    p = subprocess.Popen(["sh", "-c", f"kill -{s} {os.getpid()}; sleep .1; cut -d' ' -f 3 /proc/{os.getpid()}/stat; kill -CONT {os.getpid()}"])
    print(p.wait(), flush=True)
