/* The standard streams, when the caller's are files or terminals: the image's were
 * initialised on pipes.
 *
 * To initialise one anew (`connect` in inside/) takes CPython through its codecs and three
 * layers of objects, and writes to a hundred pages. What differs in the end is a few bytes:
 * whether it can seek, its buffer's size, whether it writes line by line. Where those lie is
 * nobody's business but CPython's, and is found out when the image is made: each stream is
 * initialised on a pipe and on a file of each kind, and what lies in its objects is compared.
 * What changes from one time to the next as well is an address of something new; so is what
 * leads to memory that can be written to.
 *
 * A difference is used only if the stream, with nothing else changed, then said of itself
 * what one says that was initialised. All other streams are initialised anew.
 */
#include "park.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT, BUFFER, RAW, LAYERS }; /* of a stream */

enum kind_of_file { AT_START, WITHIN, TERMINAL, KINDS, OTHER };

static const off_t POSITION = 0x5ec0dec0de; /* within a file, and where no memory is */

/* Words of an object, without what all objects begin with; and how many of a stream may differ. */
enum { HEAD = 2, MOST_WORDS = 64, MOST_CHANGES = 16 };

struct snapshot {
    uint64_t *places[LAYERS];
    size_t sizes[LAYERS];
    uint64_t words[LAYERS][MOST_WORDS];
};

struct change {
    int layer;
    size_t word;
    uint64_t parked, wanted;
    bool is_position; /* what is wanted is where in its file it is */
};

static struct learnt {
    struct change changes[MOST_CHANGES];
    size_t count;
    bool known;
} learnt[3][KINDS];

static uint64_t *places[3][LAYERS]; /* the objects, as parked */
static blksize_t blocks[KINDS], pipe_block;

static bool is_pipe(const struct stat *status)
{
    return S_ISFIFO(status->st_mode) || S_ISSOCK(status->st_mode);
}

/* `at`: where in the file it is, -1 if that cannot be said. */
static enum kind_of_file kind_of(int descriptor, const struct stat *status, off_t at)
{
    enum kind_of_file kind = at == 0 ? AT_START : WITHIN;

    if (S_ISCHR(status->st_mode) && isatty(descriptor))
        kind = TERMINAL;
    else if (!S_ISCHR(status->st_mode) && !S_ISREG(status->st_mode))
        return OTHER;
    return (at == -1) == (kind == TERMINAL) && status->st_blksize == blocks[kind] ? kind : OTHER;
}

static void apply(int standard, const struct learnt *what, off_t at)
{
    for (size_t i = 0; i < what->count; i++) {
        const struct change *change = &what->changes[i];

        places[standard][change->layer][change->word] =
            change->is_position ? (uint64_t)at : change->wanted;
    }
}

bool streams_connect(int standard)
{
    const struct learnt *what;
    enum kind_of_file kind;
    struct stat status;
    off_t at;

    if (fstat(standard, &status) == -1)
        return false;
    if (is_pipe(&status))
        return status.st_blksize == pipe_block;
    at = lseek(standard, 0, SEEK_CUR);
    kind = kind_of(standard, &status, at);
    if (kind == OTHER || !learnt[standard][kind].known)
        return false;
    what = &learnt[standard][kind];
    for (size_t i = 0; i < what->count; i++) {
        const struct change *change = &what->changes[i];

        if (places[standard][change->layer][change->word] != change->parked)
            return false;
    }
    apply(standard, what, at);
    return true;
}

/* ---- before parking ---- */

static bool initialise(int standard)
{
    PyObject *arguments = py.PyTuple_New(4), *streams = py.PyList_New(0);
    PyObject *number = py.PyLong_FromLong(standard), *result;

    py.PyList_Append(streams, number);
    python_drop(number);
    py.PyTuple_SetItem(arguments, 0, streams);
    py.PyTuple_SetItem(arguments, 1, py.PyList_New(0));
    py.PyTuple_SetItem(arguments, 2, py.PyList_New(0));
    py.PyTuple_SetItem(arguments, 3, py.PyBool_FromLong(0));
    result = py.PyObject_CallObject(image.wake, arguments);
    py.PyErr_Clear();
    python_drop(arguments);
    python_drop(result);
    return result != NULL;
}

static bool note_layer(struct snapshot *snapshot, int layer, PyObject *object)
{
    PyObject *type = py.PyObject_Type(object);
    PyObject *size = py.PyObject_GetAttrString(type, "__basicsize__");
    long bytes = size == NULL ? -1 : py.PyLong_AsLong(size);
    size_t words = bytes < 0 ? 0 : (size_t)bytes / sizeof(uint64_t);

    python_drop(size);
    python_drop(type);
    if (words <= HEAD || words > MOST_WORDS)
        return false;
    snapshot->places[layer] = (uint64_t *)object;
    snapshot->sizes[layer] = words;
    memcpy(snapshot->words[layer], object, words * sizeof(uint64_t));
    return true;
}

static bool take_snapshot(int standard, struct snapshot *snapshot)
{
    PyObject *text = py.PyTuple_GetItem(py.PyList_GetItem(image.streams, standard), 0);
    PyObject *raw = py.PyList_GetItem(image.raw_streams, standard);
    PyObject *buffer = text == NULL || raw == NULL ? NULL : py.PyObject_GetAttrString(text, "buffer");
    bool done;

    memset(snapshot, 0, sizeof *snapshot);
    /* Without a buffer it is the raw stream itself. */
    done = buffer != NULL && note_layer(snapshot, TEXT, text) && note_layer(snapshot, RAW, raw) &&
           (buffer == raw || note_layer(snapshot, BUFFER, buffer));
    python_drop(buffer);
    py.PyErr_Clear();
    return done;
}

/* `pipes` and `files`: two snapshots of each. */
static void compare(const struct snapshot *pipes, const struct snapshot *files, struct learnt *what)
{
    struct range *ranges = calloc(RANGES, sizeof *ranges);
    size_t count = ranges == NULL ? 0 : ranges_read(ranges, RANGES);

    for (int layer = 0; layer < LAYERS; layer++) {
        for (size_t word = HEAD; word < pipes[1].sizes[layer]; word++) {
            uint64_t parked = pipes[1].words[layer][word], wanted = files[1].words[layer][word];

            if (parked != wanted && what->count < MOST_CHANGES &&
                pipes[0].words[layer][word] == parked && files[0].words[layer][word] == wanted &&
                ranges_find(ranges, count, parked) == NULL &&
                ranges_find(ranges, count, wanted) == NULL)
                what->changes[what->count++] =
                    (struct change){layer, word, parked, wanted, wanted == (uint64_t)POSITION};
        }
    }
    free(ranges);
}

/* What it says of itself, as a new reference, or NULL. */
static PyObject *describe(PyObject *inside, int standard)
{
    PyObject *number = py.PyLong_FromLong(standard);
    PyObject *answer = py.PyObject_CallFunctionObjArgs(
        py.PyDict_GetItemString(inside, "description"), number, NULL);

    py.PyErr_Clear();
    python_drop(number);
    return answer;
}

static bool switch_to(int standard, int descriptor)
{
    return dup2(descriptor, standard) == standard;
}

/* By way of a file at its start, for a stream on a pipe still knows where it was before. */
static bool park(int standard, int pipe, int start)
{
    return switch_to(standard, start) && initialise(standard) && switch_to(standard, pipe) &&
           initialise(standard);
}

static void learn(PyObject *inside, int standard, int pipe, int start, int file,
                  struct learnt *what)
{
    struct snapshot pipes[2], files[2];
    PyObject *right = NULL, *said = NULL;
    bool done;

    done = park(standard, pipe, start) && take_snapshot(standard, &pipes[0]) &&
           switch_to(standard, file) &&
           initialise(standard) && take_snapshot(standard, &files[0]) &&
           initialise(standard) && take_snapshot(standard, &files[1]) &&
           (right = describe(inside, standard)) != NULL &&
           park(standard, pipe, start) && take_snapshot(standard, &pipes[1]);
    if (done && switch_to(standard, file)) {
        compare(pipes, files, what);
        memcpy(places[standard], pipes[1].places, sizeof pipes[1].places);
        apply(standard, what, lseek(file, 0, SEEK_CUR));
        said = describe(inside, standard);
    }
    what->known = said != NULL && py.PyObject_RichCompareBool(said, right, PY_EQ) == 1;
    python_drop(said);
    python_drop(right);
}

static int open_terminal(int *master)
{
    char name[64];

    *master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (*master == -1 || grantpt(*master) == -1 || unlockpt(*master) == -1 ||
        ptsname_r(*master, name, sizeof name) != 0)
        return -1;
    return open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

/* Others put something at the beginning of a file, or know where they are in it. */
static bool is_stateless(int standard)
{
    static const char *const names[] = {"utf-8", "utf8", "ascii", "latin-1", "iso8859-1"};
    PyObject *settings = py.PyList_GetItem(image.streams, standard);
    const char *encoding = py.PyUnicode_AsUTF8(py.PyTuple_GetItem(settings, 2));

    for (size_t i = 0; encoding != NULL && i < sizeof names / sizeof *names; i++)
        if (strcasecmp(encoding, names[i]) == 0)
            return true;
    py.PyErr_Clear();
    return false;
}

/* It is on its pipe again whatever became of that; false if it is not. */
static bool learn_all(PyObject *inside, int standard, const int *files)
{
    int pipe = fcntl(standard, F_DUPFD_CLOEXEC, 3), start = files[AT_START];
    struct snapshot last = {0};
    bool done;

    for (int kind = 0; kind < KINDS && pipe != -1; kind++)
        if (files[kind] != -1 && (kind != WITHIN || is_stateless(standard)))
            learn(inside, standard, pipe, start, files[kind], &learnt[standard][kind]);
    done = pipe != -1 && park(standard, pipe, start) && take_snapshot(standard, &last);
    if (pipe != -1)
        close(pipe);
    memcpy(places[standard], last.places, sizeof last.places);
    return done;
}

bool streams_learn(PyObject *inside)
{
    int master, files[KINDS] = {
        memfd_create("stream", MFD_CLOEXEC), memfd_create("stream", MFD_CLOEXEC),
        open_terminal(&master),
    };
    struct stat status;
    bool done = true;

    memset(learnt, 0, sizeof learnt);
    if (files[WITHIN] != -1)
        lseek(files[WITHIN], POSITION, SEEK_SET);
    if (fstat(0, &status) == 0)
        pipe_block = status.st_blksize;
    for (int kind = 0; kind < KINDS; kind++)
        if (files[kind] != -1 && fstat(files[kind], &status) == 0)
            blocks[kind] = status.st_blksize;
    for (int standard = 0; standard <= 2; standard++)
        done = learn_all(inside, standard, files) && done;
    for (int kind = 0; kind < KINDS; kind++)
        if (files[kind] != -1)
            close(files[kind]);
    if (master != -1)
        close(master);
    return done;
}
