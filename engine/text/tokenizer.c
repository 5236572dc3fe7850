#include "text/tokenizer.h"

#include "specd/error.h"
#include "specd/limits.h"
#include "specd/unicode.h"
#include "specd/utf8.h"
#include "text/added.h"
#include "text/bpe.h"
#include "text/piece.h"
#include "text/pretok.h"
#include "text/spm.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (INT32_MAX / 4) /* positions are 32 bits, and a space may take three bytes */

/* Composing makes a text at most so many times shorter, in bytes of UTF-8: Unicode's FAQ on
 * normalization, by the longest decompositions. */
#define NFC_SHRINKS 3

struct tokenizer {
    struct vocab vocab;    /* without merges */
    struct buf pieces;     /* the bytes of every token, one after another */
    size_t *piece_at;      /* (n_tokens + 1) */
    struct added early;    /* found in the text as it is */
    struct added late;     /* found in the normalised text */
    struct strmap words;   /* BPE: the bytes of normal and user-defined tokens */
    struct pretok *pretok; /* BPE */
    struct bpe *bpe;       /* one of the two */
    struct spm *spm;
    size_t longest; /* most bytes of a text that one id can stand for; 0: any number */
};

static int check_id(const struct vocab *v, int32_t id, const char *name, char *err, size_t errlen)
{
    if (id < -1 || id >= (int32_t)v->n_tokens)
        return fail(SPECD_EFILE, err, errlen, "vocabulary: %s %d is not in 0..%u", name, (int)id,
                    v->n_tokens - 1);
    return 0;
}

static int check_vocab(const struct vocab *v, char *err, size_t errlen)
{
    if (v->n_tokens == 0 || v->n_tokens > SPECD_VOCAB_MAX)
        return fail(SPECD_EFILE, err, errlen, "vocabulary: %u tokens, not 1..%d", v->n_tokens,
                    SPECD_VOCAB_MAX);
    int rc = check_id(v, v->bos, "bos", err, errlen);
    if (rc == 0)
        rc = check_id(v, v->eos, "eos", err, errlen);
    if (rc == 0)
        rc = check_id(v, v->unk, "unk", err, errlen);
    if (rc == 0)
        rc = check_id(v, v->pad, "pad", err, errlen);
    return rc;
}

static void copy_vocab(struct vocab *to, const struct vocab *from)
{
    *to = *from;
    to->merges = NULL;
    to->n_merges = 0;
    to->tokens = xcalloc(from->n_tokens, sizeof *to->tokens);
    for (uint32_t i = 0; i < from->n_tokens; i++) {
        to->tokens[i] = from->tokens[i];
        to->tokens[i].text = xstrndup(from->tokens[i].text, from->tokens[i].len);
    }
    if (from->chat_template)
        to->chat_template = xstrdup(from->chat_template);
    if (from->tools_template)
        to->tools_template = xstrdup(from->tools_template);
}

static void build_pieces(struct tokenizer *t)
{
    uint32_t n = t->vocab.n_tokens;
    t->piece_at = xcalloc((size_t)n + 1, sizeof *t->piece_at);
    for (uint32_t i = 0; i < n; i++) {
        t->piece_at[i] = t->pieces.len;
        piece_append(&t->vocab, i, &t->pieces);
    }
    t->piece_at[n] = t->pieces.len;
}

static void index_words(struct tokenizer *t, enum token_type type)
{
    for (uint32_t i = 0; i < t->vocab.n_tokens; i++) {
        size_t len = t->piece_at[i + 1] - t->piece_at[i];
        if (len > 0 && t->vocab.tokens[i].type == type)
            strmap_add(&t->words, t->pieces.data + t->piece_at[i], len, (int32_t)i);
    }
}

/* White space that goes with an added token, a run of letters that is one unknown token, and bytes
 * that are in no token, are as long as they like. */
static size_t find_longest(const struct tokenizer *t)
{
    const struct vocab *v = &t->vocab;
    size_t longest = 1;
    int n_bytes = 0;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        const struct vocab_token *token = &v->tokens[i];
        if (token->lstrip || token->rstrip)
            return 0;
        longest = MAX(longest, token->len);
        n_bytes += t->spm ? token->type == TOKEN_BYTE
                          : token->type == TOKEN_NORMAL && t->piece_at[i + 1] - t->piece_at[i] == 1;
    }
    if (n_bytes < 256)
        return 0;
    return v->nfc ? longest * NFC_SHRINKS : longest;
}

static int build_model(struct tokenizer *t, const struct vocab *v, char *err, size_t errlen)
{
    if (v->kind == VOCAB_SPM) {
        struct vocab own = t->vocab; /* the copy's texts, the caller's merges */
        own.merges = v->merges;
        own.n_merges = v->n_merges;
        return spm_create(&t->spm, &own, err, errlen);
    }
    if (v->kind != VOCAB_BPE)
        return fail(SPECD_EFILE, err, errlen, "vocabulary: unknown kind %d", (int)v->kind);
    /* Control tokens are left out: ordinary text must never become one. Of two tokens with the same
     * bytes the normal one is what merges make. */
    strmap_init(&t->words, t->vocab.n_tokens);
    index_words(t, TOKEN_NORMAL);
    index_words(t, TOKEN_USER_DEFINED);
    int rc = pretok_create(&t->pretok, v->pre, err, errlen);
    return rc ? rc : bpe_create(&t->bpe, v, &t->words, err, errlen);
}

int tokenizer_create(struct tokenizer **out, const struct vocab *v, char *err, size_t errlen)
{
    int rc = check_vocab(v, err, errlen);
    if (rc)
        return rc;
    struct tokenizer *t = xcalloc(1, sizeof *t);
    copy_vocab(&t->vocab, v);
    build_pieces(t);
    added_init(&t->early, &t->vocab, false);
    added_init(&t->late, &t->vocab, true);
    rc = build_model(t, v, err, errlen);
    if (rc) {
        tokenizer_free(t);
        return rc;
    }
    t->longest = find_longest(t);
    *out = t;
    return 0;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    spm_free(t->spm);
    bpe_free(t->bpe);
    pretok_free(t->pretok);
    strmap_free(&t->words);
    added_fini(&t->early);
    added_fini(&t->late);
    free(t->piece_at);
    buf_free(&t->pieces);
    vocab_free(&t->vocab);
    free(t);
}

uint32_t tokenizer_n_vocab(const struct tokenizer *t)
{
    return t->vocab.n_tokens;
}

const struct vocab *tokenizer_vocab(const struct tokenizer *t)
{
    return &t->vocab;
}

const char *tokenizer_piece(const struct tokenizer *t, int32_t id, bool special, size_t *len)
{
    *len = 0;
    if (id < 0 || (uint32_t)id >= t->vocab.n_tokens)
        return "";
    enum token_type type = t->vocab.tokens[id].type;
    if (!special && (type == TOKEN_CONTROL || type == TOKEN_UNKNOWN))
        return "";
    *len = t->piece_at[id + 1] - t->piece_at[id];
    return *len ? t->pieces.data + t->piece_at[id] : "";
}

void decoder_feed(struct decoder *d, const struct tokenizer *t, int32_t id, bool special,
                  struct buf *out)
{
    const struct vocab *v = tokenizer_vocab(t);
    size_t len;
    const char *bytes = tokenizer_piece(t, id, special, &len);
    if (len == 0)
        return;
    if (!d->started && v->kind == VOCAB_SPM && v->add_space_prefix && bytes[0] == ' ') {
        bytes++;
        len--;
    }
    d->started = true;
    utf8_feed(&d->tail, bytes, len, out);
}

void decoder_finish(struct decoder *d, struct buf *out)
{
    utf8_finish(&d->tail, out);
}

/* One encode call. */
struct encoder {
    const struct tokenizer *t;
    struct encode_options options;
    const char *text;         /* all of it */
    struct added_scope scope; /* in text */
    bool fresh;               /* nothing since the start or the last control token */
    struct splitter *splitter;
    struct merger merger;
    struct ids ids;
};

/* 0, or why the call gives up here. */
static int check_bounds(const struct encoder *e)
{
    const struct encode_options *o = &e->options;
    if (o->cancel && atomic_load_explicit(o->cancel, memory_order_relaxed))
        return SPECD_ECANCELED;
    return o->max_ids > 0 && e->ids.n > o->max_ids ? SPECD_ECONTEXT : 0;
}

/* Valid UTF-8 without added tokens, normalised. */
static int encode_words(struct encoder *e, const char *text, size_t len)
{
    int rc = 0;
    splitter_begin(e->splitter, text, len);
    for (size_t at = 0, end; at < len && rc == 0; at = end) {
        rc = check_bounds(e);
        if (rc == 0)
            rc = splitter_next(e->splitter, at, &end);
        if (rc == 0)
            rc = bpe_encode(e->t->bpe, &e->merger, text + at, end - at, e->options.cancel, &e->ids);
    }
    return rc;
}

static int encode_normalised(struct encoder *e, const char *text, size_t len,
                             struct added_scope *scope)
{
    struct added_match m;
    size_t at = 0;
    int rc = 0;
    while (rc == 0 && added_find(&e->t->late, text, len, at, scope, &m)) {
        rc = encode_words(e, text + at, m.start - at);
        ids_add(&e->ids, m.token->id);
        at = m.end;
    }
    return rc ? rc : encode_words(e, text + at, len - at);
}

/* The spans of text, which begins at scope->base, as they are in its composed form. */
static void compose(const struct added_scope *scope, const char *text, size_t len,
                    struct buf *composed, struct text_spans *moved)
{
    struct text_spans here = {0};
    for (size_t i = scope->next; scope->spans && i < scope->spans->n; i++) {
        struct text_span s = scope->spans->items[i];
        if (s.begin >= scope->base + len)
            break;
        text_spans_add(&here, MAX(s.begin, scope->base) - scope->base,
                       MIN(s.end - scope->base, len));
    }
    nfc_append(text, len, &here, composed, moved);
    text_spans_free(&here);
}

static int encode_valid(struct encoder *e, const char *text, size_t len)
{
    struct added_scope scope = e->scope;
    if (e->t->late.n == 0) /* nothing to find */
        scope.spans = NULL;
    scope.base = (size_t)(text - e->text);
    if (scope.spans)
        scope.next = text_spans_find(scope.spans->items, scope.spans->n, scope.base);
    if (!e->t->vocab.nfc || nfc_is_trivial(text, len))
        return encode_normalised(e, text, len, &scope);
    struct buf composed = {0};
    struct text_spans moved = {0};
    compose(&scope, text, len, &composed, &moved);
    scope = (struct added_scope){.control = scope.control, .spans = &moved};
    int rc = encode_normalised(e, composed.data, composed.len, &scope);
    text_spans_free(&moved);
    buf_free(&composed);
    return rc;
}

/* Bytes that are no UTF-8 keep their values: a run of them is a word of its own. */
static int encode_bytes(struct encoder *e, const char *text, size_t len)
{
    int rc = 0;
    for (size_t at = 0; at < len && rc == 0;) {
        size_t valid = utf8_valid_run(text + at, len - at);
        if (valid > 0)
            rc = encode_valid(e, text + at, valid);
        size_t bad = at += valid;
        uint32_t cp;
        size_t n;
        while (bad < len && utf8_read(text + bad, len - bad, &cp, &n) != UTF8_OK)
            bad += n;
        if (rc == 0 && bad > at)
            rc = bpe_encode(e->t->bpe, &e->merger, text + at, bad - at, e->options.cancel, &e->ids);
        at = bad;
    }
    return rc;
}

static bool starts_with_space(const char *text, size_t len)
{
    return text[0] == ' ' || (len >= 3 && memcmp(text, PIECE_SPACE, 3) == 0);
}

static bool wants_prefix(const struct encoder *e, const char *text, size_t len, bool first)
{
    const struct vocab *v = &e->t->vocab;
    if (!v->add_space_prefix)
        return false;
    switch (v->space_prefix) {
    case PREFIX_SENTENCE:
        return e->fresh;
    case PREFIX_STRETCH:
        return true;
    case PREFIX_MISSING:
        return !starts_with_space(text, len);
    case PREFIX_FIRST:
        return first && !starts_with_space(text, len);
    }
    return false;
}

/* Text between two added tokens; first: it begins the whole text. */
static int encode_stretch(struct encoder *e, const char *text, size_t len, bool first)
{
    if (len == 0)
        return 0;
    if (e->t->bpe)
        return encode_bytes(e, text, len);
    bool prefix = wants_prefix(e, text, len, first);
    e->fresh = false;
    return spm_encode(e->t->spm, &e->merger, text, len, prefix, e->options.cancel, &e->ids);
}

static int add_token(struct encoder *e, const struct added_token *token)
{
    const struct vocab *v = &e->t->vocab;
    int rc = 0;
    /* To sentencepiece a user-defined symbol is part of the sentence: the prefix stands alone. */
    if (e->t->spm && !token->control && e->fresh && v->add_space_prefix &&
        v->space_prefix == PREFIX_SENTENCE)
        rc = spm_encode(e->t->spm, &e->merger, "", 0, true, e->options.cancel, &e->ids);
    ids_add(&e->ids, token->id);
    e->fresh = token->control;
    return rc;
}

static int encode_text(struct encoder *e, const char *text, size_t len)
{
    struct added_match m;
    size_t at = 0;
    int rc = 0;
    while (rc == 0 && added_find(&e->t->early, text, len, at, &e->scope, &m)) {
        rc = check_bounds(e);
        if (rc == 0)
            rc = encode_stretch(e, text + at, m.start - at, at == 0);
        if (rc == 0)
            rc = add_token(e, m.token);
        at = m.end;
    }
    return rc ? rc : encode_stretch(e, text + at, len - at, at == 0);
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
                     const struct encode_options *options, int32_t **ids, size_t *n_ids)
{
    if (len > TEXT_MAX)
        return SPECD_EINVAL;
    if (options && options->max_ids > 0 && t->longest > 0 && len / t->longest > options->max_ids)
        return SPECD_ECONTEXT;
    const struct vocab *v = &t->vocab;
    struct encoder e = {
        .t = t,
        .options = options ? *options : (struct encode_options){0},
        .text = text,
        .scope = {.control = flags & ENCODE_SPECIAL, .spans = options ? options->client : NULL},
        .fresh = true,
        .splitter = t->pretok ? splitter_create(t->pretok) : NULL,
    };
    if ((flags & ENCODE_BOS) && v->add_bos && v->bos >= 0)
        ids_add(&e.ids, v->bos);
    int rc = encode_text(&e, text, len);
    if (rc == 0)
        rc = check_bounds(&e);
    if ((flags & ENCODE_BOS) && v->add_eos && v->eos >= 0)
        ids_add(&e.ids, v->eos);
    splitter_free(e.splitter);
    merger_fini(&e.merger);
    if (rc) {
        free(e.ids.data);
        return rc;
    }
    *ids = e.ids.data ? e.ids.data : xmalloc(sizeof **ids);
    *n_ids = e.ids.n;
    return 0;
}
