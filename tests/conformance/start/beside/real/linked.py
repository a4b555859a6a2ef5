import json
import beneath
print(__file__, beneath.__file__)
