/*
 * product_kinds.h - every type of product with a file's type it is made from, and device memory
 * that shows what was written, for tests of what is done with packed matrices.
 */
#ifndef SPECD_EMU_PRODUCT_KINDS_H
#define SPECD_EMU_PRODUCT_KINDS_H

#include "product_rig.h"
#include "rig.h"

#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MARK 0xb5

static const struct {
    enum product_type type;
    enum dtype file;
} kinds[] = {
    {PRODUCT_BF16, DT_BF16},  {PRODUCT_FP8, DT_F32},       {PRODUCT_INT8, DT_Q8_0},
    {PRODUCT_INT4, DT_Q4_0},  {PRODUCT_INT4_MIN, DT_Q4_1}, {PRODUCT_INT4_K, DT_Q4_K},
    {PRODUCT_INT8, DT_Q5_0},  {PRODUCT_INT8, DT_Q3_K},     {PRODUCT_IQ4, DT_IQ4_NL},
    {PRODUCT_IQ4, DT_IQ4_XS}, {PRODUCT_FP4, DT_MXFP4},     {PRODUCT_FP8, DT_F8_ROW},
    {PRODUCT_FP8_32, DT_F8},  {PRODUCT_INT2_K, DT_Q2_K},   {PRODUCT_NVFP4, DT_NVFP4},
};

/* K a whole number of the file's blocks. */
static inline int32_t k_fit(size_t kind, int32_t k)
{
    int32_t group = dtype_block(kinds[kind].file);

    return (k + group - 1) / group * group;
}

static inline void *marked(size_t bytes)
{
    return memset(device_take(bytes), MARK, bytes);
}

static inline void assert_marked(const void *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(((const uint8_t *)from)[i], MARK);
}

static inline void sync(void)
{
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
}

#endif
