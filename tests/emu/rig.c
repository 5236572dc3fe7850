#include "rig.h"

#include "specd/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TAKEN_MAX 4096

static void *taken[TAKEN_MAX];
static int n_taken;

void *device_take(size_t bytes)
{
    void *p;

    assert_true(n_taken < TAKEN_MAX);
    assert_int_equal(cudaMalloc(&p, bytes), cudaSuccess);
    return taken[n_taken++] = p;
}

void *device_copy(const void *host, size_t bytes)
{
    void *p = device_take(bytes);

    assert_int_equal(cudaMemcpy(p, host, bytes, cudaMemcpyHostToDevice), cudaSuccess);
    return p;
}

void device_read(void *host, const void *device, size_t bytes)
{
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    assert_int_equal(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost), cudaSuccess);
}

void device_free_all(void)
{
    while (n_taken > 0)
        assert_int_equal(cudaFree(taken[--n_taken]), cudaSuccess);
}

struct sampling_shape shape_random(void)
{
    static const int threads[] = {32, 64, 96, 256, 512}, parts[] = {1, 1, 2, 3, 8};
    int t = rand() % 5, p = rand() % 5;

    return (struct sampling_shape){threads[t], parts[t > 3 ? p % 3 : p]};
}

static float pick(const float *values, size_t n)
{
    return values[(size_t)rand() % n];
}
#define PICK(...) pick((const float[]){__VA_ARGS__}, COUNT_OF(((const float[]){__VA_ARGS__})))

static struct law_params law_random(void)
{
    return (struct law_params){
        .temperature = PICK(0.0f, 1.0f, 1.0f, 0.3f, 1.5f, 2.0f, 1e-42f),
        .top_k = (int32_t)PICK(0, 0, 0, 1, 2, 7, 40, 1000),
        .top_p = PICK(1.0f, 1.0f, 0.9f, 0.5f, 0x1p-40f, 0.999999f),
        .min_p = PICK(0.0f, 0.0f, 0.0f, 0.05f, 0.5f, 0x1p-44f, 0.999f),
        .presence = PICK(0.0f, 1.5f, -2.0f),
        .frequency = PICK(0.0f, 0.3f, 2.0f),
        .repetition = PICK(1.0f, 1.3f, 0.5f, 1e-40f),
    };
}

static void bias_make(struct rig_slot *s)
{
    struct sample_params *p = &s->params;

    p->n_bias = rand() % 9;
    for (int i = 0; i < p->n_bias; i++) {
        s->bias_ids[i] = (rand() % s->n_vocab) / 8 * 8 + i; /* some beyond the end; each once */
        s->bias[i] = PICK(-INFINITY, 2.5f, -100.0f, 100.0f, FLT_MAX);
    }
}

static void ends_make(struct rig_slot *s)
{
    struct sample_params *p = &s->params;

    p->n_ends = rand() % 2 ? 1 + rand() % 3 : SPECD_ENDS_MAX;
    for (int i = 0; i < p->n_ends; i++)
        p->ends[i] = (struct end_token){rand() % s->n_vocab, rand() % 1200};
}

static void counts_make(struct rig_slot *s)
{
    size_t bytes = (size_t)s->n_vocab * sizeof(uint16_t);

    for (int i = 0; i < 2; i++)
        s->counts[i] = xcalloc((size_t)s->n_vocab, sizeof(uint16_t));
    for (int32_t i = 0; i < s->n_vocab; i++) {
        s->counts[0][i] = rand() % 5 ? 0 : (uint16_t)(rand() % 4);
        s->counts[1][i] = (uint16_t)(s->counts[0][i] + rand() % 2);
    }
    for (int i = 0; i < 2; i++)
        s->device_counts[i] = device_copy(s->counts[i], bytes);
}

/* None as a rule. */
static uint32_t *mask_random(int32_t n_vocab)
{
    size_t words = (size_t)(n_vocab + 31) / 32;

    if (rand() % 4)
        return NULL;
    uint32_t *mask = xcalloc(words, sizeof(*mask));

    for (size_t i = 0; i < words; i++)
        mask[i] = (uint32_t)rand() << 16 ^ (uint32_t)rand();
    return mask;
}

static const uint32_t *mask_copy(const uint32_t *mask, int32_t n_vocab)
{
    return mask ? device_copy(mask, (size_t)(n_vocab + 31) / 32 * sizeof(*mask)) : NULL;
}

void rig_slot_make(struct rig_slot *s, int32_t n_vocab)
{
    static const enum verify_mode modes[] = {VERIFY_RATIO, VERIFY_BLOCK, VERIFY_COUPLED};
    struct sample_params copy;

    *s = (struct rig_slot){.n_vocab = n_vocab};
    s->params = (struct sample_params){
        .target = law_random(),
        .draft = law_random(),
        .seed = (uint64_t)rand() * 65537,
        .mode = modes[rand() % 3],
        .bias_ids = s->bias_ids,
        .bias = s->bias,
        .n_logprobs = rand() % (SPECD_LOGPROBS_MAX + 2) - 1,
    };
    if (rand() % 2)
        s->params.draft = s->params.target;
    if (rand() % 2)
        counts_make(s);
    if (rand() % 2)
        bias_make(s);
    if (rand() % 2)
        ends_make(s);
    s->params.allowed = s->allowed = mask_random(n_vocab);
    copy = s->params;
    copy.bias_ids = device_copy(s->bias_ids, sizeof(s->bias_ids));
    copy.bias = device_copy(s->bias, sizeof(s->bias));
    copy.allowed = mask_copy(s->allowed, n_vocab);
    s->device = device_copy(&copy, sizeof(copy));
}

void rig_slot_free(struct rig_slot *s)
{
    free(s->allowed);
    free(s->counts[0]);
    free(s->counts[1]);
}

void rig_row_make(struct rig_row *r, struct device_law *d, const struct rig_slot *s,
                  const struct law_params *law, float *logits, int32_t n_vocab, int32_t position,
                  uint32_t round)
{
    uint32_t *mask = mask_random(n_vocab);
    struct law_context c = {&s->params, law, position, s->counts[0], s->counts[1], mask, NULL};
    uint64_t *scratch = xaligned(64, (size_t)n_vocab * sizeof(uint64_t));

    r->logits = logits;
    r->mask = mask;
    law_build(&r->cpu, logits, n_vocab, &c, scratch);
    free(scratch);
    memset(d, 0xa5, sizeof(*d));
    d->logits = device_copy(logits, (size_t)n_vocab * sizeof(float));
    d->params = s->device;
    d->law = law == &s->params.target ? &s->device->target : &s->device->draft;
    d->counts_generated = s->device_counts[0];
    d->counts_all = s->device_counts[1];
    d->mask = mask_copy(mask, n_vocab);
    d->n_vocab = n_vocab;
    d->position = position;
    d->round = round;
}

void rig_row_free(struct rig_row *r)
{
    free(r->logits);
    free(r->mask);
}

void assert_laws_equal(const struct device_law *d, const struct law *cpu)
{
    assert_int_equal(d->bad, cpu->bad);
    assert_int_equal(d->top, cpu->top);
    if (cpu->bad)
        return;
    assert_int_equal(d->one_hot, cpu->one_hot);
    assert_int_equal(d->adjusted, cpu->adjusted);
    assert_true(d->max == cpu->max && d->sum == cpu->sum);
    if (cpu->one_hot)
        return;
    assert_true(d->scale == cpu->scale && d->cut_w == cpu->cut_w);
    assert_int_equal(d->cut_id, cpu->cut_id);
}
