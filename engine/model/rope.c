#include "model/rope.h"

#include <math.h>

bool rope_base_ok(double base)
{
    return base >= 1 && base <= 1e12;
}

bool rope_scale_ok(double scale)
{
    return scale >= 1e-3 && scale <= 1e6;
}

static double pair_freq(const struct model *m, double base, uint32_t i)
{
    return pow(base, -2.0 * i / m->rope_dim);
}

void rope_fill(struct model *m, double base, double scale, const float *factors)
{
    for (uint32_t i = 0; i < m->rope_dim / 2; i++) {
        double factor = factors ? (double)factors[i] : 1.0;
        m->rope_inv_freq[i] = (float)(pair_freq(m, base, i) / scale / factor);
    }
}

void rope_fill_llama3(struct model *m, double base, const struct rope_llama3 *r)
{
    for (uint32_t i = 0; i < m->rope_dim / 2; i++) {
        double freq = pair_freq(m, base, i);
        double turns = r->original_ctx * freq / (2 * M_PI);
        double ramp = (turns - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
        ramp = fmin(fmax(ramp, 0), 1);
        m->rope_inv_freq[i] = (float)((1 - ramp) * freq / r->factor + ramp * freq);
    }
}
