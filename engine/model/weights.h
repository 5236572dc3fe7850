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

/* What files of some families state: factors of the embedding's rows, of what blocks add to the
 * residual stream, of scores (0: 1 / sqrt(D)), and what logits are divided by. */
enum model_scale { SCALE_EMBEDDING, SCALE_RESIDUAL, SCALE_SCORES, SCALE_LOGITS, MODEL_SCALES };
/* Puts the first three into the model, whose epsilon is there. MODEL_SCALES, or which one is out of
 * range. */
enum model_scale weights_scale(struct model *m, const double scales[MODEL_SCALES]);

/* Of a folder that holds a text model in one that sees pictures, not sealed yet: names become those
 * of the text model by itself, and all else counts as used. */
void weights_unwrap(struct tensor_dir *dir);

/* What a file says of its tensors as a whole. */
struct weights_of {
    const char *file;
    enum tensor_naming naming;
    bool tied; /* output is embed, and an output tensor in the file is ignored */
    const struct layer_windows *windows;
    double logits; /* which are divided by it */
};
/* Fills embed, out_norm, output, the layers' tensors (and puts behind the layers, in the same
 * piece, matrices of experts that lie apart), n_params and the scale of the embedding of a model
 * whose sizes have been checked. made: numbers that differ from the file's, to be freed with the
 * layers, or NULL. */
int weights_bind(struct model *m, struct tensor_dir *dir, const struct arch *arch,
                 const struct weights_of *of, float **made, char *err, size_t errlen);

#endif
