#include "model/weights.h"

#include "model/field.h"
#include "specd/error.h"
#include "specd/limits.h"
#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Extents of a layer's tensors, from the sizes a model states. HEADS and KV_HEADS are elements. */
enum extent { ONE, EMBD, FF, HEADS, KV_HEADS, HEAD_DIM };

/* Biases are qwen2's, but any architecture may have them; norms of heads are qwen3's alone. */
enum presence { ALWAYS, BIAS, QK_NORM };

struct slot {
    size_t offset; /* in struct model_layer */
    const char *names[2];
    enum extent rows, cols;
    enum presence presence;
};

#define SLOT(field, gguf, hf, rows, cols, presence)                           \
    {                                                                         \
        offsetof(struct model_layer, field), {gguf, hf}, rows, cols, presence \
    }
static const struct slot layer_slots[] = {
    SLOT(attn_norm, "attn_norm.weight", "input_layernorm.weight", ONE, EMBD, ALWAYS),
    SLOT(wq, "attn_q.weight", "self_attn.q_proj.weight", HEADS, EMBD, ALWAYS),
    SLOT(wk, "attn_k.weight", "self_attn.k_proj.weight", KV_HEADS, EMBD, ALWAYS),
    SLOT(wv, "attn_v.weight", "self_attn.v_proj.weight", KV_HEADS, EMBD, ALWAYS),
    SLOT(wo, "attn_output.weight", "self_attn.o_proj.weight", EMBD, HEADS, ALWAYS),
    SLOT(bq, "attn_q.bias", "self_attn.q_proj.bias", ONE, HEADS, BIAS),
    SLOT(bk, "attn_k.bias", "self_attn.k_proj.bias", ONE, KV_HEADS, BIAS),
    SLOT(bv, "attn_v.bias", "self_attn.v_proj.bias", ONE, KV_HEADS, BIAS),
    SLOT(q_norm, "attn_q_norm.weight", "self_attn.q_norm.weight", ONE, HEAD_DIM, QK_NORM),
    SLOT(k_norm, "attn_k_norm.weight", "self_attn.k_norm.weight", ONE, HEAD_DIM, QK_NORM),
    SLOT(ffn_norm, "ffn_norm.weight", "post_attention_layernorm.weight", ONE, EMBD, ALWAYS),
    SLOT(w_gate, "ffn_gate.weight", "mlp.gate_proj.weight", FF, EMBD, ALWAYS),
    SLOT(w_up, "ffn_up.weight", "mlp.up_proj.weight", FF, EMBD, ALWAYS),
    SLOT(w_down, "ffn_down.weight", "mlp.down_proj.weight", EMBD, FF, ALWAYS),
};

static const char *const layer_prefix[] = {"blk.", "model.layers."};
static const char *const embed_name[] = {"token_embd.weight", "model.embed_tokens.weight"};
static const char *const norm_name[] = {"output_norm.weight", "model.norm.weight"};
static const char *const output_name[] = {"output.weight", "lm_head.weight"};

int weights_check_sizes(const struct model *m, const char *file, char *err, size_t errlen)
{
    const struct {
        const char *what;
        uint32_t value, max;
    } sizes[] = {
        {"layer count", m->n_layers, MODEL_LAYERS_MAX},
        {"head count", m->n_heads, SIZE_HEADS_MAX},
        {"key/value head count", m->n_kv_heads, SIZE_HEADS_MAX},
        {"head size", m->head_dim, MODEL_HEAD_DIM_MAX},
        {"embedding size", m->n_embd, SIZE_EMBD_MAX},
        {"feed-forward size", m->n_ff, SIZE_FF_MAX},
        {"context length", m->n_ctx, SIZE_CTX_MAX},
    };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].max)
            return fail(SPECD_EFILE, err, errlen, "%s: %s %u is outside 1 to %u", file,
                        sizes[i].what, sizes[i].value, sizes[i].max);
    }
    if (m->n_heads % m->n_kv_heads != 0)
        return fail(SPECD_EFILE, err, errlen,
                    "%s: head count %u is no multiple of the key/value head count %u", file,
                    m->n_heads, m->n_kv_heads);
    if (m->rope_dim < 2 || m->rope_dim % 2 != 0 || m->rope_dim > m->head_dim)
        return fail(SPECD_EFILE, err, errlen,
                    "%s: rope dimension count %u is not an even number up to the head size %u",
                    file, m->rope_dim, m->head_dim);
    if (!(m->rms_eps > 0 && m->rms_eps < 1))
        return fail(SPECD_EFILE, err, errlen, "%s: RMS norm epsilon %g is outside 0 to 1", file,
                    (double)m->rms_eps);
    return 0;
}

/* What one run of weights_bind works on. */
struct bind {
    struct model *m;
    struct tensor_dir *dir;
    enum weight_naming naming;
    const char *file;
    char *err;
    size_t errlen;
};

static uint32_t extent(const struct model *m, enum extent e)
{
    switch (e) {
    case EMBD:
        return m->n_embd;
    case FF:
        return m->n_ff;
    case HEADS:
        return m->n_heads * m->head_dim;
    case KV_HEADS:
        return m->n_kv_heads * m->head_dim;
    case HEAD_DIM:
        return m->head_dim;
    case ONE:
        break;
    }
    return 1;
}

/* Vectors may be stored as (n) or (1, n): leading ones carry no meaning. */
static bool has_shape(const struct tensor_entry *e, uint32_t rows, uint32_t cols)
{
    uint64_t stored_rows = e->n_dims > 1 ? e->shape[e->n_dims - 2] : 1;
    for (uint32_t i = 0; i + 2 < e->n_dims; i++) {
        if (e->shape[i] != 1)
            return false;
    }
    return e->n_dims > 0 && stored_rows == rows && e->shape[e->n_dims - 1] == cols;
}

static int wrong_shape(const struct bind *b, const struct tensor_entry *e, uint32_t rows,
                       uint32_t cols)
{
    char shape[100] = "";
    size_t n = 0;
    for (uint32_t i = 0; i < e->n_dims && n < sizeof shape; i++)
        n += (size_t)snprintf(shape + n, sizeof shape - n, "%s%llu", i ? " x " : "",
                              (unsigned long long)e->shape[i]);
    if (rows == 1)
        return fail(SPECD_EFILE, b->err, b->errlen, "%s: tensor %s: shape is %s, expected %u",
                    e->file, e->name, shape, cols);
    return fail(SPECD_EFILE, b->err, b->errlen, "%s: tensor %s: shape is %s, expected %u x %u",
                e->file, e->name, shape, rows, cols);
}

/* Takes a tensor; *out stays empty when it is absent and not required. */
static int take(const struct bind *b, const char *name, uint32_t rows, uint32_t cols, bool required,
                struct tensor *out)
{
    struct tensor_entry *e = tensor_dir_find(b->dir, name);
    if (!e && required)
        return fail(SPECD_EFILE, b->err, b->errlen, "%s: tensor %s is missing", b->file, name);
    if (!e)
        return 0;
    if (!has_shape(e, rows, cols))
        return wrong_shape(b, e, rows, cols);
    e->used = true;
    *out = (struct tensor){.data = e->data, .type = e->type, .rows = rows, .cols = cols};
    b->m->n_params += (uint64_t)rows * cols;
    return 0;
}

static bool required(const struct model *m, enum presence presence)
{
    if (presence == BIAS)
        return strcmp(m->arch, "qwen2") == 0;
    if (presence == QK_NORM)
        return strcmp(m->arch, "qwen3") == 0;
    return true;
}

static int bind_layer(const struct bind *b, uint32_t i)
{
    struct model_layer *layer = &b->m->layers[i];
    for (size_t s = 0; s < COUNT_OF(layer_slots); s++) {
        const struct slot *slot = &layer_slots[s];
        if (slot->presence == QK_NORM && !required(b->m, QK_NORM))
            continue;
        char name[TENSOR_NAME_MAX + 1];
        snprintf(name, sizeof name, "%s%u.%s", layer_prefix[b->naming], i, slot->names[b->naming]);
        int rc =
            take(b, name, extent(b->m, slot->rows), extent(b->m, slot->cols),
                 required(b->m, slot->presence), (struct tensor *)((char *)layer + slot->offset));
        if (rc)
            return rc;
    }
    if (!layer->bq.data != !layer->bk.data || !layer->bq.data != !layer->bv.data)
        return fail(SPECD_EFILE, b->err, b->errlen,
                    "%s: layer %u has a bias for some of query, key and value, not for all",
                    b->file, i);
    return 0;
}

static int bind_vocab(const struct bind *b)
{
    struct model *m = b->m;
    const struct tensor_entry *e = tensor_dir_find(b->dir, embed_name[b->naming]);
    if (m->n_vocab == 0 && e) {
        if (e->n_dims != 2 || e->shape[0] > SPECD_VOCAB_MAX)
            return fail(SPECD_EFILE, b->err, b->errlen,
                        "%s: tensor %s: expected 2 dimensions, the slower at most %d", e->file,
                        e->name, SPECD_VOCAB_MAX);
        m->n_vocab = (uint32_t)e->shape[0];
    }
    return take(b, embed_name[b->naming], m->n_vocab, m->n_embd, true, &m->embed);
}

/* Tensors that carry nothing specd needs: tables it computes itself, and a tied output's copy. */
static bool ignorable(const struct bind *b, const char *name, bool tied)
{
    static const char inv_freq[] = ".rotary_emb.inv_freq";
    size_t n = strlen(name), k = sizeof inv_freq - 1;
    if (b->naming == NAMES_HF && n > k && strcmp(name + n - k, inv_freq) == 0)
        return true;
    return tied && strcmp(name, output_name[b->naming]) == 0;
}

static int refuse_leftovers(const struct bind *b, bool tied)
{
    for (size_t i = 0; i < b->dir->n; i++) {
        const struct tensor_entry *e = &b->dir->entries[i];
        char name[100];
        if (!e->used && !ignorable(b, e->name, tied))
            return fail(SPECD_EFILE, b->err, b->errlen,
                        "%s: tensor %s is not part of a %u-layer %s model as specd knows it",
                        e->file, printable(name, sizeof name, e->name, strlen(e->name)),
                        b->m->n_layers, b->m->arch);
    }
    return 0;
}

int weights_bind(struct model *m, struct tensor_dir *dir, enum weight_naming naming, bool tied,
                 const char *file, char *err, size_t errlen)
{
    struct bind b = {m, dir, naming, file, err, errlen};
    int rc = bind_vocab(&b);
    if (rc == 0)
        rc = take(&b, norm_name[naming], 1, m->n_embd, true, &m->out_norm);
    if (rc == 0 && !tied)
        rc = take(&b, output_name[naming], m->n_vocab, m->n_embd, true, &m->output);
    if (rc)
        return rc;
    if (tied)
        m->output = m->embed;
    m->layers = xcalloc(m->n_layers, sizeof *m->layers);
    for (uint32_t i = 0; i < m->n_layers; i++) {
        rc = bind_layer(&b, i);
        if (rc)
            return rc;
    }
    return refuse_leftovers(&b, tied);
}
