#: A program that makes itself a daemon by two forks and setsid lives on, and its parent has ended before.
#: run: python program.py; echo $?; while [[ ! -e done ]]; do sleep .02; done; cat done
#: run: python program.py | cat; echo ${PIPESTATUS[@]}; while [[ ! -e done ]]; do sleep .02; done; cat done
import atexit, os, sys, time

here = os.getcwd()
first = os.getpid()
session = os.getsid(0)
print("before", flush=True)
if os.fork():
    os._exit(3)
os.setsid()
if os.fork():
    os._exit(0)
os.chdir("/")
os.umask(0o027)
null = os.open("/dev/null", os.O_RDWR)
for n in 0, 1, 2:
    os.dup2(null, n)
time.sleep(0.3)  # pyrun has ended
import colorsys, subprocess
said = subprocess.run("echo from a child", shell=True, capture_output=True, text=True).stdout
with open(here + "/out", "w") as f:
    print(os.getcwd(), os.getsid(0) != session, os.getpid() != os.getsid(0), os.path.exists(f"/proc/{first}"), said, file=f)
atexit.register(os.rename, here + "/out", here + "/done")
