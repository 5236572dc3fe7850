/*
 * bpe.h - byte-level byte-pair encoding (Sennrich et al. 2016, over bytes as GPT-2 does).
 *
 * A word starts as its bytes and pairs join in the order of the merge list. A byte that the
 * vocabulary has no token for (SmolLM2 lacks 21, none of which occurs in ordinary text) is left out
 * or becomes the unknown token, as Hugging Face does. Immutable once created; any thread may encode
 * with a merger of its own.
 */
#ifndef SPECD_BPE_H
#define SPECD_BPE_H

#include "model/vocab.h"
#include "text/merge.h"
#include "text/strmap.h"

struct bpe;

/* words: the bytes of v's tokens to ids; borrowed. SPECD_EFILE if a merge names no tokens. */
int bpe_create(struct bpe **out, const struct vocab *v, const struct strmap *words, char *err,
               size_t errlen);
void bpe_free(struct bpe *b);

/* Encodes one pre-token. 0, or SPECD_ECANCELED. */
int bpe_encode(const struct bpe *b, struct merger *m, const char *word, size_t len,
               const atomic_bool *cancel, struct ids *out);

#endif
