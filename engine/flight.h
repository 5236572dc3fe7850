/*
 * flight.h - rounds in flight, and what a sequence may have become meanwhile.
 *
 * Rounds are numbered from 1 in the order of their submission; up to two are submitted and not
 * retired. A sequence's len, target_len and draft_len are those after the last retired round. What
 * the rounds in flight add is in its parts: rows of prompt chunks exactly, committed tokens only as
 * a range, since each round in which it decodes commits 1 to K + 1 of them. Plans are made for the
 * upper end, and the device clamps K to the limit.
 *
 * Pure data; engine thread. Nothing fails.
 */
#ifndef SPECD_FLIGHT_H
#define SPECD_FLIGHT_H

#include "seq.h"

struct flight {
    uint64_t submitted, retired; /* numbers of the last such rounds */
};

static inline int flight_count(const struct flight *f)
{
    return (int)(f->submitted - f->retired);
}

/* The sequence's part in the round that is being planned, which comes after all submitted ones. */
struct round_part *flight_plan_part(const struct flight *f, struct seq *q);
/* Its part in round `number`, in flight or just retired; NULL when it has none, or has left its
 * slot since. */
const struct round_part *flight_part(const struct seq *q, uint64_t number);

/* Whether it decodes in a round in flight. */
bool flight_decodes(const struct flight *f, const struct seq *q);
/* Whether it drafts tokens in a round in flight. */
bool flight_drafts_tokens(const struct flight *f, const struct seq *q);
/* Its tokens once the rounds in flight are done. The least is wrong only where it fails. */
int32_t flight_len_least(const struct flight *f, const struct seq *q);
int32_t flight_len_most(const struct flight *f, const struct seq *q);
/* Rows of a model after the chunks of all rounds, the planned one included. Drafting adds to the
 * draft's: see flight_decodes. */
int32_t flight_rows(const struct flight *f, const struct seq *q, enum model_role role);
/* Whether it can decode in the planned round: its prompt is computed by then, and it has not
 * surely come to its limit. */
bool flight_can_decode(const struct flight *f, const struct seq *q);
/* Most tokens it may draft in the planned round, blocks aside: one is always the target's own. */
int32_t flight_k_bound(const struct flight *f, const struct seq *q);
/* Positions that the planned round may write when it drafts k tokens: 0 up to, not including,
 * this. No row of the last committed position is ever written. */
int32_t flight_end(const struct flight *f, const struct seq *q, int32_t k);

/* Round `number` has retired: its chunks are rows that exist. */
void flight_land(struct seq *q, uint64_t number);

#endif
