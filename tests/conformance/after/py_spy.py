#: py-spy finds the threads and the frames of a running program.
#: needs: py-spy
#: since: 3.11
#: varies: 0x[0-9a-f]+|\b\d{2,}\b|\((idle|active)[+a-z]*\)
import os, subprocess, sys, threading

def inner():
    waiting.wait(60)
def outer():
    inner()
waiting = threading.Event()
thread = threading.Thread(target=outer, name="worker"); thread.start()
spy = os.path.join(os.path.dirname(sys.executable), "py-spy")
for options in [], ["--locals"]:
    done = subprocess.run([spy, "dump", "--pid", str(os.getpid()), *options], capture_output=True, text=True)
    main, _, worker = done.stdout.partition('"worker"')  # the main thread may be anywhere in subprocess
    print(done.returncode, '"MainThread"' in main, "<module> (program.py" in main, worker, done.stderr)
waiting.set()
thread.join()
