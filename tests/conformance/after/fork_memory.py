#: What a forked child writes to memory of the image, the parent does not see, and what it reads is as it was.
import collections, gc, json, os, sys

def at_once(n, code):
    pipes = []
    for i in range(n):
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(r)
            os.write(w, repr(code(i)).encode())
            os._exit(0)
        os.close(w)
        pipes.append((pid, r))
    for pid, r in pipes:
        with open(r) as f:
            print(f.read())
        print(os.waitpid(pid, 0)[1])

def change(i):
    json.mark = i
    json.decoder.NaN = i
    collections.OrderedDict.__doc__  # of the image
    gc.collect()
    x = [bytearray(1 << 16) for _ in range(100 * i)]
    return json.mark, json.decoder.NaN, len(x), len(json.dumps(list(range(1000))))

at_once(6, change)
print(hasattr(json, "mark"), json.decoder.NaN)
gc.freeze()
at_once(2, lambda i: gc.get_freeze_count() > 0)
gc.unfreeze()
at_once(2, lambda i: gc.get_freeze_count())
