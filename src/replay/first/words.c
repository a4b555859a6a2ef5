/* Where on the command line the program is: what comes behind it is the program's own. As
 * command_line.rs has it, for what is usual; whatever else there is has no replay.
 */
#include "first.h"
#include "system.h"

static bool is_among(char letter, const char *letters)
{
    while (*letters != '\0' && *letters != letter)
        letters++;
    return *letters != '\0';
}

/* How many words there are up to the program and including it; 0 if it is none that is known
 * by its name, or the options are unusual. As command_line.rs has it. */
uint32_t first_words(long argc, char *const *argv)
{
    static const char own[3][12] = {"--image", "--load-image", "--engine"};
    long at = 1;

    for (;;) { /* pyrun's own */
        const char *rest = NULL;

        for (int i = 0; i < 3 && at < argc && rest == NULL; i++)
            rest = after(argv[at], own[i]);
        if (rest == NULL || (*rest != '=' && *rest != '\0'))
            break;
        at += *rest == '=' ? 1 : 2;
    }
    for (; at < argc; at++) {
        const char *word = argv[at];

        if (word[0] != '-')
            return word[0] == '\0' ? 0 : (uint32_t)at + 1;
        if (word[1] == '-' && word[2] == '\0' && at + 1 < argc)
            return argv[at + 1][0] == '-' || argv[at + 1][0] == '\0' ? 0 : (uint32_t)at + 2;
        if (word[1] == '-' || word[1] == '\0')
            return 0;
        for (word++; *word != '\0'; word++) {
            if (is_among(*word, "cm")) {
                at += word[1] == '\0';
                return at < argc ? (uint32_t)at + 1 : 0;
            }
            if (is_among(*word, "WX")) {
                at += word[1] == '\0';
                break;
            }
            if (!is_among(*word, "bBdEIOPqRsSuv"))
                return 0;
        }
    }
    return 0;
}
