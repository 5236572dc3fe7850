#include "model/weights.h"

#include "model/field.h"
#include "specd/error.h"
#include "specd/quant.h"
#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table of architectures -------------------------------------------------------------- */

const struct arch *arch_find(enum tensor_naming naming, const char *name)
{
    for (int i = 0; i < n_archs; i++) {
        if (archs[i].names[naming] && strcmp(archs[i].names[naming], name) == 0)
            return &archs[i];
    }
    return NULL;
}

const char *arch_names(enum tensor_naming naming, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < n_archs && n < cap; i++) {
        if (archs[i].names[naming])
            n += (size_t)snprintf(out + n, cap - n, "%s%s", n ? ", " : "", archs[i].names[naming]);
    }
    return out;
}

uint32_t arch_parts(const struct arch *a)
{
    uint32_t parts = 0;
    for (int i = 0; i < a->n_kinds; i++)
        parts |= a->kinds[i].needs | a->kinds[i].may;
    return parts;
}

uint32_t arch_period(const struct arch *a)
{
    uint32_t period = 0;
    for (int i = 0; i < a->n_kinds; i++)
        period += (uint32_t)MAX(a->kinds[i].times, 1);
    return period;
}

const struct arch_kind *arch_kind_of(const struct arch *a, uint32_t i)
{
    const struct arch_kind *kind = a->kinds;
    for (i %= arch_period(a); i >= (uint32_t)MAX(kind->times, 1); kind++)
        i -= (uint32_t)MAX(kind->times, 1);
    return kind;
}

bool arch_has_windows(const struct arch *a)
{
    bool has = false;
    for (int i = 0; i < a->n_kinds; i++)
        has = has || a->kinds[i].windowed;
    return has;
}

const char *arch_tensor_name(const struct arch *a, enum tensor_naming naming, int tensor)
{
    for (int i = 0; i < a->n_renames; i++) {
        if ((int)a->renames[i].tensor == tensor && a->renames[i].naming == naming)
            return a->renames[i].name;
    }
    return layer_tensors[tensor].names[naming];
}

/* ---- sizes ----------------------------------------------------------------------------------- */

int weights_check_sizes(const struct model *m, const char *file, char *err, size_t errlen)
{
    char why[200];
    if (model_sizes_check(m, why, sizeof why) != 0)
        return fail(SPECD_EFILE, err, errlen, "%s: %s", file, why);
    return 0;
}

void weights_windows(struct layer_windows *w, const struct model *m, const struct arch *arch,
                     uint32_t period)
{
    for (uint32_t i = 0; i < m->n_layers; i++)
        w->windowed[i] = period > 0 ? i % period + 1 < period : arch_kind_of(arch, i)->windowed;
}

/* The residual stream is kept divided by its factor, so that what blocks add needs none: norms, all
 * that reads the stream, see nothing of it but for their epsilon. */
enum model_scale weights_scale(struct model *m, const double scales[MODEL_SCALES])
{
    static const double least[MODEL_SCALES] = {
        [SCALE_EMBEDDING] = 1e-6, [SCALE_RESIDUAL] = 1e-2, [SCALE_LOGITS] = 1e-6};
    for (int i = 0; i < MODEL_SCALES; i++) {
        if (!(scales[i] >= least[i] && scales[i] <= 1e4))
            return (enum model_scale)i;
    }
    double residual = scales[SCALE_RESIDUAL];
    m->embd_scale = (float)(scales[SCALE_EMBEDDING] / residual);
    m->rms_eps = (float)((double)m->rms_eps / (residual * residual));
    m->attn_scale = (float)scales[SCALE_SCORES];
    return MODEL_SCALES;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* What one run of weights_bind works on. */
struct bind {
    struct model *m;
    const struct model_layer *layer; /* whose tensors are taken; NULL: of none */
    struct tensor_dir *dir;
    struct tensor_dir parts; /* of fused tensors; sealed once all are in */
    const struct arch *arch;
    enum tensor_naming naming;
    struct tensor *slices; /* room for those that are still to come, of experts that lie apart */
    float *norms;  /* room for those that are still to be made, where they differ from the file's */
    float *scales; /* room for those of matrices that are still to come */
    float logits;  /* which are divided by it */
    const char *file;
    char *err;
    size_t errlen;
};

/* Slices, rows and columns of which a file's shape may leave leading ones out, and have more. */
static bool has_shape(const struct tensor_entry *e, const uint64_t want[3])
{
    bool fits = e->n_dims > 0;
    for (uint32_t i = 0; i < TENSOR_DIMS_MAX; i++) { /* from the fastest */
        uint64_t stored = i < e->n_dims ? e->shape[e->n_dims - 1 - i] : 1;
        fits = fits && stored == (i < 3 ? want[2 - i] : 1);
    }
    return fits;
}

static int wrong_shape(const struct bind *b, const struct tensor_entry *e, const uint64_t want[3])
{
    char stored[100] = "", expected[100] = "";
    size_t n = 0, k = 0;
    for (uint32_t i = 0; i < e->n_dims && n < sizeof stored; i++)
        n += (size_t)snprintf(stored + n, sizeof stored - n, "%s%llu", i ? " x " : "",
                              (unsigned long long)e->shape[i]);
    for (int i = 0; i < 3; i++) {
        if (want[i] != 1 || i == 2)
            k += (size_t)snprintf(expected + k, sizeof expected - k, "%s%llu", k ? " x " : "",
                                  (unsigned long long)want[i]);
    }
    return fail(SPECD_EFILE, b->err, b->errlen, "%s: tensor %s: shape is %s, expected %s", e->file,
                e->name, stored, expected);
}

static struct tensor_entry *find(const struct bind *b, const char *name)
{
    struct tensor_entry *e = tensor_dir_find(&b->parts, name);
    return e ? e : tensor_dir_find(b->dir, name);
}

/* A norm that differs from the file's. What divides logits divides the last norm's weights. */
static void make_norm(struct bind *b, const struct tensor_spec *spec, struct tensor *t)
{
    bool less_one = b->naming == NAMES_HF && b->arch->hf_norms_less_one;
    float divisor = spec == &model_tensors[MODEL_OUT_NORM] ? b->logits : 1.0f;
    quant_decode(t->type, t->data, t->cols, b->norms);
    *t = (struct tensor){.data = b->norms, .type = DT_F32, .rows = 1, .cols = t->cols};
    for (uint32_t i = 0; i < t->cols; i++, b->norms++)
        *b->norms = (*b->norms + (less_one ? 1.0f : 0.0f)) / divisor;
}

static bool is_scale(const struct bind *b, const struct tensor_entry *e)
{
    static const char scale[] = ".scale";
    size_t n = strlen(e->name), k = sizeof scale - 1;
    return b->naming == NAMES_GGUF && e->type == DT_F32 && n > k &&
           strcmp(e->name + n - k, scale) == 0;
}

/* What GGUF files have in NAME.scale for the matrix NAME.weight, or for each of its slices. */
static int take_scale(struct bind *b, struct tensor_entry *e, uint32_t slices)
{
    static const char weight[] = ".weight";
    const uint64_t want[3] = {1, 1, MAX(slices, 1)};
    const char *end = strstr(e->name, weight);
    char name[TENSOR_NAME_MAX + 1];
    if (b->naming != NAMES_GGUF || e->scale || !end || end[sizeof weight - 1] != '\0')
        return 0;
    snprintf(name, sizeof name, "%.*s.scale", (int)(end - e->name), e->name);
    struct tensor_entry *s = find(b, name);
    if (!s)
        return 0;
    if (!is_scale(b, s))
        return tensor_bad(b->err, b->errlen, s->file, s->name, "is %s, expected f32",
                          dtype_name(s->type));
    if (!has_shape(s, want))
        return wrong_shape(b, s, want);
    quant_decode(DT_F32, s->data, want[2], b->scales);
    for (uint32_t i = 0; i < want[2]; i++) {
        if (!isfinite(b->scales[i]))
            return tensor_bad(b->err, b->errlen, s->file, s->name, "element %u is not finite", i);
    }
    e->scale = b->scales;
    b->scales += want[2];
    s->used = true;
    return 0;
}

/* `slices` matrices in one piece, or one (0). */
static int take_piece(struct bind *b, const char *name, const struct tensor_spec *spec,
                      uint32_t slices, struct tensor *out)
{
    const uint64_t want[3] = {MAX(slices, 1), model_dim(b->m, b->layer, spec->rows),
                              model_dim(b->m, b->layer, spec->cols)};
    struct tensor_entry *e = find(b, name);
    if (!e)
        return fail(SPECD_EFILE, b->err, b->errlen, "%s: tensor %s is missing", b->file, name);
    if (!has_shape(e, want))
        return wrong_shape(b, e, want);
    int rc = spec->kind == TENSOR_MATRIX ? take_scale(b, e, slices) : 0;
    if (rc)
        return rc;
    e->used = true;
    *out = (struct tensor){.data = e->data,
                           .type = e->type,
                           .rows = (uint32_t)want[1],
                           .cols = (uint32_t)want[2],
                           .slices = slices,
                           .source = e->source,
                           .first_row = e->first_row,
                           .scale = e->scale};
    b->m->n_params += want[0] * want[1] * want[2];
    return 0;
}

/* The name of one expert's matrix: its number in place of the star, or behind a name that has none.
 */
static struct tensor_name slice_name(const char *name, uint32_t expert)
{
    const char *star = strchr(name, '*'), *end = star ? star + 1 : name + strlen(name);
    struct tensor_name out;
    snprintf(out.text, sizeof out.text, "%.*s%s%u%s", (int)(star ? star - name : end - name), name,
             star ? "" : ".", expert, end);
    return out;
}

/* What stands for all in a message and in a search. */
static struct tensor_entry *find_slices(const struct bind *b, const char *name)
{
    struct tensor_entry *e = find(b, name);
    return e ? e : find(b, slice_name(name, 0).text);
}

static int take_slices(struct bind *b, const char *name, const struct tensor_spec *spec,
                       struct tensor *out)
{
    uint32_t n = (uint32_t)model_dim(b->m, b->layer, spec->slices);
    if (!strchr(name, '*') && !find(b, slice_name(name, 0).text))
        return take_piece(b, name, spec, n, out);
    struct tensor *slices = b->slices;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        rc = take_piece(b, slice_name(name, i).text, spec, 0, b->slices++);
    if (rc)
        return rc;
    *out = slices[0];
    out->slices = n;
    out->apart = slices;
    return 0;
}

static int take(struct bind *b, const char *name, const struct tensor_spec *spec,
                struct tensor *out)
{
    if (spec->slices != DIM_NONE)
        return take_slices(b, name, spec, out);
    int rc = take_piece(b, name, spec, 0, out);
    if (rc == 0 && b->norms && spec->kind == TENSOR_NORM)
        make_norm(b, spec, out);
    return rc;
}

/* The name of a tensor of layer i, or NULL. */
static const char *layer_name(const struct bind *b, uint32_t i, int tensor,
                              struct tensor_name *name)
{
    const char *suffix = arch_tensor_name(b->arch, b->naming, tensor);
    if (!suffix)
        return NULL;
    *name = tensor_name_of(b->naming, suffix, (int)i);
    return name->text;
}

/* ---- a text model in another ----------------------------------------------------------------- */

/* What follows a prefix; NULL: the name has another. */
static const char *behind(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(name, prefix, n) == 0 ? name + n : NULL;
}

/* language_model.model.norm and, since the fifth version of transformers, model.language_model.norm
 * for model.norm. */
void weights_unwrap(struct tensor_dir *dir)
{
    static const char *const others[] = {"vision_tower.", "multi_modal_projector."};
    for (size_t i = 0; i < dir->n; i++) {
        struct tensor_entry *e = &dir->entries[i];
        const char *inner = behind(e->name, "model.");
        const char *text = behind(e->name, "language_model.");
        const char *late = inner ? behind(inner, "language_model.") : NULL;
        for (size_t j = 0; j < COUNT_OF(others); j++)
            e->used = e->used || behind(inner ? inner : e->name, others[j]);
        if (!text && !late)
            continue;
        struct tensor_name name = {{0}};
        if ((size_t)snprintf(name.text, sizeof name.text, "%s%s", late ? "model." : "",
                             late ? late : text) >= sizeof name.text)
            continue; /* none that a model has */
        free(e->name);
        e->name = xstrdup(name.text);
    }
}

/* ---- several tensors in one ------------------------------------------------------------------ */

/* Files of some families have several tensors of a layer in one, their rows one after another; of
 * experts, expert by expert. The last may have the same name by itself. */
static const struct {
    const char *names[TENSOR_NAMINGS];
    int n;
    enum layer_tensor tensors[3];
} fused[] = {
    {{[NAMES_GGUF] = "attn_qkv.weight", [NAMES_HF] = "self_attn.qkv_proj.weight"},
     3,
     {LAYER_WQ, LAYER_WK, LAYER_WV}},
    {{[NAMES_GGUF] = "attn_qkv.bias", [NAMES_HF] = "self_attn.qkv_proj.bias"},
     3,
     {LAYER_BQ, LAYER_BK, LAYER_BV}},
    {{[NAMES_GGUF] = "ffn_up.weight", [NAMES_HF] = "mlp.gate_up_proj.weight"},
     2,
     {LAYER_W_GATE, LAYER_W_UP}},
    {{[NAMES_GGUF] = "ffn_gate_up_exps.weight", [NAMES_HF] = "mlp.experts.gate_up_proj"},
     2,
     {LAYER_W_GATE_EXPERTS, LAYER_W_UP_EXPERTS}},
    {{[NAMES_HF] = "mlp.experts.down_proj"}, 1, {LAYER_W_DOWN_EXPERTS}},
};

/* Rows of a matrix, elements of a vector. */
static uint64_t extent(const struct model *m, const struct model_layer *l, int tensor)
{
    const struct tensor_spec *spec = &layer_tensors[tensor];
    return model_dim(m, l, spec->rows == DIM_ONE ? spec->cols : spec->rows);
}

static int split_fused(struct bind *b, uint32_t layer, size_t f)
{
    if (!fused[f].names[b->naming])
        return 0;
    struct tensor_name name = tensor_name_of(b->naming, fused[f].names[b->naming], (int)layer);
    struct tensor_entry *e = tensor_dir_find(b->dir, name.text);
    int last = fused[f].tensors[fused[f].n - 1];
    bool experts = layer_tensors[last].slices != DIM_NONE;
    if (!e || !(arch_parts(b->arch) & PART_BIT(layer_tensors[last].part)))
        return 0;
    uint32_t slices = experts ? b->m->n_experts : 1;
    bool vector = layer_tensors[last].rows == DIM_ONE;
    const struct model_layer *l = &b->m->layers[layer];
    uint64_t all = 0, cols = model_dim(b->m, l, layer_tensors[last].cols);
    for (int i = 0; i < fused[f].n; i++)
        all += extent(b->m, l, fused[f].tensors[i]);
    const uint64_t want[3] = {slices, vector ? 1 : all, vector ? all : cols};
    if (!has_shape(e, want)) {
        const char *own = arch_tensor_name(b->arch, b->naming, last);
        bool alone = own && strcmp(own, fused[f].names[b->naming]) == 0;
        return alone ? 0 : wrong_shape(b, e, want);
    }
    int rc = take_scale(b, e, experts ? slices : 0);
    if (rc)
        return rc;
    e->used = true;
    struct tensor_entry part = *e;
    part.n_dims = vector ? 1 : 2;
    part.shape[1] = cols;
    for (uint32_t i = 0; i < slices * (uint32_t)fused[f].n; i++) {
        int tensor = fused[f].tensors[i % (uint32_t)fused[f].n];
        struct tensor_name own;
        if (!layer_name(b, layer, tensor, &own))
            continue;
        if (experts) {
            own = slice_name(own.text, i / (uint32_t)fused[f].n);
            part.scale = e->scale ? e->scale + i / (uint32_t)fused[f].n : NULL;
        }
        part.name = xstrdup(own.text);
        part.shape[0] = extent(b->m, l, tensor);
        part.bytes = e->bytes / slices / all * part.shape[0];
        tensor_dir_add(&b->parts, &part);
        part.data += part.bytes;
        part.first_row += (uint32_t)part.shape[0];
    }
    return 0;
}

static int split_all_fused(struct bind *b)
{
    int rc = 0;
    for (uint32_t layer = 0; rc == 0 && layer < b->m->n_layers; layer++) {
        for (size_t f = 0; rc == 0 && f < COUNT_OF(fused); f++)
            rc = split_fused(b, layer, f);
    }
    return rc ? rc : tensor_dir_seal(&b->parts, b->err, b->errlen);
}

/* ---- layers ---------------------------------------------------------------------------------- */

/* Bits of the parts of which layer i has a tensor in the files. */
static uint32_t parts_found(const struct bind *b, uint32_t i)
{
    uint32_t parts = 0;
    for (int t = 0; t < LAYER_TENSORS; t++) {
        struct tensor_name name;
        if (layer_name(b, i, t, &name) && find_slices(b, name.text))
            parts |= PART_BIT(layer_tensors[t].part);
    }
    return parts;
}

static int bind_layer(struct bind *b, uint32_t i)
{
    const struct arch_kind *kind = arch_kind_of(b->arch, i);
    uint32_t parts = kind->needs | (kind->may & parts_found(b, i));
    int rc = 0;
    if (kind->may & PART_BIT(PART_EXPERTS) && !(parts & PART_BIT(PART_GATED_FFN)))
        parts |= PART_BIT(PART_EXPERTS); /* missing, then */
    if (parts & PART_BIT(PART_EXPERTS) && b->m->n_ff_shared > 0)
        parts |= PART_BIT(PART_SHARED_EXPERT);
    b->layer = &b->m->layers[i];
    b->m->layers[i].no_rope = kind->no_rope;
    for (int t = 0; rc == 0 && t < LAYER_TENSORS; t++) {
        struct tensor_name name;
        if (!(parts & PART_BIT(layer_tensors[t].part)))
            continue;
        layer_name(b, i, t, &name);
        rc = take(b, name.text, &layer_tensors[t], &b->m->layers[i].tensors[t]);
    }
    return rc;
}

/* Tensors that carry nothing specd needs: tables it computes itself, scales of activations, which
 * it rounds in ways of its own, and a tied output's copy. */
static bool ignorable(const struct bind *b, const char *name, bool tied)
{
    static const char *const endings[TENSOR_NAMINGS] = {
        [NAMES_GGUF] = ".input_scale", [NAMES_HF] = ".rotary_emb.inv_freq"};
    const char *ending = endings[b->naming];
    size_t n = strlen(name), k = strlen(ending);
    if (n > k && strcmp(name + n - k, ending) == 0)
        return true;
    return tied && strcmp(name, model_tensors[MODEL_OUTPUT].names[b->naming]) == 0;
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

/* Elements of all norms that a model may have. */
static size_t norm_elements(const struct model *m)
{
    size_t n = m->n_embd;
    for (uint32_t l = 0; l < m->n_layers; l++) {
        for (int i = 0; i < LAYER_TENSORS; i++) {
            if (layer_tensors[i].kind == TENSOR_NORM)
                n += model_dim(m, &m->layers[l], layer_tensors[i].cols);
        }
    }
    return n;
}

/* Numbers in the files that may be scales of matrices. */
static size_t scale_elements(const struct bind *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->dir->n; i++)
        n += is_scale(b, &b->dir->entries[i]) ? b->dir->entries[i].bytes / sizeof(float) : 0;
    return n;
}

/* Matrices of experts that a model may have in pieces of their own. */
static size_t slices_apart(const struct model *m, const struct arch *arch)
{
    size_t n = 0;
    for (int i = 0; i < LAYER_TENSORS; i++)
        n += layer_tensors[i].slices != DIM_NONE;
    return arch_parts(arch) & PART_BIT(PART_EXPERTS) ? n * m->n_layers * m->n_experts : 0;
}

/* Folders of bf16 or f16 were trained with the root as such a number. */
static float width_scale(const struct model *m, enum tensor_naming naming)
{
    float scale = sqrtf((float)m->n_embd);
    if (naming == NAMES_HF && m->embed.type == DT_BF16)
        return bf16_to_f32(bf16_from_f32(scale));
    if (naming == NAMES_HF && m->embed.type == DT_F16)
        return f16_to_f32(f16_from_f32(scale));
    return scale;
}

int weights_bind(struct model *m, struct tensor_dir *dir, const struct arch *arch,
                 const struct weights_of *of, float **made, char *err, size_t errlen)
{
    const struct layer_windows *windows = of->windows;
    enum tensor_naming naming = of->naming;
    bool tied = of->tied;
    struct bind b = {.m = m,
                     .dir = dir,
                     .arch = arch,
                     .naming = naming,
                     .logits = (float)of->logits,
                     .file = of->file,
                     .err = err,
                     .errlen = errlen};
    bool other_norms = (naming == NAMES_HF && arch->hf_norms_less_one) || of->logits != 1;
    size_t n_norms = other_norms ? norm_elements(m) : 0, n_made = n_norms + scale_elements(&b);
    *made = n_made > 0 ? xcalloc(n_made, sizeof(float)) : NULL;
    b.norms = other_norms ? *made : NULL;
    b.scales = *made ? *made + n_norms : NULL;
    size_t slices = slices_apart(m, arch);
    m->layers = xrealloc(m->layers, m->n_layers * sizeof *m->layers + slices * sizeof *b.slices);
    b.slices = (struct tensor *)(void *)(m->layers + m->n_layers);
    int rc = split_all_fused(&b);
    for (int i = 0; rc == 0 && i < MODEL_TENSORS; i++) {
        if (i != MODEL_OUTPUT || !tied)
            rc = take(&b, model_tensors[i].names[naming], &model_tensors[i], &m->tensors[i]);
    }
    if (tied)
        m->output = m->embed;
    for (uint32_t i = 0; rc == 0 && i < m->n_layers; i++) {
        rc = bind_layer(&b, i);
        m->layers[i].window = windows->windowed[i] ? windows->positions : 0;
        m->layers[i].rope = windows->windowed[i] && m->n_ropes > 1;
    }
    if (rc == 0 && arch->embd_by_width)
        m->embd_scale = width_scale(m, naming);
    tensor_dir_fini(&b.parts);
    return rc ? rc : refuse_leftovers(&b, tied);
}
