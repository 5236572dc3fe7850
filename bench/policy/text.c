#include "text.h"

#include "specd/philox.h"
#include "specd/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRETCH 24 /* tokens of a burst */
#define COPY 32    /* tokens of a stretch that is copied or not */
#define DEPTH 0.98 /* of the chance, with each drafted token before */
#define COPY_CHANCE 0.96
#define CHANCE_BEYOND 0.05 /* of a proposal beyond the end of what is copied */
#define SPURIOUS 0.25      /* positions of other text at which something is proposed */
#define SPURIOUS_CHANCE 0.1
#define LINES_MAX 64

static struct line {
    char task[16];
    char *bits;
    int32_t n;
    double mean;
} lines[LINES_MAX];
static int32_t n_lines;

void text_read_recorded(const char *path)
{
    FILE *f = fopen(path, "r");
    char task[16], bits[4096];
    if (!f) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    while (n_lines < LINES_MAX && fscanf(f, "%15s %4095[-01]", task, bits) == 2) {
        struct line *l = &lines[n_lines++];
        int32_t ones = 0, known = 0;
        snprintf(l->task, sizeof l->task, "%s", task);
        l->bits = xstrdup(bits);
        l->n = (int32_t)strlen(bits);
        for (const char *b = bits; *b; b++) {
            ones += *b == '1';
            known += *b != '-';
        }
        l->mean = (double)ones / MAX(known, 1);
    }
    bool bad = !feof(f) || n_lines == 0;
    fclose(f);
    if (bad) {
        fprintf(stderr, "%s: line %d is no task with bits\n", path, n_lines + 1);
        exit(1);
    }
}

/* ---- chance ---------------------------------------------------------------------------------- */

enum stream {
    AT_PROMPT,
    AT_ANSWER,
    AT_REQUEST,
    AT_STRETCH,
    AT_COPY,
    AT_LOOKUP,
    AT_DRAFT,
    AT_LAW,
    AT_LINE
};

/* In [0, 1). */
static double uniform(const struct text *t, uint64_t request, int32_t at, enum stream stream)
{
    struct philox ctr = {{(uint32_t)request, (uint32_t)(request >> 32), (uint32_t)at, stream}};
    return philox4x32(ctr, t->seed).w[0] * 0x1p-32;
}

static int32_t between(double u, int32_t low, int32_t high)
{
    return low + (int32_t)(u * (high - low + 1));
}

static const struct line *line_of(const struct text *t, uint64_t request)
{
    int32_t of_task = 0;
    for (int32_t i = 0; i < n_lines; i++)
        of_task += strcmp(lines[i].task, t->task) == 0;
    if (of_task == 0) {
        fprintf(stderr, "nothing is recorded of the task %s\n", t->task);
        exit(1);
    }
    int32_t nth = (int32_t)(request % (uint64_t)of_task);
    for (int32_t i = 0;; i++) {
        if (strcmp(lines[i].task, t->task) == 0 && nth-- == 0)
            return &lines[i];
    }
}

int32_t text_prompt(const struct text *t, uint64_t request)
{
    return between(uniform(t, request, 0, AT_PROMPT), t->prompt_min, t->prompt_max);
}

int32_t text_answer(const struct text *t, uint64_t request)
{
    if (t->course == TEXT_RECORDED)
        return line_of(t, request)->n + 1; /* the first token came with the prompt */
    return between(uniform(t, request, 0, AT_ANSWER), t->answer_min, t->answer_max);
}

double text_rest(const struct text *t, int32_t n)
{
    if (t->course != TEXT_RECORDED)
        return (MAX(n, t->answer_min) + t->answer_max) / 2.0 - n;
    double sum = 0, weight = 0;
    for (int32_t i = 0; i < n_lines; i++) {
        if (strcmp(lines[i].task, t->task) == 0 && lines[i].n > n) {
            sum += lines[i].n - n;
            weight++;
        }
    }
    return weight > 0 ? sum / weight : 1;
}

static bool is_copied(const struct text *t, uint64_t request, int32_t n)
{
    return uniform(t, request, n / COPY, AT_COPY) < t->copied;
}

int32_t text_lookup(const struct text *t, uint64_t request, int32_t n, int32_t *match)
{
    if (t->copied <= 0)
        return 0;
    if (is_copied(t, request, n)) {
        *match = n % COPY; /* tokens that agree so far */
        return *match >= 2 ? 16 : 0;
    }
    double u = uniform(t, request, n, AT_LOOKUP);
    *match = 2 + (u < SPURIOUS / 2);
    return u < SPURIOUS ? 8 : 0;
}

static double model_chance(const struct text *t, uint64_t request, int32_t n)
{
    static const double mixed[] = {0.9, 0.7, 0.4, 0.1};
    bool second = 2 * n > text_answer(t, request);
    switch (t->course) {
    case TEXT_STEADY:
        return t->high;
    case TEXT_DROPS:
        return second ? t->low : t->high;
    case TEXT_RISES:
        return second ? t->high : t->low;
    case TEXT_MIXED:
        return mixed[between(uniform(t, request, 0, AT_REQUEST), 0, COUNT_OF(mixed) - 1)];
    case TEXT_BURSTS:
        return uniform(t, request, n / STRETCH, AT_STRETCH) < 0.5 ? t->high : t->low;
    case TEXT_RECORDED:
        return line_of(t, request)->mean;
    }
    return 0;
}

double text_chance(const struct text *t, uint64_t request, int32_t n, int32_t k, bool lookup)
{
    int32_t at = n + k - 1;
    if (lookup && !is_copied(t, request, n))
        return SPURIOUS_CHANCE;
    if (lookup)
        return at / COPY == n / COPY ? COPY_CHANCE : CHANCE_BEYOND;
    double chance = model_chance(t, request, at);
    for (int32_t i = 1; i < k && t->course != TEXT_RECORDED; i++)
        chance *= DEPTH;
    return chance;
}

bool text_stands(const struct text *t, uint64_t request, int32_t n, int32_t k, bool lookup,
                 float *overlap)
{
    int32_t at = n + k - 1;
    double chance = text_chance(t, request, n, k, lookup);
    double u = uniform(t, request, at, AT_DRAFT);
    bool stands = u < chance;
    *overlap = stands;
    if (lookup)
        return stands;
    if (t->course == TEXT_RECORDED) {
        const struct line *l = line_of(t, request);
        int32_t first = between(uniform(t, request, 0, AT_LINE), 0, l->n - 1);
        char bit = l->bits[(first + at - 1) % l->n];
        *overlap = stands = bit == '-' ? stands : bit == '1';
    } else if (t->drawn) { /* laws are near one another here and far apart there */
        double spread = 0.8 * MIN(chance, 1 - chance);
        *overlap = (float)(chance + spread * (2 * uniform(t, request, at, AT_LAW) - 1));
        stands = u < *overlap;
    }
    return stands;
}
