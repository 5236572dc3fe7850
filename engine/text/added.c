#include "text/added.h"

#include "specd/unicode.h"
#include "specd/utf8.h"
#include "text/piece.h"

#include <stdlib.h>
#include <string.h>

static bool is_added(const struct vocab_token *t)
{
    return t->len > 0 &&
           (t->type == TOKEN_CONTROL || t->type == TOKEN_USER_DEFINED || t->type == TOKEN_UNKNOWN);
}

static int compare(const void *x, const void *y, void *texts)
{
    const struct added_token *a = x, *b = y;
    const char *base = texts;
    int c = memcmp(base + a->at, base + b->at, MIN(a->len, b->len));
    if (c != 0)
        return c;
    if (a->len != b->len)
        return a->len < b->len ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

static void add_token(struct added *a, const struct vocab *v, uint32_t id)
{
    const struct vocab_token *t = &v->tokens[id];
    size_t at = a->texts.len;
    if (v->kind == VOCAB_SPM)
        piece_append_spaced(t->text, t->len, &a->texts);
    else
        buf_add(&a->texts, t->text, t->len);
    a->tokens[a->n++] = (struct added_token){
        .at = at,
        .len = a->texts.len - at,
        .id = (int32_t)id,
        .control = t->type != TOKEN_USER_DEFINED,
        .lstrip = t->lstrip,
        .rstrip = t->rstrip,
    };
}

void added_init(struct added *a, const struct vocab *v, bool normalized)
{
    *a = (struct added){0};
    size_t n = 0;
    for (uint32_t i = 0; i < v->n_tokens; i++)
        n += is_added(&v->tokens[i]) && v->tokens[i].normalized == normalized;
    a->tokens = xcalloc(n, sizeof *a->tokens);
    for (uint32_t i = 0; i < v->n_tokens; i++)
        if (is_added(&v->tokens[i]) && v->tokens[i].normalized == normalized)
            add_token(a, v, i);
    if (n > 0)
        qsort_r(a->tokens, n, sizeof *a->tokens, compare, a->texts.data);
    for (size_t i = 0; i < n; i++)
        a->first[(unsigned char)a->texts.data[a->tokens[i].at] + 1]++;
    for (size_t b = 1; b < COUNT_OF(a->first); b++)
        a->first[b] += a->first[b - 1];
}

void added_fini(struct added *a)
{
    free(a->tokens);
    buf_free(&a->texts);
}

/* First of tokens[lo, hi), which share their first `depth` bytes and are longer, whose next byte is
 * at least c. */
static size_t lower_bound(const struct added *a, size_t lo, size_t hi, size_t depth, int c)
{
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if ((unsigned char)a->texts.data[a->tokens[mid].at + depth] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Bytes from `at` on of which a control token may be made. */
static size_t control_room(struct added_scope *scope, size_t at, size_t len)
{
    const struct text_spans *spans = scope->spans;
    if (!scope->control || !spans)
        return scope->control ? len - at : 0;
    while (scope->next < spans->n && spans->items[scope->next].end <= scope->base + at)
        scope->next++;
    if (scope->next == spans->n)
        return len - at;
    size_t begin = spans->items[scope->next].begin;
    return begin > scope->base + at ? MIN(begin - scope->base, len) - at : 0;
}

/* Narrows the sorted tokens byte by byte; those that end where the walk stands come first. */
static const struct added_token *longest_at(const struct added *a, const char *text, size_t len,
                                            size_t room)
{
    const struct added_token *best = NULL;
    unsigned char c = (unsigned char)text[0];
    size_t lo = a->first[c], hi = a->first[c + 1];
    for (size_t depth = 1; lo < hi; depth++) {
        for (; lo < hi && a->tokens[lo].len == depth; lo++)
            if ((depth <= room || !a->tokens[lo].control) && (!best || best->len < depth))
                best = &a->tokens[lo];
        if (depth == len)
            break;
        c = (unsigned char)text[depth];
        lo = lower_bound(a, lo, hi, depth, c);
        hi = lower_bound(a, lo, hi, depth, c + 1);
    }
    return best;
}

static size_t skip_space(const char *text, size_t len, size_t at)
{
    while (at < len) {
        uint32_t cp;
        size_t n = utf8_next(text + at, len - at, &cp);
        if (!cp_is_white_space(cp))
            break;
        at += n;
    }
    return at;
}

/* Start of the white space that ends at `at`, not before from. */
static size_t skip_space_back(const char *text, size_t from, size_t at)
{
    while (at > from) {
        uint32_t cp;
        size_t n = utf8_prev(text + from, at - from, &cp);
        if (!cp_is_white_space(cp))
            break;
        at -= n;
    }
    return at;
}

bool added_find(const struct added *a, const char *text, size_t len, size_t from,
                struct added_scope *scope, struct added_match *m)
{
    if (a->n == 0)
        return false;
    for (size_t i = from; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (a->first[c] == a->first[c + 1])
            continue;
        const struct added_token *t = longest_at(a, text + i, len - i, control_room(scope, i, len));
        if (!t)
            continue;
        m->token = t;
        m->start = t->lstrip ? skip_space_back(text, from, i) : i;
        m->end = t->rstrip ? skip_space(text, len, i + t->len) : i + t->len;
        return true;
    }
    return false;
}
