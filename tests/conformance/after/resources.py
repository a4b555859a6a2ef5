#: Limits can be set and are kept, and what is used is counted.
#: varies: line 1: +\d+
#: run: python program.py; echo $?
#: run: ulimit -S -n 500; ulimit -S -s 4096; python program.py; echo $?
import errno, os, resource, subprocess, sys, threading, time

names = sorted(n for n in dir(resource) if n.startswith("RLIMIT_"))
print([(n, resource.getrlimit(getattr(resource, n))) for n in names])
resource.setrlimit(resource.RLIMIT_NOFILE, (60, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
files = []
try:
    while True:
        files.append(os.dup(0))
except OSError as error:
    print(errno.errorcode[error.errno], len(files), files[-1])
for f in files: os.close(f)
print(subprocess.run("ulimit -n", shell=True, capture_output=True).stdout)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))
try:
    with open("big", "wb", 0) as f:
        print(f.write(b"x" * 2000))
        f.write(b"y")
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
print(resource.prlimit(0, resource.RLIMIT_CORE, (0, 0)) is not None, resource.getrlimit(resource.RLIMIT_CORE))
use = resource.getrusage(resource.RUSAGE_SELF)
print(use.ru_maxrss > 1000, use.ru_utime < 10, use.ru_nswap, resource.getpagesize())
children = resource.getrusage(resource.RUSAGE_CHILDREN)
subprocess.run([sys.executable, "-c", "sum(range(10**6))"])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > children.ru_utime)
t = threading.Thread(target=lambda: print(resource.getrusage(resource.RUSAGE_THREAD).ru_utime < 1)); t.start(); t.join()
pid, status, use = os.wait4(os.posix_spawn("/bin/true", ["true"], {}), 0)
print(status, use.ru_maxrss > 0)
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, -1))
try:
    bytearray(8 << 30)
except MemoryError:
    print("no memory")
print(sys.getrecursionlimit(), os.times().children_user > 0, os.getpriority(0, 0), os.nice(1) - os.getpriority(0, 0))
sys.stdout.flush()
resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
while True: pass
