/*
 * Opening GGUF models and Hugging Face folders from disk: what arrives in struct model and struct
 * vocab, and that a file which means something specd does not compute is refused by name.
 *
 * links: specd_model specd_write
 */
#include "unit/gguf_maker.h"
#include "unit/hf_maker.h"

#include "model/model_file.h"
#include "specd/error.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "temp_folder.h"

static const char *save(struct image image, const char *name)
{
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(image.data, 1, image.size, f), image.size);
    fclose(f);
    free(image.data);
    return path_of(name);
}

static struct model_file *open_good(const char *path)
{
    struct model_file *mf;
    char err[400] = "";
    if (model_file_open(&mf, path, err, sizeof err) != 0)
        fail_msg("%s", err);
    return mf;
}

static void assert_refused(const char *path, const char *field, const char *reason)
{
    struct model_file *mf;
    char err[400] = "";
    if (model_file_open(&mf, path, err, sizeof err) == 0)
        fail_msg("accepted, expected: %s ... %s", field, reason);
    if (strncmp(err, path, strlen(path)) != 0 || !strstr(err, field) || !strstr(err, reason))
        fail_msg("message \"%s\" lacks \"%s\" or \"%s\"", err, field, reason);
}

/* Refuses a good model with one more key or tensor. */
static void assert_addition_refused(void (*add)(struct gguf_writer *w), const char *field,
                                    const char *reason)
{
    struct shape s = SHAPE_LLAMA;
    struct gguf_writer w;
    begin_model(&w, &s);
    add(&w);
    assert_refused(save(image_of(&w), "m.gguf"), field, reason);
}

static void assert_shape_refused(const struct shape *s, const char *field, const char *reason)
{
    assert_refused(save(make_model(s), "m.gguf"), field, reason);
}

static void test_llama(void **state)
{
    (void)state;
    struct shape s = SHAPE_LLAMA;
    struct model_file *mf = open_good(save(make_model(&s), "some model.gguf"));
    const struct model *m = &mf->model;
    assert_string_equal(m->arch, "llama");
    assert_string_equal(mf->name, "tiny");
    assert_int_equal(m->n_layers, 2);
    assert_int_equal(m->layers[0].n_heads, 2);
    assert_int_equal(m->layers[0].n_kv_heads, 1);
    assert_int_equal(m->head_dim, 16);
    assert_int_equal(m->n_embd, 32);
    assert_int_equal(m->layers[1].n_ff, 64);
    assert_int_equal(m->n_vocab, 4);
    assert_int_equal(m->n_ctx, 128);
    assert_int_equal(m->rope, ROPE_PAIRS);
    assert_int_equal(m->rope_dim, 16);
    assert_true(m->rms_eps == 1e-5f);
    for (int i = 0; i < 8; i++)
        assert_true(m->ropes[0].inv_freq[i] == (float)pow(10000, -i / 8.0));
    /* Tensors hold their index in the file: embedding, nine of layer 0, nine of layer 1, ... */
    assert_int_equal(*(const uint8_t *)m->embed.data, 0);
    assert_int_equal(*(const uint8_t *)m->layers[0].wk.data, 3);
    assert_int_equal(*(const uint8_t *)m->layers[1].w_down.data, 18);
    assert_int_equal(m->layers[1].w_down.rows, 32);
    assert_int_equal(m->layers[1].w_down.cols, 64);
    assert_int_equal(m->layers[0].wk.rows, 16);
    assert_int_equal(*(const uint8_t *)m->out_norm.data, 19);
    assert_int_equal(*(const uint8_t *)m->output.data, 20);
    assert_null(m->layers[0].bq.data);
    assert_null(m->layers[0].q_norm.data);
    uint64_t layer = 2 * 32 + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 64;
    assert_int_equal(m->n_params, 2 * layer + 2 * 4 * 32 + 32);
    assert_int_equal(mf->vocab.n_tokens, 4);
    assert_int_equal(mf->vocab.pre, PRE_SMOLLM);
    assert_int_equal(mf->vocab.n_merges, 1);
    assert_int_equal(mf->vocab.eog[0], 0);
    assert_int_equal(mf->vocab.n_eog, 1);
    model_file_close(mf);
}

static void test_qwen(void **state)
{
    (void)state;
    struct shape qwen2 = {"qwen2", 1, 32, 2, 1, 16, 64, 4, true, false, true, NULL};
    struct model_file *mf = open_good(save(make_model(&qwen2), "q.gguf"));
    assert_int_equal(mf->model.rope, ROPE_HALVES);
    assert_ptr_equal(mf->model.output.data, mf->model.embed.data);
    assert_int_equal(mf->model.layers[0].bq.cols, 32);
    assert_int_equal(mf->model.layers[0].bv.cols, 16);
    model_file_close(mf);

    struct shape qwen3 = {"qwen3", 1, 32, 2, 2, 16, 64, 4, false, true, false, NULL};
    mf = open_good(save(make_model(&qwen3), "q.gguf"));
    assert_int_equal(mf->model.layers[0].k_norm.cols, 16);
    model_file_close(mf);

    qwen2.biases = false;
    assert_shape_refused(&qwen2, "tensor blk.0.attn_q.bias", "missing");
    qwen3.qk_norms = false;
    assert_shape_refused(&qwen3, "tensor blk.0.attn_q_norm.weight", "missing");
}

static void test_names_and_fingerprints(void **state)
{
    (void)state;
    struct shape s = SHAPE_LLAMA;
    struct image image = make_model(&s), other = copy_image(&image, image.size);
    poke(&image, "general.name", 4 + 8, "\xc3\xa4\x01\xff", 4);
    struct model_file *a = open_good(save(image, "x.gguf"));
    struct model_file *b = open_good(save(other, "y.gguf"));
    assert_string_equal(a->name, "\xc3\xa4??");
    assert_true(a->fingerprint != b->fingerprint);
    assert_int_equal(a->file_bytes, b->file_bytes);
    model_file_close(b);
    b = open_good(path_of("x.gguf"));
    assert_true(a->fingerprint == b->fingerprint);
    model_file_close(a);
    model_file_close(b);
}

static void add_experts(struct gguf_writer *w)
{
    gguf_put_u32(w, "llama.expert_count", 8);
}
static void put_experts(struct gguf_writer *w)
{
    gguf_put_u32(w, "qwen2moe.expert_count", 8);
    gguf_put_u32(w, "qwen2moe.expert_used_count", 2);
}
static void add_sigmoid(struct gguf_writer *w)
{
    put_experts(w);
    gguf_put_u32(w, "qwen2moe.expert_gating_func", 2);
}
static void add_weights_scale(struct gguf_writer *w)
{
    put_experts(w);
    gguf_put_f32(w, "qwen2moe.expert_weights_scale", 2.5f);
}
static void add_groups(struct gguf_writer *w)
{
    put_experts(w);
    gguf_put_u32(w, "qwen2moe.expert_group_count", 4);
}
static void add_too_many_used(struct gguf_writer *w)
{
    gguf_put_u32(w, "qwen2moe.expert_count", 8);
    gguf_put_u32(w, "qwen2moe.expert_used_count", 9);
}
static void add_gate_up(struct gguf_writer *w)
{
    put_experts(w);
    put_matrix(w, "blk.0.ffn_gate_inp.weight", 8, 32);
    gguf_put_tensor(w, "blk.0.ffn_gate_up_exps.weight", DT_F32, (uint64_t[]){8, 48, 32}, 3);
}
static void add_dynamic_rope(struct gguf_writer *w)
{
    gguf_put_string(w, "llama.rope.scaling.type", "dynamic");
}
static void add_longrope(struct gguf_writer *w)
{
    gguf_put_string(w, "llama.rope.scaling.type", "longrope");
    gguf_put_u32(w, "llama.rope.scaling.original_context_length", 64);
    put_vector(w, "rope_factors_short.weight", 8);
}
static void add_yarn_and_factors(struct gguf_writer *w)
{
    gguf_put_string(w, "llama.rope.scaling.type", "yarn");
    put_vector(w, "rope_freqs.weight", 8);
}
static void add_narrow_qkv(struct gguf_writer *w)
{
    put_matrix(w, "blk.1.attn_qkv.weight", 32, 32);
}
static void add_scale(struct gguf_writer *w)
{
    gguf_put_f32(w, "llama.logit_scale", 0.1f);
}
static void add_value_length(struct gguf_writer *w)
{
    gguf_put_u32(w, "llama.attention.value_length", 8);
}
static void add_odd_rope(struct gguf_writer *w)
{
    gguf_put_u32(w, "llama.rope.dimension_count", 7);
}
static void add_wide_rope(struct gguf_writer *w)
{
    gguf_put_u32(w, "llama.rope.dimension_count", 32);
}
static void add_rope_base(struct gguf_writer *w)
{
    gguf_put_f32(w, "llama.rope.freq_base", -1);
}
static void add_rope_nan(struct gguf_writer *w)
{
    gguf_put_f32(w, "llama.rope.freq_base", NAN);
}
static void add_tensor(struct gguf_writer *w)
{
    put_vector(w, "blk.0.attn_sinks.weight", 32);
}
static void add_two_scales(struct gguf_writer *w)
{
    put_vector(w, "blk.0.attn_q.scale", 2);
}
static void add_half_scale(struct gguf_writer *w)
{
    gguf_put_tensor(w, "blk.1.ffn_up.scale", DT_F16, (uint64_t[]){1}, 1);
}
static void add_norm_scale(struct gguf_writer *w)
{
    put_vector(w, "blk.0.attn_norm.scale", 1);
}
static void add_lone_scale(struct gguf_writer *w)
{
    put_vector(w, "blk.0.ffn_down_exps.scale", 1);
}
static void add_third_layer(struct gguf_writer *w)
{
    struct shape s = SHAPE_LLAMA;
    put_layer(w, &s, 2);
}
static void add_some_biases(struct gguf_writer *w)
{
    put_vector(w, "blk.1.attn_q.bias", 32);
}
static void add_short_factors(struct gguf_writer *w)
{
    put_vector(w, "rope_freqs.weight", 7);
}
static void add_zero_factors(struct gguf_writer *w)
{
    put_vector(w, "rope_freqs.weight", 8);
}

static void test_unsupported_is_refused_by_name(void **state)
{
    (void)state;
    assert_addition_refused(add_experts, "llama.expert_count", "mixtures of experts");
    assert_addition_refused(add_dynamic_rope, "llama.rope.scaling.type",
                            "dynamic is not supported");
    assert_addition_refused(add_longrope, "tensor rope_factors_", "");
    assert_addition_refused(add_yarn_and_factors, "llama.rope.scaling.type",
                            "yarn beside a tensor");
    assert_addition_refused(add_narrow_qkv, "tensor blk.1.attn_qkv.weight", "expected 64 x 32");
    assert_addition_refused(add_scale, "llama.logit_scale", "not supported");
    assert_addition_refused(add_value_length, "llama.attention.value_length", "8 is outside");
    assert_addition_refused(add_odd_rope, "rope dimension count 7", "even");
    assert_addition_refused(add_wide_rope, "rope dimension count 32", "head size 16");
    assert_addition_refused(add_rope_base, "llama.rope.freq_base", "-1 is out of range");
    assert_addition_refused(add_rope_nan, "llama.rope.freq_base", "not finite");
    assert_addition_refused(add_tensor, "tensor blk.0.attn_sinks.weight", "not part of");
    assert_addition_refused(add_two_scales, "tensor blk.0.attn_q.scale", "expected 1");
    assert_addition_refused(add_half_scale, "tensor blk.1.ffn_up.scale", "is f16, expected f32");
    assert_addition_refused(add_norm_scale, "tensor blk.0.attn_norm.scale", "not part of");
    assert_addition_refused(add_lone_scale, "tensor blk.0.ffn_down_exps.scale", "not part of");
    assert_addition_refused(add_third_layer, "tensor blk.2.", "not part of a 2-layer llama");
    assert_addition_refused(add_some_biases, "tensor blk.1.attn_k.bias", "missing");
    assert_addition_refused(add_short_factors, "tensor rope_freqs.weight", "8 elements of f32");
    assert_addition_refused(add_zero_factors, "tensor rope_freqs.weight", "element 0");
}

/* What tensor number `at` of a made file has as its numbers. */
static float number_of(int at)
{
    float f;
    memset(&f, at, sizeof f);
    return f;
}

/* 21 tensors come first. Scales of activations do not matter. */
static void test_scales(void **state)
{
    static const char *const names[] = {"blk.0.attn_q", "blk.1.ffn_down", "token_embd", "output"};
    struct shape s = SHAPE_LLAMA;
    (void)state;
    for (int nan = 0; nan < 2; nan++) {
        struct gguf_writer w;
        char name[80];
        begin_model(&w, &s);
        for (size_t i = 0; i < COUNT_OF(names); i++) {
            snprintf(name, sizeof name, "%s.scale", names[i]);
            put_vector(&w, name, 1);
        }
        put_vector(&w, "blk.0.attn_q.input_scale", 1);
        struct image image = image_of(&w);
        uint8_t *at = image.data + image.size; /* of the last scale */
        while (at[-1] != 24)
            at--;
        if (nan) {
            memset(at - sizeof(float), 0xff, sizeof(float));
            assert_refused(save(image, "m.gguf"), "tensor output.scale", "element 0 is not finite");
            continue;
        }
        struct model_file *mf = open_good(save(image, "m.gguf"));
        const struct model *m = &mf->model;
        assert_true(*m->layers[0].wq.scale == number_of(21));
        assert_true(*m->layers[1].w_down.scale == number_of(22));
        assert_true(*m->embed.scale == number_of(23) && *m->output.scale == number_of(24));
        assert_null(m->layers[1].wq.scale);
        assert_null(m->layers[0].attn_norm.scale);
        model_file_close(mf);
    }
}

static void begin_experts(struct gguf_writer *w, void (*add)(struct gguf_writer *w))
{
    static const struct shape s = {
        "qwen2moe", 1, 32, 2, 1, 16, 64, 4, true, false, false, NULL,
    };
    begin_model(w, &s);
    add(w);
}

static void test_experts(void **state)
{
    (void)state;
    static const struct {
        void (*add)(struct gguf_writer *w);
        const char *field, *reason;
    } refused[] = {
        {add_sigmoid, "qwen2moe.expert_gating_func", "2 is not supported (1, softmax,"},
        {add_weights_scale, "qwen2moe.expert_weights_scale", "2.5 is not supported"},
        {add_groups, "qwen2moe.expert_group_count", "groups of experts are not supported"},
        {add_too_many_used, "qwen2moe.expert_used_count", "9 is outside 1 to 8"},
        {add_gate_up, "tensor blk.0.ffn_gate_up_exps.weight",
         "shape is 8 x 48 x 32, expected 8 x 64 x 32"},
    };
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        struct gguf_writer w;
        begin_experts(&w, refused[i].add);
        assert_refused(save(image_of(&w), "m.gguf"), refused[i].field, refused[i].reason);
    }
}

/* Gate and up of an expert in one tensor; sizes that follow from others. */
static void test_fused_experts(void **state)
{
    (void)state;
    struct gguf_writer w;
    begin_experts(&w, put_experts);
    put_matrix(&w, "blk.0.ffn_gate_inp.weight", 8, 32);
    gguf_put_tensor(&w, "blk.0.ffn_gate_up_exps.weight", DT_F32, (uint64_t[]){8, 64, 32}, 3);
    gguf_put_tensor(&w, "blk.0.ffn_down_exps.weight", DT_F32, (uint64_t[]){8, 32, 32}, 3);
    put_vector(&w, "blk.0.ffn_gate_inp_shexp.weight", 32);
    put_matrix(&w, "blk.0.ffn_gate_shexp.weight", 64, 32);
    put_matrix(&w, "blk.0.ffn_up_shexp.weight", 64, 32);
    put_matrix(&w, "blk.0.ffn_down_shexp.weight", 32, 64);
    int scales = (int)w.n_tensors;
    put_vector(&w, "blk.0.ffn_gate_up_exps.scale", 8);
    put_vector(&w, "blk.0.ffn_down_exps.scale", 8);
    struct model_file *mf = open_good(save(image_of(&w), "experts.gguf"));
    const struct model *m = &mf->model;
    const struct model_layer *l = m->layers;
    assert_true(m->n_experts == 8 && m->n_experts_used == 2 && !m->experts_normed);
    assert_true(m->n_ff_expert == 32 && m->n_ff_shared == 64);
    assert_null(l->w_down_experts.apart);
    for (uint32_t e = 0; e < 8; e++) {
        struct tensor gate = tensor_slice(&l->w_gate_experts, e),
                      up = tensor_slice(&l->w_up_experts, e),
                      down = tensor_slice(&l->w_down_experts, e);
        const float *first = l->w_gate_experts.data;
        assert_ptr_equal(gate.data, first + 2048 * e);
        assert_ptr_equal(up.data, first + 2048 * e + 1024);
        assert_ptr_equal(down.data, (const float *)l->w_down_experts.data + 1024 * e);
        assert_true(up.rows == 32 && up.cols == 32 && up.slices == 0 && down.slices == 0);
        assert_true(*gate.scale == number_of(scales) && *down.scale == number_of(scales + 1));
        assert_ptr_equal(gate.scale, tensor_slice(&l->w_gate_experts, 0).scale + e);
        assert_ptr_equal(up.scale, gate.scale);
        assert_ptr_equal(down.scale, l->w_down_experts.scale + e);
    }
    assert_null(l->w_down_shared.scale);
    model_file_close(mf);
}

static void test_shapes_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *key; /* its u32 value is replaced */
        uint32_t value;
        const char *field, *reason;
    } lies[] = {
        {"block_count", 3, "tensor blk.2.attn_q.weight", "missing"},
        {"block_count", 1, "tensor blk.1.", "not part of a 1-layer"},
        {"block_count", 0, "llama.block_count", "0 is outside 1 to 256"},
        {"block_count", UINT32_MAX, "llama.block_count", "outside"},
        {"embedding_length", 64, "tensor token_embd.weight", "shape is 4 x 32, expected 4 x 64"},
        {"embedding_length", 0, "llama.embedding_length", "outside"},
        {"feed_forward_length", 65, "tensor blk.0.ffn_gate.weight", "expected 65 x 32"},
        {"attention.head_count", 4, "tensor blk.0.attn_q.weight", "expected 64 x 32"},
        {"attention.head_count", 0, "llama.attention.head_count", "layers without attention"},
        {"attention.head_count_kv", 2, "tensor blk.0.attn_k.weight", "expected 32 x 32"},
        {"attention.head_count_kv", 5, "head count 2 is no multiple", "count 5"},
        {"attention.key_length", 8, "tensor blk.0.attn_q.weight", "expected 16 x 32"},
        {"attention.key_length", 100000, "llama.attention.key_length", "outside 1 to 256"},
        {"context_length", 0, "llama.context_length", "outside"},
        {"layer_norm_rms_epsilon", 0, "epsilon 0", "outside"},
        {"layer_norm_rms_epsilon", 0x7fc00000, "layer_norm_rms_epsilon", "not finite"},
        {"tokenizer.ggml.eos_token_id", 0x80000000, NULL, NULL}, /* ignored with a warning */
    };
    struct shape s = SHAPE_LLAMA;
    for (size_t i = 0; i < COUNT_OF(lies); i++) {
        struct image image = make_model(&s);
        poke(&image, lies[i].key, 4, &lies[i].value, 4);
        const char *path = save(image, "m.gguf");
        if (lies[i].field)
            assert_refused(path, lies[i].field, lies[i].reason);
        else
            model_file_close(open_good(path));
    }
}

static void test_vocabulary_is_checked(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t skip, bytes;
        uint64_t value;
        const char *field, *reason;
    } lies[] = {
        {"tokenizer.ggml.model", 12, 4, 0x31313131, "tokenizer.ggml.model", "1111 is not"},
        {"tokenizer.ggml.pre", 12, 2, 0x3131, "tokenizer.ggml.pre", "11ollm is a pre-tokenizer"},
        {"tokenizer.ggml.token_type", 16, 4, 7, "token_type", "token 0 has type 7"},
        {"tokenizer.ggml.token_type", 4, 4, GGUF_U32, "token_type", "expected an array of i32"},
        {"tokenizer.ggml.merges", 24, 3, 0x616161, "merges", "merge 0 is no pair"},
        {"tokenizer.ggml.merges", 24, 3, 0x612020, "merges", "merge 0 is no pair"},
        {"tokenizer.ggml.merges", 24, 3, 0x202061, "merges", "merge 0 is no pair"},
        {"tokenizer.ggml.merge", 0, 1, 'X', "tokenizer.ggml.merges", "missing"},
        {"tokenizer.ggml.token", 0, 1, 'X', "tokenizer.ggml.tokens", "missing"},
        {"tokenizer.ggml.mode", 0, 1, 'X', "tokenizer.ggml.model", "missing"},
        {"general.architecture", 12, 5, 0x6f6f6f6f6f, "general.architecture", "ooooo is not"},
    };
    struct shape s = SHAPE_LLAMA;
    for (size_t i = 0; i < COUNT_OF(lies); i++) {
        struct image image = make_model(&s);
        poke(&image, lies[i].text, lies[i].skip, &lies[i].value, lies[i].bytes);
        assert_refused(save(image, "m.gguf"), lies[i].field, lies[i].reason);
    }
    s.vocab = 3;
    assert_shape_refused(&s, "4 tokens", "3 rows");
}

/* -1 is what writers put for "none", of any width; other ids beyond the vocabulary are none, too.
 */
static void test_ids_that_are_none(void **state)
{
    static const char *const keys[] = {
        "tokenizer.ggml.padding_token_id", "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.eot_token_id",
        "tokenizer.ggml.eom_token_id"};
    static const struct {
        enum gguf_type type;
        int64_t value;
    } nones[] = {{GGUF_I32, -1}, {GGUF_U32, -1}, {GGUF_I16, -1},   {GGUF_I8, -1},
                 {GGUF_I64, -1}, {GGUF_U32, 4},  {GGUF_I32, -100}, {GGUF_U32, INT32_MIN}};
    struct shape s = SHAPE_LLAMA;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(nones); i++) {
        struct gguf_writer w;
        begin_model(&w, &s);
        for (size_t k = 0; k < COUNT_OF(keys); k++) /* an array of one counts as a number */
            gguf_put_array(&w, keys[k], nones[i].type, &nones[i].value, 1);
        struct image image = image_of(&w);
        if (gguf_type_bytes(nones[i].type) == 4) {
            poke(&image, "tokenizer.ggml.eos_token_id", 0, &(uint32_t){nones[i].type}, 4);
            poke(&image, "tokenizer.ggml.eos_token_id", 4, &nones[i].value, 4);
        }
        struct model_file *mf = open_good(save(image, "m.gguf"));
        const struct vocab *v = &mf->vocab;
        assert_int_equal(v->pad, -1);
        assert_int_equal(v->bos, -1);
        assert_int_equal(v->unk, -1);
        assert_int_equal(v->eos, gguf_type_bytes(nones[i].type) == 4 ? -1 : 0);
        assert_false(v->add_bos);
        model_file_close(mf);
    }
}

/* Sizes by layer, as files of pruned models have them. */
static void test_sizes_by_layer(void **state)
{
    (void)state;
    static const struct {
        const char *key, *at;
        size_t skip; /* behind it: type, elements' type, their number (8 bytes), elements */
        uint32_t value;
        const char *reason;
    } refused[] = {
        {"attention.head_count", "block_count", 4, 1, "has 2 elements, the model 1 layers"},
        {"attention.head_count", "block_count", 4, 3, "has 2 elements, the model 3 layers"},
        {"attention.head_count", "attention.head_count", 16, 0,
         "is 0 in layer 0: layers without attention are not supported"},
        {"attention.head_count_kv", "attention.head_count_kv", 20, 0,
         "is 0 in layer 1: layers without keys and values are not supported"},
        {"attention.head_count_kv", "attention.head_count_kv", 20, 2000,
         "2000 in layer 1 is outside 1 to 1024"},
        {"feed_forward_length", "feed_forward_length", 20, 0,
         "is 0 in layer 1: layers without a feed-forward are not supported"},
        {"feed_forward_length", "feed_forward_length", 16, 1 << 21,
         "2097152 in layer 0 is outside 1 to 1048576"},
        {"feed_forward_length", "feed_forward_length", 4, GGUF_F32,
         "is an array of f32, expected an integer"},
    };
    static const uint32_t sizes[][3] = {{2, 1, 96}, {6, 3, 32}};
    struct shape s = SHAPE_LLAMA;
    s.by_layer = sizes;
    struct model_file *mf = open_good(save(make_model(&s), "m.gguf"));
    for (int i = 0; i < 2; i++) {
        const struct model_layer *l = &mf->model.layers[i];
        assert_true(l->n_heads == sizes[i][0] && l->n_kv_heads == sizes[i][1]);
        assert_true(l->wq.rows == 16 * sizes[i][0] && l->wk.rows == 16 * sizes[i][1]);
        assert_true(l->n_ff == sizes[i][2] && l->w_down.cols == sizes[i][2]);
    }
    model_file_close(mf);
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        struct image image = make_model(&s);
        char key[80];
        snprintf(key, sizeof key, "llama.%s", refused[i].at);
        poke(&image, key, refused[i].skip, &refused[i].value, sizeof refused[i].value);
        snprintf(key, sizeof key, "llama.%s", refused[i].key);
        assert_refused(save(image, "m.gguf"), key, refused[i].reason);
    }
    struct image image = make_model(&s);
    poke(&image, "llama.attention.head_count_kv", 20, &(uint32_t){4}, sizeof(uint32_t));
    assert_refused(save(image, "m.gguf"), "layer 1: head count 6 is no multiple of the key/value",
                   "head count 4");
}

static void test_padded_vocabulary(void **state)
{
    (void)state;
    struct shape s = SHAPE_LLAMA;
    s.vocab = 6;
    struct model_file *mf = open_good(save(make_model(&s), "m.gguf"));
    assert_int_equal(mf->model.n_vocab, 6);
    assert_int_equal(mf->vocab.n_tokens, 6);
    assert_string_equal(mf->vocab.tokens[5].text, "[PAD5]");
    assert_int_equal(mf->vocab.tokens[5].type, TOKEN_UNUSED);
    model_file_close(mf);
}

static void test_sliding_window_and_linear_rope(void **state)
{
    (void)state;
    struct shape s = SHAPE_LLAMA;
    struct gguf_writer w;
    begin_model(&w, &s);
    gguf_put_u32(&w, "llama.attention.sliding_window", 100);
    gguf_put_string(&w, "llama.rope.scaling.type", "linear");
    gguf_put_f32(&w, "llama.rope.scaling.factor", 4);
    gguf_put_f32(&w, "llama.rope.freq_base", 500);
    struct model_file *mf = open_good(save(image_of(&w), "m.gguf"));
    assert_int_equal(mf->model.layers[0].window, 100);
    for (int i = 0; i < 8; i++)
        assert_true(mf->model.ropes[0].inv_freq[i] == (float)(pow(500, -i / 8.0) / 4));
    model_file_close(mf);
}

static void test_yarn(void **state)
{
    (void)state;
    struct shape s = SHAPE_LLAMA;
    struct gguf_writer w;
    begin_model(&w, &s);
    gguf_put_string(&w, "llama.rope.scaling.type", "yarn");
    gguf_put_f32(&w, "llama.rope.scaling.factor", 4);
    gguf_put_f32(&w, "llama.rope.scaling.attn_factor", 0.5f);
    gguf_put_u32(&w, "llama.rope.scaling.original_context_length", 4096);
    struct model_file *mf = open_good(save(image_of(&w), "m.gguf"));
    /* Pair 0 turns 652 times within 4,096 positions, pair 7 not once. */
    assert_true(mf->model.ropes[0].inv_freq[0] == 1.0f);
    assert_true(mf->model.ropes[0].inv_freq[7] == (float)(pow(10000, -7 / 8.0) / 4));
    assert_true(mf->model.ropes[0].magnitude == (float)((0.1 * log(4) + 1) * 0.5));
    model_file_close(mf);
}

/* Phi-3's files: q, k and v in one tensor, gate and up in another. */
static void test_fused(void **state)
{
    (void)state;
    struct shape s = {"phi3", 1, 32, 2, 1, 16, 64, 4, false, false, false, NULL};
    struct gguf_writer w;
    gguf_writer_init(&w, NULL);
    put_shape(&w, &s);
    put_vocab(&w);
    put_vector(&w, "blk.0.attn_norm.weight", 32);
    gguf_put_tensor(&w, "blk.0.attn_qkv.weight", DT_Q8_0, (uint64_t[]){64, 32}, 2);
    put_matrix(&w, "blk.0.attn_output.weight", 32, 32);
    put_vector(&w, "blk.0.ffn_norm.weight", 32);
    put_matrix(&w, "blk.0.ffn_up.weight", 128, 32);
    put_matrix(&w, "blk.0.ffn_down.weight", 32, 64);
    put_matrix(&w, "token_embd.weight", 4, 32);
    put_vector(&w, "output_norm.weight", 32);
    put_matrix(&w, "output.weight", 4, 32);
    float scale = number_of((int)w.n_tensors);
    put_vector(&w, "blk.0.attn_qkv.scale", 1);
    struct model_file *mf = open_good(save(image_of(&w), "m.gguf"));
    const struct model_layer *l = &mf->model.layers[0];
    const uint8_t *q = l->wq.data, *gate = l->w_gate.data;
    assert_true(l->wq.rows == 32 && l->wk.rows == 16 && l->wv.rows == 16 && l->wv.cols == 32);
    assert_true(l->wk.type == DT_Q8_0 && l->w_up.type == DT_F32);
    assert_ptr_equal(l->wk.data, q + 32 * 34);
    assert_ptr_equal(l->wv.data, q + 48 * 34);
    assert_true(*l->wq.scale == scale && l->wk.scale == l->wq.scale);
    assert_true(l->wv.scale == l->wq.scale && !l->w_gate.scale);
    assert_true(l->w_gate.rows == 64 && l->w_up.rows == 64);
    assert_ptr_equal(l->w_up.data, gate + 64 * 32 * sizeof(float));
    assert_int_equal(mf->model.n_params,
                     2 * 32 + 64 * 32 + 32 * 32 + 3 * 64 * 32 + 2 * 4 * 32 + 32);
    model_file_close(mf);
}

static void test_spm_defaults(void **state)
{
    (void)state;
    static const struct gguf_text tokens[] = {{"<unk>", 5}, {"<s>", 3}, {"</s>", 4}, {"a", 1}};
    static const int32_t types[] = {2, 3, 3, 1};
    static const float scores[] = {0, 0, 0, -1.5f};
    struct shape s = SHAPE_LLAMA;
    struct gguf_writer w;
    gguf_writer_init(&w, NULL);
    put_shape(&w, &s);
    gguf_put_string(&w, "tokenizer.ggml.model", "llama");
    gguf_put_strings(&w, "tokenizer.ggml.tokens", tokens, 4);
    gguf_put_array(&w, "tokenizer.ggml.token_type", GGUF_I32, types, 4);
    gguf_put_array(&w, "tokenizer.ggml.scores", GGUF_F32, scores, 4);
    put_weights(&w, &s);
    struct model_file *mf = open_good(save(image_of(&w), "m.gguf"));
    const struct vocab *v = &mf->vocab;
    assert_int_equal(v->kind, VOCAB_SPM);
    assert_int_equal(v->unk, 0);
    assert_int_equal(v->bos, 1);
    assert_int_equal(v->eos, 2);
    assert_int_equal(v->pad, -1);
    assert_true(v->add_bos && !v->add_eos && v->add_space_prefix);
    assert_int_equal(v->n_eog, 1);
    assert_int_equal(v->eog[0], 2);
    assert_true(v->tokens[3].score == -1.5f);
    model_file_close(mf);
}

/* Only Llama 3's pre-tokenizer adds BOS by itself, and only if there is one. */
static void test_bpe_defaults(void **state)
{
    (void)state;
    struct shape s = SHAPE_LLAMA;
    for (int with_bos = 0; with_bos < 2; with_bos++) {
        struct gguf_writer w;
        gguf_writer_init(&w, NULL);
        put_shape(&w, &s);
        put_vocab(&w);
        if (with_bos)
            gguf_put_u32(&w, "tokenizer.ggml.bos_token_id", 1);
        put_weights(&w, &s);
        struct image plain = image_of(&w), llama3 = copy_image(&plain, plain.size);
        poke(&llama3, "tokenizer.ggml.pre", 12, "llama3", 6);
        struct model_file *mf = open_good(save(plain, "m.gguf"));
        assert_true(!mf->vocab.add_bos && !mf->vocab.ignore_merges);
        assert_true(!mf->vocab.add_space_prefix && !mf->vocab.nfc);
        model_file_close(mf);
        mf = open_good(save(llama3, "m.gguf"));
        assert_int_equal(mf->vocab.pre, PRE_LLAMA3);
        assert_int_equal(mf->vocab.add_bos, with_bos);
        assert_true(mf->vocab.ignore_merges);
        model_file_close(mf);
    }
}

static const char *const splits[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf",
                                     "m-00003-of-00003.gguf"};

/* The first has the metadata, the second layer 0, the third layer 1 and what is in no layer. */
static struct image make_split(uint32_t no, uint32_t n, uint32_t n_tensors)
{
    struct shape s = SHAPE_LLAMA;
    struct gguf_writer w;
    gguf_writer_init(&w, NULL);
    gguf_put_u32(&w, "split.no", no);
    gguf_put_u32(&w, "split.count", n);
    gguf_put_u32(&w, "split.tensors.count", n_tensors);
    if (no == 0) {
        put_shape(&w, &s);
        put_vocab(&w);
    } else {
        put_layer(&w, &s, no - 1);
    }
    if (no == 2) {
        put_matrix(&w, "token_embd.weight", s.vocab, s.embd);
        put_vector(&w, "output_norm.weight", s.embd);
        put_matrix(&w, "output.weight", s.vocab, s.embd);
    }
    return image_of(&w);
}

static void save_splits(void)
{
    for (uint32_t i = 0; i < COUNT_OF(splits); i++)
        save(make_split(i, 3, 21), splits[i]);
}

static void test_split(void **state)
{
    (void)state;
    uint64_t bytes = 0;
    save_splits();
    for (size_t i = 0; i < COUNT_OF(splits); i++) {
        struct stat st;
        assert_int_equal(stat(path_of(splits[i]), &st), 0);
        bytes += (uint64_t)st.st_size;
    }
    struct model_file *mf = open_good(path_of(splits[0]));
    const struct model *m = &mf->model;
    assert_int_equal(mf->file_bytes, bytes);
    /* Tensors hold their index in their own file. */
    assert_int_equal(*(const uint8_t *)m->layers[0].wk.data, 2);
    assert_int_equal(*(const uint8_t *)m->layers[1].wk.data, 2);
    assert_true(m->layers[0].wk.data != m->layers[1].wk.data);
    assert_int_equal(*(const uint8_t *)m->output.data, 11);
    assert_int_equal(mf->vocab.n_tokens, 4);
    uint64_t fingerprint = mf->fingerprint;
    model_file_close(mf);
    save(make_split(2, 3, 22), splits[2]); /* a later file's header is part of it */
    mf = open_good(path_of(splits[0]));
    assert_true(mf->fingerprint != fingerprint);
    model_file_close(mf);
}

/* Opening the first file, with this one in the place of file `at`, is refused in the name of `at`,
 * or of the first where the files don't make a whole. */
static void assert_split_refused(struct image image, size_t at, const char *file,
                                 const char *reason)
{
    char err[400] = "";
    struct model_file *mf;
    save_splits();
    save(image, splits[at]);
    assert_int_equal(model_file_open(&mf, path_of(splits[0]), err, sizeof err), SPECD_EFILE);
    if (!strstr(err, file) || !strstr(err, reason))
        fail_msg("message \"%s\" lacks \"%s\" or \"%s\"", err, file, reason);
}

static void test_split_is_checked(void **state)
{
    (void)state;
    struct shape s = SHAPE_LLAMA;
    struct image twice = make_split(2, 3, 21);
    poke(&twice, "blk.", 0, "0", 1); /* layer 1's first tensor becomes layer 0's */
    assert_split_refused(make_split(0, 3, 22), 0, splits[0], "22, but the files have 21");
    assert_split_refused(make_split(0, 1025, 21), 0, splits[0], "1025 is outside 0 to 1024");
    assert_split_refused(make_split(1, 3, 21), 0, splits[0], "this is file 2 of 3: its name must");
    assert_split_refused(make_split(1, 3, 21), 2, splits[2], "file 2 of 3, expected 3 of 3");
    assert_split_refused(make_split(2, 4, 21), 2, splits[2], "file 3 of 4, expected 3 of 3");
    assert_split_refused(make_model(&s), 2, splits[2], "split.no: missing");
    assert_split_refused(twice, 2, "m-0000", "two tensors are named blk.0.attn_norm.weight");
    assert_refused(path_of(splits[1]), "split.no", "file 2 of 3: give the first, /tmp/");
    save(make_split(0, 3, 21), "whole.gguf");
    assert_refused(path_of("whole.gguf"), "split.no", "must end in -00001-of-00003.gguf");
    save_splits();
    assert_int_equal(unlink(path_of(splits[1])), 0);
    char err[400] = "";
    struct model_file *mf;
    assert_int_equal(model_file_open(&mf, path_of(splits[0]), err, sizeof err), SPECD_EFILE);
    assert_non_null(strstr(err, "m-00002-of-00003.gguf: No such file"));
}

static void test_files_that_are_not_models(void **state)
{
    (void)state;
    assert_refused(path_of("absent.gguf"), "absent.gguf", "No such file");
    assert_refused(save((struct image){xmalloc(1), 0}, "empty.gguf"), "empty", "the file is empty");
    assert_refused(save((struct image){(uint8_t *)xstrdup("hello"), 5}, "text.gguf"), "header",
                   "no GGUF file");
    assert_refused("/dev/null", "/dev/null", "not a regular file");
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    assert_refused(path_of("fifo"), "fifo", "not a regular file");
    assert_refused(folder, "config.json", "No such file");
}

/* Cuts of a whole model within header, vocabulary and tensor list; sampled, for time. */
static void test_truncated_model(void **state)
{
    (void)state;
    struct shape s = SHAPE_LLAMA;
    struct image whole = make_model(&s);
    for (size_t size = 1; size < whole.size; size += 37)
        assert_refused(save(copy_image(&whole, size), "cut.gguf"), "cut.gguf: ", "");
    free(whole.data);
}

static void test_folder(void **state)
{
    (void)state;
    char dir[200];
    snprintf(dir, sizeof dir, "%s/tiny-hf", folder);
    hf_make_folder(dir, 1);
    struct model_file *mf = open_good(dir);
    assert_string_equal(mf->name, "tiny-hf");
    assert_string_equal(mf->model.arch, "llama");
    assert_int_equal(mf->model.rope, ROPE_HALVES);
    assert_int_equal(mf->model.n_vocab, 6);
    assert_int_equal(mf->vocab.n_tokens, 6); /* four of the tokenizer, two padded */
    assert_int_equal(mf->model.layers[0].wq.type, DT_BF16);
    assert_int_equal(mf->model.layers[0].wq.rows, 32);
    assert_int_equal(mf->vocab.eog[0], 0);
    assert_ptr_equal(mf->model.output.data, mf->model.embed.data);
    const uint8_t *norm = mf->model.out_norm.data;
    assert_int_equal(norm[0], HF_NORM_BYTE);
    uint64_t fingerprint = mf->fingerprint, bytes = mf->file_bytes;
    model_file_close(mf);

    /* The same tensors in two files. */
    hf_make_folder(dir, 2);
    mf = open_good(dir);
    assert_int_equal(((const uint8_t *)mf->model.out_norm.data)[0], HF_NORM_BYTE);
    assert_true(mf->fingerprint != fingerprint);
    assert_true(mf->file_bytes > bytes);
    model_file_close(mf);

    char path[300];
    snprintf(path, sizeof path, "%s/b.safetensors", dir);
    assert_int_equal(unlink(path), 0);
    assert_refused(dir, "b.safetensors", "No such file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_qwen),
        cmocka_unit_test(test_names_and_fingerprints),
        cmocka_unit_test(test_unsupported_is_refused_by_name),
        cmocka_unit_test(test_scales),
        cmocka_unit_test(test_experts),
        cmocka_unit_test(test_fused_experts),
        cmocka_unit_test(test_shapes_are_checked),
        cmocka_unit_test(test_vocabulary_is_checked),
        cmocka_unit_test(test_ids_that_are_none),
        cmocka_unit_test(test_sizes_by_layer),
        cmocka_unit_test(test_padded_vocabulary),
        cmocka_unit_test(test_sliding_window_and_linear_rope),
        cmocka_unit_test(test_yarn),
        cmocka_unit_test(test_fused),
        cmocka_unit_test(test_spm_defaults),
        cmocka_unit_test(test_bpe_defaults),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_split_is_checked),
        cmocka_unit_test(test_files_that_are_not_models),
        cmocka_unit_test(test_truncated_model),
        cmocka_unit_test(test_folder),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
