/*
 * synth-model - writes a GGUF model with random weights, of any shape and element type.
 *
 * For tests and benches: it runs as fast or slow as a real model of its shape, and pairs made with
 * one seed agree as often as --keep and --eps say (tools/synth-model/synth.h). A target of 8 layers
 * and its draft of 2:
 *
 *   synth-model --layers 8 --keep 2 --eps 0.05 target.gguf
 *   synth-model --layers 2 draft.gguf
 */
#include "synth-model/synth.h"

#include "model/rope.h"
#include "model/weights.h"
#include "specd/limits.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char usage[] =
    "usage: synth-model [options] FILE.gguf\n"
    "  --arch NAME                (llama)\n"
    "  --layers N (4)  --embd N (256)  --heads N (4)  --kv-heads N (heads)  --head-dim N\n"
    "      (embd/heads)  --ff N (2 embd)  --vocab N (512)  --ctx N (2048)\n"
    "      --heads, --kv-heads and --ff also by layer: 4,2 is 4 in the first and 2 in all others\n"
    "  --type TYPE                matrices: f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k\n"
    "      q5_k q6_k iq4_nl iq4_xs mxfp4 nvfp4 (f32)\n"
    "  --embd-type TYPE           embedding and output matrix (as --type)\n"
    "  --tied                     the output matrix is the embedding\n"
    "  --seed N (1)               same seed: tensors of one name and shape are the same\n"
    "  --keep N (layers) --eps E (1)\n"
    "                             scale what layers from N on add by E\n"
    "  --logit-scale S (4)        standard deviation of the logits\n"
    "  --tokenizer bytes-bpe|spm  (bytes-bpe); a --vocab of 2 to 256 has single characters only\n"
    "  --eos ID (none)            the one of them that ends a text\n"
    "  --experts N (8)  --experts-used N (2)  --expert-ff N (ff / experts-used)  --shared-ff N "
    "(ff)\n"
    "                             of an architecture that has them\n"
    "  --window N  --window-period N (the architecture's)\n"
    "  --rope-base B (10000)  --rope-linear F (1)  --rope-llama3 F (1)\n";

#define RMS_EPS 1e-5f

static _Noreturn void die(const char *fmt, ...) PRINTF_LIKE(1, 2);
static _Noreturn void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("synth-model: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputs(" (--help lists the options)\n", stderr);
    va_end(ap);
    exit(2);
}

static _Noreturn void die_writing(const char *reason)
{
    fprintf(stderr, "synth-model: %s\n", reason);
    exit(1);
}

enum value_kind { SIZE, SIZES, NUMBER, TYPE, TOKENIZER, ARCH, FLAG };

static const struct option {
    const char *name;
    enum value_kind kind;
    size_t offset; /* in struct synth_spec */
    double lo, hi; /* of sizes and NUMBER */
} options[] = {
    {"--arch", ARCH, offsetof(struct synth_spec, arch), 0, 0},
    {"--layers", SIZE, offsetof(struct synth_spec, layers), 1, MODEL_LAYERS_MAX},
    {"--embd", SIZE, offsetof(struct synth_spec, embd), 2, SIZE_EMBD_MAX},
    {"--heads", SIZES, offsetof(struct synth_spec, heads), 1, SIZE_HEADS_MAX},
    {"--kv-heads", SIZES, offsetof(struct synth_spec, kv_heads), 1, SIZE_HEADS_MAX},
    {"--head-dim", SIZE, offsetof(struct synth_spec, head_dim), 2, MODEL_HEAD_DIM_MAX},
    {"--ff", SIZES, offsetof(struct synth_spec, ff), 1, SIZE_FF_MAX},
    {"--experts", SIZE, offsetof(struct synth_spec, experts), 1, SIZE_EXPERTS_MAX},
    {"--experts-used", SIZE, offsetof(struct synth_spec, experts_used), 1, SIZE_EXPERTS_USED_MAX},
    {"--expert-ff", SIZE, offsetof(struct synth_spec, expert_ff), 1, SIZE_FF_MAX},
    {"--shared-ff", SIZE, offsetof(struct synth_spec, shared_ff), 1, SIZE_FF_MAX},
    {"--vocab", SIZE, offsetof(struct synth_spec, vocab), 2, SPECD_VOCAB_MAX},
    {"--ctx", SIZE, offsetof(struct synth_spec, ctx), 1, SIZE_CTX_MAX},
    {"--type", TYPE, offsetof(struct synth_spec, type), 0, 0},
    {"--embd-type", TYPE, offsetof(struct synth_spec, embd_type), 0, 0},
    {"--tied", FLAG, offsetof(struct synth_spec, tied), 0, 0},
    {"--seed", SIZE, offsetof(struct synth_spec, seed), 0, UINT32_MAX},
    {"--keep", SIZE, offsetof(struct synth_spec, keep), 0, MODEL_LAYERS_MAX},
    {"--eps", NUMBER, offsetof(struct synth_spec, eps), 0, 1e3},
    {"--logit-scale", NUMBER, offsetof(struct synth_spec, logit_scale), 0, 1e3},
    {"--eos", SIZE, offsetof(struct synth_spec, eos), 0, SYNTH_SMALL_VOCAB - 1},
    {"--tokenizer", TOKENIZER, offsetof(struct synth_spec, tokenizer), 0, 0},
    {"--window", SIZE, offsetof(struct synth_spec, window), 1, SIZE_CTX_MAX},
    {"--window-period", SIZE, offsetof(struct synth_spec, period), 1, MODEL_LAYERS_MAX},
    {"--rope-base", NUMBER, offsetof(struct synth_spec, rope_base), 1, 1e12},
    {"--rope-linear", NUMBER, offsetof(struct synth_spec, rope_linear), 1e-3, 1e6},
    {"--rope-llama3", NUMBER, offsetof(struct synth_spec, rope_llama3), 1, 1e6},
};

static double parse_number(const struct option *o, const char *text)
{
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (errno || end == text || *end || !(v >= o->lo && v <= o->hi) ||
        (o->kind != NUMBER && v != floor(v)))
        die("%s: %s is not a number from %g to %g", o->name, text, o->lo, o->hi);
    return v;
}

static enum dtype parse_type(const struct option *o, const char *text)
{
    for (int t = 0; t < DT_GGUF_COUNT; t++) {
        if (strcasecmp(text, dtype_name((enum dtype)t)) == 0)
            return (enum dtype)t;
    }
    die("%s: unknown type %s", o->name, text);
}

static enum synth_tokenizer parse_tokenizer(const struct option *o, const char *text)
{
    if (strcmp(text, "spm") == 0)
        return SYNTH_SPM;
    if (strcmp(text, "bytes-bpe") != 0)
        die("%s: expected bytes-bpe or spm, not %s", o->name, text);
    return SYNTH_BPE;
}

static const struct arch *parse_arch(const struct option *o, const char *text)
{
    const struct arch *arch = arch_find(NAMES_GGUF, text);
    char known[200];
    if (!arch)
        die("%s: expected one of %s, not %s", o->name, arch_names(NAMES_GGUF, known, sizeof known),
            text);
    return arch;
}

/* One for each layer, separated by commas; the last is that of all further layers. */
static void parse_sizes(const struct option *o, char *text, uint32_t sizes[MODEL_LAYERS_MAX])
{
    int n = 0;
    for (char *comma; n < MODEL_LAYERS_MAX; text = comma + 1) {
        comma = strchr(text, ',');
        if (comma)
            *comma = '\0';
        sizes[n++] = (uint32_t)parse_number(o, text);
        if (!comma)
            break;
    }
    for (; n < MODEL_LAYERS_MAX; n++)
        sizes[n] = sizes[n - 1];
}

static void set_value(struct synth_spec *s, const struct option *o, char *text)
{
    void *at = (char *)s + o->offset;
    switch (o->kind) {
    case SIZE:
        *(uint32_t *)at = (uint32_t)parse_number(o, text);
        break;
    case SIZES:
        parse_sizes(o, text, at);
        break;
    case NUMBER:
        *(double *)at = parse_number(o, text);
        break;
    case TYPE:
        *(enum dtype *)at = parse_type(o, text);
        break;
    case TOKENIZER:
        *(enum synth_tokenizer *)at = parse_tokenizer(o, text);
        break;
    case ARCH:
        *(const struct arch **)at = parse_arch(o, text);
        break;
    case FLAG:
        *(bool *)at = true;
        break;
    }
}

static const struct option *find_option(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        if (strcmp(options[i].name, name) == 0)
            return &options[i];
    }
    die("unknown option %s", name);
}

static void parse_args(struct synth_spec *s, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage, stdout);
            exit(0);
        }
        if (argv[i][0] != '-') {
            if (s->path)
                die("more than one file: %s and %s", s->path, argv[i]);
            s->path = argv[i];
            continue;
        }
        const struct option *o = find_option(argv[i]);
        if (o->kind != FLAG && i + 1 == argc)
            die("%s: the value is missing", o->name);
        set_value(s, o, o->kind == FLAG ? NULL : argv[++i]);
    }
}

/* Sizes that follow from others. */
static void fill_defaults(struct synth_spec *s)
{
    for (int i = 0; i < MODEL_LAYERS_MAX; i++) {
        s->heads[i] = s->heads[i] > 0 ? s->heads[i] : 4;
        s->kv_heads[i] = s->kv_heads[i] > 0 ? s->kv_heads[i] : s->heads[i];
        s->ff[i] = s->ff[i] > 0 ? s->ff[i] : 2 * s->embd;
    }
    if (s->head_dim == 0)
        s->head_dim = s->embd / s->heads[0];
    if (s->embd_type == DT_COUNT)
        s->embd_type = s->type;
    uint32_t parts = synth_parts(s, 0);
    if (!(parts & PART_BIT(PART_EXPERTS))) {
        if (s->experts > 0)
            die("--experts: %s has none", s->arch->names[NAMES_GGUF]);
        return;
    }
    if (s->experts == 0)
        s->experts = 8;
    if (s->experts_used == 0)
        s->experts_used = MIN(2, s->experts);
    if (s->expert_ff == 0)
        s->expert_ff = MAX(s->ff[0] / s->experts_used, 1);
    if (parts & PART_BIT(PART_SHARED_EXPERT) && s->shared_ff == 0)
        s->shared_ff = s->ff[0];
}

static void check_rows(enum dtype type, const char *what, uint32_t cols)
{
    if (cols % (uint32_t)dtype_block(type) != 0)
        die("%s of %u is no multiple of the %d elements in a block of %s", what, cols,
            dtype_block(type), dtype_name(type));
}

struct model synth_model(const struct synth_spec *s)
{
    struct model m = {.n_layers = s->layers,
                      .head_dim = s->head_dim,
                      .n_embd = s->embd,
                      .n_vocab = s->vocab,
                      .n_ctx = s->ctx,
                      .n_experts = s->experts,
                      .n_experts_used = s->experts_used,
                      .n_ff_expert = s->expert_ff,
                      .n_ff_shared = s->shared_ff,
                      .rms_eps = RMS_EPS,
                      .rope_dim = s->head_dim,
                      .layers = xcalloc(s->layers, sizeof(struct model_layer))};
    for (uint32_t i = 0; i < s->layers; i++)
        m.layers[i] = (struct model_layer){
            .n_heads = s->heads[i], .n_kv_heads = s->kv_heads[i], .n_ff = s->ff[i]};
    return m;
}

static void check_spec(const struct synth_spec *s)
{
    char err[300];
    struct model m = synth_model(s);
    uint32_t vocab_min = s->tokenizer == SYNTH_SPM ? SYNTH_SPM_VOCAB_MIN : SYNTH_BPE_VOCAB_MIN;
    if (!s->path)
        die("no file given");
    if (weights_check_sizes(&m, "the shape", err, sizeof err) != 0)
        die("%s", err);
    free(m.layers);
    check_rows(s->embd_type, "--embd", s->embd);
    check_rows(s->type, "--embd", s->embd);
    for (uint32_t i = 0; i < s->layers; i++) {
        check_rows(s->type, "--ff", s->ff[i]);
        check_rows(s->type, "heads times --head-dim", s->heads[i] * s->head_dim);
    }
    check_rows(s->type, "--expert-ff", s->expert_ff);
    check_rows(s->type, "--shared-ff", s->shared_ff);
    if (s->vocab < vocab_min && (s->tokenizer == SYNTH_SPM || s->vocab > SYNTH_SMALL_VOCAB))
        die("--vocab: this tokenizer needs at least %u%s", vocab_min,
            s->tokenizer == SYNTH_SPM ? "" : ", or at most 256 for single characters");
    if (s->eos != SYNTH_NO_EOS && (s->vocab > SYNTH_SMALL_VOCAB || s->eos >= s->vocab))
        die("--eos: it is a token of a vocabulary of single characters");
}

/* One number if it is that of all layers. */
static void put_by_layer(struct gguf_writer *w, const struct synth_spec *s, const char *name,
                         const uint32_t *sizes)
{
    char key[64];
    bool differ = false;
    for (uint32_t i = 1; i < s->layers; i++)
        differ = differ || sizes[i] != sizes[0];
    snprintf(key, sizeof key, "%s.%s", s->arch->names[NAMES_GGUF], name);
    if (differ)
        gguf_put_array(w, key, GGUF_U32, sizes, s->layers);
    else
        gguf_put_u32(w, key, sizes[0]);
}

static void put_sizes(struct gguf_writer *w, const struct synth_spec *s)
{
    const char *arch = s->arch->names[NAMES_GGUF];
    const struct {
        const char *key;
        uint32_t value;
    } sizes[] = {
        {"block_count", s->layers},
        {"context_length", s->ctx},
        {"embedding_length", s->embd},
        {"vocab_size", s->vocab},
        {"attention.key_length", s->head_dim},
        {"attention.value_length", s->head_dim},
        {"rope.dimension_count", s->head_dim},
        {"expert_count", s->experts},
        {"expert_used_count", s->experts_used},
        {"expert_feed_forward_length", s->expert_ff},
        {"expert_shared_feed_forward_length", s->shared_ff},
    };
    char key[64];
    put_by_layer(w, s, "attention.head_count", s->heads);
    put_by_layer(w, s, "attention.head_count_kv", s->kv_heads);
    put_by_layer(w, s, "feed_forward_length", s->ff);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        if (sizes[i].value == 0)
            continue;
        snprintf(key, sizeof key, "%s.%s", arch, sizes[i].key);
        gguf_put_u32(w, key, sizes[i].value);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    gguf_put_f32(w, key, RMS_EPS);
    snprintf(key, sizeof key, "%s.rope.freq_base", arch);
    gguf_put_f32(w, key, (float)s->rope_base);
    if (s->window > 0) {
        snprintf(key, sizeof key, "%s.attention.sliding_window", arch);
        gguf_put_u32(w, key, s->window);
    }
    if (s->period > 0) {
        snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", arch);
        gguf_put_u32(w, key, s->period);
    }
    if (s->rope_linear == 1)
        return;
    snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
    gguf_put_string(w, key, "linear");
    snprintf(key, sizeof key, "%s.rope.scaling.factor", arch);
    gguf_put_f32(w, key, (float)s->rope_linear);
}

static void put_metadata(struct gguf_writer *w, const struct synth_spec *s)
{
    const char *arch = s->arch->names[NAMES_GGUF];
    char text[160];
    gguf_put_string(w, "general.architecture", arch);
    snprintf(text, sizeof text, "synthetic %s %u x %u", arch, s->layers, s->embd);
    gguf_put_string(w, "general.name", text);
    /* Headers of models that differ in their weights differ too. */
    snprintf(text, sizeof text, "random weights: seed %u, keep %u, eps %g, logit scale %g", s->seed,
             s->keep, s->eps, s->logit_scale);
    gguf_put_string(w, "general.description", text);
    gguf_put_u32(w, "general.quantization_version", 2);
    put_sizes(w, s);
    synth_put_vocab(w, s);
    synth_put_tensors(w, s);
}

int main(int argc, char **argv)
{
    struct synth_spec s = {
        .arch = arch_find(NAMES_GGUF, "llama"),
        .layers = 4,
        .embd = 256,
        .vocab = 512,
        .ctx = 2048,
        .type = DT_F32,
        .embd_type = DT_COUNT,
        .keep = MODEL_LAYERS_MAX,
        .eps = 1,
        .logit_scale = 4,
        .seed = 1,
        .eos = SYNTH_NO_EOS,
        .rope_base = ROPE_BASE_DEFAULT,
        .rope_linear = 1,
        .rope_llama3 = 1,
    };
    struct gguf_writer w;
    char err[300];
    parse_args(&s, argc, argv);
    fill_defaults(&s);
    check_spec(&s);
    FILE *file = fopen(s.path, "wb");
    if (!file)
        die("%s: %s", s.path, strerror(errno));
    gguf_writer_init(&w, file);
    put_metadata(&w, &s);
    gguf_write_header(&w);
    synth_write_tensors(&w, &s);
    if (gguf_write_end(&w, s.path, err, sizeof err) != 0)
        die_writing(err);
    gguf_writer_fini(&w);
    if (fclose(file) != 0)
        die_writing(strerror(errno));
    return 0;
}
