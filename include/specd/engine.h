/*
 * engine.h - what the server may ask of the engine.
 *
 * The engine is one thread running a libuv loop that owns all inference state. These calls are
 * thread-safe; none waits for a round. Life: open -> (LOADING) -> READY -> drain -> STOPPED, or
 * FAILED at any point.
 */
#ifndef SPECD_ENGINE_H
#define SPECD_ENGINE_H

#include "specd/device.h"
#include "specd/draft_why.h"
#include "specd/request.h"

struct engine;

#define ENGINE_DRAFTERS_MAX 4
/* Bounds on K where nobody sets one; drafts of the host cost no passes. */
#define DRAFT_MAX_MODEL 8
#define DRAFT_MAX_HOST 15

/* Instead of a number of ids, see engine/draft_vocab.h. */
#define DRAFT_VOCAB_AUTO 0
#define DRAFT_VOCAB_ALL (-1)

struct engine_config {
    const struct device_ops *device;
    int device_index;                  /* of several of its kind; -1: the device chooses */
    const struct device_ops *fallback; /* where `device` can't be opened; NULL: that is an error */
    const char *model_path;            /* a GGUF file or a Hugging Face folder */
    enum drafter_type drafters[ENGINE_DRAFTERS_MAX]; /* tried in this order each round; each once,
                                                        at most one of MODEL and SELF, no NONE */
    int n_drafters;
    const char *draft_path;      /* DRAFT_MODEL */
    const uint32_t *self_layers; /* DRAFT_SELF */
    uint32_t n_self_layers;
    const char *chat_template; /* replaces the model's own; or NULL */
    const char *alias;         /* model id; NULL: from the file */
    enum weight_type weights, draft_weights;
    enum kv_type kv;
    enum activations activations;
    int n_ctx; /* 0: the model's */
    int n_slots, max_rows, threads;
    bool reproducible, eager;                 /* see device_setup */
    int draft_max, draft_max_host, draft_min; /* bounds on K: of models, of others, of all */
    int draft_fixed;                          /* -1: adapt */
    int32_t draft_vocab; /* ids that a draft model drafts, or one of DRAFT_VOCAB_ */
    enum verify_mode default_mode;
    uint64_t kv_bytes; /* 0: choose */
    int max_queue;
    int request_timeout_ms;
    float synthetic_acceptance; /* < 0: off */
    bool lookup_shared;         /* lookup also in recent outputs of the same cache_salt */
    /* Called on the engine thread when state changes; must not block. */
    void (*on_state)(void *arg);
    void *on_state_arg;
};
void engine_config_init(struct engine_config *config);

enum engine_state { ENGINE_LOADING, ENGINE_READY, ENGINE_DRAINING, ENGINE_STOPPED, ENGINE_FAILED };

/* Immutable once READY. */
struct engine_info {
    char model_id[128];
    char arch[32];
    char device[128];
    char draft[256]; /* human-readable: "none", "lookup", "model PATH", ... */
    uint32_t n_vocab, n_ctx, n_ctx_train, n_embd, n_layers;
    uint64_t n_params, file_bytes;
    int64_t modified; /* the model's file or folder, seconds since 1970 */
    int n_slots;
    int32_t n_blocks, block_tokens;
};

/* A snapshot of counters, read without locks: each value is right, together they may be a round
 * apart. Histograms have ENGINE_BUCKETS cumulative-free counts, upper bounds in engine_bucket_s. */
#define ENGINE_BUCKETS 18
extern const double engine_bucket_s[ENGINE_BUCKETS]; /* seconds; the last is +infinity */
struct engine_histogram {
    uint64_t counts[ENGINE_BUCKETS];
    double sum_s;
};
struct engine_stats {
    int64_t running, waiting, stalled, blocks_used, blocks_total; /* stalled: its reader lags */
    int64_t window_blocks_used, window_blocks_total;              /* of layers with windows */
    uint64_t prompt_tokens, generation_tokens;
    uint64_t finished_stop, finished_length, finished_error, finished_cancelled;
    uint64_t cache_queries, cache_hits; /* prompt tokens looked up; found */
    /* Of those that wait: for their prompt, from the thread pool or another choice of it; for a
     * slot; for blocks. */
    int64_t waiting_prompt, waiting_slot, waiting_blocks;
    uint64_t preemptions, preemptions_share; /* the second: of these, for another client's share */
    uint64_t rounds, drafts, draft_tokens, accepted_tokens;
    uint64_t accepted_by_pos[SPECD_K_MAX];
    uint64_t residual_fallbacks, disconnects;
    uint64_t not_drafted[DRAFT_WHYS]; /* a request's rounds with K = 0, by reason */
    /* What drafting took beyond plain rounds, what its accepted tokens saved, and what it lost
     * where it lost (engine/draft_budget.h); of all that rounds took. Seconds. */
    double draft_spent_s, draft_earned_s, draft_regret_s, busy_s;
    uint64_t prompt_ns, draft_ns, verify_ns, sample_ns, host_ns;
    struct engine_histogram ttft, itl, e2e, queue;
};

/* Starts the thread and begins to load. The config's strings must outlive the engine. */
int engine_open(struct engine **out, const struct engine_config *config, char *err, size_t errlen);
enum engine_state engine_state(const struct engine *e);
/* Why the state is FAILED; empty otherwise. exit_code: 1 could not start, 70 device fault. */
const char *engine_failure(const struct engine *e, int *exit_code);
const struct engine_info *engine_info(const struct engine *e); /* NULL before READY */
void engine_stats(const struct engine *e, struct engine_stats *out);
/* Does it still work? Each value is right, together they may be a moment apart. */
struct engine_liveness {
    uint64_t iterated_ns; /* clock_ns when the loop last turned; 0: not yet */
    uint64_t round_ns; /* since when the device has the oldest round in flight; 0: there is none */
    uint64_t slowest_ns; /* how long rounds of late took at most */
};
void engine_liveness(const struct engine *e, struct engine_liveness *out);
/* The bytes of a token, special ones by their text; not NUL-terminated, the engine's. READY only.
 */
const char *engine_token_bytes(const struct engine *e, int32_t id, size_t *len);

/* Text and tokens without a request, for any thread but the HTTP one: a long text takes long. READY
 * only. *ids is malloc'd, the caller frees it. special: texts of control tokens become those
 * tokens; bos: the model's own first and last tokens are added. */
int engine_tokenize(const struct engine *e, const char *text, size_t len, bool bos, bool special,
                    int32_t **ids, size_t *n_ids);
/* Appends the text of ids from the at-th on, special tokens included, until that is most bytes or
 * somewhat more, not within a character. Returns where to go on; n_ids: that was all. Every id must
 * be below n_vocab. */
size_t engine_detokenize(const struct engine *e, const int32_t *ids, size_t n_ids, size_t at,
                         size_t most, struct buf *out);
/* How many tokens a request's prompt has, be it longer than the context. Errors as below. */
int engine_count_prompt(const struct engine *e, const struct request *req, size_t *n, char *err,
                        size_t errlen);
/* Appends the prompt of a chat. EINVAL names the field in err. */
int engine_apply_template(const struct engine *e, const struct request *req, struct buf *out,
                          char *err, size_t errlen);
/* The source of the chat template; "" without one. */
const char *engine_chat_template(const struct engine *e);

/* Takes a reference of its own. 0, EBUSY (queue full), ELOADING or EDRAINING; later failures
 * arrive as output. Requests end with output.finish set, always. */
int engine_submit(struct engine *e, struct request *req);
/* Changes two limits of the configuration for requests that come from now on. */
void engine_limits(struct engine *e, int max_queue, int request_timeout_ms);
/* Idempotent; allowed at any time after submit. The output ends with ECANCELED. */
void engine_cancel(struct engine *e, struct request *req);
/* No new work; what runs may finish until the deadline, then it is ended with EDRAINING. */
void engine_drain(struct engine *e, int deadline_ms);
/* Ends every request, stops the thread, frees all. */
void engine_close(struct engine *e);

#endif
