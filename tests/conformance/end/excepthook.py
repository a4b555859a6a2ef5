#: An unhandled exception is shown by sys.excepthook, whatever that does.
#: recipe: import os, re, subprocess, traceback
#: varies: 0x[0-9a-f]+|\b\d{12,}\b|environment: line \d+: .*
#= raises
import sys
def hook(*a):
    raise TypeError("in the hook")
sys.excepthook = hook
raise ValueError("first")
#= gone
import sys
del sys.excepthook
raise ValueError("first")
#= none
import sys
sys.excepthook = None
raise ValueError("first")
#= original
import sys
sys.excepthook = lambda *a: (print("mine"), sys.__excepthook__(*a))
def f():
    raise ValueError("first")
f()
#= stderr_none
import sys
sys.stderr = None
raise ValueError("first")
#= stderr_gone
import sys
del sys.stderr
raise ValueError("first")
#= stderr_closed
import sys
sys.stderr.close()
raise ValueError("first")
#= stderr_descriptor_closed
import os
os.close(2)
raise ValueError("first")
#= stderr_replaced
import io, sys
sys.stderr = io.StringIO()
import atexit
atexit.register(lambda: print(sys.stderr.getvalue()))
raise ValueError("first")
#= stderr_raises
import sys
class Stream:
    def write(self, text):
        raise OSError("no")
    flush = None
sys.stderr = Stream()
raise ValueError("first")
#= stdout_before_stderr
import sys
sys.stdout.write("out")
raise ValueError("first")
#= last
import atexit, sys
def show():
    print(sys.last_type, sys.last_value, sys.last_traceback.tb_lineno, getattr(sys, "last_exc", None))
atexit.register(show)
raise ValueError("first")
#= exc_info_at_exit
import atexit, sys
atexit.register(lambda: print(sys.exc_info()))
raise ValueError("first")
#= text_raises
class Bad(Exception):
    def __str__(self):
        raise ValueError("no text")
raise Bad
#= class_without_module
Bad = type("Bad", (Exception,), {"__module__": None})
raise Bad("text")
#= not_an_exception
raise 5
#= exit_subclass_of_two
class Both(SystemExit, ValueError):
    pass
raise Both(3)
#= holds_itself
class Loop(Exception):
    pass
error = Loop("loop")
error.__cause__ = error
raise error
#= unicode
raise ValueError("\N{SNOWMAN} \udc80")
#= unicode_without_coding
import sys
sys.stderr.reconfigure(encoding="ascii", errors="strict")
raise ValueError("\N{SNOWMAN}")
#= locals_die
import atexit
class A:
    def __del__(self):
        print("del")
def f():
    a = A()
    raise ValueError
atexit.register(print, "atexit")
f()
