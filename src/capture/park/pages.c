/* Which pages the program has written, for its next runs to have them ready:
 * written to a file of the store when it ends, if the caller asks for it.
 *
 * Each page that a program writes for the first time is a fault, in which the
 * kernel copies it from the image. Those that are written by each run can be
 * copied all at once before. A line holds the address of some consecutive pages
 * and their number, both in hexadecimal; the first line is the caller's.
 *
 * Only ranges of private memory count that can be written to, and of those the
 * pages that are the process's own by now (/proc/PID/pagemap). Nothing that goes
 * wrong is told, and a forked child writes nothing.
 */
#include "park.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Pages. Of a program that writes more nothing is said. */
enum { MOST = 4096, PAGE = 4096, AT_ONCE = 512, MAPS_SIZE = 1 << 20, TEXT_SIZE = 1 << 16 };

/* /proc/PID/pagemap: in memory; shared or of a file. */
static const uint64_t PRESENT = 1ull << 63, OF_FILE = 1ull << 61;

static struct {
    const char *path;   /* where to write; NULL for nowhere */
    const char *header; /* the first line */
} wanted;

static struct {
    char *text;
    size_t length;
    uint64_t first, pages; /* not yet in the text */
    size_t count;
} found;

void pages_forget(void)
{
    wanted.path = NULL;
}

void pages_remember(const struct request *request)
{
    if (request->pages[0] == '\0')
        return;
    wanted.path = request->pages;
    wanted.header = request->pages_header;
}

static void end_run(void)
{
    if (found.pages != 0 && found.length + 64 < TEXT_SIZE)
        found.length += (size_t)sprintf(found.text + found.length, "%lx %lx\n", found.first,
                                        found.pages);
    found.pages = 0;
}

static void note_page(uint64_t address)
{
    if (found.pages == 0 || address != found.first + found.pages * PAGE) {
        end_run();
        found.first = address;
    }
    found.pages++;
    found.count++;
}

static void look_at(int pagemap, uint64_t start, uint64_t end)
{
    uint64_t entries[AT_ONCE];

    while (start < end && found.count <= MOST) {
        uint64_t pages = (end - start) / PAGE < AT_ONCE ? (end - start) / PAGE : AT_ONCE;
        ssize_t got = pread(pagemap, entries, pages * 8, (off_t)(start / PAGE * 8));

        if (got <= 0)
            return;
        for (ssize_t i = 0; i < got / 8; i++)
            if ((entries[i] & PRESENT) != 0 && (entries[i] & OF_FILE) == 0)
                note_page(start + (uint64_t)i * PAGE);
        start += (uint64_t)got / 8 * PAGE;
    }
}

static size_t read_maps(char *buffer)
{
    int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    ssize_t got;

    if (maps == -1)
        return 0;
    while ((got = read(maps, buffer + length, MAPS_SIZE - 1 - length)) > 0)
        length += (size_t)got;
    close(maps);
    buffer[length] = '\0';
    return length;
}

static void look_at_all(char *maps)
{
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    if (pagemap == -1)
        return;
    for (char *line = maps, *next; (next = strchr(line, '\n')) != NULL; line = next + 1) {
        uint64_t start = strtoull(line, &line, 16), end;

        if (*line != '-')
            break;
        end = strtoull(line + 1, &line, 16);
        if (strncmp(line, " rw-p", 5) == 0 || strncmp(line, " rwxp", 5) == 0)
            look_at(pagemap, start, end);
    }
    end_run();
    close(pagemap);
}

void pages_record(void)
{
    char *memory;

    if (wanted.path == NULL)
        return;
    memory = mmap(NULL, MAPS_SIZE + TEXT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                  -1, 0);
    if (memory == MAP_FAILED)
        return;
    found.text = memory + MAPS_SIZE;
    found.length = (size_t)snprintf(found.text, TEXT_SIZE, "%.200s\n", wanted.header);
    if (read_maps(memory) > 0) {
        size_t header = found.length;

        look_at_all(memory);
        if (found.count > MOST)
            found.text[header] = '\0';
        record_put(wanted.path, found.text);
    }
    munmap(memory, MAPS_SIZE + TEXT_SIZE);
    pages_forget();
}
