/*
 * seeded.h - runs a group of tests whose random numbers are those of the emulator's seed, and says
 * how to see the same run again when one fails.
 */
#ifndef SPECD_EMU_SEEDED_H
#define SPECD_EMU_SEEDED_H

#include "cudart.h"

#include <stdlib.h>

static inline int seeded_result(int failed)
{
    if (failed)
        emu_seed_print();
    return failed;
}

/* The value of main: how many failed. */
#define seeded_run(tests) \
    (srand((unsigned)emu_seed()), seeded_result(cmocka_run_group_tests(tests, NULL, NULL)))

#endif
