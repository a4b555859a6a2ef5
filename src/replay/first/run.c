/* A replay, read: it must be whole, of this moment and our own. What it comes to is plain Python,
 * or an image.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "first.h"
#include "system.h"

enum { BEFORE = 24 /* bytes that the checksum is not of */ };

const uint64_t first_replay_size = sizeof(struct replay);
/* Of all that decides what a replay looks like: see build.rs. */
const uint64_t first_replay_magic = REPLAY_MAGIC;

bool replay_is_trusted(const struct stat *found)
{
    uint32_t owner = found->st_uid;

    return S_ISREG(found->st_mode) && (found->st_mode & 022) == 0 &&
           (owner == 0 || owner == (uint32_t)CALL(SYS_geteuid));
}

static struct replay *load(const char *path)
{
    long file = CALL(SYS_open, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);
    struct replay *replay = NULL;
    struct stat found;
    uint64_t length;

    if (file < 0)
        return NULL;
    if (CALL(SYS_fstat, file, &found) == 0 && replay_is_trusted(&found) &&
        (uint64_t)found.st_size >= sizeof *replay && (uint64_t)found.st_size < ROOM_AT - FILE_AT &&
        CALL(SYS_mmap, FILE_AT, found.st_size, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_FIXED_NOREPLACE, file, 0) == (long)FILE_AT) {
        length = (uint64_t)found.st_size;
        replay = (struct replay *)FILE_AT;
        if (replay->magic != first_replay_magic || replay->length != length || length % 32 != BEFORE ||
            replay->checksum != replay_checksum((char *)replay + BEFORE, length - BEFORE)) {
            CALL(SYS_munmap, FILE_AT, length);
            replay = NULL;
        }
    }
    CALL(SYS_close, file);
    return replay;
}

/* pyenv's hook looks for it (see pyenv.rs). */
static bool has_pip(void)
{
    for (long i = first_seen.words; i < first_seen.argc; i++)
        for (const char *at = first_seen.argv[i]; *at != '\0'; at++)
            if (after(at, "pip") != NULL)
                return true;
    return false;
}

static bool is_of_this_moment(const struct replay *replay)
{
    uint64_t time = time_of(CLOCK_REALTIME);
    struct rlimit size;

    /* The log of runs would be limited as well. */
    return time >= replay->not_before && time < replay->not_after &&
           CALL(SYS_getrlimit, RLIMIT_FSIZE, &size) == 0 && size.rlim_cur == RLIM_INFINITY &&
           ((replay->flags & NO_PIP) == 0 || !has_pip());
}

/* Plain Python with the same arguments. */
static void execute(struct replay *replay)
{
    uint64_t words = (uint64_t)first_seen.argc - first_seen.words;
    uint64_t count = replay->orig_argv_count + words + replay->environment_count + 2;
    const char *text = replay->orig_argv.at, **argv, **to;
    long memory;

    if (!facts_hold(replay))
        return;
    trace_reached("facts");
    memory = CALL(SYS_mmap, NULL, count * sizeof(char *), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -PAGE)
        return;
    to = argv = (const char **)memory;
    for (uint32_t i = 0; i < replay->orig_argv_count; i++) {
        *to++ = text;
        text += length_of(text) + 1;
    }
    for (uint64_t i = 0; i < words; i++)
        *to++ = first_seen.argv[first_seen.words + i];
    *to++ = NULL;
    replay_record(replay);
    trace_print(replay->outcome);
    for (uint64_t i = 0; i < replay->environment_count; i++)
        to[i] = VARIABLE(replay, i);
    CALL(SYS_execve, replay->execute, argv, to);
    CALL(SYS_munmap, memory, count * sizeof(char *));
}

void replay_run(const char *path, char *code)
{
    struct replay *replay = load(path);

    if (replay == NULL)
        return;
    trace_reached("replay");
    if (is_of_this_moment(replay)) {
        if (replay->execute != NULL)
            execute(replay);
        else
            replay_become(replay, code);
    }
    CALL(SYS_munmap, replay, replay->length);
}
