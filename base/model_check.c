#include "specd/model_check.h"

#include "specd/error.h"
#include "specd/limits.h"
#include "specd/util.h"

#include <stdio.h>

/* clang-format off */
#define FIELD(name, rows, cols, optional)                                                          \
    {#name, offsetof(struct model_layer, name), rows, cols, optional}
/* clang-format on */

const struct model_field model_matrices[MATRICES] = {
    [MATRIX_Q] = FIELD(wq, DIM_Q, DIM_EMBD, false),
    [MATRIX_K] = FIELD(wk, DIM_KV, DIM_EMBD, false),
    [MATRIX_V] = FIELD(wv, DIM_KV, DIM_EMBD, false),
    [MATRIX_O] = FIELD(wo, DIM_EMBD, DIM_Q, false),
    [MATRIX_GATE] = FIELD(w_gate, DIM_FF, DIM_EMBD, false),
    [MATRIX_UP] = FIELD(w_up, DIM_FF, DIM_EMBD, false),
    [MATRIX_DOWN] = FIELD(w_down, DIM_EMBD, DIM_FF, false),
};

const struct model_field model_vectors[VECTORS] = {
    [VECTOR_ATTN_NORM] = FIELD(attn_norm, DIM_ONE, DIM_EMBD, false),
    [VECTOR_FFN_NORM] = FIELD(ffn_norm, DIM_ONE, DIM_EMBD, false),
    [VECTOR_Q_BIAS] = FIELD(bq, DIM_ONE, DIM_Q, true),
    [VECTOR_K_BIAS] = FIELD(bk, DIM_ONE, DIM_KV, true),
    [VECTOR_V_BIAS] = FIELD(bv, DIM_ONE, DIM_KV, true),
    [VECTOR_Q_NORM] = FIELD(q_norm, DIM_ONE, DIM_HEAD, true),
    [VECTOR_K_NORM] = FIELD(k_norm, DIM_ONE, DIM_HEAD, true),
};

const struct tensor *model_tensor(const struct model_field *f, const struct model_layer *l)
{
    return (const struct tensor *)((const char *)l + f->offset);
}

uint64_t model_dim_of(const struct model *m, enum model_dim d)
{
    switch (d) {
    case DIM_EMBD:
        return m->n_embd;
    case DIM_FF:
        return m->n_ff;
    case DIM_HEAD:
        return m->head_dim;
    case DIM_Q:
        return (uint64_t)m->n_heads * m->head_dim;
    case DIM_KV:
        return (uint64_t)m->n_kv_heads * m->head_dim;
    default:
        return 1;
    }
}

bool model_is_tied(const struct model *m)
{
    return m->output.data == m->embed.data;
}

struct model_place model_place_of(int layer)
{
    struct model_place p = {""};
    if (layer >= 0)
        snprintf(p.text, sizeof(p.text), "layer %d: ", layer);
    return p;
}

static int tensor_check(const struct tensor *t, const char *name, int layer, uint64_t rows,
                        uint64_t cols, bool optional, char *err, size_t errlen)
{
    struct model_place place = model_place_of(layer);
    const char *where = place.text;
    if (!t->data)
        return optional ? 0 : fail(SPECD_EINVAL, err, errlen, "%s%s is missing", where, name);
    if (t->rows != rows || t->cols != cols)
        return fail(SPECD_EINVAL, err, errlen, "%s%s is %u x %u, expected %llu x %llu", where, name,
                    t->rows, t->cols, (unsigned long long)rows, (unsigned long long)cols);
    if ((unsigned)t->type >= DT_COUNT || t->cols % (unsigned)dtype_block(t->type) != 0)
        return fail(SPECD_EINVAL, err, errlen, "%s%s has a type that does not fit its %u columns",
                    where, name, t->cols);
    return 0;
}

static int fields_check(const struct model_field *fields, size_t n, const struct model *m,
                        int layer, char *err, size_t errlen)
{
    for (size_t i = 0; i < n; i++) {
        const struct model_field *f = &fields[i];
        int rc = tensor_check(model_tensor(f, &m->layers[layer]), f->name, layer,
                              model_dim_of(m, f->rows), model_dim_of(m, f->cols), f->optional, err,
                              errlen);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Beyond these a row of activations would not fit an int. */
#define WIDTH_MAX (1u << 24)

static int sizes_check(const struct model *m, char *err, size_t errlen)
{
    if (m->n_layers < 1 || m->n_layers > MODEL_LAYERS_MAX)
        return fail(SPECD_EINVAL, err, errlen, "%u layers: 1 to %d work", m->n_layers,
                    MODEL_LAYERS_MAX);
    if (m->n_vocab < 1 || m->n_vocab > SPECD_VOCAB_MAX)
        return fail(SPECD_EINVAL, err, errlen, "a vocabulary of %u: 1 to %d work", m->n_vocab,
                    SPECD_VOCAB_MAX);
    if (m->head_dim < 2 || m->head_dim > MODEL_HEAD_DIM_MAX)
        return fail(SPECD_EINVAL, err, errlen, "heads of %u elements: 2 to %d work", m->head_dim,
                    MODEL_HEAD_DIM_MAX);
    if (m->n_kv_heads < 1 || m->n_heads < 1 || m->n_heads % m->n_kv_heads != 0)
        return fail(SPECD_EINVAL, err, errlen, "%u heads cannot share %u key/value heads",
                    m->n_heads, m->n_kv_heads);
    if (m->rope_dim % 2 != 0 || m->rope_dim > m->head_dim)
        return fail(SPECD_EINVAL, err, errlen, "RoPE over %u of %u elements", m->rope_dim,
                    m->head_dim);
    if (m->n_embd < 1 || m->n_embd > WIDTH_MAX || m->n_ff < 1 || m->n_ff > WIDTH_MAX ||
        model_dim_of(m, DIM_Q) > WIDTH_MAX)
        return fail(SPECD_EINVAL, err, errlen, "embedding %u, feed-forward %u, %u heads: too wide",
                    m->n_embd, m->n_ff, m->n_heads);
    return 0;
}

int model_check(const struct model *m, char *err, size_t errlen)
{
    int rc = sizes_check(m, err, errlen);
    if (rc == 0)
        rc = tensor_check(&m->embed, "embed", -1, m->n_vocab, m->n_embd, false, err, errlen);
    if (rc == 0)
        rc = tensor_check(&m->output, "output", -1, m->n_vocab, m->n_embd, false, err, errlen);
    if (rc == 0)
        rc = tensor_check(&m->out_norm, "out_norm", -1, 1, m->n_embd, false, err, errlen);
    for (int i = 0; rc == 0 && i < (int)m->n_layers; i++) {
        rc = fields_check(model_matrices, MATRICES, m, i, err, errlen);
        if (rc == 0)
            rc = fields_check(model_vectors, VECTORS, m, i, err, errlen);
    }
    return rc;
}
