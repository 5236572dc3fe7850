/*
 * acceptance.h - how likely is a drafted token to stand?
 *
 * By drafter and position a Beta law, fed by what rounds showed: for each position up to and
 * including the first rejection a number in [0, 1], the sum of min(p, q) where that is the chance
 * of acceptance (Leviathan et al. 2211.17192), else the outcome. A request starts from what others
 * showed with the same drafter over the same kind of text, and soon goes by itself. For drafters
 * that look up the text, it is not the position that counts but how far the text agreed with its
 * earlier occurrence (by_match), which grows with each accepted token.
 *
 * Pure data. Engine thread. Nothing fails.
 */
#ifndef SPECD_ACCEPTANCE_H
#define SPECD_ACCEPTANCE_H

#include "drafters/drafter.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- kinds of text --------------------------------------------------------------------------- */

/* Greedy or drawn, and what the generated text looks like: too little of it to say, prose, or code
 * and markup. */
enum text_kind { TEXT_NEW, TEXT_PROSE, TEXT_CODE, TEXT_KINDS };

/* Of the last some hundred bytes: how many there are and how many belong to code or markup
 * (brackets, operators, indentation). Zero: no text yet. */
struct text_marks {
    float bytes, marks;
    char last;
};

void text_marks_add(struct text_marks *t, const char *text, size_t len);
enum text_kind text_marks_kind(const struct text_marks *t);

/* ---- evidence -------------------------------------------------------------------------------- */

/* Decayed sums of observed acceptance, by enum drafter_type. */
struct acceptance_evidence {
    float sum[DRAFT_TYPES][ACCEPTANCE_BUCKETS];
    float weight[DRAFT_TYPES][ACCEPTANCE_BUCKETS];
};

/* What all requests showed: together, and [0] greedy or [1] drawn by kind of text. */
struct acceptance_shared {
    struct acceptance_evidence all, of[2][TEXT_KINDS];
};

/* Of one request. The estimate of a bucket starts from what all requests showed there over such
 * text, that from what they showed over any text, and that from the drafter's prior or the bucket
 * before, whichever is higher. Texts turn, though, and then the last few positions say more than
 * all before: how far these were off, all buckets alike, is added where that came nearer lately. */
struct acceptance {
    struct acceptance_evidence own;
    struct {
        float off;                 /* mean of what the last few positions were above the estimate */
        float error, error_beside; /* squared, lately: of the estimate, and with off beside it */
    } lately[DRAFT_TYPES];
    struct acceptance_shared *shared; /* borrowed, or NULL */
    bool drawn;                       /* temperature above 0 */
    enum text_kind kind;              /* kept up to date by who knows the text */
};

void acceptance_init(struct acceptance *a, struct acceptance_shared *shared, bool drawn);
/* overlap[k]: what position k + 1 showed, n = min(accepted + 1, drafted) of them. match: what
 * propose said of position 1. */
void acceptance_observe(struct acceptance *a, const struct drafter *drafter, int32_t match,
                        const float *overlap, int32_t n);
/* A round in which nothing was drafted for it. */
void acceptance_rest(struct acceptance *a);
/* Estimated acceptance at positions 1..n, each given that those before it were accepted. n <=
 * SPECD_K_MAX. */
void acceptance_estimate(const struct acceptance *a, const struct drafter *drafter, int32_t match,
                         double *out, int32_t n);

#endif
