#: Files that were left open are flushed at the end, wherever they are kept.
#: run: parts
#: run: parts
#:   recipe: import json, numpy
#:   needs: numpy
#= after_an_error
f = open("after_an_error.out", "w")
f.write("text")
1 / 0
#= after_exit
import sys
f = open("after_exit.out", "w")
f.write("text")
sys.exit(3)
#= in_a_cycle
class A: pass
a = A()
a.me = a
a.f = open("in_a_cycle.out", "w")
a.f.write("cycle")
del a
#= of_a_function
def f():
    f.file = open("of_a_function.out", "w")
    f.file.write("attribute")
f()
#= last_words
class A:
    def __init__(self):
        self.f = open("last_words.out", "w")
    def __del__(self):
        self.f.write("last words")
a = A()
