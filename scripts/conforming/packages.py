"""The test suites of real packages, by `python -m pytest` and by `pyrun -m pytest`, test case by test case.

Each package has a virtual environment and its source below target/conformance/PYTHON-VERSION, made at the first time
and kept, and its image is built as a person would: `pyimg build "import pytest, click"`. What a suite says is read from
the XML that pytest writes: the outcome of each case, in order, and the exit status must be the same.
"""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
import xml.etree.ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from conforming.sides import engines_of, setting_of

ROOT = Path(__file__).resolve().parent.parent.parent
PLACES = ROOT / "target/conformance"
DEADLINE = 1200  # seconds for one suite


class Trouble(Exception):
    """Why a package takes no part."""


class Package:
    """One package. `needs` is what pip installs besides it and pytest; `imports` what its image holds besides pytest;
    `arguments` are pytest's, in the unpacked source or, if it is not needed (not `has_source`), in an empty directory;
    `left_out` cases that differ from run to run by plain Python too, with the reason; `oldest` the Python it needs."""

    def __init__(self, name, needs, imports, arguments, left_out=None, has_source=True, oldest=(3, 10)):
        self.name, self.version = name.split("==")
        self.needs = ["pytest==8.4.2", name, *needs.split()]
        self.imports, self.arguments, self.has_source = imports, arguments.split(), has_source
        self.left_out, self.oldest = left_out or {}, oldest


PACKAGES = [
    Package("click==8.5.1", "", "click", "tests"),
    Package("jinja2==3.1.6", "trio==0.32.0", "jinja2", "tests"),
    Package("werkzeug==3.1.9", "pytest-timeout==2.4.0 ephemeral-port-reserve==1.1.4 watchdog==6.0.0 "
            "cryptography==46.0.3", "werkzeug, werkzeug.serving", "tests"),
    Package("flask==3.1.3", "python-dotenv==1.2.1 asgiref==3.11.0", "flask", "tests"),
    Package("filelock==3.19.1", "pytest-timeout==2.4.0 pytest-mock==3.15.1 pytest-asyncio==1.2.0 virtualenv==20.35.4",
            "filelock", "tests"),
    Package("psutil==7.2.2", "", "psutil", "tests/test_process.py tests/test_connections.py tests/test_misc.py"),
    Package("tornado==6.5.2", "", "tornado.web, tornado.process", "--pyargs tornado.test.process_test "
            "tornado.test.autoreload_test tornado.test.ioloop_test tornado.test.iostream_test tornado.test.log_test "
            "tornado.test.netutil_test tornado.test.gen_test tornado.test.concurrent_test", has_source=False),
    Package("numpy==2.2.6", "hypothesis==6.148.3", "numpy", "--pyargs numpy.random.tests.test_random "
            "numpy.random.tests.test_generator_mt19937 numpy.random.tests.test_seed_sequence "
            "numpy._core.tests.test_errstate numpy.testing.tests", has_source=False),
    Package("joblib==1.5.2", "numpy==2.2.6 psutil==7.2.2", "joblib", "--pyargs "
            "joblib.test.test_hashing joblib.test.test_memory joblib.test.test_numpy_pickle joblib.test.test_disk "
            "joblib.test.test_func_inspect joblib.test.test_logger joblib.test.test_store_backends "
            "joblib.test.test_cloudpickle_wrapper", has_source=False),
    Package("trio==0.32.0", "trustme==1.2.1 astor pyopenssl==25.3.0 async-generator", "trio",
            "-p trio._tests.pytest_plugin --pyargs trio._core._tests trio._tests.test_subprocess "
            "trio._tests.test_signals trio._tests.test_threads trio._tests.test_socket trio._tests.test_path "
            "trio._tests.test_file_io trio._tests.test_repl trio._tests.test_unix_pipes trio._tests.test_util",
            has_source=False),
    Package("pytest==8.4.2", "attrs==26.1.0 hypothesis==6.148.3 xmlschema setuptools pexpect==4.9.0", "",
            "testing/acceptance_test.py testing/test_capture.py testing/test_assertrewrite.py testing/test_tmpdir.py "
            "testing/test_unraisableexception.py testing/test_threadexception.py testing/test_faulthandler.py "
            "testing/test_pytester.py"),
]


@dataclass
class Result:
    package: str  # with its version
    passed_by_python: int = 0
    passed_by_both: int = 0
    differences: list = field(default_factory=list)  # (case, plain Python's outcome, pyrun's outcome)
    known: list = field(default_factory=list)  # (case, reason)
    python_seconds: float = 0.0
    pyrun_seconds: float = 0.0
    engines: list = field(default_factory=list)  # those that it was a hit by; nothing of a miss
    trouble: str = ""  # why it could not be compared


def environment(place, **more):
    """Of every command: nothing of the caller's that Python or pyimg reads, and the virtual environment active."""
    foreign = "PYIMG_", "PYTHON", "PYTEST", "VIRTUAL_ENV"
    kept = {n: v for n, v in os.environ.items() if n == "PYIMG_CRIU" or not n.startswith(foreign)}
    path = f"{place}/bin:{kept['PATH']}"
    return {**kept, "PATH": path, "VIRTUAL_ENV": str(place), "COLUMNS": "100", "TERM": "dumb", **more}


def output_of(argv, env=None, cwd=None):
    done = subprocess.run([str(each) for each in argv], env=env, cwd=cwd, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    if done.returncode != 0:
        raise Trouble(f"{Path(argv[0]).name} {argv[1]}: {(done.stderr.strip() or done.stdout.strip())[-2000:]}")
    return done.stdout


def install(package, python, place):
    """The virtual environment and the source; nothing if they are there with the same contents."""
    ready, wanted = place / "ready", " ".join(package.needs) + "\n"
    if ready.is_file() and ready.read_text() == wanted:
        return
    shutil.rmtree(place, ignore_errors=True)
    output_of([python, "-m", "venv", place / "venv"])
    pip = [place / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]
    output_of([*pip, "install", *package.needs])
    if not package.has_source:
        (place / "source").mkdir()
    else:
        requirement = f"{package.name}=={package.version}"
        output_of([*pip, "download", "--no-deps", "--no-binary", ":all:", "-d", place, requirement])
        archive = next(place.glob("*.tar.gz"))
        with tarfile.open(archive) as tar:
            tar.extractall(place)
        (place / archive.name[:-len(".tar.gz")]).rename(place / "source")
        # What is installed is tested, not what lies in the working directory.
        shutil.rmtree(place / "source" / package.name, ignore_errors=True)
    ready.write_text(wanted)


def outcomes(path):
    """What the XML says, {case: outcome}. Cases of one name are numbered."""
    found, seen = {}, Counter()
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        seen[name] += 1
        unlike = ["xfailed" if child.get("type") == "pytest.xfail" else child.tag for child in case
                  if child.tag in ("failure", "error", "skipped")]
        found[name if seen[name] == 1 else f"{name} ({seen[name]})"] = " and ".join(unlike) or "passed"
    return found


def run_suite(argv, package, env, work, cwd):
    """{case: outcome}, with two more: the exit status and the last line, which counts warnings too; then how many
    seconds it took, and what came on standard error. The names of files are the same for either side."""
    shutil.rmtree(work, ignore_errors=True)
    (work / "tmp").mkdir(parents=True)
    options = ["-p", "no:cacheprovider", "-q", "-o", "junit_family=xunit2", f"--junit-xml={work}/out.xml",
               *package.arguments, *(f"--deselect={case}" for case in package.left_out)]
    begin = time.monotonic()
    with open(work / "out", "wb") as out, open(work / "err", "wb") as err:
        process = subprocess.Popen([*argv, "-m", "pytest", *options], env={**env, "TMPDIR": f"{work}/tmp"}, cwd=cwd,
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        try:
            status = process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise Trouble(f"took longer than {DEADLINE} s: {' '.join(argv)}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    seconds = time.monotonic() - begin
    said, errors = ((work / name).read_text(errors="replace").strip() for name in ("out", "err"))
    if status not in (0, 1) or not (work / "out.xml").is_file():
        raise Trouble(f"{argv[0]} ended with status {status} and said: {errors[-2000:]}{said[-2000:]}")
    last = re.sub(r" in \d+\.\d+s.*", "", said.splitlines()[-1])
    return {**outcomes(work / "out.xml"), "exit status": str(status), "last line": last}, seconds, errors


def compare(package, python, pyimg, pyrun, work, known, engine):
    version = output_of([python, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"]).strip()
    if tuple(map(int, version.split(".")))[:2] < package.oldest:
        raise Trouble(f"needs Python {'.'.join(map(str, package.oldest))}")
    place = PLACES / version / package.name
    install(package, python, place)
    own, cwd, work = place / "venv/bin/python", place / "source", Path(work, package.name)
    env = environment(place / "venv", PYIMG_DIR=f"{work}/store", PYIMG_BUILD="off", PYIMG_LOG="debug",
                      **setting_of(engine))
    recipe = "import " + ", ".join(filter(None, ["pytest", package.imports]))
    output_of([pyimg, "build", recipe, "--name", "suite", "--python", own], env, cwd)
    expected, python_seconds, _ = run_suite([str(own)], package, env, work / "run", cwd)
    found, pyrun_seconds, errors = run_suite([pyrun, "--image", "suite"], package, env, work / "run", cwd)
    result = Result(f"{package.name} {package.version}", python_seconds=python_seconds, pyrun_seconds=pyrun_seconds,
                    engines=engines_of(errors.encode() + b"\n")[:1])
    for case in [*expected, *(case for case in found if case not in expected)]:
        one, other = expected.get(case, "not run"), found.get(case, "not run")
        result.passed_by_python += one == "passed"
        result.passed_by_both += one == other == "passed"
        if one != other and f"{package.name} {case}" in known:
            result.known.append((case, known[f"{package.name} {case}"]))
        elif one != other:
            result.differences.append((case, one, other))
    shutil.rmtree(work)
    return result


def run(python, pyimg, pyrun, work, wanted, known, engine="auto"):
    """A result for each package whose name matches; `work` is a temporary directory, and `known` what differs and why,
    by "PACKAGE CASE"."""
    for package in PACKAGES:
        if re.search(wanted, package.name):
            try:
                yield compare(package, python, pyimg, pyrun, work, known, engine)
            except Trouble as trouble:
                yield Result(f"{package.name} {package.version}", trouble=str(trouble))
