/*
 * dtype.h - element types of tensors as files store them, and the geometry of their blocks.
 *
 * The quantised types are GGUF's: a block of `dtype_block` consecutive elements of one row takes
 * `dtype_bytes` bytes. Row lengths are always whole numbers of blocks. Those of SPECD_OWN_DTYPES
 * are made of other files when they are read (engine/model/hf_quant.h).
 */
#ifndef SPECD_DTYPE_H
#define SPECD_DTYPE_H

#include <stddef.h>

/* name, text, elements in a block, bytes in a block, GGUF type number */
#define SPECD_GGUF_DTYPES(X)          \
    X(F32, "f32", 1, 4, 0)            \
    X(F16, "f16", 1, 2, 1)            \
    X(BF16, "bf16", 1, 2, 30)         \
    X(Q4_0, "q4_0", 32, 18, 2)        \
    X(Q4_1, "q4_1", 32, 20, 3)        \
    X(Q5_0, "q5_0", 32, 22, 6)        \
    X(Q5_1, "q5_1", 32, 24, 7)        \
    X(Q8_0, "q8_0", 32, 34, 8)        \
    X(Q2_K, "q2_K", 256, 84, 10)      \
    X(Q3_K, "q3_K", 256, 110, 11)     \
    X(Q4_K, "q4_K", 256, 144, 12)     \
    X(Q5_K, "q5_K", 256, 176, 13)     \
    X(Q6_K, "q6_K", 256, 210, 14)     \
    X(IQ4_NL, "iq4_nl", 32, 18, 20)   \
    X(IQ4_XS, "iq4_xs", 256, 136, 23) \
    X(MXFP4, "mxfp4", 32, 17, 39)     \
    X(NVFP4, "nvfp4", 64, 36, 40)

/* f32 scale, 32 numbers of 8 bits (e4m3, no infinities); F8_ROW: the blocks of a row have one
 * scale. GGUF has no such types. */
#define SPECD_OWN_DTYPES(X) \
    X(F8, "f8", 32, 36, )   \
    X(F8_ROW, "f8_row", 32, 36, )

#define SPECD_DTYPE_MAP(X) SPECD_GGUF_DTYPES(X) SPECD_OWN_DTYPES(X)

enum dtype {
#define X(name, text, block, bytes, gguf) DT_##name,
    SPECD_DTYPE_MAP(X)
#undef X
        DT_COUNT
};
#define DT_GGUF_COUNT DT_F8 /* GGUF's come first */

static inline int dtype_block(enum dtype t)
{
    static const int n[] = {
#define X(name, text, block, bytes, gguf) block,
        SPECD_DTYPE_MAP(X)
#undef X
    };
    return n[t];
}

static inline int dtype_bytes(enum dtype t)
{
    static const int n[] = {
#define X(name, text, block, bytes, gguf) bytes,
        SPECD_DTYPE_MAP(X)
#undef X
    };
    return n[t];
}

static inline const char *dtype_name(enum dtype t)
{
    static const char *const n[] = {
#define X(name, text, block, bytes, gguf) text,
        SPECD_DTYPE_MAP(X)
#undef X
    };
    return n[t];
}

/* Bytes of one row of `cols` elements; cols is a multiple of the block. */
static inline size_t dtype_row_bytes(enum dtype t, size_t cols)
{
    return cols / (size_t)dtype_block(t) * (size_t)dtype_bytes(t);
}

#endif
