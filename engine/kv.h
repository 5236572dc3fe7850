/*
 * kv.h - which block of the KV pool holds what: references, a free list, a prefix index, eviction.
 *
 * Pure data: block ids and tokens, no device, no memory of keys and values. Owned by the engine and
 * called from its thread alone. Nothing fails except kv_alloc; misuse is a bug and asserts.
 *
 * A block holds the rows of SPECD_BLOCK_TOKENS (B) positions for target and draft. It is
 *   free      nobody's
 *   private   held by sequences (references > 0) and not in the index; writable while refs == 1
 *   indexed   in the prefix index and frozen for good; held, or unreferenced and then evictable
 *
 * No target row is ever written into a block that is indexed or referenced twice. Hence kv_commit
 * indexes a block when its B target rows are computed and its tokens committed: its owner writes no
 * further one.
 *
 * Draft rows come when they pay, often later and perhaps never. Each block has a mark: so many of
 * its draft rows, from the first, are computed. Their bits depend on the tokens alone, so they may
 * be added to any block behind its mark, in order, whoever else holds it, and a reader counts on
 * rows up to the mark only. One sequence at a time writes them: kv_draft_claim gives the block to
 * it until the round it was claimed for has retired. A prefix hit does not depend on the marks.
 *
 * The index is a forest: an entry is (parent entry, B tokens), a root is a cache salt. A hit
 * compares the tokens and the parent's identity, which is a serial number never used twice; a hash
 * only finds candidates. When a block completes whose content is indexed already, the existing
 * block stays and the new one remains private; but the new one takes the entry over, with all that
 * hangs below it, from a block with fewer draft rows, and from one that nobody holds (which is then
 * free). The block that lost its entry is private to whoever still holds it.
 *
 * Eviction is least recently used among unreferenced indexed blocks. A sequence's blocks are given
 * back last first, so its tail goes before its head.
 *
 * Windows. A layer that attends to the last `window` positions needs no older rows. Blocks of such
 * layers are a group of their own, a pool beside this one: a block has one of them, its windowed
 * rows, while somebody needs these, and for later hits as long as no other needs the room. A
 * sequence takes them for blocks whose rows it is about to compute, and drops them when its next
 * row is beyond the window. Dropped by all, they stay with a block that is indexed, until evicted,
 * least recently dropped first; else they are free at once. So a hit ends where the windowed rows
 * that the next row sees are all there. Rounds run in order, so what is dropped may be another's
 * in the next round: no round in flight reads or writes what is behind a window or of a sequence
 * that has left for anybody's use.
 *
 * Every operation is O(1) per block. Nothing is allocated after kv_create except one copy of each
 * cache salt while blocks under it are indexed.
 */
#ifndef SPECD_KV_H
#define SPECD_KV_H

#include "specd/limits.h"

#include <stdbool.h>
#include <stdint.h>

struct kv;

struct kv_stats {
    uint64_t queries;   /* tokens that kv_match was asked about, its cap applied */
    uint64_t hits;      /* of these, tokens found */
    uint64_t evictions; /* indexed blocks that made room */
};

struct kv *kv_create(int32_t n_blocks);
/* A group of n_blocks for layers whose widest window is `window` positions; once, before all else.
 */
void kv_add_windows(struct kv *kv, int32_t n_blocks, int32_t window);
void kv_free(struct kv *kv); /* NULL is fine */

int32_t kv_n_blocks(const struct kv *kv);
int32_t kv_n_free(const struct kv *kv);     /* free and evictable: what kv_alloc can give */
int32_t kv_n_used(const struct kv *kv);     /* the others: referenced, deferred frees included */
int32_t kv_n_deferred(const struct kv *kv); /* of these, held by deferred frees alone */
/* Of a sequence's blocks, those that nobody else holds: its giving them back frees so many. */
int32_t kv_n_sole(const struct kv *kv, const int32_t *blocks, int32_t n);

/* ---- windowed rows; without such a group nothing is taken, held or dropped ---- */

/* The first block whose windowed rows a sequence needs whose next row is at `rows`. */
int32_t kv_window_first(const struct kv *kv, int32_t rows);
/* Takes windowed rows for a sequence's own block, evicting as needed; there is room, for so the
 * group was sized. */
void kv_window_take(struct kv *kv, int32_t block);
/* Their id in the group, of a block that has some. */
int32_t kv_window_id(const struct kv *kv, int32_t block);
/* The sequence needs the windowed rows of these blocks no more. Comes before their kv_release. */
void kv_window_drop(struct kv *kv, const int32_t *blocks, int32_t n);
int32_t kv_n_windows(const struct kv *kv);
int32_t kv_n_windows_used(const struct kv *kv); /* of these, held by sequences */

/*
 * Finds the longest chain of indexed blocks that holds a prefix of tokens[0..n), at most
 * floor((n - 2) / B) blocks: the target rows after it, the last prompt row among them, are the
 * sequence's own. Takes a reference on each, writes their ids to blocks (room for n / B) and
 * returns their number; holds the windowed rows of those from kv_window_first(*target_rows) on, and
 * finds no more than have them. *target_rows = blocks * B; *draft_rows: of those, the ones computed
 * without a gap. salt: requests with different salts share nothing; NULL and "" are one salt.
 */
int kv_match(struct kv *kv, const char *salt, const int32_t *tokens, int32_t n, int32_t *blocks,
             int32_t *target_rows, int32_t *draft_rows);

/* n private blocks with one reference each, evicting as needed. 0; or -1 and nothing taken. */
int kv_alloc(struct kv *kv, int32_t n, int32_t *blocks);

/* Drops one reference on each of a sequence's blocks, given first to last. An indexed block that
 * nobody holds stays cached; a private one is free at once: use kv_release_after while a round that
 * touches it may still run. */
void kv_release(struct kv *kv, const int32_t *blocks, int32_t n);

/* As kv_release, but the references are held until kv_retire(round_no or later). Rounds are counted
 * from 1 in order of submission; round_no is the last one submitted, and at most two are in flight.
 * 0, or a round that has retired already, releases at once. */
void kv_release_after(struct kv *kv, const int32_t *blocks, int32_t n, uint64_t round_no);
void kv_retire(struct kv *kv, uint64_t round_no); /* all rounds up to this one are collected */

/*
 * Tells what the rows of a sequence hold now; called after each round and before the sequence gives
 * its blocks back. blocks[0..n_blocks) are all its blocks, tokens[0..n_target_rows) its committed
 * tokens, both from position 0. Indexes full blocks and moves marks. Counts come from collected
 * rounds.
 */
void kv_commit(struct kv *kv, const char *salt, const int32_t *tokens, int32_t n_target_rows,
               int32_t n_draft_rows, const int32_t *blocks, int32_t n_blocks);

/* May its one holder write target rows into it? */
bool kv_writable(const struct kv *kv, int32_t block);
/* Is it frozen: in the prefix index? */
bool kv_is_indexed(const struct kv *kv, int32_t block);

/* Whether `who` (not 0), a holder, may write draft rows from position `offset` of the block on: its
 * mark is not beyond them, and nobody else has claimed it for a round that has not retired. */
bool kv_draft_open(const struct kv *kv, int32_t block, int32_t offset, uint64_t who);
/* Claims an open block for a round, numbered as in kv_release_after. */
void kv_draft_claim(struct kv *kv, int32_t block, uint64_t who, uint64_t round_no);
/* Draft rows that blocks hold without a gap, given that those before `from` are there. */
int32_t kv_draft_rows(const struct kv *kv, const int32_t *blocks, int32_t n_blocks, int32_t from);

/* Forgets every cached prefix; what sequences hold stays theirs. */
void kv_clear_index(struct kv *kv);

void kv_stats(const struct kv *kv, struct kv_stats *out);

/* The whole structure checked, O(n_blocks): for debug builds and tests. */
bool kv_is_valid(const struct kv *kv);

#endif
