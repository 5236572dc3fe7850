/*
 * A model's weights on the emulated GPU: every array read back from device memory equals what
 * packing the whole tensor at once gives, for every type of a file and every way to keep it; and
 * whatever the device cannot use, or cannot get, is an error that says so. On the emulator pieces
 * are 4 KB, so that small matrices take many.
 *
 * links: device_tests
 */
#include "net.h"

#include "layer.h"
#include "models.h"
#include "seeded.h"
#include "specd/quant.h"
#include "specd/util.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CTX 300

/* Sides that end inside tiles and units; heads that end inside tiles. */
static const struct model_shape odd = {.n_layers = 3,
                                       .n_heads = 9,
                                       .n_kv_heads = 3,
                                       .head_dim = 8,
                                       .n_embd = 40,
                                       .n_ff = 56,
                                       .layer_heads = {0, 0, 12},
                                       .layer_kv_heads = {0, 0, 4},
                                       .layer_ff = {0, 0, 72},
                                       .n_vocab = 61,
                                       .rope_dim = 6,
                                       .rope_magnitude = 1.0f,
                                       .seed = 5};
/* For types with blocks of 32, and of 256. */
static const struct model_shape by_32 = {.n_layers = 2,
                                         .n_heads = 12,
                                         .n_kv_heads = 3,
                                         .head_dim = 8,
                                         .n_embd = 96,
                                         .n_ff = 160,
                                         .n_vocab = 77,
                                         .seed = 6};
static const struct model_shape by_256 = {.n_layers = 1,
                                          .n_heads = 32,
                                          .n_kv_heads = 1,
                                          .head_dim = 8,
                                          .n_embd = 256,
                                          .n_ff = 256,
                                          .n_vocab = 35,
                                          .seed = 7};

/* ---- a loaded model -------------------------------------------------------------------------- */

struct loaded {
    struct gpu_arena arena;
    struct gpu_net net;
    /* What progress said. */
    enum model_role role;
    uint64_t done, total;
    pthread_t caller;
    int calls;
    bool finished;
};

static void on_progress(void *arg, enum model_role role, uint64_t done, uint64_t total)
{
    struct loaded *l = arg;

    assert_true(pthread_equal(l->caller, pthread_self()));
    assert_false(l->finished);
    assert_int_equal(role, l->role);
    assert_true(done >= l->done && done <= total && total == l->total);
    l->done = done;
    l->calls++;
}

/* Sizes it, opens an arena of that size, loads. */
static int load(struct loaded *l, const struct model *m, enum weight_type want, int threads,
                char *err, size_t errlen)
{
    struct gpu_arena counting = {0};
    int rc;

    *l = (struct loaded){.role = rand() % 2 ? MODEL_DRAFT : MODEL_TARGET, .caller = pthread_self()};
    assert_int_equal(gpu_net_check(m, want, err, errlen), 0);
    assert_int_equal(gpu_net_layout(&l->net, m, want, CTX, &counting, err, errlen), 0);
    gpu_net_free(&l->net);
    assert_int_equal(gpu_arena_open(&l->arena, counting.used), 0);
    rc = gpu_net_layout(&l->net, m, want, CTX, &l->arena, err, errlen);
    if (rc != 0)
        return rc;
    assert_int_equal(l->arena.used, counting.used);
    l->total = counting.used;
    rc = gpu_net_load(&l->net, m, threads, l->role, on_progress, l, l->total, err, errlen);
    l->finished = true;
    return rc;
}

static void unload(struct loaded *l)
{
    gpu_net_free(&l->net);
    gpu_arena_close(&l->arena);
}

/* ---- what it should be ----------------------------------------------------------------------- */

static enum product_type type_expected(enum weight_type want, enum dtype file, bool in_layer)
{
    switch (want) {
    case WEIGHT_Q8_0:
        return PRODUCT_INT8;
    case WEIGHT_FP8:
        return in_layer ? PRODUCT_FP8 : PRODUCT_BF16;
    case WEIGHT_INT4:
        return in_layer ? PRODUCT_INT4 : PRODUCT_BF16;
    case WEIGHT_NATIVE:
        switch (file) {
        case DT_Q8_0:
        case DT_Q5_0:
        case DT_Q3_K:
            return PRODUCT_INT8;
        case DT_Q4_0:
            return PRODUCT_INT4;
        case DT_Q4_1:
            return PRODUCT_INT4_MIN;
        case DT_Q4_K:
            return PRODUCT_INT4_K;
        case DT_IQ4_NL:
        case DT_IQ4_XS:
            return PRODUCT_IQ4;
        case DT_MXFP4:
            return PRODUCT_FP4;
        case DT_NVFP4:
            return PRODUCT_NVFP4;
        case DT_F8_ROW:
            return PRODUCT_FP8;
        case DT_F8:
            return PRODUCT_FP8_32;
        case DT_Q2_K:
            return PRODUCT_INT2_K;
        default:
            return PRODUCT_BF16;
        }
    default:
        return PRODUCT_BF16;
    }
}

static bool keeps_blocks(enum product_type type, enum dtype file)
{
    return type == type_expected(WEIGHT_NATIVE, file, true) && type != PRODUCT_BF16;
}

/* All of a tensor in one call: its own blocks, or what they stand for. */
static void pack_whole(const struct product_plan *p, void *packed, enum product_half half,
                       const struct tensor *t, int32_t first)
{
    size_t n = (size_t)t->rows * t->cols;
    float *values;

    if (keeps_blocks(p->type, t->type)) {
        product_pack(p, packed, half, t->data, t->type, dtype_row_bytes(t->type, t->cols),
                     tensor_scale(t), first, (int32_t)t->rows);
        return;
    }
    values = xmalloc(n * sizeof(*values));
    quant_decode(t->type, t->data, n, values);
    product_pack(p, packed, half, values, DT_F32, t->cols * sizeof(*values), tensor_scale(t), first,
                 (int32_t)t->rows);
    free(values);
}

static void assert_device_equal(const void *device, const void *want, size_t bytes)
{
    char *have = xmalloc(bytes);

    assert_int_equal(cudaMemcpy(have, device, bytes, cudaMemcpyDeviceToHost), cudaSuccess);
    assert_memory_equal(have, want, bytes);
    free(have);
}

static void check_matrix(const struct gpu_matrix *w, enum product_type type, bool paired, int n,
                         const struct tensor *const *tensors)
{
    struct product_plan p;
    int64_t channels = 0;
    int32_t first = 0;
    void *packed;

    for (int i = 0; i < n; i++)
        channels += tensors[i]->rows;
    assert_int_equal(
        product_plan_of(&p, type, paired, paired ? channels / 2 : channels, tensors[0]->cols), 0);
    if (tensors[0]->scale)
        product_plan_scale(&p);
    assert_int_equal(w->plan.type, type);
    assert_int_equal(w->plan.bytes, p.bytes);
    assert_true(w->plan.n == p.n && w->plan.k == p.k && w->plan.slices == p.slices &&
                w->plan.paired == paired && w->plan.scales_at == p.scales_at);
    packed = xaligned(64, p.bytes);
    product_pack_start(&p, packed);
    for (int i = 0; i < n; i++) {
        pack_whole(&p, packed, paired && i > 0 ? PRODUCT_UP : PRODUCT_GATE, tensors[i], first);
        first += paired ? 0 : (int32_t)tensors[i]->rows;
    }
    assert_device_equal(w->data, packed, p.bytes);
    free(packed);
}

/* Vectors one after another. */
static void check_vector(const float *device, int n, const struct tensor *const *tensors,
                         const size_t *lengths)
{
    float want[1024] = {0};
    size_t at = 0;

    assert_int_equal(device != NULL, tensors[0]->data != NULL);
    if (!device)
        return;
    for (int i = 0; i < n; i++) {
        assert_true(at + lengths[i] <= COUNT_OF(want));
        quant_decode(tensors[i]->type, tensors[i]->data, lengths[i], want + at);
        at += lengths[i];
    }
    assert_device_equal(device, want, at * sizeof(float));
}

/* A matrix of floats, times its scale. */
static void check_rows(const float *device, const struct tensor *t)
{
    size_t n = (size_t)t->rows * t->cols;
    float *want = xmalloc(n * sizeof(*want));

    for (size_t i = 0; i < n; i++)
        want[i] = ((const float *)t->data)[i] * tensor_scale(t);
    assert_device_equal(device, want, n * sizeof(*want));
    free(want);
}

#define TENSORS(...) ((const struct tensor *const[]){__VA_ARGS__})
#define LENGTHS(...) ((const size_t[]){__VA_ARGS__})

static void check_layer(const struct gpu_layer *l, const struct model *m,
                        const struct model_layer *from, enum product_type qkv,
                        enum product_type gate_up, enum product_type rest)
{
    size_t d = m->head_dim, q = from->n_heads * d, kv = from->n_kv_heads * d;

    assert_true(l->n_heads == (int)from->n_heads && l->n_kv_heads == (int)from->n_kv_heads);
    check_matrix(&l->qkv, qkv, false, 3, TENSORS(&from->wq, &from->wk, &from->wv));
    check_matrix(&l->wo, rest, false, 1, TENSORS(&from->wo));
    check_matrix(&l->gate_up, gate_up, true, 2, TENSORS(&from->w_gate, &from->w_up));
    check_matrix(&l->down, rest, false, 1, TENSORS(&from->w_down));
    check_vector(l->attn_norm, 1, TENSORS(&from->attn_norm), LENGTHS(m->n_embd));
    check_vector(l->ffn_norm, 1, TENSORS(&from->ffn_norm), LENGTHS(m->n_embd));
    check_vector(l->qkv_bias, 3, TENSORS(&from->bq, &from->bk, &from->bv), LENGTHS(q, kv, kv));
    check_vector(l->q_norm, 1, TENSORS(&from->q_norm), LENGTHS(d));
    check_vector(l->k_norm, 1, TENSORS(&from->k_norm), LENGTHS(d));
}

static void check_ends(const struct loaded *l, const struct model *m, enum product_type type)
{
    const struct gpu_net *net = &l->net;
    size_t pairs = m->rope_dim / 2;
    float *rotation = xmalloc(CTX * 2 * pairs * sizeof(*rotation));

    assert_true(net->n_layers == (int)m->n_layers && net->head_dim == (int)m->head_dim &&
                net->n_embd == (int)m->n_embd && net->n_vocab == (int)m->n_vocab &&
                net->rope_dim == (int)m->rope_dim && net->rope == m->rope &&
                net->rms_eps == m->rms_eps && net->n_ctx == CTX);
    check_matrix(&net->embed, type, false, 1, TENSORS(&m->embed));
    check_matrix(&net->output, type, false, 1, TENSORS(&m->output));
    assert_int_equal(net->embed.data == net->output.data, m->embed.data == m->output.data);
    check_vector(net->out_norm, 1, TENSORS(&m->out_norm), LENGTHS(m->n_embd));
    rope_table(rotation, m->ropes[0].inv_freq, m->ropes[0].magnitude, (int32_t)m->rope_dim, 0, CTX);
    assert_device_equal(net->rotations[0], rotation, CTX * 2 * pairs * sizeof(*rotation));
    free(rotation);
    assert_true(l->done == l->total && l->calls > 1);
}

/* ---- all types ------------------------------------------------------------------------------- */

static void check_model(const struct model_shape *of, enum dtype file, enum weight_type want)
{
    struct model_shape shape = *of;
    struct model *m;
    struct loaded l;
    char err[256] = "";

    shape.type = file;
    shape.scaled = rand() % 2;
    shape.biases = rand() % 2;
    shape.qk_norms = rand() % 2;
    shape.untied = rand() % 2;
    shape.rope = rand() % 2 ? ROPE_PAIRS : ROPE_HALVES;
    m = model_random(&shape);
    if (load(&l, m, want, rand() % 4, err, sizeof(err)) != 0)
        fail_msg("%s as %d: %s", dtype_name(file), want, err);
    for (uint32_t i = 0; i < m->n_layers; i++) {
        enum product_type type = type_expected(want, file, true);
        check_layer(&l.net.layers[i], m, &m->layers[i], type, type, type);
    }
    check_ends(&l, m, type_expected(want, file, false));
    unload(&l);
    model_random_free(m);
}

static void test_types(void **state)
{
    static const enum weight_type all[] = {WEIGHT_NATIVE, WEIGHT_BF16, WEIGHT_Q8_0, WEIGHT_FP8,
                                           WEIGHT_INT4};

    (void)state;
    for (int file = 0; file < DT_COUNT; file++) {
        for (size_t i = 0; i < COUNT_OF(all); i++)
            check_model(dtype_block((enum dtype)file) > 32 ? &by_256 : &by_32, (enum dtype)file,
                        all[i]);
    }
    assert_int_equal(emu_memory_in_use(), 0);
}

static void test_odd_sides(void **state)
{
    static const enum weight_type all[] = {WEIGHT_NATIVE, WEIGHT_BF16, WEIGHT_FP8};
    static const enum dtype files[] = {DT_F32, DT_F16, DT_BF16};

    (void)state;
    for (int run = 0; run < 3; run++) {
        for (size_t i = 0; i < COUNT_OF(all); i++)
            check_model(&odd, files[run], all[i]);
    }
}

/* Tensors whose rows are made. */
struct copied {
    struct tensor_source source;
    struct tensor of;
};

static void copy_rows(const struct tensor_source *source, uint32_t first, uint32_t n, void *rows)
{
    const struct tensor *of = &((const struct copied *)(const void *)source)->of;
    size_t row = dtype_row_bytes(of->type, of->cols);

    assert_true(first >= 5 && first - 5 + n <= of->rows);
    memcpy(rows, (const char *)of->data + (first - 5) * row, n * row);
}

static void test_sources(void **state)
{
    struct copied copied[LAYER_MATRICES];
    struct model_shape shape = by_32;
    struct loaded loaded;
    char err[256];

    (void)state;
    shape.type = DT_Q4_0;
    struct model *m = model_random(&shape);
    struct model_layer *l = &m->layers[0], plain = *l;
    for (int i = 0; i < LAYER_MATRICES; i++) {
        copied[i] = (struct copied){{copy_rows}, l->tensors[i]};
        if (l->tensors[i].data)
            l->tensors[i].source = &copied[i].source;
        l->tensors[i].first_row = 5;
    }
    assert_int_equal(load(&loaded, m, WEIGHT_NATIVE, 2, err, sizeof(err)), 0);
    check_layer(&loaded.net.layers[0], m, &plain, PRODUCT_INT4, PRODUCT_INT4, PRODUCT_INT4);
    unload(&loaded);
    *l = plain;
    model_random_free(m);
}

/* Tensors of one stack in different types of a file. */
static void test_mixed(void **state)
{
    struct model_shape shape = by_256;
    struct model *m, *other;
    struct model_layer *l;
    struct loaded loaded;
    char err[256];

    (void)state;
    shape.type = DT_Q4_K;
    m = model_random(&shape);
    shape.type = DT_Q6_K;
    other = model_random(&shape);
    l = &m->layers[0];
    struct tensor v = l->wv, up = l->w_up;
    l->wv = other->layers[0].wv;
    assert_int_equal(load(&loaded, m, WEIGHT_NATIVE, 2, err, sizeof(err)), 0);
    check_layer(&loaded.net.layers[0], m, l, PRODUCT_BF16, PRODUCT_INT4_K, PRODUCT_INT4_K);
    unload(&loaded);
    l->w_up = other->layers[0].w_up;
    assert_int_equal(load(&loaded, m, WEIGHT_NATIVE, 2, err, sizeof(err)), 0);
    check_layer(&loaded.net.layers[0], m, l, PRODUCT_BF16, PRODUCT_BF16, PRODUCT_INT4_K);
    unload(&loaded);
    l->wv = v;
    l->w_up = up;
    model_random_free(other);
    model_random_free(m);
}

/* Each expert's matrices, from one piece and from pieces of which one has another type; the
 * router's rows as floats. */
static void test_experts(void **state)
{
    struct model_shape shape = by_32;
    struct tensor apart[3];
    struct loaded loaded;
    char err[256];

    (void)state;
    shape.type = DT_Q8_0;
    shape.scaled = rand() % 2;
    shape.n_ff_expert = shape.n_ff_shared = 64;
    shape.experts = 2;
    shape.n_experts = 3;
    shape.n_experts_used = 2;
    struct model *m = model_random(&shape);
    struct model_layer *l = &m->layers[1];
    shape.type = DT_F32;
    struct model *other = model_random(&shape);
    for (int pieces = 0; pieces < 2; pieces++) {
        enum product_type down = pieces ? PRODUCT_BF16 : PRODUCT_INT8;
        assert_int_equal(load(&loaded, m, WEIGHT_NATIVE, 2, err, sizeof(err)), 0);
        const struct gpu_layer *gpu = &loaded.net.layers[1];
        struct gpu_matrix gate_up = gpu->gate_up_experts, one_down = gpu->down_experts;
        assert_null(gpu->gate_up.data);
        for (uint32_t e = 0; e < 3; e++) {
            struct tensor w[] = {tensor_slice(&l->w_gate_experts, e),
                                 tensor_slice(&l->w_up_experts, e),
                                 tensor_slice(&l->w_down_experts, e)};
            check_matrix(&gate_up, PRODUCT_INT8, true, 2, TENSORS(&w[0], &w[1]));
            check_matrix(&one_down, down, false, 1, TENSORS(&w[2]));
            gate_up.data = (char *)gate_up.data + gate_up.plan.bytes;
            one_down.data = (char *)one_down.data + one_down.plan.bytes;
        }
        check_matrix(&gpu->gate_up_shared, PRODUCT_INT8, true, 2,
                     TENSORS(&l->w_gate_shared, &l->w_up_shared));
        check_matrix(&gpu->down_shared, PRODUCT_INT8, false, 1, TENSORS(&l->w_down_shared));
        check_rows(gpu->router, &l->w_router);
        check_rows(gpu->router + 3 * 96, &l->w_shared);
        unload(&loaded);
        for (uint32_t e = 0; e < 3; e++)
            apart[e] = tensor_slice(&(e == 1 ? other : m)->layers[1].w_down_experts, e);
        l->w_down_experts.apart = apart;
    }
    model_random_free(other);
    model_random_free(m);
}

/* Biases, and a norm that the file has in bf16. */
static void test_vectors(void **state)
{
    struct model_shape shape = odd;
    struct model *m;
    struct model_layer *l;
    struct loaded loaded;
    uint16_t norm[64];
    char err[256];

    (void)state;
    shape.biases = true;
    m = model_random(&shape);
    l = &m->layers[1];
    struct tensor attn_norm = l->attn_norm;
    for (uint32_t i = 0; i < m->n_embd; i++)
        norm[i] = bf16_from_f32(((const float *)attn_norm.data)[i]);
    l->attn_norm = (struct tensor){.data = norm, .type = DT_BF16, .rows = 1, .cols = m->n_embd};
    assert_int_equal(load(&loaded, m, WEIGHT_NATIVE, 1, err, sizeof(err)), 0);
    for (uint32_t i = 0; i < m->n_layers; i++)
        check_layer(&loaded.net.layers[i], m, &m->layers[i], PRODUCT_BF16, PRODUCT_BF16,
                    PRODUCT_BF16);
    check_ends(&loaded, m, PRODUCT_BF16);
    unload(&loaded);
    l->attn_norm = attn_norm;
    model_random_free(m);
}

static void test_self_layers(void **state)
{
    static const uint32_t ids[] = {0, 2};
    struct model *m = model_random(&odd);
    struct loaded l;
    struct gpu_net draft;
    char err[256];

    (void)state;
    assert_int_equal(load(&l, m, WEIGHT_NATIVE, 3, err, sizeof(err)), 0);
    gpu_net_select(&draft, &l.net, ids, 2);
    assert_int_equal(draft.n_layers, 2);
    assert_memory_equal(&draft.layers[0], &l.net.layers[0], sizeof(draft.layers[0]));
    assert_memory_equal(&draft.layers[1], &l.net.layers[2], sizeof(draft.layers[1]));
    assert_true(draft.output.data == l.net.output.data && draft.rotations[0] == l.net.rotations[0]);
    gpu_net_free(&draft);
    assert_null(draft.layers);
    unload(&l);
    model_random_free(m);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void assert_refused(const struct model *m, enum weight_type want, const char *because)
{
    char err[256] = "";

    assert_int_equal(gpu_net_check(m, want, err, sizeof(err)), SPECD_EINVAL);
    if (!strstr(err, because))
        fail_msg("\"%s\" does not say \"%s\"", err, because);
}

/* A random model with something about it changed for a while. */
#define WITH(place, value, want, because) \
    do {                                  \
        __typeof__(place) was = (place);  \
        (place) = (value);                \
        assert_refused(m, want, because); \
        (place) = was;                    \
    } while (0)

static void test_refusals(void **state)
{
    struct model *m = model_random(&odd);
    const struct tensor bias = {.data = m->out_norm.data, .type = DT_F32, .rows = 1, .cols = 72};
    char err[256];

    (void)state;
    assert_int_equal(gpu_net_check(m, WEIGHT_NATIVE, err, sizeof(err)), 0);
    WITH(m->layers[1].wk.rows, 25, WEIGHT_NATIVE, "layer 1: wk is 25 x 40");
    WITH(m->layers[2].w_down.data, NULL, WEIGHT_NATIVE, "layer 2: w_down is missing");
    WITH(m->layers[0].wo.type, DT_Q4_0, WEIGHT_NATIVE, "layer 0: wo has a type");
    WITH(m->out_norm.cols, 41, WEIGHT_NATIVE, "out_norm is 1 x 41");
    WITH(m->layers[1].bq, bias, WEIGHT_NATIVE, "layer 1: bk is missing");
    WITH(m->layers[1].w_router, m->layers[1].wq, WEIGHT_NATIVE,
         "layer 1: expected either a gated feed-forward or experts");
    WITH(m->gate, GATE_KINDS, WEIGHT_NATIVE, "gate of that kind");
    WITH(m->layers[1].n_kv_heads, 2, WEIGHT_NATIVE, "layer 1: head count 9");
    WITH(m->rope_dim, 10, WEIGHT_NATIVE, "rope dimension count 10");
    assert_refused(m, WEIGHT_F32, "kept as f32");
    assert_refused(m, WEIGHT_Q8_0, "embed: a 61 x 40 matrix cannot be kept as q8_0");
    assert_refused(m, WEIGHT_INT4, "layer 0: wq, wk, wv: a 120 x 40 matrix cannot be kept as int4");
    model_random_free(m);
}

/* Shapes that the file may well have, but no kernel. */
static void check_width(struct model_shape shape, const char *because)
{
    struct model *m = model_random(&shape);

    assert_refused(m, WEIGHT_NATIVE, because);
    model_random_free(m);
}

static void test_widths(void **state)
{
    struct model_shape shape = odd;

    (void)state;
    shape.n_embd = 36;
    check_width(shape, "the embedding is 36");
    shape = odd;
    shape.n_ff = 57;
    check_width(shape, "layer 0: the feed-forward width is 57");
    shape = odd;
    shape.layer_ff[1] = 60;
    check_width(shape, "layer 1: the feed-forward width is 60");
    shape = odd;
    shape.head_dim = 12;
    check_width(shape, "the head size is 12");
}

/* ---- what the device cannot give ------------------------------------------------------------- */

static void test_out_of_memory(void **state)
{
    struct model *m = model_random(&odd);
    struct loaded l;
    char err[256] = "";

    (void)state;
    for (size_t limit = 0; limit < 60000; limit += 7000) {
        emu_memory_limit(limit);
        assert_int_equal(load(&l, m, WEIGHT_NATIVE, 1, err, sizeof(err)), SPECD_ENOMEM);
        assert_non_null(strstr(err, "device memory"));
        assert_int_equal(cudaGetLastError(), cudaSuccess);
        assert_null(l.net.layers);
        gpu_arena_close(&l.arena);
        assert_int_equal(emu_memory_in_use(), 0);
    }
    emu_memory_limit((size_t)1 << 30);
    assert_int_equal(load(&l, m, WEIGHT_NATIVE, 1, err, sizeof(err)), 0);
    unload(&l);
    model_random_free(m);
}

/* Every operation in turn, the last one included. */
static void test_fault(void **state)
{
    struct model *m = model_random(&odd);
    struct loaded l;
    char err[256];
    int rc = -1;

    (void)state;
    for (int at = 1; rc != 0; at++) {
        emu_fault_after(at, cudaErrorLaunchFailure);
        rc = load(&l, m, WEIGHT_NATIVE, 2, err, sizeof(err));
        if (rc == 0) {
            assert_int_equal(cudaPeekAtLastError(), cudaSuccess);
        } else {
            assert_int_equal(rc, SPECD_EDEVICE);
            assert_non_null(strstr(err, "unspecified launch failure"));
            assert_true(l.done < l.total);
        }
        emu_fault_after(0, cudaSuccess);
        unload(&l);
    }
    model_random_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),       cmocka_unit_test(test_odd_sides),
        cmocka_unit_test(test_mixed),       cmocka_unit_test(test_experts),
        cmocka_unit_test(test_vectors),     cmocka_unit_test(test_sources),
        cmocka_unit_test(test_self_layers), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_widths),      cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_fault),
    };

    return seeded_run(tests);
}
