"""Small programs of ours, in tests/conformance: each is a sentence about what a program can see or do, and the program
that shows it. They are compared to the byte.

A program is a file, or a directory with `program.py` and what it needs beside it. It begins with lines like these:

    #: A sentence.
    #: run: python program.py one "two words"       a Bash script, in a directory with the files. `python` is the one that
                                                    is tested, "$PYTHON" $FLAGS the same where a function will not do
    #: run [-O] [LANG=C -W error]: python -c pass   the same with images of other flags and variables, one after another
    #: terminal: "name? " "Ann\\n" "$ " "exit\\n"     on a terminal: what is typed as soon as what stands there
    #: stdin: "some text\\n"                         a pipe; otherwise it is empty
    #: recipe: import json                          what the image holds in place of RECIPE
    #: since: 3.11    until: 3.12                   versions that can show it
    #: needs: numpy                                 a module without which it is skipped
    #: varies: 0x[0-9a-f]+                          what differs from run to run by plain Python too
    #: miss                                         no image can give it, and none is used
    #: every                                        each `python` begins from an image; otherwise one of them has to
    #: either                                       each may begin from one or not, as long as it is right
"""
import ast
import importlib.util
import re
import shlex
import subprocess
from dataclasses import dataclass, field

from benching import ROOT, Failed
from conforming.sides import Sides

PLACE = ROOT / "tests/conformance"
RECIPE = ("import argparse, asyncio, collections, concurrent.futures, contextlib, ctypes, dataclasses, datetime, "
          "decimal, functools, glob, hashlib, hmac, http.client, inspect, io, itertools, json, locale, logging, "
          "multiprocessing, multiprocessing.pool, operator, os, pathlib, pickle, platform, queue, random, re, secrets, "
          "shutil, signal, socket, sqlite3, ssl, string, struct, subprocess, tempfile, textwrap, threading, time, "
          "traceback, types, typing, unittest, urllib.request, uuid, warnings, weakref, xml.etree.ElementTree, zipfile")
BEFORE = 'python() { echo >>"$COUNT"; "$PYTHON" $FLAGS "$@"; }\nPYTHON=$1 FLAGS=$2 COUNT=$3\nset --\n'


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
    miss: bool = False
    every: bool = False
    either: bool = False

    def shown(self):
        """The command, with the settings that it has."""
        settings = [*(f"{name}={value}" for name, value in self.variables), *self.flags]
        return f"[{' '.join(settings)}] {self.script}" if settings else self.script

    def differences(self, sides, with_pyrun=None):
        """How pyrun differs from Python, in words; and nothing else."""
        recipe = [self.recipe]
        # What must be a miss is one although there is an image, of the program's modules at least.
        miss = self.miss or sides.refuses(self.flags, self.variables)
        settings = ((), ()) if miss else (self.flags, self.variables)
        try:
            image = sides.image(recipe, *settings)
        except Failed as error:
            return [f"no image could be built: {error}"]
        variables = (*self.variables, ("PYIMG_IMAGE", image))
        flags = " ".join(map(shlex.quote, self.flags))
        left, count = [], sides.work / "count"
        for program in sides.python, with_pyrun or sides.pyrun:
            before = sides.uses()
            count.write_bytes(b"")
            argv = ["bash", "--norc", "-c", BEFORE + self.script, "bash", program, flags, str(count)]
            left.append(sides.run(argv, self.files, variables, self.stdin, self.terminal).without(self.varies))
            hits, runs = sides.uses() - before, count.stat().st_size
        plain, ours = left
        found = []
        if hits > 0 and miss:
            found.append("an image was used")
        if hits < (runs if self.every else 1) and not miss and not self.either:
            said = sides.run(argv, self.files, (*variables, ("PYIMG_LOG", "miss")), self.stdin, self.terminal)
            reasons = re.findall(rb"pyrun: (miss: .*)", said.stderr + said.stdout) or [b"of unknown reason"]
            reasons = "; ".join(reason.decode(errors="replace").strip() for reason in reasons)
            found.append(f"{'not each' if hits else 'no'} run began from an image: {reasons}")
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


def cases_of(path):
    """The cases of one program."""
    if path.is_dir():
        files = {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
        source = (path / "program.py").read_text("latin-1")
    else:
        files = {"program.py": path.read_bytes()}
        source = path.read_text("latin-1")
    common, runs, sentence = {"varies": [], "needs": []}, [], None
    for line in source.splitlines():
        if not line.startswith("#: "):
            break
        found = re.fullmatch(r"#: (run|terminal|stdin|recipe|since|until|needs|varies|miss|every|either)((?: \[[^]]*\])*)(?:: ?(.*))?",
                             line)
        if sentence is None:
            sentence = line[3:]
            continue
        if not found:
            raise Wrong(f"{path}: {line!r}")
        kind, settings, rest = found.groups()
        if kind == "run":
            runs.extend((setting, rest) for setting in re.findall(r"\[([^]]*)\]", settings) or [""])
        elif kind == "terminal":
            words = [text.encode("latin-1") for text in texts(rest)]
            common["terminal"] = list(zip(words[::2], words[1::2]))
        elif kind == "stdin":
            common["stdin"] = "".join(texts(rest)).encode("latin-1")
        elif kind in ("since", "until"):
            common[kind] = tuple(map(int, rest.split(".")))
        elif kind == "needs":
            common["needs"] = rest.replace(",", " ").split()
        elif kind == "varies":
            common["varies"].append(rest)
        else:
            common[kind] = rest if kind == "recipe" else True
    if sentence is None:
        raise Wrong(f"{path}: it does not say what it shows")
    name = str(path.relative_to(PLACE).with_suffix(""))
    for number, (setting, script) in enumerate(runs or [("", "python program.py")]):
        words = shlex.split(setting)
        variables = tuple(tuple(w.split("=", 1)) for w in words if re.match(r"[A-Z_]+=", w))
        flags = tuple(w for w in words if not re.match(r"[A-Z_]+=", w))
        label = name if number == 0 else f"{name}:{number + 1}"
        yield Case(label, sentence, files, script, flags, variables, **common)


def all_cases(wanted=""):
    found = []
    for topic in sorted(path for path in PLACE.iterdir() if path.is_dir()):
        for path in sorted(topic.iterdir()):
            if path.suffix == ".py" or (path / "program.py").is_file():
                found.extend(case for case in cases_of(path) if re.search(wanted, case.name))
    return found


@dataclass
class Result:
    """What came of a case: differences, or why it was skipped."""
    case: Case
    differences: list
    skipped: str = None


def run(python, pyimg, pyrun, work, wanted=""):
    """Runs all cases with one interpreter."""
    sides = Sides(python, pyimg, pyrun, work)
    own, has = sides.version(), {}
    for case in all_cases(wanted):
        if not case.since <= own <= case.until:
            continue
        for module in case.needs:
            if module not in has:
                argv = [sides.python, "-c", f"import {module}"]
                has[module] = subprocess.run(argv, stderr=subprocess.DEVNULL).returncode == 0
        missing = [module for module in case.needs if not has[module]]
        if missing:
            yield Result(case, [], f"{' and '.join(missing)} cannot be imported")
        else:
            yield Result(case, case.differences(sides))
