#: Threads of every kind run, are named and counted, and are waited for at the end.
import _thread, queue, sys, threading, time, warnings

print(threading.main_thread().name, threading.current_thread() is threading.main_thread(), threading.active_count())
print(threading.get_ident() == threading.main_thread().ident, _thread._count())
numbers = []
lock = threading.Lock()
def work(i):
    for _ in range(50):
        with lock:
            numbers.append(i)
threads = [threading.Thread(target=work, args=(i,)) for i in range(100)]
for t in threads: t.start()
for t in threads: t.join()
print(len(numbers), threads[0].name, threads[-1].name, threads[3].is_alive(), len({t.native_id for t in threads}) > 1)

local = threading.local()
local.x = 1
def own():
    print(hasattr(local, "x"))
    local.x = 2
t = threading.Thread(target=own); t.start(); t.join()
print(local.x)

before = threading.stack_size(256 << 10)
def deep(n):
    return n and deep(n - 1)
t = threading.Thread(target=deep, args=(200,)); t.start(); t.join()
print(before, threading.stack_size(0))

r = threading.RLock()
with r, r:
    print(r.acquire(blocking=False), r._is_owned())
    r.release()
condition, ready = threading.Condition(), []
def wait():
    with condition:
        print(condition.wait_for(lambda: ready, 30))
t = threading.Thread(target=wait); t.start()
with condition:
    ready.append(1)
    condition.notify_all()
t.join()
done = threading.Event()
t = threading.Timer(0.02, done.set); t.start()
print(done.wait(30), t.join())
barrier = threading.Barrier(3, action=lambda: print("all there"))
ts = [threading.Thread(target=barrier.wait) for _ in range(2)]
for t in ts: t.start()
barrier.wait(30)
for t in ts: t.join()
s = threading.BoundedSemaphore(2)
print(s.acquire(), s.acquire(), s.acquire(timeout=0.01))
q = queue.PriorityQueue()
threading.Thread(target=lambda: [q.put(i) for i in (3, 1, 2)]).start()
print(sorted(q.get() for _ in range(3)))
threading.excepthook = lambda a: print("hook", a.exc_type.__name__, a.thread.name)
t = threading.Thread(target=lambda: 1 / 0, name="bad"); t.start(); t.join()
threading.settrace(lambda *a: None)
t = threading.Thread(target=lambda: print(sys.gettrace() is not None)); t.start(); t.join()
threading.settrace(None)
_thread.start_new_thread(lambda: (numbers.append("low"), done.clear()), ())
while done.is_set(): time.sleep(0.001)
def interrupted():
    _thread.interrupt_main()
try:
    threading.Thread(target=interrupted).start()
    time.sleep(9)
except KeyboardInterrupt:
    print("interrupted")
print(sys.getswitchinterval(), sorted(len(k) > 0 for k in map(str, sys._current_frames())))
sys.setswitchinterval(0.001)
threading.Thread(target=lambda: (time.sleep(0.1), print("not a daemon: waited for"))).start()
threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
print("main is over")
