/*
 * suite.h - what the programs of tests/exact share: how long to run, and lines for the report.
 *
 * With SPECD_EXACT_FULL in the environment a program runs its full size; without, a quick set.
 * report("law", "mode=%s p=%.4f", ...) prints one line "RESULT law mode=ratio p=0.1234", which
 * scripts/test-exact.sh gathers by its name into a table of docs/exactness.md. Values have no
 * blanks: a `_` in a value is shown as one.
 */
#ifndef SPECD_TEST_SUITE_H
#define SPECD_TEST_SUITE_H

#include "specd/util.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static inline bool suite_full(void)
{
    return getenv("SPECD_EXACT_FULL") != NULL;
}

/* Draws: in a build with checks a tenth of the quick set, since numbers are the same in every build
 * and sanitizers look at the code. */
static inline uint64_t suite_draws(uint64_t full, uint64_t quick)
{
#ifdef SPECD_CHECKS
    quick /= 10;
#endif
    return suite_full() ? full : quick;
}

static inline void PRINTF_LIKE(2, 3) report(const char *table, const char *fmt, ...)
{
    va_list args;

    printf("RESULT %s ", table);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}

/* A text as one value: blanks become `_`. Valid until the next call. */
static inline const char *report_word(const char *text)
{
    static char word[128];

    snprintf(word, sizeof(word), "%s", text);
    for (char *c = word; *c; c++)
        *c = *c == ' ' ? '_' : *c;
    return word;
}

#endif
