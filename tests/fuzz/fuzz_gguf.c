/*
 * A GGUF file from anywhere: parser, vocabulary and model on top of it.
 *
 * links: specd_model specd_write
 */
#include "fuzz.h"

#include "model/gguf_model.h"
#include "model/gguf_vocab.h"
#include "specd/quant.h"
#include "unit/gguf_maker.h"

/* The bytes a model points to must be there, and any bytes decode. */
static void touch(const struct tensor *t)
{
    if (!t->data)
        return;
    size_t row = dtype_row_bytes(t->type, t->cols);
    float *values = xmalloc(t->cols * sizeof *values);
    quant_decode(t->type, t->data, t->cols, values);
    quant_decode(t->type, (const uint8_t *)t->data + row * (t->rows - 1), t->cols, values);
    free(values);
}

static void touch_model(const struct model *m)
{
    touch(&m->embed);
    touch(&m->out_norm);
    touch(&m->output);
    for (uint32_t i = 0; i < m->n_layers; i++) {
        for (int t = 0; t < LAYER_TENSORS; t++) {
            const struct tensor *of = &m->layers[i].tensors[t];
            for (uint32_t e = 0; e < of->slices; e++) {
                struct tensor one = tensor_slice(of, e);
                touch(&one);
            }
            touch(of);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf g;
    struct model m = {0};
    struct vocab v = {0};
    float *made = NULL;
    char err[300];
    log_set(LOG_ERROR, false);
    if (gguf_parse(&g, data, size, "fuzz.gguf", err, sizeof err) != 0)
        return 0;
    if (gguf_model(&m, &g, &made, err, sizeof err) == 0)
        touch_model(&m);
    gguf_vocab(&v, &g, err, sizeof err);
    free(m.layers);
    free(made);
    vocab_free(&v);
    gguf_fini(&g);
    return 0;
}

static struct image stretched_model(void)
{
    const struct shape s = {"llama", 1, 4, 2, 1, 2, 8, 4, false, false, false, NULL};
    struct gguf_writer w;
    gguf_writer_init(&w, NULL);
    put_shape(&w, &s);
    gguf_put_string(&w, "llama.rope.scaling.type", "linear");
    gguf_put_f32(&w, "llama.rope.scaling.factor", 2);
    put_sized(&w, &s, "attention.sliding_window", 9);
    gguf_put_u32(&w, "general.alignment", 32);
    gguf_put_string(&w, "tokenizer.chat_template", "{{ messages }}");
    put_vocab(&w);
    put_weights(&w, &s);
    return image_of(&w);
}

/* fused: gate and up in one tensor. */
static struct image experts_model(bool fused)
{
    const struct shape s = {"qwen2moe", 1, 4, 2, 1, 2, 8, 4, true, false, true, NULL};
    const uint64_t matrices[] = {3, 4, 4}, pairs[] = {3, 8, 4};
    struct gguf_writer w;
    begin_model(&w, &s);
    put_sized(&w, &s, "expert_count", 3);
    put_sized(&w, &s, "expert_used_count", 2);
    put_sized(&w, &s, "expert_feed_forward_length", 4);
    put_sized(&w, &s, "expert_shared_feed_forward_length", 4);
    gguf_put_u32(&w, "qwen2moe.expert_gating_func", 1);
    put_matrix(&w, "blk.0.ffn_gate_inp.weight", 3, 4);
    if (fused)
        gguf_put_tensor(&w, "blk.0.ffn_gate_up_exps.weight", DT_F32, pairs, 3);
    put_vector(&w, fused ? "blk.0.ffn_gate_up_exps.scale" : "blk.0.ffn_down_exps.scale", 3);
    put_vector(&w, "blk.0.attn_output.scale", 1);
    for (int i = fused ? 2 : 0; i < 3; i++) {
        static const char *const names[] = {"gate", "up", "down"};
        char name[80];
        snprintf(name, sizeof name, "blk.0.ffn_%s_exps.weight", names[i]);
        gguf_put_tensor(&w, name, DT_F32, matrices, 3);
    }
    put_vector(&w, "blk.0.ffn_gate_inp_shexp.weight", 4);
    put_matrix(&w, "blk.0.ffn_gate_shexp.weight", 4, 4);
    put_matrix(&w, "blk.0.ffn_up_shexp.weight", 4, 4);
    put_matrix(&w, "blk.0.ffn_down_shexp.weight", 4, 4);
    return image_of(&w);
}

/* granite: factors of all kinds, and biases of all projections. */
static struct image multiplied_model(void)
{
    const struct shape s = {"granite", 1, 4, 2, 1, 2, 8, 4, true, false, true, NULL};
    struct gguf_writer w;
    begin_model(&w, &s);
    gguf_put_f32(&w, "granite.embedding_scale", 12);
    gguf_put_f32(&w, "granite.residual_scale", 0.22f);
    gguf_put_f32(&w, "granite.attention.scale", 0.5f);
    gguf_put_f32(&w, "granite.logit_scale", 8);
    put_vector(&w, "blk.0.attn_output.bias", 4);
    put_vector(&w, "blk.0.ffn_gate.bias", 8);
    put_vector(&w, "blk.0.ffn_up.bias", 8);
    put_vector(&w, "blk.0.ffn_down.bias", 4);
    return image_of(&w);
}

/* Two tables of angles, and for each layer whether it has a window. */
static struct image longrope_model(void)
{
    const struct shape s = {"qwen2", 2, 4, 1, 1, 4, 4, 4, true, false, true, NULL};
    static const uint8_t windowed[] = {0, 1};
    struct gguf_writer w;
    begin_model(&w, &s);
    gguf_put_string(&w, "qwen2.rope.scaling.type", "longrope");
    gguf_put_f32(&w, "qwen2.rope.scaling.attn_factor", 1.25f);
    put_sized(&w, &s, "rope.scaling.original_context_length", 64);
    put_sized(&w, &s, "attention.sliding_window", 5);
    gguf_put_array(&w, "qwen2.attention.sliding_window_pattern", GGUF_BOOL, windowed, 2);
    put_vector(&w, "rope_factors_short.weight", 2);
    put_vector(&w, "rope_factors_long.weight", 2);
    struct image image = image_of(&w);
    for (size_t at = image.size - 64; at < image.size;
         at += sizeof(float)) /* both lie at the end */
        memcpy(image.data + at, &(float){1.5f}, sizeof(float));
    return image;
}

/* Little data, so that changes hit the header. */
bool fuzz_seed(int i, struct buf *out)
{
    static const uint32_t by_layer[][3] = {{2, 1, 8}, {4, 2, 2}, {1, 1, 4}};
    static const struct shape shapes[] = {
        {"llama", 2, 4, 1, 1, 4, 4, 4, false, false, false, NULL},
        {"llama", 3, 4, 1, 1, 2, 4, 4, false, false, true, by_layer},
        {"qwen2", 1, 4, 2, 1, 2, 8, 4, true, false, true, NULL},
        {"qwen3", 1, 4, 1, 1, 4, 4, 4, false, true, false, NULL},
    };
    static struct image (*const others[])(void) = {stretched_model, multiplied_model,
                                                   longrope_model};
    int n = (int)COUNT_OF(shapes), n_others = (int)COUNT_OF(others);
    if (i >= n + n_others + 2)
        return false;
    struct image image = i < n              ? make_model(&shapes[i])
                         : i < n + n_others ? others[i - n]()
                                            : experts_model(i > n + n_others);
    buf_add(out, image.data, image.size);
    free(image.data);
    return true;
}
