#include "text/pairs.h"

#include "specd/error.h"
#include "text/piece.h"

#include <stdlib.h>

struct pair {
    uint64_t ids; /* left, right; EMPTY */
    struct joined joined;
};
#define EMPTY UINT64_MAX

static uint64_t key_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static struct pair *slot_of(const struct pairs *p, uint64_t key)
{
    uint64_t h = key * 0x9E3779B97F4A7C15u;
    for (size_t i = h >> 32;; i++) {
        struct pair *slot = &p->slots[i & p->mask];
        if (slot->ids == key || slot->ids == EMPTY)
            return slot;
    }
}

static void add_half(enum vocab_kind kind, const char *text, size_t len, struct buf *out)
{
    if (kind == VOCAB_SPM || !piece_from_alphabet(text, len, out))
        buf_add(out, text, len);
}

/* Ranks are positions in the list; of a pair that is listed twice, the last counts. */
static bool add_merge(struct pairs *p, const struct vocab *v, uint32_t rank,
                      const struct strmap *tokens, struct buf *scratch)
{
    const struct vocab_merge *merge = &v->merges[rank];
    buf_clear(scratch);
    add_half(v->kind, merge->left, merge->left_len, scratch);
    size_t cut = scratch->len;
    add_half(v->kind, merge->right, merge->right_len, scratch);
    const char *text = scratch->data;
    int32_t left = strmap_get(tokens, text, cut);
    int32_t right = strmap_get(tokens, text + cut, scratch->len - cut);
    int32_t joined = strmap_get(tokens, text, scratch->len);
    if (left < 0 || right < 0 || joined < 0)
        return false;
    uint64_t key = key_of(left, right);
    *slot_of(p, key) = (struct pair){.ids = key, .joined = {.rank = rank, .id = joined}};
    return true;
}

int pairs_init(struct pairs *p, const struct vocab *v, const struct strmap *tokens, char *err,
               size_t errlen)
{
    size_t size = table_size(v->n_merges);
    p->slots = xcalloc(size, sizeof *p->slots);
    p->mask = size - 1;
    for (size_t i = 0; i < size; i++)
        p->slots[i].ids = EMPTY;
    struct buf scratch = {0};
    int rc = 0;
    for (uint32_t i = 0; i < v->n_merges && rc == 0; i++)
        if (!add_merge(p, v, i, tokens, &scratch))
            rc = fail(SPECD_EFILE, err, errlen,
                      "vocabulary: merge %u: its halves or what they join to are no tokens", i);
    buf_free(&scratch);
    return rc;
}

void pairs_free(struct pairs *p)
{
    free(p->slots);
    *p = (struct pairs){0};
}

bool pairs_get(const struct pairs *p, int32_t left, int32_t right, struct joined *out)
{
    if (left < 0 || right < 0)
        return false;
    const struct pair *slot = slot_of(p, key_of(left, right));
    if (slot->ids == EMPTY)
        return false;
    *out = slot->joined;
    return true;
}
