/* A journal of what the recipe looks at, so that the image can be told to be
 * stale when any of it is different: files, variables, the working directory.
 *
 * The library stands in front of the C library's functions, so Python's own
 * reads and those of extension modules are seen alike. What only Python knows
 * (which of the directories were listed, that a process was started) comes from
 * its audit events. Not seen is what the C library reads for itself (locale
 * data, /etc/nsswitch.conf) and what a library does by bare system calls.
 *
 * The journal is a memfd of records: a letter, a text, a NUL.
 *
 *   r PATH   opened for reading          e PATH   looked at, and there
 *   w PATH   opened for writing, made    a PATH   looked for, and not there
 *   k PATH   a symbolic link that was read
 *   v NAME   variable read by C code     c        the working directory matters
 *   s PATH   ... because of this relative path
 *   t, n, m, u, c WHO   the time, random bytes, the seed of a generator, a user's id, the
 *            working directory read by WHO: the module whose code did it, a tab, the
 *            module being imported
 */
#include "observe.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int journal = -1;
static bool starting; /* Python is: only files count, since main asks for many variables */
static PyObject *audit; /* inside/'s function */

/* What is done to observe is not observed; nor is another thread's use of it. */
static __thread bool busy;

static void note(char kind, const char *text)
{
    struct iovec parts[2] = {{&kind, 1}, {(void *)(uintptr_t)text, strlen(text) + 1}};
    int before = errno;

    /* Appended as one piece. If it is not written at all the image is not made. */
    if (writev(journal, parts, 2) != (ssize_t)(parts[0].iov_len + parts[1].iov_len))
        abort();
    errno = before;
}

/* --- Paths ---------------------------------------------------------------- */

static char *working_directory(char *room)
{
    return syscall(SYS_getcwd, room, PATH_MAX) > 0 ? room : NULL;
}

/* Notes a path as an absolute one; one that is relative makes the result depend
 * on the directory as well. */
static void note_path(char kind, int directory, const char *path)
{
    char base[PATH_MAX], whole[2 * PATH_MAX], link[64];
    ssize_t length;

    if (journal == -1 || busy || path == NULL || path[0] == '\0')
        return;
    if (path[0] == '/') {
        note(kind, path);
        return;
    }
    if (directory == AT_FDCWD) {
        if (working_directory(base) == NULL)
            return;
        snprintf(whole, sizeof whole, "%s/%s", base, path);
        note('s', whole);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        length = syscall(SYS_readlink, link, base, sizeof base - 1);
        if (length <= 0)
            return;
        base[length] = '\0';
        snprintf(whole, sizeof whole, "%s/%s", base, path);
    }
    note(kind, whole);
}

static void note_open(int directory, const char *path, int flags, int result)
{
    bool makes = (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
    bool reads = (flags & O_ACCMODE) != O_WRONLY;

    if (result >= 0 && (makes || !reads))
        note_path('w', directory, path);
    if (result >= 0 && reads)
        note_path('r', directory, path);
    else if (result < 0 && (errno == ENOENT || errno == ENOTDIR))
        note_path('a', directory, path);
}

static void note_look(int directory, const char *path, int result)
{
    if (result == 0)
        note_path('e', directory, path);
    else if (errno == ENOENT || errno == ENOTDIR)
        note_path('a', directory, path);
}

#define VISIBLE __attribute__((visibility("default")))

/* The function that this one stands in front of. */
#define REAL(name) \
    static __typeof__(name) *real; \
    if (real == NULL) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static mode_t mode_of(int flags, va_list list)
{
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(list, mode_t) : 0;
}

#define OPEN(name) \
    VISIBLE int name(const char *path, int flags, ...) \
    { \
        va_list list; \
        mode_t mode; \
        int result; \
        REAL(name); \
        va_start(list, flags); \
        mode = mode_of(flags, list); \
        va_end(list); \
        result = real(path, flags, mode); \
        note_open(AT_FDCWD, path, flags, result); \
        return result; \
    }

#define OPEN_AT(name) \
    VISIBLE int name(int directory, const char *path, int flags, ...) \
    { \
        va_list list; \
        mode_t mode; \
        int result; \
        REAL(name); \
        va_start(list, flags); \
        mode = mode_of(flags, list); \
        va_end(list); \
        result = real(directory, path, flags, mode); \
        note_open(directory, path, flags, result); \
        return result; \
    }

OPEN(open)
OPEN(open64)
OPEN_AT(openat)
OPEN_AT(openat64)

/* What the compiler makes of `open` when it checks arguments (_FORTIFY_SOURCE). */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int directory, const char *path, int flags);
int __openat64_2(int directory, const char *path, int flags);

#define OPEN_2(name) \
    VISIBLE int name(const char *path, int flags) \
    { \
        int result; \
        REAL(name); \
        result = real(path, flags); \
        note_open(AT_FDCWD, path, flags, result); \
        return result; \
    }

#define OPEN_AT_2(name) \
    VISIBLE int name(int directory, const char *path, int flags) \
    { \
        int result; \
        REAL(name); \
        result = real(directory, path, flags); \
        note_open(directory, path, flags, result); \
        return result; \
    }

OPEN_2(__open_2)
OPEN_2(__open64_2)
OPEN_AT_2(__openat_2)
OPEN_AT_2(__openat64_2)

#define STAT(name, type) \
    VISIBLE int name(const char *path, type *status) \
    { \
        int result; \
        REAL(name); \
        result = real(path, status); \
        note_look(AT_FDCWD, path, result); \
        return result; \
    }

STAT(stat, struct stat)
STAT(lstat, struct stat)
STAT(stat64, struct stat64)
STAT(lstat64, struct stat64)

#define STAT_AT(name, type) \
    VISIBLE int name(int directory, const char *path, type *status, int flags) \
    { \
        int result; \
        REAL(name); \
        result = real(directory, path, status, flags); \
        note_look(directory, path, result); \
        return result; \
    }

STAT_AT(fstatat, struct stat)
STAT_AT(fstatat64, struct stat64)

/* The same in programs that were linked with a C library before 2.33; the version is that
 * of the structure, of which x86-64 has one. */
#define OLD_STAT(name, type, modern) \
    int name(int version, const char *path, type *status); \
    VISIBLE int name(int version, const char *path, type *status) \
    { \
        (void)version; \
        return modern(path, status); \
    }

#define OLD_STAT_AT(name, type, modern) \
    int name(int version, int directory, const char *path, type *status, int flags); \
    VISIBLE int name(int version, int directory, const char *path, type *status, int flags) \
    { \
        (void)version; \
        return modern(directory, path, status, flags); \
    }

OLD_STAT(__xstat, struct stat, stat)
OLD_STAT(__lxstat, struct stat, lstat)
OLD_STAT(__xstat64, struct stat64, stat64)
OLD_STAT(__lxstat64, struct stat64, lstat64)
OLD_STAT_AT(__fxstatat, struct stat, fstatat)
OLD_STAT_AT(__fxstatat64, struct stat64, fstatat64)

VISIBLE int statx(int directory, const char *path, int flags, unsigned mask, struct statx *status)
{
    int result;
    REAL(statx);
    result = real(directory, path, flags, mask, status);
    note_look(directory, path, result);
    return result;
}

VISIBLE int mkdir(const char *path, mode_t mode)
{
    int result;
    REAL(mkdir);
    result = real(path, mode);
    if (result == 0)
        note_path('w', AT_FDCWD, path);
    return result;
}

VISIBLE int mkdirat(int directory, const char *path, mode_t mode)
{
    int result;
    REAL(mkdirat);
    result = real(directory, path, mode);
    if (result == 0)
        note_path('w', directory, path);
    return result;
}

VISIBLE ssize_t readlink(const char *restrict path, char *restrict room, size_t size)
{
    ssize_t result;
    REAL(readlink);
    result = real(path, room, size);
    if (result >= 0)
        note_path('k', AT_FDCWD, path);
    return result;
}

VISIBLE ssize_t readlinkat(int directory, const char *restrict path, char *restrict room,
                           size_t size)
{
    ssize_t result;
    REAL(readlinkat);
    result = real(directory, path, room, size);
    if (result >= 0)
        note_path('k', directory, path);
    return result;
}

VISIBLE int access(const char *path, int mode)
{
    int result;
    REAL(access);
    result = real(path, mode);
    note_look(AT_FDCWD, path, result);
    return result;
}

VISIBLE int faccessat(int directory, const char *path, int mode, int flags)
{
    int result;
    REAL(faccessat);
    result = real(directory, path, mode, flags);
    note_look(directory, path, result);
    return result;
}

/* hook.c stands in front of fopen. */
FILE *observe_fopen(const char *path, const char *mode, FILE *file)
{
    bool writes_only = mode != NULL && mode[0] != 'r' && strchr(mode, '+') == NULL;

    note_open(AT_FDCWD, path, writes_only ? O_WRONLY : O_RDONLY, file == NULL ? -1 : 0);
    return file;
}

/* --- Variables ------------------------------------------------------------ */

VISIBLE char *getenv(const char *name)
{
    REAL(getenv);
    if (journal != -1 && !busy && !starting)
        note('v', name);
    return real(name);
}

VISIBLE char *secure_getenv(const char *name)
{
    REAL(secure_getenv);
    if (journal != -1 && !busy && !starting)
        note('v', name);
    return real(name);
}

/* --- Who does it ---------------------------------------------------------- */

enum { NAME = 256 };

/* Who asks for something. */
struct asker {
    char nearest[NAME];  /* the module whose code does */
    char function[NAME]; /* ... and which function */
    char module[NAME];   /* the one that is being imported */
};

/* Names a frame's module and function. */
static void describe_frame(PyObject *frame, char module[NAME], char function[NAME])
{
    PyObject *globals = py.PyObject_GetAttrString(frame, "f_globals");
    PyObject *code = py.PyFrame_GetCode(frame);
    PyObject *called = py.PyObject_GetAttrString(code, "co_name");
    PyObject *name = globals == NULL ? NULL : py.PyDict_GetItemString(globals, "__name__");
    const char *text = name != NULL && python_is(name, py.PyUnicode_Type)
                           ? py.PyUnicode_AsUTF8(name) : NULL;

    snprintf(module, NAME, "%s", text == NULL ? "?" : text);
    text = called == NULL ? NULL : py.PyUnicode_AsUTF8(called);
    snprintf(function, NAME, "%s", text == NULL ? "?" : text);
    python_drop(called);
    python_drop(code);
    python_drop(globals);
}

/* With the interpreter held. No Python code runs. */
static void describe_asker(struct asker *who)
{
    PyObject *type, *value, *traceback, *frame;
    char function[NAME] = "";

    *who = (struct asker){.module = "?"};
    py.PyErr_Fetch(&type, &value, &traceback);
    frame = py.PyEval_GetFrame();
    py.Py_IncRef(frame);
    while (frame != NULL && strcmp(function, "<module>") != 0) {
        PyObject *caller;

        describe_frame(frame, who->module, function);
        if (who->nearest[0] == '\0') {
            strcpy(who->nearest, who->module);
            strcpy(who->function, function);
        }
        caller = py.PyFrame_GetBack(frame);
        python_drop(frame);
        frame = caller;
    }
    python_drop(frame);
    py.PyErr_Restore(type, value, traceback);
}

/* False if it is a library's own thread that asks, or nobody wants to know. */
static bool find_asker(struct asker *who)
{
    int before = errno;

    if (journal == -1 || busy || starting || py.PyGILState_GetThisThreadState() == NULL)
        return false;
    busy = true;
    if (py.PyGILState_Check()) {
        describe_asker(who);
    } else {
        int state = py.PyGILState_Ensure();

        describe_asker(who);
        py.PyGILState_Release(state);
    }
    busy = false;
    errno = before;
    return true;
}

static void note_asker(char kind, const struct asker *who)
{
    char text[2 * NAME];

    snprintf(text, sizeof text, "%s\t%s", who->nearest, who->module);
    note(kind, text);
}

static void note_who(char kind)
{
    struct asker who;

    if (find_asker(&who))
        note_asker(kind, &who);
}

static bool is_python(const void *address)
{
    Dl_info library, python;

    return dladdr(address, &library) != 0 &&
           dladdr((void *)py.PySys_AddAuditHook, &python) != 0 &&
           library.dli_fbase == python.dli_fbase;
}

/* By Python code, which may keep what it read; logging is given the time anew. */
static bool clock_was_read;

static void note_clock(const void *caller)
{
    struct asker who;

    if (!find_asker(&who))
        return;
    note_asker('t', &who);
    clock_was_read |= is_python(caller) && strcmp(who.module, "logging") != 0;
}

bool observe_clock_was_read(void)
{
    return clock_was_read;
}

VISIBLE int clock_gettime(clockid_t clock, struct timespec *now)
{
    REAL(clock_gettime);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        note_clock(__builtin_return_address(0));
    return real(clock, now);
}

VISIBLE int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    REAL(gettimeofday);
    note_clock(__builtin_return_address(0));
    return real(now, zone);
}

VISIBLE time_t time(time_t *now)
{
    REAL(time);
    note_clock(__builtin_return_address(0));
    return real(now);
}

/* What Python's own library drew, until it is known whether it is the seed of a generator:
 * that gets another one at each start. */
struct draw {
    struct draw *next;
    char kind;
    struct asker who;
    size_t length;
    char bytes[];
};

static struct draw *draws;

static bool keep_draw(char kind, const struct asker *who, const void *bytes, size_t length)
{
    struct draw *draw = malloc(sizeof *draw + length);

    if (draw == NULL)
        return false;
    draw->kind = kind;
    draw->who = *who;
    draw->length = length;
    memcpy(draw->bytes, bytes, length);
    draw->next = __atomic_load_n(&draws, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&draws, &draw->next, draw, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
        ;
    return true;
}

/* os.urandom waits for the kernel to have enough entropy; whoever only seeds a
 * generator or a hash table does not, or is another library. */
VISIBLE ssize_t getrandom(void *room, size_t length, unsigned flags)
{
    enum { LONGEST_SEED = 2496 }; /* a Mersenne Twister's */
    ssize_t result;
    struct asker who;
    REAL(getrandom);
    result = real(room, length, flags);
    if (find_asker(&who)) {
        bool by_python = is_python(__builtin_return_address(0));
        char kind = by_python && flags == 0 ? 'n' : 'm';

        if (!by_python || length > LONGEST_SEED || result != (ssize_t)length ||
            !keep_draw(kind, &who, room, length))
            note_asker(kind, &who);
    }
    return result;
}

VISIBLE int getentropy(void *room, size_t length)
{
    REAL(getentropy);
    note_who('m');
    return real(room, length);
}

VISIBLE uid_t getuid(void)
{
    REAL(getuid);
    note_who('u');
    return real();
}

VISIBLE uid_t geteuid(void)
{
    REAL(geteuid);
    note_who('u');
    return real();
}

VISIBLE int isatty(int descriptor)
{
    REAL(isatty);
    if (descriptor >= 0 && descriptor <= 2)
        note_who((char)('0' + descriptor));
    return real(descriptor);
}

VISIBLE char *getcwd(char *room, size_t size)
{
    REAL(getcwd);
    note_who('c');
    return real(room, size);
}

/* --- Audit events --------------------------------------------------------- */

static int hear(const char *event, PyObject *arguments, void *unused)
{
    static const char *const prefixes[] = {
        "os.listdir", "os.scandir", "os.posix_spawn", "os.system", "os.fork", "os.exec", "os.spawn",
        "subprocess.Popen", "pty.spawn", "socket.", "tempfile.mk",
    };
    PyObject *type, *value, *traceback, *name, *result;
    bool wanted = false;

    (void)unused;
    if (journal == -1 || busy)
        return 0;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes && !wanted; i++)
        wanted = strncmp(event, prefixes[i], strlen(prefixes[i])) == 0;
    if (!wanted)
        return 0;
    busy = true;
    py.PyErr_Fetch(&type, &value, &traceback);
    name = py.PyUnicode_FromString(event);
    result = py.PyObject_CallFunctionObjArgs(audit, name, arguments, NULL);
    if (result == NULL)
        py.PyErr_Print(); /* a fault of ours */
    python_drop(result);
    python_drop(name);
    py.PyErr_Restore(type, value, traceback);
    busy = false;
    return 0;
}

/* An audit hook is for ever, says CPython, and makes it describe every event in
 * every program that runs from the image. But the hooks are a list that begins in
 * _PyRuntime, of which an entry is {next, function, argument}: the pointer that a
 * first hook changes, and that leads to such an entry, is the one to change back.
 * If it is not found, as behind somebody else's hook, ours stays and does nothing. */
struct hook_entry {
    struct hook_entry *next;
    int (*function)(const char *, PyObject *, void *);
    void *argument;
};

static struct hook_entry **first_hook;
static bool is_hooked;

/* Whether there is memory at an address that may be anything. */
static bool is_ours(const struct hook_entry *entry)
{
    struct hook_entry copy;
    struct iovec from = {(void *)(uintptr_t)entry, sizeof copy}, to = {&copy, sizeof copy};

    return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)sizeof copy &&
           copy.function == hear && copy.argument == &journal;
}

static void add_hook(void)
{
    struct hook_entry **runtime = dlsym(RTLD_DEFAULT, "_PyRuntime"), **copy = NULL;
    const ElfW(Sym) *symbol = NULL;
    Dl_info info;
    size_t size = 0;

    if (runtime != NULL &&
        dladdr1(runtime, &info, (void **)(void *)&symbol, RTLD_DL_SYMENT) != 0 &&
        symbol != NULL && info.dli_saddr == (void *)runtime)
        size = symbol->st_size / sizeof *runtime;
    copy = malloc(size * sizeof *copy);
    if (copy != NULL)
        memcpy(copy, runtime, size * sizeof *copy);
    is_hooked = py.PySys_AddAuditHook(hear, &journal) == 0;
    for (size_t i = 0; copy != NULL && i < size; i++)
        if (copy[i] == NULL && runtime[i] != NULL && is_ours(runtime[i]))
            first_hook = &runtime[i];
    free(copy);
}

/* The few bytes of the entry stay: only CPython knows how to free them. */
static void take_hook_out(void)
{
    if (first_hook == NULL || *first_hook == NULL || !is_ours(*first_hook))
        return;
    *first_hook = (*first_hook)->next;
    first_hook = NULL;
    is_hooked = false;
}

/* --- Shared libraries ------------------------------------------------------ */

/* In which directories the loader looked for a library before it found it: of those of
 * the object that needs it (RPATH, RUNPATH) and of LD_LIBRARY_PATH. */
static void note_search(void *handle, const char *needed)
{
    Dl_serinfo size, *search;
    char path[PATH_MAX];

    if (strchr(needed, '/') != NULL || dlinfo(handle, RTLD_DI_SERINFOSIZE, &size) != 0)
        return;
    search = malloc(size.dls_size);
    if (search == NULL)
        return;
    *search = size;
    if (dlinfo(handle, RTLD_DI_SERINFOSIZE, search) == 0 &&
        dlinfo(handle, RTLD_DI_SERINFO, search) == 0) {
        for (unsigned i = 0; i < search->dls_cnt; i++) {
            const char *directory = search->dls_serpath[i].dls_name;

            if ((search->dls_serpath[i].dls_flags & LA_SER_DEFAULT) != 0 || directory[0] != '/')
                break;
            snprintf(path, sizeof path, "%s/%s", directory, needed);
            if (syscall(SYS_access, path, F_OK) == 0)
                break;
            note('a', path);
        }
    }
    free(search);
}

/* The libraries that are loaded, by the names under which the loader found them, which may
 * be links; the mappings of the process name what they lead to. */
static void note_libraries(void)
{
    void *self = dlopen(NULL, RTLD_NOW);
    struct link_map *map = NULL;

    if (self == NULL || dlinfo(self, RTLD_DI_LINKMAP, &map) != 0)
        return;
    for (; map != NULL; map = map->l_next) {
        void *handle = map->l_name[0] == '/' ? dlopen(map->l_name, RTLD_NOW | RTLD_NOLOAD) : self;
        const char *names = NULL;

        if (map->l_name[0] == '/')
            note('r', map->l_name);
        for (ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++)
            if (entry->d_tag == DT_STRTAB)
                names = (const char *)entry->d_un.d_ptr;
        for (ElfW(Dyn) *entry = map->l_ld; handle != NULL && names != NULL &&
             entry->d_tag != DT_NULL; entry++)
            if (entry->d_tag == DT_NEEDED)
                note_search(handle, names + entry->d_un.d_val);
        if (handle != NULL && handle != self)
            dlclose(handle);
    }
    dlclose(self);
}

/* --- What an image cannot keep --------------------------------------------- */

static struct {
    mode_t umask;
    int nice;
    sigset_t blocked;
    struct rlimit limits[RLIM_NLIMITS];
} process;

static void read_process(void)
{
    process.umask = umask(0);
    umask(process.umask);
    process.nice = getpriority(PRIO_PROCESS, 0);
    pthread_sigmask(SIG_SETMASK, NULL, &process.blocked);
    for (int i = 0; i < RLIM_NLIMITS; i++)
        getrlimit((__rlimit_resource_t)i, &process.limits[i]);
}

const char *observe_changes(void)
{
    mode_t before = process.umask;
    int nice = process.nice;
    sigset_t blocked = process.blocked;
    struct rlimit limits[RLIM_NLIMITS];

    memcpy(limits, process.limits, sizeof limits);
    read_process();
    for (int number = 1; number < NSIG; number++)
        if (sigismember(&blocked, number) != sigismember(&process.blocked, number))
            return "the mask of blocked signals has been changed";
    return process.umask != before ? "the file mode creation mask has been changed"
           : process.nice != nice  ? "the nice value has been changed"
           : memcmp(limits, process.limits, sizeof limits) != 0 ? "a resource limit has been changed"
                                                                : NULL;
}

/* --- Seeds ---------------------------------------------------------------- */

static PyObject *draw_as_tuple(const struct draw *draw)
{
    const char kind[2] = {draw->kind, '\0'};
    const char *const texts[] = {kind, draw->who.nearest, draw->who.function, draw->who.module};
    PyObject *tuple = py.PyTuple_New(5);

    py.PyTuple_SetItem(tuple, 0,
                       py.PyBytes_FromStringAndSize(draw->bytes, (Py_ssize_t)draw->length));
    for (int i = 0; i < 4; i++)
        py.PyTuple_SetItem(tuple, i + 1, py.PyUnicode_FromString(texts[i]));
    return tuple;
}

PyObject *observe_draws(void)
{
    PyObject *list = py.PyList_New(0);

    busy = true;
    while (draws != NULL) {
        struct draw *draw = draws;
        PyObject *tuple = draw_as_tuple(draw);

        if (tuple == NULL || py.PyList_Append(list, tuple) == -1)
            abort();
        python_drop(tuple);
        draws = draw->next;
        explicit_bzero(draw->bytes, draw->length);
        free(draw);
    }
    return list;
}

void observe_note_draws(PyObject *notes)
{
    for (Py_ssize_t i = 0; i < py.PyList_Size(notes); i++) {
        const char *text = py.PyUnicode_AsUTF8(py.PyList_GetItem(notes, i));

        note(text[0], text + 1);
    }
    python_drop(notes);
    busy = false;
}

/* --- Beginning and end ---------------------------------------------------- */

static char **before;      /* the environment when the recipe began */
static char **set_again;   /* what the image has set: NAME=VALUE, or NAME alone for taken away */
static size_t changes;

static size_t name_length(const char *entry)
{
    return strcspn(entry, "=");
}

static const char *entry_of(char **variables, const char *entry)
{
    size_t length = name_length(entry);

    for (; *variables != NULL; variables++)
        if (name_length(*variables) == length && strncmp(*variables, entry, length) == 0)
            return *variables;
    return NULL;
}

static char **copy_environment(void)
{
    size_t count = 0;
    char **copy;

    while (environ != NULL && environ[count] != NULL)
        count++;
    copy = calloc(count + 1, sizeof *copy);
    for (size_t i = 0; copy != NULL && i < count; i++)
        copy[i] = strdup(environ[i]);
    return copy;
}

static void remember_change(const char *entry)
{
    for (size_t i = 0; i < changes; i++)
        if (name_length(set_again[i]) == name_length(entry) &&
            strncmp(set_again[i], entry, name_length(entry)) == 0) {
            set_again[i] = strdup(entry);
            return;
        }
    set_again = realloc(set_again, (changes + 1) * sizeof *set_again);
    set_again[changes++] = strdup(entry);
}

static void remember_changes(void)
{
    for (char **now = environ; now != NULL && *now != NULL; now++) {
        const char *then = entry_of(before, *now);

        if (then == NULL || strcmp(then, *now) != 0)
            remember_change(*now);
    }
    for (char **then = before; *then != NULL; then++)
        if (entry_of(environ, *then) == NULL) {
            char *name = strndup(*then, name_length(*then));

            remember_change(name);
            free(name);
        }
    for (char **entry = before; *entry != NULL; entry++)
        free(*entry);
    free(before);
    before = NULL;
}

/* A variable that a module sets while it is imported is set in its program. */
void observe_reapply(void)
{
    if (changes > 0)
        environ = copy_environment(); /* the request's own is to stay as it is */
    for (size_t i = 0; i < changes; i++) {
        char *name = strndup(set_again[i], name_length(set_again[i]));

        if (set_again[i][strlen(name)] == '=')
            setenv(name, set_again[i] + strlen(name) + 1, 1);
        else
            unsetenv(name);
        free(name);
    }
}

static void open_journal(void)
{
    journal = memfd_create("pyimg-journal", MFD_CLOEXEC);
    if (journal == -1 || fcntl(journal, F_SETFL, O_APPEND) == -1)
        abort();
}

void observe_start(void)
{
    starting = true;
    open_journal();
}

void observe_begin(PyObject *hook)
{
    if (!starting)
        open_journal();
    starting = false;
    read_process();
    before = copy_environment();
    audit = hook;
    if (!is_hooked)
        add_hook();
    if (before == NULL)
        abort();
}

int observe_end(void)
{
    int finished = journal;

    busy = true;
    note_libraries();
    busy = false;
    journal = -1;
    take_hook_out();
    remember_changes();
    return finished;
}
