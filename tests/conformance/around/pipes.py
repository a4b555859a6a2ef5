#: A program among others in a pipe, or with them in one file, reads and writes its part, and ends when nobody reads on.
#: run: head -c 300000 /dev/zero | python counts.py
#: run: printf 'b,2\na,1\nc,3\n' > in; python filter.py x < in | sort; cat in | python filter.py | sort -r; echo ${PIPESTATUS[@]}
#: run: python endless.py 2> err | head -c 5; echo ${PIPESTATUS[0]}
#: run: python endless_by_signal.py | head -c 5; echo ${PIPESTATUS[0]}
#: run: python lines.py > out 2> err; md5sum out err; rm out err
#: run: python lines.py 2>&1 > out | md5sum; rm out; python bytes.py | md5sum
#: run: { echo before; python flushed.py; echo after; } > out
#: run: echo first > log; python flushed.py >> log; echo third >> log
#= counts
import sys
print(len(sys.stdin.buffer.read()))
#= filter
import sys
for line in sys.stdin:
    print(line.strip().upper(), *sys.argv[1:])
#= endless
while True:
    print("y" * 1000)
#= endless_by_signal
import signal
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
while True:
    print("y" * 1000)
#= lines
import sys
for i in range(100000):
    print(i, i * i)
sys.stderr.write("e" * 1000000)
#= bytes
import sys
sys.stdout.buffer.write(bytes(range(256)) * 20000)
#= flushed
import sys
print("from Python")
sys.stdout.flush()
