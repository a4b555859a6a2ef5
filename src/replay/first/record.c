/* What is noted of a run, as for any other (remembered.rs); nobody is told where it fails.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "first.h"
#include "system.h"

enum { DIGITS = 20, MOST_OF_LOG = 8 << 20 /* as runs.rs has it */ };

static void put_decimal(char *to, uint64_t number)
{
    for (int i = DIGITS - 1; i >= 0; i--) {
        to[i] = number > 0 || i == DIGITS - 1 ? (char)('0' + number % 10) : ' ';
        number /= 10;
    }
}

static void add_to(const char *path, const char *text, uint64_t length, int flags)
{
    long file = CALL(SYS_open, path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags,
                     0600);
    struct stat found;

    if (file < 0)
        return;
    if (CALL(SYS_fstat, file, &found) == 0 && replay_is_trusted(&found) && found.st_size <= MOST_OF_LOG) {
        if ((found.st_mode & 07777) != 0600)
            CALL(SYS_fchmod, file, 0600);
        CALL(SYS_write, file, text, length);
    }
    CALL(SYS_close, file);
}

/* Where nobody reads it, that must not end the program. */
void replay_say(const char *text, uint64_t length)
{
    struct {
        uint64_t handler, flags, restorer, mask;
    } ignore = {.handler = 1}, before;

    if (length == 0 || CALL(SYS_rt_sigaction, SIGPIPE, &ignore, &before, 8) != 0)
        return;
    CALL(SYS_write, 2, text, length);
    CALL(SYS_rt_sigaction, SIGPIPE, &before, NULL, 8);
}

void replay_record(struct replay *replay)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
    uint64_t took = time_of(CLOCK_MONOTONIC) - first_seen.began;

    put_decimal((char *)replay->line.at + replay->time_at, time_of(CLOCK_REALTIME) - took);
    if (replay->took_at != 0)
        put_decimal((char *)replay->line.at + replay->took_at, took);
    add_to(replay->log, replay->line.at, replay->line.length, O_CREAT);
    add_to(replay->uses, ".", 1, 0);
    CALL(SYS_utimensat, AT_FDCWD, replay->program, times, AT_SYMLINK_NOFOLLOW);
    replay_say(replay->said.at, replay->said.length);
}
