"""What scripts/bench-start puts beside a run from an image, and what is no command for a user: a forked warm Python, and
the floor, which is the same mappings and the same pages written without a Python. It says what they are.
"""
import contextlib
import ctypes
import json
import os
import shutil
import signal
import struct
import subprocess
from pathlib import Path

import benching
from benching import DEADLINE, Failed, output_of

PAGE = 4096
FIRST_RUNS = 3  # of a program: they note which pages it writes, and so write more
# A Python that has imported what the image holds, and forks for each line that names a program. It answers with wait
# status, begin, end, CPU time and minor faults of the child. Collected and frozen, so that fork copies the least.
RESIDENT = """import atexit, gc, json, os, sys, threading, time
answers, programs = open(int(sys.argv[1]), "w"), json.loads(sys.argv[2])
exec(sys.argv[3])
def child(text):
    status = 0
    try:
        exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    os._exit(status)
gc.collect()
gc.freeze()
print("ready", file=answers, flush=True)
while name := sys.stdin.readline().strip():
    begin = time.monotonic_ns()
    pid = os.fork()
    if pid == 0:
        child(programs[name])
    _, status, usage = os.wait4(pid, 0)
    end = time.monotonic_ns()
    print(status, begin, end, usage.ru_utime + usage.ru_stime, usage.ru_minflt, file=answers, flush=True)
"""


class Resident:
    """A Python that has imported everything and forks when it is told to; standard output goes to the file `out`."""

    def __init__(self, python, imports, programs, env, out, errors):
        self.kind = python, imports, programs, env
        read, write = os.pipe()
        argv = [python, "-c", RESIDENT, str(write), json.dumps(programs), imports]
        with open(out, "wb") as out, open(errors, "ab") as errors:
            self.process = subprocess.Popen(argv, env=env,
                                            stdin=subprocess.PIPE, stdout=out, stderr=errors, pass_fds=[write])
        os.close(write)
        self.answers = open(read)
        if self.answers.readline() != "ready\n":
            raise Failed(f"the resident Python did not start: {Path(errors.name).read_text(errors='replace').strip()}")

    def another(self, out, errors):
        """One of the same kind with another standard output and error."""
        return Resident(*self.kind, out, errors)

    def run(self, program):
        """As benching.timed, for a child of it."""
        signal.alarm(DEADLINE)
        try:
            self.process.stdin.write(program.encode() + b"\n")
            self.process.stdin.flush()
            answer = self.answers.readline().split()
        finally:
            signal.alarm(0)
        if len(answer) != 5:
            raise Failed("the resident Python has ended")
        begin, end = int(answer[1]), int(answer[2])
        return int(answer[0]), (end - begin) / 1e6, float(answer[3]) * 1e3, int(answer[4]), begin, end

    def close(self):
        self.process.stdin.close()
        self.process.wait(DEADLINE)
        self.answers.close()


# ---- the floor ----


def mappings_of(pid):
    """What a process has mapped, but for what the kernel provides: files, mappings, and runs of pages written."""
    files, mappings, written = [], [], []
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for text in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, protection, offset, _, _, *name = text.split(None, 5)
            name = name[0] if name else ""
            if name in ("[vvar]", "[vvar_vclock]", "[vdso]", "[vsyscall]"):
                continue
            start, end = (int(address, 16) for address in place.split("-"))
            prot = sum(bit for letter, bit in (("r", 1), ("w", 2), ("x", 4)) if letter in protection)
            flags = (1 if protection[3] == "s" else 2) | (0 if name.startswith("/") else 0x20)  # of them MAP_ANONYMOUS
            if name.startswith("/") and name not in files:
                files.append(name)
            file = files.index(name) if name.startswith("/") else -1
            mappings.append((start, end - start, prot, flags, file, int(offset, 16)))
            if prot & 2:
                pages = (end - start) // PAGE
                states = struct.unpack(f"<{pages}Q", os.pread(pagemap.fileno(), pages * 8, start // PAGE * 8))
                # In memory, and neither a file's nor shared: so it was written to.
                for page in (number for number, state in enumerate(states) if state >> 63 and not state >> 61 & 1):
                    address = start + page * PAGE
                    if written and sum(written[-1]) == address:
                        written[-1][1] += PAGE
                    else:
                        written.append([address, PAGE])
    return files, mappings, written


@contextlib.contextmanager
def at_its_end(argv, env, errors):
    """Runs a command until all is done but that its memory goes; gives its process, stopped there."""
    trace_me, cont, detach, set_options, event_of_exit = 0, 7, 17, 0x4200, 6  # of ptrace(2)
    libc = ctypes.CDLL(None)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    pid = os.fork()
    if pid == 0:
        try:
            for descriptor, path in enumerate((os.devnull, os.devnull, errors)):
                os.dup2(os.open(path, os.O_RDWR), descriptor)
            libc.ptrace(trace_me, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            os.execve(argv[0], argv, env)
        finally:
            os._exit(127)
    _, status = os.waitpid(pid, 0)
    libc.ptrace(set_options, pid, None, 1 << event_of_exit)
    while os.WIFSTOPPED(status) and status >> 16 != event_of_exit:
        libc.ptrace(cont, pid, None, None)
        _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        raise Failed(f"{argv[0]}: it cannot be traced to its end: wait status {status:#x}")
    try:
        yield pid
    finally:
        libc.ptrace(detach, pid, None, None)
        os.waitpid(pid, 0)


def make_floor(pyrun, image, env, work):
    """Compiles the floor of `pass` from the image; None if no process has become a program of it."""
    errors = Path(work, "at-its-end")
    errors.touch()
    argv, env = [pyrun, "--image", image, "-c", "pass"], {**env, "PYIMG_LOG": "debug"}
    for _ in range(FIRST_RUNS):
        output_of(argv, env)
    with at_its_end(argv, env, errors) as pid:
        if "(direct" not in errors.read_text(errors="replace"):
            return None
        files, mappings, written = mappings_of(pid)
    place = benching.BUILT.parent / "bench-start"
    place.mkdir(parents=True, exist_ok=True)
    table = [f"static const char *const files[] = {{{', '.join(map(json.dumps, files))}{', ' if files else ''}NULL}};"]
    for kind, name, entries in (("mapping", "mappings", mappings), ("run", "written", written)):
        # Of a run the length is in bytes here, and in pages there.
        rows = (entry if kind == "mapping" else (entry[0], entry[1] // PAGE) for entry in entries)
        lines = "".join(f"    {{{', '.join(map(str, row))}}},\n" for row in rows)
        table.append(f"static const struct {kind} {name}[] = {{\n{lines}    {{0}},\n}};")
    (place / "floor-table.h").write_text("\n".join(table) + "\n")
    # Neither the image of a Python that is linked to a fixed address, nor one of another, has anything at this one.
    fixed = ["-static", "-no-pie", "-fno-pie", "-Wl,-Ttext-segment=0x60000000"]
    source = Path(__file__).resolve().parent / "floor.c"
    output_of([find_compiler(), "-O2", *fixed, "-I", str(place), "-o", str(place / "floor"), str(source)], os.environ)
    return str(place / "floor")


def find_compiler():
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Failed("there is no C compiler for the floor", "run scripts/setup", 2)
    return compiler
