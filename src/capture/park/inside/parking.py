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


def pool_memory(sequence):
    """The pool of numpy's SeedSequence as a memoryview, if this is a plain one and can be
    given another seed by `reseed_sequence`, in a tenth of the time that numpy takes."""
    try:
        kind, settings = type(sequence), (sequence.spawn_key, sequence.pool_size)
        if kind.__module__ != "numpy.random.bit_generator" or settings != ((), 4):
            return None
        seed = int.from_bytes(range(16, 32), "little")
        probe, right = kind(1), kind(seed)
        reseed_sequence(probe, memoryview(probe.pool).cast("B"), seed)
        seen = [
            (s.entropy, s.spawn_key, s.pool_size, s.n_children_spawned, s.pool.tolist())
            for s in (probe, right)
        ]
        same = seen[0] == seen[1] and (probe.generate_state(9) == right.generate_state(9)).all()
        return memoryview(sequence.pool).cast("B") if same else None
    except Exception:  # another numpy
        return None


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
        [(s, pool_memory(s)) for s in (sequence_of(g) for g, _ in new) if s is not None],
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
    global streams, numpy_generators, numpy_sequences, seeded_state, hook_lists, parked_as
    global twister_type
    parked_as = posix.getpid()
    if twisters:
        from _random import Random as twister_type
    streams = [stream_settings(fd) for fd in range(3)]
    forget_normals()
    numpy_generators = [(found, state_memory(found)) for found in bit_generators]
    numpy_sequences = [(found, pool_memory(found)) for found in sequences]
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
