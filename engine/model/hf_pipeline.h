/*
 * hf_pipeline.h - the steps of a tokenizer.json around its model: normalizer, pre-tokenizer and
 * post-processor, recognised as one of the families that specd has.
 *
 * Each step, option and regular expression must be known: one that is not would give other ids
 * silently, so it is refused by name. Any thread.
 */
#ifndef SPECD_MODEL_HF_PIPELINE_H
#define SPECD_MODEL_HF_PIPELINE_H

#include "model/vocab.h"
#include "specd/json.h"

/* Sets kind, pre, nfc, the space prefix, and bos, eos, add_bos, add_eos where the post-processor
 * adds them. root: the whole tokenizer.json, named `file` in messages. SPECD_EFILE. */
int hf_pipeline_read(struct vocab *v, const struct json *root, const char *file, char *err,
                     size_t errlen);

#endif
