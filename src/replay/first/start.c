/* The entry, and which run this is: its name is a hash of the command line up to the program,
 * the environment, the working directory, who runs it, and the machine as it is until the next
 * boot. What comes behind the program on the command line is the program's, and may differ.
 *
 * Whatever is unusual has no replay: then nothing has to be said about it here.
 */
#include <fcntl.h>
#include <sys/auxv.h>

#include "first.h"
#include "system.h"

enum { LONGEST_PATH = 4096, BOOT_ID = 36 };

struct first first_seen;

/* The C library's start wants the registers as the kernel (or the dynamic linker: rdx) has left
 * them. */
__asm__(".pushsection .text\n"
        ".globl first_start\n"
        ".hidden first_start\n"
        ".type first_start, @function\n"
        "first_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %r12\n"
        "    mov %rdx, %rbx\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    call first_main\n"
        "    mov %r12, %rsp\n"
        "    mov %rbx, %rdx\n"
        "    jmp _start\n"
        ".size first_start, .-first_start\n"
        ".popsection\n");

static bool append(char *path, size_t *length, const char *text)
{
    size_t more = length_of(text);

    if (*length + more >= LONGEST_PATH)
        return false;
    copy(path + *length, text, more + 1);
    *length += more;
    return true;
}

/* The first variable of a name counts, and an empty one is none. */
static void note(const char **value, const char *entry, const char *name)
{
    const char *found = after(entry, name);

    if (found != NULL && *value == NULL)
        *value = found;
}

static bool is_set(const char *value)
{
    return value != NULL && *value != '\0';
}

/* Where the store's replays are; false if that takes more than a look. As layout.rs has it. */
static bool find_store(char *path)
{
    const char *own = NULL, *cache = NULL, *home = NULL, *replay = NULL, *via = NULL, *log = NULL;
    size_t length = 0;

    for (char **entry = first_seen.environment; *entry != NULL; entry++) {
        note(&own, *entry, "PYIMG_DIR=");
        note(&replay, *entry, "PYIMG_REPLAY=");
        note(&via, *entry, "PYIMG_VIA=");
        note(&log, *entry, "PYIMG_LOG=");
        note(&cache, *entry, "XDG_CACHE_HOME=");
        note(&home, *entry, "HOME=");
        first_seen.environment_count++;
    }
    if (via != NULL || (is_set(replay) && same(replay, "off", 4)))
        return false;
    if (is_set(log) && same(log, "phases", 7)) {
        trace_begin();
        trace_reached("begun");
    }
    path[0] = '\0';
    if (is_set(own))
        return *own == '/' && append(path, &length, own) && append(path, &length, "/replays/");
    if (is_set(cache) && *cache == '/')
        return append(path, &length, cache) && append(path, &length, "/pyimg/replays/");
    return is_set(home) && *home == '/' && append(path, &length, home) &&
           append(path, &length, "/.cache/pyimg/replays/");
}

static bool read_boot_id(char *id)
{
    long file = CALL(SYS_open, "/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC, 0);
    long got = file < 0 ? file : CALL(SYS_read, file, id, BOOT_ID);

    if (file >= 0)
        CALL(SYS_close, file);
    return got == BOOT_ID;
}

static void add_strings(struct key_state *state, char *const *strings, uint64_t count)
{
    key_add(state, &count, sizeof count);
    for (uint64_t i = 0; i < count; i++)
        key_add(state, strings[i], length_of(strings[i]) + 1);
}

static bool name_run(const unsigned long *auxiliary)
{
    static const char digits[17] = "0123456789abcdef";
    char directory[LONGEST_PATH], boot[BOOT_ID];
    struct key_state state;
    uint64_t key[2], result[2], ids[4] = {0};
    long length = CALL(SYS_getcwd, directory, sizeof directory);

    if (length <= 0 || directory[0] != '/' || !read_boot_id(boot))
        return false;
    copy(key, boot, sizeof key);
    key_begin(&state, key);
    key_add(&state, boot, sizeof boot);
    for (; auxiliary[0] != AT_NULL; auxiliary += 2)
        if (auxiliary[0] >= AT_UID && auxiliary[0] <= AT_EGID)
            ids[auxiliary[0] - AT_UID] = auxiliary[1];
    key_add(&state, ids, sizeof ids);
    add_strings(&state, first_seen.argv, first_seen.words);
    add_strings(&state, first_seen.environment, first_seen.environment_count);
    key_add(&state, directory, (size_t)length);
    key_end(&state, result);
    for (int i = 0; i < NAME; i++)
        first_seen.name[i] = digits[result[i / 16] >> (i % 16) * 4 & 15];
    first_seen.name[NAME] = '\0';
    return true;
}

static uint64_t auxiliary_value(const unsigned long *auxiliary, unsigned long type)
{
    for (; auxiliary[0] != AT_NULL; auxiliary += 2)
        if (auxiliary[0] == type)
            return auxiliary[1];
    return 0;
}

static __attribute__((used)) void first_main(long *stack)
{
    char path[LONGEST_PATH + NAME];
    const unsigned long *auxiliary;
    uint32_t words;

    first_seen.began = time_of(CLOCK_MONOTONIC);
    first_seen.argc = stack[0];
    first_seen.argv = (char **)(stack + 1);
    first_seen.environment = first_seen.argv + first_seen.argc + 1;
    words = first_words(first_seen.argc, first_seen.argv);
    if (words == 0 || !find_store(path))
        return;
    auxiliary = (unsigned long *)(first_seen.environment + first_seen.environment_count + 1);
    if (auxiliary_value(auxiliary, AT_SECURE) != 0)
        return;
    for (int standard = 0; standard < 3; standard++)
        if (CALL(SYS_fcntl, standard, F_GETFD) != 0)
            return;
    first_seen.words = words;
    if (!name_run(auxiliary)) {
        first_seen.words = 0;
        return;
    }
    copy(path + length_of(path), first_seen.name, NAME + 1);
    replay_run(path, (char *)auxiliary_value(auxiliary, AT_SYSINFO_EHDR));
}
