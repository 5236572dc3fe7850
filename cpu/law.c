#include "law.h"

#include "law_cut.h"
#include "law_kernels.h"
#include "specd/util.h"

/* ---- warped logits --------------------------------------------------------------------------- */

static bool bans_ends(const struct law_context *c)
{
    for (int32_t i = 0; i < c->params->n_ends; i++) {
        if (c->position < c->params->ends[i].from)
            return true;
    }
    return false;
}

static bool is_adjusted(const struct law_context *c)
{
    return c->counts_generated || c->counts_all || c->params->n_bias > 0 || c->params->allowed ||
           c->mask || bans_ends(c);
}

static float logit_penalised(const struct law *l, int32_t id)
{
    const struct law_context *c = &l->context;

    return law_penalise(l->logits[id], c->law, c->counts_generated ? c->counts_generated[id] : 0,
                        c->counts_all ? c->counts_all[id] : 0);
}

/* Bits first .. first + n of `allowed` that are 0. */
static void ban(const uint32_t *allowed, int32_t first, int n, float *buf)
{
    for (int i = 0; allowed && i < n; i++) {
        uint32_t id = (uint32_t)(first + i);

        if (!(allowed[id / 32] >> id % 32 & 1))
            buf[i] = -INFINITY;
    }
}

static void mask(const struct law_context *c, int32_t first, int n, float *buf)
{
    const struct sample_params *p = c->params;

    for (int32_t i = 0; i < p->n_ends; i++) {
        int32_t at = p->ends[i].id - first;

        if (at >= 0 && at < n && c->position < p->ends[i].from)
            buf[at] = -INFINITY;
    }
    ban(p->allowed, first, n, buf);
    ban(c->mask, first, n, buf);
}

/* Warped logits first .. first + n: the row itself, or in `buf` where something changes them. */
static const float *logits_warped(const struct law *l, int32_t first, int n, float *buf)
{
    const struct law_context *c = &l->context;
    const struct sample_params *p = c->params;

    if (!l->adjusted)
        return l->logits + first;
    for (int i = 0; i < n; i++)
        buf[i] = logit_penalised(l, first + i);
    for (int32_t i = 0; i < p->n_bias; i++) {
        if (p->bias_ids[i] >= first && p->bias_ids[i] - first < n)
            buf[p->bias_ids[i] - first] = law_add_bias(buf[p->bias_ids[i] - first], p->bias[i]);
    }
    mask(c, first, n, buf);
    return buf;
}

/* ---- building -------------------------------------------------------------------------------- */

struct maxima {
    const struct law *l;
    struct {
        bool good;
        float max;
        int32_t top;
    } parts[LAW_PARTS];
};

static void max_part(void *arg, int part, int32_t first, int32_t end)
{
    struct maxima *m = arg;
    const struct law *l = m->l;
    const struct law_kernels *k = law_kernels_pick();
    float buf[LAW_CHUNK], max, most = -INFINITY;
    int32_t top = 0;

    m->parts[part].good = false;
    for (; first < end; first += LAW_CHUNK) {
        int n = MIN(LAW_CHUNK, end - first);

        /* The raw row is judged: a warp may hide an infinity. */
        if (!k->max(l->logits + first, n, &max))
            return;
        const float *z = logits_warped(l, first, n, buf);
        if (z == buf)
            k->max(z, n, &max);
        if (max <= most)
            continue;
        most = max;
        for (top = first; z[top - first] != max;)
            top++;
    }
    m->parts[part].good = true;
    m->parts[part].max = most;
    m->parts[part].top = top;
}

/* Sets max and top; false for a row that is no law. */
static bool find_max(struct law *l)
{
    struct maxima m = {.l = l};

    l->max = -INFINITY;
    for (int i = 0, n = law_in_parts(l->context.threads, l->n_vocab, max_part, &m); i < n; i++) {
        if (!m.parts[i].good)
            return false;
        if (m.parts[i].max > l->max) {
            l->max = m.parts[i].max;
            l->top = m.parts[i].top;
        }
    }
    return l->max > -INFINITY;
}

/* Kept weights first .. first + n, zeros past the vocabulary; true if any is positive. */
static bool weights_kept(const struct law *l, int32_t first, int n, float *w)
{
    int have = l->one_hot ? 0 : MAX(MIN(n, l->n_vocab - first), 0);
    float buf[LAW_CHUNK];

    for (int i = have; i < n; i++)
        w[i] = 0.0f;
    if (have > 0)
        return law_kernels_pick()->weights(logits_warped(l, first, have, buf), have, first, l->max,
                                           l->scale, l->cut_w, l->cut_id, w);
    if (!l->one_hot || l->top < first || l->top - first >= n)
        return false;
    w[l->top - first] = (float)LAW_ONE;
    return true;
}

struct sums {
    const struct law *l;
    float *row;
    uint64_t parts[LAW_PARTS];
};

static void sum_part(void *arg, int part, int32_t first, int32_t end)
{
    struct sums *s = arg;
    float buf[LAW_CHUNK];

    s->parts[part] = 0;
    for (; first < end; first += LAW_CHUNK) {
        int n = MIN(LAW_CHUNK, end - first);
        float *w = s->row ? s->row + first : buf;

        if (weights_kept(s->l, first, n, w))
            s->parts[part] += law_kernels_pick()->sum(w, n);
    }
}

/* The sum of the kept weights of a row, which are stored in `row` unless it is NULL. */
static uint64_t sum_kept(const struct law *l, float *row)
{
    struct sums s = {.l = l, .row = row};
    uint64_t sum = 0;

    for (int i = 0, n = law_in_parts(l->context.threads, l->n_vocab, sum_part, &s); i < n; i++)
        sum += s.parts[i];
    return sum;
}

/* Keeps the shorter of the two prefixes, and its sum, which is 0 where it is not known yet. */
static void cut_further(struct law *l, struct law_cut cut)
{
    if (law_cut_is_shorter(cut.w, cut.id, l->cut_w, l->cut_id)) {
        l->cut_w = cut.w;
        l->cut_id = cut.id;
        l->sum = cut.sum;
    }
}

/* top-k, then top-p of what top-k left, both found in the uncut weights. */
static void cut_by_rank(struct law *l, uint64_t *scratch)
{
    const struct law_params *p = l->context.law;
    float *w = (float *)scratch;
    int32_t *ids = (int32_t *)(w + l->n_vocab);
    uint64_t all = sum_kept(l, w), left = all;

    if (p->top_k > 0 && p->top_k < l->n_vocab) {
        struct law_rank rank = {false, (uint64_t)p->top_k, (uint64_t)l->n_vocab};

        cut_further(l, law_cut_at(w, l->n_vocab, rank, ids, l->context.threads));
        left = l->sum;
    }
    if (p->top_p < 1.0f) {
        struct law_rank rank = {true, law_top_p_mass(p->top_p, left), all};

        cut_further(l, law_cut_at(w, l->n_vocab, rank, ids, l->context.threads));
    }
}

void law_restrict(float *logits, int32_t n_vocab, const uint32_t *ids)
{
    for (int32_t first = 0; first < n_vocab; first += 32, ids++) {
        float *z = logits + first;
        int n = MIN(32, n_vocab - first);

        if (*ids == 0 && n == 32) { /* most of them: a loop that becomes a few wide stores */
            for (int i = 0; i < 32; i++)
                z[i] = -INFINITY;
            continue;
        }
        for (int i = 0; *ids != UINT32_MAX && i < n; i++)
            z[i] = *ids >> i & 1 ? z[i] : -INFINITY;
    }
}

void law_build(struct law *l, const float *logits, int32_t n_vocab, const struct law_context *c,
               uint64_t *scratch)
{
    const struct law_params *p = c->law;

    *l = (struct law){.logits = logits, .n_vocab = n_vocab, .context = *c, .cut_id = -1};
    l->adjusted = is_adjusted(c);
    if (!find_max(l)) {
        l->bad = true;
        l->top = 0;
        return;
    }
    if (p->temperature == 0.0f) {
        l->one_hot = true;
        l->sum = LAW_ONE;
        return;
    }
    l->scale = law_scale(p->temperature);
    if (p->top_p < 1.0f || (p->top_k > 0 && p->top_k < n_vocab))
        cut_by_rank(l, scratch);
    if (law_min_p_weight(p->min_p) > 0)
        cut_further(l, (struct law_cut){(float)law_min_p_weight(p->min_p), INT32_MAX, 0});
    if (l->sum == 0)
        l->sum = sum_kept(l, NULL);
}

void law_point(struct law *l, int32_t n_vocab, int32_t id)
{
    *l = (struct law){.n_vocab = n_vocab, .one_hot = true, .top = id, .sum = LAW_ONE};
}

/* ---- questions ------------------------------------------------------------------------------- */

uint64_t law_weight_of(const struct law *l, int32_t id)
{
    float w;

    if (id < 0 || id >= l->n_vocab || l->bad)
        return 0;
    weights_kept(l, id, 1, &w);
    return (uint64_t)w;
}

double law_prob(const struct law *l, int32_t id)
{
    return (double)law_weight_of(l, id) / (double)l->sum;
}

/* ---- draws ----------------------------------------------------------------------------------- */

struct draw {
    const struct law *l;
    const struct noise *noise;
    struct race parts[LAW_PARTS];
};

static void draw_part(void *arg, int part, int32_t first, int32_t end)
{
    struct draw *d = arg;
    struct race race = race_start();
    float w[LAW_CHUNK];
    double r[LAW_CHUNK];

    for (; first < end; first += LAW_CHUNK) {
        int n = MIN(LAW_CHUNK, end - first);

        if (!weights_kept(d->l, first, n, w))
            continue;
        law_kernels_pick()->widen(w, n, r);
        law_kernels_pick()->race(r, n, first, d->noise, &race);
    }
    d->parts[part] = race;
}

int32_t law_draw(const struct law *l, const struct noise *n)
{
    struct race race = race_start();
    struct draw d = {.l = l, .noise = n};

    if (l->one_hot || l->bad)
        return l->top;
    for (int i = 0, count = law_in_parts(l->context.threads, l->n_vocab, draw_part, &d); i < count;
         i++) {
        if (d.parts[i].id >= 0)
            race_enter(&race, d.parts[i].score, d.parts[i].id);
    }
    return race.id;
}

/* r = max(b q - p, 0) of entries first .. first + n; true if any is positive. Ids that only one of
 * the laws knows have no mass in the other. */
static bool residual_of(const struct law *q, const struct law *p, double b, int32_t first, int n,
                        double *r)
{
    float wq[LAW_CHUNK], wp[LAW_CHUNK];

    if (!weights_kept(q, first, n, wq))
        return false;
    weights_kept(p, first, n, wp);
    return law_kernels_pick()->residual(wq, (double)q->sum, wp, (double)p->sum, b, n, r);
}

int32_t law_draw_residual(const struct law *q, const struct law *p, double b, const struct noise *n,
                          bool *fallback)
{
    struct race race = race_start();
    double r[LAW_CHUNK];

    *fallback = false;
    if (q->one_hot || q->bad)
        return q->top;
    for (int32_t first = 0; first < q->n_vocab; first += LAW_CHUNK) {
        int have = MIN(LAW_CHUNK, q->n_vocab - first);

        if (residual_of(q, p, b, first, have, r))
            law_kernels_pick()->race(r, have, first, n, &race);
    }
    if (race.id >= 0)
        return race.id;
    *fallback = true;
    return law_draw(q, n);
}

double law_residual_mass(const struct law *q, const struct law *p, double b)
{
    uint64_t sum = 0;
    double r[LAW_CHUNK];

    for (int32_t first = 0; first < q->n_vocab; first += LAW_CHUNK) {
        int have = MIN(LAW_CHUNK, q->n_vocab - first);

        if (residual_of(q, p, b, first, have, r))
            sum += law_kernels_pick()->mass(r, have);
    }
    return (double)sum * 0x1p-62;
}

double law_overlap(const struct law *q, const struct law *p)
{
    double above;

    if (q->one_hot)
        return law_prob(p, q->top);
    if (p->one_hot)
        return law_prob(q, p->top);
    above = law_residual_mass(q, p, 1.0);
    return above < 1.0 ? 1.0 - above : 0.0;
}
