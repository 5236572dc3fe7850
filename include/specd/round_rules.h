/*
 * round_rules.h - who drafts how much in a round, which rows a draft step feeds, and what of the
 * draft model's KV is good afterwards: stated once for host code and kernels.
 *
 * A slot has `len` committed tokens. A sequence's part of a round is K drafted tokens x~_1 .. x~_K
 * behind them, which the verify pass feeds together with the last committed one: K + 1 rows from
 * position len - 1 on. draft_rows is the slot's rows[MODEL_DRAFT] as device.h has it.
 */
#ifndef SPECD_ROUND_RULES_H
#define SPECD_ROUND_RULES_H

#include "specd/device.h"
#include "specd/util.h"

/* What bounds the drafts of every sequence. */
struct draft_limits {
    int32_t k_max;         /* as in device_setup */
    int32_t k_draft;       /* of the draft model's: setup_k_draft */
    int32_t n_vocab;       /* the target's: what the host may propose */
    int32_t n_vocab_draft; /* ids that the draft model may propose; 0 without one */
};

static inline int32_t setup_k_draft(const struct device_setup *setup)
{
    return setup->k_draft > 0 ? MIN(setup->k_draft, setup->k_max) : setup->k_max;
}

/* A verify pass can take the slot: it was set, one more token fits, and all rows of the target but
 * the last are there. */
SPECD_HD bool slot_can_decode(int32_t len, int32_t limit, int32_t target_rows)
{
    return len >= 1 && len < limit && target_rows == len - 1;
}

/* K of a sequence: what was asked for, as far as the device and the slot's limit have room. Of the
 * host's drafts only those before the first that is no id; of the draft model's none where it lags
 * further behind than a first step may feed. */
SPECD_HD int32_t round_k(const struct round_seq *seq, const struct draft_limits *limits,
                         int32_t len, int32_t limit, int32_t draft_rows)
{
    int32_t k = MAX(MIN(MIN(seq->k, limits->k_max), limit - len - 1), 0);

    if (seq->source == DRAFT_FROM_MODEL) {
        bool lags = len - draft_rows > SPECD_DRAFT_LAG_MAX;
        return limits->n_vocab_draft == 0 || lags ? 0 : MIN(k, limits->k_draft);
    }
    for (int32_t i = 0; i < k; i++) {
        if (seq->host_draft[i] < 0 || seq->host_draft[i] >= limits->n_vocab)
            return i;
    }
    return k;
}

/* Rows of masks that a sequence brings: one for each token it may draft, and one behind them. */
SPECD_HD int32_t round_mask_rows(const struct round_seq *seq, int32_t k_max)
{
    return MAX(MIN(seq->k, k_max), 0) + 1;
}

/* K once it is known how many draft steps were recorded: without its step, a token of the
 * draft model's does not exist. */
SPECD_HD int32_t round_k_recorded(enum draft_source source, int32_t k, int32_t n_steps)
{
    return source == DRAFT_FROM_MODEL ? MIN(k, n_steps) : k;
}

/* Whether step `step`, from 1, drafts a token of this sequence. */
SPECD_HD bool step_drafts(enum draft_source source, int32_t k, int32_t step)
{
    return source == DRAFT_FROM_MODEL && k >= step;
}

/* Step `step` feeds rows first .. len - 2 + step: the first step all that the draft model has not
 * seen, a later one the token drafted last. */
SPECD_HD int32_t step_first_row(int32_t step, int32_t len, int32_t draft_rows)
{
    return step == 1 ? draft_rows : len - 2 + step;
}

/* draft_rows after the round; len is that of before it. The steps fed x~_1 .. x~_{K-1}: of these
 * rows the accepted tokens' are good, and the last committed token never has one. A model that did
 * not draft is where it was. */
SPECD_HD int32_t round_draft_rows(enum draft_source source, int32_t k, int32_t len,
                                  int32_t draft_rows, const struct seq_result *result)
{
    if (!step_drafts(source, k, 1))
        return draft_rows;
    int32_t accepted = len + MIN(k - 1, result->n_accepted);

    return MIN(accepted, len + result->n_tokens - 1);
}

#endif
