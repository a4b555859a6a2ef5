/* The least that a run from an image can cost: the same mappings, the same pages written, and nothing else.
 *
 * scripts/bench-start writes floor-table.h from a process of the image that is stopped at its end, and compiles this:
 * the table has the files that it has mapped, its mappings, and the runs of pages that it has written. No Python runs,
 * and no byte that is written means anything.
 *
 * Addresses are random as in any program, so one of the image's may be taken by what the kernel has given this one, most
 * likely by its stack. Nothing is mapped over that: the program begins again, with other addresses.
 *
 * Exit: 0 done; 1 it cannot be done, with a message. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct mapping {
    unsigned long start, length;
    int protection, flags, file; /* file: which of files, or -1 */
    unsigned long offset;
};

struct run {
    unsigned long start, pages;
};

#include "floor-table.h" /* files, mappings, written: arrays that end with a zero entry */

enum { PAGE = 4096, ATTEMPTS = 100 };

static void fail(const char *what)
{
    perror(what);
    _exit(1);
}

/* Begins again. How often it has is the number of arguments. */
static void begin_again(int argc, char **argv)
{
    static char *more[ATTEMPTS + 2];
    if (argc > ATTEMPTS) {
        fail("an address is always taken");
    }
    for (int i = 0; i < argc; i++) {
        more[i] = argv[i];
    }
    more[argc] = "again";
    execv("/proc/self/exe", more);
    fail("cannot begin again");
}

int main(int argc, char **argv)
{
    int descriptors[sizeof files / sizeof *files];
    for (int i = 0; files[i]; i++) {
        descriptors[i] = open(files[i], O_RDONLY | O_CLOEXEC);
        if (descriptors[i] < 0) {
            fail(files[i]);
        }
    }
    for (const struct mapping *m = mappings; m->length; m++) {
        int descriptor = m->file < 0 ? -1 : descriptors[m->file];
        void *at = mmap((void *)m->start, m->length, m->protection, m->flags | MAP_FIXED_NOREPLACE, descriptor,
                        (off_t)m->offset);
        if (at == MAP_FAILED && errno == EEXIST) {
            begin_again(argc, argv);
        }
        if (at != (void *)m->start) {
            fail("mmap");
        }
    }
    for (const struct run *r = written; r->pages; r++) {
        for (unsigned long page = 0; page < r->pages; page++) {
            *(volatile char *)(r->start + page * PAGE) = 0;
        }
    }
    _exit(0);
}
