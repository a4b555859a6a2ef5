import multiprocessing as m, work
with m.get_context("fork").Pool(1) as pool:
    print(pool.apply_async(work.echo, ["x"]).get(timeout=30))
for method in "spawn", "forkserver":
    p = m.get_context(method).Process(target=work.echo, args=("x",))
    p.start(); p.join(30); print(p.exitcode)
