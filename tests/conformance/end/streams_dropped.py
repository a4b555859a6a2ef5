#: What was printed before a program let go of its streams is written.
#: recipe: import os, re, subprocess, traceback
import sys
print("out")
del sys.stdout, sys.__stdout__, sys.stderr, sys.__stderr__
