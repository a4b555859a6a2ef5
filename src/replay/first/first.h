/* What pyrun does before its C library: it looks for a replay and makes it.
 *
 * The C library's own start takes more time than all that a run has to do which is like one
 * before: about ninety CPUID instructions, each a trap in a virtual machine. So the binary
 * begins here (`first_start` is its entry), without a C library. Is there no replay of this
 * very run, or does anything not fit, nothing has happened, and the C library begins as if
 * it had been the first.
 *
 *   start.c    the entry; which run this is, and where its replay would be
 *   words.c    where on the command line the program is
 *   facts.c    whether everything is as it was, looked at by two threads
 *   run.c      a replay, read: plain Python, or
 *   become.c   the image, mapped; the request, put together; the point of no return
 *   record.c   what is noted of a run
 *   key.c      SipHash
 *   trace.c    when it reached what, for benchmarks
 *   system.h   system calls
 *
 * No constructor has run, no relocation that a C library makes has been made, and there is no
 * thread-local storage: nothing may be called that is not here, and nothing may refer to an
 * address in its initialised data. `src/replay/file.rs` has the same structures.
 */
#ifndef FIRST_H
#define FIRST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#pragma GCC visibility push(hidden)

enum { PAGE = 4096, MOST_FILES = 256, MOST_PARTS = 4, NAME = 32, PROCESSOR = 8 };

/* Where a replay is mapped: see file.rs. */
#define PLACE 0x200000000000ull
#define FILE_AT (PLACE + 2 * PAGE)
#define ROOM_AT (PLACE + (4ull << 20))
#define ROOM_SIZE (512ull << 10)
#define ASIDE_SIZE (512ull << 10)

/* The strings of the environment, in order: most are the process's own. */
#define VARIABLE(replay, number) \
    ((replay)->environment[number] < first_seen.environment_count \
         ? first_seen.environment[(replay)->environment[number]] \
         : (const char *)(replay)->environment[number])

/* Pointers are addresses where the replay is mapped. */
struct bytes {
    const char *at;
    uint64_t length;
};

/* A system call: number, six arguments, the answer that it has to give, what else. */
struct step {
    uint64_t number, arguments[6], expected, any;
};

enum { END = -1 };

struct fact {
    uint32_t name, kind; /* the name: bytes from the beginning of the file */
    int64_t size, modified, changed;
    uint64_t inode;
};

enum { IS_FILE, IS_LINK, IS_PRESENT, IS_ABSENT, IS_DIRECTORY, IS_INODE };

struct place {
    const char *path;
    uint32_t first, count; /* facts */
};

struct part {
    int64_t from; /* of what the kernel provides: where, from its code on */
    uint64_t size;
};

enum { ANY_TERMINAL = 2, NO_PIP = 1 };

struct replay {
    uint64_t magic, length, checksum; /* of all that follows */
    uint64_t not_before, not_after;   /* nanoseconds since 1970 */
    uint64_t blocked;                 /* signals */
    uint64_t address_space, data;     /* bytes: RLIMIT_AS, RLIMIT_DATA */
    uint8_t terminals[3], flags;
    uint32_t parts;
    struct part part[MOST_PARTS];
    uint32_t processor[PROCESSOR];    /* of an image */
    struct bytes code;                /* the kernel's */
    const struct place *places;
    uint64_t place_count;
    const struct fact *facts;
    uint64_t fact_count;
    const char *const *files;         /* paths to be opened */
    uint64_t file_count;
    uint64_t lock;                    /* which of the files is locked */
    const struct step *early;
    struct step *late, *closes, *rescue; /* parts times a move comes first in `late` */
    uint32_t *executable;             /* where the descriptor goes */
    uint64_t executable_file;
    uint64_t *request;                /* where its address and length go */
    struct bytes head, argv, orig_argv, last;
    uint32_t argv_count, orig_argv_count;
    const uint64_t *environment;      /* an address, or a number among the process's own */
    uint64_t environment_count;
    const char *log, *uses, *program;
    struct bytes line;                /* of the log */
    uint64_t time_at, took_at;        /* in it: 20 characters each; of a miss only the time */
    struct bytes said;                /* on standard error */
    const char *outcome;              /* for benchmarks */
    const char *execute;              /* plain Python, in place of an image; or NULL */
};

/* The process, and which run it is. Read by Rust as well. */
struct first {
    long argc;
    char **argv, **environment;
    uint32_t environment_count;
    uint32_t words;       /* of the command line, up to the program; 0: there is no replay */
    char name[NAME + 1];  /* of the replay */
    uint64_t began;       /* CLOCK_MONOTONIC, nanoseconds */
};

extern struct first first_seen;
extern const uint64_t first_replay_size, first_replay_magic;

/* words.c */
uint32_t first_words(long argc, char *const *argv);

/* key.c: 128 bits */
struct key_state {
    uint64_t v0, v1, v2, v3, tail, length;
};
void key_begin(struct key_state *, const uint64_t key[2]);
void key_add(struct key_state *, const void *bytes, size_t length);
void key_end(struct key_state *, uint64_t result[2]);
uint64_t replay_checksum(const void *bytes, size_t length);

/* trace.c: nothing where nobody asks for it */
void trace_begin(void);
void trace_reached(const char *name);
void trace_print(const char *outcome);

/* facts.c */
void facts_begin(const struct replay *); /* in another thread, if there can be one */
bool facts_end(void);                    /* looks at the rest: whether all of them hold */
bool facts_hold(const struct replay *);  /* both, where they are few */
void facts_processor(uint32_t words[PROCESSOR]); /* what it can do */

/* run.c: returns only if there is no replay, or something does not fit. `code` is what the
 * kernel provides. */
void replay_run(const char *path, char *code);

/* become.c: likewise */
void replay_become(struct replay *, char *code);
bool replay_is_trusted(const struct stat *found);

/* record.c */
void replay_record(struct replay *);
void replay_say(const char *text, uint64_t length); /* on standard error */

#pragma GCC visibility pop

#endif
