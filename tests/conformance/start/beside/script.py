import json
import beside
from package import other
print(beside.x, other.__file__, json.dumps(1))
