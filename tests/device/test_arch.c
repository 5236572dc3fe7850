/*
 * A made-up architecture of known blocks, brought by a row of this program's own table (arch.h)
 * alone: from a GGUF file and from a folder, its logits are the reference's. Rows of blocks that no
 * device has are read, and refused by the device with file and tensor.
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

#define MADEUP_PARTS (PARTS_LLAMA | PART_BIT(PART_QKV_BIAS) | PART_BIT(PART_QK_NORM))
#define EXPERT_PARTS (PART_BIT(PART_PRE_NORM) | PART_BIT(PART_ATTENTION) | PART_BIT(PART_EXPERTS))

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
     .n_kinds = 2,
     .kinds = {{.needs = PARTS_LLAMA}, {.needs = EXPERT_PARTS}}},
    {.names = {[NAMES_GGUF] = "gelu"},
     .n_kinds = 1,
     .kinds = {{.needs = PARTS_LLAMA}},
     .gate = GATE_GELU_TANH},
};
const int n_archs = COUNT_OF(archs);

static char folder[] = "/tmp/specd-arch-XXXXXX";
static char path[100];

/* ---- files of a model in memory -------------------------------------------------------------- */

typedef void each_tensor(void *to, const char *name, const struct tensor *t);

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
            if (t->data && name)
                each(to, tensor_name_of(naming, name, (int)l).text, t);
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
    const struct shape s = {a->names[NAMES_GGUF],
                            m->n_layers,
                            m->n_embd,
                            m->n_heads,
                            m->n_kv_heads,
                            m->head_dim,
                            m->n_ff,
                            m->n_vocab,
                            false,
                            false,
                            false};
    struct gguf_writer w;
    char err[100];
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    gguf_writer_init(&w, fopen(path, "wb"));
    put_shape(&w, &s);
    if (m->n_experts > 0) {
        put_sized(&w, &s, "expert_count", m->n_experts);
        put_sized(&w, &s, "expert_feed_forward_length", m->n_ff_expert);
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
               a->names[NAMES_HF], m->n_layers, m->n_embd, m->n_ff, m->n_vocab, m->n_heads,
               m->n_kv_heads);
    if (a->hf_head_dim == 0)
        buf_printf(&config, ",\"head_dim\":%u", m->head_dim);
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

/* Of the text's last position, on the device and in the reference. */
static double difference(const struct model *m, const struct model *reference)
{
    struct device_setup setup = rig_setup(m, NULL);
    struct rig *r = rig_new(&setup, 1);
    struct sample_params params = rig_params();
    uint64_t seed = m->n_params;
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
        if (layer_tensors[i].kind == TENSOR_MATRIX)
            continue;
        layers[0].tensors[i] = m->layers[1].tensors[i];
        if (layer_tensors[i].kind == TENSOR_BIAS)
            layers[0].tensors[i].data = NULL;
        assert_true(difference(&mf->model, &other) > 10 * TOLERANCE);
    }
    other = *m;
    other.rope = ROPE_PAIRS;
    assert_true(difference(&mf->model, &other) > 10 * TOLERANCE);
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

static void test_folder(void **state)
{
    struct model *m = madeup_random();
    (void)state;
    save_folder(m, &archs[0]);
    check_file(m, "made_up");
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

static void assert_plan_refused(const char *words)
{
    struct model_file *mf;
    struct device_plan plan;
    struct device *dev;
    char err[400] = "";
    if (model_file_open(&mf, path, err, sizeof err) != 0)
        fail_msg("%s", err);
    struct device_setup setup = rig_setup(&mf->model, NULL);
    assert_int_equal(rig_ops()->open(&dev, -1, err, sizeof err), 0);
    assert_int_equal(rig_ops()->plan(dev, &setup, &plan, err, sizeof err), SPECD_EINVAL);
    if (!strstr(err, path) || !strstr(err, words))
        fail_msg("message \"%s\" lacks \"%s\" or \"%s\"", err, path, words);
    rig_ops()->close(dev);
    model_file_close(mf);
}

/* Layer 1 has experts in place of the feed-forward; all share some zeros. */
static void make_mixed(struct model *m, struct model_layer layers[2], const float *zeros)
{
    memcpy(layers, m->layers, 2 * sizeof *layers);
    m->layers = layers;
    m->n_experts = 3;
    m->n_ff_expert = 40;
    for (int i = 0; i < LAYER_TENSORS; i++) {
        const struct tensor_spec *spec = &layer_tensors[i];
        struct tensor *t = &layers[1].tensors[i];
        if (!(PART_BIT(spec->part) & EXPERT_PARTS))
            *t = (struct tensor){0};
        if (spec->part == PART_EXPERTS)
            *t = (struct tensor){.data = zeros,
                                 .type = DT_F32,
                                 .rows = (uint32_t)model_dim(m, spec->rows),
                                 .cols = (uint32_t)model_dim(m, spec->cols),
                                 .slices = (uint32_t)model_dim(m, spec->slices)};
    }
}

static void test_blocks_of_no_device(void **state)
{
    struct model_shape shape = pair_shape;
    shape.n_layers = 2;
    struct model *random = model_random(&shape), m = *random;
    struct model_layer layers[2];
    float *zeros = xcalloc(3 * 40 * 64, sizeof *zeros);
    (void)state;
    save_gguf(&m, &archs[2]);
    assert_plan_refused("no feed-forward with a gate of GELU");

    make_mixed(&m, layers, zeros);
    save_gguf(&m, &archs[1]);
    assert_plan_refused("layer 1: w_router: the CPU device has no mixture of experts yet");
    struct model_file *mf;
    char err[400] = "";
    assert_int_equal(model_file_open(&mf, path, err, sizeof err), 0);
    assert_int_equal(layer_parts(&mf->model.layers[0]), PARTS_LLAMA);
    assert_int_equal(layer_parts(&mf->model.layers[1]), EXPERT_PARTS);
    const struct tensor *down = &mf->model.layers[1].w_down_experts;
    assert_true(down->slices == 3 && down->rows == 64 && down->cols == 40);
    uint64_t params = 0;
    for (uint32_t l = 0; l < 2; l++) {
        for (int i = 0; i < LAYER_TENSORS; i++)
            params += bytes_of(&layers[l].tensors[i]) / sizeof(float);
    }
    for (int i = 0; i < MODEL_TENSORS; i++)
        params += bytes_of(&m.tensors[i]) / sizeof(float);
    assert_int_equal(mf->model.n_params, params);
    model_file_close(mf);

    layers[1].w_up_experts.slices = 2;
    save_gguf(&m, &archs[1]);
    assert_refused("tensor blk.1.ffn_up_exps.weight", "shape is 2 x 40 x 64, expected 3 x 40 x 64");
    layers[1].w_up_experts =
        (struct tensor){.data = zeros, .type = DT_F32, .rows = 120, .cols = 64};
    save_gguf(&m, &archs[1]);
    assert_refused("tensor blk.1.ffn_up_exps.weight", "shape is 120 x 64, expected 3 x 40 x 64");
    make_mixed(&m, layers, zeros);
    layers[0].w_router = layers[1].w_router; /* a layer of the other kind */
    save_gguf(&m, &archs[1]);
    assert_refused("tensor blk.0.ffn_gate_inp.weight", "not part of a 2-layer mixed");
    layers[0].w_router.data = NULL;
    m.n_experts = SIZE_EXPERTS_MAX + 1;
    save_gguf(&m, &archs[1]);
    assert_refused("mixed.expert_count", "outside 1 to 4096");
    save_folder(&m, &archs[1]);
    assert_refused("layer 1: w_router", "from GGUF files alone");
    free(zeros);
    model_random_free(random);
}

static int make_temp(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_temp(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_what_the_row_needs),
        cmocka_unit_test(test_blocks_of_no_device),
    };
    return cmocka_run_group_tests(tests, make_temp, remove_temp);
}
