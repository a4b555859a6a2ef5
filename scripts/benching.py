"""What the benchmarks have in common: running commands, saying what machine this is, output, exit status.

Used by scripts/bench-*, which say what they measure. Whole commands are run, the release build's by default.
"""
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
    return {**kept, "PYIMG_DIR": store, "PYIMG_PYTHON": python}


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


def about(pyimg, python, env):
    """What the figures depend on."""
    code = "import platform, numpy, pandas; print(platform.python_version(), numpy.__version__, pandas.__version__)"
    version, numpy, pandas = output_of([python, "-c", code], env)[0].split()
    doctor = subprocess.run([pyimg, "doctor"], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            universal_newlines=True).stdout
    criu = re.search(r"^\S+ +criu .*version ([\d.]+)", doctor, re.MULTILINE)
    cpu = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {"kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
            "cores": len(os.sched_getaffinity(0)), "cpu": cpu.group(1) if cpu else "unknown",
            "pyimg": output_of([pyimg, "--version"], env)[0].split()[-1], "criu": criu.group(1) if criu else "unknown",
            "python": version, "numpy": numpy, "pandas": pandas, "load_before": os.getloadavg()}


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
    prints it. Returns the exit status: 0 done; 1 a command did not do what it should, or with --check a target was
    missed; 2 usage or environment."""
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
    return 1 if options.check and not all(each["ok"] for each in data["targets"]) else 0
