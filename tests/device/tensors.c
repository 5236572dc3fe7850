#include "tensors.h"

#include "specd/quant.h"
#include "specd/util.h"

#include <stdlib.h>

uint64_t random_state;

uint8_t random_byte(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint8_t)(random_state >> 56);
}

float random_float(void)
{
    float sum = 0;
    for (int i = 0; i < 6; i++)
        sum += (float)random_byte() / 127.5f - 1;
    return sum / 1.42f;
}

int scale_offsets(enum dtype t, int at[2])
{
    at[0] = t == DT_Q6_K ? 208 : t == DT_Q3_K ? 108 : t == DT_Q2_K ? 80 : 0;
    at[1] = at[0] + 2;
    switch (t) {
    case DT_F32:
    case DT_BF16:
    case DT_MXFP4:
    case DT_NVFP4:
    case DT_F8:
    case DT_F8_ROW:
        return 0;
    case DT_Q4_1:
    case DT_Q5_1:
    case DT_Q2_K:
    case DT_Q4_K:
    case DT_Q5_K:
        return 2;
    default:
        return 1;
    }
}

static void put16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
}

struct tensor tensor_make(enum dtype type, uint32_t rows, uint32_t cols)
{
    size_t bytes = dtype_row_bytes(type, cols) * rows, block = (size_t)dtype_bytes(type);
    uint8_t *data = xmalloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        data[i] = random_byte();
    for (size_t b = 0; b < bytes; b += block) {
        int at[2], n = scale_offsets(type, at);
        for (int i = 0; i < n; i++)
            put16(data + b + at[i], f16_from_f32(random_float() * 0.01f));
        float f = random_float() * 0.05f;
        if (type == DT_MXFP4)
            data[b] = (uint8_t)(116 + random_byte() % 8);
        for (int i = 0; i < 4 && type == DT_NVFP4; i++) /* below 2; NaN's place; any sign */
            data[b + i] = random_byte() % 16 == 0 ? 0x7f : data[b + i] & 0xbf;
        if (type == DT_F8_ROW)
            f = 0.003f; /* the same in all of a row */
        if (type == DT_F32 || dtype_is_f8(type))
            memcpy(data + b, &f, sizeof(f));
        for (size_t i = sizeof(f); i < block && dtype_is_f8(type); i++)
            data[b + i] &= (data[b + i] & 0x7f) == 0x7f ? 0x80 : 0xff; /* no NaN */
        if (type == DT_BF16)
            put16(data + b, bf16_from_f32(f));
    }
    return (struct tensor){.data = data, .type = type, .rows = rows, .cols = cols};
}

void tensor_free(struct tensor *t)
{
    free((void *)(uintptr_t)t->data);
}

struct weight weight_make(const struct tensor *t, enum weight_type want)
{
    enum dtype type;
    size_t bytes;
    char err[256] = "";
    int rc = weight_plan(t, want, &type, &bytes, err, sizeof(err));
    if (rc != 0)
        log_error("%s", err);
    ASSERT(rc == 0);
    struct weight w = {.type = type,
                       .rows = (int)t->rows,
                       .cols = (int)t->cols,
                       .scale = tensor_scale(t),
                       .data = xaligned(64, bytes)};
    weight_pack(&w, t, 0, weight_panels(&w));
    return w;
}

uint32_t some_cols(enum dtype t, int which)
{
    static const uint32_t k[] = {256, 1280}, pair[] = {192, 1088}, block[] = {96, 1088},
                          any[] = {101, 1057};
    switch (dtype_block(t)) {
    case 256:
        return k[which];
    case 64:
        return pair[which];
    case 32:
        return block[which];
    default:
        return any[which];
    }
}
