#: numpy, which the image does not hold, is imported by the program.
#: needs: numpy
#: run: python program.py
#: run: python -c 'import threading; t = threading.Thread(target=__import__, args=("numpy",)); t.start(); t.join(); import numpy; print(numpy.arange(3))'
import json, numpy, pickle, threading
a = numpy.arange(90000.0).reshape(300, 300)
print((a @ a).sum(), numpy.linalg.det(numpy.eye(3)), json.dumps(a[0, :2].tolist()), pickle.loads(pickle.dumps(a[:1, :2])))
ts = [threading.Thread(target=lambda: a @ a) for _ in range(4)]
for t in ts: t.start()
for t in ts: t.join()
