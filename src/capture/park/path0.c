/* The second copy of sys.path[0], which CPython keeps from 3.12.1 on for its
 * subinterpreters, and 3.13 also for the hint that a script shadows a module of
 * the standard library.
 *
 * There is no call that sets it, and its place is nobody's business but
 * CPython's. But its value is known, as it comes from the sentinel's path: so it
 * is searched for around the interpreter's state before parking, and replaced on
 * waking if it was found exactly once.
 */
#include "park.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

static wchar_t **place;
static size_t room; /* of the string there, in characters with the last zero */

static void search(const wchar_t *value, size_t length, const struct range *ranges, size_t count)
{
    const struct range *state =
        ranges_find(ranges, count, (uintptr_t)py.PyInterpreterState_Head());
    int found = 0;

    if (state == NULL)
        return;
    for (wchar_t **word = (wchar_t **)state->start; word < (wchar_t **)state->end; word++) {
        uintptr_t target = (uintptr_t)*word;
        const struct range *range =
            target == 0 || target % sizeof(wchar_t) ? NULL : ranges_find(ranges, count, target);

        if (range != NULL && (range->end - target) / sizeof(wchar_t) >= length &&
            wmemcmp((wchar_t *)target, value, length) == 0) {
            place = word;
            found++;
        }
    }
    if (found != 1)
        place = NULL;
    room = length;
}

void path0_find(const char *sentinel)
{
    const char *slash = strrchr(sentinel, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - sentinel);
    struct range *ranges;
    wchar_t wide[PATH_MAX];

    if (py.hexversion < PY_3_12 || length == 0 || length >= PATH_MAX)
        return;
    for (size_t i = 0; i < length; i++)
        wide[i] = (unsigned char)sentinel[i];
    wide[length] = L'\0';
    ranges = calloc(RANGES, sizeof *ranges);
    if (ranges != NULL)
        search(wide, length + 1, ranges, ranges_read(ranges, RANGES));
    free(ranges);
}

/* Is memory from PyMem_RawMalloc the C library's own, whoever frees it? Not in
 * the development mode, where CPython 3.12 and 3.13 free this string differently. */
static bool allocator_is_plain(void)
{
    const char *choice = getenv("PYTHONMALLOC");

    return !image.full_end && (choice == NULL || choice[0] == '\0');
}

void path0_replace(PyObject *path0)
{
    wchar_t wide[PATH_MAX];
    Py_ssize_t length;

    if (place == NULL || path0 == NULL)
        return;
    length = py.PyUnicode_AsWideChar(path0, wide, PATH_MAX - 1);
    if (length < 0) {
        py.PyErr_Clear();
        return;
    }
    wide[length] = L'\0';
    if ((size_t)length < room)
        wmemcpy(*place, wide, (size_t)length + 1);
    else if (allocator_is_plain())
        *place = wcsdup(wide);
}
