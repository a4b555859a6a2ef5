/* What the kernel and the C library know of a process, made the caller's.
 *
 * Everything here is either done completely or answered with `failed`: a
 * program must not run with half of its caller's surroundings. What Python
 * itself keeps (os.environ, sys.argv, the streams, signal handlers) is not done
 * here but in inside/.
 */
#include "observe.h"

#include <errno.h>
#include <langinfo.h>
#include <linux/prctl.h>
#include <locale.h>
#include <pthread.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static struct {
    struct prctl_mm_map memory; /* as parked; a restored process has the same */
    bool memory_known;
    struct timespec zone_file;  /* mtime of /etc/localtime */
    char codeset[64];
    rlim_t stack;
} parked;

static bool zone_changed;

static struct timespec zone_file_time(void)
{
    struct stat status;

    if (stat("/etc/localtime", &status) == -1)
        return (struct timespec){0};
    return status.st_mtim;
}

/* The kernel has no call that reads these values back, only /proc. */
static void remember_memory(void)
{
    char text[4096];
    char *field;
    unsigned long long value[53] = {0};
    FILE *stat_file = fopen("/proc/self/stat", "r");
    size_t length = stat_file == NULL ? 0 : fread(text, 1, sizeof text - 1, stat_file);

    if (stat_file != NULL)
        fclose(stat_file);
    text[length] = '\0';
    field = strrchr(text, ')'); /* ends field 2, which may hold anything */
    if (field == NULL)
        return;
    field += 4; /* behind field 3, a letter */
    for (int i = 4; i < 53; i++)
        value[i] = strtoull(field, &field, 10);
    parked.memory.start_code = value[26];
    parked.memory.end_code = value[27];
    parked.memory.start_stack = value[28];
    parked.memory.start_data = value[45];
    parked.memory.end_data = value[46];
    parked.memory.start_brk = value[47];
    parked.memory.exe_fd = (__u32)-1;
    parked.memory_known = value[26] > 1 && value[47] != 0;
}

void duties_remember(void)
{
    struct rlimit stack;

    remember_memory();
    parked.zone_file = zone_file_time();
    snprintf(parked.codeset, sizeof parked.codeset, "%s", nl_langinfo(CODESET));
    if (getrlimit(RLIMIT_STACK, &stack) == 0)
        parked.stack = stack.rlim_cur;
}

/* A launcher that dies takes its program with it. */
static void bind_to_supervisor(const struct header *head)
{
    if (head->pdeathsig != 0 && prctl(PR_SET_PDEATHSIG, head->pdeathsig) == -1)
        gate_fail("cannot set the parent death signal: %s", strerror(errno));
    if (head->supervisor != 0 && getppid() != head->supervisor)
        gate_fail("the parent is %d, not the launcher %d", getppid(), head->supervisor);
}

/* glibc keeps each thread's id where the kernel was told to clear it. */
static void renew_thread_ids(const struct request *request)
{
    int *own = NULL;

    if (prctl(PR_GET_TID_ADDRESS, &own, 0, 0, 0) == 0 && own != NULL)
        *own = (int)syscall(SYS_gettid);
    for (uint32_t i = 0; i < request->head.ntids; i++) {
        struct tid tid = request->tids[i];

        memcpy((void *)(uintptr_t)tid.address, &tid.value, sizeof tid.value);
    }
}

/* glibc derives the stack size of new threads from RLIMIT_STACK, once, at start. */
static void adapt_thread_stacks(void)
{
    pthread_attr_t attributes;
    struct rlimit limit;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t size;

    if (getrlimit(RLIMIT_STACK, &limit) == -1 || limit.rlim_cur == parked.stack ||
        pthread_getattr_default_np(&attributes) != 0)
        return;
    size = limit.rlim_cur == RLIM_INFINITY ? 2u << 20 : (size_t)limit.rlim_cur;
    if (size < 16384)
        size = 16384;
    size = (size + page - 1) / page * page;
    if (pthread_attr_setstacksize(&attributes, size) == 0)
        pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
}

static void set_limits(const struct request *request)
{
    for (uint32_t i = 0; i < request->head.nlimits && i < RLIM_NLIMITS; i++) {
        struct rlimit wanted = {request->limits[i].soft, request->limits[i].hard};
        struct rlimit now;

        if (getrlimit((__rlimit_resource_t)i, &now) == -1)
            gate_fail("cannot read limit %u: %s", i, strerror(errno));
        if ((now.rlim_cur != wanted.rlim_cur || now.rlim_max != wanted.rlim_max) &&
            setrlimit((__rlimit_resource_t)i, &wanted) == -1)
            gate_fail("cannot set limit %u: %s", i, strerror(errno));
    }
}

static void set_nice(const struct request *request)
{
    errno = 0;
    if (getpriority(PRIO_PROCESS, 0) == request->head.nice && errno == 0)
        return;
    if (setpriority(PRIO_PROCESS, 0, request->head.nice) == -1)
        gate_fail("cannot set the nice value %d: %s", request->head.nice, strerror(errno));
    for (uint32_t i = 0; i < request->head.ntids; i++)
        setpriority(PRIO_PROCESS, request->tids[i].value, request->head.nice);
}

static void set_personality(const struct request *request)
{
    int now = personality(0xffffffff);

    if (now != -1 && (uint32_t)now != request->head.personality &&
        personality(request->head.personality) == -1)
        gate_fail("cannot set the personality: %s", strerror(errno));
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value == NULL || value[0] == '\0' ? NULL : value;
}

/* The C library keeps two signals to itself and lets nobody set them, but starts
 * programs with both ignored (posix_spawn, so make and others do). Where it has
 * not come to need a handler here, they are to be as the caller has them. */
static void adopt_internal_signals(uint64_t ignored)
{
    for (int number = 32; number < SIGRTMIN; number++) {
        struct { uint64_t handler, flags, restorer, mask; } action = {0}; /* the kernel's */
        uint64_t wanted = ignored >> (number - 1) & 1 ? (uint64_t)SIG_IGN : (uint64_t)SIG_DFL;

        if (syscall(SYS_rt_sigaction, number, NULL, &action, sizeof action.mask) == -1 ||
            action.handler > (uint64_t)SIG_IGN || action.handler == wanted)
            continue;
        action.handler = wanted;
        syscall(SYS_rt_sigaction, number, &action, NULL, sizeof action.mask);
    }
}

/* Python's encodings, its UTF-8 mode and the streams' error handlers were
 * chosen by the locale at start-up: another locale passes only if it would have
 * led to the same choice. */
static void adopt_locale(void)
{
    const char *by_lc_all = variable("LC_ALL");
    const char *name = by_lc_all                ? by_lc_all
                       : variable("LC_CTYPE")   ? variable("LC_CTYPE")
                       : variable("LANG")       ? variable("LANG")
                                                : "C";

    if (strcmp(name, "POSIX") == 0)
        name = "C";
    if (strcmp(name, origin.locale) != 0) {
        static const char *const special[] = {"C", "C.UTF-8", "C.utf8", "UTF-8"};

        for (size_t i = 0; i < sizeof special / sizeof *special; i++)
            if (strcmp(name, special[i]) == 0 || strcmp(origin.locale, special[i]) == 0)
                gate_fail("the locale is %s, the image was made under %s", name, origin.locale);
        if (image.coerced_lc_ctype != NULL || setlocale(LC_CTYPE, "") == NULL ||
            strcmp(nl_langinfo(CODESET), parked.codeset) != 0)
            gate_fail("the locale is %s, the image was made under %s", name, origin.locale);
    } else if ((image.coerced_lc_ctype != NULL || strcmp(name, "C") == 0) &&
               (by_lc_all != NULL) != origin.locale_by_lc_all) {
        gate_fail("LC_ALL decides the locale on one side only");
    }
    if (image.coerced_lc_ctype != NULL)
        setenv("LC_CTYPE", image.coerced_lc_ctype, 1);
}

bool duties_zone_changed(void)
{
    return zone_changed;
}

static void adopt_zone(void)
{
    const char *zone = getenv("TZ");
    struct timespec file = zone_file_time();

    zone_changed = (zone == NULL) != (origin.zone == NULL) ||
                   (zone != NULL && strcmp(zone, origin.zone) != 0) ||
                   file.tv_sec != parked.zone_file.tv_sec ||
                   file.tv_nsec != parked.zone_file.tv_nsec;
    if (zone_changed)
        tzset();
}

/* ps and /proc/self/{cmdline,environ} show the caller's words. A kernel or a
 * sandbox that does not allow it leaves the build's: not worth a miss. */
static void show_command_line(const struct request *request)
{
    struct prctl_mm_map map = parked.memory;
    uintptr_t middle;

    if (!parked.memory_known || request->head.orig_argc == 0)
        return;
    middle = request->head.envc ? (uintptr_t)request->environment[0] : (uintptr_t)request->end;
    map.brk = (uintptr_t)sbrk(0);
    map.arg_start = (uintptr_t)request->orig_argv[0];
    map.arg_end = middle;
    map.env_start = middle;
    map.env_end = (uintptr_t)request->end;
    prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0);
}

/* C code of an import may have written through a C stream, which then remembers
 * what it was connected to. */
static void renew_c_streams(void)
{
    FILE *const written[] = {stdout, stderr};

    clearerr(stdin);
    for (int i = 0; i < 2; i++) {
        clearerr(written[i]);
        if (__fbufsize(written[i]) > 1)
            setvbuf(written[i], NULL, isatty(i + 1) ? _IOLBF : _IOFBF, BUFSIZ);
    }
}

/* What a process has that is another one than the caller's own. */
static void take_over(struct request *request)
{
    bind_to_supervisor(&request->head);
    descriptors_place(request);
    if (chdir(request->cwd) == -1)
        gate_fail("cannot enter %s: %s", request->cwd, strerror(errno));
    umask(request->head.umask);
    set_limits(request);
    set_nice(request);
    set_personality(request);
}

void duties_process(struct request *request)
{
    struct stat status;

    renew_thread_ids(request);
    if (!(request->head.flags & FLAG_IN_PLACE))
        take_over(request);
    if (fstat(0, &status) == 0 && S_ISDIR(status.st_mode))
        gate_fail("standard input is a directory");
    adapt_thread_stacks();
    adopt_internal_signals(request->head.ignored);
    environ = request->environment;
    observe_reapply();
    adopt_locale();
    adopt_zone();
    show_command_line(request);
    renew_c_streams();
}

/* What the next waking compares with. */
void duties_keep(const struct request *request)
{
    const char *zone = getenv("TZ");

    origin.ignored = request->head.ignored;
    free(origin.zone);
    origin.zone = zone == NULL ? NULL : strdup(zone);
}

void duties_signal_mask(const struct request *request)
{
    sigset_t mask;

    sigemptyset(&mask);
    for (int number = 1; number < NSIG; number++)
        if (request->head.blocked >> (number - 1) & 1)
            sigaddset(&mask, number);
    pthread_sigmask(SIG_SETMASK, &mask, NULL); /* fails for no mask at all */
}
