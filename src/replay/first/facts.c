/* Whether all that a replay relies upon is as it was: some thousand `stat`, looked at by two
 * threads, place by place, each by whoever comes first. As fact.rs and survey.rs have it.
 *
 * The second thread has no thread-local storage, no signal mask of its own and no more stack
 * than it needs. It is sent to another processor by the one that starts it: some kernels let a
 * new thread wait behind that one for as long as it has work.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/stat.h>

#include "first.h"
#include "system.h"

/* A thread costs some 150 us, also by what the kernel has to tell another processor after that: as
 * much as so many facts. */
enum { STACK = 16384, LONGEST = 4096, FEW = 4, SET = 1024 / 64, WORTH_A_THREAD = 400 };

static struct {
    const struct replay *replay;
    uint64_t next;      /* place, counted from 1; before them the processor */
    bool changed;
    bool is_there;      /* the other thread was started */
    uint32_t begun;
    uint32_t id;        /* of it; cleared by the kernel when it has ended */
    uint64_t processors[SET];
} survey;

static char stack[STACK] __attribute__((aligned(16)));

static int64_t nanoseconds(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static bool is_gone(long answer)
{
    return answer == -ENOENT || answer == -ENOTDIR;
}

static bool holds(const struct fact *fact, long directory, const char *path)
{
    bool link = fact->kind == IS_LINK || fact->kind == IS_ABSENT;
    struct stat found;
    long answer =
        CALL(SYS_newfstatat, directory, path, &found, link ? AT_SYMLINK_NOFOLLOW : 0);
    bool is_same;

    if (fact->kind == IS_ABSENT)
        return is_gone(answer);
    if (fact->kind == IS_DIRECTORY && fact->inode == 0)
        return answer != 0;
    if (answer != 0)
        return false;
    is_same = found.st_ino == fact->inode;
    if (fact->kind != IS_DIRECTORY)
        is_same &= found.st_size == fact->size;
    if (fact->kind != IS_INODE)
        is_same &= nanoseconds(&found.st_mtim) == fact->modified &&
                   nanoseconds(&found.st_ctim) == fact->changed;
    return fact->kind == IS_PRESENT || is_same;
}

static bool all_hold(const struct place *place)
{
    const struct fact *fact = survey.replay->facts + place->first, *end = fact + place->count;
    const char *names = (const char *)survey.replay;
    char path[LONGEST];
    size_t length = length_of(place->path);
    long directory = AT_FDCWD;
    bool held = true;

    if (length + 2 > LONGEST)
        return false;
    copy(path, place->path, length);
    if (length > 0 && path[length - 1] != '/')
        path[length++] = '/';
    if (place->count > FEW) {
        directory = CALL(SYS_open, place->path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
        if (directory < 0)
            directory = AT_FDCWD;
    }
    for (; held && fact < end; fact++) {
        const char *name = names + fact->name;
        size_t more = length_of(name) + 1;

        if (directory != AT_FDCWD) {
            held = holds(fact, directory, name);
            continue;
        }
        if (length + more > LONGEST)
            held = false;
        copy(path + length, name, held ? more : 0);
        held = held && holds(fact, AT_FDCWD, path);
    }
    if (directory != AT_FDCWD)
        CALL(SYS_close, directory);
    return held;
}

void facts_processor(uint32_t words[PROCESSOR])
{
    static const uint32_t leaves[2] = {1, 7};

    for (int i = 0; i < 2; i++, words += 4) {
        words[0] = leaves[i], words[2] = 0;
        __asm__("cpuid" : "+a"(words[0]), "=b"(words[1]), "+c"(words[2]), "=d"(words[3]));
        if (i == 0)
            words[1] = 0; /* the number of the core that answers */
    }
}

/* A machine may be moved to another one while it runs. To ask takes some 50 us in a virtual
 * machine. */
static bool is_same_processor(void)
{
    uint32_t words[PROCESSOR];

    if (survey.replay->execute != NULL)
        return true; /* it is to look itself */
    facts_processor(words);
    return same((char *)words, (const char *)survey.replay->processor, sizeof words);
}

static void look(void)
{
    for (;;) {
        uint64_t number = __atomic_fetch_add(&survey.next, 1, __ATOMIC_RELAXED);

        if (number > survey.replay->place_count ||
            __atomic_load_n(&survey.changed, __ATOMIC_RELAXED))
            return;
        if (number == 0 ? !is_same_processor() : !all_hold(survey.replay->places + number - 1))
            __atomic_store_n(&survey.changed, true, __ATOMIC_RELAXED);
    }
}

static __attribute__((used)) void facts_thread(void)
{
    __atomic_store_n(&survey.begun, 1, __ATOMIC_RELAXED);
    look();
}

static long start_thread(void)
{
    unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                          CLONE_SYSVSEM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    long result;
    register uint32_t *cleared __asm__("r10") = &survey.id;
    register long storage __asm__("r8") = 0;

    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "call facts_thread\n\t"
                     "mov %[exit], %%eax\n\t"
                     "xor %%edi, %%edi\n\t"
                     "syscall\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "0"((long)SYS_clone), "D"(flags), "S"(stack + sizeof stack), "d"(&survey.id),
                       "r"(cleared), "r"(storage), [exit] "i"(SYS_exit)
                     : "rcx", "r11", "memory");
    return result;
}

/* The processors that this one may use without that which it is on; false if there are none. */
static bool others(uint64_t *set)
{
    uint32_t here = 0;
    uint64_t any = 0;
    long size;

    size = CALL(SYS_sched_getaffinity, 0, sizeof survey.processors, survey.processors);
    if (size <= 0 || CALL(SYS_getcpu, &here, 0, 0) != 0 || here >= SET * 64)
        return false;
    copy(set, survey.processors, sizeof survey.processors);
    set[here / 64] &= ~(1ull << here % 64);
    for (int i = 0; i < SET; i++)
        any |= set[i];
    return any != 0;
}

void facts_begin(const struct replay *replay)
{
    uint64_t set[SET];
    long id;

    survey.replay = replay;
    if (replay->fact_count < WORTH_A_THREAD || !others(set))
        return;
    id = start_thread();
    if (id <= 0)
        return;
    survey.is_there = true;
    CALL(SYS_sched_setaffinity, id, sizeof set, set);
}

/* The kernel says that a thread has ended a little before it is gone, and a program may ask. */
static void await_gone(void)
{
    enum { LOOKS = 10000 };
    struct stat found;

    for (int i = 0; i < LOOKS; i++) {
        /* A link for each thread, and the two of any directory. */
        if (CALL(SYS_stat, "/proc/self/task", &found) != 0 || found.st_nlink <= 3)
            return;
        CALL(SYS_sched_yield);
    }
}

bool facts_hold(const struct replay *replay)
{
    survey.replay = replay;
    return facts_end();
}

bool facts_end(void)
{
    uint32_t id;

    look();
    if (survey.is_there && !__atomic_load_n(&survey.begun, __ATOMIC_RELAXED))
        /* The others are busy, and this one is about to wait. */
        CALL(SYS_sched_setaffinity, survey.id, sizeof survey.processors, survey.processors);
    while (survey.is_there && (id = __atomic_load_n(&survey.id, __ATOMIC_ACQUIRE)) != 0)
        CALL(SYS_futex, &survey.id, FUTEX_WAIT, id, 0, 0, 0);
    if (survey.is_there)
        await_gone();
    survey.is_there = false;
    return !survey.changed;
}
