/*
 * sampling.h - laws, draws, verification and log-probabilities on the GPU, for host code.
 *
 * The same laws, tokens, counts, flags, overlaps and log-probabilities as cpu/law.c, law_verify.c
 * and logprobs.c from the same logits, bit for bit, for any number of threads and parts: all that
 * decides is an integer sum or a maximum (include/specd/law.h).
 *
 * Every structure and array below lies in device memory, is written by kernels of the device or by
 * a copy before, and is read when the kernel runs, so a captured graph replays with new contents.
 * Launches return 0 or a negative SPECD_E*.
 */
#ifndef SPECD_CUDA_SAMPLING_H
#define SPECD_CUDA_SAMPLING_H

#include "cudart.h"
#include "specd/device.h"
#include "specd/law.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A row's law: what turns its logits into one, and the summary that launch_laws writes. */
struct device_law {
    const float *logits; /* (V) 16-byte aligned; not read for a point mass */
    const struct sample_params *params;
    const struct law_params *law;                  /* &params->target or &params->draft */
    const uint16_t *counts_generated, *counts_all; /* (V) or NULL, as in cpu/law.h */
    const uint32_t *mask;                          /* likewise */
    int32_t n_vocab;                               /* 0: the row is padding */
    int32_t position;                              /* of the token it predicts */
    uint32_t round;                                /* of the request: for draws of proposals */

    bool one_hot, bad, adjusted; /* as in cpu/law.h, and so the rest */
    int32_t top;
    float max, scale;
    uint64_t sum;
    float cut_w;
    int32_t cut_id;
};

/* The summary of all mass on one token: what a host's draft was drawn from. */
SPECD_HD void device_law_point(struct device_law *l, int32_t id)
{
    l->one_hot = true;
    l->bad = l->adjusted = false;
    l->top = id;
    l->max = l->scale = l->cut_w = 0.0f;
    l->cut_id = -1;
    l->sum = LAW_ONE;
}

/* One sequence's verification: laws q[0..k] and p[0], p[p_stride], ..., of which p[i * p_stride]
 * drafted[i] was drawn. */
struct device_turn {
    const struct device_law *q, *p;
    int32_t p_stride;
    const int32_t *drafted; /* (k) */
    int32_t k;              /* < 0: the turn is padding */
    int32_t len;            /* committed tokens before the round */
    uint32_t round;
    const struct sample_params *params;
    float synthetic_acceptance; /* < 0: off */
    /* n_accepted, n_tokens, tokens, overlap (0 .. n_overlaps) and flags of it are written. */
    struct seq_result *out;
    int32_t n_overlaps; /* written: positions up to and including the first rejection */
};

/* What the host needs for the log-probabilities of one token (logprobs_finish). */
struct device_logprobs {
    int32_t id;                         /* the token */
    float max, own;                     /* largest logit, the token's */
    uint64_t sum;                       /* of floor(exp(z - max) 2^44) over the row */
    int32_t top_id[SPECD_LOGPROBS_MAX]; /* largest first, lowest id on ties, then -1 */
    float top[SPECD_LOGPROBS_MAX];
};

/* A token of a prompt that is scored: the row that predicts it. */
struct device_score {
    const float *logits; /* (V) 16-byte aligned */
    int32_t n_vocab;     /* 0: padding */
    int32_t id, n_top;   /* the token, 0 .. SPECD_LOGPROBS_MAX */
};

/* How many threads of how many blocks work on one row. Results do not depend on it. */
struct sampling_shape {
    int threads; /* of a block: a multiple of 32, at most SAMPLING_THREADS_MAX */
    int parts;   /* blocks, 1 .. 8; above 1 only on devices with clusters (sm_90 and later) */
};
#define SAMPLING_THREADS_MAX 512

/* For rows of V logits on a device with that many multiprocessors. */
struct sampling_shape sampling_shape_of(int n_rows, int n_vocab, int n_multiprocessors,
                                        bool clusters);

/* Below, n_vocab is the largest of the rows', and no turn has a k above k_max. */

/* Summaries of laws[0..n_rows). */
int launch_laws(struct device_law *laws, int n_rows, int n_vocab, struct sampling_shape shape,
                cudaStream_t stream);
/* tokens[i] = the draw of a proposal from laws[i]. */
int launch_draws(const struct device_law *laws, int32_t *tokens, int n_rows, int n_vocab,
                 struct sampling_shape shape, cudaStream_t stream);
/* Accepts, draws residual or bonus, sums overlaps. */
int launch_verify(struct device_turn *turns, int n_turns, int k_max, int n_vocab,
                  struct sampling_shape shape, cudaStream_t stream);
/* For token i of turn t, where the turn's params ask for them, out[t * (k_max + 1) + i]; after
 * launch_verify. */
int launch_logprobs(const struct device_turn *turns, struct device_logprobs *out, int n_turns,
                    int k_max, int n_vocab, struct sampling_shape shape, cudaStream_t stream);

/* out[i] of rows[i]. */
int launch_scores(const struct device_score *rows, struct device_logprobs *out, int n_rows,
                  int n_vocab, struct sampling_shape shape, cudaStream_t stream);

/* On the host, from what came back: own and n_top alternatives. */
void logprobs_finish(const struct device_logprobs *in, int32_t id, int n_top,
                     struct token_logprob *own, struct token_logprob *top);

#ifdef __cplusplus
}
#endif

#endif
