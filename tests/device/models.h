/*
 * models.h - random models in memory, of any shape and file type, for the tests of a device.
 */
#ifndef TESTS_DEVICE_MODELS_H
#define TESTS_DEVICE_MODELS_H

#include "specd/model.h"

#define SHAPE_LAYERS_MAX 8 /* of layers whose sizes differ */

struct model_shape {
    uint32_t n_layers, n_heads, n_kv_heads, head_dim, n_embd, n_ff, n_vocab;
    /* By layer, in place of n_heads, n_kv_heads and n_ff; 0: as these. */
    uint32_t layer_heads[SHAPE_LAYERS_MAX], layer_kv_heads[SHAPE_LAYERS_MAX];
    uint32_t layer_ff[SHAPE_LAYERS_MAX];
    uint32_t rope_dim;    /* 0: head_dim */
    float rope_magnitude; /* 0: 1 */
    uint32_t no_rope;     /* bits of layers in which nothing rotates */
    /* Of layers whose bit of `windowed` is set, which rotate by a table of their own. */
    uint32_t window, windowed;
    enum gate_kind gate;
    float embd_scale, attn_scale; /* as model's */
    bool post_norms;
    /* Of layers whose bit of `experts` is set, in place of n_ff; n_ff_shared > 0: one more for all
     * rows. */
    uint32_t experts, n_experts, n_experts_used, n_ff_expert, n_ff_shared;
    bool experts_normed;
    enum rope_kind rope;
    bool biases, qk_norms, untied;
    /* Bits of other parts that layers have, and of PARTS_LLAMA that they lack; bits of the layers
     * that this is about, 0: all. */
    uint32_t more, less, changed;
    enum dtype type; /* of the matrices; vectors are f32 */
    bool scaled;     /* matrices have scales, each its own, and numbers so much larger */
    float sharpness; /* 0: 1. Scales the logits: how far from uniform the laws are */
    float depth;     /* 0: 1. Scales what layers add to the embedding: how much context matters */
    uint64_t seed;
};

/* Matrices keep the sizes of activations about 1 through the layers. Models of one seed and width
 * share their embeddings and first layers, whatever their number of layers. */
struct model *model_random(const struct model_shape *shape);
void model_random_free(struct model *m);

/* A target and a draft model that often agrees with it: its first layers, and less padding at the
 * end of the vocabulary. Texts vary: context matters and laws are neither flat nor sharp. The
 * layers between have a window that texts soon outgrow, and no two layers the same sizes. */
#define PAIR_VOCAB 61
#define PAIR_LAYERS 3
#define PAIR_PROMPTS 4
#define PAIR_PROMPT_LEN 21

extern const struct model_shape pair_shape;

struct model_pair {
    struct model *target, *draft;
    int32_t prompts[PAIR_PROMPTS][PAIR_PROMPT_LEN];
};

struct model_pair *pair_new(void);
void pair_free(struct model_pair *p);
/* cmocka's group fixture: *state is a pair. */
int pair_setup(void **state);
int pair_teardown(void **state);

/* The generator behind all this, for tests that need numbers of their own: uniform in [0, 2^64). */
uint64_t random_next(uint64_t *state);
/* A permutation of 0..n. */
void random_shuffle(int32_t *ids, int32_t n, uint64_t *state);

#endif
