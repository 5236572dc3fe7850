#include "law_kernels.h"

static bool max_portable(const float *z, int n, float *max)
{
    bool good = true;
    float m = -INFINITY;

    for (int i = 0; i < n; i++) {
        good &= z[i] <= FLT_MAX;
        m = z[i] > m ? z[i] : m;
    }
    *max = m;
    return good;
}

static bool weights_portable(const float *z, int n, int32_t first, float max, float scale,
                             float cut_w, int32_t cut_id, float *w)
{
    bool any = false;

    for (int i = 0; i < n; i++) {
        float x = law_weight(z[i], max, scale);

        w[i] = law_keeps(x, first + i, cut_w, cut_id) ? x : 0.0f;
        any |= w[i] > 0.0f;
    }
    return any;
}

static uint64_t sum_portable(const float *w, int n)
{
    uint64_t sum = 0;

    for (int i = 0; i < n; i++)
        sum += (uint64_t)w[i];
    return sum;
}

static void widen_portable(const float *w, int n, double *r)
{
    for (int i = 0; i < n; i++)
        r[i] = (double)w[i];
}

static int collect_portable(const float *w, int n, int32_t first, float lo, float hi, int32_t *ids,
                            struct law_total *above)
{
    int found = 0;

    for (int i = 0; i < n; i++) {
        if (w[i] >= hi) {
            above->count++;
            above->mass += (uint64_t)w[i];
        } else if (w[i] >= lo) {
            ids[found++] = first + i;
        }
    }
    return found;
}

static bool residual_portable(const float *wq, double sq, const float *wp, double sp, double b,
                              int n, double *r)
{
    bool any = false;

    for (int i = 0; i < n; i++) {
        double x = b * ((double)wq[i] / sq) - (double)wp[i] / sp;

        r[i] = x > 0.0 ? x : 0.0;
        any |= x > 0.0;
    }
    return any;
}

static uint64_t mass_portable(const double *r, int n)
{
    uint64_t sum = 0;

    for (int i = 0; i < n; i++)
        sum += (uint64_t)(r[i] * 0x1p62);
    return sum;
}

static void race_portable(const double *r, int n, int32_t first, const struct noise *noise,
                          struct race *race)
{
    for (int i = 0; i < n; i += 4) {
        int m = n - i < 4 ? n - i : 4;
        bool any = false;

        for (int j = 0; j < m; j++)
            any |= r[i + j] > race->score * RACE_U_MIN;
        if (!any)
            continue;
        struct philox bits = noise_words(noise, (uint32_t)(first + i) / 4);
        for (int j = 0; j < m; j++) {
            if (!race_hopeless(r[i + j], bits.w[j], race->score))
                race_enter(race, race_score(r[i + j], bits.w[j]), first + i + j);
        }
    }
}

const struct law_kernels law_kernels_portable = {
    .max = max_portable,
    .weights = weights_portable,
    .sum = sum_portable,
    .widen = widen_portable,
    .collect = collect_portable,
    .residual = residual_portable,
    .mass = mass_portable,
    .race = race_portable,
};
