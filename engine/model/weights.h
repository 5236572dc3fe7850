/*
 * weights.h - the tensors of a model, found in its files and given their shapes, whatever the
 * format.
 *
 * gguf_model.c and hf_config.c read the sizes; weights_bind takes every tensor the architecture
 * needs (arch.h) out of the directory by its name in that format, with exactly the shape the sizes
 * ask for, and refuses tensors it would leave unused: they would mean a computation specd does not
 * do. Any thread.
 */
#ifndef SPECD_MODEL_WEIGHTS_H
#define SPECD_MODEL_WEIGHTS_H

#include "model/arch.h"
#include "model/tensor_dir.h"

/* model_sizes_check as SPECD_EFILE; `file` is for the message. */
int weights_check_sizes(const struct model *m, const char *file, char *err, size_t errlen);

/* Which layers have windows, of how many positions (0: none has). Filled from the architecture,
 * then from what a file says beside. */
struct layer_windows {
    bool windowed[MODEL_LAYERS_MAX];
    uint32_t positions;
};
/* The architecture's, with its kinds coming again after `period` layers, of which the last has
 * none; 0: as the row has them. */
void weights_windows(struct layer_windows *w, const struct model *m, const struct arch *arch,
                     uint32_t period);

/* Fills embed, out_norm, output, layers (and behind them, in the same piece, matrices of experts
 * that lie apart), n_params and the scale of the embedding of a model whose sizes have been
 * checked. tied: output is embed, and an output tensor in the file is ignored. made: numbers that
 * differ from the file's, to be freed with the layers, or NULL. */
int weights_bind(struct model *m, struct tensor_dir *dir, const struct arch *arch,
                 enum tensor_naming naming, bool tied, const struct layer_windows *windows,
                 float **made, const char *file, char *err, size_t errlen);

#endif
