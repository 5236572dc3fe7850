/*
 * law.h - laws on the CPU: from a row of logits to integer weights, and draws from them.
 *
 * A law is kept as a summary (maximum, sum, cut) over logits that stay where they are: weight i is
 * recomputed from logit i by the inline function of specd/law.h, the same bits every time, so the
 * law a token was drawn from and the law in the acceptance ratio cannot differ.
 * All functions are pure; the device runs rows in parallel, or lets a single row have all threads.
 */
#ifndef SPECD_CPU_LAW_H
#define SPECD_CPU_LAW_H

#include "specd/law.h"

/* Threads that share one row's work: run calls fn(arg, i), i < n <= LAW_PARTS, each on any thread,
 * and returns when all have returned. */
#define LAW_PARTS 8
struct law_threads {
    void (*run)(void *with, int n, void (*fn)(void *arg, int i), void *arg);
    void *with;
    int n;
};

/* What turns a row of logits into a law beside the logits. */
struct law_context {
    const struct sample_params *params;
    const struct law_params *law; /* &params->target or &params->draft */
    int32_t position;             /* of the token this row predicts: end tokens, random counter */
    /* Penalties: occurrences of ids in the text this row follows. NULL while all are off. */
    const uint16_t *counts_generated, *counts_all; /* (V) */
    const uint32_t *mask;              /* (ceil(V / 32)) beside params->allowed, or NULL */
    const struct law_threads *threads; /* for law_build and law_draw; NULL: the caller's alone */
};

struct law {
    const float *logits; /* (V), borrowed */
    int32_t n_vocab;
    struct law_context context;
    bool one_hot;  /* greedy, or a point-mass proposal: all mass on `top` */
    bool bad;      /* NaN or +infinity among the logits, or nothing but -infinity after the warp */
    bool adjusted; /* warped logits before temperature differ from the row's */
    int32_t top;   /* largest warped logit, lowest index on ties */
    float max;     /* its value, before temperature; scale is 1 / temperature */
    float scale;
    uint64_t sum; /* S: total weight of the kept entries */
    float cut_w;  /* kept: weight > cut_w, or == cut_w and id <= cut_id (law_keeps) */
    int32_t cut_id;
};

/* Makes logits of ids whose bit in `ids` (mask_words(V)) is 0 -infinity, whatever they are: nobody
 * computed them, and the law has no mass there. */
void law_restrict(float *logits, int32_t n_vocab, const uint32_t *ids);
/* scratch: V weights of 8 bytes, 64-byte aligned, private to the calling thread. */
void law_build(struct law *l, const float *logits, int32_t n_vocab, const struct law_context *c,
               uint64_t *scratch);
void law_point(struct law *l, int32_t n_vocab, int32_t id); /* a one-hot proposal */
uint64_t law_weight_of(const struct law *l, int32_t id);
double law_prob(const struct law *l, int32_t id); /* (double)W / (double)S */
/* A bad law yields 0, so that a round can go on to its verification, which sees l->bad. */
int32_t law_draw(const struct law *l, const struct noise *n);
/* Draws from max(b q - p, 0); b is 1 except in block verification. If that is zero everywhere: from
 * q, and *fallback = true. */
int32_t law_draw_residual(const struct law *q, const struct law *p, double b, const struct noise *n,
                          bool *fallback);
/* Sums over the vocabulary of max(b q - p, 0) and of min(p, q). */
double law_residual_mass(const struct law *q, const struct law *p, double b);
double law_overlap(const struct law *q, const struct law *p);

/* Verification of one slot's round (modes of specd/verify.h): q[0..K], p[0..K-1], drafted[0..K-1].
 * len: committed tokens before the round (drafted[k] would stand at position len + k). */
struct verify_input {
    const struct law *q, *p;
    const int32_t *drafted;
    int32_t k, len;
    uint32_t round;
    uint64_t seed;
    enum verify_mode mode;
    float synthetic_acceptance; /* < 0: off */
    const struct end_token *ends;
    int32_t n_ends;
};
/* Fills n_accepted, n_tokens, tokens and flags of out. Returns how many overlaps are to be stated:
 * of slots 0 .. so many. */
int law_decide(const struct verify_input *in, struct seq_result *out);
/* Fills overlap, too. */
void law_verify(const struct verify_input *in, struct seq_result *out);

#endif
