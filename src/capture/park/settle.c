/* Before parking: what the woken process allocates should not come from holes
 * between the image's objects, where every first write copies a page, but from
 * memory that nobody has written to yet.
 *
 * So the holes are allocated and never freed. They cost nothing in the image
 * that they did not cost before: malloc's larger ones were given back to the
 * kernel first and are not touched here.
 *
 * And what the end of each program goes through is put side by side, so that it
 * meets a few pages in place of many.
 */
#include "park.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    SMALLEST = 16,           /* pymalloc's classes: 16, 32 ... 512 bytes */
    LARGEST = 512,
    POOL_HEAD = 48,          /* where a pool's first block lies */
    PATIENCE = 4 << 20,      /* bytes of one size: more than any image leaves */
};

/* A pool that nobody has used hands out its blocks in order, from the first. False
 * if there seem to be no pools: another allocator (PYTHONMALLOC, -X dev) is in use. */
static bool fill_class(size_t size, uintptr_t pool_size)
{
    uintptr_t previous = 0;
    int in_order = 0;

    for (size_t taken = 0; in_order < 3; taken += size) {
        uintptr_t block = (uintptr_t)py.PyObject_Malloc(size);

        if (block == 0 || taken > PATIENCE)
            return false;
        if (block % pool_size == POOL_HEAD)
            in_order = 1;
        else
            in_order = in_order > 0 && block == previous + size ? in_order + 1 : 0;
        previous = block;
    }
    return true;
}

/* Chunks behind this address come from the heap's end, not from a hole. */
static uintptr_t heap_end(void)
{
    return (uintptr_t)sbrk(0) - mallinfo2().keepcost;
}

static void fill_heap(void)
{
    uintptr_t end = heap_end();

    for (size_t size = 64 << 10; size >= 24; size -= size > 1024 ? size / 4 : 8) {
        for (size_t taken = 0; taken < PATIENCE; taken += size) {
            void *chunk = malloc(size);

            if (chunk == NULL || (uintptr_t)chunk >= end) {
                free(chunk);
                break;
            }
        }
    }
}

void settle_allocators(void)
{
    uintptr_t pool_size = py.hexversion >= PY_3_10 ? 16384 : 4096;

    malloc_trim(0);
    fill_heap();
    for (size_t size = SMALLEST; size <= LARGEST && fill_class(size, pool_size); size += 16)
        ;
    malloc_trim(0);
}

/* Another str object with the same text; NULL if it is no str, or one that cannot be
 * made like this. */
static PyObject *copy_of(PyObject *name)
{
    PyObject *type = py.PyObject_Type(name);
    const char *text = type == py.PyUnicode_Type ? py.PyUnicode_AsUTF8(name) : NULL;
    PyObject *copy = text == NULL ? NULL : py.PyUnicode_FromString(text);

    python_drop(type);
    if (copy != NULL && py.PyObject_RichCompareBool(copy, name, PY_EQ) != 1) {
        python_drop(copy); /* there is a NUL in it */
        copy = NULL;
    }
    py.PyErr_Clear();
    return copy;
}

/* The names in sys.modules are where each was first read, all over memory; and a
 * dictionary cannot be gone through without looking at its keys. Those that were
 * there when the image was first made are settled already. */
void settle_names(void)
{
    PyObject *modules = py.PyImport_GetModuleDict();
    PyObject *all = py.PyDict_Copy(modules);
    PyObject *name, *found;
    Py_ssize_t position = 0;

    if (all == NULL)
        gate_fail("no memory for the names of the modules");
    py.PyDict_Clear(modules);
    while (py.PyDict_Next(all, &position, &name, &found)) {
        bool settled = image.modules != NULL && py.PyDict_GetItem(image.modules, name) != NULL;
        PyObject *copy = settled ? NULL : copy_of(name);

        if (py.PyDict_SetItem(modules, copy == NULL ? name : copy, found) == -1)
            gate_fail("no memory for the names of the modules");
        python_drop(copy);
    }
    python_drop(all);
}
