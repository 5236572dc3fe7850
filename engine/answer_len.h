/*
 * answer_len.h - how many tokens are still to come? What such requests lately took to end, by the
 * length of their prompt.
 *
 * Whether work for later rounds pays (the draft model's KV of a prompt) depends on how many there
 * will be. Lengths are counted in powers of two, old ones fade. A request that has outlived all
 * that was seen is expected to go on for as long again.
 *
 * Pure data. Engine thread. Nothing fails.
 */
#ifndef SPECD_ANSWER_LEN_H
#define SPECD_ANSWER_LEN_H

#include <stdint.h>

#define ANSWER_LEN_BUCKETS 20   /* of 1, 2-3, 4-7, ... tokens */
#define ANSWER_PROMPT_CLASSES 6 /* prompts below 32, 128, 512, 2048, 8192 tokens, and others */

struct answer_lens {
    float ended[ANSWER_PROMPT_CLASSES][ANSWER_LEN_BUCKETS];
};

/* An answer of n tokens ended, by itself or at its bound. */
void answer_len_observe(struct answer_lens *a, int32_t n_prompt, int32_t n);
/* Tokens that an answer of n tokens so far will still get, at most `left`. a NULL: nothing is known
 * but the bound. */
double answer_len_rest(const struct answer_lens *a, int32_t n_prompt, int32_t n, int32_t left);

#endif
