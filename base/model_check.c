#include "specd/model_check.h"

#include "specd/error.h"
#include "specd/limits.h"
#include "specd/util.h"

#include <math.h>
#include <stdio.h>

/* clang-format off */
#define SPEC(kind, part, slices, rows, cols, field, gguf, hf)                                      \
    {{#field, gguf, hf}, kind, part, slices, rows, cols},
#define MODEL_SPEC(id, field, rows, cols, gguf, hf)                                                \
    [MODEL_##id] = SPEC(DIM_##rows == DIM_ONE ? TENSOR_NORM : TENSOR_MATRIX, LAYER_PARTS,          \
                        DIM_NONE, DIM_##rows, DIM_##cols, field, gguf, hf)
#define LAYER_SPEC(kind, id, field, part, slices, rows, cols, gguf, hf)                            \
    [LAYER_##id] = SPEC(kind, PART_##part, DIM_##slices, DIM_##rows, DIM_##cols, field, gguf, hf)
#define MATRIX_SPEC(...) LAYER_SPEC(TENSOR_MATRIX, __VA_ARGS__)
#define NORM_SPEC(...) LAYER_SPEC(TENSOR_NORM, __VA_ARGS__)
#define BIAS_SPEC(...) LAYER_SPEC(TENSOR_BIAS, __VA_ARGS__)

const struct tensor_spec model_tensors[MODEL_TENSORS] = {SPECD_MODEL_TENSORS(MODEL_SPEC)};
const struct tensor_spec layer_tensors[LAYER_TENSORS] = {
    SPECD_LAYER_MATRICES(MATRIX_SPEC)
    SPECD_LAYER_NORMS(NORM_SPEC)
    SPECD_LAYER_BIASES(BIAS_SPEC)
};
/* clang-format on */

static const char *const part_names[LAYER_PARTS] = {
    [PART_PRE_NORM] = "norms ahead of its blocks",
    [PART_ATTENTION] = "attention",
    [PART_GATED_FFN] = "gated feed-forward",
    [PART_QKV_BIAS] = "biases of query, key and value",
    [PART_O_BIAS] = "bias of attention's output",
    [PART_FFN_BIAS] = "biases of the feed-forward",
    [PART_QK_NORM] = "norms of query and key",
    [PART_QK_NORM_WIDE] = "norms of query and key over all heads",
    [PART_POST_NORM] = "norms behind its blocks",
    [PART_EXPERTS] = "mixture of experts",
    [PART_SHARED_EXPERT] = "shared expert",
};

static const char *const gate_names[GATE_KINDS] = {
    [GATE_SILU] = "SiLU", [GATE_GELU_TANH] = "GELU by tanh"};

uint64_t model_dim(const struct model *m, const struct model_layer *l, enum model_dim d)
{
    switch (d) {
    case DIM_NONE:
        return 0;
    case DIM_ONE:
        return 1;
    case DIM_C:
        return m->n_embd;
    case DIM_F:
        return l->n_ff;
    case DIM_D:
        return m->head_dim;
    case DIM_HD:
        return (uint64_t)l->n_heads * m->head_dim;
    case DIM_GD:
        return (uint64_t)l->n_kv_heads * m->head_dim;
    case DIM_V:
        return m->n_vocab;
    case DIM_E:
        return m->n_experts;
    case DIM_FE:
        return m->n_ff_expert;
    case DIM_FS:
        return m->n_ff_shared;
    }
    return 0;
}

bool model_is_tied(const struct model *m)
{
    return m->output.data == m->embed.data;
}

uint32_t model_window(const struct model *m)
{
    uint32_t widest = 0;
    for (uint32_t i = 0; m->layers && i < m->n_layers; i++)
        widest = MAX(widest, m->layers[i].window);
    return widest;
}

bool model_set_context(struct model *m, uint32_t n_ctx)
{
    bool stretched = m->long_after > 0 && n_ctx > m->long_after;
    if (stretched)
        m->ropes[0] = m->long_rope;
    return stretched;
}

double tensor_part_read(const struct model *m, const struct tensor *t, int rows)
{
    double missed = 1.0 - (double)m->n_experts_used / MAX(m->n_experts, 1);
    return t->slices > 0 ? 1.0 - pow(missed, rows) : 1.0;
}

uint32_t layer_parts(const struct model_layer *l)
{
    uint32_t parts = 0;
    for (int i = 0; i < LAYER_TENSORS; i++) {
        if (l->tensors[i].data)
            parts |= PART_BIT(layer_tensors[i].part);
    }
    return parts;
}

struct tensor_name tensor_name_of(enum tensor_naming naming, const char *name, int layer)
{
    static const char *const prefixes[TENSOR_NAMINGS] = {
        [NAMES_FIELD] = "layer %d: ", [NAMES_GGUF] = "blk.%d.", [NAMES_HF] = "model.layers.%d."};
    struct tensor_name out;
    int n = 0;
    if (layer >= 0)
        n = snprintf(out.text, sizeof(out.text), prefixes[naming], layer);
    snprintf(out.text + n, sizeof(out.text) - (size_t)n, "%s", name);
    return out;
}

struct size {
    const char *what;
    uint32_t value, min, max;
};

/* layer: -1: of the model. */
static int sizes_check(const struct size *sizes, size_t n, int layer, char *err, size_t errlen)
{
    for (size_t i = 0; i < n; i++) {
        if (sizes[i].value < sizes[i].min || sizes[i].value > sizes[i].max)
            return fail(SPECD_EINVAL, err, errlen, "%s %u is outside %u to %u",
                        tensor_name_of(NAMES_FIELD, sizes[i].what, layer).text, sizes[i].value,
                        sizes[i].min, sizes[i].max);
    }
    return 0;
}

static int layer_sizes_check(const struct model_layer *l, int layer, char *err, size_t errlen)
{
    const struct size sizes[] = {
        {"head count", l->n_heads, 1, SIZE_HEADS_MAX},
        {"key/value head count", l->n_kv_heads, 1, SIZE_HEADS_MAX},
        {"feed-forward size", l->n_ff, 1, SIZE_FF_MAX},
    };
    int rc = sizes_check(sizes, COUNT_OF(sizes), layer, err, errlen);
    if (rc == 0 && l->n_heads % l->n_kv_heads != 0)
        rc = fail(SPECD_EINVAL, err, errlen,
                  "layer %d: head count %u is no multiple of the key/value head count %u", layer,
                  l->n_heads, l->n_kv_heads);
    return rc;
}

int model_sizes_check(const struct model *m, char *err, size_t errlen)
{
    const struct size sizes[] = {
        {"layer count", m->n_layers, 1, MODEL_LAYERS_MAX},
        {"head size", m->head_dim, 2, MODEL_HEAD_DIM_MAX},
        {"embedding size", m->n_embd, 1, SIZE_EMBD_MAX},
        {"vocabulary size", m->n_vocab, 1, SPECD_VOCAB_MAX},
        {"context length", m->n_ctx, 1, SIZE_CTX_MAX},
        {"expert count", m->n_experts, 0, SIZE_EXPERTS_MAX},
        {"experts' feed-forward size", m->n_ff_expert, m->n_experts > 0, SIZE_FF_MAX},
        {"count of experts used", m->n_experts_used, m->n_experts > 0,
         MIN(m->n_experts, SIZE_EXPERTS_USED_MAX)},
        {"shared expert's feed-forward size", m->n_ff_shared, 0, SIZE_FF_MAX},
    };
    int rc = sizes_check(sizes, COUNT_OF(sizes), -1, err, errlen);
    for (uint32_t i = 0; rc == 0 && i < m->n_layers; i++)
        rc = layer_sizes_check(&m->layers[i], (int)i, err, errlen);
    if (rc != 0)
        return rc;
    if (m->rope_dim < 2 || m->rope_dim % 2 != 0 || m->rope_dim > m->head_dim)
        return fail(SPECD_EINVAL, err, errlen,
                    "rope dimension count %u is not an even number up to the head size %u",
                    m->rope_dim, m->head_dim);
    if (!(m->rms_eps > 0 && m->rms_eps < 1))
        return fail(SPECD_EINVAL, err, errlen, "RMS norm epsilon %g is outside 0 to 1",
                    (double)m->rms_eps);
    return 0;
}

/* layer: -1: of none. */
static int tensor_check(const struct model *m, const struct tensor *t,
                        const struct tensor_spec *spec, int layer, char *err, size_t errlen)
{
    const struct model_layer *l = layer < 0 ? NULL : &m->layers[layer];
    struct tensor_name name = tensor_name_of(NAMES_FIELD, spec->names[NAMES_FIELD], layer);
    uint64_t rows = model_dim(m, l, spec->rows), cols = model_dim(m, l, spec->cols);
    uint64_t slices = model_dim(m, l, spec->slices);
    if (!t->data)
        return fail(SPECD_EINVAL, err, errlen, "%s is missing", name.text);
    if (t->slices != slices)
        return fail(SPECD_EINVAL, err, errlen, "%s has %u slices, expected %llu", name.text,
                    t->slices, (unsigned long long)slices);
    if (t->rows != rows || t->cols != cols)
        return fail(SPECD_EINVAL, err, errlen, "%s is %u x %u, expected %llu x %llu", name.text,
                    t->rows, t->cols, (unsigned long long)rows, (unsigned long long)cols);
    for (uint32_t i = 0; i < (t->apart ? t->slices : 1); i++) {
        enum dtype type = t->apart ? t->apart[i].type : t->type;
        if ((unsigned)type >= DT_COUNT || t->cols % (unsigned)dtype_block(type) != 0)
            return fail(SPECD_EINVAL, err, errlen, "%s has a type that does not fit its %u columns",
                        name.text, t->cols);
    }
    return 0;
}

static int layer_check(const struct model *m, int layer, const struct model_blocks *blocks,
                       char *err, size_t errlen)
{
    const struct model_layer *l = &m->layers[layer];
    uint32_t parts = layer_parts(l), refused = parts & ~(blocks->needs | blocks->may);
    float magnitude = m->ropes[MIN(l->rope, MODEL_ROPES - 1)].magnitude;
    int rc = 0;
    if (l->rope > 0 && l->rope >= m->n_ropes)
        return fail(SPECD_EINVAL, err, errlen, "layer %d: rope table %u of %u", layer, l->rope,
                    m->n_ropes);
    if (!(magnitude > 0 && magnitude <= 100))
        return fail(SPECD_EINVAL, err, errlen, "rope magnitude %g is outside 0 to 100",
                    (double)magnitude);
    for (int i = 0; rc == 0 && i < LAYER_TENSORS; i++) {
        const struct tensor_spec *spec = &layer_tensors[i];
        if (refused & PART_BIT(spec->part) && l->tensors[i].data)
            return fail(SPECD_EINVAL, err, errlen, "%s: %s has no %s yet",
                        tensor_name_of(NAMES_FIELD, spec->names[NAMES_FIELD], layer).text,
                        blocks->device, part_names[spec->part]);
    }
    bool gated = parts & PART_BIT(PART_GATED_FFN), experts = parts & PART_BIT(PART_EXPERTS);
    if (gated == experts || (parts & PART_BIT(PART_SHARED_EXPERT) && !experts))
        return fail(SPECD_EINVAL, err, errlen,
                    "layer %d: expected either a gated feed-forward or experts", layer);
    for (int i = 0; rc == 0 && i < LAYER_TENSORS; i++) {
        if ((blocks->needs | parts) & PART_BIT(layer_tensors[i].part))
            rc = tensor_check(m, &l->tensors[i], &layer_tensors[i], layer, err, errlen);
    }
    return rc;
}

static bool scale_ok(float scale)
{
    return scale >= 0 && (double)scale <= SIZE_SCALE_MAX;
}

int model_check(const struct model *m, const struct model_blocks *blocks, char *err, size_t errlen)
{
    int rc = model_sizes_check(m, err, errlen);
    if (rc == 0 && ((unsigned)m->gate >= GATE_KINDS || !(blocks->gates & 1u << m->gate)))
        rc = fail(SPECD_EINVAL, err, errlen, "%s has no feed-forward with a gate of %s yet",
                  blocks->device,
                  (unsigned)m->gate < GATE_KINDS ? gate_names[m->gate] : "that kind");
    if (rc == 0 && m->n_ropes > MODEL_ROPES)
        rc = fail(SPECD_EINVAL, err, errlen, "%u rope tables: at most %d", m->n_ropes, MODEL_ROPES);
    if (rc == 0 && !(scale_ok(m->embd_scale) && scale_ok(m->attn_scale)))
        rc = fail(SPECD_EINVAL, err, errlen,
                  "a scale of the embedding or of scores is outside 0 to %g", SIZE_SCALE_MAX);
    for (int i = 0; rc == 0 && i < MODEL_TENSORS; i++)
        rc = tensor_check(m, &m->tensors[i], &model_tensors[i], -1, err, errlen);
    for (int i = 0; rc == 0 && i < (int)m->n_layers; i++)
        rc = layer_check(m, i, blocks, err, errlen);
    return rc;
}
