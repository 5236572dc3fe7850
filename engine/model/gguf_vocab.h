/*
 * gguf_vocab.h - the tokenizer metadata of a parsed GGUF file as a struct vocab.
 *
 * tokenizer.ggml.model "gpt2" is byte-level BPE, "llama" is SentencePiece. A pre-tokenizer that
 * specd does not have is refused by name, for a wrong one gives wrong ids silently. Where a key is
 * absent, the defaults are llama.cpp's, whose files these are: SentencePiece adds BOS (ids 0, 1, 2
 * are unk, bos, eos), BPE adds it only with Llama 3's pre-tokenizer. Any thread.
 */
#ifndef SPECD_MODEL_GGUF_VOCAB_H
#define SPECD_MODEL_GGUF_VOCAB_H

#include "model/gguf.h"
#include "model/vocab.h"

/* v is zeroed by the caller and freed by it with vocab_free, also on error. */
int gguf_vocab(struct vocab *v, const struct gguf *g, char *err, size_t errlen);

#endif
