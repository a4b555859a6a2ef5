/* When a replay reached what, with PYIMG_LOG=phases: as trace.rs has it. */
#include "first.h"
#include "system.h"

enum { MOST = 8, LONGEST = 1024, DIGITS = 20 };

static struct {
    bool is_on;
    unsigned count;
    struct {
        const char *name;
        uint64_t time, used;
    } marks[MOST];
} trace;

void trace_begin(void)
{
    trace.is_on = true;
}

void trace_reached(const char *name)
{
    if (!trace.is_on || trace.count == MOST)
        return;
    trace.marks[trace.count].name = name;
    trace.marks[trace.count].time = time_of(CLOCK_MONOTONIC);
    trace.marks[trace.count++].used = time_of(CLOCK_THREAD_CPUTIME_ID);
}

static char *put_text(char *to, const char *text)
{
    size_t length = length_of(text);

    copy(to, text, length);
    return to + length;
}

static char *put_number(char *to, uint64_t number)
{
    char digits[DIGITS];
    int count = 0;

    do
        digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    while (count > 0)
        *to++ = digits[--count];
    return to;
}

void trace_print(const char *outcome)
{
    char line[LONGEST], *to = line;

    trace_reached("end");
    if (!trace.is_on)
        return;
    to = put_text(put_text(to, "{\"outcome\":\""), outcome);
    to = put_text(to, "\",\"marks\":[");
    for (unsigned i = 0; i < trace.count; i++) {
        to = put_text(to, i == 0 ? "[\"" : ",[\"");
        to = put_text(to, trace.marks[i].name);
        to = put_number(put_text(to, "\","), trace.marks[i].time);
        to = put_number(put_text(to, ","), trace.marks[i].used);
        to = put_text(to, "]");
    }
    to = put_text(to, "]}\n");
    replay_say(line, (uint64_t)(to - line));
}
