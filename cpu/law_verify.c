/*
 * The production chooser: verification's decisions from Philox words and races over laws.
 */
#include "law.h"
#include "specd/util.h"

struct mass {
    double b;
};

struct chooser {
    const struct verify_input *in;
    int n_drafted; /* drafted tokens that are looked at */
    bool ends;     /* the last of them ends the text: no token follows if all stand */
    bool numeric;  /* a decision met a target law of NaN or infinite logits */
    bool fallback; /* the residual was empty */
};

#include "specd/verify.h"

static struct noise noise_of(const struct chooser *c, int k)
{
    return noise_target(c->in->seed, c->in->len + k);
}

static uint32_t coin_of(const struct chooser *c, enum noise_stream stream, int k)
{
    return noise_coin(c->in->seed, stream, c->in->len + k, c->in->round);
}

SPECD_HD struct mass mass_one(void)
{
    return (struct mass){1.0};
}

SPECD_HD int32_t chooser_drafted(const struct chooser *c, int k)
{
    return c->in->drafted[k];
}

SPECD_HD int32_t chooser_target(struct chooser *c, int k)
{
    struct noise n = noise_of(c, k);

    if (c->ends && k == c->n_drafted)
        return -1;
    c->numeric |= c->in->q[k].bad;
    return law_draw(&c->in->q[k], &n);
}

SPECD_HD int32_t chooser_residual(struct chooser *c, int k, struct mass b)
{
    struct noise n = noise_of(c, k);

    return law_draw_residual(&c->in->q[k], &c->in->p[k], b.b, &n, &c->fallback);
}

SPECD_HD bool chooser_accept(struct chooser *c, int k)
{
    const struct law *q = &c->in->q[k];
    int32_t x = c->in->drafted[k];

    c->numeric |= q->bad;
    if (c->in->synthetic_acceptance >= 0.0f)
        return coin_below(coin_of(c, NOISE_SYNTHETIC, k), (double)c->in->synthetic_acceptance);
    if (q->bad || q->one_hot)
        return !q->bad && x == q->top;
    return law_accepts(coin_of(c, NOISE_ACCEPT, k), law_prob(&c->in->p[k], x), law_prob(q, x));
}

SPECD_HD struct mass chooser_extend(struct chooser *c, int k, struct mass b)
{
    double p = law_prob(&c->in->p[k], c->in->drafted[k]);
    double q = law_prob(&c->in->q[k], c->in->drafted[k]);

    return (struct mass){law_extend(b.b, p, q)};
}

SPECD_HD bool chooser_keep_last(struct chooser *c, int k, struct mass b)
{
    return coin_below(coin_of(c, NOISE_ACCEPT, k), b.b);
}

SPECD_HD bool chooser_keep(struct chooser *c, int k, struct mass b)
{
    double a = law_residual_mass(&c->in->q[k + 1], &c->in->p[k + 1], b.b);

    return law_keeps_block(coin_of(c, NOISE_ACCEPT, k), a, b.b);
}

static bool is_end(const struct verify_input *in, int32_t id)
{
    for (int32_t i = 0; i < in->n_ends; i++) {
        if (in->ends[i].id == id)
            return true;
    }
    return false;
}

/* Which drafted tokens are worth a look: none from a broken draft law on, none after an end of
 * text. Whether slot k is among them depends on the tokens before it alone, as exactness asks. */
static void drafted_trim(struct chooser *c)
{
    const struct verify_input *in = c->in;

    while (c->n_drafted < in->k && !c->ends && !in->p[c->n_drafted].bad)
        c->ends = is_end(in, in->drafted[c->n_drafted++]);
}

/* Block verification looks at every law before it decides. */
static bool any_bad(const struct law *q, int n)
{
    for (int k = 0; k < n; k++) {
        if (q[k].bad)
            return true;
    }
    return false;
}

static int verify_by_mode(struct chooser *c, int32_t *last)
{
    /* A forced acceptance rate is a token-by-token matter in every mode. */
    if (c->in->synthetic_acceptance >= 0.0f)
        return verify_ratio(c, c->n_drafted, last);
    switch (c->in->mode) {
    case VERIFY_BLOCK:
        c->numeric = any_bad(c->in->q, c->n_drafted + !c->ends);
        return c->numeric ? 0 : verify_block(c, c->n_drafted, last);
    case VERIFY_COUPLED:
        return verify_coupled(c, c->n_drafted, last);
    case VERIFY_RATIO:
        break;
    }
    return verify_ratio(c, c->n_drafted, last);
}

int law_decide(const struct verify_input *in, struct seq_result *out)
{
    struct chooser c = {.in = in};
    int32_t last = -1;
    int n;

    ASSERT(in->k >= 0 && in->k <= SPECD_K_MAX);
    drafted_trim(&c);
    n = verify_by_mode(&c, &last);
    out->n_accepted = out->n_tokens = 0;
    out->flags = c.numeric ? SEQ_NUMERIC : 0;
    if (c.numeric)
        return 0;

    for (int k = 0; k < n; k++)
        out->tokens[k] = in->drafted[k];
    out->n_accepted = out->n_tokens = n;
    if (last >= 0)
        out->tokens[out->n_tokens++] = last;
    if (is_end(in, out->tokens[out->n_tokens - 1]))
        out->flags |= SEQ_END;
    if (c.fallback)
        out->flags |= SEQ_RESIDUAL_FALLBACK;
    return MIN(c.n_drafted, n + 1);
}

void law_verify(const struct verify_input *in, struct seq_result *out)
{
    for (int k = 0, n = law_decide(in, out); k < n; k++)
        out->overlap[k] = (float)law_overlap(&in->q[k], &in->p[k]);
}
