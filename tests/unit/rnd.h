/*
 * rnd.h - chance for tests: the same from the same seed on every machine.
 *
 * *s is the state of a linear congruential generator (Knuth's MMIX); any value starts it.
 */
#ifndef RND_H
#define RND_H

#include <stdint.h>

/* 0 .. below - 1 */
static inline uint32_t rnd(uint64_t *s, uint32_t below)
{
    *s = *s * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(*s >> 33) % below;
}

/* In [0, 1). */
static inline double rnd_unit(uint64_t *s)
{
    return rnd(s, 1 << 20) / (double)(1 << 20);
}

#endif
