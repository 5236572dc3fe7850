/* Passes of one model: plain decode, many rows, long contexts, prompts. */
#include "measures.h"

#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double predicted(const struct bench *b, enum model_role role, int rows, int context)
{
    return predict_pass(b->shapes[role], b->setup.weights[role], rows, context, &b->rates, false);
}

/* Bytes read per second over the measured bandwidth. */
static double share_read(const struct bench *b, enum model_role role, int context, double seconds)
{
    double bytes = shape_pass_bytes(b->shapes[role], b->setup.weights[role], context);
    return bytes / seconds / b->info.read_bandwidth;
}

/* Of a pass of one row; `reach` was set for an H100, and other GPUs have other rooms. */
static void share_verdict(const struct bench *b, const char *what, double seconds, double reach)
{
    double pass = predicted(b, MODEL_TARGET, 1, b->context);
    verdict_add(
        &(struct verdict){.what = what,
                          .measured = 100 * share_read(b, MODEL_TARGET, b->context, seconds),
                          .predicted = 100 * share_read(b, MODEL_TARGET, b->context, pass),
                          .reach = strstr(b->info.name, "H100") ? reach : (double)NAN,
                          .at_least = true});
}

void measure_decode(struct bench *b)
{
    const struct shape *s = b->shapes[MODEL_TARGET];
    int context = b->context;
    struct timing t = bench_stream(b, 1, context, 0, DRAFT_FROM_MODEL, -1, stream_rounds);
    double bytes = shape_pass_bytes(s, b->setup.weights[MODEL_TARGET], context);
    double paper = predicted(b, MODEL_TARGET, 1, context);
    printf("\n## Plain decode, %s, one slot, %d rows of context\n\n"
           "| tokens/s | round ms | pass ms | predicted pass ms | GB read | GB/s | of measured "
           "bandwidth |\n|---:|---:|---:|---:|---:|---:|---:|\n"
           "| %.1f | %.3f | %.3f | %.3f | %.3f | %.0f | %.1f %% |\n",
           s->name, context, 1 / t.wall, t.wall * 1e3, t.verify * 1e3, paper * 1e3, bytes * 1e-9,
           bytes / t.wall * 1e-9, 100 * share_read(b, MODEL_TARGET, context, t.wall));
    if (s == &shape_8b)
        share_verdict(b, "8B plain decode, bytes read over measured bandwidth, %", t.wall, 85);
}

void measure_draft_alone(const struct config *c)
{
    struct bench_plan plan = {.shapes = {c->draft},
                              .weights = {WEIGHT_BF16},
                              .n_slots = 1,
                              .context = c->context,
                              .longest = c->context,
                              .max_rows = 512,
                              .reproducible = c->reproducible,
                              .one_in_flight = c->one_in_flight};
    for (int eager = c->eager; eager < 2; eager++) {
        struct bench b;
        char err[256] = "";
        plan.eager = eager;
        if (bench_open(&b, c->ops, &plan, err, sizeof(err)) != 0) {
            fprintf(stderr, "bench-gpu: %s\n", err);
            exit(1);
        }
        struct timing t = bench_stream(&b, 1, c->context, 0, DRAFT_FROM_MODEL, -1, stream_rounds);
        double share = 100 * share_read(&b, MODEL_TARGET, c->context, t.verify);
        if (eager == c->eager)
            printf("\n## %s alone: one draft step\n\n| launches | pass ms | predicted pass ms | of "
                   "measured bandwidth, the pass | the round | tokens/s |\n"
                   "|---|---:|---:|---:|---:|---:|\n",
                   c->draft->name);
        printf("| %s | %.3f | %.3f | %.1f %% | %.1f %% | %.1f |\n", eager ? "one by one" : "graphs",
               t.verify * 1e3, predicted(&b, MODEL_TARGET, 1, c->context) * 1e3, share,
               100 * share_read(&b, MODEL_TARGET, c->context, t.wall), 1 / t.wall);
        if (!eager && c->draft == &shape_1b)
            share_verdict(&b, "1B draft step, bytes read over measured bandwidth, %", t.verify, 75);
        bench_close(&b);
    }
}

/* Rows up to K + 1 are one slot's, above that several slots share them. */
void measure_rows(struct bench *b)
{
    static const int rows[] = {1, 2, 3, 5, 8, 9, 16, 17, 32, 64, 128};
    double one = 0, paper = predicted(b, MODEL_TARGET, 1, b->context);
    printf("\n## Verify passes by rows, %s, host drafts, %d rows of context\n\n"
           "| rows | slots | pass ms | over 1 row | predicted | rows/s |\n"
           "|---:|---:|---:|---:|---:|---:|\n",
           b->shapes[MODEL_TARGET]->name, b->context);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int per_slot = rows[i] <= SPECD_K_MAX + 1 ? rows[i] : SPECD_K_MAX;
        int slots = rows[i] / per_slot;
        if (slots > b->setup.n_slots) {
            printf("| %d | skipped: %d slots are open | | | | |\n", rows[i], b->setup.n_slots);
            continue;
        }
        struct timing t = bench_repeat(b, slots, b->context, per_slot - 1, DRAFT_FROM_HOST, -1,
                                       MIN(stream_rounds, 30));
        if (i == 0)
            one = t.verify;
        char over[16] = ""; /* on paper, as far as it goes */
        double ratio = predicted(b, MODEL_TARGET, rows[i], b->context) / paper;
        if (rows[i] <= 8)
            snprintf(over, sizeof(over), "%.3f", ratio);
        printf("| %d | %d | %.3f | %.3f | %s | %.0f |\n", rows[i], slots, t.verify * 1e3,
               t.verify / one, over, rows[i] / t.verify);
        if (rows[i] == 5 && b->shapes[MODEL_TARGET] == &shape_8b)
            verdict_add(&(struct verdict){"8B, pass of 5 rows over pass of 1", t.verify / one,
                                          ratio, 1.10, false});
    }
}

void measure_contexts(struct bench *b, int longest)
{
    bench_prompt(b, MODEL_TARGET, longest); /* the rows that are read below */
    bench_prompt(b, MODEL_DRAFT, longest);
    printf("\n## Decode by context, %s, one slot\n\n"
           "| context | pass ms | predicted ms | of measured bandwidth | tokens/s |\n"
           "|---:|---:|---:|---:|---:|\n",
           b->shapes[MODEL_TARGET]->name);
    for (int n = MIN(1024, longest); n <= longest; n *= 2) {
        struct timing t = bench_stream(b, 1, n, 0, DRAFT_FROM_MODEL, -1, MIN(stream_rounds, 30));
        printf("| %d | %.3f | %.3f | %.1f %% | %.1f |\n", n, t.verify * 1e3,
               predicted(b, MODEL_TARGET, 1, n) * 1e3,
               100 * share_read(b, MODEL_TARGET, n, t.verify), 1 / t.wall);
    }
}

void measure_prompts(struct bench *b, int longest)
{
    static const int rows[] = {512, 1024, 2048, 4096, 8192};
    printf("\n## Prompts, chunks of %d rows\n\n"
           "| model | rows | ms | tokens/s | TFLOP/s |\n|---|---:|---:|---:|---:|\n",
           b->setup.max_rows);
    for (int role = MODEL_ROLES - 1; role >= 0; role--) {
        if (!b->shapes[role])
            continue;
        for (size_t i = 0; i <= COUNT_OF(rows); i++) {
            int n = i < COUNT_OF(rows) ? rows[i] : longest;
            if (n > longest || (i == COUNT_OF(rows) && longest <= rows[i - 1]))
                continue;
            double seconds = bench_prompt(b, (enum model_role)role, n);
            printf("| %s | %d | %.2f | %.0f | %.1f |\n", b->shapes[role]->name, n, seconds * 1e3,
                   n / seconds, shape_prompt_flop(b->shapes[role], n) / seconds * 1e-12);
        }
    }
}

void measure_types(const struct config *c)
{
    static const enum weight_type types[] = {WEIGHT_BF16, WEIGHT_FP8, WEIGHT_Q8_0, WEIGHT_INT4};
    printf(
        "\n## Weight types, plain decode, one slot, %d rows of context\n\n"
        "| model | weights | GB | pass ms | predicted ms | of measured bandwidth | 5 rows over 1 "
        "| load s |\n|---|---|---:|---:|---:|---:|---:|---:|\n",
        c->context);
    for (int i = 0; i < (int)COUNT_OF(types) * MODEL_ROLES; i++) {
        int role = i / (int)COUNT_OF(types);
        enum weight_type type = types[i % (int)COUNT_OF(types)];
        const char *name = weight_name(type);
        const struct shape *s = role == MODEL_TARGET ? c->target : c->draft;
        struct bench_plan plan = {.shapes = {s},
                                  .weights = {type},
                                  .n_slots = 1,
                                  .context = c->context,
                                  .longest = c->context,
                                  .max_rows = 512,
                                  .reproducible = c->reproducible,
                                  .one_in_flight = c->one_in_flight};
        struct bench b;
        char err[256] = "";
        if (c->deadline && clock_ns() > c->deadline) {
            printf("| %s | %s | skipped: no time left | | | | | |\n", s->name, name);
            continue;
        }
        if (bench_open(&b, c->ops, &plan, err, sizeof(err)) != 0) {
            printf("| %s | %s | skipped: %s | | | | | |\n", s->name, name, err);
            continue;
        }
        struct timing t = bench_stream(&b, 1, c->context, 0, DRAFT_FROM_MODEL, -1, stream_rounds);
        struct timing one = bench_repeat(&b, 1, c->context, 0, DRAFT_FROM_HOST, -1, 20);
        struct timing five = bench_repeat(&b, 1, c->context, 4, DRAFT_FROM_HOST, -1, 20);
        printf("| %s | %s | %.2f | %.3f | %.3f | %.1f %% | %.3f | %.1f |\n", s->name, name,
               (double)b.plan.weights_bytes[MODEL_TARGET] * 1e-9, t.verify * 1e3,
               predicted(&b, MODEL_TARGET, 1, c->context) * 1e3,
               100 * share_read(&b, MODEL_TARGET, c->context, t.verify), five.verify / one.verify,
               b.load_seconds);
        fflush(stdout);
        bench_close(&b);
    }
}
