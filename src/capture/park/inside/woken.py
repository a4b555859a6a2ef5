# --- The woken process ----------------------------------------------------


def wake(reconnected, ignored, unignored, new_zone):
    """What C could not do. May be interrupted and called again."""
    for fd in reconnected:
        connect(fd)
    default = _signal.SIG_DFL, _signal.default_int_handler
    for number in ignored:
        if _signal.getsignal(number) in default:
            _signal.signal(number, _signal.SIG_IGN)
    for number in unignored:
        if _signal.getsignal(number) == _signal.SIG_IGN:
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


def after_restore():
    """The other hooks of snapshot-restore-py: everything is renewed."""
    hooks = sys.modules.get("snapshot_restore_py")
    for function, arguments, keywords in hooks.get_after_restore() if hooks else ():
        function(*arguments, **keywords)


def reseed_numpy():
    """Gives numpy's generators seeds from the system in numpy's own way, those that C
    cannot reach. What had one seed in common has again."""
    entropy = {}
    for sequence in slow_sequences:
        before = sequence.entropy
        sequence.__init__(
            entropy.get(before),
            spawn_key=sequence.spawn_key,
            pool_size=sequence.pool_size,
            n_children_spawned=sequence.n_children_spawned,
        )
        entropy[before] = sequence.entropy
    for generator in slow_generators:
        generator.state = type(generator)(sequence_of(generator)).state


def new_key():
    return sys.modules["multiprocessing.process"].AuthenticationString(posix.urandom(32))


def directory(if_gone=None):
    try:
        return posix.getcwd()
    except OSError:
        return if_gone


def reseed_ssl():
    if posix.getpid() == parked_as:  # another one makes OpenSSL seed itself
        sys.modules["_ssl"].RAND_add(posix.urandom(32), 32.0)
