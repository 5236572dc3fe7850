#include "text/spm.h"

#include "specd/error.h"
#include "specd/utf8.h"
#include "text/pairs.h"
#include "text/piece.h"
#include "text/strmap.h"

#include <stdlib.h>
#include <string.h>

#define MARK PIECE_SPACE
#define MARK_LEN (sizeof MARK - 1)

struct spm {
    struct strmap texts; /* normal and user-defined tokens */
    uint32_t *ranks;     /* by id; 0 is the best score. NULL: pairs decide */
    struct pairs pairs;
    int32_t byte_ids[256];
    int32_t unk;
    bool words_end_at_space; /* no token has a space mark behind another character */
    bool whole;              /* a stretch that is a token is that token, whatever the merges */
};

struct scored {
    float score;
    uint32_t id;
};

static int by_score(const void *x, const void *y)
{
    const struct scored *a = x, *b = y;
    return (a->score < b->score) - (a->score > b->score);
}

static void rank_scores(struct spm *s, const struct vocab *v)
{
    struct scored *order = xmalloc(v->n_tokens * sizeof *order);
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        float score = v->tokens[i].score;
        order[i] = (struct scored){score == score ? score : -__builtin_inff(), i};
    }
    qsort(order, v->n_tokens, sizeof *order, by_score);
    s->ranks = xmalloc(v->n_tokens * sizeof *s->ranks);
    uint32_t rank = 0;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        rank += i > 0 && order[i].score != order[i - 1].score;
        s->ranks[order[i].id] = rank;
    }
    free(order);
}

static bool is_mark(const char *text, const char *end)
{
    return (size_t)(end - text) >= MARK_LEN && memcmp(text, MARK, MARK_LEN) == 0;
}

/* End of the word at text: before the first mark that follows something else. */
static const char *word_end(const char *text, const char *end)
{
    while (is_mark(text, end))
        text += MARK_LEN;
    const char *mark = text < end ? memmem(text, (size_t)(end - text), MARK, MARK_LEN) : NULL;
    return mark ? mark : end;
}

static void index_tokens(struct spm *s, const struct vocab *v)
{
    strmap_init(&s->texts, v->n_tokens);
    s->words_end_at_space = true;
    for (int b = 0; b < 256; b++)
        s->byte_ids[b] = -1;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        const struct vocab_token *t = &v->tokens[i];
        if (t->type == TOKEN_BYTE) {
            int byte = piece_byte(t->text, t->len);
            if (byte >= 0)
                s->byte_ids[byte] = (int32_t)i;
        } else if (t->len > 0 && (t->type == TOKEN_NORMAL || t->type == TOKEN_USER_DEFINED)) {
            strmap_add(&s->texts, t->text, t->len, (int32_t)i);
            if (word_end(t->text, t->text + t->len) != t->text + t->len)
                s->words_end_at_space = false;
        }
    }
}

int spm_create(struct spm **out, const struct vocab *v, char *err, size_t errlen)
{
    struct spm *s = xcalloc(1, sizeof *s);
    s->unk = v->unk;
    s->whole = v->ignore_merges;
    index_tokens(s, v);
    int rc = 0;
    if (v->n_merges > 0)
        rc = pairs_init(&s->pairs, v, &s->texts, err, errlen);
    else
        rank_scores(s, v);
    if (rc) {
        spm_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void spm_free(struct spm *s)
{
    if (!s)
        return;
    strmap_free(&s->texts);
    pairs_free(&s->pairs);
    free(s->ranks);
    free(s);
}

struct word {
    const struct spm *spm;
    const char *text;
};

static bool joins_by_score(const void *rules, const struct merger *m, uint32_t left, uint32_t right,
                           struct joined *out)
{
    const struct word *w = rules;
    uint32_t start = m->symbols[left].start;
    out->id = strmap_get(&w->spm->texts, w->text + start, symbol_end(m, right) - start);
    if (out->id < 0)
        return false;
    out->rank = w->spm->ranks[out->id];
    return true;
}

static bool joins_by_pair(const void *rules, const struct merger *m, uint32_t left, uint32_t right,
                          struct joined *out)
{
    const struct word *w = rules;
    return pairs_get(&w->spm->pairs, m->symbols[left].id, m->symbols[right].id, out);
}

static bool has_bytes(const struct spm *s, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s->byte_ids[(unsigned char)text[i]] < 0)
            return false;
    return true;
}

/* With a merge list, an unknown character takes part as its byte tokens; with scores, as itself:
 * the text it joins to may be a token even so. */
static void add_symbols(const struct spm *s, struct merger *m, const char *text, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t cp;
        bool valid = utf8_read(text + i, len - i, &cp, &n) == UTF8_OK;
        int32_t id = valid ? strmap_get(&s->texts, text + i, n) : -1;
        if (id < 0 && !s->ranks && has_bytes(s, text + i, n))
            for (size_t j = i; j < i + n; j++)
                merger_add(m, s->byte_ids[(unsigned char)text[j]], j);
        else
            merger_add(m, id, i);
    }
}

/* *in_unk: the last token was an unknown one; a run of them is one. */
static void emit(const struct spm *s, const struct merger *m, const char *text, bool *in_unk,
                 struct ids *out)
{
    for (uint32_t i = 0; i < m->n; i = m->symbols[i].next) {
        const struct symbol *symbol = &m->symbols[i];
        size_t len = symbol_end(m, i) - symbol->start;
        const char *bytes = text + symbol->start;
        if (symbol->id < 0 && !has_bytes(s, bytes, len)) {
            if (!*in_unk && s->unk >= 0)
                ids_add(out, s->unk);
            *in_unk = true;
            continue;
        }
        *in_unk = false;
        if (symbol->id >= 0)
            ids_add(out, symbol->id);
        else
            for (size_t j = 0; j < len; j++)
                ids_add(out, s->byte_ids[(unsigned char)bytes[j]]);
    }
}

static int encode_word(const struct spm *s, struct merger *m, const char *text, size_t len,
                       const atomic_bool *cancel, bool *in_unk, struct ids *out)
{
    struct word word = {s, text};
    if (!merger_begin(m, len))
        return SPECD_ENOMEM;
    add_symbols(s, m, text, len);
    int rc = merger_run(m, len, s->ranks ? joins_by_score : joins_by_pair, &word, cancel);
    if (rc == 0)
        emit(s, m, text, in_unk, out);
    return rc;
}

static int encode_words(const struct spm *s, struct merger *m, const char *text, size_t len,
                        const atomic_bool *cancel, struct ids *out)
{
    bool in_unk = false;
    for (const char *end = text + len, *next; text < end; text = next) {
        if (cancel && atomic_load_explicit(cancel, memory_order_relaxed))
            return SPECD_ECANCELED;
        next = s->words_end_at_space ? word_end(text, end) : end;
        int rc = encode_word(s, m, text, (size_t)(next - text), cancel, &in_unk, out);
        if (rc)
            return rc;
    }
    return 0;
}

static void mark_spaces(const char *text, size_t len, struct buf *out)
{
    while (len > 0) {
        const char *space = memchr(text, ' ', len);
        size_t n = space ? (size_t)(space - text) : len;
        buf_add(out, text, n);
        if (!space)
            return;
        buf_puts(out, MARK);
        text += n + 1;
        len -= n + 1;
    }
}

int spm_encode(const struct spm *s, struct merger *m, const char *text, size_t len, bool prefix,
               const atomic_bool *cancel, struct ids *out)
{
    struct buf marked = {0};
    buf_reserve(&marked, len);
    if (prefix)
        buf_puts(&marked, MARK);
    mark_spaces(text, len, &marked);
    int32_t id = s->whole ? strmap_get(&s->texts, marked.data, marked.len) : -1;
    int rc = 0;
    if (id >= 0)
        ids_add(out, id);
    else
        rc = encode_words(s, m, marked.data, marked.len, cancel, out);
    buf_free(&marked);
    return rc;
}
