/*
 * law.h - what every device shares of a law: the warp of one logit, its weight, the random words of
 * a decision, the exponential race and the acceptance test.
 *
 * A law is the integer vector W = floor(exp((z - max) / T) * 2^44) with S = sum W, zero outside
 * what top-k, top-p and min-p keep; z is the logit after penalties, bias and masks. The maximum is
 * taken off before the division by the temperature, so no temperature overflows. Every decision is
 * a function of W, S and Philox words: integer sums and maxima, which need no order, so any block
 * size on any device decides alike. A weight has at most 24 significant bits (exp is a float), so
 * floats carry weights exactly.
 *
 * Distance to the real-valued law: exp's relative error of 2^-23.5 and the rounding of its argument
 * (2^-24 (max - z) / T, as for any sampler on float logits), plus V 2^-44 for the floor. A race
 * picks entry i with probability W_i / S within 2^-21 relative and 2^-32 absolute, an acceptance
 * test errs by less than 2^-32.
 */
#ifndef SPECD_LAW_H
#define SPECD_LAW_H

#include "specd/device.h"
#include "specd/fixmath.h"
#include "specd/philox.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>

#define LAW_ONE (1ull << 44) /* the weight of the largest logit */

/* Of a row's exponentials, from its largest logit and S, for log-probabilities: on the host. */
static inline double law_log_total(float max, uint64_t sum)
{
    return (double)max + log((double)sum * 0x1p-44);
}

/* ---- the warp of one entry ------------------------------------------------------------------- */

/* Presence and frequency count generated tokens, repetition counts all. A result past the largest
 * float stays there: only a raw logit may be called infinite. */
SPECD_HD float law_penalise(float z, const struct law_params *law, uint32_t generated, uint32_t all)
{
    if (all > 0)
        z = z > 0.0f ? z / law->repetition : z * law->repetition;
    if (generated > 0) {
        z -= law->frequency * (float)generated;
        z -= law->presence;
    }
    return z > FLT_MAX ? FLT_MAX : z;
}

SPECD_HD float law_add_bias(float z, float bias)
{
    z += bias;
    return z > FLT_MAX ? FLT_MAX : z;
}

/* 1 / temperature, finite for every temperature > 0. */
SPECD_HD float law_scale(float temperature)
{
    float scale = 1.0f / temperature;

    return scale > FLT_MAX ? FLT_MAX : scale;
}

/* W of a warped logit as a float that holds an integer in [0, 2^44]. */
SPECD_HD float law_weight(float z, float max, float scale)
{
    return fix_exp44f((z - max) * scale);
}

/* Top-k, top-p and min-p all keep a prefix of the order (W descending, id ascending). */
SPECD_HD bool law_keeps(float w, int32_t id, float cut_w, int32_t cut_id)
{
    return w > cut_w || (w == cut_w && id <= cut_id);
}

/* Whether the prefix that ends at (w, id) is a shorter one than that of the cut. */
SPECD_HD bool law_cut_is_shorter(float w, int32_t id, float cut_w, int32_t cut_id)
{
    return w > cut_w || (w == cut_w && id < cut_id);
}

/* Weight below which min-p keeps nothing, and the mass top-p must reach of a law that sums to S. */
SPECD_HD uint64_t law_min_p_weight(float min_p)
{
    return (uint64_t)((double)min_p * 0x1p44);
}

SPECD_HD uint64_t law_top_p_mass(float top_p, uint64_t sum)
{
    uint64_t p = (uint64_t)((double)top_p * 0x1p32);
    /* ceil(p * S / 2^32), p <= 2^32, by halves: the product has 96 bits. */
    uint64_t low = (sum & 0xffffffffu) * p;
    uint64_t mass = (sum >> 32) * p + (low >> 32) + ((low & 0xffffffffu) != 0);

    return mass > 0 ? mass : 1;
}

/* ---- randomness ------------------------------------------------------------------------------ */

/* Streams never share a counter. What a decision sees:
 * TARGET    plain, residual and bonus draws. A position is committed by exactly one such draw,
 *           whatever the rounds before it did, so (seed, position) is enough in every mode, and
 *           K = 0 gives the same tokens in every mode.
 * ACCEPT, PROPOSAL  may be consulted again for the same position in a later round, so they carry
 *           the round number: without it a K that adapts, or block verification, is biased.
 * Coupled verification shares TARGET between the draft and the target, that is its point. */
enum noise_stream { NOISE_TARGET, NOISE_ACCEPT, NOISE_PROPOSAL, NOISE_SYNTHETIC };

/* Randomness of one decision: Philox key and counter words 1 to 3; word 0 is vocabulary id / 4. */
struct noise {
    uint64_t seed;
    uint32_t position, stream, round;
};

/* Of the draw of a committed token at `position`. */
SPECD_HD struct noise noise_target(uint64_t seed, int32_t position)
{
    struct noise n = {seed, (uint32_t)position, NOISE_TARGET, 0};

    return n;
}

/* Of the draw of a drafted token that would stand at `position`. */
SPECD_HD struct noise noise_proposal(uint64_t seed, enum verify_mode mode, int32_t position,
                                     uint32_t round)
{
    struct noise n = {seed, (uint32_t)position, NOISE_PROPOSAL, round};

    return mode == VERIFY_COUPLED ? noise_target(seed, position) : n;
}

SPECD_HD struct philox noise_words(const struct noise *n, uint32_t group)
{
    struct philox ctr = {{group, n->position, n->stream, n->round}};

    return philox4x32(ctr, n->seed);
}

/* The 32 bits behind a yes-or-no decision: of the ACCEPT or the SYNTHETIC stream. */
SPECD_HD uint32_t noise_coin(uint64_t seed, enum noise_stream stream, int32_t position,
                             uint32_t round)
{
    struct noise n = {seed, (uint32_t)position, (uint32_t)stream, round};

    return noise_words(&n, 0).w[0];
}

/* u < x with u = bits * 2^-32 in [0, 1): never for x = 0, always for x >= 1. */
SPECD_HD bool coin_below(uint32_t bits, double x)
{
    return (double)bits * 0x1p-32 < x;
}

/* The ratio test u p < q without a division: p = q always accepts, q = 0 never does. */
SPECD_HD bool law_accepts(uint32_t bits, double p, double q)
{
    return (double)bits * 0x1p-32 * p < q;
}

/* Block verification (specd/verify.h): min(1, b q / p), and keeping a token before the last with
 * probability a / (a + 1 - b), where 0/0 is 1. */
SPECD_HD double law_extend(double b, double p, double q)
{
    return b * q < p ? b * q / p : 1.0;
}

SPECD_HD bool law_keeps_block(uint32_t bits, double a, double b)
{
    double u = (double)bits * 0x1p-32;

    return a + (1.0 - b) <= 0.0 || u * (a + (1.0 - b)) < a;
}

/* ---- the exponential race: argmax of weight / E draws proportionally to the weights ---------- */

struct race {
    double score; /* of the leader; 0 while nobody with mass has started */
    int32_t id;   /* -1 while there is none */
};

SPECD_HD struct race race_start(void)
{
    struct race r = {0.0, -1};

    return r;
}

SPECD_HD double race_score(double weight, uint32_t bits)
{
    return weight / (double)fix_exponential(bits);
}

/* What spares most entries their logarithm, and whole blocks their random words: E is never below
 * bits * RACE_U, nor below RACE_U_MIN, so an entry whose weight is less than the leader's score
 * times that cannot win or tie. */
#define RACE_U (0x1p-32 - 0x1p-48)
#define RACE_U_MIN 0x1p-34

SPECD_HD bool race_hopeless(double weight, uint32_t bits, double score)
{
    return weight < score * ((double)bits * RACE_U);
}

/* Order-free: the higher score leads, the lower id at equal scores. */
SPECD_HD void race_enter(struct race *r, double score, int32_t id)
{
    if (score > r->score || (score == r->score && id < r->id)) {
        r->score = score;
        r->id = id;
    }
}

#endif
