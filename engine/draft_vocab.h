/*
 * draft_vocab.h - which ids a draft model drafts: a vocabulary smaller than the target's.
 *
 * A small model's output matrix is a large part of what a draft step reads, and most of its rows
 * are of ids that hardly ever come. With a smaller vocabulary p is zero on the others; sampling
 * stays exact, and what is not drafted comes from the residual (the idea: FR-Spec, arXiv
 * 2502.14856). A request drafts the base ids and those of its own prompt.
 *
 * The base is the first of
 *   ids in a file beside the draft model, PATH.draft-vocab, in a folder draft-vocab: one a line,
 *     # starts a comment; when the wish is DRAFT_VOCAB_AUTO
 *   the lowest ids, which a BPE learnt first because they are frequent: as many as wished, or by
 *     itself 32768 of a BPE with more than 65536, if that spares a tenth of a draft step
 *   all
 * and special tokens always. So a request's ids are a function of the files and its prompt alone,
 * and what a seed gives depends on nothing else. Engine thread.
 */
#ifndef SPECD_DRAFT_VOCAB_H
#define SPECD_DRAFT_VOCAB_H

#include "model/vocab.h"
#include "specd/model.h"

#include <stddef.h>
#include <stdint.h>

#define DRAFT_VOCAB_EXTRA_MAX 4096 /* ids that a prompt adds: the first of them */

struct draft_vocab {
    uint32_t *base; /* (mask_words(V)), as sample_params.draft_ids; NULL: all ids */
    uint32_t *ids;  /* (mask_words(V)) of the request that was asked for last */
    int32_t n_vocab, n_base;
};

struct draft_vocab_source {
    const struct vocab *vocab; /* the target's */
    const struct model *target;
    const struct model *draft; /* may be the target */
    uint32_t n_draft_layers;   /* of these models' layers, in the draft */
    const char *path;          /* of the draft model */
};

/* wish: DRAFT_VOCAB_AUTO, DRAFT_VOCAB_ALL (specd/engine.h) or a number of ids. SPECD_EFILE, naming
 * file and line. d is zero before; with all ids it stays so. */
int draft_vocab_open(struct draft_vocab *d, const struct draft_vocab_source *from, int32_t wish,
                     char *err, size_t errlen);
void draft_vocab_free(struct draft_vocab *d);

/* What a request with that prompt drafts; NULL: all ids. Valid until the next call. */
const uint32_t *draft_vocab_of(struct draft_vocab *d, const int32_t *prompt, int32_t n);

#endif
