/*
 * device.h - THE device boundary. cpu/ and cuda/ each fill one `struct device_ops`.
 *
 * A device owns the weights, the KV pool and the state of every slot, and runs rounds. It knows
 * nothing of requests, text or policy: which sequences run, how many tokens each drafts and which
 * blocks hold their KV is told to it.
 *
 * Threads. Every call comes from the engine thread. open, model_load, pool_create and close may
 * block; nothing else does. A round runs on the device's own threads (or its GPU); on_done is
 * called once per round from such a thread, and must do no more than wake the engine.
 *
 * A slot's state on the device:
 *   tokens[0..len)  committed text, prompt and generated; len >= 1
 *   rows[role]      rows of that model's KV that are valid, <= len - 1. Between rounds of a
 *                   decoding slot the target has len - 1: the last committed token is fed by the
 *                   next verify pass.
 *   round           number of the request's next round: part of the random counter
 * A row is one (slot, position): the token fed is tokens[position], so a pass is described by slots
 * and positions only, and drafted tokens x~_k, kept at tokens[len - 1 + k], never leave the device.
 *
 * One round, as engine/round.c writes it (Chen et al. 2023, algorithm 2):
 *   begin(round)
 *   forward(TARGET, ROWS_PROMPT), forward(DRAFT, ROWS_PROMPT)     when the round has such chunks
 *   for k = 1..K:  forward(DRAFT, ROWS_STEP, k), draw(k)          slots whose K_i >= k
 *   forward(TARGET, ROWS_VERIFY)                                  K_i + 1 rows of each slot
 *   verify(), end()                                               accept, resample, advance
 *
 * Prompt rows produce no logits but where their tokens are to be scored (echo with logprobs): a
 * prompt of n tokens is prefilled to n - 1 rows, and the first verify pass feeds its last token
 * like any other.
 *
 * Bitwise contract: the logits and KV of a row depend on the weights and the sequence alone, never
 * on the other rows of the pass, their number, the slot, the block ids or the number of threads.
 *
 * Errors: verbs return 0 or a negative SPECD_E*. A failure while a round runs is reported by poll
 * as SPECD_EDEVICE; the device is unusable afterwards.
 */
#ifndef SPECD_DEVICE_H
#define SPECD_DEVICE_H

#include "specd/error.h"
#include "specd/hostdevice.h"
#include "specd/limits.h"
#include "specd/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device; /* opaque; each implementation has its own */

enum model_role { MODEL_TARGET, MODEL_DRAFT, MODEL_ROLES };

/* How weights are kept on the device. NATIVE keeps a file's own blocks where there is a kernel. */
enum weight_type { WEIGHT_NATIVE, WEIGHT_F32, WEIGHT_BF16, WEIGHT_Q8_0, WEIGHT_FP8, WEIGHT_INT4 };
enum kv_type { KV_BF16, KV_F32, KV_FP8 };
/* What integer weights multiply on the CPU device: rows rounded to 8 bits, 15 where a value stands
 * out, or floats as they are. The CUDA device has a format of its own and refuses all but the
 * default. */
enum activations { ACTIVATIONS_INT8, ACTIVATIONS_F32 };

/* ---- opening and sizing ---------------------------------------------------------------------- */

struct device_info {
    char name[128];
    uint64_t memory_bytes;      /* what the device can use: total or cgroup limit */
    uint64_t memory_free_bytes; /* of that, free now */
    bool dedicated_memory;      /* nobody else is meant to use it: all that is free may be taken */
    double read_bandwidth; /* bytes per second, measured at open over a buffer beyond the caches */
    int rounds_in_flight;  /* rounds that may be submitted before the first is collected: 1 or 2 */
};

struct device_setup {
    const struct model *models[MODEL_ROLES]; /* draft may be NULL */
    enum weight_type weights[MODEL_ROLES];
    /* Layers of the target that make up the draft (--model-draft self:...): the draft then shares
     * the target's weights, models[MODEL_DRAFT] is NULL, and n_self_layers > 0. Ascending. */
    const uint32_t *self_layers;
    uint32_t n_self_layers;
    enum kv_type kv;
    enum activations activations;
    int n_slots;  /* 1 .. SPECD_SLOTS_MAX */
    int n_ctx;    /* longest sequence, tokens */
    int max_rows; /* rows of one prompt pass */
    int k_max;    /* 0 .. SPECD_K_MAX */
    int k_draft;  /* of these, as many as a draft model drafts: its laws have room for no more;
                     0: k_max */
    int threads;  /* of the host; 0 = one per core */
    /* Slots may have draft_ids: memory is there for them. Without, they are refused. */
    bool trims_draft;
    /* CUDA device. A prompt's rows get the bits of any other row's, whatever its chunks; and no
     * captured graphs: the same kernels, launched one by one. */
    bool reproducible, eager;
};

/* Bytes by class, as printed at start. block_bytes: K and V for one block of both models, but for
 * the target's layers with windows; window_block_bytes: of these. graph_bytes: an estimate, the
 * driver decides. */
struct device_plan {
    uint64_t weights_bytes[MODEL_ROLES];
    uint64_t block_bytes, window_block_bytes;
    uint64_t activation_bytes, slot_bytes, workspace_bytes, graph_bytes;
};

typedef void device_progress(void *arg, enum model_role role, uint64_t done, uint64_t total);

/* ---- slots ----------------------------------------------------------------------------------- */

enum verify_mode { VERIFY_RATIO, VERIFY_BLOCK, VERIFY_COUPLED };

/* How logits become a law, in this order: penalties, bias and masks, temperature, top-k, top-p,
 * min-p. Ranges are those of docs/api.md and are checked by the server. */
struct law_params {
    float temperature; /* 0: the law is one-hot at the largest logit, lowest index on ties */
    int32_t top_k;     /* 0: off */
    float top_p;       /* 1: off */
    float min_p;       /* 0: off */
    float presence, frequency; /* 0: off; count generated tokens */
    float repetition;          /* 1: off; counts prompt and generated tokens */
};

/* A committed token with this id ends the sequence. It has no mass at positions before `from`. */
struct end_token {
    int32_t id, from;
};

/* Words of a mask over the vocabulary: bit i % 32 of word i / 32 is that of id i. */
SPECD_HD int32_t mask_words(int32_t n_vocab)
{
    return (n_vocab + 31) / 32;
}

struct sample_params {
    struct law_params target, draft;
    uint64_t seed;
    enum verify_mode mode;
    struct end_token ends[SPECD_ENDS_MAX]; /* an id may occur twice: the later `from` counts */
    int32_t n_ends;
    int32_t n_bias;          /* logit_bias, 0..SPECD_BIAS_MAX; copied by slot_set */
    const int32_t *bias_ids; /* (n_bias), each once */
    const float *bias;       /* (n_bias), -INFINITY bans */
    const uint32_t *allowed; /* (mask_words(V)) ids that may be drawn; NULL: all may. Copied by
                                slot_set */
    /* (mask_words(V)) ids whose logits a draft step computes: a draft model's law is zero on all
     * others, and where bans leave it nothing the draft ends before that token. A logit's bits do
     * not depend on which others there are. NULL: all ids. Copied by slot_set. */
    const uint32_t *draft_ids;
    int32_t n_logprobs; /* -1: none; 0..20: that many alternatives beside the token's own */
};

/* Everything a slot starts with: a new request, or one coming back after preemption. */
struct slot_config {
    struct sample_params params;
    const int32_t *tokens; /* (n_tokens) committed so far; copied */
    int32_t n_tokens;
    int32_t n_prompt;          /* of these, the prompt */
    int32_t limit;             /* committed tokens never exceed this; <= n_ctx */
    int32_t rows[MODEL_ROLES]; /* of each model's KV that the slot's blocks hold already */
    uint32_t round;
};

/* ---- rounds ---------------------------------------------------------------------------------- */

enum draft_source { DRAFT_FROM_MODEL, DRAFT_FROM_HOST };

/* A decoding slot. The device lowers k so that len + k + 1 <= limit, and to 0 when a model draft
 * lags more than SPECD_DRAFT_LAG_MAX rows. */
struct round_seq {
    int32_t slot;
    int32_t k;
    enum draft_source source;
    int32_t host_draft[SPECD_K_MAX]; /* DRAFT_FROM_HOST: x~_1..x~_k, a point-mass proposal */
    /* (k + 1, mask_words(V)) or NULL, as sample_params.allowed. Row i says what may follow
     * the committed text and i drafted tokens, beside all that params say: a grammar's word, known
     * where the drafts are the host's, or there are none; SPECD_EINVAL elsewhere. */
    const uint32_t *masks;
};

/* Rows start..start+n of a slot through one model. start is rows[role], start + n <= len - 1.
 * Catch-up of a lagging draft is such a chunk. A scored one is the target's, of a slot with
 * n_logprobs >= 0; scored rows are at most SPECD_SCORE_ROWS in a round. */
struct round_chunk {
    int32_t slot;
    enum model_role role;
    int32_t start, n;
    bool score; /* report the log-probabilities of tokens[start + 1 .. start + n] */
};

struct round {
    struct round_seq seqs[SPECD_SLOTS_MAX]; /* a slot at most once */
    int32_t n_seqs;
    struct round_chunk chunks[2 * SPECD_SLOTS_MAX]; /* a (slot, role) at most once */
    int32_t n_chunks;
    float synthetic_acceptance; /* >= 0: benchmarks only, accept with this probability */
};

enum row_set { ROWS_PROMPT, ROWS_STEP, ROWS_VERIFY };

enum seq_flags {
    SEQ_END = 1,               /* the last token is in params.ends */
    SEQ_NUMERIC = 2,           /* NaN or infinite logits: nothing was committed */
    SEQ_RESIDUAL_FALLBACK = 4, /* the residual was zero everywhere; drew from the target's law */
};

struct token_logprob {
    int32_t id;
    float logprob; /* natural log, of the target's law before any warp */
};
#define SPECD_LOGPROBS_MAX 20

struct seq_result {
    int32_t slot;
    int32_t n_drafted; /* K after the device's clamps */
    int32_t n_accepted;
    int32_t n_tokens; /* committed this round: n_accepted + 1, fewer at an end token; 0: the slot
                         had ended in a round that was in flight when this one was submitted */
    int32_t tokens[SPECD_K_MAX + 1];
    float overlap[SPECD_K_MAX];     /* sum over the vocabulary of min(p, q), positions up to
                                       and including the first rejection */
    int32_t len, rows[MODEL_ROLES]; /* the slot after the round */
    uint32_t flags;
    /* With n_logprobs >= 0: per committed token its own and the top alternatives. Valid until the
     * next begin; NULL otherwise. (n_tokens) and (n_tokens, n_logprobs). */
    const struct token_logprob *own, *top;
};

/* Of a scored chunk: tokens start+1 .. start+n, (n) and (n, n_logprobs). Valid until the next
 * begin.
 */
struct score_result {
    int32_t slot, start, n;
    const struct token_logprob *own, *top;
};

struct round_result {
    struct seq_result seqs[SPECD_SLOTS_MAX];
    int32_t n_seqs;
    struct score_result scores[SPECD_SCORE_ROWS];
    int32_t n_scores;
    uint64_t prompt_ns, draft_ns, verify_ns, sample_ns; /* draw and accept are `sample` */
    uint64_t draft_prompt_ns; /* of prompt_ns, what the draft model's rows took */
    uint64_t idle_ns;         /* the device did nothing between the round before and this one */
};

/* ---- taps: the target's hidden states -------------------------------------------------------- */
/*
 * Agreed on, and built by no device yet: what drafters that read the target's hidden states need
 * (EAGLE-3, arXiv 2503.01840; multi-token prediction, arXiv 2412.19437), and embeddings.
 *
 * Which. Tap k, 0 <= k <= L, is a row's residual stream after k layers: tap 0 is the embedding, tap
 * L goes into the final norm, and tap L + 1 is what comes out of it. device_setup will list those
 * of the target that anything reads, n_taps of them, ascending, so that `plan` counts their memory;
 * without any, nothing changes. A tap of a row is (C), of the type in which the device keeps its
 * residual stream, and obeys the bitwise contract as logits do.
 *
 * On the device, for a head. The device owns three places, at fixed addresses:
 *   of a prompt pass  (max_rows, n_taps, C): the rows of the target's last ROWS_PROMPT pass, valid
 *                     until its next one. The head's K and V of these rows are made in the same
 *                     round, right behind the pass: nothing keeps the taps for later.
 *   of a slot         (k_max + 1, n_taps, C): the verify rows of the slot's last round. They stand
 *                     up to the last accepted position; what is behind it is noise. Valid until the
 *                     slot's next verify pass, so the first draft step of the next round may read
 *                     them although it was submitted before this round was collected. slot_set
 *                     makes them invalid.
 *   of a block        (n_taps, C): its last position. The head's first row behind a prefix hit
 *                     pairs this tap with the token that follows; no target row is computed again.
 * A round without the head (K = 0, or drafts of the host) extends the head's KV all the same, for
 * its rows can lag no further than the slot's place reaches.
 *
 * On the host, for embeddings. A round_chunk of the target will say which of its rows are copied
 * out, the last or all, at most SPECD_SCORE_ROWS in a round; such a chunk may reach start + n =
 * len, as no verify pass has to feed the last token. round_result gives their taps as floats,
 * (rows, n_taps, C): the device's, valid until the next begin.
 */

struct device_ops {
    const char *name;

    /* index: which, of several of its kind; -1: the device chooses. */
    int (*open)(struct device **dev, int index, char *err, size_t errlen);
    void (*describe)(const struct device *dev, struct device_info *out);
    void (*close)(struct device *dev); /* waits for a round in flight */

    /* Fails with EINVAL naming what it can't do (a weight type, a shape). Allocates nothing. */
    int (*plan)(const struct device *dev, const struct device_setup *setup, struct device_plan *out,
                char *err, size_t errlen);
    /* Takes the setup (whose models must outlive the device) and makes the weights resident. With
     * n_self_layers, the draft needs no load of its own. */
    int (*model_load)(struct device *dev, const struct device_setup *setup,
                      device_progress *progress, void *arg, char *err, size_t errlen);
    /* Allocates everything else, n_blocks blocks of KV included. n_window_blocks: of a group of
     * their own for the target's layers with windows; 0: theirs are parts of the n_blocks, under
     * the same ids. on_done: see above. */
    int (*pool_create)(struct device *dev, int32_t n_blocks, int32_t n_window_blocks,
                       void (*on_done)(void *arg), void *arg, char *err, size_t errlen);

    /* Both copy their arguments and take effect at the next begin. slot_blocks sets entries
     * first..first+n of the slot's block table: entry i holds positions i*SPECD_BLOCK_TOKENS... A
     * group of windowed layers has entries of its own, in the same order, behind the
     * ceil(n_ctx / SPECD_BLOCK_TOKENS) others. Those of positions that no row of a round sees may
     * be any, and their blocks another slot's. */
    int (*slot_set)(struct device *dev, int32_t slot, const struct slot_config *config);
    int (*slot_blocks)(struct device *dev, int32_t slot, int32_t first, int32_t n,
                       const int32_t *ids);

    int (*begin)(struct device *dev, const struct round *round); /* copies it */
    int (*forward)(struct device *dev, enum model_role role, enum row_set rows, int step);
    int (*draw)(struct device *dev, int step); /* x~_step of every slot with K >= step */
    int (*verify)(struct device *dev);
    int (*end)(struct device *dev); /* submits; begin..end only record */

    /* 1: a round is ready to collect, 0: running or none. Rounds are collected in the order of
     * their ends; begin is refused while info.rounds_in_flight of them are not. */
    int (*poll)(struct device *dev);
    int (*collect)(struct device *dev, struct round_result *out);
};

extern const struct device_ops cpu_device_ops;
extern const struct device_ops cuda_device_ops; /* only in builds with SPECD_CUDA */

#endif
