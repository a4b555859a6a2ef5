#: sqlite3 works in memory, in files, with threads and with functions of the program; dbm and shelve as well.
import os, shelve, sqlite3, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: of threads that have been joined and have yet to end
c = sqlite3.connect("data.db", timeout=30)
c.execute("create table t (a, b)")
c.create_function("twice", 1, lambda x: x * 2)
with c:
    c.executemany("insert into t values (?, ?)", [(i, str(i)) for i in range(100)])
def in_thread(n):
    own = sqlite3.connect("data.db", timeout=30)
    with own:
        own.execute("insert into t values (?, 'thread')", (n,))
    own.close()
ts = [threading.Thread(target=in_thread, args=(i,)) for i in range(8)]
for t in ts: t.start()
for t in ts: t.join()
print(c.execute("select count(*), sum(twice(a)) from t").fetchall())
pid = os.fork()
if pid == 0:
    in_thread(1000)
    os._exit(0)
os.waitpid(pid, 0)
print(c.execute("select count(*) from t").fetchone())
try:
    threading.Thread(target=lambda: print(error(c))).start()
except Exception as e: print(e)
def error(c):
    try: c.execute("select 1")
    except sqlite3.ProgrammingError as e: return str(e)[:60]
class Sum:
    def __init__(self): self.n = 0
    def step(self, x): self.n += x
    def finalize(self): return self.n
m = sqlite3.connect(":memory:", detect_types=sqlite3.PARSE_DECLTYPES, check_same_thread=False)
m.create_aggregate("own", 1, Sum); m.row_factory = sqlite3.Row
m.executescript("create table x (d date); insert into x values ('2024-01-02'); insert into x values ('2024-01-03')")
print(dict(m.execute("select own(1) as n from x").fetchone()), "\n".join(m.iterdump())[:40])
sqlite3.enable_callback_tracebacks(True)
backup = sqlite3.connect(":memory:"); c.backup(backup); print(backup.execute("select max(a) from t").fetchone())
c.close(); os.remove("data.db")
with shelve.open("kept") as s: s["a"] = [1, 2]
with shelve.open("kept") as s: print(dict(s))
for n in os.listdir("."):
    if n.startswith("kept"): os.remove(n)
