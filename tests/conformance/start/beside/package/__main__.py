import sys
from . import other
print(sys.argv, sys.path[:1], __name__, __package__, other.__name__)
if sys.argv[1] == "fail":
    other.fail(2)
