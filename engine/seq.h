/*
 * seq.h - a request inside the engine: its tokens, its place, its blocks, its text in the making.
 *
 * Owned by the engine thread. A sequence is
 *   PREPARING  its prompt is being rendered and tokenized on the thread pool
 *   WAITING    in the scheduler's queue: holds no slot and no blocks (also after preemption)
 *   STALLED    set aside because its reader lags; holds nothing, waits to be drained
 *   RUNNING    holds a slot and the blocks of its first target_len rows and of this round's rows
 *   DONE       output finished; the loop takes it out and frees it before it plans again
 * tokens[0..len) is the committed text; len >= 1 once prepared. target_len and draft_len mirror the
 * device's (see specd/device.h). All three are as of the last round collected; what rounds in
 * flight add is in `parts` (see flight.h).
 */
#ifndef SPECD_SEQ_H
#define SPECD_SEQ_H

#include "constraint.h"
#include "drafters/drafter.h"
#include "draft_len.h"
#include "share.h"
#include "specd/engine.h"
#include "specd/request.h"
#include "stop.h"
#include "text/tokenizer.h"

enum seq_state { SEQ_PREPARING, SEQ_WAITING, SEQ_STALLED, SEQ_RUNNING, SEQ_DONE };

/* What a sequence does in a round. */
struct round_part {
    uint64_t round;            /* the round's number, as struct flight counts; 0: none */
    int32_t rows[MODEL_ROLES]; /* of that model after the round's chunk; 0: no such chunk */
    bool decodes;
    int32_t k;
    const struct drafter *drafter; /* NULL: none drafts */
    int32_t match;                 /* see drafter.h */
    bool unmasked; /* of a text under a grammar: the device drafts, so there are no masks */
    bool probe;    /* see draft_len.h; also why */
    enum draft_why why;
};

struct seq {
    struct request *req; /* holds the engine's reference */
    enum seq_state state;
    struct seq *prev, *next; /* the list of all sequences, oldest first */
    struct share_item share; /* whose it is among those that want slots */

    int32_t *tokens; /* (cap), committed */
    int32_t len, cap;
    int32_t n_prompt, limit;
    struct sample_params params; /* what slot_set gets */
    uint32_t *allowed;           /* the bits behind params.allowed, or NULL */
    uint32_t round;              /* rounds taken part in: the next round's number */

    int32_t slot;               /* -1 unless RUNNING */
    uint64_t stay;              /* names this stay in a slot to kv_draft_claim */
    struct round_part parts[2]; /* by parity of the round: planned, in flight, or just retired */
    int32_t target_len, draft_len;
    int32_t *blocks; /* (blocks_cap) */
    int32_t n_blocks, blocks_cap;
    int32_t n_blocks_sent; /* of these, known to the device */
    /* Of these, the blocks whose windowed rows it holds (kv.h); and up to which the device knows.
     */
    int32_t window_first, window_end, window_sent;
    bool draft_kv;    /* while RUNNING: a draft model may draft, its context is long enough */
    bool slot_is_new; /* slot_set is due before the next round, with the rows found cached: */
    int32_t cached_target_len, cached_draft_len;
    bool bos_added;   /* tokens[0] is a BOS that the prompt's text does not spell */
    bool score;       /* prompt rows are still to be scored: those from n_scored on */
    int32_t n_scored; /* rows */

    /* n > 1: the choice that computes the prompt for all; NULL once it has, or is gone. This one
     * waits for it unless it is RUNNING. */
    struct seq *parent;

    /* drafting */
    struct {
        const struct drafter *drafter;
        void *state;         /* of begin; NULL where it has none */
    } drafters[DRAFT_TYPES]; /* this request's, in order */
    int n_drafters;
    int n_bound_drafters; /* of them, the last so many draft only what a grammar binds */
    int32_t k_min, k_max, k_max_model, k_fixed; /* k_max_model: of models; k_fixed -1: adapt */
    struct draft_text about;                    /* what its drafters begin with */
    bool drafts_begun;
    struct prediction *prediction; /* of its answer: a reference, or NULL */
    struct lookup_pool *pool;      /* where its output goes (--lookup-shared): likewise */
    struct acceptance acceptance;
    struct draft_state draft_state;
    struct text_marks marks;
    bool used[DRAFT_TYPES];           /* drafters whose tokens were verified */
    enum draft_why no_draft;          /* why there are no drafters */
    uint32_t not_drafted[DRAFT_WHYS]; /* rounds with K = 0, by reason */

    struct constraint *constraint; /* what the text must be, or NULL */

    /* text */
    struct decoder decoder;
    struct stop_matcher *stop; /* NULL without stop strings */
    struct buf pending;        /* decoded and not yet released */
    size_t released;           /* bytes released so far */
    bool preparing_on_pool;    /* a preparation refers to it: waiting for the pool, or on it */
    bool stalled;              /* counts as such: STALLED, or ended in that state */

    /* clocks: clock_ns, 0 = not yet */
    uint64_t t_arrived, t_admitted, t_prompt_done, t_first, t_last, t_deadline;
    struct request_stats stats;
    struct client_watch *watch; /* hang-up poll on req->client_fd, or NULL */
};

struct seq *seq_new(struct request *req); /* takes the caller's reference on req */
void seq_free(struct seq *s);             /* drops it */

/* Makes ids[0..n) the prompt; copies. */
void seq_set_prompt(struct seq *s, const int32_t *ids, int32_t n);
/* Gives its drafters their state and the text so far, once: when it gets a slot, so that what waits
 * holds no more than its tokens. */
void seq_begin_drafts(struct seq *s);
/* The device gets to know the slot anew: what was found cached, or what a round drew and the host
 * does not take. No round in flight names it. */
void seq_renew_slot(struct seq *s);
/* Committed tokens; drafters that have begun see them, too. */
void seq_append(struct seq *s, const int32_t *ids, int32_t n);
/* Whether a drafter of this kind is among its own. DRAFT_FROM_MODEL: the draft's KV matters. */
bool seq_drafts_from(const struct seq *s, enum draft_source source);

/* Blocks that n positions need. */
static inline int32_t blocks_for(int32_t n_positions)
{
    return n_positions / SPECD_BLOCK_TOKENS + (n_positions % SPECD_BLOCK_TOKENS != 0);
}

#endif
