/*
 * engine_impl.h - the engine's own state, and what the files of the loop call of one another.
 *
 * Everything here belongs to the engine thread, except what is marked shared. Calls go one way:
 * engine.c -> commit.c -> entry.c -> finish.c, and nothing calls engine.c back. What else wants the
 * loop to go on sends itself `wake`.
 */
#ifndef SPECD_ENGINE_IMPL_H
#define SPECD_ENGINE_IMPL_H

#include "constraint.h"
#include "kv.h"
#include "mailbox.h"
#include "model/model_file.h"
#include "draft_len.h"
#include "draft_vocab.h"
#include "prepare.h"
#include "scheduler.h"
#include "seq.h"
#include "specd/engine.h"
#include "specd/fair_queue.h"

#include <uv.h>

/* Of a round in flight. */
struct round_times {
    uint64_t submitted_ns;
    bool follows; /* planned as soon as a round was collected, or while one was in flight */
    /* By slot: whether the draft model drafts, and rows of it computed for later. */
    bool by_model[SPECD_SLOTS_MAX];
    int32_t fill[SPECD_SLOTS_MAX];
};

struct engine {
    struct engine_config config;

    /* shared */
    uv_thread_t thread;
    uv_async_t wake; /* something in the mailbox, a cancel, a drain or a close */
    uv_async_t done; /* the device finished a round */
    struct mailbox inbox;
    atomic_int state; /* enum engine_state */
    atomic_int max_queue, request_timeout_ms;
    atomic_int n_live; /* requests submitted and not finished */
    atomic_int
        n_stalled; /* of these, set aside for their readers: they take no place in the queue */
    atomic_bool drain_requested, close_requested;
    atomic_int drain_ms;
    _Atomic uint64_t iterated_ns, round_ns, slowest_ns; /* see struct engine_liveness */
    pthread_mutex_t lock;                               /* of published */
    struct engine_stats published;
    char failure[512]; /* this and the next: written once, before the state becomes FAILED */
    int exit_code;
    struct engine_info info; /* immutable once READY */

    /* loaded once, immutable afterwards */
    struct model_file *target_file, *draft_file;
    struct tokenizer *tokenizer;
    struct chat_template *chat, *chat_tools;
    struct prepare_tables prepare;
    struct constraint_tables constraints; /* the engine thread's */
    struct draft_vocab draft_vocab;       /* likewise */

    /* engine thread */
    uv_loop_t loop;
    uv_timer_t timer; /* deadlines, stalled readers, the drain deadline */
    struct device *dev;
    const struct device_ops *ops;
    struct device_info device_info;
    struct device_setup setup;
    struct kv *kv;
    struct draft_len *drafts;
    struct sched sched;
    struct lookup_pools *pools;  /* of --lookup-shared, or NULL */
    struct round round;          /* being planned or submitted: the device copies it */
    struct round_result result;  /* of the round collected last */
    struct round_times times[2]; /* of rounds in flight, by parity of their number */
    uint64_t round_began_ns;     /* of the round collected last, as far as the host knows */
    uint64_t collected_ns, iteration_began_ns;
    struct engine_stats stats;
    struct fair_queue unprepared; /* requests whose prompts wait for the thread pool */
    int n_preparing;              /* on it */
    uint64_t drain_deadline_ns;
};

/* ---- load.c */

bool drafter_configured(const struct engine_config *c, enum drafter_type d);

/* Loads models, sizes and allocates everything, measures costs. Engine thread, before the loop
 * serves; writes the reason into err. */
int engine_load(struct engine *e, char *err, size_t errlen);
void engine_unload(struct engine *e);

/* ---- entry.c */

/* Takes the reference that came with the mailbox. The sequence is ready to run, or has failed, when
 * its prompt has been through the thread pool. */
void entry_begin(struct engine *e, struct request *req);

/* ---- finish.c */

/* Ends a sequence's output and marks it DONE, once. error: 0, or a SPECD_E* with reason
 * FINISH_ERROR; message: NULL for the error's own text. */
void seq_finish(struct engine *e, struct seq *s, enum finish_reason reason, int error,
                const char *message);
/* The same, by who holds the output's lock. */
void seq_end(struct engine *e, struct seq *s, enum finish_reason reason, int error,
             const char *message);

/* Keeps e->n_stalled. */
void seq_count_stalled(struct engine *e, struct seq *s, bool stalled);

/* ---- echo.c: the prompt given back, for params.echo */

/* A token's own log-probability and n_top others, as the i-th entry of a list in the output. */
void logprobs_put(struct token_logprob *list, size_t i, const struct token_logprob *own,
                  const struct token_logprob *top, int32_t n_top);
void echo_begin(struct engine *e, struct seq *s);
void echo_score(struct seq *s, const struct score_result *r);

/* ---- commit.c: a round's results become text, statistics and finished requests */

void commit_round(struct engine *e, uint64_t number);
/* Whether a STALLED sequence's reader has caught up. */
bool seq_reader_drained(struct seq *s);

/* ---- stats.c */

void stats_observe(struct engine_histogram *h, uint64_t ns);
void stats_publish(struct engine *e);           /* makes e->stats what engine_stats returns */
void stats_liveness(struct engine *e);          /* at the beginning and end of an iteration */
void stats_took(struct engine *e, uint64_t ns); /* a round's time on the device */

/* ---- watch.c: hang-ups */

void watch_start(struct engine *e, struct seq *s); /* takes req->client_fd */
void watch_stop(struct seq *s);

#endif
