#include "model/gguf_model.h"

#include "model/gguf_meta.h"
#include "model/rope.h"
#include "model/weights.h"
#include "specd/error.h"
#include "specd/limits.h"
#include "specd/util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROPE_FACTORS "rope_freqs.weight"
#define ROPE_SHORT "rope_factors_short.weight"

static const struct arch *read_arch(struct model *m, struct gguf_meta *r)
{
    char *name = meta_string(r, "general.architecture", REQUIRED);
    if (!name)
        return NULL;
    const struct arch *arch = arch_find(NAMES_GGUF, name);
    char text[80], known[200];
    if (!arch)
        meta_bad(r, "general.architecture", "%s is not supported (these are: %s)",
                 printable(text, sizeof text, name, strlen(name)),
                 arch_names(NAMES_GGUF, known, sizeof known));
    free(name);
    if (!arch)
        return NULL;
    m->arch = r->prefix = arch->names[NAMES_GGUF];
    m->gate = arch->gate;
    m->fine_activations = arch->fine_activations;
    m->rope = arch->gguf_rope;
    return arch;
}

static const char *const scale_keys[MODEL_SCALES] = {[SCALE_EMBEDDING] = ".embedding_scale",
                                                     [SCALE_RESIDUAL] = ".residual_scale",
                                                     [SCALE_SCORES] = ".attention.scale",
                                                     [SCALE_LOGITS] = ".logit_scale"};

static void refuse_key(struct gguf_meta *r, const char *key)
{
    if (meta_f64(r, key, OPTIONAL, 0) != 0)
        meta_bad(r, key, "is not supported");
}

/* Keys that other models of the family use to change the computation. */
static void refuse_unsupported(const struct arch *arch, struct gguf_meta *r)
{
    refuse_key(r, ".attention.clamp_kqv");
    refuse_key(r, ".attn_logit_softcapping");
    refuse_key(r, ".final_logit_softcapping");
    for (int i = 0; i < MODEL_SCALES && !arch->scaled; i++)
        refuse_key(r, scale_keys[i]);
    if (arch->scaled && !meta_bool(r, ".rope.scaling.finetuned", true))
        meta_bad(r, ".rope.scaling.finetuned",
                 "a model whose heads do not rotate is not supported");
    bool experts = arch_parts(arch) & PART_BIT(PART_EXPERTS);
    if (!experts && meta_u32(r, ".expert_count", OPTIONAL, 0, 0, UINT32_MAX) > 0)
        meta_bad(r, ".expert_count", "mixtures of experts are not supported");
    if (!meta_bool(r, ".attention.causal", true))
        meta_bad(r, ".attention.causal", "attention that is not causal is not supported");
}

/* The embedding's rows. */
static void read_vocab_size(struct model *m, struct gguf_meta *r)
{
    const char *name = model_tensors[MODEL_EMBED].names[NAMES_GGUF];
    const struct tensor_entry *e = tensor_dir_find(&r->g->tensors, name);
    if (r->rc)
        return;
    if (!e)
        r->rc = fail(SPECD_EFILE, r->err, r->errlen, "%s: tensor %s is missing", r->g->file, name);
    else if (e->n_dims != 2 || e->shape[0] > SPECD_VOCAB_MAX)
        r->rc = fail(SPECD_EFILE, r->err, r->errlen,
                     "%s: tensor %s: expected 2 dimensions, the slower at most %d", e->file, name,
                     SPECD_VOCAB_MAX);
    else
        m->n_vocab = (uint32_t)e->shape[0];
}

/* Kinds of routers that files number: softmax over all, logistic function of each, softmax over the
 * chosen, root of softplus of each. */
enum gating { GATING_NONE, GATING_SOFTMAX, GATING_SIGMOID, GATING_SOFTMAX_CHOSEN };

/* n_ff: by which go lengths that a file leaves out. */
static void read_experts(struct model *m, const struct arch *arch, uint32_t n_ff,
                         struct gguf_meta *r)
{
    static const char scale[] = ".expert_weights_scale", gating[] = ".expert_gating_func";
    static const char *const groups[] = {".expert_group_count", ".expert_group_used_count"};
    m->n_experts = meta_u32(r, ".expert_count", REQUIRED, 1, 1, SIZE_EXPERTS_MAX);
    m->n_experts_used =
        meta_u32(r, ".expert_used_count", REQUIRED, 1, 1, MIN(m->n_experts, SIZE_EXPERTS_USED_MAX));
    m->n_ff_expert = meta_u32(r, ".expert_feed_forward_length", OPTIONAL,
                              MAX(n_ff / m->n_experts_used, 1), 1, SIZE_FF_MAX);
    if (arch_parts(arch) & PART_BIT(PART_SHARED_EXPERT))
        m->n_ff_shared =
            meta_u32(r, ".expert_shared_feed_forward_length", OPTIONAL, n_ff, 1, SIZE_FF_MAX);
    m->experts_normed = meta_bool(r, ".expert_weights_norm", arch->experts_normed);
    uint32_t kind = meta_u32(r, gating, OPTIONAL, GATING_NONE, 0, UINT32_MAX);
    if (kind == GATING_SOFTMAX_CHOSEN) /* the same as the softmax over all, normed */
        m->experts_normed = true;
    else if (kind > GATING_SOFTMAX)
        meta_bad(r, gating, "%u is not supported (%d, softmax, and %d, softmax of the chosen, are)",
                 kind, GATING_SOFTMAX, GATING_SOFTMAX_CHOSEN);
    double by = meta_f64(r, scale, OPTIONAL, 0);
    if (by != 0 && by != 1)
        meta_bad(r, scale, "%g is not supported", by);
    for (size_t i = 0; i < COUNT_OF(groups); i++) {
        if (meta_u32(r, groups[i], OPTIONAL, 0, 0, UINT32_MAX) > 1)
            meta_bad(r, groups[i], "groups of experts are not supported");
    }
}

/* What may differ by layer. */
static void read_layer_sizes(struct model *m, struct gguf_meta *r)
{
    uint32_t heads[MODEL_LAYERS_MAX] = {0}, kv_heads[MODEL_LAYERS_MAX], n_ff[MODEL_LAYERS_MAX];
    meta_layers(r, ".attention.head_count", REQUIRED, heads, m->n_layers, SIZE_HEADS_MAX,
                "attention");
    memcpy(kv_heads, heads, sizeof kv_heads);
    meta_layers(r, ".attention.head_count_kv", OPTIONAL, kv_heads, m->n_layers, SIZE_HEADS_MAX,
                "keys and values");
    meta_layers(r, ".feed_forward_length", REQUIRED, n_ff, m->n_layers, SIZE_FF_MAX,
                "a feed-forward");
    if (r->rc)
        return;
    m->layers = xcalloc(m->n_layers, sizeof *m->layers);
    for (uint32_t i = 0; i < m->n_layers; i++) {
        m->layers[i].n_heads = heads[i];
        m->layers[i].n_kv_heads = kv_heads[i];
        m->layers[i].n_ff = n_ff[i];
    }
}

static void read_sizes(struct model *m, const struct arch *arch, struct gguf_meta *r)
{
    m->n_layers = meta_u32(r, ".block_count", REQUIRED, 0, 1, MODEL_LAYERS_MAX);
    m->n_embd = meta_u32(r, ".embedding_length", REQUIRED, 0, 1, SIZE_EMBD_MAX);
    read_layer_sizes(m, r);
    if (r->rc)
        return;
    const struct model_layer *first = m->layers; /* by which go sizes that a file leaves out */
    m->head_dim = meta_u32(r, ".attention.key_length", OPTIONAL, m->n_embd / first->n_heads, 1,
                           MODEL_HEAD_DIM_MAX);
    meta_u32(r, ".attention.value_length", OPTIONAL, m->head_dim, m->head_dim, m->head_dim);
    m->n_ctx = meta_u32(r, ".context_length", REQUIRED, 0, 1, SIZE_CTX_MAX);
    m->rms_eps = (float)meta_f64(r, ".attention.layer_norm_rms_epsilon", REQUIRED, 0);
    m->rope_dim =
        meta_u32(r, ".rope.dimension_count", OPTIONAL, m->head_dim, 2, MODEL_HEAD_DIM_MAX);
    if (arch_parts(arch) & PART_BIT(PART_EXPERTS))
        read_experts(m, arch, first->n_ff, r);
    read_vocab_size(m, r);
}

/* 0 means what a missing key does. */
static void read_scales(struct model *m, double *logits, struct gguf_meta *r)
{
    double scales[MODEL_SCALES];
    for (int i = 0; i < MODEL_SCALES; i++) {
        scales[i] = meta_f64(r, scale_keys[i], OPTIONAL, 0);
        if (scales[i] == 0 && i != SCALE_SCORES)
            scales[i] = 1;
    }
    enum model_scale bad = weights_scale(m, scales);
    if (bad < MODEL_SCALES)
        meta_bad(r, scale_keys[bad], "%g is out of range", scales[bad]);
    *logits = scales[SCALE_LOGITS];
}

/* The period, or for each layer whether it has a window. */
static void read_pattern(struct layer_windows *w, const struct model *m, const struct arch *arch,
                         const char *key, struct gguf_meta *r)
{
    const struct gguf_kv *kv = meta_find(r, key, OPTIONAL);
    if (!kv || kv->type != GGUF_ARRAY) {
        weights_windows(w, m, arch, meta_u32(r, key, OPTIONAL, 0, 1, MODEL_LAYERS_MAX));
        return;
    }
    kv = meta_array(r, key, OPTIONAL, GGUF_BOOL);
    if (kv && kv->n != m->n_layers)
        meta_bad(r, key, "has %llu elements, the model %u layers", (unsigned long long)kv->n,
                 m->n_layers);
    for (uint32_t i = 0; r->rc == 0 && i < m->n_layers; i++)
        w->windowed[i] = kv->data[i] != 0;
}

static void read_windows(struct layer_windows *w, struct model *m, const struct arch *arch,
                         struct gguf_meta *r)
{
    static const char pattern[] = ".attention.sliding_window_pattern";
    uint32_t window = meta_u32(r, ".attention.sliding_window", OPTIONAL, 0, 0, UINT32_MAX);
    *w = (struct layer_windows){.positions = window};
    if (window > 0 && (arch_has_windows(arch) || meta_find(r, pattern, OPTIONAL)))
        read_pattern(w, m, arch, pattern, r);
    else if (window > 0) /* of which layers is not said; within one it is full attention */
        m->n_ctx = MIN(m->n_ctx, window);
}

/* A table of divisors, one per pair (Llama 3.1 files carry one). */
static int read_rope_factors(struct model *m, struct gguf *g, const char *name, float *factors,
                             bool *found, char *err, size_t errlen)
{
    struct tensor_entry *e = tensor_dir_find(&g->tensors, name);
    *found = e != NULL;
    if (!e)
        return 0;
    uint32_t n = m->rope_dim / 2;
    if (e->type != DT_F32 || e->n_dims != 1 || e->shape[0] != n)
        return fail(SPECD_EFILE, err, errlen, "%s: tensor %s: expected %u elements of f32", g->file,
                    e->name, n);
    memcpy(factors, e->data, n * sizeof *factors);
    for (uint32_t i = 0; i < n; i++) {
        if (!rope_scale_ok((double)factors[i]))
            return fail(SPECD_EFILE, err, errlen, "%s: tensor %s: element %u is %g", g->file,
                        e->name, i, (double)factors[i]);
    }
    e->used = true;
    return 0;
}

/* What the context is stretched by; 1 where the type says that it isn't. */
static double read_rope_scale(struct gguf_meta *r)
{
    double legacy = meta_f64(r, ".rope.scale_linear", OPTIONAL, 1);
    double scale = meta_f64(r, ".rope.scaling.factor", OPTIONAL, legacy);
    if (scale == 0) /* some writers mean "not stretched" */
        scale = 1;
    if (!rope_scale_ok(scale))
        meta_bad(r, ".rope.scaling.factor", "%g is out of range", scale);
    return scale;
}

static void read_yarn(struct model *m, struct gguf_meta *r, double base)
{
    struct rope_yarn y = {
        .factor = read_rope_scale(r),
        .original_ctx = meta_u32(r, ".rope.scaling.original_context_length", OPTIONAL, m->n_ctx, 1,
                                 SIZE_CTX_MAX),
        .beta_fast = YARN_BETA_FAST,
        .beta_slow = YARN_BETA_SLOW,
        .truncate = true,
    };
    y.magnitude =
        rope_yarn_magnitude(y.factor, 1) * meta_f64(r, ".rope.scaling.attn_factor", OPTIONAL, 1);
    const char *bad = rope_yarn_bad(&y, base);
    if (bad)
        meta_bad(r, ".rope.scaling.type", "yarn: its %s is out of range", bad);
    if (tensor_dir_find(&r->g->tensors, ROPE_FACTORS))
        meta_bad(r, ".rope.scaling.type", "yarn beside a tensor %s is not supported", ROPE_FACTORS);
    if (r->rc == 0)
        rope_fill_yarn(&m->ropes[0], m->rope_dim, base, &y);
}

/* A table for texts within the original context, and one for longer ones. */
static void read_longrope(struct model *m, struct gguf *g, struct gguf_meta *r, double base)
{
    static const char *const names[2] = {ROPE_SHORT, "rope_factors_long.weight"};
    struct rope_angles *const tables[2] = {&m->ropes[0], &m->long_rope};
    double magnitude = meta_f64(r, ".rope.scaling.attn_factor", OPTIONAL, 1);
    m->long_after =
        meta_u32(r, ".rope.scaling.original_context_length", REQUIRED, 0, 1, SIZE_CTX_MAX);
    if (!(magnitude > 0 && magnitude <= 100))
        meta_bad(r, ".rope.scaling.attn_factor", "%g is out of range", magnitude);
    for (int i = 0; r->rc == 0 && i < 2; i++) {
        float factors[MODEL_HEAD_DIM_MAX / 2];
        bool found;
        r->rc = read_rope_factors(m, g, names[i], factors, &found, r->err, r->errlen);
        if (r->rc == 0 && !found)
            r->rc =
                fail(SPECD_EFILE, r->err, r->errlen, "%s: tensor %s is missing", g->file, names[i]);
        if (r->rc == 0)
            rope_fill(tables[i], m->rope_dim, base, 1, factors);
        tables[i]->magnitude = (float)magnitude;
    }
}

/* Of layers with windows: never stretched. */
static void read_window_rope(struct model *m, const struct arch *arch, struct gguf_meta *r)
{
    double base = meta_f64(r, ".rope.freq_base_swa", OPTIONAL, arch->window_rope_base);
    if (arch->window_rope_base == 0)
        return;
    if (!rope_base_ok(base))
        meta_bad(r, ".rope.freq_base_swa", "%g is out of range", base);
    if (r->rc)
        return;
    rope_fill(&m->ropes[1], m->rope_dim, base, 1, NULL);
    m->n_ropes = 2;
}

static void read_rope(struct model *m, struct gguf *g, struct gguf_meta *r)
{
    static const char key[] = ".rope.scaling.type";
    float factors[MODEL_HEAD_DIM_MAX / 2];
    bool found = false;
    double base = meta_f64(r, ".rope.freq_base", OPTIONAL, ROPE_BASE_DEFAULT);
    if (!rope_base_ok(base))
        meta_bad(r, ".rope.freq_base", "%g is out of range", base);
    char *type = meta_string(r, key, OPTIONAL);
    bool none = type && strcmp(type, "none") == 0;
    if (type ? strcmp(type, "longrope") == 0 : tensor_dir_find(&g->tensors, ROPE_SHORT) != NULL) {
        read_longrope(m, g, r, base);
    } else if (type && strcmp(type, "yarn") == 0) {
        read_yarn(m, r, base);
    } else if (!type || none || strcmp(type, "linear") == 0) {
        double scale = none ? 1 : read_rope_scale(r);
        if (r->rc == 0)
            r->rc = read_rope_factors(m, g, ROPE_FACTORS, factors, &found, r->err, r->errlen);
        if (r->rc == 0)
            rope_fill(&m->ropes[0], m->rope_dim, base, scale, found ? factors : NULL);
    } else {
        char text[40];
        meta_bad(r, key, "%s is not supported (none, linear, yarn and longrope are)",
                 printable(text, sizeof text, type, strlen(type)));
    }
    free(type);
}

int gguf_model(struct model *m, struct gguf *g, float **made, char *err, size_t errlen)
{
    struct gguf_meta r = {.g = g, .prefix = "", .err = err, .errlen = errlen};
    struct layer_windows windows;
    struct weights_of of = {
        .file = g->file, .naming = NAMES_GGUF, .windows = &windows, .logits = 1};
    const struct arch *arch = read_arch(m, &r);
    if (arch) {
        refuse_unsupported(arch, &r);
        read_sizes(m, arch, &r);
        if (arch->scaled)
            read_scales(m, &of.logits, &r);
        read_windows(&windows, m, arch, &r);
    }
    if (r.rc)
        return r.rc;
    r.rc = weights_check_sizes(m, g->file, err, errlen);
    if (r.rc == 0) {
        read_rope(m, g, &r);
        read_window_rope(m, arch, &r);
    }
    if (r.rc)
        return r.rc;
    if (m->n_layers == arch->gguf_wide_heads_layers)
        m->attn_scale = 1 / sqrtf((float)m->n_embd / (float)m->layers[0].n_heads);
    const char *output = model_tensors[MODEL_OUTPUT].names[NAMES_GGUF];
    of.tied = tensor_dir_find(&g->tensors, output) == NULL;
    return weights_bind(m, &g->tensors, arch, &of, made, err, errlen);
}
