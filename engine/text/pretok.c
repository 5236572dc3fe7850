#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretok.h"

#include "specd/error.h"
#include "specd/unicode.h"
#include "specd/utf8.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

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

/* What PCRE2 sees in place of a character beyond ASCII: one of its class and length in UTF-8 that
 * has been of that class since Unicode 4.0 and stays there. By bytes less two and class; no
 * separator has four bytes. */
static const char stand_ins[][CP_Z + 1][5] = {
    {"\xC2\x80", "\xC3\xA9", "\xCC\x80", "\xC2\xB2", "\xC2\xA1", "\xC2\xA2", "\xC2\xA0"},
    {"\xEE\x80\x80", "\xE4\xB8\x80", "\xE2\x83\x90", "\xE2\x81\xB0", "\xE2\x80\x90", "\xE2\x82\xA0",
     "\xE2\x80\x80"},
    {"\xF3\xB0\x80\x80", "\xF0\xA0\x80\x80", "\xF0\x9D\x85\xA5", "\xF0\x9D\x9F\x8E",
     "\xF0\x90\x84\x80", "\xF0\x9D\x84\x80"},
};

/* Characters beyond ASCII that a pattern tells from others of their class: U+0085 is white space,
 * and the long s is a case of s. */
static bool is_named(uint32_t cp)
{
    return cp == 0x85 || cp == 0x17F;
}

struct pretok {
    pcre2_code *code;
    uint8_t *classes; /* (CP_END) */
};

struct splitter {
    const struct pretok *pretok;
    struct buf seen; /* the text in stand-ins */
    PCRE2_SPTR subject;
    size_t len;
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
    *p = (struct pretok){.code = code, .classes = xmalloc(CP_END)};
    cp_class_fill(p->classes);
    *out = p;
    return 0;
}

void pretok_free(struct pretok *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    free(p->classes);
    free(p);
}

struct splitter *splitter_create(const struct pretok *p)
{
    struct splitter *s = xmalloc(sizeof *s);
    *s = (struct splitter){
        .pretok = p,
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
    buf_free(&s->seen);
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

void splitter_begin(struct splitter *s, const char *text, size_t len)
{
    unsigned char high = 0;
    for (size_t i = 0; i < len; i++)
        high |= (unsigned char)text[i];
    s->subject = (PCRE2_SPTR)text;
    s->len = len;
    allow_steps(s, len);
    if (high < 0x80)
        return;
    buf_clear(&s->seen);
    buf_add(&s->seen, text, len);
    for (size_t at = 0, n; at < len; at += n) {
        uint32_t cp;
        n = 1;
        if ((unsigned char)text[at] < 0x80)
            continue;
        ASSERT(utf8_read(text + at, len - at, &cp, &n) == UTF8_OK);
        if (!is_named(cp))
            memcpy(s->seen.data + at, stand_ins[n - 2][s->pretok->classes[cp]], n);
    }
    s->subject = (PCRE2_SPTR)s->seen.data;
}

int splitter_next(struct splitter *s, size_t at, size_t *end)
{
    const pcre2_code *code = s->pretok->code;
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int rc = pcre2_match(code, s->subject, s->len, at, options, s->data, s->context);
    /* Compiled code has a small stack of its own; the interpreter has not. */
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(code, s->subject, s->len, at, options | PCRE2_NO_JIT, s->data, s->context);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
        return SPECD_EINTERNAL;
    const PCRE2_SIZE *match = pcre2_get_ovector_pointer(s->data);
    if (rc == PCRE2_ERROR_NOMATCH || match[1] <= at)
        *end = s->len;
    else
        *end = match[0] > at ? match[0] : match[1];
    return 0;
}
