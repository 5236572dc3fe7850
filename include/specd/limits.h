/*
 * limits.h - compile-time sizes that more than one room relies on.
 *
 * The hostile build (cmake -DSPECD_HOSTILE=ON) shrinks them until eviction, preemption and the
 * clamps on K happen in every test.
 */
#ifndef SPECD_LIMITS_H
#define SPECD_LIMITS_H

#ifdef SPECD_HOSTILE
#define SPECD_BLOCK_TOKENS 4 /* tokens of KV in a block */
#define SPECD_K_MAX 3        /* drafted tokens in a round, per slot */
#define SPECD_SCORE_ROWS 5   /* prompt rows with logits in a round */
#else
#define SPECD_BLOCK_TOKENS 16
#define SPECD_K_MAX 16
#define SPECD_SCORE_ROWS 64
#endif

#define SPECD_SLOTS_MAX 256       /* sequences on the device at once */
#define SPECD_ENDS_MAX 80         /* end tokens of a sequence: a model's own and a request's */
#define SPECD_BIAS_MAX 1024       /* entries of logit_bias */
#define SPECD_VOCAB_MAX (3 << 17) /* S = sum of W must fit 64 bits: 3 * 2^17 * 2^44 < 2^63 */
#define SPECD_DRAFT_LAG_MAX 2     /* rows a draft step may feed for one slot */

#endif
