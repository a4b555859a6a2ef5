"""What runs inside the interpreter, where saying it in Python is easier.

The park library executes this in a namespace of its own, which is no module
and which user code never sees. `RECIPE` stands above it as a literal. All of
it has returned to C before the recipe's code or the user's program runs, so no
frame of it is ever beneath theirs. It imports as little as it can: whatever is
imported here is in every image.

It is one text, executed in three parts. This file is the first. From the line "The
build" on all is for one build: before parking `forget` takes it away, and when the
image grows it is executed again. What stands below "The woken process" is executed
only when the image is complete, so that it lies together in memory of its own.

  kept.py        what all of it keeps
  recipe.py      which code a recipe is
  observed.py    what it looks at
  generators.py  which generators of random numbers the system has seeded
  outcome.py     what came of it: a refusal or the report
  parking.py     a tidy process, and what waking needs to know
  woken.py       waking, and renewing what must differ from run to run
"""

import sys

BEFORE = set(sys.modules)

import _imp
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
numpy_states, numpy_sequences = [], []  # of those what C can give another seed, and how
slow_generators, slow_sequences = [], []  # and what it cannot
hook_lists = []  # the interpreter's own for forks, each with what it holds for a program
modules = {}


def sequence_of(generator):
    """What one of numpy's generators has its seed from."""
    return getattr(generator, "seed_seq", None) or getattr(generator, "_seed_seq", None)
