/*
 * hf_vocab.h - reads the vocabulary of a Hugging Face folder.
 *
 * Fills v from tokenizer.json and tokenizer_config.json (and the chat templates beside them): token
 * texts, types, merges, bos/eos/unk/pad, the add_* rules, the template. Token ids need not be dense
 * in the file; gaps become unused tokens. End-of-generation ids of generation_config.json are not
 * its business (hf_config.h). Any thread; blocking.
 */
#ifndef SPECD_MODEL_HF_VOCAB_H
#define SPECD_MODEL_HF_VOCAB_H

#include "model/vocab.h"

/* v is zeroed by the caller. SPECD_EFILE with one line naming file, field and reason; v may then be
 * partly filled and is freed by the caller with vocab_free. */
int hf_vocab_load(struct vocab *v, const char *dir, char *err, size_t errlen);

#endif
