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
