"""What the benchmarks have in common: running commands, saying what machine this is, output, exit status.

Used by scripts/bench-*, which say what they measure. Whole commands are run, the release build's by default.
"""
import contextlib
import json
import math
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release"
DEADLINE = 120  # seconds for one command, which should take less than one


class Failed(Exception):
    """A command did not do what it should (status 1), or something is not there (status 2)."""

    def __init__(self, message, hint=None, status=1):
        super().__init__(message)
        self.hint, self.status = hint, status


def environment(python, store):
    kept = {n: v for n, v in os.environ.items() if n == "PYIMG_CRIU" or not n.startswith(("PYIMG_", "PYTHON"))}
    # Nothing is built beside what is measured, and no hint said.
    return {**kept, "PYIMG_DIR": store, "PYIMG_BUILD": "off", **({"PYIMG_PYTHON": python} if python else {})}


def output_of(argv, env):
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=DEADLINE)
    if done.returncode != 0:
        said = done.stderr.strip()[-2000:] or "nothing"
        raise Failed(f"{argv[0]} {argv[1]} ended with status {done.returncode} and said: {said}",
                     status=2 if done.returncode == 2 else 1)
    return done.stdout, done.stderr


def spread(values):
    ordered = sorted(values)
    return {"median": statistics.median(ordered), "min": ordered[0], "p90": ordered[math.ceil(0.9 * len(ordered)) - 1]}


def timed(argv, env, out, errors):
    """One run, from spawn to reaped, in the current directory: wait status, wall ms, CPU ms, minor faults, and when it
    began and ended in ns of the monotonic clock. Standard output goes to the file `out`, which is emptied, standard
    error to the end of the file `errors`."""
    write = os.O_WRONLY | os.O_CREAT
    files = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
             (os.POSIX_SPAWN_OPEN, 1, out, write | os.O_TRUNC, 0o600),
             (os.POSIX_SPAWN_OPEN, 2, errors, write | os.O_APPEND, 0o600)]
    ignored_by_python = [signal.SIGPIPE, signal.SIGXFSZ]  # a child would inherit that
    pid = None
    signal.alarm(DEADLINE)
    try:
        begin = time.monotonic_ns()
        pid = os.posix_spawn(argv[0], argv, env, file_actions=files, setsigdef=ignored_by_python)
        _, status, usage = os.wait4(pid, 0)
        end = time.monotonic_ns()
    except BaseException:
        with contextlib.suppress(OSError):
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        raise
    finally:
        signal.alarm(0)
    return status, (end - begin) / 1e6, (usage.ru_utime + usage.ru_stime) * 1e3, usage.ru_minflt, begin, end


def machine(pyimg, python, env):
    """What all figures depend on."""
    version, _ = output_of([python, "-c", "import platform; print(platform.python_version())"], env)
    doctor = subprocess.run([pyimg, "doctor"], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            universal_newlines=True).stdout
    criu = re.search(r"^\S+ +criu .*version ([\d.]+)", doctor, re.MULTILINE)
    cpu = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {"kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
            "cores": len(os.sched_getaffinity(0)), "cpu": cpu.group(1) if cpu else "unknown",
            "pyimg": output_of([pyimg, "--version"], env)[0].split()[-1], "criu": criu.group(1) if criu else "unknown",
            "python": version.strip(), "load_before": os.getloadavg()}


def about(pyimg, python, env):
    """The same, and the versions of numpy and pandas."""
    numpy, pandas = output_of([python, "-c", "import numpy, pandas; print(numpy.__version__, pandas.__version__)"],
                              env)[0].split()
    return {**machine(pyimg, python, env), "numpy": numpy, "pandas": pandas}


def show_machine(m, line):
    before, after = (" ".join(f"{value:.1f}" for value in m[when]) for when in ("load_before", "load_after"))
    line(f"{m['kernel']}, {m['cores']} cores ({m['cpu']}), load {before}, at the end {after}")
    libraries = "".join(f", {name} {m[name]}" for name in ("numpy", "pandas") if name in m)
    line(f"pyimg {m['pyimg']}, CRIU {m['criu']}, Python {m['python']}{libraries}")


def progress(text=""):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def add_arguments(parser, programs):
    """The options that all benchmarks have. `programs` are those of pyimg, pyrun and python that are needed."""
    defaults = {"pyimg": BUILT / "pyimg", "pyrun": BUILT / "pyrun", "python": ROOT / "target/venv/bin/python"}
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE",
                        help="write the data to FILE too; without FILE: to stdout, and the table to stderr")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    for name in programs:
        parser.add_argument(f"--{name}", default=defaults[name], help=f"default: {defaults[name].relative_to(ROOT)}")


def find_programs(options, programs):
    for name in programs:
        program = shutil.which(str(getattr(options, name)))
        if program is None:
            raise Failed(f"there is no {getattr(options, name)}", f"run make demo, or give --{name}", 2)
        setattr(options, name, os.path.abspath(program))  # not resolved: a virtual environment's python is a symlink


def target(what, bound, limit, value):
    """A figure and the bound that it should keep: "at most" or "at least"."""
    return {"what": what, "bound": bound, "limit": limit, "value": value,
            "ok": value <= limit if bound == "at most" else value >= limit}


def show_targets(targets, line):
    line("\ntargets")
    width = max(len(each["what"]) for each in targets)
    for each in targets:
        line(f"  {each['what']:<{width}} {each['bound']} {each['limit']}: {each['value']:.2f} "
             f"{'ok' if each['ok'] else 'missed'}")


def too_long(_number, _frame):
    raise Failed(f"a command took longer than {DEADLINE} s")


def main(arguments, bench, show):
    """Runs a benchmark: `arguments()` gives the options, `bench(options, directory)` the data, `show(data, line)`
    prints it. Returns the exit status: 0 done; 1 a command did not do what it should, which the data may say by
    "wrong", or with --check a target was missed; 2 usage or environment."""
    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the temporary store is removed
    try:
        options = arguments()
        with tempfile.TemporaryDirectory(prefix="pyimg-bench-") as work:
            data = bench(options, work)
        progress()
        out = sys.stderr if options.json == "-" else sys.stdout
        show(data, lambda text="": print(text, file=out))
        if options.json:
            text = json.dumps(data, indent=2) + "\n"
            sys.stdout.write(text) if options.json == "-" else Path(options.json).write_text(text)
    except (Failed, OSError, subprocess.TimeoutExpired) as error:
        progress()
        print(f"error: {error}", file=sys.stderr)
        if getattr(error, "hint", None):
            print(f"hint: {error.hint}", file=sys.stderr)
        return getattr(error, "status", 1)
    except KeyboardInterrupt:
        progress()
        return 130
    missed = options.check and not all(each["ok"] for each in data["targets"])
    return 1 if missed or data.get("wrong") else 0
