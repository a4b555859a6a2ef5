#: The standard streams are made for what stands behind their descriptors, and for the locale and variables.
#: recipe: import io, os, socket, stat, subprocess
#: every
#: varies: 0x[0-9a-f]+
#: stdin: "a line\nanother\n"
#: run [] [-u] [-X utf8=0] [-X utf8] [-I] [PYTHONIOENCODING=latin-1] [PYTHONIOENCODING=utf-16:replace] [PYTHONIOENCODING=:backslashreplace] [PYTHONIOENCODING=ascii:strict -u] [PYTHONUTF8=1] [PYTHONUTF8=0] [PYTHONUNBUFFERED=1] [-E PYTHONUNBUFFERED=1] [LANG=C] [LANG=POSIX] [LC_ALL=C] [LC_ALL=POSIX] [LANG= LC_CTYPE=C] [LC_ALL=C.UTF-8] [LC_CTYPE=C.utf8] [LANG=en_US.ISO-8859-1] [LC_ALL=nonsense] [LANG=C PYTHONCOERCECLOCALE=0] [LC_ALL=C PYTHONUTF8=0] [LANG=C PYTHONIOENCODING=utf-8] [-X dev]: python program.py report; python program.py report > out < program.py 2> err; cat err; python program.py report | cat; python program.py report 2>&1 | cat
#: run [] [-u]: python program.py report 2>> log >> log < /dev/null; python program.py report 1<> both 2>&1; python program.py report 1< program.py > /dev/null; python program.py report > /dev/full; echo $?
#: run [] [-u]: python program.py report <&-; echo $?; python program.py report >&-; echo $?; cat report; python program.py report 2>&-; echo $?; python program.py report <&- >&- 2>&-; echo $?; cat report; python program.py report < out > out 2>&-; python program.py report < program.py 3< program.py 1>&3
#: run [] [-u]: "$PYIMG_PYTHON" -c 'import socket, subprocess, sys; a, b = socket.socketpair(); subprocess.run(sys.argv[1:], stdin=b, stdout=b); b.close(); print(a.makefile().read())' "$PYTHON" $FLAGS program.py report
#: run [] [-u]: python program.py order; python program.py order 2>&1; python program.py order > out 2>&1; python program.py order 2>&1 | cat
import os
import stat
import sys


def tell(stream):
    if stream is None:
        return None
    names = "encoding", "errors", "line_buffering", "write_through", "newlines", "mode", "name", "closed", "_CHUNK_SIZE"
    raw = getattr(stream.buffer, "raw", stream.buffer)
    told = [getattr(stream, name, None) for name in names] + [type(stream.buffer).__name__, stream.buffer.name, stream.buffer.mode]
    told += [(raw.name, raw.mode, raw.closefd, raw._blksize, type(raw).__name__), stream.fileno(), stream.isatty(), repr(stream)]
    told += [getattr(layer, kind)() for layer in (stream, stream.buffer, raw) for kind in ("readable", "writable", "seekable")]
    try:
        status = os.fstat(stream.fileno())
        told += [stat.filemode(status.st_mode), raw.tell() if raw.seekable() else None, repr(raw)]
    except OSError as error:
        told.append(error)
    return told


if sys.argv[1] == "order":
    sys.stdout.write("out without end")
    print("err", file=sys.stderr)
    os.write(1, b"raw\n")
    print("out é" if "utf" in sys.stdout.encoding.lower() else "out")
    sys.stderr.write("err without end")
    sys.stdout.buffer.write(b"bytes\n")
    os.write(2, b"raw err\n")
    sys.stdout.flush()
    print("x" * 9000, end="y")
    os.write(1, b"after 9000\n")
    1 / 0
report = open("report", "w")
for name in "stdin", "stdout", "stderr":
    stream = getattr(sys, name)
    report.write(f"{name} {getattr(sys, '__' + name + '__') is stream} {ascii(tell(stream))}\n")
import locale
import subprocess
report.write(f"{locale.setlocale(locale.LC_CTYPE)} {locale.setlocale(locale.LC_ALL)} {locale.getpreferredencoding()} {open('program.py').encoding} {sys.getfilesystemencoding()}\n")
report.write(f"{ {name: os.environ.get(name) for name in ('LANG', 'LC_ALL', 'LC_CTYPE')} } {subprocess.check_output('echo ${LC_CTYPE-unset}', shell=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)}\n")
report.close()
print(open("report").read())
print(sys.stdin and sys.stdin.seekable() and sys.stdin.readline()[:40], file=sys.stderr)
