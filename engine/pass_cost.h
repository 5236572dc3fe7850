/*
 * pass_cost.h - how long the parts of a round take, by number of rows.
 *
 * Four kinds of pass and the host's own work. A table from start-up is where each curve begins;
 * what rounds take moves it, so that a table taken on a busy machine does not last and a machine
 * that changes its speed is followed within a few dozen rounds. Sampling is different: how long it
 * takes depends on tokens beyond a rejection, which no policy may see, so it enters as one mean by
 * rows over all slots of many rounds.
 *
 * Pure data: times come in as arguments, in nanoseconds. Engine thread. Only save and load fail.
 */
#ifndef SPECD_PASS_COST_H
#define SPECD_PASS_COST_H

#include <stdint.h>

enum pass_kind {
    PASS_VERIFY, /* of the target; by rows of all slots */
    PASS_STEP,   /* one draft step; by slots that draft in it */
    PASS_FILL,   /* prompt rows or catch-up of the draft model; by rows */
    PASS_KINDS
};

#define PASS_POINTS_MAX 32

/* Piecewise linear through the points, never falling. */
struct pass_curve {
    int32_t n;
    int32_t rows[PASS_POINTS_MAX]; /* ascending */
    double ns[PASS_POINTS_MAX];    /* as measured */
    double up[PASS_POINTS_MAX];    /* forced monotone: what is interpolated */
    double seen[PASS_POINTS_MAX];  /* rounds that moved the point */
    double last[PASS_POINTS_MAX];  /* the last of its errors */
    int64_t n_learned;
};

struct pass_cost {
    struct pass_curve curves[PASS_KINDS]; /* empty: no such pass */
    double load;                          /* log: what all of them are multiplied with */
    double errors[4];                     /* log(measured / expected) of the last verify passes */
    int64_t n_errors;
    double host_ns;   /* host work and submission of any round */
    double sample_ns; /* drawing and accepting, per row */
    struct {
        double ns, rows;
        int32_t rounds;
    } sampled; /* since sample_ns was last moved */
};

void pass_cost_init(struct pass_cost *cost);
/* Adds or replaces the point at `rows` (>= 1). Points beyond PASS_POINTS_MAX are a bug. */
void pass_cost_set(struct pass_cost *cost, enum pass_kind kind, int32_t rows, double ns);
/* Nanoseconds; 0 for 0 rows or an empty curve. Below the first point and beyond the last one the
 * curve goes on straight, but no lower than in proportion. */
double pass_cost_at(const struct pass_cost *cost, enum pass_kind kind, int32_t rows);
/* The most rows, up to max, that take no longer than ns. */
int32_t pass_cost_rows(const struct pass_cost *cost, enum pass_kind kind, double ns, int32_t max);

/* What a pass took. Times of nothing or less are not looked at; one that stands alone, however
 * far off, moves little. */
void pass_cost_learn(struct pass_cost *cost, enum pass_kind kind, int32_t rows, double ns);
/* The draft steps of a round together: slots[k] draft in step k + 1. */
void pass_cost_learn_steps(struct pass_cost *cost, const int32_t *slots, int32_t n, double ns);
/* rows: laws made, of draft and target. */
void pass_cost_learn_sample(struct pass_cost *cost, int32_t rows, double ns);
/* Of a round's wall time, what the device did not use; negative: not known. */
void pass_cost_learn_host(struct pass_cost *cost, double ns);

/* A small text file, written aside and renamed. key: one line naming model, device, threads and
 * whatever else the times depend on. Both 0 or SPECD_EFILE. A file with another key, another
 * format, a bad sum or absurd numbers does not load and leaves cost as it was. */
int pass_cost_save(const struct pass_cost *cost, const char *path, const char *key);
int pass_cost_load(struct pass_cost *cost, const char *path, const char *key);

#endif
