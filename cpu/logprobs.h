/*
 * logprobs.h - natural logarithms of a row's probabilities, before any warp.
 */
#ifndef SPECD_CPU_LOGPROBS_H
#define SPECD_CPU_LOGPROBS_H

#include "specd/device.h"

/* Token `id`'s own, and the n_top <= SPECD_LOGPROBS_MAX largest in descending order, the lower id
 * first on ties; with fewer than n_top tokens the rest has id -1. */
void logprobs_of_row(const float *logits, int n_vocab, int32_t id, struct token_logprob *own,
                     struct token_logprob *top, int n_top);

#endif
