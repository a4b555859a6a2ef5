#: Classes and functions of the program itself are found in `__main__`: by pickle, dataclasses and inspect.
#: run: parts
#: run: for part in *.py; do python -c "$(cat $part)"; done
#= pickled
import pickle
class A: pass
print(pickle.loads(pickle.dumps(A())).__class__, pickle.dumps(A()))
#= data_class
from dataclasses import dataclass
@dataclass
class P:
    x: int
    y: int = 2
print(P(1))
#= source
import inspect
def f(): pass
try:
    print(inspect.getsource(f))
except OSError as error:
    print(error)
#= names
import sys
print("__main__" in sys.modules, sys.modules["__main__"], sorted(sys.modules["__main__"].__dict__))
