#include "flight.h"

#include "specd/util.h"

#include <stdlib.h>
#include <string.h>

bool cuda_ok(cudaError_t error, const char *what)
{
    if (error != cudaSuccess)
        log_error("cuda: %s: %s", what, cudaGetErrorString(error));
    return error == cudaSuccess;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int pin(void *out, size_t count, size_t size)
{
    void *p = NULL;

    if (cudaHostAlloc(&p, count * size, cudaHostAllocDefault) != cudaSuccess) {
        (void)cudaGetLastError();
        return SPECD_ENOMEM;
    }
    memset(p, 0, count * size);
    memcpy(out, &p, sizeof(p));
    return 0;
}

int gpu_flight_open(struct gpu_flight *f, const struct gpu_slots *slots)
{
    const struct slot_shape *shape = &slots->shape;
    size_t n = (size_t)shape->n_slots, rows = n * ((size_t)shape->k_max + 1);
    size_t words = (size_t)mask_words(shape->n_vocab);

    f->k_max = shape->k_max;

    if (slot_pages_open(&f->pages, slots) != 0 || pin(&f->input, 1, sizeof(*f->input)) != 0 ||
        pin(&f->masks, rows, words * sizeof(*f->masks)) != 0 ||
        pin(&f->clock, 1, sizeof(*f->clock)) != 0 ||
        pin(&f->results, n, sizeof(*f->results)) != 0 ||
        pin(&f->logprobs, rows, sizeof(*f->logprobs)) != 0 ||
        pin(&f->scores, SPECD_SCORE_ROWS, sizeof(*f->scores)) != 0 ||
        cudaEventCreateWithFlags(&f->done, cudaEventBlockingSync | cudaEventDisableTiming) !=
            cudaSuccess)
        return SPECD_ENOMEM;
    f->input->round.results = f->results;
    f->input->round.clock = f->clock;
    f->own = xcalloc(rows, sizeof(*f->own));
    f->top = xcalloc(rows, SPECD_LOGPROBS_MAX * sizeof(*f->top));
    f->score_own = xcalloc(SPECD_SCORE_ROWS, sizeof(*f->score_own));
    f->score_top = xcalloc(SPECD_SCORE_ROWS, SPECD_LOGPROBS_MAX * sizeof(*f->score_top));
    return 0;
}

void gpu_flight_close(struct gpu_flight *f)
{
    slot_pages_close(&f->pages);
    cudaFreeHost(f->input);
    cudaFreeHost(f->masks);
    cudaFreeHost(f->clock);
    cudaFreeHost(f->results);
    cudaFreeHost(f->logprobs);
    cudaFreeHost(f->scores);
    if (f->done)
        cudaEventDestroy(f->done);
    free(f->own);
    free(f->top);
    free(f->score_own);
    free(f->score_top);
    *f = (struct gpu_flight){0};
}

/* ---- reading back ---------------------------------------------------------------------------- */

static int read(void *to, const void *from, size_t count, size_t size, cudaStream_t stream)
{
    if (count == 0)
        return 0;
    return cuda_ok(cudaMemcpyAsync(to, from, count * size, cudaMemcpyDeviceToHost, stream),
                   "reading a round back")
               ? 0
               : SPECD_EDEVICE;
}

int gpu_flight_read(struct gpu_flight *f, const struct gpu_rounds *r, cudaStream_t stream)
{
    size_t n_seqs = (size_t)f->input->round.round.n_seqs;
    size_t rows = f->wants_logprobs ? n_seqs * ((size_t)f->k_max + 1) : 0;
    int rc = read(f->logprobs, r->logprobs, rows, sizeof(*f->logprobs), stream);

    if (rc == 0)
        rc = read(f->scores, r->scores, (size_t)f->n_score_rows, sizeof(*f->scores), stream);
    return rc;
}

/* ---- what it means --------------------------------------------------------------------------- */

static void finish_logprobs(struct gpu_flight *f, int32_t i, struct seq_result *out)
{
    size_t first = (size_t)i * ((size_t)f->k_max + 1);
    struct token_logprob *own = f->own + first, *top = f->top + first * SPECD_LOGPROBS_MAX;
    int32_t n_top = f->n_logprobs[i];

    out->own = n_top >= 0 ? own : NULL;
    out->top = n_top >= 0 ? top : NULL;
    for (int32_t t = 0; n_top >= 0 && t < out->n_tokens; t++)
        logprobs_finish(&f->logprobs[first + (size_t)t], out->tokens[t], n_top, own + t,
                        top + t * n_top);
}

static void finish_scores(struct gpu_flight *f, struct round_result *out)
{
    int32_t row = 0;

    for (int32_t i = 0; i < f->n_scores; i++) {
        struct score_result *s = &f->score_results[i];
        struct token_logprob *own = f->score_own + row;
        struct token_logprob *top = f->score_top + (ptrdiff_t)row * SPECD_LOGPROBS_MAX;
        int32_t n_top = f->score_tops[i];

        s->own = own;
        s->top = top;
        for (int32_t t = 0; t < s->n; t++, row++)
            logprobs_finish(&f->scores[row], f->scores[row].id, n_top, own + t, top + t * n_top);
        out->scores[out->n_scores++] = *s;
    }
}

/* A slot that was set anew since then knows better. */
static void learn_seqs(const struct gpu_flight *f, struct gpu_slots *slots)
{
    const struct round *round = &f->input->round.round;

    for (int32_t i = 0; i < round->n_seqs; i++) {
        struct gpu_slot *slot = &slots->slots[round->seqs[i].slot];
        const struct seq_result *r = &f->results[i];

        if (slot->generation != f->generation[i])
            continue;
        slot->in_flight--;
        slot->len = r->len;
        memcpy(slot->rows, r->rows, sizeof(slot->rows));
    }
}

static void learn_chunks(const struct gpu_flight *f, struct gpu_slots *slots)
{
    const struct round *round = &f->input->round.round;

    for (int32_t i = 0; i < round->n_chunks; i++) {
        const struct round_chunk *c = &round->chunks[i];
        struct gpu_slot *slot = &slots->slots[c->slot];

        if (slot->generation != f->chunk_generation[i])
            continue;
        slot->in_flight--;
        slot->rows[c->role] = c->start + c->n;
    }
}

void gpu_flight_collect(struct gpu_flight *f, struct gpu_slots *slots, struct round_result *out)
{
    memset(out, 0, sizeof(*out));
    out->n_seqs = f->input->round.round.n_seqs;
    for (int32_t i = 0; i < out->n_seqs; i++) {
        out->seqs[i] = f->results[i];
        finish_logprobs(f, i, &out->seqs[i]);
    }
    finish_scores(f, out);
    learn_chunks(f, slots);
    learn_seqs(f, slots);
    out->prompt_ns = f->clock->prompt_ns;
    out->draft_ns = f->clock->draft_ns;
    out->verify_ns = f->clock->verify_ns;
    out->sample_ns = f->clock->sample_ns;
    out->draft_prompt_ns = f->clock->draft_prompt_ns;
    out->idle_ns = f->clock->idle_ns;
}
