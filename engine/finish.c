/*
 * finish.c - the end of a sequence: its output is complete, and it is marked DONE.
 *
 * Nothing else happens here, so whoever walks the list of sequences may end any of them on the way.
 * What an ended one holds, and its reader, are the loop's concern (engine.c: sweep).
 */
#include "engine_impl.h"

#include <stdio.h>

static const char *drafters_used(const struct seq *s)
{
    const char *name = drafter_name(DRAFT_NONE);
    int used = 0;
    for (int d = DRAFT_NONE + 1; d < DRAFT_TYPES; d++) {
        if (s->used[d]) {
            name = drafter_name((enum drafter_type)d);
            used++;
        }
    }
    return used > 1 ? "mixed" : name;
}

/* The reason of most rounds. */
static const char *why_no_draft(const struct seq *s)
{
    enum draft_why most = s->no_draft;
    if (s->stats.n_drafted > 0)
        return NULL;
    for (int why = DRAFT_WHY_NONE + 1; s->no_draft == DRAFT_WHY_NONE && why < DRAFT_WHYS; why++) {
        if (s->not_drafted[why] > s->not_drafted[most])
            most = (enum draft_why)why;
    }
    return most == DRAFT_WHY_NONE ? "nothing was generated" : draft_why_text(most);
}

static void fill_stats(struct seq *s)
{
    struct request_stats *st = &s->stats;
    uint64_t now = clock_ns();
    uint64_t admitted = s->t_admitted ? s->t_admitted : now;
    uint64_t prompt_done = s->t_prompt_done ? s->t_prompt_done : now;
    st->waited_rounds = (int32_t)MIN(s->share.waited, INT32_MAX);
    st->queued_ns = admitted - s->t_arrived;
    st->prompt_ns = prompt_done > admitted ? prompt_done - admitted : 0;
    st->predicted_ns = s->t_last > prompt_done ? s->t_last - prompt_done : 0;
    st->drafter = drafters_used(s);
    st->disabled_because = why_no_draft(s);
}

static void count_finish(struct engine *e, struct seq *s, enum finish_reason reason, int error)
{
    if (reason == FINISH_STOP)
        e->stats.finished_stop++;
    else if (reason == FINISH_LENGTH)
        e->stats.finished_length++;
    else if (error == SPECD_ECANCELED)
        e->stats.finished_cancelled++;
    else
        e->stats.finished_error++;
    if (s->stats.n_generated > 0)
        answer_len_observe(&e->drafts->lens, s->n_prompt, s->stats.n_generated);
    if (reason != FINISH_ERROR)
        stats_observe(&e->stats.e2e, clock_ns() - s->t_arrived);
}

void seq_end(struct engine *e, struct seq *s, enum finish_reason reason, int error,
             const char *message)
{
    struct request_output *out = &s->req->output;
    ASSERT(s->state != SEQ_DONE);
    count_finish(e, s, reason, error);
    fill_stats(s);
    out->stats = s->stats;
    out->error = error;
    snprintf(out->message, sizeof out->message, "%s",
             message ? message : (error ? specd_error_text(error) : ""));
    out->finish = reason;
    s->state = SEQ_DONE;
}

void seq_finish(struct engine *e, struct seq *s, enum finish_reason reason, int error,
                const char *message)
{
    pthread_mutex_lock(&s->req->output.lock);
    seq_end(e, s, reason, error, message);
    pthread_mutex_unlock(&s->req->output.lock);
}

void seq_count_stalled(struct engine *e, struct seq *s, bool stalled)
{
    atomic_fetch_add(&e->n_stalled, (int)stalled - (int)s->stalled);
    s->stalled = stalled;
}
