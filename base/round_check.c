#include "specd/round_check.h"

/* ---- begin ----------------------------------------------------------------------------------- */

/* Whether positions 0..end of a slot have blocks. */
static bool has_blocks(const struct slot_view *slot, const struct slot_shape *shape, int32_t end)
{
    int32_t n = (end + SPECD_BLOCK_TOKENS - 1) / SPECD_BLOCK_TOKENS;

    if (n > shape->n_blocks)
        return false;
    for (int32_t i = 0; i < n; i++) {
        if (slot->blocks[i] < 0)
            return false;
    }
    return true;
}

/* Chunk i; those before it fit, and *n_scored of their rows are to be scored. */
static bool chunk_fits(const struct round *round, int32_t i, const struct round_limits *limits,
                       slot_view_of *view_of, const void *slots, int32_t *n_scored)
{
    const struct round_chunk *c = &round->chunks[i];

    if (c->slot < 0 || c->slot >= limits->shape->n_slots ||
        (c->role != MODEL_TARGET && c->role != MODEL_DRAFT) || !limits->has_model[c->role] ||
        c->start < 0 || c->n < 1)
        return false;
    for (int32_t j = 0; j < i; j++) {
        if (round->chunks[j].slot == c->slot && round->chunks[j].role == c->role)
            return false;
    }
    struct slot_view slot = view_of(slots, c->slot);

    if (!slot.is_moving && (c->start != slot.rows[c->role] || c->n > slot.len - 1 - c->start))
        return false;
    if (c->n > slot.limit - c->start || !has_blocks(&slot, limits->shape, c->start + c->n))
        return false;
    if (!c->score)
        return true;
    if (c->role != MODEL_TARGET || slot.n_logprobs < 0 || c->n > SPECD_SCORE_ROWS - *n_scored)
        return false;
    *n_scored += c->n;
    return true;
}

/* A slot's rows of one model once the round's chunks are done. */
static int32_t rows_after_chunks(const struct round *round, const struct slot_view *view,
                                 int32_t slot, enum model_role role)
{
    for (int32_t i = 0; i < round->n_chunks; i++) {
        if (round->chunks[i].slot == slot && round->chunks[i].role == role)
            return round->chunks[i].start + round->chunks[i].n;
    }
    return view->rows[role];
}

/* Sequence i; those before it fit. */
static bool seq_fits(const struct round *round, int32_t i, const struct round_limits *limits,
                     slot_view_of *view_of, const void *slots, int32_t *k)
{
    const struct round_seq *seq = &round->seqs[i];
    const struct draft_limits drafts = {limits->shape->k_max, limits->shape->k_draft,
                                        limits->shape->n_vocab, limits->n_vocab_draft};

    if (seq->slot < 0 || seq->slot >= limits->shape->n_slots ||
        (seq->masks && seq->k > 0 && seq->source != DRAFT_FROM_HOST))
        return false;
    for (int32_t j = 0; j < i; j++) {
        if (round->seqs[j].slot == seq->slot)
            return false;
    }
    struct slot_view slot = view_of(slots, seq->slot);

    if (slot.is_moving) { /* the draft model may not lag, for all that is known */
        *k = round_k(seq, &drafts, slot.len, slot.limit, slot.len);
        return slot.len >= 1;
    }
    int32_t target = rows_after_chunks(round, &slot, seq->slot, MODEL_TARGET);
    int32_t draft = rows_after_chunks(round, &slot, seq->slot, MODEL_DRAFT);

    *k = round_k(seq, &drafts, slot.len, slot.limit, draft);
    return slot_can_decode(slot.len, slot.limit, target) &&
           has_blocks(&slot, limits->shape, slot.len + *k);
}

int round_check(const struct round *round, const struct round_limits *limits, slot_view_of *view_of,
                const void *slots, int32_t k[SPECD_SLOTS_MAX])
{
    int32_t n_scored = 0;

    if (round->n_chunks < 0 || round->n_chunks > (int32_t)COUNT_OF(round->chunks) ||
        round->n_seqs < 0 || round->n_seqs > limits->shape->n_slots)
        return SPECD_EINVAL;
    for (int32_t i = 0; i < round->n_chunks; i++) {
        if (!chunk_fits(round, i, limits, view_of, slots, &n_scored))
            return SPECD_EINVAL;
    }
    for (int32_t i = 0; i < round->n_seqs; i++) {
        if (!seq_fits(round, i, limits, view_of, slots, &k[i]))
            return SPECD_EINVAL;
    }
    return 0;
}

/* ---- from begin to end ----------------------------------------------------------------------- */

void round_record_begin(struct round_record *r, const struct round *round,
                        const struct round_limits *limits)
{
    *r = (struct round_record){.active = true, .wants_verify = round->n_seqs > 0};
    for (int role = 0; role < MODEL_ROLES; role++)
        r->has_model[role] = limits->has_model[role];
    for (int32_t i = 0; i < round->n_chunks; i++)
        r->wants_prompt[round->chunks[i].role] = true;
}

int round_record_forward(struct round_record *r, enum model_role role, enum row_set rows, int step)
{
    bool is_step = rows == ROWS_STEP, is_verify = rows == ROWS_VERIFY;

    if (!r->active || r->has_verify || (role != MODEL_TARGET && role != MODEL_DRAFT) ||
        !r->has_model[role])
        return SPECD_EINVAL;
    if (is_step && (role != MODEL_DRAFT || step != r->n_steps + 1 || step > SPECD_K_MAX))
        return SPECD_EINVAL;
    if (is_verify && role != MODEL_TARGET)
        return SPECD_EINVAL;
    if (!is_step && !is_verify && rows != ROWS_PROMPT)
        return SPECD_EINVAL;
    r->has_prompt[role] = r->has_prompt[role] || rows == ROWS_PROMPT;
    r->can_draw = is_step;
    r->can_verify = is_verify;
    return 0;
}

int round_record_draw(struct round_record *r, int step)
{
    if (!r->active || !r->can_draw || step != r->n_steps + 1)
        return SPECD_EINVAL;
    r->can_draw = false;
    r->n_steps = step;
    return 0;
}

int round_record_verify(struct round_record *r)
{
    if (!r->active || !r->can_verify)
        return SPECD_EINVAL;
    r->can_verify = false;
    r->has_verify = true;
    return 0;
}

int round_record_end(struct round_record *r)
{
    if (!r->active || (r->wants_verify && !r->has_verify))
        return SPECD_EINVAL;
    for (int role = 0; role < MODEL_ROLES; role++) {
        if (r->wants_prompt[role] && !r->has_prompt[role])
            return SPECD_EINVAL;
    }
    r->active = false;
    return 0;
}
