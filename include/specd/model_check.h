/*
 * model_check.h - the tensors of specd/model.h as a table, and whether a model has those that it
 * needs and a device computes: what is asked before anything is laid out.
 *
 * Pure functions and constant tables, any thread. Errors are SPECD_EINVAL, naming the tensor or
 * number.
 */
#ifndef SPECD_MODEL_CHECK_H
#define SPECD_MODEL_CHECK_H

#include "specd/model.h"

#include <stddef.h>

/* NONE: the tensor has no such dimension. HD and GD are elements of all heads, FE the feed-forward
 * size of one of E experts, FS that of a shared one. */
enum model_dim {
    DIM_NONE,
    DIM_ONE,
    DIM_C,
    DIM_F,
    DIM_D,
    DIM_HD,
    DIM_GD,
    DIM_V,
    DIM_E,
    DIM_FE,
    DIM_FS
};

/* Whose word for a tensor. */
enum tensor_naming { NAMES_FIELD, NAMES_GGUF, NAMES_HF, TENSOR_NAMINGS };

enum tensor_kind { TENSOR_MATRIX, TENSOR_NORM, TENSOR_BIAS };

struct tensor_spec {
    const char *names[TENSOR_NAMINGS];
    enum tensor_kind kind;
    enum layer_part part; /* LAYER_PARTS: of no layer */
    enum model_dim slices, rows, cols;
};

extern const struct tensor_spec model_tensors[MODEL_TENSORS], layer_tensors[LAYER_TENSORS];

/* Of a tensor of layer l, or of none (NULL). Extents are below 2^32, their products below 2^64,
 * once model_sizes_check has passed. */
uint64_t model_dim(const struct model *m, const struct model_layer *l, enum model_dim d);
bool model_is_tied(const struct model *m); /* output and embed are one tensor */
/* The widest window of its layers; 0: none has one. */
uint32_t model_window(const struct model *m);
/* Texts of up to n_ctx positions are to be served: chosen once, since keys that are kept would be
 * wrong in a text that grows past where the angles change. Whether they did. */
bool model_set_context(struct model *m, uint32_t n_ctx);
/* Which part of its matrices a pass of so many rows reads, of experts that rows choose by chance: 1
 * of all other tensors. */
double tensor_part_read(const struct model *m, const struct tensor *t, int rows);
/* Bits of the parts of which the layer has a tensor. */
uint32_t layer_parts(const struct model_layer *l);

/* "layer 3: wq", "blk.3.attn_q.weight" or "model.layers.3.self_attn.q_proj.weight". */
struct tensor_name {
    char text[96];
};
/* name: as the table has it; layer: -1 for a tensor outside the layers. */
struct tensor_name tensor_name_of(enum tensor_naming naming, const char *name, int layer);

/* What a model may state at most. Beyond, products of sizes would not fit where they are kept. */
#define SIZE_CTX_MAX (1u << 24)
#define SIZE_EMBD_MAX (1u << 16)
#define SIZE_FF_MAX (1u << 20)
#define SIZE_HEADS_MAX 1024u
#define SIZE_EXPERTS_MAX 4096u
#define SIZE_EXPERTS_USED_MAX 64u
#define SIZE_SCALE_MAX 1e6

/* The sizes, the layers' too, are in range and agree with each other. */
int model_sizes_check(const struct model *m, char *err, size_t errlen);

/* What a device computes. Every layer has one of the two kinds of feed-forward. */
struct model_blocks {
    const char *device;  /* "the CPU device" */
    uint32_t needs, may; /* bits of parts: of every layer; of some */
    uint32_t gates;      /* bits of enum gate_kind */
};

/* The sizes, and every tensor: those that the device needs, all or none of a part, none of a part
 * that it does not compute, each of the shape that the sizes ask for. */
int model_check(const struct model *m, const struct model_blocks *blocks, char *err, size_t errlen);

#endif
