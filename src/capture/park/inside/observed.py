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
