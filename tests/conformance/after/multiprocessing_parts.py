#: Locks, events, queues, pipes, managers, shared memory and values work between processes, and leave nothing in /dev/shm.
#: run: for m in fork spawn forkserver; do python program.py $m; done; wc -l < names; for name in $(cat names); do ls /dev/shm/*$name 2> /dev/null; done; rm names
import multiprocessing as m, sys, os
from multiprocessing import shared_memory

def add(value, lock, event, barrier, semaphore, n):
    event.wait(30)
    barrier.wait(30)
    for _ in range(n):
        with lock:
            value.value += 1
    semaphore.release()

def talk(pipe, queue, simple, shared):
    queue.put(pipe.recv())
    pipe.send(os.getpid() == m.current_process().pid)
    simple.put("simple")
    memory = shared_memory.SharedMemory(shared)
    memory.buf[0] = 42
    memory.close()

def managed(d, l, n):
    d["x"] = l[:]
    n.value = 7
    l.append(4)

def die():
    os.kill(os.getpid(), 9)

if __name__ == "__main__":
    c = m.get_context(sys.argv[1])
    value, lock, event, barrier, semaphore = c.Value("i", 0), c.RLock(), c.Event(), c.Barrier(3), c.Semaphore(0)
    processes = [c.Process(target=add, args=(value, lock, event, barrier, semaphore, 200)) for _ in range(3)]
    for p in processes: p.start()
    event.set()
    for p in processes: p.join()
    print(value.value, [p.exitcode for p in processes], [semaphore.acquire(timeout=9) for _ in range(3)])
    with open("names", "a") as names:
        for made in value.get_lock(), lock, semaphore:
            print((made._semlock.name or "").strip("/"), file=names)
    ours, theirs = c.Pipe()
    queue, simple = c.JoinableQueue(), c.SimpleQueue()
    shared = shared_memory.SharedMemory(create=True, size=100)
    with open("names", "a") as names:
        print(shared.name, file=names)
    p = c.Process(target=talk, args=(theirs, queue, simple, shared.name))
    p.start()
    ours.send({"a": 1})
    print(queue.get(timeout=30), ours.recv(), simple.get(), p.join(), shared.buf[0])
    queue.task_done(); queue.join()
    shared.close(); shared.unlink()
    with c.Manager() as manager:
        d, l, n = manager.dict(), manager.list([1, 2]), manager.Namespace()
        p = c.Process(target=managed, args=(d, l, n)); p.start(); p.join()
        print(dict(d), list(l), n.value)
    p = c.Process(target=die); p.start(); p.join(); print(p.exitcode)
    a = c.Array("d", [1.5, 2.5]); print(a[:])
    # Printed behind it: a worker that is replaced meanwhile would have the buffer as well.
    with c.Pool(2, maxtasksperchild=1) as pool:
        results = [pool.starmap(pow, [(2, 3), (3, 2)]), pool.map_async(abs, [-1]).get(30)]
        try:
            pool.apply(divmod, (1, 0))
        except ZeroDivisionError as error:
            results += [error, type(error.__cause__).__name__]
    print(*results)
