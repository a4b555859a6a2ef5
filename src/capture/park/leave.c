/* The end of the process: exit(), short of what only frees memory.
 *
 * exit() runs the handlers of C code, last one first, then has the dynamic
 * loader run every library's destructors, then flushes C streams. With numpy and
 * pandas that second step writes to hundreds of pages, to run code that the
 * compiler has put into each library and that has nothing left to do. So a
 * handler of ours, registered when main starts and hence run last, takes that
 * step over: of the image's libraries it runs the destructors that somebody
 * wrote (more than the compiler's one), of later ones all.
 */
#include "park.h"

#include <link.h>
#include <stdlib.h>
#include <unistd.h>

typedef void destructor(void);

static struct {
    bool registered;        /* our handler is */
    bool armed;             /* by the lean end: otherwise exit() stays whole */
    struct {
        void (*function)(void *);
        void *argument;
    } early[16];            /* handlers from before ours: they run after the loader's */
    size_t early_count;
    destructor **list;      /* of the image, in the order to run */
    size_t count, room;
    size_t objects;         /* libraries loaded when the image parked */
    unsigned long long loaded, unloaded; /* how often, by then */
} ending;

struct fini {
    destructor **array;
    size_t count;
    destructor *last;       /* DT_FINI, usually an empty stub */
};

static struct fini fini_of(const struct dl_phdr_info *info)
{
    struct fini fini = {0};

    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Dyn) *entry;

        if (info->dlpi_phdr[i].p_type != PT_DYNAMIC)
            continue;
        entry = (const ElfW(Dyn) *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        for (; entry->d_tag != DT_NULL; entry++) {
            if (entry->d_tag == DT_FINI_ARRAY)
                fini.array = (destructor **)(info->dlpi_addr + entry->d_un.d_ptr);
            else if (entry->d_tag == DT_FINI_ARRAYSZ)
                fini.count = entry->d_un.d_val / sizeof(destructor *);
            else if (entry->d_tag == DT_FINI)
                fini.last = (destructor *)(info->dlpi_addr + entry->d_un.d_ptr);
        }
    }
    return fini;
}

static void note(destructor *function)
{
    if (ending.count == ending.room) {
        ending.room = ending.room * 2 + 64;
        ending.list = realloc(ending.list, ending.room * sizeof *ending.list);
        if (ending.list == NULL)
            abort();
    }
    ending.list[ending.count++] = function;
}

static int note_library(struct dl_phdr_info *info, size_t size, void *data)
{
    struct fini fini = fini_of(info);

    (void)size, (void)data;
    ending.objects++;
    ending.loaded = info->dlpi_adds;
    ending.unloaded = info->dlpi_subs;
    if (fini.count > 1)
        for (size_t i = 0; i < fini.count; i++)
            note(fini.array[i]);
    return 0;
}

/* Destructors run in the reverse order of loading. */
static void reverse(size_t from)
{
    for (size_t low = from, high = ending.count; low + 1 < high; low++, high--) {
        destructor *function = ending.list[low];

        ending.list[low] = ending.list[high - 1];
        ending.list[high - 1] = function;
    }
}

void leave_remember(void)
{
    ending.count = ending.objects = 0;
    dl_iterate_phdr(note_library, NULL);
    reverse(0);
}

struct later {
    size_t seen;
    bool unloaded;
};

static int note_later_library(struct dl_phdr_info *info, size_t size, void *data)
{
    struct later *later = data;
    struct fini fini;

    (void)size;
    later->unloaded = info->dlpi_subs != ending.unloaded;
    if (later->unloaded || info->dlpi_adds == ending.loaded)
        return 1; /* nothing was loaded: the others need not be looked at */
    if (++later->seen <= ending.objects)
        return 0;
    fini = fini_of(info);
    if (fini.last != NULL)
        note(fini.last);
    for (size_t i = 0; i < fini.count; i++)
        note(fini.array[i]);
    return 0;
}

static void last_handler(int status, void *data)
{
    struct later later = {0};
    size_t image_count = ending.count;

    (void)data;
    if (!ending.armed)
        return;
    dl_iterate_phdr(note_later_library, &later);
    if (later.unloaded)
        return; /* the list may name code that is gone: the loader knows */
    reverse(image_count);
    for (size_t i = image_count; i < ending.count; i++)
        ending.list[i]();
    for (size_t i = 0; i < image_count; i++)
        ending.list[i]();
    for (size_t i = ending.early_count; i-- > 0;)
        ending.early[i].function(ending.early[i].argument);
    fflush(stdin); /* gives back what was read ahead, as exit() does */
    fflush(NULL);
    pages_record();
    _exit(status);
}

void leave_first(void)
{
    ending.registered = on_exit(last_handler, NULL) == 0;
}

void leave_note_handler(void (*function)(void *), void *argument)
{
    size_t room = sizeof ending.early / sizeof *ending.early;

    if (ending.registered)
        return;
    if (ending.early_count < room) {
        ending.early[ending.early_count].function = function;
        ending.early[ending.early_count].argument = argument;
    }
    ending.early_count++;
}

_Noreturn void leave_leanly(int status)
{
    size_t room = sizeof ending.early / sizeof *ending.early;

    direct_gather();
    ending.armed = ending.registered && ending.early_count <= room;
    exit(status);
}
