/*
 * The one source of the emulator's chance. Everything random follows from the seed and from how
 * many times it was asked since the seed was set.
 */
#include "emu_impl.h"
#include "emu_runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sanitizer.h"

#ifdef EMU_ASAN
#define ON_DEATH(fn) __sanitizer_set_death_callback(fn)
#else
#define ON_DEATH(fn) ((void)0)
#endif

static struct {
    bool set;
    uint64_t seed, asked;
} chance;

static uint64_t first_seed(void)
{
    const char *text = getenv("SPECD_EMU_SEED");
    struct timespec t;

    if (text)
        return strtoull(text, NULL, 0);
    clock_gettime(CLOCK_REALTIME, &t);
    return ((uint64_t)t.tv_sec * 1000003u + (uint64_t)t.tv_nsec) & 0xffffffffu;
}

void emu_seed_set(uint64_t seed)
{
    chance = {true, seed, 0};
    ON_DEATH(emu_seed_print);
}

uint64_t emu_seed(void)
{
    if (!chance.set)
        emu_seed_set(first_seed());
    return chance.seed;
}

/* The finaliser of splitmix64. */
uint64_t emu_next_random(void)
{
    uint64_t x = emu_seed() + ++chance.asked * 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

void emu_seed_print(void)
{
    fprintf(stderr, "emulator: SPECD_EMU_SEED=%llu shows this again\n",
            (unsigned long long)chance.seed);
}
