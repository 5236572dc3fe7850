/*
 * pairs.h - a vocabulary's merge list as a table: two token ids to what they join to.
 *
 * Immutable once filled; any thread.
 */
#ifndef SPECD_PAIRS_H
#define SPECD_PAIRS_H

#include "model/vocab.h"
#include "text/merge.h"
#include "text/strmap.h"

struct pair;
struct pairs {
    struct pair *slots;
    size_t mask;
};

/* tokens: what v's tokens stand for (byte-level BPE) or their texts (SentencePiece), to ids.
 * SPECD_EFILE if the halves of a merge or their sum are no tokens. pairs_free in any case. */
int pairs_init(struct pairs *p, const struct vocab *v, const struct strmap *tokens, char *err,
               size_t errlen);
void pairs_free(struct pairs *p);

/* false: the two do not join. Negative ids join with nothing. */
bool pairs_get(const struct pairs *p, int32_t left, int32_t right, struct joined *out);

#endif
