/* What must differ from run to run, and what remembers a process, made new on waking:
 * generators of random numbers that the system has seeded, ids, times, directories.
 *
 * What there is to be done was found before parking (inside/parking.py), so that it takes a
 * few calls, in place of a search through Python's modules by Python. numpy's generators are
 * reached in their memory: its own way to a new seed takes ten times as long.
 */
#include "park.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { MOST_SEEDS = 16, POOL = 4, TWISTER = 624 }; /* 32-bit words of state */

static void fill_random(void *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t got = getrandom((char *)bytes + done, length - done, 0);

        if (got == -1)
            gate_fail("the system gives no random numbers");
        done += (size_t)got;
    }
}

static uint32_t hashed(uint32_t value, uint32_t *constant)
{
    value ^= *constant;
    *constant *= 0x931e8875;
    value *= *constant;
    return value ^ value >> 16;
}

/* What numpy's SeedSequence makes of 128 bits (`mix_entropy` of bit_generator.pyx). */
static void make_pool(const uint32_t seed[POOL], uint32_t pool[POOL])
{
    uint32_t constant = 0x43b0d7e5;

    for (int i = 0; i < POOL; i++)
        pool[i] = hashed(seed[i], &constant);
    for (int source = 0; source < POOL; source++) {
        for (int target = 0; target < POOL; target++) {
            uint32_t value;

            if (source == target)
                continue;
            value = 0xca01f9dd * pool[target] - 0x4973f715 * hashed(pool[source], &constant);
            pool[target] = value ^ value >> 16;
        }
    }
}

/* The same for inside/, which compares it with numpy's: 16 bytes of 16. */
static PyObject *pool_of(PyObject *self, PyObject *bytes)
{
    uint32_t seed[POOL], pool[POOL];

    (void)self;
    memcpy(seed, py.PyBytes_AsString(bytes), sizeof seed);
    make_pool(seed, pool);
    return py.PyBytes_FromStringAndSize((const char *)pool, sizeof pool);
}

bool renew_prepare(PyObject *inside)
{
    static struct method_definition definition = {
        "pool_of", (void (*)(void))pool_of, PY_ONE_ARGUMENT, NULL,
    };
    PyObject *function = py.PyCFunction_NewEx(&definition, NULL, NULL);
    bool done = function != NULL && py.PyDict_SetItemString(inside, "pool_of", function) == 0;

    python_drop(function);
    return done;
}

/* (function, sequence, children, pool, address, number of the seed): what had one seed in
 * common has again. */
static bool reseed_sequence(PyObject *entry, uint32_t seeds[MOST_SEEDS][POOL])
{
    const uint32_t *seed = seeds[py.PyLong_AsLong(py.PyTuple_GetItem(entry, 5))];
    PyObject *state = py.PyTuple_New(5), *arguments = py.PyTuple_New(2);
    char digits[8 * POOL + 1];
    bool interrupted = false;

    make_pool(seed, (uint32_t *)py.PyLong_AsLong(py.PyTuple_GetItem(entry, 4)));
    snprintf(digits, sizeof digits, "%08x%08x%08x%08x", seed[3], seed[2], seed[1], seed[0]);
    py.PyTuple_SetItem(state, 0, py.PyLong_FromString(digits, NULL, 16));
    for (int i = 1; i <= 2; i++) {
        PyObject *part = py.PyTuple_GetItem(entry, i + 1);

        py.Py_IncRef(part);
        py.PyTuple_SetItem(state, i, part);
    }
    py.PyTuple_SetItem(state, 3, py.PyLong_FromLong(POOL));
    py.PyTuple_SetItem(state, 4, py.PyTuple_New(0));
    py.Py_IncRef(py.PyTuple_GetItem(entry, 1));
    py.PyTuple_SetItem(arguments, 0, py.PyTuple_GetItem(entry, 1));
    py.PyTuple_SetItem(arguments, 1, state);
    python_drop(wake_call(py.PyTuple_GetItem(entry, 0), arguments, "reseeding numpy", &interrupted));
    python_drop(arguments);
    return interrupted;
}

static bool reseed_numpy(void)
{
    uint32_t seeds[MOST_SEEDS][POOL];
    Py_ssize_t sequences = py.PyList_Size(image.numpy_sequences);
    bool interrupted = false;

    if (sequences > 0)
        fill_random(seeds, sizeof seeds);
    for (Py_ssize_t i = 0; i < sequences; i++)
        interrupted |= reseed_sequence(py.PyList_GetItem(image.numpy_sequences, i), seeds);
    for (Py_ssize_t i = 0; i < py.PyList_Size(image.numpy_states); i++) {
        uint32_t *state = (uint32_t *)py.PyLong_AsLong(py.PyList_GetItem(image.numpy_states, i));

        fill_random(state, TWISTER * sizeof *state);
        state[TWISTER] = TWISTER; /* its position: all are used */
    }
    return interrupted;
}

/* (object, attribute or key, function, argument) */
static bool renew_one(PyObject *entry)
{
    PyObject *owner = py.PyTuple_GetItem(entry, 0), *name = py.PyTuple_GetItem(entry, 1);
    PyObject *argument = py.PyTuple_GetItem(entry, 3), *arguments = NULL, *value;
    bool interrupted = false;
    int failed = 0;

    if (argument != PY_NONE) {
        arguments = py.PyTuple_New(1);
        py.Py_IncRef(argument);
        py.PyTuple_SetItem(arguments, 0, argument);
    }
    value = wake_call(py.PyTuple_GetItem(entry, 2), arguments, "renewing modules", &interrupted);
    if (owner != PY_NONE)
        failed = python_is(owner, py.PyDict_Type) ? py.PyDict_SetItem(owner, name, value)
                                                  : py.PyObject_SetAttr(owner, name, value);
    if (failed == -1)
        gate_fail("a module cannot be renewed");
    python_drop(arguments);
    python_drop(value);
    return interrupted;
}

bool renew(void)
{
    bool interrupted = reseed_numpy();

    for (Py_ssize_t i = 0; i < py.PyList_Size(image.renewals); i++)
        interrupted |= renew_one(py.PyList_GetItem(image.renewals, i));
    return interrupted;
}
