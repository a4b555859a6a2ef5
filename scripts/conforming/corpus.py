"""Small programs of ours, in tests/conformance: each is a sentence about what a program can see or do, and the program
that shows it. They are compared to the byte.

A program is a file, or a directory with `program.py` and what it needs beside it. It begins with lines like these, which
may also stand in a file `about` of the directory:

    #: A sentence.
    #: run: python program.py one "two words"       a Bash script, in a directory with the files. `python` is the one that
                                                    is tested, "$PYTHON" $FLAGS the same where a function will not do
    #: run [-O] [LANG=C -W error]: python -c pass   the same with images of other flags and variables, one after another
    #: terminal: "name? " "Ann\\n" "$ " "exit\\n"     on a terminal: what is typed as soon as what stands there
    #: stdin: "some text\\n"                         a pipe; otherwise it is empty
    #: recipe: import json                          what the image holds in place of RECIPE
    #: since: 3.11    until: 3.12                   versions that can show it
    #: needs: numpy                                 a distribution, as pip calls it, without which it is skipped
    #: varies: 0x[0-9a-f]+                          what differs from run to run by plain Python too
    #: signal: SIGTERM                              sent once there is a file `ready`; what `exec` has made of Bash gets it
    #: ends: 1                                      the exit status, or the negative number of the signal, of Bash
    #: miss                                         no image can give it, and none is used
    #: miss: Permission denied                      ... and this is in the reason that is given
    #: refused: a timer is running                   by CRIU no image can give it, and this is in the reason; directly one can
    #: criu: is open                                only CRIU can bring the image back, and this is in the reason
    #: every                                        each `python` begins from an image; otherwise one of them has to
    #: either                                       each may begin from one or not, as long as it is right

A line that is indented below a `run`, as `#:   ends: 1`, is for that alone, in place of what is said for all.

A file may hold several programs, each below a line `#= name`. Then there is `name.py` for each in place of the file, and
`parts` runs one after the other by `python`, with its arguments, and says how each ended. Each must use the image.
"""
import ast
import itertools
import re
import shlex
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field

from benching import ROOT, Failed
from conforming.sides import Sides, engines_of

PLACE = ROOT / "tests/conformance"
RECIPE = ("import argparse, asyncio, collections, concurrent.futures, contextlib, ctypes, dataclasses, datetime, "
          "decimal, functools, glob, hashlib, hmac, http.client, inspect, io, itertools, json, locale, logging, "
          "multiprocessing, multiprocessing.pool, operator, os, pathlib, pickle, platform, queue, random, re, secrets, "
          "shutil, signal, socket, sqlite3, ssl, string, struct, subprocess, tempfile, textwrap, threading, time, "
          "traceback, types, typing, unittest, urllib.request, uuid, warnings, weakref, xml.etree.ElementTree, zipfile")
WORDS = ("run", "terminal", "stdin", "signal", "recipe", "since", "until", "needs", "varies", "miss", "every", "either",
         "ends", "refused", "criu")
BEFORE = """python() { echo >>"$COUNT"; "$PYTHON" $FLAGS "$@"; }
parts() { for part in *.py; do echo "= $part" >&2; echo "= $part"; python "$part" "$@"; echo "= $?"; done; }
PYTHON=$1 FLAGS=$2 COUNT=$3
set --
"""


class Wrong(Exception):
    """A program's first lines cannot be understood."""


@dataclass
class Case:
    """One command of one program."""
    name: str
    sentence: str
    files: dict
    script: str = "python program.py"
    flags: tuple = ()
    variables: tuple = ()
    recipe: str = RECIPE
    stdin: bytes = b""
    terminal: list = None
    since: tuple = (3, 0)
    until: tuple = (4, 0)
    needs: list = field(default_factory=list)
    varies: list = field(default_factory=list)
    signal: str = None
    ends: int = None
    miss: bool = False
    reason: str = ""
    refused: str = ""
    criu: str = ""
    every: bool = False
    either: bool = False

    def shown(self):
        """The command, with the settings that it has."""
        settings = [*(f"{name}={value}" for name, value in self.variables), *self.flags]
        return f"[{' '.join(settings)}] {self.script}" if settings else self.script

    def differences(self, sides, engines):
        """How pyrun differs from Python, in words; and nothing else. `engines` counts those that hits were by."""
        recipe = [self.recipe]
        by_criu = sides.engine == "criu"
        reason = self.refused if by_criu and self.refused else self.reason
        # What must be a miss is one although there is an image, of the program's modules at least.
        miss = self.miss or by_criu and self.refused or sides.refuses(self.flags, self.variables)
        settings = ((), ()) if miss else (self.flags, self.variables)
        try:
            image = sides.image(recipe, *settings)
        except Failed as error:
            return [f"no image could be built: {error}"]
        variables = (*self.variables, ("PYIMG_IMAGE", image))
        flags = " ".join(map(shlex.quote, self.flags))
        count = sides.work / "count"

        def left_by(program, *more):
            count.write_bytes(b"")
            # Whoever started us may ignore these, as `nohup` and scripts do.
            argv = ["env", "--default-signal=HUP,INT,QUIT", "bash", "--norc", "-c", BEFORE + self.script, "bash",
                    program, flags, str(count)]
            return sides.run(argv, self.files, (*variables, *more), self.stdin, self.terminal, self.signal)

        def said(level):
            left = left_by(sides.pyrun, ("PYIMG_LOG", level))
            return left.stderr + left.stdout + b"".join(left.files.values())

        def reasons():
            given = re.findall(rb"pyrun: (miss: .*)", said("miss"))
            return "; ".join(reason.decode(errors="replace").strip() for reason in given) or "of unknown reason"

        for _ in range(sides.before):
            left_by(sides.pyrun)
            time.sleep(0.06)  # what was changed just now has no replay
        before, found, replays = sides.uses(), [], sides.replays()
        plain, ours = (left_by(program).without(self.varies) for program in (sides.python, sides.pyrun))
        hits, runs = sides.uses() - before, count.stat().st_size
        engines["a replay"] += max(sides.replays() - replays, 0)
        if hits > 0 and miss:
            found.append("an image was used")
        elif miss and reason and reason not in (given := reasons()):
            found.append(f"no image was used, but for another reason: {given}")
        elif not miss and not self.either and hits < (max(runs, 1) if self.every else 1):
            found.append(f"{'not each' if hits else 'no'} run began from an image: {reasons()}")
        if hits and sides.engine != "auto":
            engines[sides.engine] += hits
        elif hits:
            # Another run, for what is compared says nothing but what the program says.
            by = engines_of(said("hit"))
            engines.update(engine.partition(":")[0] for engine in by)
            others = [engine for engine in by if engine != "direct" and not (self.criu and self.criu in engine)]
            if others:
                found.append(f"an image was used by the engine {'; '.join(dict.fromkeys(others))}")
        if self.ends not in (None, plain.status):
            found.append(f"the program is wrong: by python it ended with {plain.status}")
        if plain.status != ours.status:
            found.append(f"it ended with {ours.status} in place of {plain.status}")
        for what in "stdout", "stderr":
            if getattr(plain, what) != getattr(ours, what):
                found.append(f"{what}:\n{difference(getattr(plain, what), getattr(ours, what))}")
        for name in sorted({*plain.files, *ours.files}):
            if plain.files.get(name) != ours.files.get(name):
                text = difference(plain.files.get(name, b"[missing]"), ours.files.get(name, b"[missing]"))
                found.append(f"the file {name.decode(errors='replace')}:\n{text}")
        return found


def difference(plain, ours, most=40):
    """The lines that only one side has, and some before them."""
    import difflib
    lines = (text.decode(errors="backslashreplace").splitlines() for text in (plain, ours))
    found = list(difflib.unified_diff(*lines, "python", "pyrun", lineterm="", n=1))
    return "\n".join(f"    {line[:300]}" for line in found[:most]) + ("\n    …" if len(found) > most else "")


def texts(text):
    return [ast.literal_eval(word) for word in re.findall(r'"(?:[^"\\]|\\.)*"', text)]


def lines_of(source, path):
    """The sentence, and what the lines below it say, [(indentation, word, settings, rest)]."""
    lines = [line[3:] for line in itertools.takewhile(lambda line: line.startswith("#: "), source.splitlines())]
    if not lines:
        raise Wrong(f"{path}: it does not say what it shows")
    said = [re.fullmatch(rf"( *)({'|'.join(WORDS)})((?: \[[^]]*\])*)(?:: ?(.*))?", line) for line in lines[1:]]
    if None in said:
        raise Wrong(f"{path}: {lines[1 + said.index(None)]!r}")
    return lines[0], [found.groups() for found in said]


def files_of(path):
    """The files of a program, and the one with the lines."""
    if not path.is_dir():
        source = path.read_bytes()
        parts = re.split(rb"^#= (.+)\n", source, flags=re.M)
        return {f"{name.decode()}.py": text for name, text in zip(parts[1::2], parts[2::2])} or {path.name: source}, source
    files = {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
    return files, files.pop("about", None) or files["program.py"]


def cases_of(path):
    """The cases of one program."""
    files, source = files_of(path)
    if list(files) == [path.name]:
        files = {"program.py": source}
    sentence, said = lines_of(source.decode("latin-1"), path)
    common, runs = {}, []
    for indentation, word, settings, rest in said:
        if indentation and not runs:
            raise Wrong(f"{path}: {word} is below no run")
        about = runs[-1][2] if indentation else common
        if word == "run":
            runs.append((re.findall(r"\[([^]]*)\]", settings) or [""], rest, {}))
        elif word == "terminal":
            words = [text.encode("latin-1") for text in texts(rest)]
            about["terminal"] = list(zip(words[::2], words[1::2]))
        elif word == "stdin":
            about["stdin"] = "".join(texts(rest)).encode("latin-1")
        elif word in ("since", "until"):
            about[word] = tuple(map(int, rest.split(".")))
        elif word == "needs":
            about["needs"] = rest.replace(",", " ").split()
        elif word == "varies":
            about["varies"] = [*about.get("varies", []), rest]
        elif word == "ends":
            about["ends"] = int(rest)
        elif word in ("recipe", "signal", "refused", "criu"):
            about[word] = rest
        else:
            about[word] = True
            about.update({"reason": rest} if word == "miss" and rest else {})
    name = str(path.relative_to(PLACE).with_suffix(""))
    is_parted = "program.py" not in files and path.is_file()
    runs = runs or [([""], "parts" if is_parted else "python program.py", {})]
    each = [(setting, script, own) for settings, script, own in runs for setting in settings]
    for number, (setting, script, own) in enumerate(each):
        words = shlex.split(setting)
        variables = tuple(tuple(w.split("=", 1)) for w in words if re.match(r"[A-Z_]+=", w))
        flags = tuple(w for w in words if not re.match(r"[A-Z_]+=", w))
        label = name if number == 0 else f"{name}:{number + 1}"
        yield Case(label, sentence, files, script, flags, variables, **{"every": is_parted, **common, **own})


def all_cases(wanted=""):
    found = []
    for topic in sorted(path for path in PLACE.iterdir() if path.is_dir()):
        for path in sorted(topic.iterdir()):
            if path.suffix == ".py" or any((path / name).is_file() for name in ("program.py", "about")):
                found.extend(case for case in cases_of(path) if re.search(wanted, case.name))
    return found


AGAIN = 2  # so often a case that differs is run once more: on a busy machine a program may end either way by itself


@dataclass
class Result:
    """What came of a case: differences, or why it was skipped; `unsteady` is how it differed, if it did
    not each time, and `engines` counts the hits by each engine."""
    case: Case
    differences: list
    skipped: str = None
    engines: Counter = field(default_factory=Counter)
    unsteady: list = field(default_factory=list)


def run(python, pyimg, pyrun, work, wanted="", engine="auto", before=0):
    """Runs all cases with one interpreter, by pyrun so often before what it does is compared."""
    sides = Sides(python, pyimg, pyrun, work, engine, before)
    own, has = sides.version(), {}
    for case in all_cases(wanted):
        if not case.since <= own <= case.until:
            continue
        for name in case.needs:
            if name not in has:
                argv = [sides.python, "-c", f"import importlib.metadata; importlib.metadata.version({name!r})"]
                has[name] = subprocess.run(argv, stderr=subprocess.DEVNULL).returncode == 0
        missing = [name for name in case.needs if not has[name]]
        if missing:
            yield Result(case, [], f"{' and '.join(missing)} is not installed")
        else:
            engines = Counter()
            found = case.differences(sides, engines)
            steady = not found or all(case.differences(sides, Counter()) for _ in range(AGAIN))
            yield Result(case, found if steady else [], engines=engines, unsteady=[] if steady else found)
