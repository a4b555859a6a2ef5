"""What runs inside the interpreter, where saying it in Python is easier.

The park library executes this in a namespace of its own, which is no module
and which user code never sees. `RECIPE` stands above it as a literal. All of
it has returned to C before the recipe's code or the user's program runs, so no
frame of it is ever beneath theirs. It imports as little as it can: whatever is
imported here is in every image.

It is executed in three parts. What stands below the line "The build" is for one
build: before parking `forget` takes it all away, and when the image grows it is
executed again. What stands below "The woken process" is executed only when the
image is complete, so that it lies together in memory of its own.
"""

import sys

BEFORE = set(sys.modules)

import _signal
import _thread
import atexit
import gc
import io
import posix
import time

main_names = dict(sys.modules["__main__"].__dict__)
originals = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
names = "stdin", "stdout", "stderr"
terminals = [stream is not None and stream.isatty() for stream in originals]
raw_streams = [None, None, None]
streams = [None, None, None]
state = {"start": 0, "complaint": None, "path0": None, "path_index": 0}
imported = BEFORE
environ_set = {}  # what modules have set in os.environ, for every program
environ_unset = []
drawn = []  # the seeds that the system gave, also in the images before
clock_was_read = []  # True, if anywhere
generators = []  # all that were ever found: the collector does not show frozen ones
twisters = []  # of them the random.Random's that the system has seeded
bit_generators = []  # numpy's, likewise
sequences = []  # and what numpy makes its seeds of
hook_lists = []
modules = {}


def sequence_of(generator):
    """What one of numpy's generators has its seed from."""
    return getattr(generator, "seed_seq", None) or getattr(generator, "_seed_seq", None)


# --- The build ------------------------------------------------------------

kept = set(globals())


def forget():
    """Takes away this part, which a program need not find in its memory."""
    for name in built:
        del globals()[name]


# --- The recipe -----------------------------------------------------------


def arrive(sentinel):
    """Takes away what is only there to bring us here."""
    global safe_path
    drop_variable(b"PYTHONHASHSEED")
    directory = sentinel.rpartition("/")[0]
    safe_path = sys.path[:1] != [directory]
    if not safe_path:
        del sys.path[0]
    for path in sentinel, directory:
        sys.path_importer_cache.pop(path, None)


def begin():
    """The steps that C has to run, [(source text or code, namespace)], or the
    exception that prevented them."""
    state["complaint"] = complaint()
    observe()
    return attempt(steps)


def begin_again():
    """The same in an image that was woken to grow. Nothing is renewed as for a
    program: the grown image does that when it is woken itself."""
    BEFORE.update(sys.modules.keys() - imported)  # by the library itself
    state["path0"] = None
    for hooks, every in hook_lists:
        hooks[:] = every
    terminals[:] = [stream is not None and stream.isatty() for stream in originals]
    threading = sys.modules.get("threading")
    if threading:
        threading._main_thread._set_native_id()
    problem = attempt(after_restore)
    observe()
    return problem or attempt(steps)


def complaint():
    """What Python said on standard error when it started, and says at each start."""
    if not sys.warnoptions:
        return None
    import warnings

    with warnings.catch_warnings():
        for option in sys.warnoptions:
            try:
                warnings._setoption(option)
            except warnings._OptionError as problem:
                return f"Python complains of it whenever it starts: {problem}"
    return None


def attempt(action):
    """What this gives, or the exception that it raises, with none of our frames."""
    try:
        return action()
    except BaseException as problem:
        traceback = problem.__traceback__
        while traceback and traceback.tb_frame.f_code.co_filename == "<pyimg>":
            traceback = traceback.tb_next
        return problem.with_traceback(traceback)


def before_snapshot():
    """The hooks of the package snapshot-restore-py, in the order that it documents."""
    return attempt(run_before_snapshot)


def run_before_snapshot():
    hooks = sys.modules.get("snapshot_restore_py")
    for function, arguments, keywords in hooks.get_before_snapshot()[::-1] if hooks else ():
        function(*arguments, **keywords)


def drop_variable(name):
    posix.environ.pop(name, None)
    os = sys.modules.get("os")
    if os:
        os.environ._data.pop(name, None)
    posix.unsetenv(name)


def steps():
    state["steps"] = found = first_steps()
    return found


def first_steps():
    if RECIPE["kind"] == "code":
        stand_in(["-c"], ["-c", RECIPE["code"]], "")
        return [(RECIPE["code"] + "\n", main_names_copy())]
    if RECIPE["kind"] == "script":
        return [script_imports(RECIPE["script"])]
    stand_in(["-m"], ["-m", *RECIPE["modules"]], posix.getcwd())
    return [module_imports(name) for name in RECIPE["modules"]]


def stand_in(argv, tail, path0, in_any_case=False):
    sys.argv[:] = argv
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[-1:] = tail
    if in_any_case or not safe_path:
        sys.path.insert(max(state["path_index"], 0), path0)
        state["path0"] = path0


def main_names_copy(**more):
    names = dict(main_names, **more)
    if "__annotations__" in names:
        names["__annotations__"] = {}
    return names


def real_directory(path):
    from os.path import dirname, realpath

    return dirname(realpath(path))


def read_script(path):
    try:
        with io.open_code(path) as file:
            return file.read()
    except OSError as error:
        raise SystemExit(
            f"{sys.executable}: can't open file {path!r}: "
            f"[Errno {error.errno}] {error.strerror}"
        )


def script_imports(path):
    """What `python PATH` would import: of a directory or a zip archive, which CPython
    recognises by its path hooks, the `__main__` module."""
    for hook in sys.path_hooks:
        try:
            importer = hook(path)
            break
        except ImportError:
            pass
    else:
        stand_in([path], [path], real_directory(path))
        return imports_of(read_script(path), path, __file__=path)
    if hasattr(importer, "find_spec"):
        spec = importer.find_spec("__main__")
        loader = spec and spec.loader
    else:  # an archive, before Python 3.10
        loader = importer.find_module("__main__")
    if loader is None:
        raise SystemExit(f"{sys.executable}: can't find '__main__' module in {path!r}")
    stand_in([path], [path], path, in_any_case=True)
    source = loader.get_source("__main__") or ""  # compiled: nothing can be seen
    file = loader.get_filename("__main__")
    return imports_of(source, file, __file__=file, __package__="")


def module_imports(name):
    """What `python -m NAME` would import, found the way runpy finds it: that
    imports the packages around the module, but not the module."""
    import runpy

    try:
        name, spec, _ = runpy._get_module_details(name, ModuleMissing)
    except ModuleMissing as problem:
        raise SystemExit(f"{sys.executable}: {problem}")
    source = spec.loader.get_source(name) or ""
    return imports_of(source, spec.origin, __file__=spec.origin, __package__=spec.parent)


class ModuleMissing(ImportError):
    pass


# A program's imports, without the program: its module-level import statements,
# at their own lines, so that a failure has Python's own traceback. Those within
# `if`, `with` and `try` may fail, as the branch might not have been taken.


def imports_of(source, path, **names):
    ast = Nodes()
    tree = ast.parse(source, path)
    names = main_names_copy(**names)
    return ast.code(ast.imports(tree.body, False), path), names, Body(ast, tree.body, [names], 0)


# Most console scripts call one function, which does the imports. What that imports in
# any case counts as well, and so do functions that it calls, a few deep. They need not be
# called at all, so all of it may fail.

DEEPEST = 3


class Body:
    """Statements, and where their names are looked up."""

    def __init__(self, ast, statements, scopes, depth):
        self.ast, self.statements, self.scopes, self.depth = ast, statements, scopes, depth
        self.functions = {s.name: s for s in statements if type(s).__name__ == "FunctionDef"}

    def further_steps(self):
        if self.depth == DEEPEST:
            return
        for name in self.ast.called(self.statements):
            if name[0] in self.functions and len(name) == 1:
                yield self.step(self.functions[name[0]].body, self.scopes, self.scopes[0]["__file__"])
            else:
                yield from self.step_of(self.resolve(name))

    def resolve(self, name):
        """What a dotted name means, as far as no code has to be run for that."""
        first, *rest = name
        found = next((scope[first] for scope in self.scopes if first in scope), None)
        for part in rest:
            found = found.__dict__.get(part) if type(found) is type(sys) else None
        return found

    def step_of(self, function):
        if type(function) is not type(attempt) or function in seen_functions:
            return
        module = sys.modules.get(function.__module__)
        standard = getattr(sys, "stdlib_module_names", ())
        if module is None or function.__module__.partition(".")[0] in standard:
            return
        seen_functions.append(function)
        file = function.__code__.co_filename
        try:
            tree = self.ast.parse(module.__spec__.loader.get_source(module.__name__), file)
        except Exception:  # no source
            return
        for found in tree.body:
            if getattr(found, "name", None) == function.__name__ and hasattr(found, "args"):
                names = ("__name__", "__package__", "__file__", "__spec__", "__path__")
                own = {name: module.__dict__[name] for name in names if name in module.__dict__}
                yield self.step(found.body, [main_names_copy(**own), module.__dict__], file)

    def step(self, statements, scopes, file):
        scopes = [dict(scopes[0]), *scopes[1:]]
        body = Body(self.ast, statements, scopes, self.depth + 1)
        certain = self.ast.imports(statements, True, branches=False)
        return self.ast.code(certain, file), scopes[0], body


seen_functions = []


def after(step):
    """A step has been taken: what comes of it goes to the end of them all."""
    for body in step[2:]:
        try:
            state["steps"].extend(body.further_steps())
        except Exception:  # whatever a source may hold that we do not understand
            pass


class Nodes:
    """The ast module's classes from the C module beneath it, and the walk."""

    def __init__(self):
        import _ast

        self.__dict__.update(vars(_ast))

    def parse(self, source, path):
        return compile(source, path, "exec", self.PyCF_ONLY_AST, dont_inherit=True)

    def code(self, statements, path):
        module = self.Module(body=list(statements), type_ignores=[])
        return compile(module, path, "exec", dont_inherit=True)

    def called(self, statements):
        """The dotted names of what is called, but not in functions and classes."""
        waiting = list(statements)[::-1]
        while waiting:
            node = waiting.pop()
            if isinstance(node, (self.FunctionDef, self.AsyncFunctionDef, self.ClassDef, self.Lambda)):
                continue
            if isinstance(node, self.Call):
                name, at = [], node.func
                while isinstance(at, self.Attribute):
                    name.insert(0, at.attr)
                    at = at.value
                if isinstance(at, self.Name):
                    yield (at.id, *name)
            for field in node._fields[::-1]:
                value = getattr(node, field, None)
                values = value if isinstance(value, list) else [value]
                waiting.extend(v for v in values[::-1] if isinstance(v, self.AST))

    def imports(self, statements, guarded, branches=True):
        for statement in statements:
            kind = type(statement).__name__
            if kind == "Import" or kind == "ImportFrom" and statement.module != "__future__":
                yield self.guard(statement) if guarded else statement
            elif kind == "If" and branches:
                if not self.is_never_true(statement.test):
                    yield from self.imports(statement.body, True)
                yield from self.imports(statement.orelse, True)
            elif kind in ("With", "AsyncWith"):
                yield from self.imports(statement.body, True, branches)
            elif kind in ("Try", "TryStar"):
                yield from self.attempt(statement, branches)
                yield from self.imports(statement.orelse, True, branches)
                yield from self.imports(statement.finalbody, True, branches)

    def attempt(self, statement, branches):
        body = list(self.imports(statement.body, False, branches))
        rescue = [s for h in statement.handlers for s in self.imports(h.body, True, branches)]
        if body:
            yield self.guard(statement, body, rescue)

    def guard(self, at, body=None, rescue=None):
        place = {k: getattr(at, k) for k in ("lineno", "col_offset", "end_lineno", "end_col_offset")}
        name = self.Name(id="Exception", ctx=self.Load(), **place)
        rescue = rescue or [self.Pass(**place)]
        handler = self.ExceptHandler(type=name, name=None, body=rescue, **place)
        return self.Try(body=body or [at], handlers=[handler], orelse=[], finalbody=[], **place)

    def is_never_true(self, test):
        """`TYPE_CHECKING`, or `__name__ == "__main__"`, which runs the program."""
        if isinstance(test, self.Compare):
            sides = [test.left, *test.comparators]
            return any(getattr(side, "id", None) == "__name__" for side in sides)
        return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))


def exit_text(problem):
    return f"the code called sys.exit({'' if problem.code is None else repr(problem.code)})"


# --- What it looks at -----------------------------------------------------
# Files and what C code reads are seen by C: observe.c.


class Finder:
    """The first of the finders: finds nothing, but knows what was looked for."""

    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while frame and frame.f_globals.get("__name__", "").startswith("importlib._bootstrap"):
            frame = frame.f_back
        searched = tuple(sys.path if path is None else path)
        lookups.append((time.perf_counter_ns(), name, searched, importing(frame)))

    def find_distributions(self, context=None):
        name = getattr(context, "name", None)
        for directory in getattr(context, "path", sys.path):
            if isinstance(directory, str):
                distributions.setdefault(directory, {})[name] = None
        return ()


class Variables(dict):
    """What os.environ keeps its variables in, while the recipe runs."""

    def __getitem__(self, name):
        variables.add(name)
        return dict.__getitem__(self, name)

    def __contains__(self, name):
        variables.add(name)
        return dict.__contains__(self, name)

    def get(self, name, default=None):
        variables.add(name)
        return dict.get(self, name, default)

    def __iter__(self):
        state["all_variables"] = True
        return dict.__iter__(self)

    def keys(self):
        state["all_variables"] = True
        return dict.keys(self)

    def items(self):
        state["all_variables"] = True
        return dict.items(self)

    def values(self):
        state["all_variables"] = True
        return dict.values(self)

    def copy(self):
        state["all_variables"] = True
        return dict(dict.items(self))


def observe():
    """From here on, until `stop_observing`."""
    import os

    for known in lookups, variables, listed, distributions, doubts, temporary:
        known.clear()
    state["all_variables"] = state["relative"] = False
    state["directory"] = directory_now()
    kept = os.environ._data
    state["variables"] = os.environ, kept
    set_variables(Variables(kept))
    state["raw_variables"] = posix.environ
    posix.environ = Variables(posix.environ)
    sys.meta_path.insert(0, finder)
    state["start"] = time.perf_counter_ns()


def stop_observing():
    state["end"] = time.perf_counter_ns()
    if finder in sys.meta_path:
        sys.meta_path.remove(finder)
    raw = state.pop("raw_variables")
    now = dict(dict.items(posix.environ))
    raw.clear()
    raw.update(now)
    posix.environ = raw
    environ, kept = state.pop("variables")
    if type(getattr(environ, "_data", None)) is Variables:
        now = dict(dict.items(environ._data))
        for name in kept.keys() - now.keys():
            environ_set.pop(name, None)
            environ_unset.append(name)
        environ_set.update((n, v) for n, v in now.items() if kept.get(n) != v)
        kept.clear()
        kept.update(now)
        set_variables(kept)


def set_variables(kept):
    os = sys.modules["os"]
    for environ in os.environ, getattr(os, "environb", None):
        if environ is not None and isinstance(getattr(environ, "_data", None), dict):
            environ._data = kept


def directory_now():
    try:
        return posix.getcwd()
    except OSError:
        return None


def importing(frame):
    """The module whose own code is running, as while it is imported."""
    while frame:
        if frame.f_code.co_name == "<module>":
            return frame.f_globals.get("__name__") or "?"
        frame = frame.f_back
    return "?"


def hear(event, arguments):
    """An audit event."""
    frame = sys._getframe(1)
    module = importing(frame)
    if event in ("os.listdir", "os.scandir"):
        # importlib's own listings, for modules and for distributions, are known better.
        lister = frame.f_globals.get("__name__") or ""
        if frame.f_code.co_name != "_fill_cache" and not lister.startswith("importlib.metadata"):
            path = arguments[0] if arguments[0] is not None else "."
            if isinstance(path, int):
                path = posix.readlink(f"/proc/self/fd/{path}")
            if hasattr(path, "__fspath__"):
                path = path.__fspath__()
            if isinstance(path, bytes):
                path = path.decode(sys.getfilesystemencoding(), "surrogateescape")
            if isinstance(path, str):
                state["relative"] |= path[:1] != "/"
                listed[path if path[:1] == "/" else f"{directory_now()}/{path}"] = None
    elif event.startswith("tempfile."):
        temporary[arguments[0]] = module
    elif event == "socket.gethostname":
        doubts["asked for the name of the host", module] = None
    elif event.startswith("socket."):
        doubts["opened a socket", module] = None
    else:
        doubts["started a process", module] = None


lookups = []  # (when, name, where, by whom)
variables = set()
listed = {}  # directories
distributions = {}  # directory: names, None for all
doubts = {}  # (what, module)
temporary = {}  # path: module
finder = Finder()


# --- Generators -----------------------------------------------------------
# One that has its seed from the system gets another at each start; one that the code
# has seeded itself goes on where it was left, as it would in plain Python. They are told
# apart by what the system gave.

FURTHEST = 200  # refills of its 624 words after which a Mersenne Twister is recognised
TWISTER_SEED = 2496  # bytes


def note_clock():
    clock_was_read[:] = [True]


def notes_of(draws):
    """Records for the journal, as observe.c has them, of those draws that are not the seed
    of a generator that gets another."""
    drawn.extend(draw[0] for draw in draws)
    used = find_seeded()
    # Of numpy's also those from which a jumped generator or a copy began.
    drawn[:] = [d for d in drawn if d in used or len(d) < TWISTER_SEED and uses_numpy()]
    renewed_by = {importing for seed, _, _, _, importing in draws if seed in used}
    notes = []
    for seed, kind, nearest, function, importing in draws:
        # Python up to 3.10 seeds each of its generators twice.
        if seed in used or len(seed) == TWISTER_SEED and importing in renewed_by:
            continue
        # numpy made one that is gone, to fill it with another's state: nobody has the seed.
        if (nearest, function, len(seed)) == ("random", "getrandbits", 16) and uses_numpy():
            kind = "m"
        notes.append(f"{kind}{nearest}\t{importing}")
    return notes


def uses_numpy():
    return "numpy.random.bit_generator" in sys.modules


def find_seeded():
    """Finds the generators that the system has seeded; gives their seeds."""
    random = sys.modules.get("random")
    if not drawn or not random:
        return set()
    gc.collect()
    numpy = sys.modules.get("numpy.random.bit_generator")
    kinds = random.Random, *((numpy.BitGenerator, numpy.SeedSequence) if numpy else ())
    known = set(map(id, generators))
    generators.extend(o for o in gc.get_objects() if isinstance(o, kinds) and id(o) not in known)
    return find_twisters(random) | (find_numpy_generators(numpy) if numpy else set())


def find_twisters(random):
    """Sets `twisters`; gives their seeds."""
    found = [g for g in generators if isinstance(g, random.Random)]
    found = [g for g in found if not isinstance(g, random.SystemRandom)]  # its state is unused
    seeds = [seed for seed in drawn if len(seed) == TWISTER_SEED]
    starts = {seed: twister(int.from_bytes(seed, sys.byteorder)) for seed in seeds}
    used = recognised([(g, words_of(g)) for g in found], starts)
    twisters[:] = [g for g in found if id(g) in used]
    return set(used.values())


def twister(seed):
    from _random import Random

    random = Random()
    random.seed(seed)  # as an argument above Python 3.9 takes its hash
    return random


def words_of(random):
    """A few words of its state; the first has hardly any bits."""
    from _random import Random

    return Random.getstate(random)[1:4]


def recognised(states, starts):
    """Which of these Mersenne Twisters, [(object, words)], began like one of those,
    {seed: twister}, and have gone on from there: {id: seed}."""
    waiting = {}
    for generator, words in states:
        waiting.setdefault(words, []).append(id(generator))
    found = {}
    for _ in range(FURTHEST):
        for seed, start in starts.items():
            found.update((one, seed) for one in waiting.pop(words_of(start), ()))
        if not waiting:
            break
        for start in starts.values():
            start.getrandbits(32 * 624)
    return found


def find_numpy_generators(numpy):
    """Sets `bit_generators` and `sequences`; gives their seeds."""
    entropy = {}
    for seed in drawn:
        if 8 < len(seed) < TWISTER_SEED:
            entropy[int.from_bytes(seed, "little")] = entropy[int.from_bytes(seed, "big")] = seed
    all_sequences = [g for g in generators if isinstance(g, numpy.SeedSequence)]
    sequences[:] = [s for s in all_sequences if isinstance(s.entropy, int) and s.entropy in entropy]
    fresh = [numpy.SeedSequence(number) for number in entropy]
    known = set(map(id, sequences))
    found = [g for g in generators if isinstance(g, numpy.BitGenerator)]
    seeded = [g for g in found if id(sequence_of(g)) in known]
    bit_generators[:] = [g for g in seeded if is_of_one(g, sequences + fresh)]
    used = {entropy[s.entropy] for s in sequences}
    # A RandomState that was seeded again has forgotten how.
    legacy = [g for g in found if sequence_of(g) is None and type(g).__name__ == "MT19937"]
    if legacy:
        starts = {entropy[s.entropy]: twister(0) for s in fresh}
        for s in fresh:
            starts[entropy[s.entropy]].setstate((*numpy_words(type(legacy[0])(s)), 624))
        seeds = recognised([(g, numpy_words(g)[1:4]) for g in legacy], starts)
        bit_generators.extend(g for g in legacy if id(g) in seeds)
        used.update(seeds.values())
    return used


def numpy_words(generator):
    return tuple(generator.state["state"]["key"].tolist())


def is_of_one(generator, sequences):
    """Whether it has its state from one of these seeds, as far as that can be told: a copy
    or a jumped generator has another's state, and a seed of its own that nobody used."""
    stream = stream_of(generator)
    return stream is None or any(stream_of(type(generator)(s)) == stream for s in sequences)


def stream_of(generator):
    """What of its state is never another."""
    state = generator.state["state"]
    part = "inc" if "inc" in state else "key" if "counter" in state else None
    return part and str(state[part])


# --- What came of it ------------------------------------------------------


def refusal():
    """Why this process must not become an image, or None."""
    global imported
    stop_observing()
    imported = set(sys.modules)
    subprocess = sys.modules.get("subprocess")
    for _ in range(20):  # a process that nobody has waited for yet
        if not subprocess or not subprocess._active:
            break
        subprocess._cleanup()
        time.sleep(0.005)
    if state["complaint"]:
        return state["complaint"]
    if directory_now() != state["directory"]:
        return "the working directory has been changed"
    for path, module in temporary.items():
        if exists(path):
            return (
                f"{module} has made {path} while it was imported, "
                "which would be the same in every run"
            )
    if None in originals:
        return "standard input, output or error is closed"
    threading = sys.modules.get("threading")
    own = _thread.get_ident()
    if threading:
        for thread in threading.enumerate():
            if thread.ident != own:
                return f"the Python thread {thread.name!r} is running"
    os = sys.modules.get("os")
    if os and not isinstance(getattr(os.environ, "_data", None), dict):
        return "os.environ has been replaced"
    if type(sys.argv) is not list or type(sys.path) is not list:
        return "sys.argv or sys.path has been replaced"
    if sys.gettrace() or sys.getprofile():
        return "a trace or profile function is set"
    time.sleep(0.01)  # a thread is counted when it first runs
    if _thread._count() or len(sys._current_frames()) > 1:
        return "a Python thread without a name is running"
    return None


def report():
    """A memfd with the report as JSON, or a refusal."""
    state["steps"] = None
    seen_functions.clear()
    took = state["end"] - state["start"]
    new = [name for name in sys.modules if name in imported - BEFORE]
    preload()
    text = to_json(
        {
            "version": "%d.%d.%d" % sys.version_info[:3],
            "implementation": sys.implementation.name,
            "executable": sys.executable,
            "prefix": sys.prefix,
            "base_prefix": sys.base_prefix,
            "modules": [name for name in new if "." not in name],
            "origins": origins(),
            "files": files(),
            "site_directories": site_directories(),
            "import_ns": took,
            "sys_path": [path for path in without_own_entry() if isinstance(path, str)],
            "own_directory": own_directory(),
            "looked_for": looked_for(),
            "distributions": {
                directory if directory[:1] == "/" else f"{state['directory']}/{directory}": list(names)
                for directory, names in distributions.items()
            },
            "absent_modules": absent_modules(),
            "listed": list(listed),
            "variables": list({*map(text_of, variables), *startup_variables()}),
            "all_variables": state["all_variables"],
            "relative": state["relative"],
            "doubts": [list(doubt) for doubt in doubts],
            "import_times": import_times(),
            "import_needs": import_needs(),
        }
    )
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return "a module or path has a name that is not UTF-8"
    file = posix.memfd_create("pyimg-report", posix.MFD_CLOEXEC)
    while data:
        data = data[posix.write(file, data) :]
    return file


def origins():
    """Each top-level module's directory, from which its own place is seen; None
    for what is built in."""
    found = {}
    for name, module in list(sys.modules.items()):
        if "." in name or name == "__main__":
            continue
        path = getattr(module, "__file__", None)
        if not isinstance(path, str):
            places = list(getattr(module, "__path__", ()))
            found[name] = places[0].rpartition("/")[0] if places else None
            continue
        directory = path.rpartition("/")[0]
        if hasattr(module, "__path__"):
            directory = directory.rpartition("/")[0]
        found[name] = directory
    return found


def text_of(name):
    return name if isinstance(name, str) else name.decode(errors="replace")


def looked_for():
    """The directories in which modules were looked for, each with the last parts
    of their names: up to the one in which a module was found."""
    names = {}
    for _, name, searched, _ in lookups:
        spec = getattr(sys.modules.get(name), "__spec__", None)
        origin = getattr(spec, "origin", None)
        if origin in ("built-in", "frozen"):
            continue
        place = None
        if isinstance(origin, str):
            place = origin.rpartition("/")[0]
            if spec.submodule_search_locations is not None:
                place = place.rpartition("/")[0]
        last = name.rpartition(".")[2]
        for directory in searched:
            if not isinstance(directory, str) or directory == state["path0"]:
                continue
            if directory[:1] != "/":
                directory = f"{state['directory']}/{directory}"
            names.setdefault(directory, {})[last] = None
            if directory == place:
                break
    site = sys.modules.get("site")
    for directory in sys.path if site and not sys.flags.no_site else ():
        if isinstance(directory, str) and directory[:1] == "/" and directory != state["path0"]:
            for name in "sitecustomize", "usercustomize":
                if name not in sys.modules:
                    names.setdefault(directory, {})[name] = None
    return {directory: list(found) for directory, found in names.items()}


def absent_modules():
    """Top-level modules that were looked for in vain."""
    names = (name for _, name, _, _ in lookups)
    return list({name: None for name in names if "." not in name and name not in sys.modules})


def import_times():
    """How long each top-level module took, in nanoseconds. From when one module is
    looked for until the next is, the time is the first one's: what its importer does
    after it, before it imports the next, counts for it as well."""
    times = {}
    ends = [lookup[0] for lookup in lookups[1:]] + [state["end"]]
    for (start, name, _, importer), end in zip(lookups, ends):
        found = name if name in sys.modules else importer
        top = found.partition(".")[0]
        times[top] = times.get(top, 0) + end - start
    for name in imported - BEFORE:  # put there by another, whose time it is
        times.setdefault(name.partition(".")[0], 0)
    return times


def import_needs():
    """Which top-level modules each needs: those that it looked for first, and those
    whose modules, functions and classes stand in its namespaces."""
    needs = {}
    tops = {name.partition(".")[0] for name in imported}
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        found = needs.setdefault(top, set())
        values = getattr(module, "__dict__", None)
        if type(values) is not dict:
            continue
        for value in list(values.values()):
            kind = type(value)
            if kind is type(sys):
                other = values_name(value, "__name__")
            elif kind is type or kind is type(import_needs):
                other = values_name(value, "__module__")
            else:
                continue
            found.add(other.partition(".")[0])
    for _, name, _, importer in lookups:
        needs.setdefault(importer.partition(".")[0], set()).add(name.partition(".")[0])
    return {
        top: sorted(found & tops - {top})
        for top, found in needs.items()
        if top in tops and found & tops - {top}
    }


def values_name(value, attribute):
    name = value.__dict__.get(attribute) if type(value) is type else getattr(value, attribute, None)
    return name if isinstance(name, str) else ""


def own_entry():
    """Where in sys.path the entry is that is there for this recipe only, or None."""
    path0 = state["path0"]
    return sys.path.index(path0) if path0 is not None and path0 in sys.path else None


def without_own_entry():
    own = own_entry()
    return [path for index, path in enumerate(sys.path) if index != own]


def own_directory():
    """What stood in front of sys.path for this recipe, if anything did; "" is
    the working directory."""
    return None if state["path0"] is None else state["path0"] or posix.getcwd()


def preload():
    """What CPython imports itself to start `-m` programs."""
    import runpy


def to_json(value):
    if isinstance(value, dict):
        return "{%s}" % ",".join(f"{to_json(k)}:{to_json(v)}" for k, v in value.items())
    if isinstance(value, list):
        return "[%s]" % ",".join(map(to_json, value))
    if value is None or isinstance(value, bool):
        return {None: "null", False: "false", True: "true"}[value]
    if isinstance(value, str):
        return '"%s"' % "".join(map(json_character, value))
    return str(value)


def json_character(character):
    if character in '"\\' or character < " ":
        return "\\u%04x" % ord(character)
    return character


def files():
    found = {}
    for module in list(sys.modules.values()):
        for name in "__file__", "__cached__":
            path = getattr(module, name, None)
            if isinstance(path, str):
                found[path] = None
    for finder in sys.path_importer_cache.values():
        # zipimport remembers what is in an archive that it has looked into.
        archive = getattr(finder, "archive", None)
        if isinstance(archive, str):
            found[archive] = None
    found[sys.prefix + "/pyvenv.cfg"] = None
    found.update(dict.fromkeys(path_files()))
    return [path for path in found if exists(path)]


def path_files():
    for directory in site_directories():
        try:
            names = posix.listdir(directory)
        except OSError:
            continue
        for name in names:
            if name.endswith(".pth"):
                yield f"{directory}/{name}"


def startup_variables():
    """What lines of .pth files and sitecustomize ask the environment for. They run before
    us, so each word in quotation marks that may be the name of a variable is taken for one."""
    lines = [line for path in path_files() for line in lines_of(path) if line[:6] == "import"]
    for name in "sitecustomize", "usercustomize":
        lines.extend(lines_of(getattr(sys.modules.get(name), "__file__", None)))
    words = [word for line in lines for word in line.replace("'", '"').split('"')]
    return {word for word in words if word.isidentifier() and word.isupper()}


def lines_of(path):
    try:
        with io.open(path, "rb") as file:
            return file.read().decode("latin-1").splitlines()
    except (OSError, TypeError):
        return []


def site_directories():
    site = sys.modules.get("site")
    if not site:
        return []
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return user + site.getsitepackages()


def exists(path):
    try:
        posix.stat(path)
    except (OSError, ValueError):
        return False
    return True


# --- Before parking -------------------------------------------------------


def tidy():
    """Takes away what the recipe's run left behind; the streams still work."""
    if state["path0"] is not None:
        own = own_entry()
        state["path_index"] = -1 if own is None else own  # -1: the recipe wants none
        if own is not None:
            del sys.path[own]
    for path in state["path0"], posix.getcwd():
        if path not in sys.path:
            sys.path_importer_cache.pop(path, None)
    for path, finder in list(sys.path_importer_cache.items()):
        if finder is None:  # there may be a directory of that name when the image is used
            del sys.path_importer_cache[path]
        elif hasattr(finder, "invalidate_caches"):  # and other files in this one
            finder.invalidate_caches()
    linecache = sys.modules.get("linecache")
    if linecache:
        linecache.cache.pop("<string>", None)
        getattr(linecache, "_interactive_cache", {}).clear()


def collect_all():
    for _ in range(3):
        gc.collect()


def stream_settings(fd):
    """What create_stdio() of CPython was told, and what the recipe changed."""
    stream = originals[fd]
    unbuffered = isinstance(stream.buffer, io.RawIOBase)
    chosen = not stream.write_through and (fd == 2 or terminals[fd])
    changed = streams[fd] is not None and streams[fd][4] is not None  # before growing
    changed = changed or stream.line_buffering != chosen
    lines = stream.line_buffering if changed else None
    return stream, unbuffered, stream.encoding, stream.errors, lines, stream.write_through


def forget_normals():
    """numpy's legacy generators keep the second of a pair of normals."""
    module = sys.modules.get("numpy.random.mtrand")
    known = set(map(id, bit_generators))
    for legacy in gc.get_objects() if known else ():
        if isinstance(legacy, module.RandomState) and id(legacy._bit_generator) in known:
            state = legacy.get_state(legacy=False)
            if state["has_gauss"]:
                legacy.set_state(dict(state, has_gauss=0, gauss=0.0))


def state_memory(generator):
    """The 624 words and position of numpy's global MT19937 as a memoryview, if that is
    how they lie: to fill them is much less work than to ask numpy."""
    ctypes = sys.modules.get("ctypes")
    if not ctypes or generator is not sys.modules["numpy.random.mtrand"]._rand._bit_generator:
        return None
    memory = (ctypes.c_char * 2500).from_address(generator.ctypes.state_address)
    view = memoryview(memory).cast("B")
    now = generator.state["state"]
    same = now["key"].tobytes() + now["pos"].to_bytes(4, sys.byteorder) == view.tobytes()
    return view if same else None


def state_of_seeded():
    """The state of `random` itself if the code has seeded it: its hook for forks takes
    that away. Where the clock was read that may have been the seed: no matter then."""
    random = sys.modules.get("random")
    inst = getattr(random, "_inst", None)
    if inst is None or clock_was_read or any(inst is known for known in twisters):
        return None
    return inst.getstate()


def stand_ins():
    """Generators to rehearse with: the others have to be recognised if the image grows."""
    random = sys.modules.get("random")
    new = [(type(g)(), None) for g, memory in numpy_generators if memory is None]
    return (
        [random.Random()] if twisters else [],
        [s for s in (sequence_of(g) for g, _ in new) if s is not None],
        new,
    )


def fork_hooks(lists):
    """Takes idle hooks out of the interpreter's own lists for os.fork(), which
    run when a woken process takes itself for a fork: [(list, what it was)].

    Idle are those of the standard library that mend locks and forget threads:
    no thread was lost. The program's forks need them again."""
    found = [(hooks, tuple(hooks)) for hooks in lists or lists_of_fork_hooks()]
    for hooks, every in found:
        hooks[:] = [hook for hook in every if not is_idle_hook(hook)]
    return found


def lists_of_fork_hooks():
    """Can be found only while the collector sees them."""

    def before():
        pass

    def child():
        pass

    posix.register_at_fork(before=before, after_in_child=child)
    found = []
    for own in before, child:
        for hooks in gc.get_referrers(own):
            if type(hooks) is list and hooks[-1] is own:
                hooks.pop()
                found.append(hooks)
    return found


def is_idle_hook(hook):
    owner = getattr(hook, "__module__", None)
    if owner in ("threading", "logging"):
        return True
    futures = sys.modules.get("concurrent.futures.thread")
    lock = getattr(futures, "_global_shutdown_lock", None)
    return lock is not None and getattr(hook, "__self__", None) is lock


def settle():
    """Says what C needs to know and prepares waking. The descriptors are pipes:
    a caller's pipes then need no new streams. An image that grows comes here
    again, and objects that it keeps stay the same, so that their pages do."""
    global streams, numpy_generators, seeded_state, hook_lists, parked_as
    parked_as = posix.getpid()
    streams = [stream_settings(fd) for fd in range(3)]
    forget_normals()
    numpy_generators = [(found, state_memory(found)) for found in bit_generators]
    seeded_state = state_of_seeded()
    known_lists = [hooks for hooks, _ in hook_lists]
    hook_lists = []
    # A rehearsal: caches that this fills need not be written to on waking.
    wake([0, 1, 2], [], [], False)
    renew_generators(*stand_ins())
    renew()
    hook_lists = fork_hooks(known_lists)
    sys.argv.clear()
    getattr(sys, "orig_argv", []).clear()
    os = sys.modules.get("os")
    posix.environ.clear()
    if os:
        os.environ._data.clear()
    flags = sys.flags
    main = sys.modules["__main__"]  # multiprocessing knows it by another name, too
    for name, module in list(modules.items()):
        if sys.modules.get(name) is not module:
            del modules[name]
    for name, module in sys.modules.items():
        if module is not main and name not in modules:
            modules[name] = module
    return {
        "wake": wake,
        "renew": renew_all,
        "renewed": renewed,
        "environ": posix.environ,
        "os_environ": os.environ._data if os else None,
        "argv": sys.argv,
        "orig_argv": getattr(sys, "orig_argv", None),
        "path": sys.path,
        "safe_path": safe_path,
        "atexit_run": atexit._run_exitfuncs,
        "thread_count": _thread._count,
        "collect": gc.collect,
        "stream_types": (io.TextIOBase, io.BufferedIOBase, io.RawIOBase),
        "raw_streams": raw_streams,
        "path_index": state["path_index"],
        "environ_set": environ_set,
        "environ_unset": environ_unset,
        "full_end": bool(flags.verbose or flags.dev_mode or flags.inspect or sys.abiflags),
        "modules": modules,
        # Kept alive, so that the end does not free them object by object.
        "containers": [sys.meta_path, sys.path_hooks, sys.path_importer_cache],
    }


built = set(globals()) - kept


# --- The woken process ----------------------------------------------------

always_ignored = _signal.SIGPIPE, _signal.SIGXFSZ  # by CPython itself


def wake(reconnected, ignored, unignored, new_zone):
    """What C could not do. May be interrupted and called again."""
    for fd in reconnected:
        connect(fd)
    default = _signal.SIG_DFL, _signal.default_int_handler
    for number in ignored:
        if _signal.getsignal(number) in default:
            _signal.signal(number, _signal.SIG_IGN)
    for number in unignored:
        if _signal.getsignal(number) == _signal.SIG_IGN and number not in always_ignored:
            _signal.signal(number, default[number == _signal.SIGINT])
    if new_zone:
        time.tzset()


def connect(fd):
    """Initialises the layers of a standard stream as create_stdio() does. The
    objects stay, so that a library that kept one writes to the right place; only
    the lowest is new, because it remembers whether its file could seek."""
    stream, unbuffered, encoding, errors, lines, write_through = streams[fd]
    name = names[fd]
    try:
        posix.fstat(fd)
    except OSError:
        if getattr(sys, name) is stream:
            setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)
        return
    buffer = raw = io.FileIO(fd, "wb" if fd else "rb", closefd=False)
    if not unbuffered:
        buffer = stream.buffer
        buffer.__init__(raw, raw._blksize)
    raw.name = f"<{name}>"
    raw_streams[fd] = raw
    if lines is None:
        lines = not write_through and (fd == 2 or raw.isatty())
    stream.__init__(buffer, encoding, errors, "\n", lines, write_through)
    stream.mode = "w" if fd else "r"


def renew_all():
    renew_generators(twisters, sequences, numpy_generators)
    renew()


def renewed():
    """Everything is, and the hooks for forks have run."""
    for hooks, every in hook_lists:
        hooks[:] = every
    if seeded_state:
        sys.modules["random"]._inst.setstate(seeded_state)
    after_restore()


def after_restore():
    """The other hooks of snapshot-restore-py."""
    hooks = sys.modules.get("snapshot_restore_py")
    for function, arguments, keywords in hooks.get_after_restore() if hooks else ():
        function(*arguments, **keywords)


def renew_generators(twisters, sequences, numpy_generators):
    """Gives them seeds from the system. What had one seed in common has again."""
    for generator in twisters:
        reseed(generator)
    entropy = {}
    for sequence in sequences:
        before = sequence.entropy
        sequence.__init__(
            entropy.get(before),
            spawn_key=sequence.spawn_key,
            pool_size=sequence.pool_size,
            n_children_spawned=sequence.n_children_spawned,
        )
        entropy[before] = sequence.entropy
    for generator, memory in numpy_generators:
        if memory:
            memory[:] = posix.urandom(624 * 4) + (624).to_bytes(4, sys.byteorder)
        else:
            generator.state = type(generator)(sequence_of(generator)).state


def reseed(random):
    from _random import Random

    Random.seed(random)
    random.gauss_next = None


def renew():
    """What must differ from run to run, and what remembers a process."""
    get = sys.modules.get
    module = get("threading")
    if module:
        module._main_thread._set_native_id()
    module = get("logging")
    if module:
        now = time.time_ns if isinstance(module._startTime, int) else time.time
        module._startTime = now()
    module = get("tempfile")
    if module and module._name_sequence is not None:
        module._name_sequence = None
    module = get("multiprocessing.process")
    if module:
        key = module.AuthenticationString(posix.urandom(32))
        module._current_process._config["authkey"] = key
        try:
            module.ORIGINAL_DIR = posix.getcwd()
        except OSError:
            module.ORIGINAL_DIR = None
    module = get("multiprocessing.synchronize")
    if module:
        module.SemLock._rand.__dict__.pop("_rng_pid", None)
    for name in "rich", "pip._vendor.rich":
        module = get(name)
        if module and hasattr(module, "_IMPORT_CWD"):
            try:
                module._IMPORT_CWD = posix.getcwd()
            except OSError:
                pass
    module = get("uuid")
    if module and module._node is not None:
        module._last_timestamp = None
        if module._node >> 40 & 1:
            module._node = None  # random: this host has no hardware address
    module = get("_ssl")
    if module and posix.getpid() == parked_as:  # another one makes OpenSSL seed itself
        module.RAND_add(posix.urandom(32), 32.0)
