/*
 * stats.c - counters from the engine thread to whoever scrapes them.
 *
 * The engine counts in a plain struct and publishes a copy once an iteration. It never waits for a
 * reader: if one holds the lock, the copy is left to the next one.
 */
#include "engine_impl.h"

#include <math.h>

const double engine_bucket_s[ENGINE_BUCKETS] = {
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,   0.2,
    0.5,    1.0,   2.0,   5.0,   10.0, 30.0, 60.0, 300.0, INFINITY,
};

void stats_observe(struct engine_histogram *h, uint64_t ns)
{
    double s = (double)ns / 1e9;
    int i = 0;
    while (i < ENGINE_BUCKETS - 1 && s > engine_bucket_s[i])
        i++;
    h->counts[i]++;
    h->sum_s += s;
}

void stats_publish(struct engine *e)
{
    e->stats.running = e->sched.n_running;
    e->stats.stalled = atomic_load(&e->n_stalled);
    e->stats.waiting = atomic_load(&e->n_live) - e->sched.n_running - e->stats.stalled;
    int32_t in_line = e->sched.share.n_waiting + e->sched.share.n_promised;
    e->stats.waiting_blocks = e->sched.is_blocked ? in_line : 0;
    e->stats.waiting_slot = e->sched.is_blocked ? 0 : in_line;
    e->stats.waiting_prompt = MAX(e->stats.waiting - in_line, 0); /* the queue grows meanwhile */
    e->stats.blocks_used = kv_n_used(e->kv);
    e->stats.blocks_total = kv_n_blocks(e->kv);
    e->stats.window_blocks_used = kv_n_windows_used(e->kv);
    e->stats.window_blocks_total = kv_n_windows(e->kv);
    e->stats.cache_queries = e->sched.cache_queries;
    e->stats.cache_hits = e->sched.cache_hits;
    e->stats.preemptions_share = e->sched.preemptions[PREEMPT_SHARE];
    e->stats.preemptions = e->stats.preemptions_share + e->sched.preemptions[PREEMPT_BLOCKS];
    const struct draft_budget *b = &e->drafts->budget;
    e->stats.draft_spent_s = b->spent_ns / 1e9;
    e->stats.draft_earned_s = b->earned_ns / 1e9;
    e->stats.draft_regret_s = b->regret_ns / 1e9;
    e->stats.busy_s = b->busy_ns / 1e9;
    if (pthread_mutex_trylock(&e->lock) != 0)
        return;
    e->published = e->stats;
    pthread_mutex_unlock(&e->lock);
}

void stats_liveness(struct engine *e)
{
    const struct flight *f = &e->sched.flight;
    uint64_t submitted_ns = e->times[(f->retired + 1) & 1].submitted_ns;
    bool any = flight_count(f) > 0;
    atomic_store(&e->iterated_ns, clock_ns());
    atomic_store(&e->round_ns, any ? MAX(submitted_ns, e->collected_ns) : 0);
}

/* The most of late: it fades by half in a dozen rounds. */
void stats_took(struct engine *e, uint64_t ns)
{
    uint64_t slowest = atomic_load(&e->slowest_ns);
    atomic_store(&e->slowest_ns, MAX(ns, slowest - slowest / 16));
}

void engine_liveness(const struct engine *e, struct engine_liveness *out)
{
    out->iterated_ns = atomic_load(&e->iterated_ns);
    out->round_ns = atomic_load(&e->round_ns);
    out->slowest_ns = atomic_load(&e->slowest_ns);
}

void engine_stats(const struct engine *e, struct engine_stats *out)
{
    struct engine *shared = (struct engine *)(uintptr_t)e; /* the lock alone is written */
    pthread_mutex_lock(&shared->lock);
    *out = shared->published;
    pthread_mutex_unlock(&shared->lock);
}
