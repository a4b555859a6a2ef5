import json, sys
import helper
print(sys.argv, sys.path[:1], __name__, __package__, helper.__file__)
