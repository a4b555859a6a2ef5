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
