#: The gc module shows all objects, those of the image among them, and nothing else.
import gc
import json
import sys


def names(objects):
    return sorted(str(o) for o in objects if isinstance(o, type(sys)) and o.__name__ in ("gc", "json", "sys"))


for name in "get_objects", "get_referrers", "get_freeze_count", "freeze", "unfreeze":
    function = getattr(gc, name)
    print(function, function.__self__, function.__module__, function.__text_signature__, function.__doc__)
print(gc.get_freeze_count(), gc.unfreeze(), gc.get_freeze_count())
print(gc.isenabled(), gc.get_threshold(), gc.garbage, gc.callbacks, gc.get_debug())
objects = gc.get_objects()
print(names(objects), len(objects) > 5000, any(o is json.JSONDecoder for o in objects))
print([o for o in objects if getattr(getattr(o, "__code__", None), "co_filename", "")[:1] == "<"
       and "frozen" not in o.__code__.co_filename and "string" not in o.__code__.co_filename
       and "dataclass" not in repr(o) and o.__module__ not in ("dataclasses", None)
       and "namedtuple" not in o.__code__.co_filename and "__create_fn__" not in repr(o)])
print([c for b in (object, dict, Exception, ImportError) for c in b.__subclasses__() if c.__module__ == "builtins"
       and not hasattr(__builtins__, c.__name__) and c.__name__ in ("Finder", "Body", "Nodes", "Variables")])
print(len(gc.get_referrers(sys.argv)), len(gc.get_referrers(sys.path)), len(gc.get_referrers(sys.stdout)))


class A:
    def __del__(self):
        print("finished", self.name)


def cycle(name):
    a = A()
    a.name, a.me = name, a


cycle("now")
print(gc.collect())
gc.freeze()
cycle("later")
print(gc.get_freeze_count() > 5000, names(gc.get_objects()), gc.collect())
gc.unfreeze()
cycle("last")
print(gc.get_freeze_count(), names(gc.get_objects()))
