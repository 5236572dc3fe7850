/*
 * Speculative sampling (Chen et al. 2023, arXiv 2302.01318, algorithm 2) on the verbs of device.h.
 *
 * The draft model proposes x~_1..x~_K one after another; one pass of the target scores all K + 1
 * positions; verify accepts a prefix, draws one token more from the residual or the bonus law, and
 * advances every slot. Nothing here waits: the verbs record, end() submits. Slots may differ in K,
 * and a slot with K = 0 is plain decoding. Prompt chunks ride along as passes of their own.
 */
#include "round.h"

#include "specd/util.h"

static bool has_chunks(const struct round *r, enum model_role role)
{
    for (int i = 0; i < r->n_chunks; i++) {
        if (r->chunks[i].role == role)
            return true;
    }
    return false;
}

/* Draft steps of the round; drafts that the host supplies need none. */
static int draft_steps(const struct round *r)
{
    int steps = 0;
    for (int i = 0; i < r->n_seqs; i++) {
        const struct round_seq *s = &r->seqs[i];
        if (s->source == DRAFT_FROM_MODEL && s->k > steps)
            steps = s->k;
    }
    return steps;
}

int round_submit(const struct device_ops *ops, struct device *dev, const struct round *r)
{
    TRY(ops->begin(dev, r));
    if (has_chunks(r, MODEL_TARGET))
        TRY(ops->forward(dev, MODEL_TARGET, ROWS_PROMPT, 0));
    if (has_chunks(r, MODEL_DRAFT))
        TRY(ops->forward(dev, MODEL_DRAFT, ROWS_PROMPT, 0));

    int steps = draft_steps(r);
    for (int k = 1; k <= steps; k++) {
        TRY(ops->forward(dev, MODEL_DRAFT, ROWS_STEP, k));
        TRY(ops->draw(dev, k));
    }
    if (r->n_seqs > 0) {
        TRY(ops->forward(dev, MODEL_TARGET, ROWS_VERIFY, 0));
        TRY(ops->verify(dev));
    }
    return ops->end(dev);
}
