#: On a terminal the streams, input() and the sizes are a terminal's.
#: recipe: import getpass, os, shutil
#: every
#: varies: /dev/pts/[0-9]+
#: terminal: "prompt " "typed\n" "again " "\x04" "shell " "exit\n"
#: run [] [-u] [-I] [PYTHONUNBUFFERED=1] [-X utf8=0] [TERM=xterm]: python program.py; read -p "shell " x
import os
import shutil
import sys

for stream in sys.stdin, sys.stdout, sys.stderr:
    raw = getattr(stream.buffer, "raw", stream.buffer)
    print(stream.isatty(), stream.line_buffering, stream.write_through, type(stream.buffer).__name__, raw._blksize, raw.mode, raw.name, stream.encoding, stream.errors)
print(os.isatty(0), os.ttyname(1), shutil.get_terminal_size(), "readline" in sys.modules)
print(repr(input("prompt ")), "readline" in sys.modules, os.tcgetpgrp(0) == os.getpgrp())
try:
    input("again ")
except EOFError as error:
    print("the end", repr(error))
sys.stdout.write("no end of line")
sys.stderr.write(" but at once\n")
