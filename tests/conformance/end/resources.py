#: What was not closed, awaited or removed is finished at the end, with the warnings of CPython.
#: run [-W default] [-W error] [-X dev]: parts
#: varies: 0x[0-9a-f]+|/[^ ']*/(xyzzy|plugh)[a-z0-9_]+
#= resources
import os, socket, tempfile
file = open("left.txt", "w")
file.write("text")
binary = open("left.bin", "wb")
binary.write(b"bytes")
both = open("left.txt", "r+")
own, other = socket.socketpair()
#= resources_plain
import os
file = open("left.txt", "w")
file.write("text")
def f():
    g = open("left.txt")
f()
listing = os.scandir(".")
next(listing)
#= resource_in_image_module
import json
json.kept = open("left.txt", "w")
json.kept.write("text")
#= mapping
import mmap
file = open("mapped", "w+b")
file.truncate(4096)
mapping = mmap.mmap(file.fileno(), 4096)
mapping[:5] = b"hello"
#= archive
import zipfile
archive = zipfile.ZipFile("archive.zip", "w")
archive.writestr(zipfile.ZipInfo("name"), "text")
#= compressed
import gzip
file = gzip.GzipFile("file.gz", "wb", mtime=0)
file.write(b"text")
#= coroutine
async def main():
    pass
a = main()
#= coroutine_dropped
async def main():
    pass
main()
#= coroutine_suspended
import types
@types.coroutine
def wait():
    yield
async def main():
    try:
        await wait()
    finally:
        print("finally")
a = main()
a.send(None)
#= async_generator
async def values():
    try:
        yield 1
    finally:
        print("finally")
a = values()
try:
    a.asend(None).send(None)
except StopIteration:
    pass
#= warnings_in_finaliser
import warnings
class A:
    def __del__(self, warn=warnings.warn):
        warn("in del", ResourceWarning)
a = A()
b = A()
b.me = b
#= generator_with_file
def values():
    file = open("in_generator", "w")
    with file:
        file.write("text")
        yield 1
a = values()
next(a)
#= finaliser_raises
class A:
    def __del__(self): raise ValueError("in del")
a = A()
b = A()
b.me = b
#= logging_memory
import logging, logging.handlers
target = logging.FileHandler("log.txt")
handler = logging.handlers.MemoryHandler(100, target=target)
logging.getLogger().addHandler(handler)
logging.warning("kept until the end")
#= temporary
import tempfile
directory = tempfile.TemporaryDirectory(prefix="xyzzy")
#= temporary_file
import tempfile
temporary = tempfile.NamedTemporaryFile(prefix="plugh")
