/*
 * A made-up architecture of known blocks, brought by a row of this program's own table (arch.h)
 * alone: from a GGUF file and from a folder, its logits are the reference's. The gate is the row's.
 * The same with experts in some layers, in every form that files have them. Blocks that a device
 * does not have are refused with file and tensor.
 *
 * links: device_tests specd_cpu specd_model specd_write
 */
#include "device/reference.h"
#include "device/rig.h"
#include "unit/gguf_maker.h"
#include "unit/hf_maker.h"

#include "model/model_file.h"
#include "model/arch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "temp_folder.h"

#define MADEUP_PARTS (PARTS_LLAMA | PART_BIT(PART_QKV_BIAS) | PART_BIT(PART_QK_NORM))
#define PARTS_MIXED (PARTS_LLAMA & ~PART_BIT(PART_GATED_FFN))
#define MAY_MIXED (PART_BIT(PART_GATED_FFN) | PART_BIT(PART_EXPERTS) | PART_BIT(PART_SHARED_EXPERT))

/* In place of the product's. */
const struct arch archs[] = {
    /* qwen2's biases beside qwen3's norms */
    {.names = {[NAMES_GGUF] = "madeup", [NAMES_HF] = "made_up"},
     .n_kinds = 1,
     .kinds = {{.needs = MADEUP_PARTS}},
     .n_renames = 2,
     .renames = {{LAYER_K_NORM, NAMES_GGUF, "attn_key_norm.weight"},
                 {LAYER_FFN_NORM, NAMES_HF, "pre_feedforward_layernorm.weight"}},
     .gguf_rope = ROPE_HALVES,
     .hf_head_dim = 24,
     .hf_tied = true},
    {.names = {[NAMES_GGUF] = "mixed", [NAMES_HF] = "mixed"},
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_MIXED, .may = MAY_MIXED}},
     .gguf_rope = ROPE_HALVES,
     .hf_tied = true},
    {.names = {[NAMES_GGUF] = "gelu"},
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_LLAMA | PART_BIT(PART_POST_NORM)}},
     .gate = GATE_GELU_TANH},
};
const int n_archs = COUNT_OF(archs);

static char path[100];

/* ---- files of a model in memory -------------------------------------------------------------- */

typedef void each_tensor(void *to, const char *name, const struct tensor *t);

/* How a folder has experts. */
static enum { APART, STACKED } experts_form;

static void each_expert(const char *name, const struct tensor *t, each_tensor *each, void *to)
{
    const char *star = strchr(name, '*');
    for (uint32_t e = 0; e < t->slices; e++) {
        struct tensor one = tensor_slice(t, e);
        char own[120];
        snprintf(own, sizeof own, "%.*s%u%s", (int)(star - name), name, e, star + 1);
        each(to, own, &one);
    }
}

/* Gate and up of an expert one after another, and all experts in one. */
static void each_stack(const struct model_layer *l, int layer, int tensor, each_tensor *each,
                       void *to)
{
    const struct tensor *t = &l->tensors[tensor];
    struct tensor stack = *t;
    if (tensor == LAYER_W_DOWN_EXPERTS)
        each(to, tensor_name_of(NAMES_HF, "mlp.experts.down_proj", layer).text, t);
    if (tensor != LAYER_W_GATE_EXPERTS)
        return;
    size_t n = (size_t)t->rows * t->cols;
    float *data = xmalloc(2 * n * t->slices * sizeof *data);
    for (size_t e = 0; e < t->slices; e++) {
        memcpy(data + 2 * n * e, (const float *)t->data + n * e, n * sizeof *data);
        memcpy(data + 2 * n * e + n, (const float *)l->w_up_experts.data + n * e, n * sizeof *data);
    }
    stack.data = data;
    stack.rows *= 2;
    each(to, tensor_name_of(NAMES_HF, "mlp.experts.gate_up_proj", layer).text, &stack);
    free(data);
}

static void for_tensors(const struct model *m, const struct arch *a, enum tensor_naming naming,
                        each_tensor *each, void *to)
{
    for (int i = 0; i < MODEL_TENSORS; i++) {
        if (i != MODEL_OUTPUT || !model_is_tied(m))
            each(to, model_tensors[i].names[naming], &m->tensors[i]);
    }
    for (uint32_t l = 0; l < m->n_layers; l++) {
        for (int i = 0; i < LAYER_TENSORS; i++) {
            const struct tensor *t = &m->layers[l].tensors[i];
            const char *name = arch_tensor_name(a, naming, i);
            if (!t->data || !name)
                continue;
            if (naming == NAMES_GGUF || t->slices == 0)
                each(to, tensor_name_of(naming, name, (int)l).text, t);
            else if (experts_form == APART)
                each_expert(tensor_name_of(naming, name, (int)l).text, t, each, to);
            else
                each_stack(&m->layers[l], (int)l, i, each, to);
        }
    }
}

/* Slowest first; a vector has one dimension. */
static uint32_t shape_of(const struct tensor *t, uint64_t shape[3])
{
    uint32_t n = 0;
    if (t->slices > 0)
        shape[n++] = t->slices;
    if (t->rows > 1)
        shape[n++] = t->rows;
    shape[n++] = t->cols;
    return n;
}

static size_t bytes_of(const struct tensor *t)
{
    return MAX(t->slices, 1) * t->rows * dtype_row_bytes(t->type, t->cols);
}

static void gguf_describe(void *to, const char *name, const struct tensor *t)
{
    uint64_t shape[3];
    uint32_t n = shape_of(t, shape);
    gguf_put_tensor(to, name, t->type, shape, n);
}

static void gguf_data(void *to, const char *name, const struct tensor *t)
{
    (void)name;
    gguf_write_data(to, t->data, bytes_of(t));
}

static void save_gguf(const struct model *m, const struct arch *a)
{
    uint32_t sizes[SHAPE_LAYERS_MAX][3];
    for (uint32_t i = 0; i < m->n_layers; i++) {
        const struct model_layer *l = &m->layers[i];
        memcpy(sizes[i], (uint32_t[]){l->n_heads, l->n_kv_heads, l->n_ff}, sizeof sizes[i]);
    }
    const struct shape s = {.arch = a->names[NAMES_GGUF],
                            .layers = m->n_layers,
                            .embd = m->n_embd,
                            .head_dim = m->head_dim,
                            .vocab = m->n_vocab,
                            .by_layer = sizes};
    struct gguf_writer w;
    char err[100];
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    gguf_writer_init(&w, fopen(path, "wb"));
    put_shape(&w, &s);
    if (m->n_experts > 0) {
        char key[80];
        snprintf(key, sizeof key, "%s.expert_weights_norm", s.arch);
        put_sized(&w, &s, "expert_count", m->n_experts);
        put_sized(&w, &s, "expert_used_count", m->n_experts_used);
        put_sized(&w, &s, "expert_feed_forward_length", m->n_ff_expert);
        put_sized(&w, &s, "expert_shared_feed_forward_length", m->n_ff_shared);
        gguf_put_bool(&w, key, m->experts_normed);
    }
    put_vocab(&w);
    for_tensors(m, a, NAMES_GGUF, gguf_describe, &w);
    gguf_write_header(&w);
    for_tensors(m, a, NAMES_GGUF, gguf_data, &w);
    assert_int_equal(gguf_write_end(&w, path, err, sizeof err), 0);
    assert_int_equal(fclose(w.file), 0);
    gguf_writer_fini(&w);
}

struct safetensors {
    struct buf header, data;
};

static void safetensors_add(void *to, const char *name, const struct tensor *t)
{
    struct safetensors *s = to;
    uint64_t shape[3];
    uint32_t n = shape_of(t, shape);
    buf_printf(&s->header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", s->header.len ? "," : "{",
               name);
    for (uint32_t i = 0; i < n; i++)
        buf_printf(&s->header, "%s%llu", i ? "," : "", (unsigned long long)shape[i]);
    buf_printf(&s->header, "],\"data_offsets\":[%zu,", s->data.len);
    buf_add(&s->data, t->data, bytes_of(t));
    buf_printf(&s->header, "%zu]}", s->data.len);
}

static int sparse_step = 2; /* that a folder states: layer 1 of two has experts */

static void save_folder(const struct model *m, const struct arch *a)
{
    struct safetensors s = {{0}, {0}};
    struct buf config = {0}, file = {0};
    snprintf(path, sizeof path, "%s/hf", folder);
    mkdir(path, 0700);
    buf_printf(&config,
               "{\"model_type\":\"%s\",\"num_hidden_layers\":%u,\"hidden_size\":%u,"
               "\"intermediate_size\":%u,\"vocab_size\":%u,\"num_attention_heads\":%u,"
               "\"num_key_value_heads\":%u,\"max_position_embeddings\":128,\"rms_norm_eps\":1e-5",
               a->names[NAMES_HF], m->n_layers, m->n_embd, m->layers[0].n_ff, m->n_vocab,
               m->layers[0].n_heads, m->layers[0].n_kv_heads);
    if (a->hf_head_dim == 0)
        buf_printf(&config, ",\"head_dim\":%u", m->head_dim);
    if (m->n_experts > 0)
        buf_printf(&config,
                   ",\"num_experts\":%u,\"num_experts_per_tok\":%u,\"moe_intermediate_size\":%u,"
                   "\"shared_expert_intermediate_size\":%u,\"norm_topk_prob\":%s,"
                   "\"decoder_sparse_step\":%d",
                   m->n_experts, m->n_experts_used, m->n_ff_expert, m->n_ff_shared,
                   m->experts_normed ? "true" : "false", sparse_step);
    buf_puts(&config, "}");
    for_tensors(m, a, NAMES_HF, safetensors_add, &s);
    buf_puts(&s.header, "}");
    while (s.header.len % 8 != 0)
        buf_puts(&s.header, " ");
    uint64_t len = s.header.len;
    buf_add(&file, &len, sizeof len);
    buf_add(&file, s.header.data, s.header.len);
    buf_add(&file, s.data.data, s.data.len);
    hf_save(path, "config.json", config.data, config.len);
    hf_save(path, "tokenizer.json", hf_tokenizer_text, strlen(hf_tokenizer_text));
    hf_save(path, "tokenizer_config.json", "{}", 2);
    hf_save(path, "model.safetensors", file.data, file.len);
    buf_free(&config);
    buf_free(&file);
    buf_free(&s.header);
    buf_free(&s.data);
}

/* ---- logits ---------------------------------------------------------------------------------- */

#define TOLERANCE 1e-4 /* of the largest logit */
#define TEXT 40

/* Of a text's last position, on the device and in the reference. */
static double difference_in(uint64_t seed, const struct model *m, const struct model *reference)
{
    struct device_setup setup = rig_setup(m, NULL);
    struct rig *r = rig_new(&setup, 1);
    struct sample_params params = rig_params();
    int32_t tokens[TEXT];
    double *want = xcalloc((size_t)TEXT * m->n_vocab, sizeof *want), worst = 0, largest = 0;
    for (int i = 0; i < TEXT; i++)
        tokens[i] = (int32_t)(random_next(&seed) % m->n_vocab);
    reference_forward(reference, NULL, 0, tokens, TEXT, false, want);
    rig_slot(r, 0, &params, tokens, TEXT, TEXT + 1);
    rig_prefill(r, 0, MODEL_TARGET, 0, TEXT - 1, TEXT);
    rig_clear(r);
    rig_seq(r, 0, 0);
    rig_run(r);
    const float *got = rig_logits(r, MODEL_TARGET, 0, 0);
    for (uint32_t i = 0; i < m->n_vocab; i++) {
        double w = want[(size_t)(TEXT - 1) * m->n_vocab + i];
        worst = fmax(worst, isfinite(got[i]) ? fabs((double)got[i] - w) : INFINITY);
        largest = fmax(largest, fabs(w));
    }
    free(want);
    rig_free(r);
    return worst / largest;
}

static double difference(const struct model *m, const struct model *reference)
{
    return difference_in(m->n_params, m, reference);
}

/* In some text: one may hardly go through what differs, say a third expert of little weight. */
static void assert_differs(const struct model *m, const struct model *reference)
{
    for (uint64_t i = 0; i < 20; i++)
        if (difference_in(m->n_params + i, m, reference) > 10 * TOLERANCE)
            return;
    fail_msg("no text tells the two apart");
}

static struct model *madeup_random(void)
{
    struct model_shape shape = {.n_layers = 2,
                                .n_heads = 4,
                                .n_kv_heads = 2,
                                .head_dim = 24,
                                .n_embd = 64,
                                .n_ff = 96,
                                .n_vocab = 67,
                                .rope = ROPE_HALVES,
                                .biases = true,
                                .qk_norms = true,
                                .type = DT_F32,
                                .seed = clock_ns() % 1000000};
    print_message("seed %llu\n", (unsigned long long)shape.seed);
    return model_random(&shape);
}

static void check_file(const struct model *m, const char *arch)
{
    struct model_file *mf;
    char err[400] = "";
    if (model_file_open(&mf, path, err, sizeof err) != 0)
        fail_msg("%s", err);
    assert_string_equal(mf->model.arch, arch);
    assert_int_equal(layer_parts(&mf->model.layers[1]), MADEUP_PARTS);
    assert_true(model_is_tied(&mf->model));
    double same = difference(&mf->model, m);
    print_message("%-8s %.1e\n", arch, same);
    assert_true(same <= TOLERANCE);

    /* What the row says matters: a reference without it is another model. */
    struct model other = *m;
    struct model_layer layers[2];
    other.layers = layers;
    for (int i = 0; i < LAYER_TENSORS; i++) {
        memcpy(layers, m->layers, sizeof layers);
        if (layer_tensors[i].kind == TENSOR_MATRIX || !layers[0].tensors[i].data)
            continue;
        layers[0].tensors[i] = m->layers[1].tensors[i];
        if (layer_tensors[i].kind == TENSOR_BIAS)
            layers[0].tensors[i].data = NULL;
        assert_differs(&mf->model, &other);
    }
    other = *m;
    other.rope = ROPE_PAIRS;
    assert_differs(&mf->model, &other);
    model_file_close(mf);
}

static void test_gguf(void **state)
{
    struct model *m = madeup_random();
    (void)state;
    save_gguf(m, &archs[0]);
    check_file(m, "madeup");
    model_random_free(m);
}

static uint32_t up_to(uint32_t most, uint64_t *seed)
{
    return 1 + (uint32_t)(random_next(seed) % most);
}

/* A GGUF file of layers of any sizes. A reference that takes one of them for another's differs. */
static void test_sizes_by_layer(void **state)
{
    uint64_t seed = clock_ns() % 1000000;
    struct model_shape shape = {.n_layers = 5,
                                .head_dim = 16,
                                .n_embd = 64,
                                .n_vocab = 67,
                                .rope = ROPE_HALVES,
                                .biases = true,
                                .qk_norms = true,
                                .type = DT_F32,
                                .seed = seed};
    struct model_file *mf;
    struct model_layer layers[5];
    char err[400] = "";
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 5; i++) {
        shape.layer_kv_heads[i] = up_to(4, &seed);
        shape.layer_heads[i] = shape.layer_kv_heads[i] * up_to(6, &seed);
        shape.layer_ff[i] = 8 * up_to(30, &seed);
    }
    shape.layer_kv_heads[2] = 3; /* what a planted fault takes for 1 or for 6 */
    shape.layer_heads[2] = 6;
    struct model *m = model_random(&shape), other = *m;
    save_gguf(m, &archs[0]);
    if (model_file_open(&mf, path, err, sizeof err) != 0)
        fail_msg("%s", err);
    double same = difference(&mf->model, m);
    print_message("sizes by layer %.1e\n", same);
    assert_true(same <= TOLERANCE);
    other.layers = layers;
    for (int i = 0; i < 3; i++) {
        memcpy(layers, m->layers, sizeof layers);
        if (i < 2)
            layers[2].n_kv_heads = i == 0 ? 1 : 6;
        else
            layers[2].n_ff /= 2;
        assert_differs(&mf->model, &other);
    }
    model_file_close(mf);
    model_random_free(m);
}

static void test_folder(void **state)
{
    struct model *m = madeup_random();
    (void)state;
    save_folder(m, &archs[0]);
    check_file(m, "made_up");
    model_random_free(m);
}

static void test_gate(void **state)
{
    struct model_shape shape = pair_shape;
    struct model_file *mf;
    char err[400] = "";
    (void)state;
    shape.gate = GATE_GELU_TANH;
    shape.post_norms = true;
    shape.windowed = 0; /* the file does not say it */
    shape.seed = clock_ns() % 1000000;
    struct model *m = model_random(&shape), other = *m;
    save_gguf(m, &archs[2]);
    if (model_file_open(&mf, path, err, sizeof err) != 0)
        fail_msg("%s", err);
    assert_true(difference(&mf->model, m) <= TOLERANCE);
    other.gate = GATE_SILU;
    assert_differs(&mf->model, &other);
    model_file_close(mf);
    model_random_free(m);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void assert_refused(const char *tensor, const char *reason)
{
    struct model_file *mf;
    char err[400] = "";
    if (model_file_open(&mf, path, err, sizeof err) == 0)
        fail_msg("accepted, expected: %s ... %s", tensor, reason);
    if (strncmp(err, path, strlen(path)) != 0 || !strstr(err, tensor) || !strstr(err, reason))
        fail_msg("message \"%s\" lacks \"%s\" or \"%s\"", err, tensor, reason);
}

/* The model with one tensor changed, in a file of either format. */
static void assert_change_refused(const struct model *m, int tensor, struct tensor t,
                                  const char *gguf, const char *hf, const char *reason)
{
    struct model_layer layers[2];
    struct model changed = *m;
    memcpy(layers, m->layers, sizeof layers);
    layers[1].tensors[tensor] = t;
    changed.layers = layers;
    save_gguf(&changed, &archs[0]);
    assert_refused(gguf, reason);
    save_folder(&changed, &archs[0]);
    assert_refused(hf, reason);
}

static void test_what_the_row_needs(void **state)
{
    struct model *m = madeup_random();
    struct tensor shorter = m->layers[1].bk, transposed = m->layers[1].w_down;
    (void)state;
    assert_change_refused(m, LAYER_BV, (struct tensor){0}, "tensor blk.1.attn_v.bias",
                          "tensor model.layers.1.self_attn.v_proj.bias", "missing");
    assert_change_refused(m, LAYER_K_NORM, (struct tensor){0}, "tensor blk.1.attn_key_norm.weight",
                          "tensor model.layers.1.self_attn.k_norm.weight", "missing");
    shorter.cols--;
    assert_change_refused(m, LAYER_BK, shorter, "tensor blk.1.attn_k.bias",
                          "tensor model.layers.1.self_attn.k_proj.bias",
                          "shape is 47, expected 48");
    transposed.rows = 96;
    transposed.cols = 64;
    assert_change_refused(m, LAYER_W_DOWN, transposed, "tensor blk.1.ffn_down.weight",
                          "tensor model.layers.1.mlp.down_proj.weight",
                          "shape is 96 x 64, expected 64 x 96");

    struct arch qwen3 = archs[0];
    qwen3.names[NAMES_GGUF] = qwen3.names[NAMES_HF] = "qwen3";
    save_gguf(m, &qwen3);
    assert_refused("general.architecture",
                   "qwen3 is not supported (these are: madeup, mixed, gelu)");
    save_folder(m, &qwen3);
    assert_refused("model_type", "qwen3 is not supported (these are: made_up, mixed)");
    model_random_free(m);
}

/* Layer 1 has experts, one of them shared. */
static struct model *mixed_random(void)
{
    struct model_shape shape = pair_shape;
    shape.n_layers = 2;
    shape.layer_heads[1] = shape.layer_kv_heads[1] = shape.layer_ff[1] = 0; /* as folders have it */
    shape.windowed = 0;
    shape.untied = false;
    shape.rope = ROPE_HALVES;
    shape.n_experts = 5;
    shape.n_experts_used = 2;
    shape.n_ff_expert = 40;
    shape.n_ff_shared = 24;
    shape.experts = 2;
    shape.experts_normed = true;
    shape.seed = clock_ns() % 1000000;
    print_message("seed %llu\n", (unsigned long long)shape.seed);
    return model_random(&shape);
}

/* The file at `path` is m, and what it says of experts matters. */
static void check_experts(const struct model *m)
{
    struct model_file *mf;
    char err[400] = "";
    if (model_file_open(&mf, path, err, sizeof err) != 0)
        fail_msg("%s", err);
    assert_int_equal(layer_parts(&mf->model.layers[0]), PARTS_LLAMA);
    assert_int_equal(layer_parts(&mf->model.layers[1]),
                     PARTS_MIXED | PART_BIT(PART_EXPERTS) | PART_BIT(PART_SHARED_EXPERT));
    const struct tensor *down = &mf->model.layers[1].w_down_experts;
    assert_true(down->slices == 5 && down->rows == 64 && down->cols == 40);
    uint64_t params = 0;
    for (uint32_t l = 0; l < 2; l++) {
        for (int i = 0; i < LAYER_TENSORS; i++)
            params += bytes_of(&m->layers[l].tensors[i]) / sizeof(float);
    }
    for (int i = 0; i < MODEL_TENSORS; i++)
        params += i == MODEL_OUTPUT ? 0 : bytes_of(&m->tensors[i]) / sizeof(float);
    assert_int_equal(mf->model.n_params, params);
    double same = difference(&mf->model, m);
    print_message("experts %.1e\n", same);
    assert_true(same <= TOLERANCE);

    struct model other = *m;
    struct model_layer layers[2];
    other.experts_normed = false;
    assert_differs(&mf->model, &other);
    other = *m;
    other.n_experts_used++;
    assert_differs(&mf->model, &other);
    other = *m;
    other.layers = layers;
    memcpy(layers, m->layers, sizeof layers);
    layers[1].w_gate_experts.data = m->layers[1].w_up_experts.data;
    layers[1].w_up_experts.data = m->layers[1].w_gate_experts.data;
    assert_differs(&mf->model, &other);
    memcpy(layers, m->layers, sizeof layers);
    layers[1].w_shared.data = NULL;
    assert_differs(&mf->model, &other);
    model_file_close(mf);
}

static void test_experts(void **state)
{
    struct model *m = mixed_random();
    (void)state;
    save_gguf(m, &archs[1]);
    check_experts(m);
    experts_form = APART;
    save_folder(m, &archs[1]);
    check_experts(m);
    experts_form = STACKED;
    save_folder(m, &archs[1]);
    check_experts(m);
    model_random_free(m);
}

static void test_experts_refused(void **state)
{
    struct model *random = mixed_random(), m = *random;
    struct model_layer layers[2];
    (void)state;
    memcpy(layers, m.layers, sizeof layers);
    m.layers = layers;
    layers[1].w_up_experts.slices = 2;
    save_gguf(&m, &archs[1]);
    assert_refused("tensor blk.1.ffn_up_exps.weight", "shape is 2 x 40 x 64, expected 5 x 40 x 64");
    experts_form = APART;
    save_folder(&m, &archs[1]);
    assert_refused("tensor model.layers.1.mlp.experts.2.up_proj.weight", "missing");
    layers[1].w_up_experts.slices = 0;
    layers[1].w_up_experts.rows = 200;
    save_gguf(&m, &archs[1]);
    assert_refused("tensor blk.1.ffn_up_exps.weight", "shape is 200 x 64, expected 5 x 40 x 64");
    memcpy(layers, random->layers, sizeof layers);
    layers[1].w_down_shared.data = NULL;
    save_gguf(&m, &archs[1]);
    assert_refused("tensor blk.1.ffn_down_shexp.weight", "missing");
    memcpy(layers, random->layers, sizeof layers);
    layers[0].w_down.data = layers[0].w_up.data = layers[0].w_gate.data = NULL;
    save_gguf(&m, &archs[1]); /* neither */
    assert_refused("tensor blk.0.ffn_gate_inp.weight", "missing");
    memcpy(layers, random->layers, sizeof layers);
    sparse_step = 1;
    save_folder(&m, &archs[1]);
    assert_refused("config.json", "layer 0 has none");
    sparse_step = 3;
    save_folder(&m, &archs[1]);
    assert_refused("config.json", "layer 1 has experts");
    sparse_step = 2;
    m.n_experts = SIZE_EXPERTS_MAX + 1;
    save_gguf(&m, &archs[1]);
    assert_refused("mixed.expert_count", "outside 1 to 4096");
    m.n_experts = 5;
    m.n_experts_used = 6;
    save_gguf(&m, &archs[1]);
    assert_refused("mixed.expert_used_count", "outside 1 to 5");
    model_random_free(random);
}

/* Of a device that lacks a part. */
static void test_blocks_of_no_device(void **state)
{
    struct model *m = mixed_random();
    const struct model_blocks few = {.device = "a device", .needs = PARTS_MIXED, .gates = 1};
    const struct model_blocks some = {
        .device = "a device", .needs = PARTS_MIXED, .may = PART_BIT(PART_GATED_FFN), .gates = 1};
    char err[400] = "";
    (void)state;
    assert_int_equal(model_check(m, &few, err, sizeof err), SPECD_EINVAL);
    assert_string_equal(err, "layer 0: w_gate: a device has no gated feed-forward yet");
    assert_int_equal(model_check(m, &some, err, sizeof err), SPECD_EINVAL);
    assert_string_equal(err, "layer 1: w_router: a device has no mixture of experts yet");
    m->layers[0].w_router = m->layers[1].w_router; /* both kinds */
    assert_int_equal(model_check(m, &some, err, sizeof err), SPECD_EINVAL);
    m->layers[0].w_router.data = NULL;

    m->gate = GATE_KINDS;
    struct device_setup setup = rig_setup(m, NULL);
    struct device_plan plan;
    struct device *dev;
    m->file = "some/file";
    assert_int_equal(rig_ops()->open(&dev, -1, err, sizeof err), 0);
    assert_int_equal(rig_ops()->plan(dev, &setup, &plan, err, sizeof err), SPECD_EINVAL);
    if (!strstr(err, "some/file") || !strstr(err, "no feed-forward with a gate"))
        fail_msg("%s", err);
    rig_ops()->close(dev);
    model_random_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf),
        cmocka_unit_test(test_sizes_by_layer),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_gate),
        cmocka_unit_test(test_what_the_row_needs),
        cmocka_unit_test(test_experts),
        cmocka_unit_test(test_experts_refused),
        cmocka_unit_test(test_blocks_of_no_device),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
