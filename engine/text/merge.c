#include "text/merge.h"

#include "specd/error.h"

#include <stdlib.h>

#define NONE UINT32_MAX  /* no symbol before */
#define POLL_MERGES 4096 /* merges between two looks at the cancel flag */

void ids_add(struct ids *ids, int32_t id)
{
    if (ids->n == ids->cap) {
        ids->cap = ids->cap ? ids->cap + ids->cap / 2 : 64;
        ids->data = xrealloc(ids->data, ids->cap * sizeof *ids->data);
    }
    ids->data[ids->n++] = id;
}

void merger_fini(struct merger *m)
{
    free(m->symbols);
    free(m->heap);
    *m = (struct merger){0};
}

bool merger_begin(struct merger *m, size_t max_symbols)
{
    m->n = 0;
    m->n_heap = 0;
    m->failed = false;
    if (max_symbols + 1 > m->cap) {
        free(m->symbols);
        m->cap = MAX(max_symbols + 1, 256);
        m->symbols = try_malloc(m->cap * sizeof *m->symbols);
        if (!m->symbols)
            m->cap = 0;
    }
    return m->symbols != NULL;
}

void merger_add(struct merger *m, int32_t id, size_t start)
{
    uint32_t i = (uint32_t)m->n++;
    m->symbols[i] = (struct symbol){id, (uint32_t)start, i ? i - 1 : NONE, i + 1};
}

static void sift_down(struct candidate *heap, size_t n, size_t i)
{
    struct candidate x = heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && heap[child + 1].order < heap[child].order)
            child++;
        if (x.order <= heap[child].order)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = x;
}

static void sift_up(struct candidate *heap, size_t i)
{
    struct candidate x = heap[i];
    while (i > 0 && x.order < heap[(i - 1) / 2].order) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = x;
}

/* Adds the pair that starts at symbol i, if there is one and it joins, at the heap's end. */
static bool propose(struct merger *m, uint32_t i, join_rule *rule, const void *rules)
{
    uint32_t right = m->symbols[i].next;
    struct joined joined;
    if (right >= m->n || !rule(rules, m, i, right, &joined))
        return false;
    if (m->n_heap == m->cap_heap) {
        size_t cap = MAX(256, m->cap_heap * 2);
        struct candidate *heap = try_realloc(m->heap, cap * sizeof *heap);
        if (!heap) {
            m->failed = true;
            return false;
        }
        m->heap = heap;
        m->cap_heap = cap;
    }
    m->heap[m->n_heap++] = (struct candidate){
        .order = (uint64_t)joined.rank << 32 | i,
        .id = joined.id,
        .end = m->symbols[right].next,
    };
    return true;
}

/* Symbols only ever grow to the right, so a pair is unchanged exactly when it still ends where it
 * did. A symbol that was taken by its left neighbour has next 0. */
static bool unchanged(const struct merger *m, const struct candidate *c, uint32_t left)
{
    uint32_t right = m->symbols[left].next;
    return right != 0 && right < m->n && m->symbols[right].next == c->end;
}

static void join(struct merger *m, uint32_t left, int32_t id)
{
    uint32_t right = m->symbols[left].next, after = m->symbols[right].next;
    m->symbols[left].id = id;
    m->symbols[left].next = after;
    m->symbols[right].next = 0;
    if (after < m->n)
        m->symbols[after].prev = left;
}

int merger_run(struct merger *m, size_t len, join_rule *rule, const void *rules,
               const atomic_bool *cancel)
{
    m->symbols[m->n] = (struct symbol){.id = -1, .start = (uint32_t)len};
    for (uint32_t i = 0; i + 1 < m->n && !m->failed; i++)
        propose(m, i, rule, rules);
    for (size_t i = m->n_heap / 2; i > 0; i--)
        sift_down(m->heap, m->n_heap, i - 1);
    for (uint32_t n = 1; m->n_heap > 0 && !m->failed; n++) {
        if (n % POLL_MERGES == 0 && cancel && atomic_load_explicit(cancel, memory_order_relaxed))
            return SPECD_ECANCELED;
        struct candidate best = m->heap[0];
        m->heap[0] = m->heap[--m->n_heap];
        sift_down(m->heap, m->n_heap, 0);
        uint32_t left = (uint32_t)best.order;
        if (!unchanged(m, &best, left))
            continue;
        join(m, left, best.id);
        if (propose(m, left, rule, rules))
            sift_up(m->heap, m->n_heap - 1);
        uint32_t before = m->symbols[left].prev;
        if (before != NONE && propose(m, before, rule, rules))
            sift_up(m->heap, m->n_heap - 1);
    }
    return m->failed ? SPECD_ENOMEM : 0;
}
