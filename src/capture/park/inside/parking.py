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


def description(fd):
    """What a standard stream and its layers say of themselves."""
    stream = streams[fd][0]
    said = [stream.line_buffering, stream.write_through]
    for layer in stream, stream.buffer, raw_streams[fd]:
        said += layer.seekable(), layer.isatty(), sys.getsizeof(layer)
        try:
            said.append(layer.tell())
        except OSError:
            said.append(None)
    return [*said, raw_streams[fd]._blksize, raw_streams[fd].closefd, raw_streams[fd].mode]


def forget_normals():
    """numpy's legacy generators keep the second of a pair of normals."""
    module = sys.modules.get("numpy.random.mtrand")
    known = set(map(id, bit_generators))
    for legacy in gc.get_objects() if known else ():
        if issubclass(type(legacy), module.RandomState) and id(legacy._bit_generator) in known:
            state = legacy.get_state(legacy=False)
            if state["has_gauss"]:
                legacy.set_state(dict(state, has_gauss=0, gauss=0.0))


MOST_SEEDS = 16  # as in renew.c


def state_address(generator):
    """Where the 624 words and the position of numpy's global MT19937 are, if that is how
    they lie: to fill them is much less work than to ask numpy."""
    ctypes = sys.modules.get("ctypes")
    if not ctypes or generator is not sys.modules["numpy.random.mtrand"]._rand._bit_generator:
        return None
    address = generator.ctypes.state_address
    memory = (ctypes.c_char * 2500).from_address(address)
    now = generator.state["state"]
    same = now["key"].tobytes() + now["pos"].to_bytes(4, sys.byteorder) == memory.raw
    return address if same else None


def reseedable(sequence, seed_number):
    """What C needs to give numpy's SeedSequence another seed, in a tenth of the time that
    numpy takes, if it is a plain one and comes out as numpy's own; or None."""
    try:
        kind, settings = type(sequence), (sequence.spawn_key, sequence.pool_size)
        if kind.__module__ != "numpy.random.bit_generator" or settings != ((), 4):
            return None
        seed = bytes(range(16, 32))
        probe, right = kind(1), kind(int.from_bytes(seed, "little"))
        memoryview(probe.pool).cast("B")[:] = pool_of(seed)
        probe.__setstate_cython__((right.entropy, 0, probe.pool, 4, ()))
        seen = [
            (s.entropy, s.spawn_key, s.pool_size, s.n_children_spawned, s.pool.tolist())
            for s in (probe, right)
        ]
        if seen[0] != seen[1] or not (probe.generate_state(9) == right.generate_state(9)).all():
            return None
        address = sequence.pool.__array_interface__["data"][0]
        children = sequence.n_children_spawned
        return kind.__setstate_cython__, sequence, children, sequence.pool, address, seed_number
    except Exception:  # another numpy
        return None


def find_numpy():
    """Sorts numpy's generators by whether C can give them another seed: those that it can
    are `numpy_states` and `numpy_sequences`."""
    states = [state_address(generator) for generator in bit_generators]
    numpy_states[:] = [address for address in states if address]
    slow_generators[:] = [g for g, address in zip(bit_generators, states) if not address]
    seeds = list({sequence.entropy: None for sequence in sequences})
    found = [reseedable(sequence, seeds.index(sequence.entropy)) for sequence in sequences]
    as_one = None in found or len(seeds) > MOST_SEEDS  # what has one seed in common
    numpy_sequences[:] = [] if as_one else found
    slow_sequences[:] = sequences if as_one else []


def find_renewals():
    """What must differ from run to run, and what remembers a process: [(object, attribute,
    function that gives its value, argument)], of a dictionary the key in place of an
    attribute, of neither for a function that does it all. No argument is None. What only
    has to be forgotten is, here."""
    get, found = sys.modules.get, []
    if twisters:
        from _random import Random
    for generator in twisters:
        generator.gauss_next = None
        found.append((None, None, Random.seed, generator))
    if slow_sequences or slow_generators:
        found.append((None, None, reseed_numpy, None))
    module = get("threading")
    if module:
        found.append((module._main_thread, "_native_id", _thread.get_native_id, None))
    module = get("logging")
    if module:
        now = time.time_ns if isinstance(module._startTime, int) else time.time
        found.append((module, "_startTime", now, None))
    module = get("tempfile")
    if module and module._name_sequence is not None:
        module._name_sequence = None
    module = get("multiprocessing.process")
    if module:
        found.append((module._current_process._config, "authkey", new_key, None))
        found.append((module, "ORIGINAL_DIR", directory, None))
    module = get("multiprocessing.synchronize")
    if module:
        module.SemLock._rand.__dict__.pop("_rng_pid", None)
    for name in "rich", "pip._vendor.rich":
        module = get(name)
        if module and hasattr(module, "_IMPORT_CWD"):
            found.append((module, "_IMPORT_CWD", directory, ""))
    module = get("uuid")
    if module and module._node is not None:
        module._last_timestamp = None
        if module._node >> 40 & 1:
            module._node = None  # random: this host has no hardware address
    if get("_ssl"):
        found.append((None, None, reseed_ssl, None))
    return found


def fork_hooks(lists):
    """Takes idle hooks out of the interpreter's own lists for os.fork(), which
    run when a woken process takes itself for a fork: [(list, what it was)].

    Idle are those of the standard library that mend locks and forget threads (no
    thread was lost) or do what is done anyway. The program's forks need them again."""
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
    inst = getattr(sys.modules.get("random"), "_inst", None)
    if inst is not None and getattr(hook, "__self__", None) is inst:
        # It has a new seed by then, or keeps the one that the code has given it: unless that
        # may have been the clock.
        return not clock_was_read or any(inst is known for known in twisters)
    futures = sys.modules.get("concurrent.futures.thread")
    lock = getattr(futures, "_global_shutdown_lock", None)
    return lock is not None and getattr(hook, "__self__", None) is lock


def settle():
    """Says what C needs to know and prepares waking. The descriptors are pipes:
    a caller's pipes then need no new streams. An image that grows comes here
    again, and objects that it keeps stay the same, so that their pages do."""
    global streams, hook_lists, parked_as, renewals
    parked_as = posix.getpid()
    streams = [stream_settings(fd) for fd in range(3)]
    forget_normals()
    find_numpy()
    renewals = find_renewals()
    known_lists = [hooks for hooks, _ in hook_lists]
    hook_lists = []
    # A rehearsal: caches that this fills need not be written to on waking.
    wake([0, 1, 2], [], [], False)
    for owner, _, function, argument in renewals:
        if owner is not None:
            function(*(() if argument is None else (argument,)))
    _imp.acquire_lock()  # as before a fork
    _imp.release_lock()
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
        "renewals": renewals,
        "numpy_states": numpy_states,
        "numpy_sequences": numpy_sequences,
        "hook_lists": hook_lists,
        "after_restore": after_restore if "snapshot_restore_py" in sys.modules else None,
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
        "streams": streams,
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
