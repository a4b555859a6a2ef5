"""CPython's own regression tests: whatever passes under `python` passes under `pyrun`, case by case.

Each module is run as `-m test` runs it, by `python` and by `pyrun` from one image of what that imports at its start.
With `children`, plain Python runs the tests on both sides, and the interpreters that they start (by `sys.executable`)
are `pyrun` on one of them, from bare images: what those tests say about options, streams, signals and ends is then
said of the woken process.
"""
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path

from conforming.sides import engines_of, setting_of

DEADLINE = 120  # seconds for one module under one interpreter, which should take less than 20

# Without `test_`. They pass under Python alone, without a network or a terminal, and at any load.
MODULES = ["test_" + name for name in """
    __all__ _opcode abc abstract_numbers array ast asyncgen atexit augassign base64 baseexception bdb binascii binop
    bisect bool bufio builtin bz2 call charmapcodec class cmath cmd code code_module codeccallbacks
    codecencodings_cn codecencodings_hk codecencodings_iso2022 codecencodings_jp codecencodings_kr codecencodings_tw
    codecs codeop collections colorsys compare complex configparser contains context contextlib contextlib_async
    copy copyreg coroutines cprofile csv ctypes dataclasses dbm dbm_dumb decorators defaultdict deque descr descrtut
    dict dict_version dictcomps dictviews difflib dis doctest dynamic dynamicclassattribute email enum enumerate eof
    epoll errno except_star exception_group exception_hierarchy exception_variations extcall fcntl file filecmp
    fileinput fileio fileutils finalization float flufl fnmatch format fractions frame frozen fstring funcattrs
    functools future_stmt generator_stop generators genericalias genericclass genericpath genexps getopt getpass
    getpath gettext glob global grammar graphlib grp gzip hash heapq hmac html htmlparser http_cookiejar
    http_cookies index inspect int int_literal ipaddress isinstance iter iterlen itertools json keyword
    keywordonlyarg linecache list listcomps locale long longexp marshal math memoryio memoryview metaclass mimetypes
    minidom mmap module modulefinder named_expressions netrc ntpath numeric_tower opcache opcodes openpty operator
    optparse ordered_dict patma peepholer pep646_syntax picklebuffer pickletools pkg pkgutil platform plistlib poll
    popen positional_only_arg pow pprint print profile property pstats pty pulldom pwd py_compile pyclbr pyexpat
    queue quopri raise range re readline repl reprlib resource richcmp rlcompleter runpy sax sched scope
    script_helper secrets select trace
""".split()]

# Those that start interpreters, and look closely.
CHILDREN = ["test_" + name for name in """
    atexit audit builtin c_locale_coercion capi cmd_line cmd_line_script coroutines doctest embed exceptions
    faulthandler fileio fork1 gc generators hash import logging os pdb posix py_compile random runpy script_helper
    signal site source_encoding support sys tempfile thread threading threadsignals timeit traceback tracemalloc
    utf8_mode warnings weakref
""".split()]

# Runs in place of `-m test` where the children are to be pyrun. An image for the options and variables of each is built
# before the first that has them; what no image can have is plain Python.
WITH_CHILDREN = """
import _posixsubprocess, hashlib, json, os, runpy, subprocess, sys
pyrun, pyimg, more, built = eval(os.environ.pop("PYIMG_TEST_CHILDREN"))
python = os.fsencode(sys.executable)
real = _posixsubprocess.fork_exec

def fork_exec(args, executables, close_fds, pass_fds, cwd, env, *others):
    if list(executables) == [python]:
        pairs = dict(os.environb)
        if env is not None:
            pairs = dict(pair.split(b"=", 1) for pair in env if pair[:1] != b"=")
        pairs.pop(b"PYTHONREGRTEST_UNICODE_GUARD", None)
        pairs.update(more)
        pairs[b"PYIMG_IMAGE"] = image_for([os.fsdecode(arg) for arg in args[1:]], pairs)
        env, executables = [b"=".join(pair) for pair in pairs.items()], [pyrun]
    return real(args, executables, close_fds, pass_fds, cwd, env, *others)

def image_for(words, pairs):
    options = []
    while words and words[0].startswith("-") and words[0] not in ("-c", "-m", "-", "--"):
        options += [words.pop(0) for _ in range(2 if words[0] in ("-X", "-W") else 1)]
    used = sorted(p for p in pairs.items() if p[0].startswith((b"PYTHON", b"HOME", b"LC_", b"LANG", b"LD_", b"MALLOC")))
    name = f"{built}/{hashlib.sha1(repr((options, used)).encode()).hexdigest()}"
    if not os.path.exists(name):
        argv = [pyimg, "build", "pass", "--json", *(["--", *options] if options else [])]
        done = subprocess.run(argv, env=pairs, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        with open(name, "w") as file:
            print(json.loads(done.stdout)["image"]["name"] if done.returncode == 0 else "", file=file)
    with open(name) as file:
        return file.readline().strip().encode()

if pyrun:
    _posixsubprocess.fork_exec = fork_exec
    if hasattr(subprocess, "_fork_exec"):
        subprocess._fork_exec = fork_exec
    subprocess._USE_POSIX_SPAWN = subprocess._USE_VFORK = False
sys.argv = ["-m", *sys.argv[1:]]
del sys.path[0]
runpy.run_module("test", run_name="__main__", alter_sys=True)
"""


@dataclasses.dataclass
class Result:
    module: str
    by_python: list     # cases that python passes
    by_both: list
    differences: list   # (case, what it was under python, and under pyrun)
    known: list         # (case, why it differs)
    seconds: float
    engines: list        # those that it was a hit by; nothing of a miss


class Side:
    """One of the two: how a module is run, and what came of its cases."""

    def __init__(self, argv, env, work, counting=None):
        self.argv, self.env, self.work, self.counting = argv, env, work, counting

    def hits(self):
        """How many runs have begun from an image: of the children, and those of other modules meanwhile."""
        if not self.counting:
            return 0
        done = subprocess.run([self.counting, "stats", "--json"], env={**os.environ, "PYIMG_DIR": f"{self.work}/store"},
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return json.loads(done.stdout)["hits"] if done.returncode == 0 else 0

    def run(self, module):
        with tempfile.TemporaryDirectory(dir=self.work) as directory:
            report, said = f"{directory}/report.xml", f"{directory}/said"
            os.mkdir(f"{directory}/t")
            before = self.hits()
            with open(said, "wb") as out:
                argv = [*self.argv, "--junit-xml", report, "-v", module]
                process = subprocess.Popen(argv, env={**self.env, "TMPDIR": f"{directory}/t"}, cwd=self.work,
                                           stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
            try:
                status = process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                status = "too long"
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            text = Path(said).read_text(errors="replace")
            engines = engines_of(text.encode()) or ["unknown"] * (self.hits() - before)
            return {**cases_of(report), **failed_in(text), "exit status": status}, engines


def cases_of(report):
    cases = {}
    with contextlib.suppress(OSError, xml.etree.ElementTree.ParseError):
        for case in xml.etree.ElementTree.parse(report).iter("testcase"):
            other = {element.tag for element in case} & {"error", "failure", "skipped"}
            cases[case.get("name")] = "passed" if not other else "skipped" if other == {"skipped"} else "failed"
    return cases


def failed_in(text):
    """What only the text says: subtests, and what went wrong around a test."""
    return {name if name.endswith(f".{test}") else f"{name}.{test}": "failed"
            for test, name in re.findall(r"^(?:ERROR|FAIL): (\w+) \(([\w.]+)\)", text, re.MULTILINE)}


def compare(module, python, pyrun, known):
    begin = time.monotonic()
    ours, engines = pyrun.run(module)
    theirs, _ = python.run(module)
    result = Result(module, [], [], [], [], 0, engines)
    if ours["exit status"] == "too long":
        theirs = {"exit status": theirs["exit status"]}
    for case, outcome in theirs.items():
        other = ours.get(case, "absent")
        reason = known.get(case) or known.get(case.rpartition(".")[0])
        if case != "exit status" and outcome == "passed":
            result.by_python.append(case)
            result.by_both.extend([case] if other == "passed" else [])
        explained = case == "exit status" and (result.differences or result.known)
        if other == outcome or outcome in ("failed", "too long") or explained:
            continue
        if reason:
            result.known.append((case, reason))
        else:
            result.differences.append((case, outcome, other))
    result.seconds = time.monotonic() - begin
    return result


def sides(side_python, pyimg, pyrun, work, children, engine):
    os.makedirs(work, exist_ok=True)
    kept = {n: v for n, v in os.environ.items() if n == "PYIMG_CRIU" or not n.startswith(("PYIMG_", "PYTHON"))}
    ours = {**kept, "PYIMG_DIR": f"{work}/store", "PYIMG_PYTHON": side_python, "PYIMG_BUILD": "off",
            **setting_of(engine)}
    if not children:
        # It asks for the working directory, which is the same in all runs.
        done = subprocess.run([pyimg, "build", "-m", "test", "--name", "test"], env=ours, cwd=work,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError(f"no image of -m test for {side_python}: {done.stdout.decode(errors='replace')}")
        return (Side([side_python, "-m", "test"], kept, work),
                Side([pyrun, "--image", "test", "-m", "test"], {**ours, "PYIMG_LOG": "hit"}, work))
    os.makedirs(f"{work}/built", exist_ok=True)
    ours["PYIMG_TEST_WORTH"] = "any"  # a debug build then uses other images, too, though they save nothing
    more = {n.encode(): v.encode() for n, v in ours.items() if n.startswith("PYIMG_")}
    argv, how = [side_python, "-c", WITH_CHILDREN], (pyrun.encode(), pyimg, more, f"{work}/built")
    return (Side(argv, {**kept, "PYIMG_TEST_CHILDREN": repr((None,) * 4)}, work),
            Side(argv, {**kept, "PYIMG_TEST_CHILDREN": repr(how)}, work, pyimg))


def run(side_python, pyimg, pyrun, work, modules, jobs, children, known, engine="auto"):
    """Yields the result of each module, as they come. Nothing where the interpreter carries no tests. `known` is what
    differs and why, by the case or the class that it is of."""
    probe = "import importlib.util as u; print(*[n for n in %r if u.find_spec('test.' + n)])" % (modules,)
    found = subprocess.run([side_python, "-c", "import test.libregrtest.main\n" + probe], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, universal_newlines=True)
    if found.returncode != 0:
        return
    python, other = sides(side_python, pyimg, pyrun, work, children, engine)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        tasks = [pool.submit(compare, name, python, other, known) for name in found.stdout.split()]
        for task in concurrent.futures.as_completed(tasks):
            yield task.result()
