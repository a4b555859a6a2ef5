/* The caller's descriptors, put on the numbers that they had there.
 */
#include "park.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static int target_of(const struct request *request, uint32_t i)
{
    int target;

    memcpy(&target, request->targets + i, sizeof target);
    return target;
}

static bool is_target(const struct request *request, int descriptor)
{
    for (uint32_t i = 0; i < request->head.ndescriptors; i++)
        if (target_of(request, i) == descriptor)
            return true;
    return false;
}

static int highest_descriptor(const struct request *request)
{
    int highest = 2;

    for (uint32_t i = 0; i < request->head.ndescriptors; i++) {
        if (target_of(request, i) > highest)
            highest = target_of(request, i);
        if (request->descriptors[i] > highest)
            highest = request->descriptors[i];
    }
    return highest;
}

/* Frees every target number: received descriptors that sit on another one's
 * number move above all of them, and so does the socket. A number that the
 * image itself uses cannot be freed. */
static void clear_targets(struct request *request)
{
    int above = highest_descriptor(request) + 1;

    if (is_target(request, gate_descriptor()))
        gate_move(above);
    for (uint32_t i = 0; i < request->head.ndescriptors; i++) {
        int received = request->descriptors[i];

        if (received != target_of(request, i) && is_target(request, received)) {
            int moved = fcntl(received, F_DUPFD_CLOEXEC, above);

            if (moved == -1)
                gate_fail("no descriptor left above %d: %s", above, strerror(errno));
            close(received);
            request->descriptors[i] = moved;
        }
    }
    for (uint32_t i = 0; i < request->head.ndescriptors; i++) {
        int target = target_of(request, i);

        if (target > 2 && target != request->descriptors[i] && fcntl(target, F_GETFD) != -1)
            gate_fail("descriptor %d is in use by the image", target);
    }
}

/* Descriptors may stand above the caller's limit, or above ours: so the limit
 * is widened first, and set exactly once they are in place. */
static void widen_file_limit(const struct request *request)
{
    struct rlimit now;
    struct limit wanted;

    if (request->head.nlimits <= RLIMIT_NOFILE || getrlimit(RLIMIT_NOFILE, &now) == -1 ||
        (rlim_t)highest_descriptor(request) < now.rlim_cur / 2)
        return; /* there is room, also for those that have to move */
    wanted = request->limits[RLIMIT_NOFILE];
    if (wanted.hard > now.rlim_max)
        now.rlim_max = wanted.hard;
    now.rlim_cur = now.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &now) == -1)
        gate_fail("cannot raise the limit of open files: %s", strerror(errno));
}

void descriptors_place(struct request *request)
{
    widen_file_limit(request);
    clear_targets(request);
    for (uint32_t i = 0; i < request->head.ndescriptors; i++) {
        int received = request->descriptors[i];
        int target = target_of(request, i);

        if (received == target)
            continue;
        if (dup2(received, target) == -1)
            gate_fail("cannot place descriptor %d: %s", target, strerror(errno));
        close(received);
    }
    for (int standard = 0; standard <= 2; standard++)
        if (!is_target(request, standard))
            close(standard);
}
