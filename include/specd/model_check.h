/*
 * model_check.h - which tensors a layer has, their names and shapes, and whether a model that came
 * from a file has them all: what every device asks before it lays anything out.
 *
 * Pure functions and constant tables, any thread. Errors are SPECD_EINVAL, naming the tensor or
 * number.
 */
#ifndef SPECD_MODEL_CHECK_H
#define SPECD_MODEL_CHECK_H

#include "specd/model.h"

#include <stddef.h>

enum matrix_id {
    MATRIX_Q,
    MATRIX_K,
    MATRIX_V,
    MATRIX_O,
    MATRIX_GATE,
    MATRIX_UP,
    MATRIX_DOWN,
    MATRICES
};
enum vector_id {
    VECTOR_ATTN_NORM,
    VECTOR_FFN_NORM,
    VECTOR_Q_BIAS,
    VECTOR_K_BIAS,
    VECTOR_V_BIAS,
    VECTOR_Q_NORM,
    VECTOR_K_NORM,
    VECTORS
};

enum model_dim { DIM_ONE, DIM_EMBD, DIM_FF, DIM_HEAD, DIM_Q, DIM_KV };

/* A tensor of a layer. */
struct model_field {
    const char *name;
    size_t offset; /* in struct model_layer */
    enum model_dim rows, cols;
    bool optional;
};

extern const struct model_field model_matrices[MATRICES], model_vectors[VECTORS];

const struct tensor *model_tensor(const struct model_field *f, const struct model_layer *l);
uint64_t model_dim_of(const struct model *m, enum model_dim d);
bool model_is_tied(const struct model *m); /* output and embed are one tensor */

/* "layer 3: ", or nothing for a tensor outside the layers, whose layer is -1. */
struct model_place {
    char text[24];
};
struct model_place model_place_of(int layer);

int model_check(const struct model *m, char *err, size_t errlen);

#endif
