/*
 * rope.h - the angles of a rotary position embedding (Su et al. 2021, arXiv 2104.09864).
 *
 * Fills the first rope_dim / 2 pairs of a table, so that a device knows nothing of bases and
 * stretchings: pair i turns by base^(-2i/rope_dim) per position, divided by what stretches the
 * context. Computed in double, rounded once. rope_dim is checked before (weights_check_sizes). Any
 * thread.
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
void rope_fill(struct rope_angles *to, uint32_t rope_dim, double base, double scale,
               const float *factors);

/* YaRN (Peng et al. 2023, arXiv 2309.00071): pairs that turn more than beta_fast times within the
 * original context are left alone, those that turn less than beta_slow times are divided by
 * `factor`, with a ramp in between, whose ends are pairs if it is truncated. What is rotated is
 * multiplied by `magnitude`. */
struct rope_yarn {
    double factor, original_ctx, beta_fast, beta_slow, magnitude;
    bool truncate;
};
#define YARN_BETA_FAST 32.0
#define YARN_BETA_SLOW 1.0
/* The magnitude that goes with a factor where a file states none; 0.1 times `weight` for each
 * factor of e. */
double rope_yarn_magnitude(double factor, double weight);
/* NULL, or which number is out of range. */
const char *rope_yarn_bad(const struct rope_yarn *r, double base);
void rope_fill_yarn(struct rope_angles *to, uint32_t rope_dim, double base,
                    const struct rope_yarn *r);

/* Llama 3.1: pairs that turn seldom within the original context are divided by `factor`, those that
 * turn often are left alone, with a ramp in between. */
struct rope_llama3 {
    double factor, low_freq_factor, high_freq_factor, original_ctx;
};
void rope_fill_llama3(struct rope_angles *to, uint32_t rope_dim, double base,
                      const struct rope_llama3 *r);

#endif
