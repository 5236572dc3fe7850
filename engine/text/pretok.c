#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretok.h"

#include "specd/error.h"

#include <pcre2.h>
#include <stdlib.h>

/* The families' patterns, which are part of the vocabularies' format. White space is spelled out:
 * PCRE2's \s has U+180E in it, the engines these patterns were written for do not. */
#define SPACE "\\x{09}-\\x{0D}\\x{85}\\p{Z}"
#define CONTRACTION "'(?:[sdmt]|ll|ve|re)"

static const char *const patterns[] = {
    [PRE_GPT2] = CONTRACTION "| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE "\\p{L}\\p{N}]+"
                             "|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+",
    /* Digits first cut the text at every digit, then GPT-2's pattern cuts what lies between: seen
     * from white space, a digit is the end of the text. */
    [PRE_SMOLLM] = "\\p{N}|" CONTRACTION "| ?\\p{L}+| ?[^" SPACE "\\p{L}\\p{N}]+"
                   "|[" SPACE "]+(?![^" SPACE "\\p{N}])|[" SPACE "]+",
    [PRE_LLAMA3] = "(?i:" CONTRACTION ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
                   "| ?[^" SPACE "\\p{L}\\p{N}]+[\\r\\n]*|[" SPACE "]*[\\r\\n]+"
                   "|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+",
    [PRE_QWEN2] = "(?i:" CONTRACTION ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
                  "| ?[^" SPACE "\\p{L}\\p{N}]+[\\r\\n]*|[" SPACE "]*[\\r\\n]+"
                  "|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+",
};

struct pretok {
    pcre2_code *code;
};

struct splitter {
    const pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
    uint32_t match_limit;
};

int pretok_create(struct pretok **out, enum vocab_pre pre, char *err, size_t errlen)
{
    if ((unsigned)pre >= COUNT_OF(patterns))
        return fail(SPECD_EFILE, err, errlen, "vocabulary: unknown pre-tokenizer %d", (int)pre);
    int error;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)patterns[pre], PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_UCP, &error, &at, NULL);
    if (!code) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(error, text, sizeof text);
        return fail(SPECD_EINTERNAL, err, errlen, "pre-tokenizer pattern %d, offset %zu: %s",
                    (int)pre, (size_t)at, (const char *)text);
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without it the same code is interpreted */
    struct pretok *p = xmalloc(sizeof *p);
    p->code = code;
    *out = p;
    return 0;
}

void pretok_free(struct pretok *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    free(p);
}

struct splitter *splitter_create(const struct pretok *p)
{
    struct splitter *s = xmalloc(sizeof *s);
    *s = (struct splitter){
        .code = p->code,
        .data = pcre2_match_data_create(1, NULL),
        .context = pcre2_match_context_create(NULL),
    };
    ASSERT(s->data && s->context);
    return s;
}

void splitter_free(struct splitter *s)
{
    if (!s)
        return;
    pcre2_match_context_free(s->context);
    pcre2_match_data_free(s->data);
    free(s);
}

/* A greedy run gives back one character per step, so the steps of one match are bounded by the
 * text; the library's own limit is a constant. */
static void allow_steps(struct splitter *s, size_t len)
{
    size_t steps = MIN(len, (size_t)UINT32_MAX / 16) * 8 + 10000;
    if (steps <= s->match_limit)
        return;
    s->match_limit = (uint32_t)steps;
    pcre2_set_match_limit(s->context, s->match_limit);
}

int splitter_next(struct splitter *s, const char *text, size_t len, size_t at, size_t *end)
{
    allow_steps(s, len);
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int rc = pcre2_match(s->code, subject, len, at, options, s->data, s->context);
    /* Compiled code has a small stack of its own; the interpreter has not. */
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(s->code, subject, len, at, options | PCRE2_NO_JIT, s->data, s->context);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
        return SPECD_EINTERNAL;
    const PCRE2_SIZE *match = pcre2_get_ovector_pointer(s->data);
    if (rc == PCRE2_ERROR_NOMATCH || match[1] <= at)
        *end = len;
    else
        *end = match[0] > at ? match[0] : match[1];
    return 0;
}
