/*
 * pre.h - the families of pre-tokenizers: how byte-level BPE cuts text ahead of merging, in a
 * table.
 *
 * A row is all that is known of a family: how files name it, its patterns, and what a GGUF file
 * leaves out. Constant, any thread.
 */
#ifndef SPECD_MODEL_PRE_H
#define SPECD_MODEL_PRE_H

#include "model/vocab.h"

#define PRE_GGUF_MAX 4

struct pre_family {
    const char *name; /* for people */
    /* tokenizer.ggml.pre, and whether the tokenizer.json that stands behind it normalises to NFC */
    struct {
        const char *name;
        bool nfc;
    } gguf[PRE_GGUF_MAX];
    /* In a tokenizer.json: the regular expression of a Split, or ByteLevel's own, after a step
     * Digits or not. NULL: there are no such files. */
    const char *hf_regex;
    bool hf_digits;
    const char *pattern; /* the same cuts by one pattern of PCRE2 */
    /* Of GGUF files that do not say it: */
    bool add_bos;
    bool ignore_merges;
};

extern const struct pre_family pre_families[PRE_COUNT];

/* false: no family of that name, or of these steps. */
bool pre_find_gguf(const char *name, enum vocab_pre *pre, bool *nfc);
bool pre_find_hf(const char *regex, bool digits, enum vocab_pre *pre);

#endif
