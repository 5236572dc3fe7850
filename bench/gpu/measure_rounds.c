/* Whole rounds of a pair: what sampling takes, the gap between rounds, what speculation gains. */
#include "measures.h"

#include "specd/util.h"

#include <math.h>
#include <stdio.h>

#define ALPHA 0.8
#define K_PAPER 4
#define MARGIN 1.02 /* a larger K must be that much better, or noise would choose */

struct law_case {
    const char *name;
    struct law_params law;
};

/* A round of one slot on paper, without the gap before it. */
static double paper_round(const struct bench *b, int k)
{
    double draft = predict_pass(b->shapes[MODEL_DRAFT], b->setup.weights[MODEL_DRAFT], 1,
                                b->context, &b->rates, false);
    return k * draft + predict_sampling(k) +
           predict_pass(b->shapes[MODEL_TARGET], b->setup.weights[MODEL_TARGET], k + 1, b->context,
                        &b->rates, false);
}

void measure_sampling(struct bench *b)
{
    static const struct law_case laws[] = {
        {"greedy", {.temperature = 0, .top_p = 1, .repetition = 1}},
        {"temperature 1", {.temperature = 1, .top_p = 1, .repetition = 1}},
        {"top-k 40, top-p 0.9", {.temperature = 1, .top_k = 40, .top_p = 0.9f, .repetition = 1}},
        {"penalties", {.temperature = 1, .top_p = 1, .repetition = 1.1f, .presence = 0.5f}}};
    static const int ks[] = {0, K_PAPER};
    struct law_params before = b->law;
    printf("\n## Laws, draws and verification, V = %u\n\n"
           "| law | K | drafts ms | pass ms | sampling ms | share of the round |\n"
           "|---|---:|---:|---:|---:|---:|\n",
           b->shapes[MODEL_TARGET]->vocab);
    for (size_t i = 0; i < COUNT_OF(laws) * COUNT_OF(ks); i++) {
        int k = ks[i % COUNT_OF(ks)];
        const struct law_case *law = &laws[i / COUNT_OF(ks)];
        b->law = law->law;
        struct timing t =
            bench_stream(b, 1, b->context, k, DRAFT_FROM_MODEL, k ? ALPHA : -1, stream_rounds);
        double share = 100 * t.sample / (t.draft + t.verify + t.sample);
        printf("| %s | %d | %.3f | %.3f | %.4f | %.2f %% |\n", law->name, k, t.draft * 1e3,
               t.verify * 1e3, t.sample * 1e3, share);
        if (k == K_PAPER && b->shapes[MODEL_TARGET] == &shape_8b && law->law.top_k == 0 &&
            law->law.temperature > 0 && law->law.presence == 0)
            verdict_add(&(struct verdict){"laws, draws and verification, share of a round, %",
                                          share, 100 * predict_sampling(k) / paper_round(b, k), 3,
                                          false});
    }
    b->law = before;
}

void measure_gap(struct bench *b)
{
    static const int ks[] = {0, K_PAPER};
    int allowed = b->depth;
    printf("\n## The device's idle time between rounds\n\n"
           "| in flight | K | slots | median us | worst us | round ms |\n"
           "|---:|---:|---:|---:|---:|---:|\n");
    for (size_t i = 0; i < COUNT_OF(ks) * 4; i++) {
        int k = ks[i / 2 % 2], slots = i % 2 ? MIN(16, b->setup.n_slots) : 1;
        b->depth = i < 4 ? allowed : 1;
        if (i >= 4 && allowed == 1)
            break;
        struct timing t =
            bench_stream(b, slots, b->context, k, DRAFT_FROM_MODEL, k ? ALPHA : -1, stream_rounds);
        printf("| %d | %d | %d | %.2f | %.2f | %.3f |\n", b->depth, k, slots, t.idle * 1e6,
               t.idle_worst * 1e6, t.wall * 1e3);
        if (i == 0 && allowed > 1 && b->shapes[MODEL_TARGET] == &shape_8b)
            verdict_add(&(struct verdict){"idle time of the device between rounds, us",
                                          t.idle_worst > 0 ? t.idle * 1e6 : (double)NAN,
                                          sampling_us.gap, 10, false});
    }
    b->depth = allowed;
}

/* Tokens of a round with K drafts, each accepted with probability alpha (Leviathan et al. 2023). */
static double expected_tokens(double alpha, int k)
{
    return (1 - pow(alpha, k + 1)) / (1 - alpha);
}

void measure_speedup(struct bench *b)
{
    struct timing plain = bench_stream(b, 1, b->context, 0, DRAFT_FROM_MODEL, -1, stream_rounds);
    printf("\n## Speculation at forced acceptance %.1f, one slot\n\n"
           "Closed form: tokens of a round over (c K + 1), c a draft step over a plain round, both "
           "measured.\n\n"
           "| K | tokens per round | expected | round ms | c | speed-up | closed form | over it |\n"
           "|---:|---:|---:|---:|---:|---:|---:|---:|\n",
           ALPHA);
    for (int k = 1; k <= 8; k++) {
        struct timing t =
            bench_stream(b, 1, b->context, k, DRAFT_FROM_MODEL, ALPHA, 2 * stream_rounds);
        double c = t.draft / k / plain.wall, tokens = expected_tokens(ALPHA, k);
        /* Tokens are counted on paper: a hundred coins would only add noise. */
        double gain = tokens / t.wall * plain.wall, closed = tokens / (c * k + 1);
        printf("| %d | %.2f | %.2f | %.3f | %.3f | %.3f | %.3f | %.1f %% |\n", k, t.tokens, tokens,
               t.wall * 1e3, c, gain, closed, 100 * gain / closed);
        if (k == K_PAPER && b->shapes[MODEL_TARGET] == &shape_8b) {
            double draft = predict_pass(b->shapes[MODEL_DRAFT], b->setup.weights[MODEL_DRAFT], 1,
                                        b->context, &b->rates, false);
            double gap = sampling_us.gap * 1e-6;
            double paper = (k * draft + paper_round(b, 0) + gap) / (paper_round(b, k) + gap);
            verdict_add(&(struct verdict){"speed-up at forced 0.8, K = 4, over the closed form, %",
                                          100 * gain / closed, 100 * paper, 95, true});
        }
    }
}

/* K by cost, as the engine chooses it: expected tokens over measured time, K = 0 included. What it
 * then yields is measured in streams of their own, or the choice would count its luck as gain. */
void measure_slots(struct bench *b, int most)
{
    static const int ks[] = {0, 1, 2, 3, 4, 5, 6, 8};
    double worst = INFINITY;
    printf("\n## Tokens per second of all slots, forced acceptance %.1f, K by cost\n\n"
           "| slots | K = 0 | best K | with it | over K = 0 |\n|---:|---:|---:|---:|---:|\n",
           ALPHA);
    for (int n = 1; n <= most; n *= 2) {
        double best = 0, rate[2];
        int k_best = 0;
        for (size_t i = 0; i < COUNT_OF(ks); i++) {
            struct timing t = bench_stream(b, n, b->context, ks[i], DRAFT_FROM_MODEL,
                                           ks[i] ? ALPHA : -1, MIN(stream_rounds, 20));
            double value = expected_tokens(ALPHA, ks[i]) / t.wall;
            if (value > best * (i == 0 ? 1 : MARGIN))
                best = value, k_best = ks[i];
        }
        for (int with = 0; with < 2; with++) {
            int k = with ? k_best : 0;
            struct timing t =
                bench_stream(b, n, b->context, k, DRAFT_FROM_MODEL, k ? ALPHA : -1, stream_rounds);
            rate[with] = n * expected_tokens(ALPHA, k) / t.wall;
        }
        double gain = k_best == 0 ? 1 : rate[1] / rate[0];
        printf("| %d | %.0f | %d | %.0f | %.3f |\n", n, rate[0], k_best, rate[1], gain);
        fflush(stdout);
        worst = MIN(worst, gain);
    }
    if (b->shapes[MODEL_TARGET] == &shape_8b)
        verdict_add(&(struct verdict){"1..64 slots, K by cost over K = 0, the least", worst, 1.0,
                                      1.0, true});
}
