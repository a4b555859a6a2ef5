#: numpy, which the image holds with its threads, computes in threads and forked children, and all ends as it should.
#: needs: numpy
#: recipe: import asyncio, ctypes, json, multiprocessing, numpy, os, subprocess, threading
#: run: parts
#: run: for part in *.py; do echo "= $part"; python -c "$(cat $part)"; echo $?; done
#: varies: 0x[0-9a-f]+|environment: line \d+: .*
#= computes
import numpy as np, threading
a = np.arange(250000.).reshape(500, 500)
print((a @ a.T).sum(), np.linalg.norm(a), np.random.default_rng(1).random(3))
ts = [threading.Thread(target=lambda: a @ a) for _ in range(4)]
for t in ts: t.start()
for t in ts: t.join()
print(np.fft.fft(a[0])[:2])
#= forks
import atexit, os, warnings
import numpy as np
warnings.simplefilter("ignore")
atexit.register(print, "end", flush=True)
a = np.ones((300, 300))
child = os.fork()
if child:
    print(os.waitpid(child, 0)[1] >> 8)
print((a @ a).sum(), flush=True)
if not child:
    raise SystemExit(3)
#= pool
import multiprocessing as m
import numpy as np
def f(n):
    a = np.full((200, 200), n)
    return (a @ a).sum()
if __name__ == "__main__":
    with m.get_context("fork").Pool(2) as pool:
        print(pool.map(f, [1., 2.]))
#= finalised
import atexit, numpy, weakref
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
a = A("a")
file = numpy.kept = open("finalised.out", "w")
file.write("text")
weakref.finalize(a, print, "finalised")
atexit.register(print, "atexit")
#= fails
import numpy
numpy.zeros(3) @ numpy.zeros(4)
#= exits
import numpy, sys, threading, time
threading.Thread(target=lambda: (time.sleep(.05), print("thread ends"))).start()
sys.exit(numpy.arange(4)[3])
#= terminated
import numpy, os, signal
print(numpy.ones(2), flush=True)
os.kill(os.getpid(), signal.SIGTERM)
