/*
 * model.c - drafts of a model on the device: another one (Chen et al. 2023, arXiv 2302.01318), or
 * some of the target's own layers (self-speculation, Zhang et al. 2023, arXiv 2309.08168).
 *
 * The device draws them in the round that verifies them (engine/round.c), one pass of the draft
 * each. Its KV may lag behind the text; engine/fill.c brings it up before it drafts.
 */
#include "drafter.h"

const struct drafter model_drafter = {
    .type = DRAFT_MODEL,
    .source = DRAFT_FROM_MODEL,
    .prior = {0.8},
};

const struct drafter self_drafter = {
    .type = DRAFT_SELF,
    .source = DRAFT_FROM_MODEL,
    .prior = {0.8},
};
