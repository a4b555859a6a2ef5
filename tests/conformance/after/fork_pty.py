#: os.forkpty and pty.spawn give the child a terminal of its own.
import os, pty, sys

pid, fd = os.forkpty()
if pid == 0:
    print(os.isatty(0), os.getsid(0) == os.getpid(), os.ttyname(1).startswith("/dev/pts/"), flush=True)
    print(input("name? "))
    sys.exit(3)
text = b""
while b"name? " not in text:
    text += os.read(fd, 999)
os.write(fd, b"Ann\n")
try:
    while more := os.read(fd, 999):
        text += more
except OSError:
    pass
print(text, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)

seen = []
def read(fd):
    data = os.read(fd, 999)
    seen.append(data)
    return data
status = pty.spawn([sys.executable, "-c", "import sys; print(sys.stdout.isatty())"], read)
print(b"".join(seen), os.waitstatus_to_exitcode(status))
