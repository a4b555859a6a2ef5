/* The request: a memfd with a header, numbers and strings (see the launcher's
 * side for the layout), and the caller's descriptors.
 *
 * It is read into anonymous memory that is never given back: environ and the
 * kernel's idea of the command line point into it afterwards.
 */
#include "park.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAGIC = 0x31515250, MOST = 1 << 20 };

static char *take_string(char **at, char *end)
{
    char *start = *at;
    char *stop = memchr(start, '\0', (size_t)(end - start));

    if (stop == NULL)
        gate_fail("the request is cut off in its strings");
    *at = stop + 1;
    return start;
}

static char **take_strings(char **at, char *end, uint32_t count, char ***pointers)
{
    char **start = *pointers;

    for (uint32_t i = 0; i < count; i++)
        start[i] = take_string(at, end);
    start[count] = NULL;
    *pointers += count + 1;
    return start;
}

static void *take_array(char **at, char *end, size_t count, size_t size)
{
    char *start = *at;

    if ((size_t)(end - start) < count * size)
        gate_fail("the request is cut off in its numbers");
    *at += count * size;
    return start;
}

static void read_all(int file, char *buffer, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(file, buffer + done, size - done, (off_t)done);

        if (got <= 0)
            gate_fail("cannot read the request: %s", got == 0 ? "too short" : strerror(errno));
        done += (size_t)got;
    }
}

/* Where a request is: in a file, or, if that is none (-1), in memory. */
struct place {
    int file;
    const char *memory;
    size_t size;
};

static void read_from(const struct place *place, char *buffer, size_t size)
{
    if (place->file == -1)
        memcpy(buffer, place->memory, size);
    else
        read_all(place->file, buffer, size);
}

static struct place file_place(int file)
{
    struct stat status;

    if (fstat(file, &status) == -1)
        gate_fail("the request has no size: %s", strerror(errno));
    return (struct place){.file = file, .size = (size_t)status.st_size};
}

static struct header read_header(const struct place *place)
{
    struct header head;

    if (place->size < sizeof head)
        gate_fail("the request has no header");
    read_from(place, (char *)&head, sizeof head);
    if (head.magic != MAGIC)
        gate_fail("the request has magic %#x instead of %#x", head.magic, MAGIC);
    if (head.kind > KIND_GROW)
        gate_fail("the request asks for the unknown kind %u", head.kind);
    if (head.ndescriptors > MOST || head.ntids > MOST || head.nlimits > MOST || head.argc > MOST ||
        head.orig_argc > MOST || head.envc > MOST)
        gate_fail("the request counts more than it can hold");
    return head;
}

/* What plain Python is started with, if this process cannot do what it was asked to. */
static struct {
    char **argv, **environment;
    uint64_t ignored, blocked;
} asked;

static void remember(const struct request *request)
{
    asked.argv = request->orig_argv;
    asked.environment = request->environment;
    asked.ignored = request->head.ignored;
    asked.blocked = request->head.blocked;
}

/* Says it as the launcher says its misses, if it has been told to. */
static void say_why(const char *why)
{
    for (char **entry = asked.environment; *entry != NULL; entry++)
        if (strcmp(*entry, "PYIMG_LOG=miss") == 0 || strcmp(*entry, "PYIMG_LOG=debug") == 0)
            dprintf(2, "pyrun: miss: the program did not start: the process gave up: %s\n", why);
}

/* Nobody waits who could run plain Python, so this process becomes it. */
void request_give_up(const char *why)
{
    sigset_t mask;

    if (asked.argv != NULL && asked.argv[0] != NULL) {
        say_why(why); /* while SIGPIPE is ignored, as Python has it */
        sigemptyset(&mask);
        for (int number = 1; number < NSIG; number++) {
            if (asked.blocked >> (number - 1) & 1)
                sigaddset(&mask, number);
            signal(number, asked.ignored >> (number - 1) & 1 ? SIG_IGN : SIG_DFL);
        }
        sigprocmask(SIG_SETMASK, &mask, NULL);
        execve(asked.argv[0], asked.argv, asked.environment);
    }
    dprintf(2, "pyrun: error: the program could not be started from its image: %s\n", why);
    _exit(125);
}

struct request request_receive(void)
{
    struct request request = {0};
    struct place place = {.file = -1};
    int first[256];
    int count = 0;
    size_t pointers, descriptors;
    char *memory, *at, *end;
    char **pointer;

    place.memory = direct_request(&place.size);
    if (place.memory == NULL) {
        count = gate_receive(first, 256);
        if (count < 1)
            gate_fail("the request came without its memfd");
        place = file_place(first[0]);
        count--;
    }
    request.head = read_header(&place);
    pointers = (size_t)request.head.argc + request.head.orig_argc + request.head.envc + 3;
    descriptors = request.head.ndescriptors * sizeof(int);
    memory = mmap(NULL, pointers * sizeof(char *) + descriptors + place.size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        gate_fail("no memory for a request of %zu bytes", place.size);
    pointer = (char **)memory;
    request.descriptors = (int *)(memory + pointers * sizeof(char *));
    at = memory + pointers * sizeof(char *) + descriptors;
    end = at + place.size;
    read_from(&place, at, place.size);
    if (place.file != -1)
        close(place.file);

    at += sizeof request.head;
    request.targets = take_array(&at, end, request.head.ndescriptors, sizeof(int32_t));
    request.tids = take_array(&at, end, request.head.ntids, sizeof(struct tid));
    request.limits = take_array(&at, end, request.head.nlimits, sizeof(struct limit));
    request.cwd = take_string(&at, end);
    request.text = take_string(&at, end);
    request.argv = take_strings(&at, end, request.head.argc, &pointer);
    request.orig_argv = take_strings(&at, end, request.head.orig_argc, &pointer);
    request.environment = take_strings(&at, end, request.head.envc, &pointer);
    request.end = at;
    /* An older pyrun says nothing of these, an older park library reads no further. */
    request.record = at == end ? "" : take_string(&at, end);
    request.record_kept = at == end ? "" : take_string(&at, end);
    request.record_others = at == end ? "" : take_string(&at, end);
    request.pages = at == end ? "" : take_string(&at, end);
    request.pages_header = at == end ? "" : take_string(&at, end);

    remember(&request);
    direct_done();

    if ((uint32_t)count > request.head.ndescriptors)
        gate_fail("the request announces %u descriptors, %d came", request.head.ndescriptors,
                  count);
    memcpy(request.descriptors, first + 1, (size_t)count * sizeof(int));
    while ((uint32_t)count < request.head.ndescriptors)
        count += gate_receive(request.descriptors + count, (int)request.head.ndescriptors - count);
    return request;
}
