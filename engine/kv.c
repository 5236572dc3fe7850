#include "kv.h"

#include "specd/util.h"

#include <stdlib.h>
#include <string.h>

#define B SPECD_BLOCK_TOKENS
#define NONE (-1)

_Static_assert(B % 2 == 0, "tokens of a block are hashed as 64-bit words");

/* A tree of the index has a salt at its root. Lives while blocks are indexed under it. */
struct salt {
    struct salt *next; /* in its bucket */
    uint64_t hash, serial;
    int32_t refs; /* indexed blocks, and one while kv_commit works */
    char text[];
};

struct block {
    /* Identity of the entry for this block's content; 0 while the content isn't final. An indexed
     * block is that entry; a private one knows from it that `twin` was, when it was last looked
     * at. Serials are never used twice, so a stale one is recognised. */
    uint64_t serial;
    uint64_t parent;   /* indexed: serial of the entry, or salt, above */
    struct salt *salt; /* indexed */
    int32_t twin;
    int32_t refs;
    int32_t hash_next;
    int32_t prev, next; /* in the LRU list; next also in the free list */
    int32_t deferred_refs[2], deferred_next[2];
    bool indexed;
    int32_t window;                   /* its windowed rows' block, NONE: it has none */
    int32_t window_refs;              /* of these: sequences that need them */
    int32_t window_prev, window_next; /* in the list of those that nobody needs */
    int32_t draft_rows;               /* the mark */
    uint64_t writer, writer_round;    /* who writes draft rows until that round has retired */
    int32_t tokens[B];
};

/* References to be dropped when `round` retires. Rounds in flight differ in parity. */
struct deferred_free {
    uint64_t round;
    int32_t head, tail;
};

struct kv {
    struct block *blocks;
    int32_t n_blocks, n_free_list, n_lru, n_indexed;
    int32_t free_head;
    int32_t lru_head, lru_tail; /* head: least recently used */
    int32_t *buckets;           /* chains of indexed blocks */
    struct salt **salt_buckets;
    uint32_t bucket_mask; /* of both tables */
    uint64_t hash_key, next_serial, retired;
    struct salt *no_salt;
    int32_t window, n_windows, n_windows_free, n_windows_idle;
    int32_t *windows_free;        /* (n_windows) a stack of ids */
    int32_t idle_head, idle_tail; /* blocks whose windowed rows nobody needs, the oldest first */
    struct deferred_free deferred[2];
    struct kv_stats stats;
};

/* ---- hashing --------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

/* Keyed, since clients choose the bytes: nobody outside can fill one bucket on purpose. */
static uint64_t hash_bytes(const struct kv *kv, uint64_t start, const void *data, size_t len)
{
    const char *p = data;
    uint64_t h = mix(kv->hash_key, start), word;
    for (; len >= sizeof word; len -= sizeof word, p += sizeof word) {
        memcpy(&word, p, sizeof word);
        h = mix(h, word);
    }
    word = len;
    memcpy(&word, p, len); /* a tail shorter than a word, and how long it is */
    return mix(mix(h, word), (uint64_t)len);
}

static int32_t *bucket_of(const struct kv *kv, uint64_t parent, const int32_t *tokens)
{
    return &kv->buckets[hash_bytes(kv, parent, tokens, B * sizeof *tokens) & kv->bucket_mask];
}

/* ---- lists ----------------------------------------------------------------------------------- */

static void free_push(struct kv *kv, int32_t id)
{
    struct block *b = &kv->blocks[id];
    ASSERT(b->window == NONE);
    b->serial = b->writer = b->writer_round = 0;
    b->draft_rows = 0;
    b->next = kv->free_head;
    kv->free_head = id;
    kv->n_free_list++;
}

static int32_t free_pop(struct kv *kv)
{
    int32_t id = kv->free_head;
    kv->free_head = kv->blocks[id].next;
    kv->n_free_list--;
    return id;
}

static void lru_push(struct kv *kv, int32_t id)
{
    struct block *b = &kv->blocks[id];
    b->prev = kv->lru_tail;
    b->next = NONE;
    if (kv->lru_tail == NONE)
        kv->lru_head = id;
    else
        kv->blocks[kv->lru_tail].next = id;
    kv->lru_tail = id;
    kv->n_lru++;
}

static void lru_remove(struct kv *kv, int32_t id)
{
    struct block *b = &kv->blocks[id];
    if (b->prev == NONE)
        kv->lru_head = b->next;
    else
        kv->blocks[b->prev].next = b->next;
    if (b->next == NONE)
        kv->lru_tail = b->prev;
    else
        kv->blocks[b->next].prev = b->prev;
    kv->n_lru--;
}

/* ---- windowed rows --------------------------------------------------------------------------- */

static void idle_push(struct kv *kv, int32_t id)
{
    struct block *b = &kv->blocks[id];
    b->window_prev = kv->idle_tail;
    b->window_next = NONE;
    *(kv->idle_tail == NONE ? &kv->idle_head : &kv->blocks[kv->idle_tail].window_next) = id;
    kv->idle_tail = id;
    kv->n_windows_idle++;
}

static void idle_remove(struct kv *kv, int32_t id)
{
    struct block *b = &kv->blocks[id];
    *(b->window_prev == NONE ? &kv->idle_head : &kv->blocks[b->window_prev].window_next) =
        b->window_next;
    *(b->window_next == NONE ? &kv->idle_tail : &kv->blocks[b->window_next].window_prev) =
        b->window_prev;
    kv->n_windows_idle--;
}

static void window_free(struct kv *kv, int32_t id)
{
    kv->windows_free[kv->n_windows_free++] = kv->blocks[id].window;
    kv->blocks[id].window = NONE;
}

static void idle_free(struct kv *kv, int32_t id)
{
    idle_remove(kv, id);
    window_free(kv, id);
}

static void window_hold(struct kv *kv, int32_t id)
{
    struct block *b = &kv->blocks[id];
    if (b->window_refs++ == 0)
        idle_remove(kv, id);
}

int32_t kv_window_first(const struct kv *kv, int32_t rows)
{
    return kv->n_windows > 0 ? MAX(rows + 1 - kv->window, 0) / B : 0;
}

void kv_window_take(struct kv *kv, int32_t block)
{
    struct block *b = &kv->blocks[block];
    ASSERT(b->window == NONE && b->refs > 0 && !b->indexed);
    ASSERT(kv->n_windows_free + kv->n_windows_idle > 0);
    if (kv->n_windows_free == 0)
        idle_free(kv, kv->idle_head);
    b->window = kv->windows_free[--kv->n_windows_free];
    b->window_refs = 1;
}

int32_t kv_window_id(const struct kv *kv, int32_t block)
{
    return kv->blocks[block].window;
}

void kv_window_drop(struct kv *kv, const int32_t *blocks, int32_t n)
{
    for (int32_t i = 0; kv->n_windows > 0 && i < n; i++) {
        struct block *b = &kv->blocks[blocks[i]];
        ASSERT(b->window_refs > 0 && b->refs > 0);
        if (--b->window_refs > 0)
            continue;
        if (b->indexed)
            idle_push(kv, blocks[i]);
        else
            window_free(kv, blocks[i]);
    }
}

int32_t kv_n_windows(const struct kv *kv)
{
    return kv->n_windows;
}

int32_t kv_n_windows_used(const struct kv *kv)
{
    return kv->n_windows - kv->n_windows_free - kv->n_windows_idle;
}

/* ---- salts ----------------------------------------------------------------------------------- */

static struct salt **salt_bucket(const struct kv *kv, uint64_t hash)
{
    return &kv->salt_buckets[hash & kv->bucket_mask];
}

static struct salt *salt_find(const struct kv *kv, const char *text)
{
    if (!text || !*text)
        return kv->no_salt;
    uint64_t hash = hash_bytes(kv, 0, text, strlen(text));
    struct salt *s = *salt_bucket(kv, hash);
    while (s && (s->hash != hash || strcmp(s->text, text) != 0))
        s = s->next;
    return s;
}

static struct salt *salt_new(struct kv *kv, const char *text)
{
    size_t len = strlen(text);
    struct salt *s = xcalloc(1, sizeof *s + len + 1);
    memcpy(s->text, text, len);
    s->serial = kv->next_serial++;
    s->hash = hash_bytes(kv, 0, text, len);
    struct salt **head = salt_bucket(kv, s->hash);
    s->next = *head;
    *head = s;
    return s;
}

/* A reference on the root for text, made if need be. */
static struct salt *salt_get(struct kv *kv, const char *text)
{
    struct salt *s = salt_find(kv, text);
    if (!s)
        s = salt_new(kv, text);
    s->refs++;
    return s;
}

static void salt_put(struct kv *kv, struct salt *s)
{
    if (--s->refs > 0)
        return;
    struct salt **link = salt_bucket(kv, s->hash);
    while (*link != s)
        link = &(*link)->next;
    *link = s->next;
    free(s);
}

/* ---- the index ------------------------------------------------------------------------------- */

static int32_t index_find(const struct kv *kv, uint64_t parent, const int32_t *tokens)
{
    int32_t id = *bucket_of(kv, parent, tokens);
    while (id != NONE) {
        const struct block *b = &kv->blocks[id];
        if (b->parent == parent && memcmp(b->tokens, tokens, sizeof b->tokens) == 0)
            break;
        id = b->hash_next;
    }
    return id;
}

static void index_add(struct kv *kv, int32_t id, struct salt *salt, uint64_t serial,
                      uint64_t parent, const int32_t *tokens)
{
    struct block *b = &kv->blocks[id];
    b->serial = serial;
    b->parent = parent;
    b->salt = salt;
    b->indexed = true;
    memcpy(b->tokens, tokens, sizeof b->tokens);
    int32_t *head = bucket_of(kv, parent, tokens);
    b->hash_next = *head;
    *head = id;
    salt->refs++;
    kv->n_indexed++;
}

/* Leaves a held block private and an unreferenced one free. Entries below it stay, found by nobody
 * until one with the same serial comes back: they are evicted in their turn. */
static void index_remove(struct kv *kv, int32_t id)
{
    struct block *b = &kv->blocks[id];
    int32_t *link = bucket_of(kv, b->parent, b->tokens);
    while (*link != id)
        link = &kv->blocks[*link].hash_next;
    *link = b->hash_next;
    b->indexed = false;
    if (b->window != NONE && b->window_refs == 0)
        idle_free(kv, id);
    salt_put(kv, b->salt);
    kv->n_indexed--;
    if (b->refs == 0) {
        lru_remove(kv, id);
        free_push(kv, id);
    }
}

/* Is the entry for this block's content, the block itself or its twin, in the index? */
static bool is_known(const struct kv *kv, const struct block *b)
{
    if (b->indexed)
        return true;
    const struct block *twin = &kv->blocks[b->twin];
    return b->serial != 0 && twin->indexed && twin->serial == b->serial;
}

/* Gives a block whose content is final its place; returns the serial of the entry. */
static uint64_t place(struct kv *kv, int32_t id, struct salt *salt, uint64_t parent,
                      const int32_t *tokens)
{
    struct block *b = &kv->blocks[id];
    ASSERT(b->refs > 0 && !b->indexed);
    int32_t twin = index_find(kv, parent, tokens);
    if (twin == NONE) {
        index_add(kv, id, salt, kv->next_serial++, parent, tokens);
        return b->serial;
    }
    const struct block *t = &kv->blocks[twin];
    uint64_t serial = t->serial;
    bool windows = b->window != NONE && t->window == NONE;
    if (b->draft_rows > t->draft_rows ||
        (b->draft_rows == t->draft_rows && (t->refs == 0 || windows))) {
        index_remove(kv, twin);
        index_add(kv, id, salt, serial, parent, tokens);
    } else {
        b->serial = serial;
        b->twin = twin;
    }
    return serial;
}

/* Blocks before the last one that such rows reach were marked when the rows came there. */
static void mark_draft_rows(struct kv *kv, int32_t n_rows, const int32_t *blocks)
{
    for (int32_t i = (n_rows - 1) / B; n_rows > 0 && i >= 0; i--) {
        struct block *b = &kv->blocks[blocks[i]];
        int32_t rows = MIN(n_rows - i * B, B);
        if (b->draft_rows >= rows)
            return;
        b->draft_rows = rows;
    }
}

void kv_commit(struct kv *kv, const char *salt, const int32_t *tokens, int32_t n_target_rows,
               int32_t n_draft_rows, const int32_t *blocks, int32_t n_blocks)
{
    int32_t n_final = n_target_rows / B;
    ASSERT(n_final >= 0 && n_final <= n_blocks);
    ASSERT(n_draft_rows >= 0 && n_draft_rows <= n_blocks * B);
    mark_draft_rows(kv, n_draft_rows, blocks);

    int32_t first = n_final;
    while (first > 0 && kv->blocks[blocks[first - 1]].serial == 0)
        first--;
    if (first == n_final)
        return;
    /* A twin may have been evicted since: then this sequence's own block takes its place, from the
     * nearest one above that is still known. */
    while (first > 0 && !is_known(kv, &kv->blocks[blocks[first - 1]]))
        first--;

    struct salt *root = salt_get(kv, salt);
    uint64_t parent = first > 0 ? kv->blocks[blocks[first - 1]].serial : root->serial;
    for (int32_t i = first; i < n_final; i++)
        parent = place(kv, blocks[i], root, parent, tokens + (size_t)i * B);
    salt_put(kv, root);
}

int kv_match(struct kv *kv, const char *salt, const int32_t *tokens, int32_t n, int32_t *blocks,
             int32_t *target_rows, int32_t *draft_rows)
{
    const struct salt *root = salt_find(kv, salt);
    int32_t cap = n < 2 ? 0 : (n - 2) / B;
    int32_t found = 0, n_windowed = 0; /* of the last blocks, those that have their windowed rows */
    uint64_t parent = root ? root->serial : 0;
    for (int32_t i = 0; root && i < cap; i++) {
        int32_t id = index_find(kv, parent, tokens + (size_t)i * B);
        if (id == NONE)
            break;
        blocks[i] = id;
        parent = kv->blocks[id].serial;
        n_windowed = kv->blocks[id].window != NONE ? n_windowed + 1 : 0;
        if (kv->n_windows == 0 || n_windowed >= i + 1 - kv_window_first(kv, (i + 1) * B))
            found = i + 1;
    }
    for (int32_t i = 0; i < found; i++) {
        if (kv->blocks[blocks[i]].refs++ == 0)
            lru_remove(kv, blocks[i]);
        if (kv->n_windows > 0 && i >= kv_window_first(kv, found * B))
            window_hold(kv, blocks[i]);
    }
    *target_rows = found * B;
    *draft_rows = kv_draft_rows(kv, blocks, found, 0);
    kv->stats.queries += (uint64_t)cap * B;
    kv->stats.hits += (uint64_t)found * B;
    return found;
}

/* ---- references ------------------------------------------------------------------------------ */

static void drop(struct kv *kv, int32_t id)
{
    struct block *b = &kv->blocks[id];
    ASSERT(b->refs > 0);
    if (--b->refs > 0)
        return;
    if (b->indexed)
        lru_push(kv, id);
    else
        free_push(kv, id);
}

int kv_alloc(struct kv *kv, int32_t n, int32_t *blocks)
{
    ASSERT(n >= 0);
    if (n > kv_n_free(kv))
        return -1;
    for (int32_t i = 0; i < n; i++) {
        if (kv->free_head == NONE) {
            index_remove(kv, kv->lru_head);
            kv->stats.evictions++;
        }
        blocks[i] = free_pop(kv);
        kv->blocks[blocks[i]].refs = 1;
    }
    return 0;
}

void kv_release(struct kv *kv, const int32_t *blocks, int32_t n)
{
    while (n > 0)
        drop(kv, blocks[--n]);
}

void kv_release_after(struct kv *kv, const int32_t *blocks, int32_t n, uint64_t round_no)
{
    if (round_no <= kv->retired) {
        kv_release(kv, blocks, n);
        return;
    }
    int parity = (int)(round_no & 1);
    struct deferred_free *l = &kv->deferred[parity];
    ASSERT(l->head == NONE || l->round == round_no);
    l->round = round_no;
    while (n > 0) {
        struct block *b = &kv->blocks[blocks[--n]];
        ASSERT(b->refs > b->deferred_refs[0] + b->deferred_refs[1]);
        if (b->deferred_refs[parity]++ > 0)
            continue;
        b->deferred_next[parity] = NONE;
        if (l->head == NONE)
            l->head = blocks[n];
        else
            kv->blocks[l->tail].deferred_next[parity] = blocks[n];
        l->tail = blocks[n];
    }
}

static void deferred_drain(struct kv *kv, int parity)
{
    struct deferred_free *l = &kv->deferred[parity];
    for (int32_t id = l->head, next; id != NONE; id = next) {
        struct block *b = &kv->blocks[id];
        next = b->deferred_next[parity];
        for (; b->deferred_refs[parity] > 0; b->deferred_refs[parity]--)
            drop(kv, id);
    }
    l->head = l->tail = NONE;
}

void kv_retire(struct kv *kv, uint64_t round_no)
{
    int older = kv->deferred[0].round < kv->deferred[1].round ? 0 : 1;
    if (kv->deferred[older].round <= round_no)
        deferred_drain(kv, older);
    if (kv->deferred[!older].round <= round_no)
        deferred_drain(kv, !older);
    kv->retired = MAX(kv->retired, round_no);
}

bool kv_writable(const struct kv *kv, int32_t block)
{
    const struct block *b = &kv->blocks[block];
    return b->refs == 1 && !b->indexed && b->deferred_refs[0] + b->deferred_refs[1] == 0;
}

bool kv_is_indexed(const struct kv *kv, int32_t block)
{
    return kv->blocks[block].indexed;
}

/* ---- draft rows ------------------------------------------------------------------------------ */

bool kv_draft_open(const struct kv *kv, int32_t block, int32_t offset, uint64_t who)
{
    const struct block *b = &kv->blocks[block];
    return b->draft_rows <= offset && (b->writer == who || b->writer_round <= kv->retired);
}

void kv_draft_claim(struct kv *kv, int32_t block, uint64_t who, uint64_t round_no)
{
    struct block *b = &kv->blocks[block];
    ASSERT(who != 0 && b->refs > 0 && (b->writer == who || b->writer_round <= kv->retired));
    b->writer = who;
    b->writer_round = round_no;
}

int32_t kv_draft_rows(const struct kv *kv, const int32_t *blocks, int32_t n_blocks, int32_t from)
{
    int32_t rows = from;
    while (rows / B < n_blocks && kv->blocks[blocks[rows / B]].draft_rows > rows % B)
        rows = rows / B * B + kv->blocks[blocks[rows / B]].draft_rows;
    return rows;
}

/* ---- life, counts ---------------------------------------------------------------------------- */

struct kv *kv_create(int32_t n_blocks)
{
    ASSERT(n_blocks > 0 && n_blocks <= 1 << 30);
    struct kv *kv = xcalloc(1, sizeof *kv);
    kv->n_blocks = n_blocks;
    kv->blocks = xcalloc((size_t)n_blocks, sizeof *kv->blocks);
    size_t n_buckets = 1;
    while (n_buckets < (size_t)n_blocks)
        n_buckets *= 2;
    kv->bucket_mask = (uint32_t)(n_buckets - 1);
    kv->buckets = xmalloc(n_buckets * sizeof *kv->buckets);
    memset(kv->buckets, 0xff, n_buckets * sizeof *kv->buckets); /* NONE */
    kv->salt_buckets = xcalloc(n_buckets, sizeof *kv->salt_buckets);
    kv->hash_key = clock_ns() * 0xd6e8feb86659fd93u ^ (uint64_t)(uintptr_t)kv;
    kv->next_serial = 1;
    kv->free_head = kv->lru_head = kv->lru_tail = NONE;
    kv->deferred[0] = kv->deferred[1] = (struct deferred_free){.head = NONE, .tail = NONE};
    kv->no_salt = salt_new(kv, "");
    kv->no_salt->refs = 1;
    kv->idle_head = kv->idle_tail = NONE;
    for (int32_t id = n_blocks - 1; id >= 0; id--) {
        kv->blocks[id].window = NONE;
        free_push(kv, id);
    }
    return kv;
}

void kv_add_windows(struct kv *kv, int32_t n_blocks, int32_t window)
{
    ASSERT(kv->n_windows == 0 && n_blocks > 0 && window > 0);
    kv->window = window;
    kv->n_windows = kv->n_windows_free = n_blocks;
    kv->windows_free = xcalloc((size_t)n_blocks, sizeof *kv->windows_free);
    for (int32_t i = 0; i < n_blocks; i++)
        kv->windows_free[i] = n_blocks - 1 - i;
}

void kv_free(struct kv *kv)
{
    if (!kv)
        return;
    kv_clear_index(kv);
    salt_put(kv, kv->no_salt);
    free(kv->salt_buckets);
    free(kv->windows_free);
    free(kv->buckets);
    free(kv->blocks);
    free(kv);
}

void kv_clear_index(struct kv *kv)
{
    for (int32_t id = 0; id < kv->n_blocks; id++) {
        if (kv->blocks[id].indexed)
            index_remove(kv, id);
        kv->blocks[id].serial = 0;
    }
}

int32_t kv_n_blocks(const struct kv *kv)
{
    return kv->n_blocks;
}

int32_t kv_n_free(const struct kv *kv)
{
    return kv->n_free_list + kv->n_lru;
}

int32_t kv_n_used(const struct kv *kv)
{
    return kv->n_blocks - kv_n_free(kv);
}

static int32_t n_holders(const struct block *b)
{
    return b->refs - b->deferred_refs[0] - b->deferred_refs[1];
}

int32_t kv_n_deferred(const struct kv *kv)
{
    int32_t n = 0;
    for (int parity = 0; parity < 2; parity++) {
        for (int32_t id = kv->deferred[parity].head; id != NONE;
             id = kv->blocks[id].deferred_next[parity]) {
            const struct block *b = &kv->blocks[id];
            bool counted = parity == 1 && b->deferred_refs[0] > 0;
            n += n_holders(b) == 0 && !counted;
        }
    }
    return n;
}

int32_t kv_n_sole(const struct kv *kv, const int32_t *blocks, int32_t n)
{
    int32_t sole = 0;
    for (int32_t i = 0; i < n; i++)
        sole += n_holders(&kv->blocks[blocks[i]]) == 1;
    return sole;
}

void kv_stats(const struct kv *kv, struct kv_stats *out)
{
    *out = kv->stats;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static bool free_list_is_valid(const struct kv *kv)
{
    int32_t n = 0;
    for (int32_t id = kv->free_head; id != NONE; id = kv->blocks[id].next) {
        const struct block *b = &kv->blocks[id];
        if (n++ == kv->n_free_list || b->refs != 0 || b->indexed || b->serial != 0 ||
            b->draft_rows != 0)
            return false;
    }
    return n == kv->n_free_list;
}

static bool lru_is_valid(const struct kv *kv)
{
    int32_t n = 0, prev = NONE;
    for (int32_t id = kv->lru_head; id != NONE; id = kv->blocks[id].next) {
        const struct block *b = &kv->blocks[id];
        if (n++ == kv->n_lru || b->refs != 0 || !b->indexed || b->prev != prev)
            return false;
        prev = id;
    }
    return n == kv->n_lru && kv->lru_tail == prev;
}

static bool deferred_is_valid(const struct kv *kv, int parity)
{
    int32_t n = 0, listed = 0, last = NONE;
    for (int32_t id = 0; id < kv->n_blocks; id++)
        n += kv->blocks[id].deferred_refs[parity] > 0;
    for (int32_t id = kv->deferred[parity].head; id != NONE;
         id = kv->blocks[id].deferred_next[parity]) {
        if (listed++ == n || kv->blocks[id].deferred_refs[parity] <= 0)
            return false;
        last = id;
    }
    return n == listed && kv->deferred[parity].tail == last;
}

static bool index_is_valid(const struct kv *kv)
{
    int32_t n = 0;
    for (uint32_t i = 0; i <= kv->bucket_mask; i++) {
        for (int32_t id = kv->buckets[i]; id != NONE; id = kv->blocks[id].hash_next) {
            const struct block *b = &kv->blocks[id];
            /* Finding the block itself says: right bucket, and no second entry of this content. */
            if (n++ == kv->n_indexed || !b->indexed || !b->salt || b->parent >= b->serial ||
                b->serial >= kv->next_serial || index_find(kv, b->parent, b->tokens) != id)
                return false;
        }
    }
    return n == kv->n_indexed;
}

static bool salts_are_valid(const struct kv *kv)
{
    int64_t refs = -1; /* no_salt holds one of its own */
    for (uint32_t i = 0; i <= kv->bucket_mask; i++) {
        for (const struct salt *s = kv->salt_buckets[i]; s; s = s->next) {
            if (s->refs <= 0 || salt_find(kv, s->text) != s)
                return false;
            refs += s->refs;
        }
    }
    return refs == kv->n_indexed;
}

/* Each is free, or of one block: needed by holders of it, or idle in the index. */
static bool windows_are_valid(const struct kv *kv)
{
    int32_t needed = 0, idle = 0, listed = 0;
    for (int32_t id = 0; id < kv->n_blocks; id++) {
        const struct block *b = &kv->blocks[id];
        if (b->window_refs < 0 || b->window_refs > b->refs ||
            (b->window == NONE && b->window_refs > 0) ||
            (b->window != NONE && b->window_refs == 0 && !b->indexed))
            return false;
        needed += b->window_refs > 0;
        idle += b->window != NONE && b->window_refs == 0;
    }
    for (int32_t id = kv->idle_head; id != NONE && listed <= idle;
         id = kv->blocks[id].window_next) {
        if (kv->blocks[id].window == NONE || kv->blocks[id].window_refs > 0)
            return false;
        listed++;
    }
    return idle == kv->n_windows_idle && listed == idle &&
           needed + idle + kv->n_windows_free == kv->n_windows;
}

bool kv_is_valid(const struct kv *kv)
{
    int32_t unheld = 0, indexed = 0;
    for (int32_t id = 0; id < kv->n_blocks; id++) {
        const struct block *b = &kv->blocks[id];
        if (b->refs < b->deferred_refs[0] + b->deferred_refs[1])
            return false;
        /* Rows are being written only into what somebody holds until they are. */
        if (b->draft_rows < 0 || b->draft_rows > B ||
            (b->writer_round > kv->retired && (b->refs == 0 || b->writer == 0)))
            return false;
        unheld += b->refs == 0;
        indexed += b->indexed;
    }
    return unheld == kv_n_free(kv) && indexed == kv->n_indexed && free_list_is_valid(kv) &&
           lru_is_valid(kv) && deferred_is_valid(kv, 0) && deferred_is_valid(kv, 1) &&
           index_is_valid(kv) && salts_are_valid(kv) && windows_are_valid(kv);
}
