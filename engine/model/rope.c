#include "model/rope.h"

#include "specd/model_check.h"

#include <math.h>

bool rope_base_ok(double base)
{
    return base >= 1 && base <= 1e12;
}

bool rope_scale_ok(double scale)
{
    return scale >= 1e-3 && scale <= 1e6;
}

static double pair_freq(uint32_t rope_dim, double base, uint32_t i)
{
    return pow(base, -2.0 * i / rope_dim);
}

void rope_fill(struct rope_angles *to, uint32_t rope_dim, double base, double scale,
               const float *factors)
{
    to->magnitude = 1.0f;
    for (uint32_t i = 0; i < rope_dim / 2; i++) {
        double factor = factors ? (double)factors[i] : 1.0;
        to->inv_freq[i] = (float)(pair_freq(rope_dim, base, i) / scale / factor);
    }
}

void rope_fill_llama3(struct rope_angles *to, uint32_t rope_dim, double base,
                      const struct rope_llama3 *r)
{
    to->magnitude = 1.0f;
    for (uint32_t i = 0; i < rope_dim / 2; i++) {
        double freq = pair_freq(rope_dim, base, i);
        double turns = r->original_ctx * freq / (2 * M_PI);
        double ramp = (turns - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
        ramp = fmin(fmax(ramp, 0), 1);
        to->inv_freq[i] = (float)((1 - ramp) * freq / r->factor + ramp * freq);
    }
}

double rope_yarn_magnitude(double factor, double weight)
{
    return factor > 1 ? 0.1 * weight * log(factor) + 1 : 1;
}

const char *rope_yarn_bad(const struct rope_yarn *r, double base)
{
    if (!(base > 1))
        return "base";
    if (!rope_scale_ok(r->factor))
        return "factor";
    if (!(r->original_ctx >= 1 && r->original_ctx <= SIZE_CTX_MAX))
        return "original context";
    if (!(r->beta_slow > 0 && r->beta_fast >= r->beta_slow && r->beta_fast <= 1e6))
        return "beta_fast or beta_slow";
    return r->magnitude > 0 && r->magnitude <= 100 ? NULL : "attention factor";
}

/* The pair, as a fraction, that turns so many times within the original context. */
static double yarn_pair(uint32_t rope_dim, double base, const struct rope_yarn *r, double turns)
{
    return rope_dim * log(r->original_ctx / (turns * 2 * M_PI)) / (2 * log(base));
}

void rope_fill_yarn(struct rope_angles *to, uint32_t rope_dim, double base,
                    const struct rope_yarn *r)
{
    double low = yarn_pair(rope_dim, base, r, r->beta_fast),
           high = yarn_pair(rope_dim, base, r, r->beta_slow);
    low = fmax(r->truncate ? floor(low) : low, 0);
    high = fmin(r->truncate ? ceil(high) : high, rope_dim - 1);
    if (high == low)
        high += 0.001;
    to->magnitude = (float)r->magnitude;
    for (uint32_t i = 0; i < rope_dim / 2; i++) {
        double freq = pair_freq(rope_dim, base, i);
        double ramp = fmin(fmax((i - low) / (high - low), 0), 1);
        to->inv_freq[i] = (float)(freq / r->factor * ramp + freq * (1 - ramp));
    }
}
