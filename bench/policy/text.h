/*
 * text.h - texts as a policy meets them: at each position of an answer, what the drafters offer and
 * with which chance it stands.
 *
 * What happens at a position is a function of the seed, the request and the position, not of who
 * asks and when: all that play on a text see the same one.
 */
#ifndef SPECD_BENCH_POLICY_TEXT_H
#define SPECD_BENCH_POLICY_TEXT_H

#include <stdbool.h>
#include <stdint.h>

/* How the draft model's chance runs along an answer. */
enum text_course {
    TEXT_STEADY,  /* high all along */
    TEXT_DROPS,   /* high, from the middle on low */
    TEXT_RISES,   /* low, from the middle on high */
    TEXT_MIXED,   /* each request has another one */
    TEXT_BURSTS,  /* stretches of 24 tokens, high or low */
    TEXT_RECORDED /* greedy answers of a real pair (recorded.txt) */
};

struct text {
    enum text_course course;
    double high, low;
    const char *task; /* TEXT_RECORDED: which lines */
    double copied;    /* the share that repeats earlier text, which lookup can find */
    bool drawn;       /* temperature above 0: chances are seen, else outcomes */
    int32_t prompt_min, prompt_max, answer_min, answer_max; /* tokens */
    uint64_t seed;
};

/* Reads recorded.txt: lines of a task and bits. Exits on a bad file. */
void text_read_recorded(const char *path);

int32_t text_prompt(const struct text *t, uint64_t request);
int32_t text_answer(const struct text *t, uint64_t request);
/* Tokens of an answer that is at n, to be expected by who knows the law of lengths. */
double text_rest(const struct text *t, int32_t n);

/* Lookup's proposal for position n of an answer: its most tokens, 0: none; *match as
 * drafters/drafter.h has it. */
int32_t text_lookup(const struct text *t, uint64_t request, int32_t n, int32_t *match);
/* The chance that draft k = 1, 2, ... behind n tokens stands if those before it do. */
double text_chance(const struct text *t, uint64_t request, int32_t n, int32_t k, bool lookup);
/* Whether it stands, and what is seen of it. */
bool text_stands(const struct text *t, uint64_t request, int32_t n, int32_t k, bool lookup,
                 float *overlap);

#endif
