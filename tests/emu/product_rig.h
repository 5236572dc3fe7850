/*
 * product_rig.h - random matrices for tests of cuda/product.h: packed in device memory, and beside
 * them the values they stand for.
 */
#ifndef SPECD_EMU_PRODUCT_RIG_H
#define SPECD_EMU_PRODUCT_RIG_H

#include "product.h"

/* Matrices of n x k weights; paired: gate, then up. */
struct product_matrix {
    struct product_plan plan;
    enum dtype file;
    int32_t n, k;
    int halves;
    float *values; /* (halves * n, k) */
    float *sizes;  /* the same: what rounding errors are measured against, >= |values| */
    void *device;
};

/* From a file's tensor of type `file`, with weights that the packed type has exactly; every other
 * one with a scale, of each half. */
void matrix_make(struct product_matrix *m, enum product_type type, enum dtype file, bool paired,
                 int32_t n, int32_t k);
/* From rows (halves * n, k) of `file`, whatever they become. */
void matrix_make_from(struct product_matrix *m, enum product_type type, enum dtype file,
                      bool paired, int32_t n, int32_t k, const void *rows);
void matrix_free(struct product_matrix *m);

/* bf16 rows with gaps between them: what lies there, and in rows beyond n, is NaN. */
struct product_rows {
    int32_t n, capacity, k, stride;
    uint16_t *host;
    uint16_t *device;
    int32_t *n_device;
};
void rows_make(struct product_rows *r, int32_t n, int32_t capacity, int32_t k);
/* Row i is row from[i] of `of`. */
void rows_pick(struct product_rows *r, const struct product_rows *of, const int32_t *from,
               int32_t n, int32_t capacity);
void rows_upload(struct product_rows *r); /* after a change of host */
void rows_free(struct product_rows *r);

float bf16_value(uint16_t bits);
/* What a gate becomes at the end of a paired product. */
double product_gated(enum product_end end, double gate);

/* A machine, and a tiling for `capacity` rows, at random; any tiling that is valid may come. */
struct product_machine machine_random(void);
struct product_tiling tiling_random(const struct product_plan *p, int capacity);

/* What stands where nothing is to be written. */
float product_mark(void);

/* What a call's bias has for the matrix, and random ones. */
size_t product_bias_floats(const struct product_matrix *m);
float *product_bias(const struct product_matrix *m);

/* Runs it. out gets (rows, n) f32, or bf16 widened; fails the test if anything else was written.
 * end PRODUCT_ADD finds 1, 2, 3, ... in out. wanted: (tiles) as product_call's, on the host, or
 * NULL. */
void product_run_part(const struct product_matrix *m, const struct product_rows *r,
                      const struct product_plan *plan, const struct product_tiling *t,
                      enum product_end end, const float *bias, const uint8_t *wanted, float *out);
void product_run(const struct product_matrix *m, const struct product_rows *r,
                 const struct product_plan *plan, const struct product_tiling *t,
                 enum product_end end, const float *bias, float *out);

#endif
