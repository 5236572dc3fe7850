/*
 * tokenizer.h - text to token ids and back. Immutable after creation: any thread may use it.
 *
 * Byte-level BPE (Sennrich et al. 2016 over GPT-2's byte alphabet; PCRE2 for the pre-tokenizer
 * patterns) and SentencePiece's BPE as GGUF carries it (scores, byte fallback). Ids equal those of
 * Hugging Face `tokenizers` and of `sentencepiece`.
 * Bytes that are no UTF-8, which those two cannot be given, keep their values: their tokens give
 * exactly these bytes back, wherever the vocabulary has tokens for them.
 */
#ifndef SPECD_TOKENIZER_H
#define SPECD_TOKENIZER_H

#include "model/vocab.h"
#include "specd/utf8.h"
#include "specd/util.h"

#include <stdatomic.h>

struct tokenizer;

/* Copies what it needs from v. SPECD_EFILE when the vocabulary is inconsistent. */
int tokenizer_create(struct tokenizer **out, const struct vocab *v, char *err, size_t errlen);
void tokenizer_free(struct tokenizer *t);

uint32_t tokenizer_n_vocab(const struct tokenizer *t);
const struct vocab *tokenizer_vocab(const struct tokenizer *t); /* its own copy, without merges */

enum encode_flags {
    ENCODE_BOS = 1,     /* the model's own BOS/EOS rules apply (add_bos, add_eos) */
    ENCODE_SPECIAL = 2, /* texts of control tokens in the input become those tokens */
};
struct encode_options {
    const atomic_bool *cancel; /* the call gives up when it becomes true; or NULL */
    size_t max_ids;            /* or when there are surely more; 0: any number */
    /* Parts in which no control token begins, ends or passes; or NULL. The text is one all the
     * same: words and merges go across their ends. */
    const struct text_spans *client;
};
/* *ids is malloc'd, the caller frees it. text may hold any bytes; options may be NULL. Returns 0,
 * SPECD_ECANCELED and SPECD_ECONTEXT by its options, SPECD_EINVAL for a text of 512 MiB or more, or
 * SPECD_EINTERNAL when PCRE2 gives up. A text of n bytes costs O(n log n) whatever its shape. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
                     const struct encode_options *options, int32_t **ids, size_t *n_ids);

/* The bytes a token stands for; not NUL-terminated, owned by t. Control tokens and the unknown one
 * give length 0 unless `special`. Ids out of range give length 0. */
const char *tokenizer_piece(const struct tokenizer *t, int32_t id, bool special, size_t *len);

/* Streaming decode: feeds a token's bytes and releases only whole UTF-8 characters (invalid bytes
 * become U+FFFD, as by Python's errors="replace"). SentencePiece's space prefix is removed from the
 * first token. */
struct decoder {
    struct utf8_tail tail;
    bool started; /* set it beforehand for text that continues a prompt: its space is no prefix */
};
void decoder_feed(struct decoder *d, const struct tokenizer *t, int32_t id, bool special,
                  struct buf *out);
void decoder_finish(struct decoder *d, struct buf *out); /* what is held becomes U+FFFD */

/* false, and the first difference explained in err, if it makes a draft's vocabulary unusable:
 * token content is compared id by id; padding at the end, and what the other vocabulary has in its
 * place or beyond, is tolerated. */
bool vocab_matches(const struct vocab *target, const struct vocab *draft, char *err, size_t errlen);

#endif
