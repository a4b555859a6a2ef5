#: Locale, decimal's contexts, context variables, codecs, pickles and hooks behave as in a fresh interpreter.
import asyncio, codecs, contextvars, copyreg, ctypes, datetime, decimal, io, json, locale, logging, os, pickle, re, signal, subprocess, sys, threading, warnings
print(locale.setlocale(locale.LC_ALL), locale.localeconv()["decimal_point"], locale.getlocale(), locale.setlocale(locale.LC_ALL, "C"))
print(locale.setlocale(locale.LC_ALL, ""), locale.strcoll("a", "b") < 0, f"{1234567:n}", locale.getpreferredencoding(), locale.nl_langinfo(locale.CODESET))
print(decimal.getcontext(), decimal.Decimal(1) / 3)
decimal.getcontext().prec = 5
def in_thread(): print(decimal.getcontext().prec, decimal.Decimal(2) / 3)
t = threading.Thread(target=in_thread); t.start(); t.join()
decimal.DefaultContext.prec = 7
t = threading.Thread(target=in_thread); t.start(); t.join()
with decimal.localcontext() as c: c.prec = 2; print(+decimal.Decimal("1.234"))
v = contextvars.ContextVar("v")
print(len(contextvars.copy_context()), contextvars.copy_context().run(lambda: v.set(1)).old_value is contextvars.Token.MISSING, v.get(None))
codecs.register(lambda name: codecs.CodecInfo(lambda s, e="strict": (s[::-1].encode(), len(s)), lambda b, e="strict": (bytes(b).decode()[::-1], len(b)), name=name) if name == "turned" else None)
print("abc".encode("turned"), b"cba".decode("turned"), codecs.lookup("utf8").name, "ä".encode("cp037"), "x".encode("idna"))
codecs.register_error("own", lambda e: ("?!", e.end)); print("ä".encode("ascii", "own"))
class Own:
    def __reduce__(self): return Own, ()
print(type(pickle.loads(pickle.dumps(Own()))).__name__, pickle.loads(pickle.dumps([datetime.date(2024, 1, 2), decimal.Decimal("1.0"), re.compile("a"), json.JSONEncoder, locale.strcoll])))
copyreg.pickle(Own, lambda o: (str, ("by copyreg",))); print(pickle.loads(pickle.dumps(Own())) if False else copyreg.dispatch_table[Own] is not None)
print(logging.getLogger().level, logging.getLogger().handlers, logging.getLogger("asyncio").level, logging.lastResort, logging.getLevelName(31), sorted(logging.root.manager.loggerDict))
logging.warning("by basicConfig"); logging.getLogger("a.b").error("below"); logging.captureWarnings(True); warnings.warn("captured"); logging.captureWarnings(False)
print(warnings.filters == warnings.filters[:], len(warnings.filters), "__warningregistry__" in globals())
for _ in range(2): warnings.warn("here once", UserWarning)
def old(): warnings.warn("old", DeprecationWarning, 2)
old(); exec("old()", {"old": old, "__name__": "other"})
for name in sorted({*sys.modules} - {"__mp_main__"}):
    if getattr(sys.modules[name], "__warningregistry__", None): print("registry", name)
print(sys.getrecursionlimit(), sys.getswitchinterval(), sys.flags, sys.float_info.max, sys.int_info.bits_per_digit, sys.dont_write_bytecode, sys.getdlopenflags(), sys.get_asyncgen_hooks())
print(sys.getallocatedblocks() > 1000, sys.intern("x" * 3) is sys.intern("xxx"), sys.exc_info(), sys.displayhook.__name__, sys.excepthook.__name__, sys.breakpointhook.__name__, sys.stdin.encoding, sys.getfilesystemencodeerrors())
print(sys.audit("own", 1), sys.is_finalizing(), sys.gettrace(), sys.getprofile(), asyncio.get_event_loop_policy().__class__.__name__ if sys.version_info < (3, 12) else "")
events = []
sys.addaudithook(lambda e, a: events.append(e) if not events or events[-1] != e else None)
open("f", "w").close(); subprocess.run(["true"]); import colorsys; compile("1", "x", "eval"); events.append("end")
print([e for e in events if e in ("open", "subprocess.Popen", "import", "compile", "os.fork")])
