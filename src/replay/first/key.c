/* SipHash-2-4 with a result of 128 bits (Aumasson and Bernstein, 2012), which names a replay;
 * and a checksum, which finds damage and nothing else. */
#include "first.h"
#include "system.h"

static inline uint64_t rotate(uint64_t word, int bits)
{
    return word << bits | word >> (64 - bits);
}

static inline void rounds(struct key_state *s, int count)
{
    while (count-- > 0) {
        s->v0 += s->v1, s->v1 = rotate(s->v1, 13) ^ s->v0, s->v0 = rotate(s->v0, 32);
        s->v2 += s->v3, s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 += s->v3, s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 += s->v1, s->v1 = rotate(s->v1, 17) ^ s->v2, s->v2 = rotate(s->v2, 32);
    }
}

static void add_word(struct key_state *s, uint64_t word)
{
    s->v3 ^= word;
    rounds(s, 2);
    s->v0 ^= word;
}

void key_begin(struct key_state *s, const uint64_t key[2])
{
    s->v0 = key[0] ^ 0x736f6d6570736575;
    s->v1 = key[1] ^ 0x646f72616e646f6d ^ 0xee;
    s->v2 = key[0] ^ 0x6c7967656e657261;
    s->v3 = key[1] ^ 0x7465646279746573;
    s->tail = s->length = 0;
}

void key_add(struct key_state *s, const void *bytes, size_t length)
{
    const unsigned char *at = bytes;

    while (length > 0) {
        if ((s->length & 7) == 0 && length >= 8) {
            uint64_t word;

            copy(&word, at, 8);
            add_word(s, word);
            s->length += 8, at += 8, length -= 8;
            continue;
        }
        s->tail |= (uint64_t)*at << (s->length & 7) * 8;
        s->length++, at++, length--;
        if ((s->length & 7) == 0) {
            add_word(s, s->tail);
            s->tail = 0;
        }
    }
}

void key_end(struct key_state *s, uint64_t result[2])
{
    add_word(s, s->tail | s->length << 56);
    s->v2 ^= 0xee;
    rounds(s, 4);
    result[0] = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
    s->v1 ^= 0xdd;
    rounds(s, 4);
    result[1] = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* Four lanes of multiplications, for they take their time; the length is a multiple of 32. */
uint64_t replay_checksum(const void *bytes, size_t length)
{
    const uint64_t prime = 0x9e3779b97f4a7c15, *at = bytes, *end = at + length / 8;
    uint64_t a = 1, b = 2, c = 3, d = 4;

    for (; at + 4 <= end; at += 4) {
        a = rotate(a ^ at[0], 29) * prime;
        b = rotate(b ^ at[1], 29) * prime;
        c = rotate(c ^ at[2], 29) * prime;
        d = rotate(d ^ at[3], 29) * prime;
    }
    a = rotate(a ^ b, 29) * prime;
    c = rotate(c ^ d, 29) * prime;
    return rotate(a ^ c, 29) * prime;
}
