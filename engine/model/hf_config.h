/*
 * hf_config.h - config.json and generation_config.json of a Hugging Face folder.
 *
 * Of the architectures in arch.c. What would change the computation but is not supported (other
 * quantisations, other activations, ...) is refused by name.
 * Any thread; blocking.
 */
#ifndef SPECD_MODEL_HF_CONFIG_H
#define SPECD_MODEL_HF_CONFIG_H

#include "model/arch.h"
#include "model/hf_quant.h"
#include "model/vocab.h"
#include "model/weights.h"
#include "specd/model.h"

struct hf_config {
    const struct arch *arch;
    bool wrapped; /* of a model that sees pictures, the text: weights_unwrap */
    struct hf_quant quant;
    bool tied;                  /* the output matrix is the embedding */
    double logits;              /* which are divided by it */
    int32_t eog[VOCAB_EOG_MAX]; /* eos_token_id of both files, one id or a list */
    int32_t n_eog;
    bool no_rope[MODEL_LAYERS_MAX]; /* by layer, of a family that has such layers */
    bool dense[MODEL_LAYERS_MAX];   /* by layer, of a family with experts: it has none */
    struct layer_windows windows;   /* of a family that has windows */
};

/* Fills every size of m and the rope, not the tensors. m is zeroed by the caller, who frees its
 * layers, whatever is returned. SPECD_EFILE. */
int hf_config_load(struct hf_config *c, struct model *m, const char *folder, char *err,
                   size_t errlen);

#endif
