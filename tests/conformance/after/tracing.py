#: sys.settrace and sys.monitoring see each call and line, in the program and in modules of the image.
import json, sys, threading

seen = []
def trace(frame, event, arg):
    if frame.f_code.co_filename.endswith(("program.py", "json/__init__.py", "encoder.py")):
        seen.append((frame.f_code.co_name, event, frame.f_lineno))
    frame.f_trace_opcodes = False
    return trace

def f(x):
    try:
        json.dumps({"a": x})
        raise ValueError
    except ValueError:
        pass
    return x

sys.settrace(trace)
f(1)
sys.settrace(None)
print(seen)
seen.clear()
threading.settrace(trace)
t = threading.Thread(target=f, args=(2,)); t.start(); t.join()
threading.settrace(None)
print([s for s in seen if s[0] == "f"])
if sys.version_info >= (3, 12):
    m = sys.monitoring
    m.use_tool_id(3, "ours")
    events = []
    E = m.events
    m.register_callback(3, E.PY_START, lambda c, o: events.append(("start", c.co_name)))
    m.register_callback(3, E.CALL, lambda c, o, f, a: events.append(("call", getattr(f, "__name__", "?"))))
    m.register_callback(3, E.RAISE, lambda c, o, e: events.append(("raise", c.co_name, type(e).__name__)))
    m.set_events(3, E.PY_START | E.CALL | E.RAISE)
    f(3)
    m.set_events(3, 0)
    m.set_local_events(3, json.dumps.__code__, E.LINE)
    m.register_callback(3, E.LINE, lambda c, l: events.append(("line", l)))
    json.dumps([1])
    m.free_tool_id(3)
    print(events, [m.get_tool(i) for i in range(6)])
def profile(frame, event, arg): pass
sys.setprofile(profile); print(sys.getprofile() is profile); sys.setprofile(None)
