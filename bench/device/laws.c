#include "device/laws.h"

#include "law.h"
#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_VOCAB 49152
#define K 4
#define REPEATS_MAX 1000

enum shape { TEXT, FLAT, SHAPES };

static const struct {
    const char *name;
    struct law_params params;
} cases[] = {
    {"temperature 1", {.temperature = 1.0f, .top_p = 1.0f, .repetition = 1.0f}},
    {"top-p 0.9", {.temperature = 1.0f, .top_p = 0.9f, .repetition = 1.0f}},
    {"top-k 40", {.temperature = 1.0f, .top_k = 40, .top_p = 1.0f, .repetition = 1.0f}},
    {"top-k 40, top-p 0.9", {.temperature = 1.0f, .top_k = 40, .top_p = 0.9f, .repetition = 1.0f}},
};

/* Rows as they come in a round of K drafted tokens, the draft's a little off the target's. */
struct rows {
    float *target[K + 1], *draft[K];
    uint64_t *scratch;
};

static double noise(void)
{
    return (double)rand() / RAND_MAX - 0.5;
}

/* TEXT: probability falls with a power of the rank, as in texts; some ten tokens hold most of it.
 * FLAT: a law that knows next to nothing, the hardest to cut. */
static void fill(float *z, enum shape shape, int row)
{
    for (int32_t i = 0; i < N_VOCAB; i++) {
        int32_t rank = (int32_t)(((int64_t)(i + 997 * row) * 40503 + 12345) % N_VOCAB) + 1;

        z[i] = (float)(shape == TEXT ? -1.5 * log(rank) + 0.2 * noise() : 2.0 * noise());
    }
}

static void rows_alloc(struct rows *r)
{
    for (int i = 0; i <= K; i++)
        r->target[i] = xcalloc(N_VOCAB, sizeof(float));
    for (int i = 0; i < K; i++)
        r->draft[i] = xcalloc(N_VOCAB, sizeof(float));
    r->scratch = xaligned(64, N_VOCAB * 8);
}

static void rows_free(struct rows *r)
{
    for (int i = 0; i <= K; i++)
        free(r->target[i]);
    for (int i = 0; i < K; i++)
        free(r->draft[i]);
    free(r->scratch);
}

static void rows_fill(struct rows *r, enum shape shape)
{
    srand(1);
    for (int i = 0; i <= K; i++)
        fill(r->target[i], shape, i);
    for (int i = 0; i < K; i++)
        fill(r->draft[i], shape, i);
}

struct times {
    uint64_t build[REPEATS_MAX], draw[REPEATS_MAX], verify[REPEATS_MAX];
};

/* One round's laws; times per row. */
static void measure(const struct rows *r, const struct law_context *c, uint64_t seed,
                    struct times *t, int at)
{
    struct law q[K + 1], p[K];
    int32_t drafted[K];
    struct seq_result result;
    uint64_t start = clock_ns(), built, drawn;

    for (int i = 0; i <= K; i++)
        law_build(&q[i], r->target[i], N_VOCAB, c, r->scratch);
    for (int i = 0; i < K; i++)
        law_build(&p[i], r->draft[i], N_VOCAB, c, r->scratch);
    built = clock_ns();
    for (int i = 0; i < K; i++) {
        struct noise n = noise_proposal(seed, VERIFY_RATIO, i, 0);

        drafted[i] = law_draw(&p[i], &n);
    }
    drawn = clock_ns();
    law_verify(&(struct verify_input){.q = q,
                                      .p = p,
                                      .drafted = drafted,
                                      .k = K,
                                      .seed = seed,
                                      .mode = VERIFY_RATIO,
                                      .synthetic_acceptance = -1.0f},
               &result);
    t->verify[at] = (clock_ns() - drawn) / (K + 1);
    t->draw[at] = (drawn - built) / K;
    t->build[at] = (built - start) / (2 * K + 1);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static double median_us(uint64_t *ns, int n)
{
    qsort(ns, (size_t)n, sizeof(*ns), compare);
    return (double)ns[n / 2] * 1e-3;
}

void laws_print(int repeats)
{
    static const char *const names[SHAPES] = {"like text", "nearly flat"};
    static struct times t;
    struct rows rows;
    int n = MIN(repeats, REPEATS_MAX);

    rows_alloc(&rows);
    printf("| %d logits | law | law µs | draw µs | verify µs | a row in all µs |\n"
           "|---|---|---:|---:|---:|---:|\n",
           N_VOCAB);
    for (int shape = 0; shape < SHAPES; shape++) {
        rows_fill(&rows, (enum shape)shape);
        for (size_t i = 0; i < COUNT_OF(cases); i++) {
            struct sample_params params = {.target = cases[i].params};
            struct law_context c = {.params = &params, .law = &params.target};

            for (int j = 0; j < n; j++)
                measure(&rows, &c, (uint64_t)j, &t, j);
            double build = median_us(t.build, n), draw = median_us(t.draw, n);
            double verify = median_us(t.verify, n);
            printf("| %s | %s | %.0f | %.0f | %.0f | %.0f |\n", names[shape], cases[i].name, build,
                   draw, verify, build + draw + verify);
        }
    }
    rows_free(&rows);
}
