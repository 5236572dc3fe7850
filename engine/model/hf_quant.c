#include "model/hf_quant.h"

#include "model/hf_rows.h"
#include "specd/error.h"
#include "specd/quant.h"
#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_DEFAULT 128
#define SIDE_MAX (1u << 20)

/* ---- config.json ----------------------------------------------------------------------------- */

/* A list of two numbers, of rows and columns; columns in whole runs. */
static void read_block(struct hf_quant *q, struct json_reader *r, const char *key)
{
    const struct json *list = json_file_field(r, key, OPTIONAL);
    const struct json *node = json_type(list) == JSON_ARRAY ? json_first(list) : NULL;
    if (!list)
        return;
    uint64_t sides[2];
    for (int i = 0; i < 2; i++) {
        if (!json_file_whole(node, SIDE_MAX, &sides[i]) || sides[i] == 0) {
            json_file_bad(r, key, "expected two whole numbers");
            return;
        }
        q->block[i] = (uint32_t)sides[i];
        node = json_next(node);
    }
    if (node || q->block[1] % RUN)
        json_file_bad(r, key, "expected two whole numbers, the second a multiple of %d", RUN);
}

/* The first of two values is what no value means; whether it is the second, which may be NULL. */
static bool is_second(struct json_reader *r, const char *key, const char *first, const char *second)
{
    const char *value = json_file_string(r, key, OPTIONAL);
    char text[40];
    if (!value || strcmp(value, first) == 0)
        return false;
    if (second && strcmp(value, second) == 0)
        return true;
    json_file_bad(r, key, "%s is not supported (%s%s%s)",
                  printable(text, sizeof text, value, strlen(value)), first,
                  second ? " and " : " is", second ? second : "");
    return false;
}

static void expect(struct json_reader *r, const char *key, const char *only)
{
    is_second(r, key, only, NULL);
}

static void read_int4(struct hf_quant *q, struct json_reader *r)
{
    const struct json *size = json_file_field(r, "group_size", REQUIRED);
    json_file_u32(r, "bits", REQUIRED, 4, 4, 4);
    if (json_type(size) == JSON_NUMBER && json_number(size) == -1)
        return; /* one group */
    q->group = json_file_u32(r, "group_size", REQUIRED, RUN, RUN, SIDE_MAX);
    if (q->group % RUN)
        json_file_bad(r, "group_size", "%u is no multiple of %d", q->group, RUN);
}

static void read_gptq(struct hf_quant *q, struct json_reader *r)
{
    const char *format = json_file_string(r, "checkpoint_format", OPTIONAL);
    bool second = format && strcmp(format, "gptq_v2") == 0;
    if (!second)
        expect(r, "checkpoint_format", "gptq");
    q->method = HF_GPTQ;
    q->zeros_are_shifted = !second;
    q->act_order = json_file_bool(r, "desc_act", false);
    read_int4(q, r);
}

/* The first group's weights: of 8 bits all groups are alike. */
static void read_compressed(struct hf_quant *q, struct json_reader *r)
{
    if (is_second(r, "format", "float-quantized", "nvfp4-pack-quantized")) {
        q->method = HF_NVFP4;
        return;
    }
    struct json_reader w = *r;
    w.object = json_get(json_first(json_get(r->object, "config_groups")), "weights");
    w.path = "quantization_config.config_groups.*.weights.";
    read_block(q, &w, "block_structure");
    r->rc = w.rc;
}

void hf_quant_read(struct hf_quant *q, struct json_reader *r)
{
    static const char key[] = "quantization_config";
    const struct json *object = json_file_field(r, key, OPTIONAL);
    *q = (struct hf_quant){.block = {BLOCK_DEFAULT, BLOCK_DEFAULT}};
    if (!object)
        return;
    struct json_reader s = *r;
    s.object = object;
    s.path = "quantization_config.";
    if (json_type(object) != JSON_OBJECT) {
        json_file_bad(r, key, "expected an object");
        return;
    }
    const char *method = json_file_string(&s, "quant_method", REQUIRED);
    char text[40];
    q->method = HF_FP8;
    if (!method) {
        q->method = HF_PLAIN;
    } else if (strcmp(method, "fp8") == 0) {
        expect(&s, "fmt", "e4m3");
        read_block(q, &s, "weight_block_size");
    } else if (strcmp(method, "compressed-tensors") == 0) {
        read_compressed(q, &s);
    } else if (strcmp(method, "modelopt") == 0) {
        q->method = is_second(&s, "quant_algo", "FP8", "NVFP4") ? HF_NVFP4 : HF_FP8;
    } else if (strcmp(method, "gptq") == 0) {
        read_gptq(q, &s);
    } else if (strcmp(method, "awq") == 0) {
        q->method = HF_AWQ;
        expect(&s, "version", "gemm");
        read_int4(q, &s);
    } else if (strcmp(method, "fbgemm_fp8") != 0) {
        json_file_bad(&s, "quant_method",
                      "%s is not supported (fp8, fbgemm_fp8, compressed-tensors, modelopt, gptq "
                      "and awq are)",
                      printable(text, sizeof text, method, strlen(method)));
    }
    r->rc = s.rc;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* What a run of hf_quant_bind works on. */
struct binding {
    struct hf_sources *sources;
    struct tensor_dir *dir;
    const struct hf_quant *q;
    char *err;
    size_t errlen;
};

#define bad(b, e, ...) tensor_bad((b)->err, (b)->errlen, (e)->file, (e)->name, __VA_ARGS__)

static bool ends_with(const char *name, const char *suffix)
{
    size_t n = strlen(name), k = strlen(suffix);
    return n > k && strcmp(name + n - k, suffix) == 0;
}

/* The tensor whose name ends otherwise; NULL: none. */
static struct tensor_entry *beside(const struct binding *b, const struct tensor_entry *e,
                                   const char *suffix, const char *other)
{
    char name[2 * TENSOR_NAME_MAX];
    snprintf(name, sizeof name, "%.*s%s", (int)(strlen(e->name) - strlen(suffix)), e->name, other);
    return tensor_dir_find(b->dir, name);
}

static uint64_t elements(const struct tensor_entry *e)
{
    uint64_t n = 1;
    for (uint32_t i = 0; i < e->n_dims; i++)
        n *= e->shape[i]; /* bytes were checked */
    return n;
}

static bool is_matrix(const struct tensor_entry *e, enum raw_type raw, uint64_t rows, uint64_t cols)
{
    return e && e->raw == raw && e->n_dims == 2 && e->shape[0] == rows && e->shape[1] == cols;
}

static bool has_floats(const struct tensor_entry *e)
{
    return e->raw == RAW_F8_E8M0 || (e->raw == RAW_NONE && dtype_block(e->type) == 1);
}

static struct hf_rows *source_add(struct hf_sources *s, struct hf_rows rows)
{
    s->all = xrealloc(s->all, (s->n + 1) * sizeof *s->all);
    s->all[s->n] = xmalloc(sizeof rows);
    *s->all[s->n] = rows;
    return s->all[s->n++];
}

/* From now on e is a matrix of such rows. */
static void become(const struct binding *b, struct tensor_entry *e, struct hf_rows rows)
{
    struct hf_rows *made = source_add(b->sources, rows);
    e->source = &made->source;
    if (rows.method == HF_NVFP4)
        e->scale = &made->scale;
    e->type = rows.type;
    e->raw = RAW_NONE;
    e->n_dims = 2;
    e->shape[0] = rows.n;
    e->shape[1] = rows.k;
}

static int sides_check(const struct binding *b, const struct tensor_entry *e, uint64_t n,
                       uint64_t k)
{
    if (n == 0 || n > SIDE_MAX || k == 0 || k > SIDE_MAX || k % RUN)
        return bad(b, e, "%llu x %llu weights: expected at most %u, and rows of whole %ds",
                   (unsigned long long)n, (unsigned long long)k, SIDE_MAX, RUN);
    return 0;
}

/* ---- fp8 ------------------------------------------------------------------------------------- */

static int bind_fp8(const struct binding *b, struct tensor_entry *e)
{
    static const char *const names[] = {".weight_scale_inv", ".weight_scale"};
    struct tensor_entry *scales = NULL;
    for (size_t i = 0; i < COUNT_OF(names) && !scales; i++)
        scales = beside(b, e, ".weight", names[i]);
    if (e->n_dims != 2)
        return bad(b, e, "f8_e4m3 of %u dimensions, expected 2", e->n_dims);
    if (!scales || !has_floats(scales))
        return bad(b, e, "no weight_scale of floats, and no weight_scale_inv, beside it");
    int rc = sides_check(b, e, e->shape[0], e->shape[1]);
    if (rc)
        return rc;
    struct hf_rows rows = {
        .source = hf_rows_fp8,
        .type = DT_F8_ROW,
        .method = HF_FP8,
        .codes = e->data,
        .scales = *scales,
        .n = (uint32_t)e->shape[0],
        .k = (uint32_t)e->shape[1],
    };
    const uint32_t *block = b->q->block;
    rows.scale_rows = rows.n;
    rows.scale_cols = rows.k;
    if (elements(scales) == 1) {
        ;
    } else if (elements(scales) == rows.n && scales->shape[0] == rows.n) {
        rows.scale_rows = 1;
    } else if (is_matrix(scales, scales->raw, (rows.n - 1) / block[0] + 1,
                         (rows.k - 1) / block[1] + 1)) {
        rows.type = DT_F8;
        rows.scale_rows = block[0];
        rows.scale_cols = block[1];
    } else {
        return bad(b, scales,
                   "expected one number, one for each of %u rows, or one for each %u x %u", rows.n,
                   block[0], block[1]);
    }
    scales->used = true;
    become(b, e, rows);
    return 0;
}

/* ---- nvfp4 ----------------------------------------------------------------------------------- */

static const char packed_weight[] = ".weight_packed";

/* Of all of a matrix: what it is multiplied by, or what it is divided by. */
static int nvfp4_scale(const struct binding *b, struct tensor_entry *e, bool divides, float *scale)
{
    if (!e || !has_floats(e) || elements(e) != 1)
        return 1;
    *scale = divides ? 1 / hf_scale(e, 0) : hf_scale(e, 0);
    if (!isfinite(*scale))
        return bad(b, e, "%g is no scale", (double)hf_scale(e, 0));
    e->used = true;
    return 0;
}

static int bind_nvfp4(const struct binding *b, struct tensor_entry *e)
{
    bool divides = ends_with(e->name, packed_weight);
    const char *own = divides ? packed_weight : ".weight";
    const char *of_all = divides ? ".weight_global_scale" : ".weight_scale_2";
    struct tensor_entry *scales = beside(b, e, own, ".weight_scale");
    struct hf_rows rows = {.source = hf_rows_nvfp4,
                           .type = DT_NVFP4,
                           .method = HF_NVFP4,
                           .codes = e->data,
                           .n = (uint32_t)e->shape[0],
                           .scale_rows = 1,
                           .scale_cols = 16};
    if (e->n_dims != 2)
        return bad(b, e, "u8 of %u dimensions, expected 2", e->n_dims);
    int rc = sides_check(b, e, e->shape[0], 2 * e->shape[1]);
    if (rc)
        return rc;
    rows.k = 2 * (uint32_t)e->shape[1];
    if (rows.k % (uint32_t)dtype_block(DT_NVFP4))
        return bad(b, e, "rows of %u weights, expected whole %ds", rows.k, dtype_block(DT_NVFP4));
    if (!is_matrix(scales, RAW_F8_E4M3, rows.n, rows.k / 16))
        return bad(b, e, "expected a weight_scale of f8_e4m3, %u x %u, beside it", rows.n,
                   rows.k / 16);
    rc = nvfp4_scale(b, beside(b, e, own, of_all), divides, &rows.scale);
    if (rc > 0)
        return bad(b, e, "expected a %s, one number, beside it", of_all + 1);
    for (uint64_t i = 0; i < scales->bytes && rc == 0; i++) {
        if (scales->data[i] > 0x7e && scales->data[i] != 0x80)
            rc = bad(b, scales, "number %llu is below zero or none", (unsigned long long)i);
    }
    if (rc)
        return rc;
    rows.scales = *scales;
    scales->used = true;
    become(b, e, rows);
    return 0;
}

/* ---- int4 ------------------------------------------------------------------------------------ */

/* Whether g_idx is in range, and says what the columns' places say. */
static int groups_check(const struct binding *b, const struct tensor_entry *e,
                        const struct hf_rows *rows, bool *scattered)
{
    for (uint32_t c = 0; c < rows->k; c++) {
        uint32_t group;
        memcpy(&group, e->data + c * sizeof group, sizeof group);
        if (group > (rows->k - 1) / rows->scale_cols)
            return bad(b, e, "column %u is of group %u, but there are %u", c, group,
                       (rows->k - 1) / rows->scale_cols + 1);
        *scattered |= group != c / rows->scale_cols;
    }
    return 0;
}

/* The smallest type that rounds no value. */
static enum dtype int4_type(const struct hf_rows *rows)
{
    bool centred = true;
    size_t groups = (rows->k - 1) / rows->scale_cols + 1;
    if (rows->groups)
        return DT_F32;
    for (size_t i = 0; i < groups * rows->n; i++) {
        float scale = hf_scale(&rows->scales, i);
        if (!(f16_to_f32(f16_from_f32(scale)) == scale))
            return DT_F32;
    }
    for (size_t g = 0; g < groups && centred; g++) {
        for (uint32_t n = 0; n < rows->n && centred; n++)
            centred = hf_zero(rows, n, g) == 8;
    }
    return centred ? DT_Q4_0 : DT_Q5_0;
}

static int bind_int4(const struct binding *b, struct tensor_entry *e)
{
    static const char own[] = ".qweight";
    bool awq = b->q->method == HF_AWQ;
    struct tensor_entry *zeros = beside(b, e, own, ".qzeros"),
                        *scales = beside(b, e, own, ".scales");
    struct tensor_entry *groups = beside(b, e, own, ".g_idx"), *bias = beside(b, e, own, ".bias");
    if (e->n_dims != 2 || e->raw != RAW_I32)
        return bad(b, e, "expected a matrix of i32");
    uint64_t n = e->shape[1] * (awq ? 8 : 1), k = e->shape[0] * (awq ? 1 : 8);
    int rc = sides_check(b, e, n, k);
    if (rc)
        return rc;
    uint64_t size = b->q->group > 0 ? b->q->group : k, n_groups = (k - 1) / size + 1;
    if (n % 8 || !is_matrix(zeros, RAW_I32, n_groups, n / 8))
        return bad(b, e, "expected a qzeros of i32, %llu x %llu, beside it",
                   (unsigned long long)n_groups, (unsigned long long)(n / 8));
    if (!is_matrix(scales, RAW_NONE, n_groups, n) || !has_floats(scales))
        return bad(b, e, "expected scales, %llu x %llu floats, beside it",
                   (unsigned long long)n_groups, (unsigned long long)n);
    if (groups ? groups->raw != RAW_I32 || elements(groups) != k : b->q->act_order)
        return bad(b, e, "expected a g_idx of i32, %llu numbers, beside it", (unsigned long long)k);
    struct hf_rows rows = {
        .source = hf_rows_int4,
        .method = b->q->method,
        .codes = e->data,
        .zeros = zeros->data,
        .scales = *scales,
        .n = (uint32_t)n,
        .k = (uint32_t)k,
        .scale_rows = 1,
        .scale_cols = (uint32_t)size,
        .shift = b->q->zeros_are_shifted,
    };
    bool scattered = false;
    if (groups)
        rc = groups_check(b, groups, &rows, &scattered);
    if (rc)
        return rc;
    if (scattered)
        rows.groups = groups->data;
    rows.type = int4_type(&rows);
    if (rows.type == DT_F32)
        rows.source = hf_rows_floats;
    zeros->used = scales->used = true;
    if (groups)
        groups->used = true;
    if (bias && has_floats(bias)) { /* some writers give every matrix one */
        bool zero = true;
        for (size_t i = 0; i < elements(bias) && zero; i++)
            zero = hf_scale(bias, i) == 0;
        bias->used = zero;
    }
    become(b, e, rows);
    return 0;
}

/* ---- all ------------------------------------------------------------------------------------- */

/* Scales of activations and of a cache, which specd rounds in ways of its own. */
static bool is_unused(const char *name)
{
    static const char *const endings[] = {".input_scale",    ".activation_scale",
                                          ".k_scale",        ".v_scale",
                                          ".input_scale_ub", ".input_global_scale"};
    for (size_t i = 0; i < COUNT_OF(endings); i++) {
        if (ends_with(name, endings[i]))
            return true;
    }
    return false;
}

int hf_quant_bind(struct hf_sources *s, struct tensor_dir *dir, const struct hf_quant *q, char *err,
                  size_t errlen)
{
    struct binding b = {s, dir, q, err, errlen};
    bool int4 = q->method == HF_GPTQ || q->method == HF_AWQ;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < dir->n && q->method != HF_PLAIN; i++) {
        struct tensor_entry *e = &dir->entries[i];
        if (int4 && ends_with(e->name, ".qweight"))
            rc = bind_int4(&b, e);
        else if (q->method == HF_NVFP4 && e->raw == RAW_U8 &&
                 (ends_with(e->name, ".weight") || ends_with(e->name, packed_weight)))
            rc = bind_nvfp4(&b, e);
        else if (q->method == HF_FP8 && e->raw == RAW_F8_E4M3 && ends_with(e->name, ".weight"))
            rc = bind_fp8(&b, e);
        else if (is_unused(e->name))
            e->used = true;
    }
    for (size_t i = 0; rc == 0 && i < dir->n; i++) {
        struct tensor_entry *e = &dir->entries[i];
        const char *own = int4 ? ".qweight" : packed_weight;
        if (e->source && ends_with(e->name, own)) /* names were in order until here */
            strcpy(e->name + strlen(e->name) - strlen(own), ".weight");
        if (e->raw != RAW_NONE && !e->used)
            rc = bad(&b, e,
                     "has dtype %s, which specd reads in folders quantised as fp8, nvfp4, gptq or "
                     "awq alone (config.json: quantization_config)",
                     raw_name(e->raw));
    }
    return rc ? rc : tensor_dir_seal(dir, err, errlen);
}

void hf_sources_fini(struct hf_sources *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->all[i]);
    free(s->all);
    *s = (struct hf_sources){0};
}
