#include "text/bpe.h"

#include "specd/error.h"
#include "text/pairs.h"

#include <stdlib.h>

struct bpe {
    const struct strmap *words;
    bool whole_words;
    int32_t byte_ids[256];
    struct pairs pairs;
};

int bpe_create(struct bpe **out, const struct vocab *v, const struct strmap *words, char *err,
               size_t errlen)
{
    struct bpe *b = xcalloc(1, sizeof *b);
    b->words = words;
    b->whole_words = v->ignore_merges;
    for (int i = 0; i < 256; i++)
        b->byte_ids[i] = strmap_get(words, &(char){(char)i}, 1);
    for (int i = 0; v->unk_bytes && i < 256; i++)
        b->byte_ids[i] = b->byte_ids[i] < 0 ? v->unk : b->byte_ids[i];
    int rc = pairs_init(&b->pairs, v, words, err, errlen);
    if (rc) {
        bpe_free(b);
        return rc;
    }
    *out = b;
    return 0;
}

void bpe_free(struct bpe *b)
{
    if (!b)
        return;
    pairs_free(&b->pairs);
    free(b);
}

static bool joins(const void *rules, const struct merger *m, uint32_t left, uint32_t right,
                  struct joined *out)
{
    const struct bpe *b = rules;
    return pairs_get(&b->pairs, m->symbols[left].id, m->symbols[right].id, out);
}

int bpe_encode(const struct bpe *b, struct merger *m, const char *word, size_t len,
               const atomic_bool *cancel, struct ids *out)
{
    int32_t whole = b->whole_words ? strmap_get(b->words, word, len) : -1;
    if (whole >= 0) {
        ids_add(out, whole);
        return 0;
    }
    if (!merger_begin(m, len))
        return SPECD_ENOMEM;
    for (size_t i = 0; i < len; i++) {
        int32_t id = b->byte_ids[(unsigned char)word[i]];
        if (id >= 0)
            merger_add(m, id, i);
    }
    int rc = merger_run(m, len, joins, b, cancel);
    for (uint32_t i = 0; rc == 0 && i < m->n; i = m->symbols[i].next)
        ids_add(out, m->symbols[i].id);
    return rc;
}
