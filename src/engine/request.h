/* The head of a request, which `request.rs` writes: the park library reads it, and a replay puts
 * into it what is this run's.
 */
#ifndef PYIMG_REQUEST_H
#define PYIMG_REQUEST_H

#include <stdint.h>

struct header {
    uint32_t magic, kind, umask, ndescriptors;
    uint64_t ignored, blocked;
    int32_t nice;
    uint32_t ntids, nlimits, argc, orig_argc, envc, personality, pdeathsig;
    int32_t supervisor;
    uint32_t flags;
} __attribute__((packed));

#endif
