#: Mapped memory is shared with children or with a file, grows, and is advised on.
import mmap, os, sys

m = mmap.mmap(-1, 3 * mmap.PAGESIZE)
m.write(b"parent")
pid = os.fork()
if pid == 0:
    m[0:6] = b"child!"
    os._exit(0)
os.waitpid(pid, 0)
print(m[0:6], m.tell(), m.size())
private = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
pid = os.fork()
if pid == 0:
    private[0] = 1
    os._exit(0)
os.waitpid(pid, 0)
print(private[0])
m.resize(10 * mmap.PAGESIZE) if hasattr(m, "resize") and sys.version_info < (3, 11) else None
with open("data", "w+b") as f:
    f.write(b"0123456789" * 1000)
    f.flush()
    with mmap.mmap(f.fileno(), 0) as file:
        print(file.find(b"9"), file.rfind(b"0"), len(file))
        file.move(0, 5, 5)
        file.flush()
        file.resize(20000)
        file[19999] = 65
        print(file.size(), file[:10], file.closed)
    with mmap.mmap(f.fileno(), 100, access=mmap.ACCESS_READ, offset=mmap.ALLOCATIONGRANULARITY) as file:
        print(file[:10])
        try:
            file[0] = 1
        except TypeError as error:
            print(error)
    with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY) as file:
        file[0:3] = b"xyz"
big = mmap.mmap(-1, 1 << 24)
for a in "MADV_SEQUENTIAL", "MADV_HUGEPAGE", "MADV_DONTFORK", "MADV_DOFORK", "MADV_DONTNEED":
    if hasattr(mmap, a):
        big[5] = 5
        big.madvise(getattr(mmap, a))
        print(a, big[5])
view = memoryview(big)
try:
    big.close()
except BufferError as error:
    print(error)
view.release()
big.close()
