/* How the library gets in, and how it stays out of everybody else's way.
 *
 * Without PYIMG_PARK it does nothing at all. With it, the constructor takes its
 * own traces out of the environment before Python reads it, so that neither
 * Python nor the processes that a recipe starts can see them. CPython's main
 * then initialises the interpreter, finds the script's sys.path entry, and
 * opens the script: the library stands in front of fopen and knows the path.
 * At that point no Python frame is on the stack.
 */
#include "observe.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <unistd.h>

struct origin origin;
struct image image;

static char *copy_variable(const char *name)
{
    const char *value = getenv(name);

    return value == NULL ? NULL : strdup(value);
}

/* LD_PRELOAD is "<this library>" or "<this library>:<what the user had>". */
static void restore_preload(void)
{
    const char *preload = getenv("LD_PRELOAD");
    const char *rest = preload == NULL ? NULL : strchr(preload, ':');

    if (rest != NULL && rest[1] != '\0') {
        char *previous = strdup(rest + 1);

        setenv("LD_PRELOAD", previous, 1);
        free(previous);
    } else {
        unsetenv("LD_PRELOAD");
    }
}

static void remember_locale(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    const char *found = NULL;

    for (int i = 0; i < 3 && found == NULL; i++) {
        const char *value = getenv(names[i]);

        if (value != NULL && value[0] != '\0') {
            found = value;
            origin.locale_by_lc_all = i == 0;
        }
    }
    if (found == NULL || strcmp(found, "POSIX") == 0)
        found = "C";
    origin.locale = strdup(found);
    origin.lc_ctype = copy_variable("LC_CTYPE");
}

static void remember_signals(void)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;

        if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
            origin.ignored |= UINT64_C(1) << (number - 1);
    }
}

__attribute__((constructor)) static void library_loaded(void)
{
    char *variable = copy_variable("PYIMG_PARK");
    int used = 0;

    if (variable == NULL)
        return;
    unsetenv("PYIMG_PARK");
    restore_preload();
    if (sscanf(variable, "%d,%d,%n", &origin.socket, &origin.script, &used) == 2 && used > 0) {
        int persona = personality(0xffffffff);

        /* A build that is killed leaves nobody behind, until parking. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        fcntl(origin.socket, F_SETFD, FD_CLOEXEC);
        fcntl(origin.script, F_SETFD, FD_CLOEXEC);
        /* This process keeps its fixed addresses; those it starts get random ones. */
        if (persona != -1)
            personality((unsigned long)persona & ~(unsigned long)ADDR_NO_RANDOMIZE);
        remember_locale();
        remember_signals();
        origin.zone = copy_variable("TZ");
        origin.sentinel = strdup(variable + used);
        observe_start();
    }
    free(variable);
}

typedef FILE *opener(const char *path, const char *mode);

static FILE *open_file(const char *function, opener **real, const char *path, const char *mode)
{
    if (*real == NULL)
        *real = (opener *)dlsym(RTLD_NEXT, function);
    if (origin.sentinel != NULL && path != NULL && strcmp(path, origin.sentinel) == 0)
        capture();
    return observe_fopen(path, mode, (*real)(path, mode));
}

__attribute__((visibility("default"))) FILE *fopen(const char *path, const char *mode)
{
    static opener *real;

    return open_file("fopen", &real, path, mode);
}

__attribute__((visibility("default"))) FILE *fopen64(const char *path, const char *mode)
{
    static opener *real;

    return open_file("fopen64", &real, path, mode);
}

static int (*main_of_python)(int, char **, char **);

static int main_with_handler(int argc, char **argv, char **variables)
{
    leave_first();
    return main_of_python(argc, argv, variables);
}

typedef int starter(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void),
                    void (*)(void), void *);

/* Between the C library's own preparations and main is the only place where an
 * exit handler can be registered that runs after all others, but before the
 * loader's. */
__attribute__((visibility("default"))) int
__libc_start_main(int (*program)(int, char **, char **), int argc, char **argv,
                  void (*init)(void), void (*fini)(void), void (*loader_fini)(void), void *stack)
{
    starter *real = (starter *)dlsym(RTLD_NEXT, "__libc_start_main");

    if (origin.sentinel != NULL) {
        main_of_python = program;
        program = main_with_handler;
    }
    return real(program, argc, argv, init, fini, loader_fini, stack);
}

/* OpenSSL's exit handler frees what it has, table by table, in every process:
 * with an image that costs more than all else at the end. It does nothing but
 * free memory, so before parking it is not registered. */
__attribute__((visibility("default"))) int __cxa_atexit(void (*function)(void *), void *argument,
                                                        void *library)
{
    static int (*real)(void (*)(void *), void *, void *);
    Dl_info info;

    if (real == NULL)
        real = (int (*)(void (*)(void *), void *, void *))dlsym(RTLD_NEXT, "__cxa_atexit");
    leave_note_handler(function, argument);
    if (image.inside == NULL && origin.socket > 0 && dladdr((void *)function, &info) != 0 &&
        info.dli_sname != NULL && strcmp(info.dli_sname, "OPENSSL_cleanup") == 0)
        return 0;
    return real(function, argument, library);
}
