#: A program has the descriptors that it was given, as they were given, and no others.
#: run: code=$(cat streams.py); for closed in "" "<&-" ">&-" "2>&-" "<&- >&-" "<&- 2>&-" ">&- 2>&-" "<&- >&- 2>&-"; do for more in "" "3< /dev/null 9> nine"; do echo input > in; eval "python -c \"\$code\" < in $closed $more"; echo "= $closed $more: $?"; cat fds streams; done; done
#: run: for closed in "" "<&-" ">&-" "2>&-" "<&- >&- 2>&-"; do for more in "" "3< /dev/null 9> nine"; do echo input > in; eval "python streams.py < in $closed $more"; echo "= $closed $more: $?"; cat fds streams; done; done
#:   recipe: import ctypes, json, numpy, os, socket, subprocess, threading
#:   needs: numpy
#: run: echo 'from three' > three; python further.py 3< three 9> nine
#: run: echo abc > seven; python both_ways.py 7<> seven
#: run: mkfifo p; exec 5<> p 4< p; python pipe.py; rm p
#: run: echo x > x; for ((n = 20; n < 320; n++)); do eval "exec $n< x"; done; python many.py
#: run: echo x > x; for ((n = 20; n < 320; n++)); do eval "exec $n< x"; done; python many.py
#:   recipe: import ctypes, json, numpy, os, socket, subprocess, threading
#:   needs: numpy
#: run: python twice.py 3> file 4>&3
#: run: python inheritable.py 3< /dev/null
#: run: "$PYIMG_PYTHON" -c 'import socket, subprocess, sys; a, b = socket.socketpair(); p = subprocess.Popen(sys.argv[1:], stdin=b); b.close(); print(a.recv(99)); a.sendall(b"world"); a.close(); print(p.wait())' "$PYTHON" $FLAGS socket_of_it.py
#= streams
import os
numbers = sorted(int(n) for n in os.listdir("/proc/self/fd"))
open("fds", "w").write(str([(n, os.path.exists(f"/proc/self/fd/{n}")) for n in numbers]))
import sys
open("streams", "w").write(repr([s and (s.fileno(), s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.isatty()) for s in (sys.stdin, sys.stdout, sys.stderr)]))
print("out")
print("err", file=sys.stderr)
print(sys.stdin and sys.stdin.read())
#= further
import os
numbers = sorted(int(n) for n in os.listdir("/proc/self/fd"))
print([(n, os.path.exists(f"/proc/self/fd/{n}")) for n in numbers])
os.write(9, os.read(3, 99))
#= both_ways
import os
os.write(7, b"X")
print(os.read(7, 9))
#= pipe
import os
os.write(5, b"through a pipe")
print(os.read(4, 99))
#= many
import os
numbers = sorted(int(n) for n in os.listdir("/proc/self/fd"))
print([(n, os.path.exists(f"/proc/self/fd/{n}")) for n in numbers])
print(sum(os.read(n, 1) == b"x" for n in range(20, 320)))
#= twice
import os
os.write(3, b"three")
os.write(4, b"four")
print(os.lseek(3, 0, 1))
#= inheritable
import os
print([os.get_inheritable(n) for n in (0, 1, 2, 3)])
#= socket_of_it
import socket
s = socket.socket(fileno=0)
s.sendall(b"hello")
print(s.recv(99))
