#: Memory is taken and given back as much as is needed, and numbers are computed however large, or drawn from a seed.
#: run: python program.py
#: run: python program.py
#:   recipe: import json, numpy
#:   needs: numpy
import random
x = [bytearray(1 << 20) for _ in range(50)]
del x[::2]
y = b"z" * (1 << 25)
print(len(x), len(y))
print(len(str(7 ** 4000)), sum(range(10 ** 6)))
random.seed(5)
print(random.random())
