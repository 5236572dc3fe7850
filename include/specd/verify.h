/*
 * verify.h - the control flow of verification, written once for every device and for the proof.
 *
 * A template: the includer defines struct chooser and struct mass, includes this file and defines
 * the functions declared below. Production choosers decide by Philox words and races over laws; the
 * chooser of tests/exact walks every branch with its rational weight, so what is proven there is
 * the code that runs here.
 *
 * Indices count from 0: drafted x~_k was drawn from law p_k; q_k is the target's law after
 * x~_0 .. x~_{k-1}; K drafted tokens come with K + 1 target laws. Each function returns how many
 * drafted tokens stand, n, and stores in *last the token that follows them.
 *
 * verify_ratio    Chen et al. 2023 (arXiv 2302.01318), algorithm 2
 * verify_block    Sun et al. 2025 (arXiv 2403.10444), block verification
 * verify_coupled  Daliri et al. 2025 (arXiv 2408.07978), drafter-invariant: *last and all accepted
 *                 tokens are the target's own draws, so the output is that of K = 0
 */
#ifndef SPECD_VERIFY_H
#define SPECD_VERIFY_H

#include "specd/hostdevice.h"

#include <stdbool.h>
#include <stdint.h>

/* struct mass holds a number in [0, 1]. */
/* Draws from q_k, and from norm(max(b q_k - p_k, 0)). */
SPECD_HD int32_t chooser_target(struct chooser *c, int k);
SPECD_HD int32_t chooser_residual(struct chooser *c, int k, struct mass b);
SPECD_HD int32_t chooser_drafted(const struct chooser *c, int k);
/* True with probability min(1, q_k(x~_k) / p_k(x~_k)). */
SPECD_HD bool chooser_accept(struct chooser *c, int k);
/* b -> min(1, b q_k(x~_k) / p_k(x~_k)) */
SPECD_HD struct mass chooser_extend(struct chooser *c, int k, struct mass b);
/* Both decide on x~_k with its own randomness. True with probability b; and with probability
 * A / (A + 1 - b), where A = sum of max(b q_{k+1} - p_{k+1}, 0) and 0/0 is 1. */
SPECD_HD bool chooser_keep_last(struct chooser *c, int k, struct mass b);
SPECD_HD bool chooser_keep(struct chooser *c, int k, struct mass b);
SPECD_HD struct mass mass_one(void);

SPECD_HD int verify_ratio(struct chooser *c, int n_drafted, int32_t *last)
{
    for (int k = 0; k < n_drafted; k++) {
        if (!chooser_accept(c, k)) {
            *last = chooser_residual(c, k, mass_one());
            return k;
        }
    }
    *last = chooser_target(c, n_drafted);
    return n_drafted;
}

/* No early exit: a token that fails alone may stand as part of a longer block. */
SPECD_HD int verify_block(struct chooser *c, int n_drafted, int32_t *last)
{
    struct mass b = mass_one(), b_kept = b;
    int n = 0;

    for (int k = 0; k < n_drafted; k++) {
        b = chooser_extend(c, k, b);
        if (k + 1 == n_drafted ? chooser_keep_last(c, k, b) : chooser_keep(c, k, b)) {
            n = k + 1;
            b_kept = b;
        }
    }
    *last = n == n_drafted ? chooser_target(c, n) : chooser_residual(c, n, b_kept);
    return n;
}

SPECD_HD int verify_coupled(struct chooser *c, int n_drafted, int32_t *last)
{
    for (int k = 0;; k++) {
        *last = chooser_target(c, k);
        if (k == n_drafted || *last != chooser_drafted(c, k))
            return k;
    }
}

#endif
