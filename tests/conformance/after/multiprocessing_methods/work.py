import multiprocessing as m, os, sys

def echo(x):
    return x

def about(queue):
    p = m.current_process()
    queue.put((p.name, p.daemon, os.getpid() == p.pid, m.parent_process().pid == queue_parent(), len(p.authkey), os.getcwd() == ORIGINAL))

def queue_parent():
    return m.parent_process().pid

ORIGINAL = os.getcwd()

def all(method):
    c = m.get_context(method)
    print(method, c.get_start_method(), m.current_process().name, m.active_children())
    q = c.Queue()
    p = c.Process(target=about, args=(q,), name="Worker", daemon=True)
    p.start()
    print(q.get(timeout=30))
    p.join()
    print(p.exitcode)
    for code in 0, 5:
        p = c.Process(target=sys.exit, args=(code,))
        p.start(); p.join()
        print(p.exitcode)
    p = c.Process(target=os.kill, args=(os.getpid(), 0)); p.start(); p.join(); print(p.exitcode)
    with c.Pool(2) as pool:
        print(pool.map(echo, range(5)), pool.apply(os.getppid) > 0, list(pool.imap_unordered(echo, "a")))
    sys.stdout.flush()
