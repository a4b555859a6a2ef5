#: tracemalloc tells what the program has allocated, and where.
#: run: python program.py
import gc, json, sys, tracemalloc

print(tracemalloc.is_tracing(), tracemalloc.get_traceback_limit())
tracemalloc.start(5)
one = tracemalloc.take_snapshot()
kept = [bytes(1000) for _ in range(100)]
two = tracemalloc.take_snapshot()
for s in two.compare_to(one, "lineno"):
    if s.traceback[0].filename == __file__ and s.size_diff > 50000:
        print(s.traceback[0].lineno, s.count_diff, s.size_diff // 10000)
t = tracemalloc.get_object_traceback(kept[0])
print(t[0].lineno, len(t), t.format()[-1:] if t else None)
now, peak = tracemalloc.get_traced_memory()
print(now > 100000, peak >= now)
tracemalloc.reset_peak() if sys.version_info >= (3, 9) else None
tracemalloc.clear_traces()
tracemalloc.stop()
print(tracemalloc.get_traced_memory(), tracemalloc.get_object_traceback(kept[0]))
