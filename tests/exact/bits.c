/*
 * Prints checksums of what decides which token is drawn: exp and log, laws, races, verification,
 * over many inputs. tests/exact/check-bits.sh builds this file with several compilers and options;
 * all must print the same. Inputs come from Philox, integers and exact products only, so nothing
 * here depends on the C library.
 */
#include "law.h"
#include "isa.h"
#include "specd/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define V 203
#define K 4

enum kernels { PORTABLE, AVX2, AVX512 };

/* What the sources under test take from elsewhere. */
static enum kernels kernels;

bool cpu_has_avx2(void)
{
    return kernels >= AVX2;
}

bool cpu_has_avx512(void)
{
    return kernels >= AVX512;
}

_Noreturn void specd_assert_fail(const char *cond, const char *file, int line)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, cond);
    abort();
}

static void add(uint64_t *h, uint64_t bits)
{
    *h = (*h ^ bits) * 0x9e3779b97f4a7c15u;
    *h ^= *h >> 29;
}

static void add_double(uint64_t *h, double x)
{
    uint64_t bits;

    memcpy(&bits, &x, sizeof(bits));
    add(h, bits);
}

static uint32_t word(uint32_t a, uint32_t b)
{
    return philox4x32((struct philox){{a, b, 0, 1}}, 42).w[0];
}

static uint64_t sum_fixmath(void)
{
    uint64_t h = 0;

    for (uint32_t i = 0; i < 200000; i++) {
        uint32_t bits = word(i, 0);

        add(&h, fix_to_bits(fix_exp(fix_from_bits(bits % 0x42ae0000u | (i & 1u) << 31))));
        add(&h, fix_to_bits(fix_log(fix_from_bits(0x00800000u + bits % 0x7f000000u))));
        add(&h, fix_to_bits(fix_exponential(bits)));
        add(&h, fix_exp44(-fix_from_bits(bits % 0x42000000u)));
    }
    return h;
}

static float logit(uint32_t row, uint32_t i)
{
    uint32_t w = word(row, i + 1);

    return w % 11 == 0 ? -INFINITY : (float)(int32_t)w * 0x1p-28f;
}

/* One of several sets of parameters, every warp among them. */
static struct sample_params params_of(uint32_t n)
{
    static const int32_t ids[2] = {3, 77};
    static const float bias[2] = {1.3f, -2.7f};

    return (struct sample_params){
        .target = {.temperature = n % 5 == 4 ? 0.0f : 0.3f + 0.37f * (float)(n % 5),
                   .top_k = n % 3 == 0 ? 40 : 0,
                   .top_p = n % 2 ? 0.93f : 1.0f,
                   .min_p = n % 7 == 0 ? 0.01f : 0.0f,
                   .presence = 0.1f * (float)(n % 4),
                   .frequency = 0.3f,
                   .repetition = 1.1f},
        .n_bias = n % 2 ? 2 : 0,
        .bias_ids = ids,
        .bias = bias,
    };
}

struct work {
    float logits[2][K + 1][V];
    uint16_t counts[V];
    uint64_t scratch[V];
    struct law q[K + 1], p[K];
    int32_t drafted[K];
};

static void add_laws(uint64_t *h, struct work *w, uint32_t n, const struct sample_params *params,
                     enum verify_mode mode)
{
    struct law_context c = {.params = params,
                            .law = &params->target,
                            .counts_all = w->counts,
                            .counts_generated = w->counts};

    for (uint32_t k = 0; k <= K; k++) {
        for (uint32_t i = 0; i < V; i++) {
            w->logits[0][k][i] = logit(n * 16 + k, i);
            w->logits[1][k][i] = w->logits[0][k][i] + logit(n * 16 + 8 + k, i) * 0.125f;
            w->counts[i] = word(n, i) % 8 == 0;
        }
        law_build(&w->q[k], w->logits[0][k], V, &c, w->scratch);
        add(h, w->q[k].sum);
        for (int32_t i = 0; i < V; i++)
            add(h, law_weight_of(&w->q[k], i));
        if (k == K)
            break;
        struct noise noise = noise_proposal(n, mode, 10 + (int32_t)k, n);
        law_build(&w->p[k], w->logits[1][k], V, &c, w->scratch);
        w->drafted[k] = law_draw(&w->p[k], &noise);
        add(h, (uint64_t)w->drafted[k]);
        add_double(h, law_residual_mass(&w->q[k], &w->p[k], 0.77));
        add_double(h, law_overlap(&w->q[k], &w->p[k]));
    }
}

static uint64_t sum_rounds(enum kernels most)
{
    static struct work w;
    uint64_t h = 0;

    kernels = most;
    for (uint32_t n = 0; n < 2000; n++) {
        enum verify_mode mode = (enum verify_mode)(n % 3);
        struct sample_params params = params_of(n);
        struct seq_result out = {0};
        struct verify_input in = {.q = w.q,
                                  .p = w.p,
                                  .drafted = w.drafted,
                                  .k = K,
                                  .len = 10,
                                  .round = n,
                                  .seed = n,
                                  .mode = mode,
                                  .synthetic_acceptance = -1};

        add_laws(&h, &w, n, &params, mode);
        law_verify(&in, &out);
        for (int i = 0; i < out.n_tokens; i++)
            add(&h, (uint64_t)out.tokens[i]);
    }
    return h;
}

int main(int argc, char **argv)
{
    uint64_t portable = sum_rounds(PORTABLE);

    printf("fixmath=%016" PRIx64 " rounds=%016" PRIx64 "\n", sum_fixmath(), portable);
    for (int i = 1; i < argc; i++) {
        if (sum_rounds(strcmp(argv[i], "avx512") == 0 ? AVX512 : AVX2) != portable) {
            fprintf(stderr, "the kernels of %s decide otherwise than the portable ones\n", argv[i]);
            return 1;
        }
    }
    return 0;
}
