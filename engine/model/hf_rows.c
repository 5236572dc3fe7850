#include "model/hf_rows.h"

#include "specd/quant.h"
#include "specd/util.h"

#include <math.h>
#include <string.h>

static uint32_t word_at(const uint8_t *words, size_t i)
{
    uint32_t v;
    memcpy(&v, words + i * sizeof v, sizeof v);
    return v;
}

float hf_scale(const struct tensor_entry *e, size_t i)
{
    float f;
    if (e->raw == RAW_F8_E8M0)
        return ldexpf(1, e->data[i] - 127);
    quant_decode(e->type, e->data + i * (size_t)dtype_bytes(e->type), 1, &f);
    return f;
}

/* ---- eight bits ------------------------------------------------------------------------------ */

#define F8_NAN 0x7f /* and with a sign */

/* Blocks of DT_F8: a scale, 32 codes. One that is no number makes its run none. */
static void make_fp8(const struct tensor_source *source, uint32_t first, uint32_t n, void *rows)
{
    const struct hf_rows *s = (const struct hf_rows *)(const void *)source;
    size_t block = (size_t)dtype_bytes(s->type), scales_across = (s->k - 1) / s->scale_cols + 1;
    uint8_t *out = rows;
    for (uint32_t row = first; row < first + n; row++) {
        const uint8_t *codes = s->codes + (size_t)row * s->k;
        for (uint32_t c = 0; c < s->k; c += RUN, codes += RUN, out += block) {
            float scale =
                hf_scale(&s->scales, row / s->scale_rows * scales_across + c / s->scale_cols);
            for (int i = 0; i < RUN; i++) {
                if ((codes[i] & F8_NAN) == F8_NAN)
                    scale = NAN;
            }
            memcpy(out, &scale, sizeof scale);
            memcpy(out + sizeof scale, codes, RUN);
        }
    }
}

/* ---- four bits ------------------------------------------------------------------------------- */

/* A code of nvfp4, two to a byte. */
static int e2m1_at(const uint8_t *codes, size_t i)
{
    return codes[i / 2] >> i % 2 * 4 & 15;
}

/* Blocks of DT_NVFP4: four scales, and of each 16 codes one of the first eight and one of the last
 * in a byte. */
static void make_nvfp4(const struct tensor_source *source, uint32_t first, uint32_t n, void *rows)
{
    const struct hf_rows *s = (const struct hf_rows *)(const void *)source;
    const size_t elements = (size_t)dtype_block(DT_NVFP4), sixteens = elements / 16;
    uint8_t *out = rows;
    size_t at = (size_t)first * s->k, end = at + (size_t)n * s->k;
    for (; at < end; at += elements, out += dtype_bytes(DT_NVFP4)) {
        memcpy(out, s->scales.data + at / 16, sixteens);
        for (size_t i = 0; i < elements / 2; i++) {
            size_t low = at + i / 8 * 16 + i % 8;
            out[sixteens + i] = (uint8_t)(e2m1_at(s->codes, low) | e2m1_at(s->codes, low + 8) << 4);
        }
    }
}

/* Where a word of AWQ has its rows. */
static const uint8_t awq_shift[8] = {0, 16, 4, 20, 8, 24, 12, 28};

static int code_at(const struct hf_rows *s, uint32_t n, uint32_t c)
{
    if (s->method == HF_AWQ)
        return word_at(s->codes, (size_t)c * (s->n / 8) + n / 8) >> awq_shift[n % 8] & 15;
    return word_at(s->codes, (size_t)(c / 8) * s->n + n) >> c % 8 * 4 & 15;
}

int hf_zero(const struct hf_rows *s, uint32_t n, size_t group)
{
    uint32_t word = word_at(s->zeros, group * (s->n / 8) + n / 8);
    uint32_t shift = s->method == HF_AWQ ? awq_shift[n % 8] : n % 8 * 4;
    return (int)(word >> shift & 15) + s->shift;
}

/* Nibbles of columns 0-15 and 16-31 side by side; above them the fifth bits, in a word. */
static void put_block(enum dtype type, const uint8_t q[RUN], uint8_t *out)
{
    uint32_t high = 0;
    for (int i = 0; i < RUN; i++)
        high |= (uint32_t)(q[i] >> 4) << i;
    if (type == DT_Q5_0) {
        memcpy(out, &high, sizeof high);
        out += sizeof high;
    }
    for (int i = 0; i < RUN / 2; i++)
        out[i] = (uint8_t)((q[i] & 15) | q[i + 16] << 4);
}

/* q4_0 has code - 8, q5_0 (code - zero + 16) - 16. Run by run: rows share the words of a file. */
static void make_int4(const struct tensor_source *source, uint32_t first, uint32_t n, void *rows)
{
    const struct hf_rows *s = (const struct hf_rows *)(const void *)source;
    size_t block = (size_t)dtype_bytes(s->type), row_bytes = dtype_row_bytes(s->type, s->k);
    for (uint32_t c = 0; c < s->k; c += RUN) {
        size_t group = c / s->scale_cols;
        for (uint32_t row = first; row < first + n; row++) {
            uint8_t *out = (uint8_t *)rows + (row - first) * row_bytes + c / RUN * block, q[RUN];
            int above = s->type == DT_Q4_0 ? 0 : 16 - hf_zero(s, row, group);
            uint16_t d = f16_from_f32(hf_scale(&s->scales, group * s->n + row));
            for (uint32_t i = 0; i < RUN; i++)
                q[i] = (uint8_t)(code_at(s, row, c + i) + above);
            memcpy(out, &d, sizeof d);
            put_block(s->type, q, out + sizeof d);
        }
    }
}

static void make_floats(const struct tensor_source *source, uint32_t first, uint32_t n, void *rows)
{
    const struct hf_rows *s = (const struct hf_rows *)(const void *)source;
    float *out = rows;
    for (uint32_t c = 0; c < s->k; c++) {
        size_t group = s->groups ? word_at(s->groups, c) : c / s->scale_cols;
        for (uint32_t row = first; row < first + n; row++) {
            int q = code_at(s, row, c) - hf_zero(s, row, group);
            out[(size_t)(row - first) * s->k + c] =
                hf_scale(&s->scales, group * s->n + row) * (float)q;
        }
    }
}

const struct tensor_source hf_rows_fp8 = {make_fp8}, hf_rows_nvfp4 = {make_nvfp4},
                           hf_rows_int4 = {make_int4}, hf_rows_floats = {make_floats};
