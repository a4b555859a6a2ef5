/* What the program needed, for the choice of an image at its next run: the
 * top-level modules that it has imported besides those of the image, written to
 * a file of the store when it ends.
 *
 * Of the modules that the image holds nobody can see whether the program
 * imported them; which of them count the caller knows, and which others were
 * there the last time. If that has not changed, nothing is written, and no
 * system call is made: a program that has locked itself in is not to die of us.
 * Nothing that goes wrong is told, and a forked child writes nothing.
 */
#include "park.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Names, and bytes of them. A program with more is not remembered. */
enum { MOST = 1024, MOST_BYTES = 32768 };

static struct {
    const char *path;   /* where to write; NULL for nowhere */
    const char *kept;   /* lines that are written in any case */
    const char *others; /* lines with what is known already */
    bool outdated;      /* to be written even if that is the same */
} wanted;

/* Where in sys.modules the image's last module stands: what the program adds
 * comes behind it. To look at all of them takes longer than all the rest. */
static struct {
    Py_ssize_t position;
    const PyObject *name; /* only compared */
} last;

void record_note_image(void)
{
    PyObject *modules = py.PyImport_GetModuleDict();
    PyObject *name, *found;
    Py_ssize_t position = 0, before = 0;

    while (py.PyDict_Next(modules, &position, &name, &found)) {
        last.position = before;
        last.name = name;
        before = position;
    }
}

static void forget(void)
{
    wanted.path = NULL;
    pages_forget();
}

void record_remember(const struct request *request)
{
    /* Before every fork of the C library; asking for the pid takes a system call. */
    if (request->record[0] == '\0' || pthread_atfork(NULL, NULL, forget) != 0)
        return;
    wanted.path = request->record;
    wanted.kept = request->record_kept;
    wanted.others = request->record_others;
    wanted.outdated = (request->head.flags & FLAG_RECORD_OUTDATED) != 0;
    pages_remember(request);
}

static int compare(const void *one, const void *other)
{
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

/* The program's top-level modules, at most MOST + 1. */
static size_t collect(const char **names)
{
    PyObject *modules = py.PyImport_GetModuleDict();
    PyObject *name, *found;
    Py_ssize_t position = last.position;
    size_t count = 0;

    /* If something was removed and the dictionary was made anew since, another
     * one stands there. */
    if (!py.PyDict_Next(modules, &position, &name, &found) || name != last.name)
        position = 0;
    while (count <= MOST && py.PyDict_Next(modules, &position, &name, &found)) {
        const char *text;

        if (found == PY_NONE || !python_is(name, py.PyUnicode_Type) ||
            py.PyDict_GetItem(image.modules, name) != NULL)
            continue;
        text = py.PyUnicode_AsUTF8(name);
        py.PyErr_Clear();
        if (text != NULL && text[0] != '\0' && strpbrk(text, ".\n") == NULL &&
            strcmp(text, "__main__") != 0 && strcmp(text, "__mp_main__") != 0)
            names[count++] = text;
    }
    return count;
}

/* The lines of the file, behind those that are kept. */
static char *lines(const char **names, size_t count)
{
    size_t kept = strlen(wanted.kept), size = kept + 1;
    char *text, *at;

    for (size_t i = 0; i < count; i++)
        size += strlen(names[i]) + 1;
    text = size > MOST_BYTES ? NULL : malloc(size);
    if (text == NULL)
        return NULL;
    at = stpcpy(text, wanted.kept);
    for (size_t i = 0; i < count; i++)
        at = stpcpy(stpcpy(at, names[i]), "\n");
    return text;
}

static int create(const char *path)
{
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (file >= 0 && file <= 2) { /* nobody is to take it for a standard stream */
        int higher = fcntl(file, F_DUPFD_CLOEXEC, 3);

        close(file);
        if (higher == -1)
            unlink(path);
        file = higher;
    }
    return file;
}

static bool fill(int file, const char *text)
{
    size_t size = strlen(text);
    bool done = fchmod(file, 0600) == 0 && write(file, text, size) == (ssize_t)size;

    close(file);
    return done;
}

/* Whoever reads finds the old file or the new one, whole. */
void record_put(const char *path, const char *text)
{
    char unfinished[PATH_MAX];
    struct rlimit limit;
    int file;

    if (getrlimit(RLIMIT_FSIZE, &limit) == -1 || limit.rlim_cur < strlen(text))
        return; /* it would be a signal */
    if (snprintf(unfinished, sizeof unfinished, "%s.%d.new", path, (int)getpid()) >=
        (int)sizeof unfinished)
        return;
    file = create(unfinished);
    if (file == -1 && unlink(unfinished) == 0) /* of a process that was killed */
        file = create(unfinished);
    if (file == -1)
        return;
    /* A rename that replaces a file writes the new one out on ext4, and the end
     * of the program would have to wait for that: so they are exchanged. */
    if (fill(file, text) &&
        syscall(SYS_renameat2, AT_FDCWD, unfinished, AT_FDCWD, path, RENAME_EXCHANGE) == -1)
        rename(unfinished, path); /* there is none, or it cannot be done */
    remove(unfinished); /* what stood there before, or what could not be put there */
}

void record_modules(void)
{
    const char *names[MOST + 1];
    char *text;
    size_t count;

    if (wanted.path == NULL || image.modules == NULL)
        return;
    count = collect(names);
    if (count <= MOST) {
        qsort(names, count, sizeof *names, compare);
        text = lines(names, count);
        if (text != NULL &&
            (wanted.outdated || strcmp(text + strlen(wanted.kept), wanted.others) != 0))
            record_put(wanted.path, text);
        free(text);
    }
    wanted.path = NULL;
}
