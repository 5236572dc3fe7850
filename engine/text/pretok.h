/*
 * pretok.h - cuts text into the pieces that byte-level BPE merges within, by PCRE2 patterns.
 *
 * One pattern per family, compiled once (JIT where the machine allows it). A splitter holds the
 * match data of one encode call: the compiled pattern is shared by threads, a splitter is not.
 * Classes of characters are those of specd/unicode.h, whatever version of Unicode PCRE2 knows.
 */
#ifndef SPECD_PRETOK_H
#define SPECD_PRETOK_H

#include "model/vocab.h"
#include "specd/util.h"

struct pretok;
struct splitter;

int pretok_create(struct pretok **out, enum vocab_pre pre, char *err, size_t errlen);
void pretok_free(struct pretok *p);

struct splitter *splitter_create(const struct pretok *p);
void splitter_free(struct splitter *s);

/* text must be valid UTF-8 and stay where it is until it is cut. */
void splitter_begin(struct splitter *s, const char *text, size_t len);
/* *end: where the piece that starts at `at` < len ends. What the pattern leaves out (nothing, in
 * the families above) is a piece of its own. SPECD_EINTERNAL when PCRE2 gives up. */
int splitter_next(struct splitter *s, size_t at, size_t *end);

#endif
