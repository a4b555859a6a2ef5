"""The same command by plain Python and by pyrun from an image: where it runs, and what it leaves to be compared."""
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import termios
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from benching import Failed, environment

DEADLINE = 120  # seconds for one command
KEPT = 64 << 20  # bytes of output that are looked at
UMASK = os.umask(0)
os.umask(UMASK)


@dataclass
class Left:
    """What a command has left: how it ended (negative: the signal), what it said, and its files."""
    status: int
    stdout: bytes
    stderr: bytes
    files: dict = field(default_factory=dict)

    def without(self, patterns):
        """The same, with what differs from run to run taken out."""
        def stripped(text):
            for pattern in patterns:
                text = re.sub(pattern.encode(), b"[varies]", text)
            return text
        files = {stripped(name): stripped(content) for name, content in self.files.items()}
        return Left(self.status, stripped(self.stdout), stripped(self.stderr), files)


def setting_of(engine):
    """What has pyrun take this engine; nothing for `auto`, as if nobody had asked for one."""
    return {} if engine == "auto" else {"PYIMG_ENGINE": engine}


def engines_of(text):
    """By which engines runs were hits, from what PYIMG_LOG has had pyrun say: `direct`, `criu`, `criu: REASON`."""
    return [engine.decode(errors="replace") for engine in re.findall(rb"pyrun: hit: \S+ \(([^\r\n]*)\)\r?\n", text)]


class Sides:
    """An interpreter, a store with images of it, and a directory in which commands run."""

    def __init__(self, python, pyimg, pyrun, work, engine="auto", before=0):
        self.python, self.pyimg, self.pyrun, self.engine = str(python), str(pyimg), str(pyrun), engine
        self.work, self.before = Path(work), before
        self.place, self.store = self.work / "place", self.work / "store"
        for name in "home", "tmp":
            (self.work / name).mkdir(parents=True)
        self.environment = {
            **{n: v for n, v in environment(self.python, str(self.store)).items()
               if n in ("PYIMG_CRIU", "PYIMG_DIR", "PYIMG_PYTHON", "PYIMG_BUILD", "XDG_RUNTIME_DIR")},
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TERM": "dumb",
            "HOME": str(self.work / "home"), "TMPDIR": str(self.work / "tmp"), **setting_of(engine),
        }
        self.images = {}

    def version(self):
        code = "import sys; print(*sys.version_info[:2])"
        said = subprocess.run([self.python, "-c", code], stdout=subprocess.PIPE, check=True).stdout
        return tuple(map(int, said.split()))

    def image(self, recipe, flags=(), variables=()):
        """The name of the image of these arguments of `pyimg build`, which is built at the first time."""
        key = (tuple(recipe), tuple(flags), tuple(variables))
        if key not in self.images:
            name = f"image-{len(self.images)}"
            argv = [self.pyimg, "build", *recipe, "--name", name, *(["--", *flags] if flags else [])]
            self.place.mkdir(exist_ok=True)  # some images are for one working directory
            done = subprocess.run(argv, env={**self.environment, **dict(variables)}, cwd=self.place,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            said = done.stderr.decode(errors="replace").strip()
            same = re.search('this image is there already, as "(.*)"', said)  # another spelling of the same
            if done.returncode != 0 and not same:
                raise Failed(f"{' '.join(argv)}: {said}")
            self.images[key] = same[1] if same else name
        return self.images[key]

    def refuses(self, flags, variables=()):
        """Whether this Python does not start at all with these."""
        argv, env = [self.python, *flags, "-c", "pass"], {**self.environment, **dict(variables)}
        self.place.mkdir(exist_ok=True)  # with pycache_prefix some of it is written to the working directory
        done = subprocess.run(argv, env=env, cwd=self.place, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return done.returncode != 0

    def send(self, child, number):
        """From saying that it is ready to sleeping takes a program a moment."""
        while not (self.place / "ready").exists() and child.poll() is None:
            time.sleep(0.005)
        time.sleep(0.05)
        child.send_signal(number)

    def uses(self):
        """How many runs have begun from an image."""
        done = subprocess.run([self.pyimg, "ls", "--json"], env=self.environment, stdout=subprocess.PIPE, check=True)
        return sum(image["uses"] for image in json.loads(done.stdout)["images"])

    def lay_out(self, files):
        """Makes the directory what it is to be. What is so already is not touched: a replay is only of that."""
        wanted = {self.place / name: content for name, content in files.items()}
        parents = {parent for path in wanted for parent in path.parents}
        if self.place.is_symlink() or not self.place.is_dir():
            shutil.rmtree(self.place, ignore_errors=True)
        for top, directories, names in os.walk(self.place, topdown=False):
            for path in (Path(top, name) for name in (*names, *directories)):
                if path in wanted and not path.is_symlink() and path.is_file() and path.read_bytes() == wanted[path] \
                        and path.stat().st_mode & 0o777 == 0o666 & ~UMASK:
                    continue
                if path in parents and path.is_dir() and not path.is_symlink():
                    continue
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for path, content in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(content)

    def replays(self):
        """How many runs of those that are in the log were replays: they write their time with a space before it."""
        log = self.store / "runs" / "log"
        return log.read_bytes().count(b'"at_ns": ') if log.exists() else 0

    def run(self, argv, files, variables=(), stdin=b"", terminal=None, number=None):
        """Runs a command in a directory with these files, {path: content}. `terminal` is what is typed there: then the
        command has a terminal, and what stands on it is its standard output. `number` is the name of a signal, which is
        sent once there is a file `ready`."""
        self.lay_out(files)
        env = {**self.environment, **dict(variables), "PWD": str(self.place)}
        if terminal is not None:
            left = on_a_terminal(argv, env, self.place, terminal)
        else:
            child = subprocess.Popen(argv, env=env, cwd=self.place, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, start_new_session=True)
            if number:
                threading.Thread(target=self.send, args=(child, signal.Signals[number]), daemon=True).start()
            try:
                left = Left(0, *child.communicate(stdin, timeout=DEADLINE))
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                left = Left(0, *child.communicate())
                left.stderr += f"\n[it did not end within {DEADLINE} s]".encode()
            left.status = child.returncode
            end_all(child.pid)
        for path in sorted(self.place.rglob("*")):
            name = os.fsencode(path.relative_to(self.place))
            if path.is_symlink():
                left.files[name] = b"-> " + os.fsencode(os.readlink(path))
            elif path.is_file() and "__pycache__" not in path.parts:
                left.files[name] = b"%o " % path.stat().st_mode + path.read_bytes()[:KEPT]
        return left


def end_all(session):
    """What a command has left running ends."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(session, signal.SIGKILL)


def on_a_terminal(argv, env, place, typed):
    """Runs a command that has a terminal as its own. What is typed is a list of (text to wait for, text to type)."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, b"\x18\0\x50\0\0\0\0\0")  # 24 lines of 80
    child = subprocess.Popen(argv, env=env, cwd=place, stdin=theirs, stdout=theirs, stderr=theirs,
                             start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(theirs)
    seen, at, typed, end = b"", 0, list(typed), time.monotonic() + DEADLINE
    while True:
        if typed and (found := seen.find(typed[0][0], at)) >= 0:
            at = found + len(typed[0][0])
            os.write(ours, typed.pop(0)[1])
        if not select.select([ours], [], [], max(0, end - time.monotonic()))[0]:
            end_all(child.pid)
            seen += f"\n[it did not end within {DEADLINE} s]".encode()
            break
        try:
            more = os.read(ours, 65536)
        except OSError:  # nobody has it open any more
            break
        if not more:
            break
        seen += more
    os.close(ours)
    status = child.wait()
    end_all(child.pid)
    return Left(status, seen, b"")
