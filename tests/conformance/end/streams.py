#: Standard streams that are closed, full, broken, detached or replaced at the end give CPython's messages and status.
#: varies: 0x[0-9a-f]+|\b\d{12,}\b|environment: line \d+: .*
#: run: parts
#: run: for part in *.py; do echo "= $part" >&2; python $part > /dev/full; echo "= $?"; done
#: run: for part in *.py; do echo "= $part"; python $part 2> /dev/full; echo "= $?"; done
#: run: for part in *.py; do echo "= $part" >&2; (python $part; echo "= $?" >&2) | :; done
#: run: for part in *.py; do echo "= $part" >&2; python $part >&-; echo "= $?" >&2; done
#: run: for part in *.py; do echo "= $part"; python $part 2>&-; echo "= $?"; done
#: run [-u]: for part in *.py; do echo "= $part" >&2; python $part > /dev/full; echo "= $?"; done
#= printed
import time
time.sleep(.1)
print("out")
#= printed_a_lot
import time
time.sleep(.1)
print("x" * 100000)
#= printed_in_atexit
import atexit, time
time.sleep(.1)
atexit.register(print, "at exit")
#= printed_in_finaliser
import time
time.sleep(.1)
class A:
    def __del__(self):
        print("del")
a = A()
#= printed_then_error
import time
time.sleep(.1)
print("out", end="")
1 / 0
#= printed_then_exit
import sys, time
time.sleep(.1)
print("out")
sys.exit(3)
#= printed_then_exit_text
import sys, time
time.sleep(.1)
print("out")
sys.exit("text")
#= closed
import sys
print("out")
try:
    sys.stdout.close()
except OSError as error:
    print(error, file=sys.stderr)
#= both_closed
import sys
try:
    sys.stdout.close()
    sys.stderr.close()
except OSError:
    pass
#= descriptor_closed
import os, sys
try:
    print("out")
    os.close(1)
except Exception as error:
    print(error, file=sys.stderr)
#= descriptor_closed_unused
import os
try:
    os.close(1)
except OSError:
    pass
#= all_descriptors_closed
import os
print("out")
os.closerange(0, 10)
#= error_descriptor_closed
import os, sys
sys.stderr and sys.stderr.write("partial")
os.closerange(2, 3)
#= error_without_end
import sys
sys.stderr and sys.stderr.write("x")
#= detached
import sys
print("out")
buffer = sys.stdout and sys.stdout.detach()
#= detached_and_dropped
import sys
print("out")
sys.stdout and sys.stdout.detach()
#= none
import sys
print("out")
sys.stdout = None
#= gone
import sys
print("out")
del sys.stdout
#= replaced_by_memory
import io, sys
print("out")
sys.stdout = io.StringIO()
print("lost")
#= replaced_by_wrapper
import io, sys
print("out")
if sys.stdout:
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-16")
print("wide")
#= replaced_by_file
import sys
print("out")
sys.stdout = open("file", "w")
print("in the file")
#= replaced_by_object
import sys
class Stream:
    def __init__(self, beneath):
        self.beneath = beneath
    def write(self, text):
        self.beneath.write(text.upper())
    def flush(self):
        self.beneath.write("[flush]")
    def __del__(self):
        self.beneath.write("[del]")
if sys.stdout:
    sys.stdout = Stream(sys.stdout)
print("out")
#= flush_raises
import sys
class Stream:
    def write(self, text):
        pass
    def flush(self):
        raise ValueError("no flush")
sys.stdout = Stream()
#= flush_exits
import sys
class Stream:
    def write(self, text):
        pass
    def flush(self):
        raise SystemExit(5)
sys.stdout = Stream()
#= error_flush_raises
import sys
class Stream:
    def write(self, text):
        pass
    def flush(self):
        raise ValueError("no flush")
sys.stderr = Stream()
#= closed_attribute
import sys
class Stream:
    closed = True
    def write(self, text):
        pass
    def flush(self):
        print("never", file=sys.__stderr__)
sys.stdout = Stream()
#= not_a_stream
import sys
sys.stdout = 5
#= reopened
import os, sys
print("out")
sys.stdout = os.fdopen(os.open("file", os.O_WRONLY | os.O_CREAT), "w")
print("in the file")
#= another_wrapper
import io
second = io.open(1, "w", closefd=False)
second.write("unflushed")
print("out")
#= another_that_closes
import io, sys
try:
    second = io.open(1, "w")
    second.write("unflushed")
except OSError:
    pass
print("out")
#= buffered
import sys
if sys.stdout:
    sys.stdout.buffer.write(b"bytes beneath")
    sys.stdout.write("text above")
#= reconfigured
import sys
if sys.stdout:
    sys.stdout.reconfigure(encoding="utf-16", line_buffering=False, write_through=False)
print("wide")
#= redirected
import contextlib, io
redirection = contextlib.redirect_stdout(io.StringIO())
redirection.__enter__()
print("lost")
#= moved
import os, sys
print("before")
try:
    sys.stdout.flush()
    file = os.open("file", os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
except Exception as error:
    print(error, file=sys.stderr)
print("after")
#= by_c
import ctypes
c = ctypes.CDLL(None)
c.printf(b"from C\n")
print("from Python")
c.puts(b"again from C")
#= pipe_signal
import signal, time
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
time.sleep(.1)
print("out")
