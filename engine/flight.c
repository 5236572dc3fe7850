#include "flight.h"

#include <string.h>

static bool in_flight(const struct flight *f, const struct round_part *t)
{
    return t->round > f->retired && t->round <= f->submitted;
}

struct round_part *flight_plan_part(const struct flight *f, struct seq *q)
{
    uint64_t number = f->submitted + 1;
    struct round_part *t = &q->parts[number % COUNT_OF(q->parts)];
    ASSERT(t->round <= f->retired || t->round == number);
    if (t->round != number)
        *t = (struct round_part){.round = number};
    return t;
}

const struct round_part *flight_part(const struct seq *q, uint64_t number)
{
    const struct round_part *t = &q->parts[number % COUNT_OF(q->parts)];
    return t->round == number ? t : NULL;
}

bool flight_decodes(const struct flight *f, const struct seq *q)
{
    return flight_len_least(f, q) > q->len;
}

bool flight_drafts_tokens(const struct flight *f, const struct seq *q)
{
    for (size_t i = 0; i < COUNT_OF(q->parts); i++) {
        if (in_flight(f, &q->parts[i]) && q->parts[i].decodes && q->parts[i].k > 0)
            return true;
    }
    return false;
}

int32_t flight_len_least(const struct flight *f, const struct seq *q)
{
    int32_t len = q->len;
    for (size_t i = 0; i < COUNT_OF(q->parts); i++)
        len += in_flight(f, &q->parts[i]) && q->parts[i].decodes;
    return MIN(len, q->limit);
}

int32_t flight_len_most(const struct flight *f, const struct seq *q)
{
    int32_t len = q->len;
    for (size_t i = 0; i < COUNT_OF(q->parts); i++) {
        if (in_flight(f, &q->parts[i]) && q->parts[i].decodes)
            len += q->parts[i].k + 1;
    }
    return MIN(len, q->limit);
}

int32_t flight_rows(const struct flight *f, const struct seq *q, enum model_role role)
{
    int32_t rows = role == MODEL_TARGET ? q->target_len : q->draft_len;
    for (size_t i = 0; i < COUNT_OF(q->parts); i++) {
        if (q->parts[i].round > f->retired)
            rows = MAX(rows, q->parts[i].rows[role]);
    }
    return rows;
}

bool flight_can_decode(const struct flight *f, const struct seq *q)
{
    return q->state == SEQ_RUNNING && flight_rows(f, q, MODEL_TARGET) == q->len - 1 &&
           flight_len_least(f, q) < q->limit;
}

int32_t flight_k_bound(const struct flight *f, const struct seq *q)
{
    int32_t k = q->k_fixed >= 0 ? q->k_fixed : q->k_max;
    return MAX(MIN(k, q->limit - flight_len_least(f, q) - 1), 0);
}

int32_t flight_end(const struct flight *f, const struct seq *q, int32_t k)
{
    return MIN(flight_len_most(f, q) + k, MAX(q->limit - 1, q->len));
}

void flight_land(struct seq *q, uint64_t number)
{
    const struct round_part *t = flight_part(q, number);
    if (!t)
        return;
    q->target_len = MAX(q->target_len, t->rows[MODEL_TARGET]);
    q->draft_len = MAX(q->draft_len, t->rows[MODEL_DRAFT]);
}
