/*
 * prediction.c - drafts what the client said the answer would be (`prediction` of the chat API).
 *
 * A cursor stands in the prediction where the answer is. Where they part, the answer has left
 * something out, put something in or put something else; its last tokens are looked for a little
 * further on, and in all of the prediction where they agree there with clearly more. Until some
 * tokens have agreed again, the place where they parted is kept in mind: one token may stand
 * anywhere.
 */
#include "prediction.h"

#include "drafter.h"
#include "suffix.h"

#include "specd/util.h"

#include <stdlib.h>
#include <string.h>

#define AHEAD 128  /* tokens behind the place of parting that are looked at one by one */
#define SURE 4     /* tokens that agree before that place is forgotten */
#define FAR_MORE 3 /* more tokens must agree for a place anywhere else */
#define RECENT 32  /* longer agreement is not told apart near by */
#define DRAFT_PER_MATCH 8
#define MIN_MATCH 2 /* tokens that must agree, but for the one after those that surely did */

struct prediction {
    int32_t refs, n;
    int32_t *ids;
    struct suffix *text; /* NULL: nobody has drafted from it yet */
};

struct follower {
    struct prediction *p;
    int32_t to_skip;        /* tokens of the prompt to come */
    int32_t cursor, agreed; /* what may come next; tokens before it that agreed */
    int32_t parted, since;  /* where they were sure to agree last; the answer's tokens since */
    struct suffix_at at;    /* the answer's longest end that occurs in the prediction */
    int32_t recent[RECENT], n_seen; /* the answer's tokens, the i-th at i % RECENT */
};

struct prediction *prediction_create(const int32_t *ids, int32_t n)
{
    if (n <= 0)
        return NULL;
    struct prediction *p = xcalloc(1, sizeof *p);
    p->refs = 1;
    p->n = n;
    p->ids = xmalloc((size_t)n * sizeof *ids);
    memcpy(p->ids, ids, (size_t)n * sizeof *ids);
    return p;
}

struct prediction *prediction_ref(struct prediction *p)
{
    if (p)
        p->refs++;
    return p;
}

void prediction_unref(struct prediction *p)
{
    if (!p || --p->refs > 0)
        return;
    suffix_free(p->text);
    free(p->ids);
    free(p);
}

static void *begin(const struct draft_text *text)
{
    struct follower *f = xcalloc(1, sizeof *f);
    f->p = prediction_ref(text->prediction);
    if (f->p && !f->p->text) {
        f->p->text = suffix_create();
        suffix_append(f->p->text, f->p->ids, f->p->n);
    }
    f->to_skip = text->n_prompt;
    return f;
}

static void forget(void *state)
{
    struct follower *f = state;
    prediction_unref(f->p);
    free(f);
}

/* How many of the answer's last tokens stand before `end`, at most RECENT. */
static int32_t agreement(const struct follower *f, int32_t end)
{
    int32_t most = MIN(MIN(end, f->n_seen), RECENT), len = 0;
    while (len < most && f->p->ids[end - 1 - len] == f->recent[(f->n_seen - 1 - len) % RECENT])
        len++;
    return len;
}

static void find_again(struct follower *f)
{
    int32_t best = 0, end = MIN(f->parted + AHEAD, f->p->n);
    for (int32_t i = f->parted + 1; i <= end; i++) {
        int32_t len = agreement(f, i);
        if (len > best) {
            best = len;
            f->cursor = i;
        }
    }
    if (f->at.len >= best + FAR_MORE) {
        best = f->at.len;
        f->cursor = suffix_end(f->p->text, f->at);
    }
    f->agreed = best;
    if (best == 0) /* each may have replaced one */
        f->cursor = MIN(f->parted + f->since, f->p->n);
}

static void observe(void *state, const int32_t *ids, int32_t n)
{
    struct follower *f = state;
    int32_t skip = MIN(f->to_skip, n);
    f->to_skip -= skip;
    for (int32_t i = skip; i < n && f->p; i++) {
        f->recent[f->n_seen++ % RECENT] = ids[i];
        suffix_read(f->p->text, &f->at, ids[i]);
        f->since++;
        if (f->cursor < f->p->n && f->p->ids[f->cursor] == ids[i]) {
            f->cursor++;
            f->agreed++;
        } else {
            find_again(f);
        }
        if (f->agreed >= SURE) {
            f->parted = f->cursor;
            f->since = 0;
        }
    }
}

static int32_t propose(void *state, int32_t room, int32_t *out, int32_t *match)
{
    const struct follower *f = state;
    *match = f->agreed;
    if (!f->p || (f->agreed < MIN_MATCH && f->since > 1))
        return 0;
    int32_t most = f->n_seen == 0 ? room : MAX(f->agreed, 1) * DRAFT_PER_MATCH;
    int32_t n = MAX(MIN(MIN(room, most), f->p->n - f->cursor), 0);
    memcpy(out, f->p->ids + f->cursor, (size_t)n * sizeof *out);
    return n;
}

/* A client that sends one means it, and most of an edited text stays. */
const struct drafter prediction_drafter = {
    .type = DRAFT_PREDICTION,
    .source = DRAFT_FROM_HOST,
    .with_prediction = true,
    .under_grammar = true,
    .by_match = true,
    .prior = {0.5, 0.6, 0.7, 0.8, 0.9, 0.95},
    .begin = begin,
    .observe = observe,
    .forget = forget,
    .propose = propose,
};
