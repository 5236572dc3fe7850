#include "pass_cost.h"

#include "specd/error.h"
#include "specd/util.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAGIC "specd-pass-cost 1\n"
#define FILE_MAX 16382 /* bytes of a table's file */
#define ROWS_MAX (1 << 20)
#define NS_MAX UINT64_C(1000000000000) /* 1000 s: no pass takes that long */

/* Weights of a new observation: in the load, in a point of a curve at least, in the host's work, in
 * the mean of sampling. The first ones weigh more. */
#define LOAD_RATE 0.2
#define LOAD_SEEN 4 /* a point that so many rounds moved says as much of the load as of itself */
#define POINT_RATE 0.04
#define POINT_RATE_MAX 0.5 /* where the load is known, what is far off twice is learnt fast */
#define HOST_RATE 0.05
#define SAMPLE_RATE 0.25
#define SAMPLE_ROUNDS 64
#define ERROR_MAX 1.0 /* log: an observation counts as at most e times off */
#define ERROR_NEW 2.5 /* at a point that few rounds moved */
#define LEAP_MAX 8.0  /* the same for host work and sampling, as a factor of what was expected */

/* ---- curves ---------------------------------------------------------------------------------- */

void pass_cost_init(struct pass_cost *cost)
{
    *cost = (struct pass_cost){0};
}

/* The largest of what was measured at as many rows or fewer: noise must not make a row look like a
 * gain. */
static void force_monotone(struct pass_curve *c)
{
    double most = 0;
    for (int32_t i = 0; i < c->n; i++) {
        most = MAX(most, c->ns[i]);
        c->up[i] = most;
    }
}

static void curve_set(struct pass_curve *c, int32_t rows, double ns)
{
    ASSERT(rows >= 1 && ns >= 0);
    int32_t i = 0;
    while (i < c->n && c->rows[i] < rows)
        i++;
    if (i == c->n || c->rows[i] != rows) {
        ASSERT(c->n < PASS_POINTS_MAX);
        memmove(&c->rows[i + 1], &c->rows[i], (size_t)(c->n - i) * sizeof c->rows[0]);
        memmove(&c->ns[i + 1], &c->ns[i], (size_t)(c->n - i) * sizeof c->ns[0]);
        memmove(&c->seen[i + 1], &c->seen[i], (size_t)(c->n - i) * sizeof c->seen[0]);
        memmove(&c->last[i + 1], &c->last[i], (size_t)(c->n - i) * sizeof c->last[0]);
        c->rows[i] = rows;
        c->seen[i] = c->last[i] = 0;
        c->n++;
    }
    c->ns[i] = ns;
    force_monotone(c);
}

/* On the line through points i and i + 1, which may lie on either side of rows. */
static double on_line(const struct pass_curve *c, int32_t i, int32_t rows)
{
    double slope = (c->up[i + 1] - c->up[i]) / (c->rows[i + 1] - c->rows[i]);
    return c->up[i] + slope * (rows - c->rows[i]);
}

static double curve_at(const struct pass_curve *c, int32_t rows)
{
    if (c->n == 0 || rows <= 0)
        return 0;
    if (c->n == 1) /* nothing is known of the slope: rows below are no cheaper, rows above are */
        return c->up[0] * MAX(1.0, (double)rows / c->rows[0]);
    int32_t i = 0;
    while (i < c->n - 2 && c->rows[i + 1] < rows)
        i++;
    /* below the first point no less than its share */
    return MAX(on_line(c, i, rows), i > 0 ? 0.0 : c->up[0] * MIN(1.0, (double)rows / c->rows[0]));
}

void pass_cost_set(struct pass_cost *cost, enum pass_kind kind, int32_t rows, double ns)
{
    curve_set(&cost->curves[kind], rows, ns);
}

double pass_cost_at(const struct pass_cost *cost, enum pass_kind kind, int32_t rows)
{
    return curve_at(&cost->curves[kind], rows) * exp(cost->load);
}

int32_t pass_cost_rows(const struct pass_cost *cost, enum pass_kind kind, double ns, int32_t max)
{
    int32_t low = 0, high = max;
    while (low < high) {
        int32_t middle = low + (high - low + 1) / 2;
        if (pass_cost_at(cost, kind, middle) <= ns)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* ---- learning from real rounds --------------------------------------------------------------- */

/* The mean without the least and the largest. */
static double middle(const double x[4])
{
    double low = fmin(fmin(x[0], x[1]), fmin(x[2], x[3]));
    double high = fmax(fmax(x[0], x[1]), fmax(x[2], x[3]));
    return (x[0] + x[1] + x[2] + x[3] - low - high) / 2;
}

/* Points i and i + 1 lie on either side of rows, or are the last two; *above: the share of the
 * upper one. */
static int32_t find_points(const struct pass_curve *c, int32_t rows, double *above)
{
    int32_t i = 0;
    while (i < c->n - 2 && c->rows[i + 1] < rows)
        i++;
    *above = c->n < 2 ? 0 : (double)(rows - c->rows[i]) / (double)(c->rows[i + 1] - c->rows[i]);
    *above = fmin(fmax(*above, 0), 1);
    return i;
}

/*
 * An error is the load of the machine, which slows all passes alike, or the curve's shape. Verify
 * passes at rows that are well known tell the load, by the middle of the last four errors. What is
 * off at the same rows twice is the shape: the points on either side take their share of it, all
 * the more if they are new; and points that no round has moved yet go along, since a table that is
 * wrong at one is likely to be so at all. So no single round moves much. Returns by what those
 * were moved, as a logarithm.
 */
static double curve_learn(struct pass_curve *c, int32_t rows, double error, double weight,
                          double rate_max)
{
    double above, moved = 0;
    int32_t i = find_points(c, rows, &above), nearest = above > 0.5 ? i + 1 : i;
    double most = c->seen[nearest] < LOAD_SEEN ? ERROR_NEW : ERROR_MAX;
    double before = c->last[nearest], shape = error = fmin(fmax(error, -most), most);
    c->last[nearest] = error;
    if (c->seen[nearest] > 0)
        shape = error * before <= 0 ? 0 : fabs(error) < fabs(before) ? error : before;
    double rate = fmin(fmax(2 * shape * shape, POINT_RATE), rate_max);
    for (int32_t j = i; j <= i + 1 && j < c->n; j++) {
        double share = weight * (j == i ? 1 - above : above);
        double log_factor = fmax(rate, 1 / (c->seen[j] + 1.5)) * share * shape;
        c->ns[j] = c->up[j] * exp(log_factor);
        c->seen[j] += share;
        moved += log_factor;
    }
    for (int32_t j = 0; j < c->n; j++) {
        if (c->seen[j] == 0)
            c->ns[j] *= exp(moved);
    }
    /* Fewer rows are no dearer, or a point that was measured too high would hold these up. */
    for (int32_t j = MIN(i, c->n - 2); j >= 0; j--)
        c->ns[j] = fmin(c->ns[j], c->ns[j + 1]);
    force_monotone(c);
    c->n_learned++;
    return moved;
}

/* Steps and rows of the draft model are passes of one model: what no round has shown yet goes along
 * with what the other shows. */
static void follow(struct pass_curve *c, double moved)
{
    for (int32_t j = 0; j < c->n && c->n_learned == 0; j++)
        c->ns[j] *= exp(moved);
    force_monotone(c);
}

/* Where passes go far beyond the last point, one more says how the curve goes on. */
static void curve_extend(struct pass_curve *c, int32_t rows)
{
    if (c->n > 0 && c->n < PASS_POINTS_MAX && rows >= 2 * c->rows[c->n - 1])
        curve_set(c, rows, curve_at(c, rows));
}

static void learn_load(struct pass_cost *cost, int32_t rows, double error)
{
    const struct pass_curve *c = &cost->curves[PASS_VERIFY];
    double above;
    int32_t i = find_points(c, rows, &above);
    double seen = c->seen[above > 0.5 ? i + 1 : i];
    cost->errors[cost->n_errors++ % 4] = fmin(fmax(error, -ERROR_MAX), ERROR_MAX);
    if (cost->n_errors >= 4)
        cost->load += LOAD_RATE * seen / (seen + LOAD_SEEN) * middle(cost->errors);
}

void pass_cost_learn(struct pass_cost *cost, enum pass_kind kind, int32_t rows, double ns)
{
    curve_extend(&cost->curves[kind], rows);
    double expected = pass_cost_at(cost, kind, rows);
    if (rows < 1 || !(expected > 0 && ns > 0))
        return;
    double error = log(ns / expected);
    if (kind == PASS_VERIFY)
        learn_load(cost, rows, error);
    double moved = curve_learn(&cost->curves[kind], rows, error, 1,
                               kind == PASS_VERIFY ? POINT_RATE : POINT_RATE_MAX);
    if (kind == PASS_FILL)
        follow(&cost->curves[PASS_STEP], moved);
}

/* The time is known of all steps together: each number of slots has its share of what was off. */
void pass_cost_learn_steps(struct pass_cost *cost, const int32_t *slots, int32_t n, double ns)
{
    double expected = 0;
    for (int32_t k = 0; k < n; k++)
        expected += pass_cost_at(cost, PASS_STEP, slots[k]);
    if (!(expected > 0 && ns > 0))
        return;
    double error = log(ns / expected), scale = exp(cost->load) / expected;
    for (int32_t k = 0, next; k < n; k = next) {
        for (next = k + 1; next < n && slots[next] == slots[k]; next++)
            ;
        double share = scale * (next - k) * curve_at(&cost->curves[PASS_STEP], slots[k]);
        follow(&cost->curves[PASS_FILL], curve_learn(&cost->curves[PASS_STEP], slots[k], error,
                                                     fmin(share, 1), POINT_RATE_MAX));
    }
}

void pass_cost_learn_sample(struct pass_cost *cost, int32_t rows, double ns)
{
    if (rows < 1 || !(ns >= 0))
        return;
    cost->sampled.ns += ns;
    cost->sampled.rows += rows;
    if (++cost->sampled.rounds < SAMPLE_ROUNDS)
        return;
    double mean = cost->sampled.ns / cost->sampled.rows;
    if (cost->sample_ns > 0)
        mean = fmin(mean, LEAP_MAX * cost->sample_ns);
    cost->sample_ns += SAMPLE_RATE * (mean - cost->sample_ns);
    memset(&cost->sampled, 0, sizeof cost->sampled);
}

void pass_cost_learn_host(struct pass_cost *cost, double ns)
{
    if (!(ns >= 0))
        return;
    if (cost->host_ns > 0)
        ns = fmin(ns, LEAP_MAX * cost->host_ns);
    cost->host_ns += HOST_RATE * (ns - cost->host_ns);
}

/* ---- the cache file -------------------------------------------------------------------------- */
/*
 *   specd-pass-cost 1
 *   key SmolLM2-135M q4_1 / cpu avx2 2 threads
 *   host 20000
 *   sample 3000
 *   verify 1 9000000
 *   step 1 800000
 *   fill 32 9000000
 *   sum 0123456789abcdef        FNV-1a of everything above
 * Times are whole nanoseconds.
 */

static const char *const kind_names[PASS_KINDS] = {"verify", "step", "fill"};

static uint64_t whole_ns(double ns)
{
    return ns < (double)NS_MAX ? (uint64_t)(ns + 0.5) : NS_MAX;
}

static void put_curve(struct buf *b, const char *name, const struct pass_curve *c, double load)
{
    for (int32_t i = 0; i < c->n; i++)
        buf_printf(b, "%s %" PRId32 " %" PRIu64 "\n", name, c->rows[i],
                   whole_ns(c->ns[i] * exp(load)));
}

static int write_file(const char *path, const struct buf *b)
{
    FILE *f = fopen(path, "w");
    if (!f)
        return SPECD_EFILE;
    bool ok = fwrite(b->data, 1, b->len, f) == b->len;
    ok = fclose(f) == 0 && ok;
    return ok ? 0 : SPECD_EFILE;
}

int pass_cost_save(const struct pass_cost *cost, const char *path, const char *key)
{
    if (strpbrk(key, "\r\n"))
        return SPECD_EFILE;
    struct buf text = {0}, aside = {0};
    buf_printf(&text, "%skey %s\nhost %" PRIu64 "\nsample %" PRIu64 "\n", FILE_MAGIC, key,
               whole_ns(cost->host_ns), whole_ns(cost->sample_ns));
    for (int kind = 0; kind < PASS_KINDS; kind++)
        put_curve(&text, kind_names[kind], &cost->curves[kind], cost->load);
    buf_printf(&text, "sum %016" PRIx64 "\n", fnv1a(text.data, text.len));
    /* Two servers may start at once: each writes a file of its own. */
    buf_printf(&aside, "%s.%ld", path, (long)getpid());

    int rc = write_file(aside.data, &text);
    if (rc == 0 && rename(aside.data, path) != 0)
        rc = SPECD_EFILE;
    if (rc != 0)
        unlink(aside.data);
    buf_free(&aside);
    buf_free(&text);
    return rc;
}

/* Moves *p past the word if the text goes on with it. */
static bool take(const char **p, const char *word)
{
    size_t len = strlen(word);
    if (strncmp(*p, word, len) != 0)
        return false;
    *p += len;
    return true;
}

/* A decimal number of 1..max, without sign or leading blanks; 0 counts where min is 0. */
static bool take_number(const char **p, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    const char *start = *p;
    for (; **p >= '0' && **p <= '9' && v <= max; (*p)++)
        v = v * 10 + (uint64_t)(**p - '0');
    *out = v;
    return *p > start && v >= min && v <= max;
}

static bool take_point(const char **p, struct pass_curve *c)
{
    uint64_t rows, ns;
    if (!take_number(p, 1, ROWS_MAX, &rows) || !take(p, " ") || !take_number(p, 1, NS_MAX, &ns) ||
        !take(p, "\n"))
        return false;
    if (c->n == PASS_POINTS_MAX || (c->n > 0 && (int32_t)rows <= c->rows[c->n - 1]))
        return false;
    curve_set(c, (int32_t)rows, (double)ns);
    return true;
}

/* The text is NUL-terminated at `len`; a NUL inside it fails as any other surprise does. */
static bool parse(struct pass_cost *cost, const char *text, size_t len, const char *key)
{
    const size_t sum_len = strlen("sum 0123456789abcdef\n");
    char sum[32];
    if (len < sum_len)
        return false;
    snprintf(sum, sizeof sum, "sum %016" PRIx64 "\n", fnv1a(text, len - sum_len));
    const char *p = text, *end = text + len - sum_len;
    if (strcmp(end, sum) != 0)
        return false;

    uint64_t host, sample;
    if (!take(&p, FILE_MAGIC "key ") || !take(&p, key) || !take(&p, "\nhost ") ||
        !take_number(&p, 0, NS_MAX, &host) || !take(&p, "\nsample ") ||
        !take_number(&p, 0, NS_MAX, &sample) || !take(&p, "\n"))
        return false;
    cost->host_ns = (double)host;
    cost->sample_ns = (double)sample;
    while (p < end) {
        int kind = 0;
        while (kind < PASS_KINDS && !take(&p, kind_names[kind]))
            kind++;
        if (kind == PASS_KINDS || !take(&p, " ") || !take_point(&p, &cost->curves[kind]))
            return false;
    }
    return cost->curves[PASS_VERIFY].n > 0;
}

int pass_cost_load(struct pass_cost *cost, const char *path, const char *key)
{
    struct buf text = {0};
    struct pass_cost loaded;
    char why[1]; /* a table that can't be read is measured anew, whatever the reason */
    pass_cost_init(&loaded);
    bool ok = file_read(path, FILE_MAX, &text, why, sizeof why) == 0 &&
              parse(&loaded, text.data, text.len, key);
    buf_free(&text);
    if (!ok)
        return SPECD_EFILE;
    *cost = loaded;
    return 0;
}
