/* Becoming the program, and undoing that where anything does not fit.
 *
 * In order: the facts, while the image is mapped; the request, put together from the replay and
 * from what this process has; the records of the run. Up to there everything can be undone, and
 * is, where something is not as it has to be: then the C library begins and the run is looked at
 * anew. Then comes the point of no return, and a list of steps as for any other run
 * (`engine::direct`).
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../../engine/request.h"
#include "first.h"
#include "system.h"

enum {
    LAST_SIGNAL = 64,
    RSEQ_SIGNATURE = 0x53053053, /* of glibc */
    RSEQ_UNREGISTER = 1,
};

/* What is to be undone. */
static struct {
    struct replay *replay;
    bool has_room;
    uint64_t opened; /* files */
    const struct step *mapped; /* up to this step */
    long files[MOST_FILES];
} made;

/* The words of a step whose number is that of `mmap`. */
enum { START, LENGTH, DESCRIPTOR = 4 };

static void undo(void)
{
    for (const struct step *step = made.replay->early; step < made.mapped; step++)
        if (step->number == SYS_mmap)
            CALL(SYS_munmap, step->arguments[START], step->arguments[LENGTH]);
    for (uint64_t i = 0; i < made.opened; i++)
        CALL(SYS_close, made.files[i]);
    if (made.has_room) {
        CALL(SYS_munmap, PLACE, 2 * PAGE);
        CALL(SYS_munmap, ROOM_AT, ROOM_SIZE + ASIDE_SIZE);
    }
}

static bool map(long at, size_t length, int more, long file)
{
    return CALL(SYS_mmap, at, length, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_FIXED_NOREPLACE | more, file, 0) == at;
}

static bool has_state(const struct replay *replay, char *code)
{
    uint64_t blocked = 0;

    CALL(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &blocked, 8);
    if (blocked != replay->blocked)
        return false;
    /* The kernel's code is the same: then so is what comes with it. */
    return replay->code.length == 0
               ? code == NULL
               : code != NULL && same(code, replay->code.at, replay->code.length);
}

static bool has_limits(const struct replay *replay)
{
    struct rlimit memory, data;

    return CALL(SYS_getrlimit, RLIMIT_AS, &memory) == 0 &&
           CALL(SYS_getrlimit, RLIMIT_DATA, &data) == 0 &&
           memory.rlim_cur >= replay->address_space && data.rlim_cur >= replay->data;
}

static bool has_terminals(const struct replay *replay)
{
    char termios[64];

    for (int standard = 0; standard < 3; standard++) {
        if (replay->terminals[standard] == ANY_TERMINAL)
            continue;
        if ((CALL(SYS_ioctl, standard, TCGETS, termios) == 0) != replay->terminals[standard])
            return false;
    }
    return true;
}

/* Whether the image has nothing at this address. */
static bool leaves_free(const struct replay *replay, uint64_t address)
{
    for (const struct step *step = replay->early; step->number == SYS_mmap; step++)
        if (address - step->arguments[START] < step->arguments[LENGTH])
            return false;
    return true;
}

static bool open_files(const struct replay *replay)
{
    struct stat found;

    for (; made.opened < replay->file_count; made.opened++) {
        long file = CALL(SYS_open, replay->files[made.opened], O_RDONLY | O_CLOEXEC, 0);

        if (file < 0)
            return false;
        made.files[made.opened] = file;
        if (made.opened == replay->lock) {
            /* A lock that was replaced has no name any more. */
            if (CALL(SYS_flock, file, LOCK_SH | LOCK_NB) != 0 ||
                CALL(SYS_fstat, file, &found) != 0 || found.st_nlink == 0) {
                CALL(SYS_close, file);
                return false;
            }
        }
    }
    return true;
}

/* Maps and fills the image; descriptors are numbers of the replay's files. */
static bool map_image(const struct replay *replay)
{
    for (const struct step *step = replay->early; step->number != (uint64_t)END; step++) {
        const uint64_t *given = step->arguments;
        uint64_t a = given[0], e = given[DESCRIPTOR];
        uint64_t answer;

        if (step->number == SYS_mmap && e < MOST_FILES)
            e = (uint64_t)made.files[e];
        if (step->number == SYS_preadv)
            a = (uint64_t)made.files[a];
        made.mapped = step;
        answer = (uint64_t)CALL(step->number, a, given[1], given[2], given[3], e, given[5]);
        if (!step->any && answer != step->expected) {
            if (step->number == SYS_mmap && answer < (uint64_t)-4095)
                /* A kernel before 4.17 takes the address for a wish. */
                CALL(SYS_munmap, answer, given[LENGTH]);
            return false;
        }
        made.mapped = step + 1;
    }
    return true;
}

static char *put(char *to, const void *bytes, uint64_t length)
{
    copy(to, bytes, length);
    return to + length;
}

static uint64_t ignored_signals(void)
{
    struct {
        uint64_t handler, flags, restorer, mask;
    } action;
    uint64_t ignored = 0;

    for (int signal = 1; signal <= LAST_SIGNAL; signal++)
        if (CALL(SYS_rt_sigaction, signal, NULL, &action, 8) == 0 && action.handler == 1)
            ignored |= 1ull << (signal - 1);
    return ignored;
}

static void fill_head(const struct replay *replay, struct header *head)
{
    uint32_t words = (uint32_t)(first_seen.argc - first_seen.words);

    head->umask = (uint32_t)CALL(SYS_umask, 0);
    CALL(SYS_umask, head->umask);
    head->ignored = ignored_signals();
    /* The call answers 20 less the value, so as not to answer an error. */
    head->nice = 20 - (int32_t)CALL(SYS_getpriority, PRIO_PROCESS, 0);
    head->argc = replay->argv_count + words;
    head->orig_argc = replay->orig_argv_count + words;
    head->envc = (uint32_t)replay->environment_count;
    head->personality = (uint32_t)CALL(SYS_personality, 0xffffffff);
}

static uint64_t size_of_request(const struct replay *replay)
{
    uint64_t size = replay->head.length + replay->argv.length + replay->orig_argv.length +
                    replay->last.length;

    for (long i = first_seen.words; i < first_seen.argc; i++)
        size += 2 * (length_of(first_seen.argv[i]) + 1);
    for (uint64_t i = 0; i < replay->environment_count; i++)
        size += length_of(VARIABLE(replay, i)) + 1;
    return size;
}

static char *put_words(char *to)
{
    for (long i = first_seen.words; i < first_seen.argc; i++)
        to = put(to, first_seen.argv[i], length_of(first_seen.argv[i]) + 1);
    return to;
}

static const char **put_pointers(const char **to, const char *strings, uint64_t count)
{
    for (; count > 0; count--) {
        *to++ = strings;
        strings += length_of(strings) + 1;
    }
    *to++ = NULL;
    return to;
}

/* The request, and where it is for the woken process and for the rescue. */
static bool put_request(struct replay *replay)
{
    uint64_t words = (uint64_t)first_seen.argc - first_seen.words, size = size_of_request(replay);
    uint64_t pointers = replay->orig_argv_count + words + replay->environment_count + 2;
    char *start = (char *)ROOM_AT, *to = start;
    const char *orig_argv, *environment, **list, **rest;

    if (size + pointers * sizeof(char *) + 16 > ROOM_SIZE)
        return false;
    to = put(to, replay->head.at, replay->head.length);
    to = put_words(put(to, replay->argv.at, replay->argv.length));
    orig_argv = to;
    to = put_words(put(to, replay->orig_argv.at, replay->orig_argv.length));
    environment = to;
    for (uint64_t i = 0; i < replay->environment_count; i++)
        to = put(to, VARIABLE(replay, i), length_of(VARIABLE(replay, i)) + 1);
    to = put(to, replay->last.at, replay->last.length);
    fill_head(replay, (struct header *)start);
    replay->request[0] = (uint64_t)start;
    replay->request[1] = (uint64_t)(to - start);

    list = (const char **)(((uintptr_t)to + 15) & ~15ull);
    rest = put_pointers(list, orig_argv, replay->orig_argv_count + words);
    put_pointers(rest, environment, replay->environment_count);
    for (struct step *step = replay->rescue; step->number != (uint64_t)END; step++)
        if (step->number == SYS_execve) {
            if (step->arguments[0] != 0)
                step->arguments[0] = (uint64_t)orig_argv;
            step->arguments[1] = (uint64_t)list;
            step->arguments[2] = (uint64_t)rest;
        }
    return true;
}

/* What of the last steps is not the same each time: where the kernel's pages are, and the
 * numbers of descriptors. */
static void fill_late(struct replay *replay, char *code)
{
    for (uint32_t i = 0; i < replay->parts; i++)
        replay->late[i].arguments[0] = (uint64_t)(code + replay->part[i].from);
    for (uint64_t i = 0; i < replay->file_count; i++)
        replay->closes[i].arguments[0] = (uint64_t)made.files[i];
    if (replay->executable != NULL)
        *replay->executable = (uint32_t)made.files[replay->executable_file];
}

/* The dynamic linker, if there was one, has told the kernel of memory that is about to go. */
static bool leave_rseq(void)
{
    extern const ptrdiff_t __rseq_offset;
    extern const unsigned __rseq_size;
    uint64_t thread, length = (__rseq_size + 31) & ~31u;

    if (__rseq_size == 0)
        return true;
    __asm__("mov %%fs:0, %0" : "=r"(thread));
    return CALL(SYS_rseq, thread + (uint64_t)__rseq_offset, length < 32 ? 32 : length,
                RSEQ_UNREGISTER, RSEQ_SIGNATURE) == 0;
}

extern const char pyimg_steps_begin[], pyimg_steps_end[];

static bool put_code(void)
{
    copy((char *)PLACE, pyimg_steps_begin, (size_t)(pyimg_steps_end - pyimg_steps_begin));
    return CALL(SYS_mprotect, PLACE, PAGE, PROT_READ | PROT_EXEC) == 0;
}

/* Everything that can be undone. */
static bool prepare(struct replay *replay, char *code)
{
    bool is_ready;

    if (!has_state(replay, code) || !has_limits(replay) || !has_terminals(replay))
        return false;
    /* One run in a hundred has its stack where the image has something. All else of the kind is
     * found when it is mapped. */
    if (!leaves_free(replay, (uint64_t)first_seen.argv) || !leaves_free(replay, (uint64_t)code))
        return false;
    made.has_room = map(PLACE, 2 * PAGE, MAP_ANONYMOUS, -1) &&
                    map(ROOM_AT, ROOM_SIZE + ASIDE_SIZE, MAP_ANONYMOUS, -1);
    if (!made.has_room || !open_files(replay))
        return false;
    facts_begin(replay);
    trace_reached("opened");
    is_ready = map_image(replay);
    trace_reached("mapped");
    is_ready = is_ready && put_request(replay) && put_code();
    trace_reached("requested");
    if (!facts_end() || !is_ready)
        return false;
    trace_reached("facts");
    fill_late(replay, code);
    return leave_rseq();
}

void replay_become(struct replay *replay, char *code)
{
    uint64_t all = ~0ull;

    made.replay = replay;
    made.mapped = replay->early;
    if (!prepare(replay, code)) {
        undo();
        return;
    }
    replay_record(replay);
    trace_print(replay->outcome);
    CALL(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
    /* ---- The point of no return. ---- */
    __asm__ volatile("mov %0, %%r12\n\t"
                     "mov %1, %%r13\n\t"
                     "mov %2, %%r14\n\t"
                     "jmp *%3"
                     :
                     : "r"(replay->late), "r"(replay->rescue), "r"(PLACE + 2 * PAGE), "r"(PLACE)
                     : "r12", "r13", "r14", "memory");
    __builtin_unreachable();
}
