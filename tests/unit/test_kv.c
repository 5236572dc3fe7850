/*
 * The block manager against a naive model of itself, and against a pretended KV pool.
 *
 * The model keeps the same rules in plain arrays searched from end to end: what it finds, frees and
 * evicts must be the same. The pool remembers for which text each row was computed: a hit whose
 * rows were computed for another text, or a row written into a block that others may read, is the
 * failure that matters.
 *
 * links: specd_engine specd_base
 */
#include "kv.h"

#include "specd/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define B SPECD_BLOCK_TOKENS

/* ---- plain cases ----------------------------------------------------------------------------- */

#define POOL 8

static void fill(int32_t *tokens, int32_t n, int32_t first)
{
    for (int32_t i = 0; i < n; i++)
        tokens[i] = first + i;
}

/* Computes and caches tokens[0..n) as a finished sequence would leave them. */
static void cache_text(struct kv *kv, const char *salt, const int32_t *tokens, int32_t n,
                       int32_t draft_rows)
{
    int32_t blocks[POOL], n_blocks = (n + B - 1) / B;
    assert_int_equal(kv_alloc(kv, n_blocks, blocks), 0);
    kv_commit(kv, salt, tokens, n, draft_rows, blocks, n_blocks);
    kv_release(kv, blocks, n_blocks);
    assert_true(kv_is_valid(kv));
}

/* Rows found, none of them kept. */
static int32_t probe(struct kv *kv, const char *salt, const int32_t *tokens, int32_t n,
                     int32_t *draft_rows)
{
    int32_t blocks[POOL], target_rows;
    int found = kv_match(kv, salt, tokens, n, blocks, &target_rows, draft_rows);
    assert_int_equal(found * B, target_rows);
    assert_true(kv_is_valid(kv));
    kv_release(kv, blocks, found);
    return target_rows;
}

static void test_alloc_and_release(void **state)
{
    (void)state;
    struct kv *kv = kv_create(POOL);
    int32_t blocks[POOL], more[1];
    assert_int_equal(kv_n_blocks(kv), POOL);
    assert_int_equal(kv_alloc(kv, POOL + 1, blocks), -1);
    assert_int_equal(kv_n_free(kv), POOL);
    assert_int_equal(kv_alloc(kv, POOL, blocks), 0);
    for (int i = 0; i < POOL; i++) {
        assert_true(kv_writable(kv, blocks[i]));
        for (int j = 0; j < i; j++)
            assert_int_not_equal(blocks[i], blocks[j]);
    }
    assert_int_equal(kv_n_used(kv), POOL);
    assert_int_equal(kv_alloc(kv, 1, more), -1);
    assert_int_equal(kv_alloc(kv, 0, more), 0);
    kv_release(kv, blocks, POOL);
    assert_int_equal(kv_n_free(kv), POOL);
    assert_true(kv_is_valid(kv));
    kv_free(kv);
    kv_free(NULL);
}

static void test_hit_is_capped(void **state)
{
    (void)state;
    int32_t tokens[4 * B], draft_rows;
    fill(tokens, 4 * B, 100);
    struct kv *kv = kv_create(POOL);
    cache_text(kv, NULL, tokens, 4 * B, 4 * B);
    for (int32_t n = 0; n <= 4 * B; n++) {
        int32_t want = n < 2 ? 0 : (n - 2) / B * B;
        assert_int_equal(probe(kv, NULL, tokens, n, &draft_rows), want);
        assert_int_equal(draft_rows, want);
    }
    kv_free(kv);
}

static void test_salts_share_nothing(void **state)
{
    (void)state;
    int32_t tokens[2 * B + 2], draft_rows;
    fill(tokens, 2 * B + 2, 1);
    struct kv *kv = kv_create(POOL);
    char long_salt[3000];
    memset(long_salt, 'x', sizeof long_salt - 1);
    long_salt[sizeof long_salt - 1] = '\0';
    cache_text(kv, "alice", tokens, 2 * B, 0);
    assert_int_equal(probe(kv, "alice", tokens, 2 * B + 2, &draft_rows), 2 * B);
    assert_int_equal(probe(kv, NULL, tokens, 2 * B + 2, &draft_rows), 0);
    assert_int_equal(probe(kv, "", tokens, 2 * B + 2, &draft_rows), 0);
    assert_int_equal(probe(kv, "alicf", tokens, 2 * B + 2, &draft_rows), 0);
    assert_int_equal(probe(kv, "alic", tokens, 2 * B + 2, &draft_rows), 0);
    cache_text(kv, "", tokens, 2 * B, 0);
    assert_int_equal(probe(kv, NULL, tokens, 2 * B + 2, &draft_rows), 2 * B);
    cache_text(kv, long_salt, tokens, 2 * B, 0);
    long_salt[2000] = 'y';
    assert_int_equal(probe(kv, long_salt, tokens, 2 * B + 2, &draft_rows), 0);
    long_salt[2000] = 'x';
    assert_int_equal(probe(kv, long_salt, tokens, 2 * B + 2, &draft_rows), 2 * B);
    kv_free(kv);
}

/* Every single token of a block counts, and so does what stands before the block. */
static void test_hit_compares_tokens(void **state)
{
    (void)state;
    int32_t tokens[3 * B], draft_rows;
    fill(tokens, 3 * B, 1);
    struct kv *kv = kv_create(POOL);
    cache_text(kv, NULL, tokens, 2 * B, 0);
    for (int32_t i = 0; i < 2 * B; i++) {
        tokens[i] ^= 1 << 20;
        assert_int_equal(probe(kv, NULL, tokens, 3 * B, &draft_rows), i / B * B);
        tokens[i] ^= 1 << 20;
    }
    assert_int_equal(probe(kv, NULL, tokens + B, 2 * B, &draft_rows), 0);
    kv_free(kv);
}

/* Blocks are found whatever their draft rows, which may come later, and from another sequence. */
static void test_draft_rows(void **state)
{
    (void)state;
    int32_t tokens[4 * B], blocks[POOL], draft_rows;
    fill(tokens, 4 * B, 1);
    struct kv *kv = kv_create(POOL);
    assert_int_equal(kv_alloc(kv, 3, blocks), 0);
    kv_commit(kv, NULL, tokens, 3 * B, 2 * B - 1, blocks, 3);
    for (int i = 0; i < 3; i++)
        assert_false(kv_writable(kv, blocks[i]));
    assert_int_equal(probe(kv, NULL, tokens, 4 * B, &draft_rows), 3 * B);
    assert_int_equal(draft_rows, 2 * B - 1);
    kv_commit(kv, NULL, tokens, 3 * B, 2 * B + 1, blocks, 3);
    assert_int_equal(probe(kv, NULL, tokens, 4 * B, &draft_rows), 3 * B);
    assert_int_equal(draft_rows, 2 * B + 1);
    assert_int_equal(kv_draft_rows(kv, blocks, 3, B), 2 * B + 1);
    kv_release(kv, blocks, 3);

    /* Another sequence computes more draft rows: its blocks take the entries over. */
    cache_text(kv, NULL, tokens, 3 * B, 3 * B);
    assert_int_equal(probe(kv, NULL, tokens, 4 * B, &draft_rows), 3 * B);
    assert_int_equal(draft_rows, 3 * B);
    assert_int_equal(kv_n_free(kv), POOL);
    kv_free(kv);
}

/* Two sequences hold one block that lacks draft rows. One at a time writes them, in order. */
static void test_two_fill_one_block(void **state)
{
    (void)state;
    int32_t tokens[2 * B], blocks[POOL], found[POOL], rows, draft_rows;
    enum { ONE = 1, OTHER };
    fill(tokens, 2 * B, 1);
    struct kv *kv = kv_create(POOL);
    assert_int_equal(kv_alloc(kv, 2, blocks), 0);
    kv_commit(kv, NULL, tokens, B, 0, blocks, 2);
    assert_int_equal(kv_match(kv, NULL, tokens, 2 * B, found, &rows, &draft_rows), 1);
    assert_int_equal(found[0], blocks[0]);
    assert_true(kv_draft_open(kv, blocks[0], 0, ONE) && kv_draft_open(kv, blocks[0], 0, OTHER));

    kv_draft_claim(kv, blocks[0], ONE, 1);
    assert_true(kv_draft_open(kv, blocks[0], 0, ONE));
    assert_false(kv_draft_open(kv, blocks[0], 0, OTHER));
    kv_draft_claim(kv, blocks[0], ONE, 2); /* the next round before the first is over */
    kv_retire(kv, 1);
    kv_commit(kv, NULL, tokens, B, 3, blocks, 2);
    assert_false(kv_draft_open(kv, blocks[0], 3, OTHER));
    kv_release_after(kv, blocks, 2, 2); /* it goes, with rows of round 2 on their way */
    assert_true(kv_is_valid(kv));
    assert_false(kv_draft_open(kv, blocks[0], 3, OTHER));
    kv_retire(kv, 2);

    assert_int_equal(kv_draft_rows(kv, found, 1, 0), 3);
    assert_false(kv_draft_open(kv, found[0], 2, OTHER)); /* these are there, and read */
    assert_true(kv_draft_open(kv, found[0], 3, OTHER));
    kv_draft_claim(kv, found[0], OTHER, 3);
    kv_commit(kv, NULL, tokens, B, B, found, 1);
    assert_int_equal(kv_draft_rows(kv, found, 1, 3), B);
    assert_true(kv_is_valid(kv));
    kv_release_after(kv, found, 1, 3);
    kv_retire(kv, 3);
    assert_int_equal(kv_n_free(kv), POOL);
    assert_int_equal(probe(kv, NULL, tokens, 2 * B, &draft_rows), B);
    assert_int_equal(draft_rows, B);
    int32_t all[POOL]; /* evicted and given to somebody, it has no rows */
    assert_int_equal(kv_alloc(kv, POOL, all), 0);
    assert_int_equal(kv_draft_rows(kv, all, POOL, 0), 0);
    kv_release(kv, all, POOL);
    kv_free(kv);
}

static void test_tail_goes_first(void **state)
{
    (void)state;
    int32_t a[4 * B], b[4 * B], blocks[POOL], draft_rows;
    fill(a, 4 * B, 1);
    fill(b, 4 * B, 5000);
    struct kv *kv = kv_create(POOL);
    cache_text(kv, NULL, a, 3 * B, 0);
    cache_text(kv, NULL, b, 3 * B, 0);
    for (int32_t left = 3; left >= 0; left--) { /* two blocks were never used */
        int32_t taken = POOL - 3 - left;
        assert_int_equal(kv_alloc(kv, taken, blocks), 0);
        kv_release(kv, blocks, taken);
        assert_int_equal(probe(kv, NULL, a, 4 * B, &draft_rows), left * B);
        assert_int_equal(probe(kv, NULL, b, 4 * B, &draft_rows), 3 * B);
    }
    struct kv_stats stats;
    kv_stats(kv, &stats);
    assert_int_equal(stats.evictions, 3);
    assert_int_equal(stats.queries, 8 * 3 * B);
    assert_int_equal(stats.hits, (3 + 2 + 1 + 4 * 3) * B);
    kv_free(kv);
}

static void test_deferred_free(void **state)
{
    (void)state;
    struct kv *kv = kv_create(POOL);
    int32_t a[2], b[2], c[2];
    assert_int_equal(kv_alloc(kv, 2, a), 0);
    assert_int_equal(kv_alloc(kv, 2, b), 0);
    assert_int_equal(kv_alloc(kv, 2, c), 0);
    kv_release_after(kv, a, 2, 1);
    kv_release_after(kv, b, 2, 2);
    assert_false(kv_writable(kv, a[0]));
    assert_int_equal(kv_n_free(kv), POOL - 6);
    kv_retire(kv, 1);
    assert_int_equal(kv_n_free(kv), POOL - 4);
    assert_true(kv_is_valid(kv));
    kv_release_after(kv, c, 1, 1); /* that one is over */
    assert_int_equal(kv_n_free(kv), POOL - 3);
    kv_release_after(kv, c + 1, 1, 3);
    kv_retire(kv, 3);
    assert_int_equal(kv_n_free(kv), POOL);
    assert_true(kv_is_valid(kv));
    kv_free(kv);
}

/* A sequence that computed tokens[0..n) with a window and gave up what is behind it. */
static void cache_windowed(struct kv *kv, const int32_t *tokens, int32_t n)
{
    int32_t blocks[POOL], n_blocks = n / B, first = kv_window_first(kv, n);
    assert_int_equal(kv_alloc(kv, n_blocks, blocks), 0);
    for (int32_t i = 0; i < n_blocks; i++)
        kv_window_take(kv, blocks[i]);
    assert_int_equal(kv_n_windows_used(kv), n_blocks);
    kv_commit(kv, NULL, tokens, n, 0, blocks, n_blocks);
    kv_window_drop(kv, blocks, first);
    assert_int_equal(kv_n_windows_used(kv), n_blocks - first);
    assert_true(kv_is_valid(kv));
    kv_window_drop(kv, blocks + first, n_blocks - first);
    kv_release(kv, blocks, n_blocks);
    assert_true(kv_is_valid(kv));
}

/* Blocks found, none of them kept; where their next row looks, each has windowed rows of its own.
 */
static int32_t probe_windowed(struct kv *kv, const int32_t *tokens, int32_t n)
{
    int32_t blocks[POOL], rows, draft_rows, used = kv_n_windows_used(kv);
    int32_t found = kv_match(kv, NULL, tokens, n, blocks, &rows, &draft_rows);
    int32_t first = kv_window_first(kv, rows);
    assert_true(kv_is_valid(kv));
    assert_int_equal(kv_n_windows_used(kv), used + found - first);
    for (int32_t i = first; i < found; i++) {
        assert_in_range(kv_window_id(kv, blocks[i]), 0, kv_n_windows(kv) - 1);
        for (int32_t j = first; j < i; j++)
            assert_int_not_equal(kv_window_id(kv, blocks[i]), kv_window_id(kv, blocks[j]));
    }
    kv_window_drop(kv, blocks + first, found - first);
    kv_release(kv, blocks, found);
    return found;
}

/* A hit needs the windowed rows of its last window: here those of its last two blocks. */
static void test_windows(void **state)
{
    (void)state;
    int32_t tokens[6 * B], taken[3];
    fill(tokens, 6 * B, 100);
    struct kv *kv = kv_create(POOL);
    kv_add_windows(kv, 5, B + 2);
    assert_int_equal(kv_window_first(kv, 2 * B), 0);
    assert_int_equal(kv_window_first(kv, 2 * B + 1), 1);
    assert_int_equal(kv_window_first(kv, 5 * B), 3);
    cache_windowed(kv, tokens, 5 * B);
    for (int32_t n = 1; n <= 5; n++)
        assert_int_equal(probe_windowed(kv, tokens, n * B + 2), n);

    /* Others take what was given up longest ago: that of blocks 0, 1 and 2, the last of which the
     * probes left in this order. */
    assert_int_equal(kv_alloc(kv, 3, taken), 0);
    for (int i = 0; i < 3; i++)
        kv_window_take(kv, taken[i]);
    assert_true(kv_is_valid(kv));
    assert_int_equal(probe_windowed(kv, tokens, 5 * B + 2), 5);
    for (int32_t n = 1; n <= 4; n++)
        assert_int_equal(probe_windowed(kv, tokens, n * B + 2), 0);
    kv_window_drop(kv, taken, 3);
    kv_release(kv, taken, 3);
    assert_int_equal(kv_n_windows_used(kv), 0);

    /* Computed again: the block that has windowed rows takes the entry over. */
    cache_windowed(kv, tokens, 2 * B);
    assert_int_equal(probe_windowed(kv, tokens, 2 * B + 2), 2);
    assert_int_equal(probe_windowed(kv, tokens, 3 * B + 2), 2);
    assert_int_equal(probe_windowed(kv, tokens, 5 * B + 2), 5);
    /* An evicted block takes its own along. */
    kv_clear_index(kv);
    assert_true(kv_is_valid(kv));
    for (int i = 0; i < 2; i++) {
        cache_windowed(kv, tokens, 5 * B);
        assert_int_equal(probe_windowed(kv, tokens, 5 * B + 2), 5);
        assert_int_equal(kv_alloc(kv, 3, taken), 0);
        kv_release(kv, taken, 3);
    }
    kv_free(kv);
}

/* ---- the naive model ------------------------------------------------------------------------- */

#define M_BLOCKS 24
#define M_SEQS 6
#define M_SEQ_BLOCKS 7
#define M_LEN (M_SEQ_BLOCKS * B)
#define M_SALTS 3

static const char *const salts[M_SALTS] = {NULL, "s", "t"};

struct model_block {
    int refs, deferred[2];
    bool indexed;
    int32_t mark; /* draft rows that readers count on */
    uint64_t writer, writer_round;
    int32_t twin;           /* who had the entry when it was placed */
    uint64_t entry, parent; /* parent: an entry, or 1 + salt for a root */
    uint64_t released;      /* turn at which it became unreferenced */
    int32_t tokens[B];
    uint64_t target_row[B], draft_row[B]; /* the pool: hash of the text a row was computed for */
};

struct model_seq {
    bool live, wants_draft;
    uint64_t id, claimed; /* claimed: the last round it claimed blocks for */
    int salt;
    int32_t tokens[M_LEN], len; /* the text there will be; how much of it is committed */
    int32_t target_len, draft_len;
    int32_t blocks[M_SEQ_BLOCKS], n_blocks;
};

struct world {
    struct kv *kv;
    struct model_block blocks[M_BLOCKS];
    struct model_seq seqs[M_SEQS];
    uint64_t n_entries, clock, round, retired;
    uint64_t random;
    uint64_t n_hits, n_evicted, n_upgraded, n_twins, n_added, n_closed, n_seqs;
};

static uint32_t rnd(struct world *w, uint32_t below)
{
    w->random = w->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(w->random >> 33) % below;
}

static uint64_t text_hash(const struct model_seq *s, int32_t position)
{
    uint64_t h = (uint64_t)s->salt + 1;
    for (int32_t i = 0; i <= position; i++)
        h = (h ^ (uint64_t)(uint32_t)s->tokens[i]) * UINT64_C(0x100000001b3) + 7;
    return h;
}

static int32_t model_find(const struct world *w, uint64_t parent, const int32_t *tokens)
{
    for (int32_t id = 0; id < M_BLOCKS; id++) {
        const struct model_block *b = &w->blocks[id];
        if (b->indexed && b->parent == parent && !memcmp(b->tokens, tokens, sizeof b->tokens))
            return id;
    }
    return -1;
}

/* An entry that has moved on since counts as gone: its block is placed again. */
static bool model_known(const struct world *w, int32_t id)
{
    const struct model_block *b = &w->blocks[id], *twin = &w->blocks[b->twin];
    return b->indexed || (b->entry != 0 && twin->indexed && twin->entry == b->entry);
}

static void model_unhold(struct world *w, int32_t id)
{
    struct model_block *b = &w->blocks[id];
    assert_true(b->refs > 0);
    if (--b->refs == 0) {
        b->released = w->clock;
        if (!b->indexed)
            b->entry = 0;
    }
}

static void model_place(struct world *w, int32_t id, uint64_t parent, const int32_t *tokens)
{
    struct model_block *b = &w->blocks[id];
    int32_t twin = model_find(w, parent, tokens);
    struct model_block *t = twin < 0 ? NULL : &w->blocks[twin];
    b->entry = t ? t->entry : ++w->n_entries + M_SALTS;
    w->n_twins += t != NULL;
    if (t) {
        if (b->mark < t->mark || (b->mark == t->mark && t->refs > 0)) {
            b->twin = twin;
            return;
        }
        w->n_upgraded++;
        t->indexed = false;
        if (t->refs == 0)
            t->entry = 0;
    }
    b->indexed = true;
    b->parent = parent;
    memcpy(b->tokens, tokens, sizeof b->tokens);
}

static void model_commit(struct world *w, const struct model_seq *s)
{
    int32_t n = s->target_len / B, first;
    for (int32_t i = 0; i * B < s->draft_len; i++)
        w->blocks[s->blocks[i]].mark =
            MAX(w->blocks[s->blocks[i]].mark, MIN(s->draft_len - i * B, B));
    for (first = n; first > 0 && w->blocks[s->blocks[first - 1]].entry == 0; first--)
        continue;
    if (first == n)
        return;
    while (first > 0 && !model_known(w, s->blocks[first - 1]))
        first--;
    for (int32_t i = first; i < n; i++) {
        uint64_t parent = i ? w->blocks[s->blocks[i - 1]].entry : 1 + (uint64_t)s->salt;
        model_place(w, s->blocks[i], parent, s->tokens + i * B);
    }
}

/* ---- both sides by side ---------------------------------------------------------------------- */

static void check_counts(const struct world *w)
{
    int32_t unheld = 0;
    for (int32_t id = 0; id < M_BLOCKS; id++) {
        const struct model_block *b = &w->blocks[id];
        unheld += b->refs == 0;
        bool writable = b->refs == 1 && !b->indexed && !b->deferred[0] && !b->deferred[1];
        assert_int_equal(kv_writable(w->kv, id), writable);
    }
    assert_int_equal(kv_n_free(w->kv), unheld);
    assert_int_equal(kv_n_used(w->kv), M_BLOCKS - unheld);
    assert_true(kv_is_valid(w->kv));
}

/* Texts share beginnings: each token is one of two, mostly the first. */
static void seq_make_text(struct world *w, struct model_seq *s)
{
    for (int32_t i = 0; i < M_LEN; i++)
        s->tokens[i] = i % B ? i : (int32_t)(rnd(w, 4) == 0);
    if (rnd(w, 8) == 0)
        s->tokens[rnd(w, M_LEN)] += 3;
}

static void seq_match(struct world *w, struct model_seq *s)
{
    int32_t cap = s->len < 2 ? 0 : (s->len - 2) / B, want = 0, marked = 0, draft_rows;
    int32_t ids[M_SEQ_BLOCKS];
    for (uint64_t parent = 1 + (uint64_t)s->salt; want < cap; want++) {
        int32_t id = model_find(w, parent, s->tokens + want * B);
        if (id < 0)
            break;
        marked += marked == want * B ? w->blocks[id].mark : 0;
        parent = w->blocks[id].entry;
        ids[want] = id;
        w->blocks[id].refs++;
    }
    s->n_blocks =
        kv_match(w->kv, salts[s->salt], s->tokens, s->len, s->blocks, &s->target_len, &draft_rows);
    assert_int_equal(s->n_blocks, want);
    assert_int_equal(s->target_len, want * B);
    assert_int_equal(draft_rows, marked);
    assert_memory_equal(s->blocks, ids, (size_t)want * sizeof ids[0]);
    s->draft_len = draft_rows;
    w->n_hits += (uint64_t)want;
    for (int32_t p = 0; p < s->target_len; p++) {
        const struct model_block *b = &w->blocks[s->blocks[p / B]];
        assert_true(b->target_row[p % B] == text_hash(s, p));
        assert_true(p >= draft_rows || b->draft_row[p % B] == text_hash(s, p));
    }
}

/* The block that has been unreferenced for longest, or one never cached if there is any. */
static void model_take(struct world *w, int32_t id)
{
    struct model_block *b = &w->blocks[id];
    assert_int_equal(b->refs, 0);
    for (int32_t i = 0; i < M_BLOCKS; i++) {
        const struct model_block *o = &w->blocks[i];
        if (b->indexed && o->refs == 0)
            assert_true(o->indexed && o->released >= b->released);
    }
    w->n_evicted += b->indexed;
    b->indexed = false;
    b->entry = 0;
    b->refs = 1;
    b->mark = 0;
    b->writer = b->writer_round = 0;
    memset(b->target_row, 0, sizeof b->target_row);
    memset(b->draft_row, 0, sizeof b->draft_row);
}

static bool seq_grow(struct world *w, struct model_seq *s, int32_t n_blocks)
{
    int32_t more = n_blocks - s->n_blocks, unheld = kv_n_free(w->kv);
    if (more <= 0)
        return true;
    int rc = kv_alloc(w->kv, more, s->blocks + s->n_blocks);
    assert_int_equal(rc, more <= unheld ? 0 : -1);
    if (rc != 0)
        return false;
    for (int32_t i = 0; i < more; i++)
        model_take(w, s->blocks[s->n_blocks + i]);
    s->n_blocks = n_blocks;
    return true;
}

static void seq_start(struct world *w, struct model_seq *s)
{
    memset(s, 0, sizeof *s);
    s->salt = rnd(w, 4) ? 0 : (int)rnd(w, M_SALTS);
    s->wants_draft = rnd(w, 3) != 0;
    seq_make_text(w, s);
    s->len = 1 + (int32_t)rnd(w, M_LEN - B);
    seq_match(w, s);
    s->id = ++w->n_seqs;
    s->live = true;
}

static void write_rows(struct world *w, const struct model_seq *s, int32_t from, int32_t to)
{
    for (int32_t p = from; p < to; p++) {
        assert_true(kv_writable(w->kv, s->blocks[p / B]));
        w->blocks[s->blocks[p / B]].target_row[p % B] = text_hash(s, p);
    }
}

/* Draft rows behind the mark of any block that is open, up to the first that is not: another writes
 * there, or has written what this sequence does not know of. Never a row that others may read. */
static void write_draft_rows(struct world *w, struct model_seq *s, int32_t to)
{
    s->draft_len = kv_draft_rows(w->kv, s->blocks, s->n_blocks, s->draft_len);
    for (int32_t p = s->draft_len; p < to; p++) {
        int32_t id = s->blocks[p / B];
        struct model_block *b = &w->blocks[id];
        if (p % B == 0 || p == s->draft_len) {
            bool open = b->mark <= p % B && (b->writer == s->id || b->writer_round <= w->retired);
            assert_true(kv_draft_open(w->kv, id, p % B, s->id) == open);
            w->n_closed += !open;
            if (!open) {
                to = p;
                break;
            }
            kv_draft_claim(w->kv, id, s->id, w->round);
            b->writer = s->id;
            s->claimed = b->writer_round = w->round;
        }
        w->n_added += b->indexed || b->refs > 1;
        assert_true(p % B >= b->mark);
        b->draft_row[p % B] = text_hash(s, p);
    }
    s->draft_len = MAX(s->draft_len, to);
}

static void seq_commit(struct world *w, struct model_seq *s)
{
    kv_commit(w->kv, salts[s->salt], s->tokens, s->target_len, s->draft_len, s->blocks,
              s->n_blocks);
    model_commit(w, s);
}

/* A round: some rows of each model, some tokens more. */
static void seq_run(struct world *w, struct model_seq *s)
{
    int32_t committed = (int32_t)rnd(w, 4) + 1, target = (int32_t)rnd(w, 2 * B) + 1;
    int32_t draft = s->wants_draft && rnd(w, 2) ? (int32_t)rnd(w, 3 * B) : 0;
    if (s->target_len == s->len - 1)
        s->len = MIN(s->len + committed, M_LEN);
    if (!seq_grow(w, s, (s->len + B - 1) / B))
        return;
    target = MIN(s->target_len + target, s->len - 1);
    write_rows(w, s, s->target_len, target);
    s->target_len = target;
    if (draft > 0)
        write_draft_rows(w, s, MIN(s->draft_len + draft, s->len - 1));
    seq_commit(w, s);
}

static void seq_end(struct world *w, struct model_seq *s)
{
    if (rnd(w, 4))
        seq_commit(w, s);
    s->live = false;
    uint64_t round = rnd(w, 2) ? w->round - rnd(w, 2) : 0;
    if (s->claimed > w->retired)
        round = w->round;
    if (round == 0)
        kv_release(w->kv, s->blocks, s->n_blocks);
    else
        kv_release_after(w->kv, s->blocks, s->n_blocks, round);
    for (int32_t i = s->n_blocks - 1; i >= 0; i--) {
        w->clock++;
        if (round <= w->retired)
            model_unhold(w, s->blocks[i]);
        else
            w->blocks[s->blocks[i]].deferred[round & 1]++;
    }
}

/* What one retirement gives back counts as given back at the same time. */
static void rounds_advance(struct world *w)
{
    if (w->round - w->retired < 2) {
        w->round++;
        return;
    }
    kv_retire(w->kv, ++w->retired);
    int parity = (int)(w->retired & 1);
    w->clock++;
    for (int32_t id = 0; id < M_BLOCKS; id++) {
        for (; w->blocks[id].deferred[parity] > 0; w->blocks[id].deferred[parity]--)
            model_unhold(w, id);
    }
}

static void clear(struct world *w)
{
    kv_clear_index(w->kv);
    for (int32_t id = 0; id < M_BLOCKS; id++) {
        w->blocks[id].indexed = false;
        w->blocks[id].entry = 0;
    }
}

static void world_turn(struct world *w)
{
    struct model_seq *s = &w->seqs[rnd(w, M_SEQS)];
    uint32_t what = rnd(w, 100);
    if (what < 15)
        rounds_advance(w);
    else if (!s->live)
        seq_start(w, s);
    else if (what < 35)
        seq_end(w, s);
    else
        seq_run(w, s);
    if (rnd(w, 2000) == 0)
        clear(w);
    check_counts(w);
}

static void test_against_model(void **state)
{
    (void)state;
    uint64_t hits = 0, evicted = 0, upgraded = 0, twins = 0, added = 0, closed = 0;
    for (uint64_t seed = 1; seed <= 16; seed++) {
        struct world *w = xcalloc(1, sizeof *w);
        w->kv = kv_create(M_BLOCKS);
        w->random = seed * 77;
        w->round = 1;
        for (int turn = 0; turn < 5000; turn++)
            world_turn(w);
        for (int i = 0; i < M_SEQS; i++) {
            if (w->seqs[i].live)
                seq_end(w, &w->seqs[i]);
        }
        kv_retire(w->kv, w->round);
        assert_true(kv_is_valid(w->kv));
        assert_int_equal(kv_n_free(w->kv), M_BLOCKS);
        hits += w->n_hits;
        evicted += w->n_evicted;
        upgraded += w->n_upgraded;
        twins += w->n_twins;
        added += w->n_added;
        closed += w->n_closed;
        kv_free(w->kv);
        free(w);
    }
    /* the run must have been about something */
    assert_true(hits > 10000 && evicted > 4000 && twins > 1000 && upgraded > 100);
    assert_true(added > 1000 && closed > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc_and_release),
        cmocka_unit_test(test_hit_is_capped),
        cmocka_unit_test(test_salts_share_nothing),
        cmocka_unit_test(test_hit_compares_tokens),
        cmocka_unit_test(test_draft_rows),
        cmocka_unit_test(test_two_fill_one_block),
        cmocka_unit_test(test_tail_goes_first),
        cmocka_unit_test(test_deferred_free),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_against_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
