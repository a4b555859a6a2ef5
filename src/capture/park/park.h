/* The park library: what runs inside the user's interpreter.
 *
 * It is preloaded into the python that a build spawns, waits until that python
 * has finished its own start-up and opens the script it was told to run (a
 * sentinel path that does not exist), runs the recipe at that very place, and
 * parks. When the process is woken, perhaps from an image and years later, it
 * takes over what the caller handed in and runs the caller's program the way
 * CPython's main would have done, with no frame of ours beneath it.
 *
 *   hook.c      is loaded, hides itself, notices the sentinel
 *   capture.c   runs the recipe, reports, tidies up, parks
 *   observe.c   what the recipe looks at: files, variables, who asks for the time ...
 *   collector.c freezes the image's objects, and what the gc module says of that
 *   settle.c    before parking, spends the allocators' free blocks and gathers names
 *   gate.c      the control socket: messages, the park itself
 *   direct.c    the park's other exit: where there is no socket and no supervisor
 *   request.c   the request, parsed
 *   descriptors.c, duties.c  make the process the caller's: files, directory, limits ...
 *   wake.c      the order of waking
 *   renew.c     what must differ from run to run
 *   streams.c   the standard streams, connected to what the caller has
 *   path0.c     a copy of sys.path[0] that only CPython from 3.12 on has
 *   ranges.c    which memory can be written to
 *   prepare.c   looks at the program before it starts
 *   program.c   runs -c, -m, a script, standard input
 *   finish.c    ends the interpreter without touching every page of the image
 *   clear.c     finishes what the program made
 *   leave.c     ends the process likewise
 *   record.c    notes what the program imported
 *   pages.c     notes which pages it has written
 *   python.c    the C API, by dlsym
 *   inside/   all of the above that is easier said in Python
 *
 * It knows nothing of CRIU, of images or of the store, and decides nothing
 * about which image is right: whatever it cannot do exactly is answered with
 * `failed`, and the caller runs plain Python.
 */
#ifndef PARK_H
#define PARK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "../../engine/request.h"
#include "python.h"

/* A preloaded library comes first in every symbol search: no name of ours may
 * be found by another library, except the ones that are meant to. */
#pragma GCC visibility push(hidden)

/* What the process was like when it was started, before Python saw it. */
struct origin {
    char *sentinel;         /* the script path that means: now */
    int socket;             /* control socket as inherited */
    int script;             /* memfd with inside/ */
    char *locale;           /* name in force for LC_CTYPE; "C" for none, POSIX */
    bool locale_by_lc_all;  /* ... and it came from LC_ALL */
    char *lc_ctype;         /* LC_CTYPE as inherited, or NULL */
    char *zone;             /* TZ as inherited, or NULL */
    uint64_t ignored;       /* signals inherited as ignored, bit n-1 */
};

/* Objects kept for waking and for the end, as inside/'s settle() names them. */
#define IMAGE_OBJECTS(F) \
    F(wake)          /* inside/'s function */ \
    F(renewals)      /* list of tuples: see renew.c */ \
    F(numpy_states)    /* list of addresses: likewise */ \
    F(numpy_sequences) /* list of tuples: likewise */ \
    F(after_restore) /* likewise, or None */ \
    F(hook_lists)    /* list of tuples: a list of hooks for forks, and what it is to hold */ \
    F(environ)       /* posix.environ */ \
    F(os_environ)    /* what os.environ keeps its variables in, or None */ \
    F(argv)          /* sys.argv */ \
    F(orig_argv)     /* sys.orig_argv, or None */ \
    F(path)          /* sys.path */ \
    F(atexit_run)    /* atexit._run_exitfuncs */ \
    F(thread_count)  /* _thread._count */ \
    F(collect)       /* gc.collect */ \
    F(stream_types)  /* io.TextIOBase, io.BufferedIOBase, io.RawIOBase */ \
    F(streams)       /* list of tuples: a standard stream, whether without a buffer, encoding ... */ \
    F(raw_streams)   /* list: what is beneath them */ \
    F(environ_set)   /* dict: what modules have set in os.environ */ \
    F(environ_unset) /* list: what they have taken out of it */ \
    F(modules)       /* dict: sys.modules as parked, without __main__ */ \
    F(containers)    /* list: what must not be freed at the end */

#define F(name) PyObject *name;
struct image_objects { IMAGE_OBJECTS(F) };
#undef F

struct image {
    PyObject *inside;             /* the namespace of inside/; NULL while a recipe runs */
    PyObject *build;              /* code: the part of inside/ that is for one build */
    union {
        struct { /* struct image_objects, without a name */
#define F(name) PyObject *name;
            IMAGE_OBJECTS(F)
#undef F
        };
        PyObject *held[sizeof(struct image_objects) / sizeof(PyObject *)];
    };
    Py_ssize_t builtins_size, sys_size;
    const char *coerced_lc_ctype; /* set by PEP 538, or NULL */
    long path_index;              /* of a program's own entry in sys.path; -1 for none */
    bool full_end;                /* this build or these flags want Py_FinalizeEx */
    bool safe_path;               /* -I, -P: no sys.path[0] for programs */
};

extern struct origin origin;
extern struct image image;

/* capture.c: never return. The recipe is a line of Python for inside/. */
_Noreturn void capture(void);
_Noreturn void capture_more(const char *recipe);

/* collector.c */
bool collector_stand_in(void);             /* before the recipe; false: an unknown gc module */
void collector_freeze(void);               /* all but __main__, before parking */
void collector_hide(PyObject *inside);     /* what is ours */
void collector_show(void);                 /* ... again, to change or to free it */
void collector_begin(void);                /* a program runs from now on */
bool collector_is_thawed(void);            /* it has had a look at the image's objects */
void collector_thaw(void);                 /* from now on they are as any others */
void collector_end(void);                  /* everything is to be freed, unless the program froze it */
PyObject *collector_objects(void);         /* all that are not frozen, as a new list, or NULL */

/* settle.c */
void settle_allocators(void);
void settle_names(void);

/* gate.c */
void gate_open(int socket);
bool gate_say(const char *message, int descriptor); /* whether it was sent */
void gate_park(void);
int gate_receive(int *descriptors, int room);
void gate_await_go(void);
int gate_descriptor(void);
void gate_move(int at_least);
void gate_close(void);
void gate_forget(void);
bool gate_is_there(void);
/* Answers `failed` and dies: the caller still runs plain Python. */
_Noreturn void gate_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* direct.c */
struct direct_thread {
    uint64_t storage, id_address, robust, robust_length, rseq;
    uint32_t rseq_length, rseq_signature;
    uint64_t frame, length;     /* where its signal frame goes, and how long that is */
    const char *bytes;          /* the frame; NULL for the main thread */
    char name[16];
};

/* What the launcher leaves in its own memory; pyrun has the same structure. */
struct handoff {
    uint64_t magic;
    void *launcher;             /* its memory, which is to go */
    uint64_t launcher_length;
    const char *request;
    uint64_t request_length;
    struct direct_thread main;
    uint64_t thread_count;
    const struct direct_thread *threads;
};

void direct_remember(void);
void direct_park(void);                     /* says `parked` and waits to be woken, by either way */
const char *direct_request(size_t *size);
void direct_done(void);
void direct_await_threads(void);            /* before the program begins */
void direct_gather(void);                   /* the image's threads, for the end */

/* request.c */
enum kind { KIND_COMMAND, KIND_MODULE, KIND_SCRIPT, KIND_STDIN, KIND_DIRECTORY, KIND_GROW };

enum { FLAG_AWAIT_GO = 1, FLAG_RECORD_OUTDATED = 2, FLAG_IN_PLACE = 4 };

struct tid {
    uint64_t address;
    uint32_t value;
    uint32_t zero;
} __attribute__((packed));

struct limit {
    uint64_t soft;
    uint64_t hard;
} __attribute__((packed));

struct request {
    struct header head;
    const int32_t *targets;     /* may be unaligned: read through memcpy */
    const struct tid *tids;
    const struct limit *limits;
    char *cwd, *text;
    char **argv, **orig_argv, **environment; /* each ends with NULL */
    char *end;                  /* behind the last byte of the environment */
    const char *record, *record_kept, *record_others; /* see record.c */
    const char *pages, *pages_header;                 /* see pages.c */
    int *descriptors;           /* as received, in the order of targets */
};

/* Receives and parses; fails through the gate. The memory is the process's own
 * for good, as the kernel's argument area would be. */
struct request request_receive(void);
_Noreturn void request_give_up(const char *why);

/* descriptors.c: fails through the gate, and what follows as well. */
void descriptors_place(struct request *);

/* duties.c */
void duties_remember(void);               /* before parking */
void duties_keep(const struct request *); /* a grown image starts from these */
void duties_process(struct request *);    /* everything but Python and signals */
bool duties_zone_changed(void);
void duties_signal_mask(const struct request *);

/* streams.c */
bool streams_learn(PyObject *inside);     /* before parking, while they are pipes; false: they are no more */
bool streams_connect(int standard);       /* false: it has to be initialised anew */

/* ranges.c */
enum { RANGES = 4096 };

struct range {
    uintptr_t start, end;
};

size_t ranges_read(struct range *ranges, size_t room);
/* The range that holds an address, or NULL. */
const struct range *ranges_find(const struct range *ranges, size_t count, uintptr_t address);

/* path0.c */
void path0_find(const char *sentinel);
void path0_replace(PyObject *path0);

/* wake.c */
_Noreturn void wake(void);
/* Calls a function whatever interrupts it, and says whether something has; new reference. */
PyObject *wake_call(PyObject *function, PyObject *arguments, const char *what, bool *interrupted);

/* renew.c */
bool renew_prepare(PyObject *inside); /* before the recipe */
bool renew(void);                     /* whether it was interrupted */

struct program {
    enum kind kind;
    const char *text;    /* -c code, -m module */
    char *path;          /* absolute path of a script, directory or zip file */
    FILE *file;          /* the script, open */
};

struct outcome {
    int status;
    bool interrupted;    /* by an unhandled KeyboardInterrupt */
};

/* prepare.c: fails through the gate. */
struct program program_prepare(const struct request *);
/* sys.path[0] as a new reference, NULL for none; -c and scripts never fail. */
PyObject *program_path0(const struct program *, const struct request *);

/* program.c */
struct outcome program_run(const struct program *);
/* `python -c CODE` in the given namespace: new reference, or NULL with the
 * exception set. */
PyObject *program_command(const char *code, PyObject *namespace);
/* What an exception that reached the top does to the process: prints it, or
 * takes the status from SystemExit. */
struct outcome program_unhandled(void);

/* leave.c */
void leave_first(void);     /* when main starts */
void leave_remember(void);  /* before parking */
/* Somebody registers an exit handler. */
void leave_note_handler(void (*function)(void *), void *argument);
_Noreturn void leave_leanly(int status);

/* clear.c */
void clear_prepare(void);  /* before the recipe */
void clear_announce(void); /* sys.is_finalizing() says so */
void clear_program(void);

/* record.c */
void record_note_image(void);                 /* before parking */
void record_remember(const struct request *); /* the request's strings must stay */
void record_modules(void);                    /* at the end; at most once */
void record_put(const char *path, const char *text); /* gives a file of the store this text */

/* pages.c */
void pages_remember(const struct request *); /* the request's strings must stay */
void pages_record(void);                     /* last of all; at most once */
void pages_forget(void);                     /* in a forked child */

/* finish.c */
_Noreturn void finish(struct outcome);
_Noreturn void finish_fully(struct outcome);
/* What comes before Py_FinalizeEx(), for an end that CPython may bring about itself. */
void finish_prepare_fully(void);

#pragma GCC visibility pop

#endif
