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
    everything = gc.get_objects()
    # Not isinstance(), which asks the object: one that is not set up yet may raise anything.
    generators.extend(o for o in everything if issubclass(type(o), kinds) and id(o) not in known)
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
