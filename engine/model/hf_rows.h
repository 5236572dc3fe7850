/*
 * hf_rows.h - rows of quantised weights (hf_quant.h) as blocks of specd's types. Private to
 * hf_quant.c and hf_rows.c, which reads what hf_quant.c has checked. Any thread.
 */
#ifndef SPECD_MODEL_HF_ROWS_H
#define SPECD_MODEL_HF_ROWS_H

#include "model/hf_quant.h"
#include "specd/model.h"

struct hf_rows {
    struct tensor_source source;
    enum dtype type; /* of the rows made */
    enum hf_quant_method method;
    const uint8_t *codes, *zeros, *groups; /* groups: NULL unless they are scattered */
    struct tensor_entry scales;            /* (rows, columns) */
    uint32_t n, k;
    uint32_t scale_rows, scale_cols; /* rows and columns that share a scale */
    float scale;                     /* nvfp4: of all */
    int shift;                       /* what a zero is above the number in the file */
};

/* Number i of a tensor of floats, or of powers of two of 8 bits. */
float hf_scale(const struct tensor_entry *e, size_t i);
/* The zero of row n in a group. */
int hf_zero(const struct hf_rows *s, uint32_t n, size_t group);

extern const struct tensor_source hf_rows_fp8, hf_rows_nvfp4, hf_rows_int4, hf_rows_floats;

#endif
