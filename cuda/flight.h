/*
 * flight.h - one round in flight: what the host gave, and where its results arrive. There are two,
 * so that one can be put together while the other runs. Buffers that the device reads or writes are
 * pinned and belong to it from the submission until the round is collected. Engine thread.
 */
#ifndef SPECD_CUDA_FLIGHT_H
#define SPECD_CUDA_FLIGHT_H

#include "rounds.h"
#include "slots.h"

struct gpu_flight {
    cudaEvent_t done;
    struct slot_pages pages;
    struct round_input *input; /* pinned, and all below up to scores */
    uint32_t *masks;           /* (n_slots, k_max + 1, words): what round.seqs[i].masks leads to */
    bool has_masks;
    struct device_clock *clock;
    struct seq_result *results;       /* (n_slots) */
    struct device_logprobs *logprobs; /* (n_slots * (k_max + 1)) */
    struct device_logprobs *scores;   /* (SPECD_SCORE_ROWS) */

    uint32_t generation[SPECD_SLOTS_MAX]; /* of the slots of round.seqs, when it began */
    int32_t n_logprobs[SPECD_SLOTS_MAX];  /* the same */
    bool wants_logprobs;                  /* some sequence does */
    uint32_t chunk_generation[2 * SPECD_SLOTS_MAX];
    struct score_result score_results[SPECD_SCORE_ROWS];
    int32_t score_tops[SPECD_SCORE_ROWS]; /* n_logprobs of each */
    int32_t n_scores, n_score_rows;

    /* What collect makes of logprobs and scores, ordinary memory. */
    struct token_logprob *own, *top;             /* (n_slots * (k_max + 1)), times ..._MAX */
    struct token_logprob *score_own, *score_top; /* (SPECD_SCORE_ROWS), times ..._MAX */
    int32_t k_max;
};

/* Logs what went wrong. Of calls that launch no kernel: launches log by themselves. */
bool cuda_ok(cudaError_t error, const char *what);

/* SPECD_ENOMEM */
int gpu_flight_open(struct gpu_flight *f, const struct gpu_slots *slots);
void gpu_flight_close(struct gpu_flight *f); /* of a zero-initialised one too */

/* Enqueues the copies of log-probabilities and scores, where somebody asked for some: the rest the
 * round's last kernel writes where it is read. SPECD_EDEVICE */
int gpu_flight_read(struct gpu_flight *f, const struct gpu_rounds *r, cudaStream_t stream);
/* When the round has ended: the result as the engine wants it; slots learn their lengths. */
void gpu_flight_collect(struct gpu_flight *f, struct gpu_slots *slots, struct round_result *out);

#endif
