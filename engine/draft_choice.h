/*
 * draft_choice.h - a round's choice in the making. Part of the policy of draft_len.h, for
 * draft_len.c (drafters and lengths) and draft_rows.c (rows of the draft model, probes) alone.
 */
#ifndef SPECD_DRAFT_CHOICE_H
#define SPECD_DRAFT_CHOICE_H

#include "draft_len.h"

/* Position k of a sequence, which might be drafted. */
struct candidate {
    double survival;
    int16_t seq;
    int8_t k;
    bool model; /* costs a draft step */
};

struct choice {
    struct draft_len *d;
    struct draft_len_seq *seqs;
    int32_t n;
    int32_t n_drafting, n_model; /* sequences that may draft; of these, with the draft model */
    bool measured;               /* nobody drafts, to see what such a round takes */
    double plain_ns;             /* a round in which nobody drafts */
    double token_ns;             /* what a token takes in it */
    struct candidate candidates[SPECD_SLOTS_MAX * SPECD_K_MAX];
    double verify_ns[SPECD_SLOTS_MAX * (SPECD_K_MAX + 1) + 1]; /* by rows */
    double step_ns[SPECD_SLOTS_MAX + 1];
};

/* The most that an option gains in a round, with how many tokens, and what a token takes then. */
struct prospect {
    double gain_ns, token_ns;
    int32_t k;
};

static inline bool is_model(const struct draft_option *o)
{
    return o->drafter->source == DRAFT_FROM_MODEL;
}

/* Its number, or -1. */
static inline int32_t model_option(const struct draft_len_seq *s)
{
    for (int32_t i = 0; i < s->n_options; i++) {
        if (is_model(&s->options[i]))
            return i;
    }
    return -1;
}

/* K or its least is the request's or the server's, not this policy's choice. */
static inline bool k_is_given(const struct draft_len_seq *s)
{
    return s->fixed || s->k_min > 0;
}

/* Whether the drafter could draft in this round. */
static inline bool is_ready(const struct draft_len_seq *s, const struct draft_option *o)
{
    return !is_model(o) || s->fill >= s->lag;
}

/* Of a drafted token: its law, the model's own where it has one, and the verify row's. */
static inline double laws_ns(const struct choice *c, bool model)
{
    return c->d->cost.sample_ns * (model ? 2 : 1);
}

/* In a round in which all that may draft do alike. */
struct prospect prospect_of(const struct choice *c, const struct draft_len_seq *s,
                            const struct draft_option *o);

/* Who gets rows of the draft model in this round. Before lengths are chosen. */
void choose_rows(struct choice *c);
/* What is drafted beside what pays, to see whether it would. After lengths are chosen. */
void choose_probes(struct choice *c);

#endif
