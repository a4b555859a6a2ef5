#: Executors of concurrent.futures work by processes and by threads, and end with the program.
#: run: for m in fork spawn forkserver; do python program.py $m; done
import concurrent.futures as f, multiprocessing, os, sys, threading

def square(x):
    return x * x

def start(x):
    os.environ["STARTED"] = x

def started(x):
    return os.environ["STARTED"]

def fail(x):
    raise LookupError(x)

def die():
    os._exit(3)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with f.ProcessPoolExecutor(2, mp_context=context, initializer=start, initargs=("yes",)) as pool:
        print(list(pool.map(square, range(6), chunksize=2)), pool.submit(started, 0).result())
        try:
            pool.submit(fail, "x").result()
        except LookupError as error:
            print(repr(error))
    with f.ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            pool.submit(die).result(30)
        except f.process.BrokenProcessPool as error:
            print(error)
    with f.ThreadPoolExecutor(3, thread_name_prefix="T") as pool:
        done = [pool.submit(square, i) for i in range(4)]
        print(sorted(x.result() for x in f.as_completed(done)), pool.submit(lambda: threading.current_thread().name[:1]).result())
    left = f.ThreadPoolExecutor(1)
    left.submit(print, "left to the end")
    pool = f.ProcessPoolExecutor(1, mp_context=context)
    print(pool.submit(square, 9).result())
