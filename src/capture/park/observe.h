/* What a recipe depended on, while it runs: see observe.c. */
#ifndef PARK_OBSERVE_H
#define PARK_OBSERVE_H

#include "park.h"

#pragma GCC visibility push(hidden)

/* From here on files are noted in the journal: Python starts, with what runs then. */
void observe_start(void);
/* From here on all is noted. `hook` is inside/'s function for what
 * Python itself tells (audit events); it gets the event's name and arguments. */
void observe_begin(PyObject *hook);
/* The journal is complete: a memfd that the caller closes. Nothing is observed
 * any more, and no hook is left in the interpreter. */
int observe_end(void);

/* The random bytes that Python drew: a list of (bytes, kind, module, function, module that
 * is being imported). Nothing is observed until records have been made of it, in a list that
 * is let go. */
PyObject *observe_draws(void);
void observe_note_draws(PyObject *notes);

/* Whether something was read from the clock that every run will share. */
bool observe_clock_was_read(void);

/* What the recipe has changed about the process that a program from the image would
 * not have, or NULL. */
const char *observe_changes(void);

/* What fopen gave for this path. */
FILE *observe_fopen(const char *path, const char *mode, FILE *file);

/* The variables that the recipe has set or taken away, again in this environment. */
void observe_reapply(void);

#pragma GCC visibility pop

#endif
