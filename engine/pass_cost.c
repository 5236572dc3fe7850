#include "draft_len.h"

#include "specd/error.h"
#include "specd/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAGIC "specd-pace 1\n"
#define FILE_MAX 16384
#define ROWS_MAX (1 << 20)
#define NS_MAX UINT64_C(1000000000000) /* 1000 s: no pass takes that long */
#define LEARN_RATE 0.05                /* weight of a new observation */
#define SCALE_RATE 0.2                 /* the same, for what moves the whole curve */

/* ---- curves ---------------------------------------------------------------------------------- */

void pass_cost_init(struct pass_cost *cost)
{
    memset(cost, 0, sizeof *cost);
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
        c->rows[i] = rows;
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
    return MAX(on_line(c, i, rows), 0.0);
}

void pass_cost_set_verify(struct pass_cost *cost, int32_t rows, double ns)
{
    curve_set(&cost->verify, rows, ns);
}

void pass_cost_set_draft(struct pass_cost *cost, int32_t rows, double ns)
{
    curve_set(&cost->draft, rows, ns);
}

double pass_cost_verify(const struct pass_cost *cost, int32_t rows)
{
    return curve_at(&cost->verify, rows);
}

double pass_cost_draft(const struct pass_cost *cost, int32_t rows)
{
    return curve_at(&cost->draft, rows);
}

/* ---- learning from real rounds --------------------------------------------------------------- */

/* Most of an error is the load of the machine, which slows all passes alike and so tells nothing of
 * what a row more costs: the whole curve moves with it. What comes again and again at the same rows
 * is the curve's shape: the points on either side take their share. */
void pass_cost_learn_verify(struct pass_cost *cost, int32_t rows, double ns)
{
    struct pass_curve *c = &cost->verify;
    if (c->n < 2 || rows < c->rows[0] || rows > c->rows[c->n - 1])
        return;
    int32_t i = 0;
    while (i < c->n - 2 && c->rows[i + 1] < rows)
        i++;
    double expected = on_line(c, i, rows);
    if (!(expected > 0 && ns > 0))
        return;
    double off = MIN(MAX(ns / expected, 0.5), 2.0) - 1; /* an outlier counts for little */
    double above = (double)(rows - c->rows[i]) / (c->rows[i + 1] - c->rows[i]);
    for (int32_t j = 0; j < c->n; j++) {
        double share = j == i ? 1 - above : j == i + 1 ? above : 0;
        c->ns[j] = c->up[j] * (1 + SCALE_RATE * off) * (1 + LEARN_RATE * off * share);
    }
    /* Fewer rows are no dearer, or a point that was measured too high would hold these up. */
    for (int32_t j = i; j >= 0; j--)
        c->ns[j] = MIN(c->ns[j], c->ns[j + 1]);
    force_monotone(c);
}

void pass_cost_learn_host(struct pass_cost *cost, double host_ns)
{
    if (host_ns >= 0)
        cost->fixed_ns += LEARN_RATE * (host_ns - cost->fixed_ns);
}

/* ---- the cache file -------------------------------------------------------------------------- */
/*
 *   specd-pace 1
 *   key SmolLM2-135M q4_1 / cpu avx2 2 threads
 *   fixed 20000
 *   verify 1 9000000
 *   draft 1 800000
 *   sum 0123456789abcdef        FNV-1a of everything above
 * Times are whole nanoseconds.
 */

static uint64_t fnv1a(const char *data, size_t len)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)data[i]) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t whole_ns(double ns)
{
    return ns < (double)NS_MAX ? (uint64_t)(ns + 0.5) : NS_MAX;
}

static void put_curve(struct buf *b, const char *name, const struct pass_curve *c)
{
    for (int32_t i = 0; i < c->n; i++)
        buf_printf(b, "%s %" PRId32 " %" PRIu64 "\n", name, c->rows[i], whole_ns(c->ns[i]));
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
    buf_printf(&text, "%skey %s\nfixed %" PRIu64 "\n", FILE_MAGIC, key, whole_ns(cost->fixed_ns));
    put_curve(&text, "verify", &cost->verify);
    put_curve(&text, "draft", &cost->draft);
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

    uint64_t fixed;
    if (!take(&p, FILE_MAGIC "key ") || !take(&p, key) || !take(&p, "\nfixed ") ||
        !take_number(&p, 0, NS_MAX, &fixed) || !take(&p, "\n"))
        return false;
    cost->fixed_ns = (double)fixed;
    while (p < end) {
        bool ok = take(&p, "verify ")  ? take_point(&p, &cost->verify)
                  : take(&p, "draft ") ? take_point(&p, &cost->draft)
                                       : false;
        if (!ok)
            return false;
    }
    return cost->verify.n > 0;
}

int pass_cost_load(struct pass_cost *cost, const char *path, const char *key)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return SPECD_EFILE;
    char text[FILE_MAX];
    size_t len = fread(text, 1, sizeof text - 1, f);
    bool ok = !ferror(f) && len < sizeof text - 1;
    fclose(f);
    text[len] = '\0';

    struct pass_cost loaded;
    pass_cost_init(&loaded);
    if (!ok || !parse(&loaded, text, len, key))
        return SPECD_EFILE;
    *cost = loaded;
    return 0;
}
