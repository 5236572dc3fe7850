#include "answer_len.h"

#include "specd/util.h"

#define DECAY 0.97f       /* of what was seen, with each answer that ends */
#define PRIOR_WEIGHT 0.5f /* answers that a class counts for in the others */
#define UNSEEN 200        /* tokens of an answer when none was seen */

static int bucket_of(int32_t n)
{
    int b = 0;
    while (b < ANSWER_LEN_BUCKETS - 1 && n >> (b + 1) > 0)
        b++;
    return b;
}

static int class_of(int32_t n_prompt)
{
    int c = 0;
    for (int32_t most = 32; c < ANSWER_PROMPT_CLASSES - 1 && n_prompt >= most; most *= 4)
        c++;
    return c;
}

void answer_len_observe(struct answer_lens *a, int32_t n_prompt, int32_t n)
{
    float *ended = a->ended[class_of(n_prompt)];
    for (int b = 0; b < ANSWER_LEN_BUCKETS; b++)
        ended[b] *= DECAY;
    ended[bucket_of(MAX(n, 1))] += 1;
}

/* Answers of bucket b: of this class, and a little of the others. */
static double weight_of(const struct answer_lens *a, int class, int b)
{
    double all = 0;
    for (int c = 0; c < ANSWER_PROMPT_CLASSES; c++)
        all += a->ended[c][b];
    return a->ended[class][b] + PRIOR_WEIGHT * (all - a->ended[class][b]) / ANSWER_PROMPT_CLASSES;
}

double answer_len_rest(const struct answer_lens *a, int32_t n_prompt, int32_t n, int32_t left)
{
    double sum = 0, weight = 0;
    for (int b = 0; a && b < ANSWER_LEN_BUCKETS; b++) {
        double low = (double)(INT64_C(1) << b), middle = 1.5 * low;
        double w = weight_of(a, class_of(n_prompt), b);
        if (2 * low <= n + 1)
            continue;
        /* Of a bucket that the answer is in, what is left of it has half to go. */
        if (low < n)
            w *= (2 * low - n) / low;
        middle = MAX(middle, (n + 2 * low) / 2);
        weight += w;
        sum += w * MIN(middle - n, (double)left);
    }
    double unseen = MIN((double)MAX(n, UNSEEN - n), (double)left);
    return (sum + 0.25 * unseen) / (weight + 0.25);
}
