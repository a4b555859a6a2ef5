/* The ranges of memory that the process can write to. */
#include "park.h"

size_t ranges_read(struct range *ranges, size_t room)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512], mode[5];
    size_t count = 0;

    while (maps != NULL && count < room && fgets(line, sizeof line, maps) != NULL)
        if (sscanf(line, "%lx-%lx %4s", &ranges[count].start, &ranges[count].end, mode) == 3 &&
            mode[0] == 'r' && mode[1] == 'w')
            count++;
    if (maps != NULL)
        fclose(maps);
    return count;
}

const struct range *ranges_find(const struct range *ranges, size_t count, uintptr_t address)
{
    for (size_t i = 0; i < count; i++)
        if (address >= ranges[i].start && address < ranges[i].end)
            return &ranges[i];
    return NULL;
}
