/*
 * tensors.h - matrices of random blocks as files have them, for the tests of weights and products.
 */
#ifndef TESTS_DEVICE_TENSORS_H
#define TESTS_DEVICE_TENSORS_H

#include "matmul.h"

extern uint64_t random_state;
uint8_t random_byte(void);
float random_float(void); /* about normal, deviation 1 */

/* Where f16 numbers lie in a block, its scales as a rule; returns how many. */
int scale_offsets(enum dtype t, int at[2]);
/* Random blocks whose values are of weight-like size. */
struct tensor tensor_make(enum dtype type, uint32_t rows, uint32_t cols);
void tensor_free(struct tensor *t);
/* Resident, and converted if `want` says so. */
struct weight weight_make(const struct tensor *t, enum weight_type want);

/* Columns that every type can have, the K types among them; which: 0 few, 1 some more. */
uint32_t some_cols(enum dtype t, int which);

/* Types that a device on the CPU keeps as they are: all. */
#define INTEGER_TYPES                                                                         \
    DT_Q8_0, DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K, \
        DT_IQ4_NL, DT_IQ4_XS, DT_MXFP4, DT_NVFP4
#define F8_TYPES DT_F8, DT_F8_ROW
#define FLOAT_TYPES DT_F32, DT_BF16, DT_F16

#endif
