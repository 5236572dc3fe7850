#include "model/hf_config.h"

#include "model/json_file.h"
#include "model/rope.h"
#include "model/weights.h"
#include "specd/error.h"
#include "specd/limits.h"
#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_BYTES_MAX ((size_t)1 << 20)

/* r is of text_config then. */
static const struct arch *find_wrapper(struct json_reader *r, const char *type)
{
    for (int i = 0; i < n_archs; i++) {
        if (!archs[i].hf_wrapper || strcmp(archs[i].hf_wrapper, type) != 0)
            continue;
        const struct json *text = json_file_field(r, "text_config", REQUIRED);
        if (text && json_type(text) != JSON_OBJECT)
            json_file_bad(r, "text_config", "expected an object");
        r->object = text;
        r->path = "text_config.";
        return r->rc ? NULL : &archs[i];
    }
    return NULL;
}

static const struct arch *read_arch(struct model *m, struct json_reader *r)
{
    const char *type = json_file_string(r, "model_type", REQUIRED);
    const struct arch *arch = type ? arch_find(NAMES_HF, type) : NULL;
    if (type && !arch)
        arch = find_wrapper(r, type);
    if (r->rc)
        return NULL;
    char text[80], known[200];
    if (type && !arch)
        json_file_bad(r, "model_type", "%s is not supported (these are: %s)",
                      printable(text, sizeof text, type, strlen(type)),
                      arch_names(NAMES_HF, known, sizeof known));
    if (!arch)
        return NULL;
    m->arch = arch->names[NAMES_HF];
    m->gate = arch->gate;
    m->fine_activations = arch->fine_activations;
    m->rope = ROPE_HALVES;
    return arch;
}

static void refuse_unsupported(const struct arch *arch, struct json_reader *r)
{
    static const char *const acts[GATE_KINDS] = {
        [GATE_SILU] = "silu", [GATE_GELU_TANH] = "gelu_pytorch_tanh"};
    static const char *const act_keys[] = {"hidden_act", "hidden_activation"};
    static const char *const caps[] = {"attn_logit_softcapping", "final_logit_softcapping"};
    char text[40];
    for (size_t i = 0; i < COUNT_OF(act_keys); i++) {
        const char *act = json_file_string(r, act_keys[i], OPTIONAL);
        if (act && strcmp(act, acts[arch->gate]) != 0)
            json_file_bad(r, act_keys[i], "%s is not supported (%s is)",
                          printable(text, sizeof text, act, strlen(act)), acts[arch->gate]);
    }
    for (size_t i = 0; i < COUNT_OF(caps); i++) {
        if (json_file_f64(r, caps[i], OPTIONAL, 0) != 0)
            json_file_bad(r, caps[i], "is not supported");
    }
    if (json_file_bool(r, "use_bidirectional_attention", false))
        json_file_bad(r, "use_bidirectional_attention", "is not supported");
}

/* How many layers the list says have windows; those that do, in `windowed`. */
static uint32_t read_layer_types(bool *windowed, const struct model *m, struct json_reader *r)
{
    const struct json *types = json_file_field(r, "layer_types", OPTIONAL);
    uint32_t n = 0, i = 0;
    for (const struct json *type = json_first(types); type; type = json_next(type), i++) {
        const char *name = json_string(type);
        bool slides = name && strcmp(name, "sliding_attention") == 0;
        if (!slides && (!name || strcmp(name, "full_attention") != 0))
            json_file_bad(r, "layer_types", "a kind of layer that specd does not have");
        if (i < m->n_layers)
            windowed[i] = slides;
        n += slides;
    }
    if (types && i != m->n_layers)
        json_file_bad(r, "layer_types", "%u layers, expected %u", i, m->n_layers);
    return n;
}

/* Left out, sliding_window is the family's default; null says none. */
static void read_windows(struct hf_config *c, struct model *m, struct json_reader *r)
{
    const struct arch *a = c->arch;
    struct layer_windows *w = &c->windows;
    bool stated = json_get(r->object, "sliding_window") != NULL;
    bool slides = json_file_bool(r, "use_sliding_window", a->hf_slides);
    uint32_t period = json_file_u32(r, "_sliding_window_pattern", OPTIONAL, 0, 1, UINT32_MAX);
    period = json_file_u32(r, "sliding_window_pattern", OPTIONAL, period, 1, UINT32_MAX);
    w->positions =
        json_file_u32(r, "sliding_window", OPTIONAL, stated ? 0 : a->hf_window, 0, UINT32_MAX);
    weights_windows(w, m, a, period);
    if (a->hf_unwindowed > 0) {
        uint32_t first =
            json_file_u32(r, "max_window_layers", OPTIONAL, a->hf_unwindowed, 0, UINT32_MAX);
        for (uint32_t i = 0; i < m->n_layers; i++)
            w->windowed[i] = i >= first;
    }
    if (read_layer_types(w->windowed, m, r) == 0 && !slides)
        w->positions = 0;
    bool told = arch_has_windows(a) || a->hf_unwindowed > 0 || json_get(r->object, "layer_types");
    if (w->positions > 0 && !told) /* of which layers; within one it is full attention */
        m->n_ctx = MIN(m->n_ctx, w->positions);
}

/* A layer has experts unless it is listed, or its number, from 1, is no multiple of the step. */
static void read_dense_layers(struct hf_config *c, const struct model *m, struct json_reader *r)
{
    static const char key[] = "mlp_only_layers";
    uint32_t step = json_file_u32(r, "decoder_sparse_step", OPTIONAL, 1, 1, UINT32_MAX);
    const struct json *list = json_file_field(r, key, OPTIONAL);
    for (uint32_t i = 0; i < m->n_layers; i++)
        c->dense[i] = (i + 1) % step != 0;
    if (list && json_type(list) != JSON_ARRAY)
        json_file_bad(r, key, "expected a list of layers");
    for (const struct json *item = json_first(list); r->rc == 0 && item; item = json_next(item)) {
        uint64_t layer;
        if (!json_file_whole(item, MODEL_LAYERS_MAX, &layer))
            json_file_bad(r, key, "expected numbers of layers");
        else if (layer < m->n_layers)
            c->dense[layer] = true;
    }
}

static void read_experts(struct hf_config *c, struct model *m, struct json_reader *r)
{
    const char *key =
        json_file_field(r, "num_local_experts", OPTIONAL) ? "num_local_experts" : "num_experts";
    m->n_experts = json_file_u32(r, key, REQUIRED, 1, 1, SIZE_EXPERTS_MAX);
    m->n_experts_used = json_file_u32(r, "num_experts_per_tok", REQUIRED, 1, 1,
                                      MIN(m->n_experts, SIZE_EXPERTS_USED_MAX));
    m->n_ff_expert = json_file_u32(r, "moe_intermediate_size", REQUIRED, 1, 1, SIZE_FF_MAX);
    if (arch_parts(c->arch) & PART_BIT(PART_SHARED_EXPERT))
        m->n_ff_shared =
            json_file_u32(r, "shared_expert_intermediate_size", REQUIRED, 1, 1, SIZE_FF_MAX);
    m->experts_normed = json_file_bool(r, "norm_topk_prob", false);
    read_dense_layers(c, m, r);
}

static void read_sizes(struct model *m, const struct arch *arch, struct json_reader *r)
{
    m->n_layers = json_file_u32(r, "num_hidden_layers", REQUIRED, 0, 1, MODEL_LAYERS_MAX);
    m->n_embd = json_file_u32(r, "hidden_size", REQUIRED, 0, 1, SIZE_EMBD_MAX);
    uint32_t n_ff = json_file_u32(r, "intermediate_size", REQUIRED, 0, 1, SIZE_FF_MAX);
    m->n_vocab = json_file_u32(r, "vocab_size", arch->hf_vocab ? OPTIONAL : REQUIRED,
                               arch->hf_vocab, 1, SPECD_VOCAB_MAX);
    uint32_t heads = json_file_u32(r, "num_attention_heads", arch->hf_heads ? OPTIONAL : REQUIRED,
                                   MAX(arch->hf_heads, 1), 1, SIZE_HEADS_MAX);
    uint32_t kv_heads =
        json_file_u32(r, "num_key_value_heads", OPTIONAL,
                      arch->hf_kv_heads ? arch->hf_kv_heads : heads, 1, SIZE_HEADS_MAX);
    uint32_t head_dim = arch->hf_head_dim > 0 ? arch->hf_head_dim : m->n_embd / heads;
    m->head_dim = json_file_u32(r, "head_dim", OPTIONAL, head_dim, 1, MODEL_HEAD_DIM_MAX);
    m->n_ctx = json_file_u32(r, "max_position_embeddings", arch->hf_ctx ? OPTIONAL : REQUIRED,
                             arch->hf_ctx, 1, SIZE_CTX_MAX);
    m->rms_eps = (float)json_file_f64(r, "rms_norm_eps", OPTIONAL, 1e-6);
    double scalar = arch->hf_query_scalar;
    if (scalar > 0)
        scalar = json_file_f64(r, "query_pre_attn_scalar", OPTIONAL, scalar);
    if (arch->hf_query_scalar > 0 && !(scalar >= 1e-6 && scalar <= 1e6))
        json_file_bad(r, "query_pre_attn_scalar", "%g is out of range", scalar);
    else if (scalar > 0)
        m->attn_scale = (float)(1 / sqrt(scalar));
    m->layers = xcalloc(m->n_layers, sizeof *m->layers);
    for (uint32_t i = 0; i < m->n_layers; i++) {
        m->layers[i].n_heads = heads;
        m->layers[i].n_kv_heads = kv_heads;
        m->layers[i].n_ff = n_ff;
    }
}

static void read_scales(struct hf_config *c, struct model *m, struct json_reader *r)
{
    static const char *const keys[MODEL_SCALES] = {[SCALE_EMBEDDING] = "embedding_multiplier",
                                                   [SCALE_RESIDUAL] = "residual_multiplier",
                                                   [SCALE_SCORES] = "attention_multiplier",
                                                   [SCALE_LOGITS] = "logits_scaling"};
    double scales[MODEL_SCALES];
    for (int i = 0; i < MODEL_SCALES; i++)
        scales[i] = json_file_f64(r, keys[i], OPTIONAL, 1);
    enum model_scale bad = weights_scale(m, scales);
    if (bad < MODEL_SCALES)
        json_file_bad(r, keys[bad], "%g is out of range", scales[bad]);
    c->logits = scales[SCALE_LOGITS];
}

static void read_llama3(struct json_reader *r, struct rope_llama3 *l)
{
    l->factor = json_file_f64(r, "factor", REQUIRED, 1);
    l->low_freq_factor = json_file_f64(r, "low_freq_factor", REQUIRED, 1);
    l->high_freq_factor = json_file_f64(r, "high_freq_factor", REQUIRED, 4);
    l->original_ctx = json_file_f64(r, "original_max_position_embeddings", REQUIRED, 8192);
    if (!rope_scale_ok(l->factor))
        json_file_bad(r, "factor", "%g is out of range", l->factor);
    if (!(l->low_freq_factor > 0 && l->high_freq_factor > l->low_freq_factor))
        json_file_bad(r, "high_freq_factor",
                      "expected more than low_freq_factor, which is more than 0");
    if (!(l->original_ctx >= 1 && l->original_ctx <= SIZE_CTX_MAX))
        json_file_bad(r, "original_max_position_embeddings", "%g is out of range", l->original_ctx);
}

/* A configuration that stretches the context need not state how far it reaches then. */
static void read_yarn(struct model *m, struct rope_angles *to, struct json_reader *r, double base)
{
    struct rope_yarn y;
    y.original_ctx = json_file_f64(r, "original_max_position_embeddings", OPTIONAL, m->n_ctx);
    y.factor = json_file_f64(r, "factor", OPTIONAL, m->n_ctx / fmax(y.original_ctx, 1));
    y.beta_fast = json_file_f64(r, "beta_fast", OPTIONAL, YARN_BETA_FAST);
    y.beta_slow = json_file_f64(r, "beta_slow", OPTIONAL, YARN_BETA_SLOW);
    y.truncate = json_file_bool(r, "truncate", true);
    double weight = json_file_f64(r, "mscale", OPTIONAL, 0);
    double all_dim = json_file_f64(r, "mscale_all_dim", OPTIONAL, 0);
    y.magnitude = rope_yarn_magnitude(y.factor, 1);
    if (weight != 0 && all_dim != 0)
        y.magnitude =
            rope_yarn_magnitude(y.factor, weight) / rope_yarn_magnitude(y.factor, all_dim);
    y.magnitude = json_file_f64(r, "attention_factor", OPTIONAL, y.magnitude);
    const char *bad = rope_yarn_bad(&y, base);
    if (bad)
        json_file_bad(r, "rope_type", "yarn: its %s is out of range", bad);
    if (r->rc)
        return;
    rope_fill_yarn(to, m->rope_dim, base, &y);
    m->n_ctx = MAX(m->n_ctx, (uint32_t)fmin(y.factor * y.original_ctx, SIZE_CTX_MAX));
}

/* One number for each pair that rotates. */
static void read_factors(struct json_reader *r, const char *key, uint32_t n, float *factors)
{
    const struct json *list = json_file_field(r, key, REQUIRED), *item = json_first(list);
    if (json_type(list) != JSON_ARRAY || json_count(list) != n) {
        json_file_bad(r, key, "expected a list of %u numbers", n);
        return;
    }
    for (uint32_t i = 0; i < n; i++, item = json_next(item)) {
        double factor = json_type(item) == JSON_NUMBER ? json_number(item) : 0;
        if (!rope_scale_ok(factor))
            json_file_bad(r, key, "element %u is not a number in range", i);
        factors[i] = (float)factor;
    }
}

/* original: what stands beside the rope's object, which counts for more than what is in it; 0:
 * nothing does. */
static void read_longrope(struct model *m, struct rope_angles *to, struct json_reader *r,
                          double base, double original)
{
    static const char key[] = "original_max_position_embeddings";
    float factors[2][MODEL_HEAD_DIM_MAX / 2];
    if (original == 0)
        original = json_file_f64(r, key, OPTIONAL, m->n_ctx);
    if (!(original >= 2 && original <= SIZE_CTX_MAX)) {
        json_file_bad(r, key, "%g is out of range", original);
        return;
    }
    double factor = json_file_f64(r, "factor", OPTIONAL, m->n_ctx / original);
    double magnitude = factor > 1 ? sqrt(1 + log(factor) / log(original)) : 1;
    magnitude = json_file_f64(r, "attention_factor", OPTIONAL, magnitude);
    if (!(magnitude > 0 && magnitude <= 100))
        json_file_bad(r, "attention_factor", "%g is out of range", magnitude);
    read_factors(r, "short_factor", m->rope_dim / 2, factors[0]);
    read_factors(r, "long_factor", m->rope_dim / 2, factors[1]);
    if (r->rc)
        return;
    rope_fill(to, m->rope_dim, base, 1, factors[0]);
    rope_fill(&m->long_rope, m->rope_dim, base, 1, factors[1]);
    to->magnitude = m->long_rope.magnitude = (float)magnitude;
    m->long_after = (uint32_t)original;
}

/* original: as read_longrope has it. */
static void read_rope_kind(struct model *m, struct rope_angles *to, struct json_reader *s,
                           double base, double original)
{
    struct rope_llama3 l;
    const char *old_name = json_file_string(s, "type", OPTIONAL);
    const char *type = json_file_string(s, "rope_type", OPTIONAL);
    if (!type)
        type = old_name;
    bool factors = json_get(s->object, "short_factor") != NULL; /* first called yarn, and su */
    if (type && factors && (strcmp(type, "yarn") == 0 || strcmp(type, "su") == 0))
        type = "longrope";
    if (!type || strcmp(type, "default") == 0) {
        rope_fill(to, m->rope_dim, base, 1, NULL);
    } else if (strcmp(type, "linear") == 0) {
        double factor = json_file_f64(s, "factor", REQUIRED, 1);
        if (!rope_scale_ok(factor))
            json_file_bad(s, "factor", "%g is out of range", factor);
        else
            rope_fill(to, m->rope_dim, base, factor, NULL);
    } else if (strcmp(type, "llama3") == 0) {
        read_llama3(s, &l);
        if (s->rc == 0)
            rope_fill_llama3(to, m->rope_dim, base, &l);
    } else if (strcmp(type, "yarn") == 0) {
        read_yarn(m, to, s, base);
    } else if (strcmp(type, "longrope") == 0 && to == &m->ropes[0]) {
        read_longrope(m, to, s, base, original);
    } else {
        char text[40];
        json_file_bad(s, "rope_type",
                      "%s is not supported (default, linear, llama3, yarn and longrope are)",
                      printable(text, sizeof text, type, strlen(type)));
    }
}

/* Of layers with windows, which have a table of their own. sliding: from rope_parameters, or NULL.
 */
static void read_window_rope(const struct arch *arch, struct model *m, struct json_reader *r,
                             const struct json *sliding)
{
    double base = json_file_f64(r, "rope_local_base_freq", OPTIONAL, arch->window_rope_base);
    struct json_reader s = *r;
    s.object = sliding;
    s.path = "rope_parameters.sliding_attention.";
    base = json_file_f64(&s, "rope_theta", OPTIONAL, base);
    if (!rope_base_ok(base))
        json_file_bad(&s, "rope_theta", "%g is out of range", base);
    else
        read_rope_kind(m, &m->ropes[1], &s, base, 0);
    m->n_ropes = 2;
    r->rc = s.rc;
}

/* rope_theta and rope_scaling; later files put both into rope_parameters, where layers differ by
 * their kind. */
static void read_rope(const struct arch *arch, struct model *m, struct json_reader *r)
{
    const struct json *scaling = json_file_field(r, "rope_scaling", OPTIONAL);
    const struct json *parameters = json_file_field(r, "rope_parameters", OPTIONAL);
    const struct json *sliding = NULL, *full = NULL;
    if (arch->window_rope_base > 0 && json_type(parameters) == JSON_OBJECT) {
        full = json_get(parameters, "full_attention");
        sliding = json_get(parameters, "sliding_attention");
    }
    struct json_reader s = *r;
    s.object = full ? full : parameters ? parameters : scaling;
    s.path = full         ? "rope_parameters.full_attention."
             : parameters ? "rope_parameters."
                          : "rope_scaling.";
    if (s.object && json_type(s.object) != JSON_OBJECT) {
        json_file_bad(r, parameters ? "rope_parameters" : "rope_scaling", "expected an object");
        return;
    }
    bool top = json_file_field(r, "rope_theta", OPTIONAL) != NULL;
    double base = json_file_f64(r, "rope_theta", OPTIONAL,
                                arch->hf_rope_base > 0 ? arch->hf_rope_base : ROPE_BASE_DEFAULT);
    double partial = json_file_f64(r, "partial_rotary_factor", OPTIONAL, 1);
    double original = json_file_f64(r, "original_max_position_embeddings", OPTIONAL, 0);
    s.rc = r->rc;
    if (parameters) {
        bool known = top || arch->hf_rope_base > 0;
        base = json_file_f64(&s, "rope_theta", known ? OPTIONAL : REQUIRED, base);
        partial = json_file_f64(&s, "partial_rotary_factor", OPTIONAL, partial);
    }
    if (!rope_base_ok(base))
        json_file_bad(&s, "rope_theta", "%g is out of range", base);
    if (!(partial > 0 && partial <= 1))
        json_file_bad(&s, "partial_rotary_factor", "%g is outside 0 to 1", partial);
    m->rope_dim = (uint32_t)(m->head_dim * (s.rc ? 1 : partial));
    if (s.rc == 0)
        s.rc = weights_check_sizes(m, r->file, r->err, r->errlen);
    if (s.rc == 0)
        read_rope_kind(m, &m->ropes[0], &s, base, original);
    r->rc = s.rc;
    if (r->rc == 0 && arch->window_rope_base > 0)
        read_window_rope(arch, m, r, sliding);
}

/* A list with 1 for the layers that have RoPE, or the period of those that don't. */
static void read_no_rope(struct hf_config *c, const struct model *m, struct json_reader *r)
{
    static const char key[] = "no_rope_layers";
    if (!c->arch->kinds[c->arch->n_kinds - 1].no_rope)
        return;
    uint32_t period =
        json_file_u32(r, "no_rope_layer_interval", OPTIONAL, arch_period(c->arch), 1, UINT32_MAX);
    const struct json *list = json_file_field(r, key, OPTIONAL), *item = NULL;
    if (list && (json_type(list) != JSON_ARRAY || json_count(list) != m->n_layers))
        json_file_bad(r, key, "expected a list of %u numbers, 1 where a layer has RoPE, or 0",
                      m->n_layers);
    for (uint32_t i = 0; r->rc == 0 && i < m->n_layers; i++) {
        uint64_t has = (i + 1) % period != 0;
        item = item ? json_next(item) : json_first(list);
        if (list && !json_file_whole(item, 1, &has))
            json_file_bad(r, key, "layer %u: expected 0 or 1", i);
        c->no_rope[i] = has == 0;
    }
}

static void add_eog(struct hf_config *c, const struct model *m, struct json_reader *r,
                    const struct json *node)
{
    uint64_t id;
    if (json_type(node) == JSON_NUMBER && json_number(node) == -1) /* none */
        return;
    if (!json_file_whole(node, SPECD_VOCAB_MAX, &id) || id >= m->n_vocab) {
        json_file_bad(r, "eos_token_id", "expected token ids below %u", m->n_vocab);
        return;
    }
    for (int32_t i = 0; i < c->n_eog; i++) {
        if (c->eog[i] == (int32_t)id)
            return;
    }
    if (c->n_eog == VOCAB_EOG_MAX)
        json_file_bad(r, "eos_token_id", "more than %d ids", VOCAB_EOG_MAX);
    else
        c->eog[c->n_eog++] = (int32_t)id;
}

/* One id or a list. */
static void read_eog(struct hf_config *c, const struct model *m, struct json_reader *r)
{
    const struct json *ids = json_file_field(r, "eos_token_id", OPTIONAL);
    if (json_type(ids) != JSON_ARRAY) {
        if (ids)
            add_eog(c, m, r, ids);
        return;
    }
    for (const struct json *id = json_first(ids); id; id = json_next(id))
        add_eog(c, m, r, id);
}

static int read_config(struct hf_config *c, struct model *m, struct json_reader *r)
{
    struct json_reader whole = *r;
    c->arch = read_arch(m, r);
    if (!c->arch)
        return r->rc;
    c->wrapped = r->object != whole.object;
    refuse_unsupported(c->arch, r);
    read_sizes(m, c->arch, r);
    if (arch_parts(c->arch) & PART_BIT(PART_EXPERTS))
        read_experts(c, m, r);
    c->logits = 1;
    if (c->arch->scaled)
        read_scales(c, m, r);
    whole.rc = r->rc;
    hf_quant_read(&c->quant, &whole);
    r->rc = whole.rc;
    c->tied = json_file_bool(r, "tie_word_embeddings", c->arch->hf_tied);
    if (r->rc == 0)
        read_rope(c->arch, m, r);
    if (r->rc == 0)
        read_windows(c, m, r);
    if (r->rc == 0)
        read_no_rope(c, m, r);
    read_eog(c, m, r);
    whole.rc = r->rc;
    if (c->wrapped)
        read_eog(c, m, &whole);
    return whole.rc;
}

/* What generate() stops at, which instruct models often extend. The file is optional. */
static int read_generation_config(struct hf_config *c, const struct model *m, const char *folder,
                                  char *err, size_t errlen)
{
    char path[4096];
    struct json *root;
    snprintf(path, sizeof path, "%s/generation_config.json", folder);
    if (access(path, F_OK) != 0)
        return 0;
    int rc = json_file_load(&root, path, CONFIG_BYTES_MAX, err, errlen);
    if (rc)
        return rc;
    struct json_reader r = {.object = root, .file = path, .path = "", .err = err, .errlen = errlen};
    read_eog(c, m, &r);
    json_free(root);
    return r.rc;
}

int hf_config_load(struct hf_config *c, struct model *m, const char *folder, char *err,
                   size_t errlen)
{
    char path[4096];
    struct json *root;
    *c = (struct hf_config){0};
    snprintf(path, sizeof path, "%s/config.json", folder);
    int rc = json_file_load(&root, path, CONFIG_BYTES_MAX, err, errlen);
    if (rc)
        return rc;
    struct json_reader r = {.object = root, .file = path, .path = "", .err = err, .errlen = errlen};
    rc = read_config(c, m, &r);
    json_free(root);
    return rc ? rc : read_generation_config(c, m, folder, err, errlen);
}
