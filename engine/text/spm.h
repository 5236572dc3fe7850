/*
 * spm.h - SentencePiece's byte-pair encoding (Kudo and Richardson 2018), as GGUF carries it.
 *
 * Text starts as its characters, and of all neighbours whose joined text is a token the pair with
 * the best score joins first, leftmost on ties. Hugging Face's form of such vocabularies has a
 * merge list in place of scores; then the list decides. What stays unknown becomes its bytes'
 * tokens
 * (<0xNN>), or one unknown token per run where the vocabulary lacks them. Immutable once created;
 * any thread may encode with a merger of its own.
 */
#ifndef SPECD_SPM_H
#define SPECD_SPM_H

#include "model/vocab.h"
#include "text/merge.h"

struct spm;

/* v is borrowed: it must outlive the result, but for its merges. SPECD_EFILE if a merge names no
 * tokens. */
int spm_create(struct spm **out, const struct vocab *v, char *err, size_t errlen);
void spm_free(struct spm *s);

/* Encodes text, with the space prefix before it if prefix. Bytes that are no UTF-8 become their
 * byte tokens. 0, or SPECD_ECANCELED. */
int spm_encode(const struct spm *s, struct merger *m, const char *text, size_t len, bool prefix,
               const atomic_bool *cancel, struct ids *out);

#endif
