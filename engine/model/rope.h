/*
 * rope.h - the angles of a rotary position embedding (Su et al. 2021, arXiv 2104.09864).
 *
 * Fills model.rope_inv_freq, so that a device knows nothing of bases and stretchings: pair i turns
 * by base^(-2i/rope_dim) per position, divided by what stretches the context. Computed in double,
 * rounded once. rope_dim is checked before (weights_check_sizes). Any thread.
 */
#ifndef SPECD_MODEL_ROPE_H
#define SPECD_MODEL_ROPE_H

#include "specd/model.h"

#define ROPE_BASE_DEFAULT 10000.0

/* Base and stretching are positive, finite and not absurd. */
bool rope_base_ok(double base);
bool rope_scale_ok(double scale);

/* Every pair divided by `scale` (1: not stretched) and by its own factor, where factors, of
 * rope_dim / 2 numbers, is not NULL. */
void rope_fill(struct model *m, double base, double scale, const float *factors);

/* Llama 3.1: pairs that turn seldom within the original context are divided by `factor`, those that
 * turn often are left alone, with a ramp in between. */
struct rope_llama3 {
    double factor, low_freq_factor, high_freq_factor, original_ctx;
};
void rope_fill_llama3(struct model *m, double base, const struct rope_llama3 *r);

#endif
