#include "logprobs.h"

#include "specd/law.h"

#include <math.h>

/* An integer sum, as of a law: the same on every device. Off by the error of exp, 2^-23.5. */
static double log_sum_exp(const float *z, int n)
{
    float max = z[0];
    uint64_t sum = 0;
    for (int i = 1; i < n; i++)
        max = z[i] > max ? z[i] : max;
    for (int i = 0; i < n; i++)
        sum += fix_exp44(z[i] - max);
    return law_log_total(max, sum);
}

/* Keeps the best so far sorted: almost every token fails the first comparison. */
static void keep_best(const float *z, int n, struct token_logprob *top, int n_top)
{
    for (int i = 0; i < n_top; i++)
        top[i] = (struct token_logprob){-1, -INFINITY};
    for (int id = 0; id < n; id++) {
        int at = n_top - 1;
        if (top[at].id >= 0 && !(z[id] > top[at].logprob))
            continue;
        for (; at > 0 && (top[at - 1].id < 0 || z[id] > top[at - 1].logprob); at--)
            top[at] = top[at - 1];
        top[at] = (struct token_logprob){id, z[id]};
    }
}

void logprobs_of_row(const float *logits, int n_vocab, int32_t id, struct token_logprob *own,
                     struct token_logprob *top, int n_top)
{
    double lse = log_sum_exp(logits, n_vocab);
    *own = (struct token_logprob){id, (float)((double)logits[id] - lse)};
    if (n_top > 0)
        keep_best(logits, n_vocab, top, n_top);
    for (int i = 0; i < n_top; i++) {
        if (top[i].id >= 0)
            top[i].logprob = (float)((double)top[i].logprob - lse);
    }
}
