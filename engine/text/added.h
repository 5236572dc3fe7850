/*
 * added.h - finds control and user-defined tokens in text, before anything else happens to it.
 *
 * As Hugging Face's added vocabulary does: the leftmost match, at that place the longest. Immutable
 * once built; any thread may search.
 */
#ifndef SPECD_ADDED_H
#define SPECD_ADDED_H

#include "model/vocab.h"
#include "specd/util.h"

struct added_token {
    size_t at, len; /* its text, in added.texts */
    int32_t id;
    bool control; /* matched only in the scope of control tokens */
    bool lstrip, rstrip;
};

struct added {
    struct buf texts;
    struct added_token *tokens; /* by text */
    size_t n;
    uint32_t first[257]; /* tokens that start with byte b: first[b] .. first[b + 1] */
};

struct added_match {
    size_t start, end; /* with the white space it swallows */
    const struct added_token *token;
};

/* Takes v's added tokens that are looked for after normalisation, or those that are not. */
void added_init(struct added *a, const struct vocab *v, bool normalized);
void added_fini(struct added *a);

/* Where control tokens are matched: nowhere, or where no byte of them is in one of the spans. */
struct added_scope {
    bool control;
    const struct text_spans *spans; /* may be NULL */
    size_t base;                    /* where the text begins for them */
    size_t next; /* of them, the first that may end behind the search: it only advances */
};

/* Next match at or after from. false: none. */
bool added_find(const struct added *a, const char *text, size_t len, size_t from,
                struct added_scope *scope, struct added_match *m);

#endif
