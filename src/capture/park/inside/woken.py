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
    renew_generators(twisters, numpy_sequences, numpy_generators)
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


def renew_generators(twisters, numpy_sequences, numpy_generators):
    """Gives them seeds from the system. What had one seed in common has again."""
    for generator in twisters:
        reseed(generator)
    entropy = {}
    for sequence, memory in numpy_sequences:
        before = sequence.entropy
        if memory:
            seed = entropy.get(before) or int.from_bytes(posix.urandom(16), sys.byteorder)
            reseed_sequence(sequence, memory, seed)
        else:
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


def reseed_sequence(sequence, memory, seed):
    """What numpy's SeedSequence does with 128 bits (`mix_entropy` of bit_generator.pyx)."""
    word, constant, pool = 0xFFFFFFFF, 0x43B0D7E5, []

    def mixed(value):
        nonlocal constant
        value ^= constant
        constant = constant * 0x931E8875 & word
        value = value * constant & word
        return value ^ value >> 16

    for shift in 0, 32, 64, 96:
        pool.append(mixed(seed >> shift & word))
    for source in range(4):
        for target in range(4):
            if source != target:
                value = 0xCA01F9DD * pool[target] - 0x4973F715 * mixed(pool[source]) & word
                pool[target] = value ^ value >> 16
    memory[:] = b"".join([value.to_bytes(4, sys.byteorder) for value in pool])
    children = sequence.n_children_spawned
    sequence.__setstate_cython__((seed, children, sequence.pool, 4, ()))


def reseed(random):
    twister_type.seed(random)
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
