#: What numpy keeps of a program outlives the program's own objects, as under plain Python.
#: needs: numpy
#: recipe: import json, numpy
import numpy
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
a, numpy.kept = A("a"), A("in numpy")
