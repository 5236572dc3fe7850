/*
 * Numbers (RFC 8259 section 6). Integers within limits are read digit by digit: for each length,
 * along the digits of the lower and of the upper limit, and freely once off both.
 */
#include "grammar/schema.h"

#include <math.h>
#include <string.h>

#define DIGITS_MAX 20
#define FRACTION_DIGITS_MAX 18

struct range {
    struct network *w;
    uint8_t lo[DIGITS_MAX], hi[DIGITS_MAX];
    int n;
    uint32_t free_from[DIGITS_MAX + 1]; /* any digits from there on */
    uint32_t next;
};

static uint32_t any_digits(struct range *r, int at)
{
    if (at == r->n)
        return r->next;
    if (r->free_from[at] == 0)
        r->free_from[at] = network_byte(r->w, '0', '9', any_digits(r, at + 1));
    return r->free_from[at];
}

/* The digits so far equal those of the lower (low) or the upper limit (high), or of both. */
static uint32_t within(struct range *r, int at, bool low, bool high)
{
    struct edge edges[3];
    size_t n = 0;
    if (at == r->n || (!low && !high))
        return any_digits(r, at);
    uint8_t from = low ? r->lo[at] : 0, to = high ? r->hi[at] : 9;
    if (low && high && from == to)
        return network_byte(r->w, '0' + from, '0' + from, within(r, at + 1, true, true));
    if (low) {
        edges[n++] = (struct edge){'0' + from, '0' + from, within(r, at + 1, true, false)};
        from++;
    }
    if (high) {
        edges[n++] = (struct edge){'0' + to, '0' + to, within(r, at + 1, false, true)};
        to--;
    }
    if (from <= to && to <= 9)
        edges[n++] = (struct edge){'0' + from, '0' + to, any_digits(r, at + 1)};
    return network_edges(r->w, NODE_BYTES, edges, n);
}

static int split_digits(uint64_t v, uint8_t *digits)
{
    int n = 0;
    for (uint64_t rest = v; n == 0 || rest > 0; rest /= 10)
        n++;
    for (int i = n; i-- > 0; v /= 10)
        digits[i] = (uint8_t)(v % 10);
    return n;
}

uint32_t make_digits(struct compiler *c, uint64_t lo, uint64_t hi, uint32_t next)
{
    struct edge lengths[DIGITS_MAX];
    size_t n_lengths = 0;
    uint64_t least = 0, most = 9; /* of the numbers of a length */
    for (int n = 1; n < DIGITS_MAX && least <= hi; n++) {
        if (lo <= most) {
            struct range r = {.w = &c->net, .n = n, .next = next};
            split_digits(MAX(lo, least), r.lo);
            split_digits(MIN(hi, most), r.hi);
            lengths[n_lengths++].to = within(&r, 0, true, true);
        }
        least = most + 1;
        most = most * 10 + 9;
    }
    return network_edges(&c->net, NODE_SPLIT, lengths, n_lengths);
}

uint32_t make_integer(struct compiler *c, int64_t lo, int64_t hi, uint32_t next)
{
    uint32_t not_negative = NODE_OF_NOTHING, negative = NODE_OF_NOTHING;
    if (hi >= 0)
        not_negative = make_digits(c, lo > 0 ? (uint64_t)lo : 0, (uint64_t)hi, next);
    if (lo < 0)
        negative = make_digits(c, hi < 0 ? -(uint64_t)hi : 1, -(uint64_t)lo, next);
    return network_split(&c->net, not_negative, network_byte(&c->net, '-', '-', negative));
}

/* One digit and up to n - 1 more. */
static uint32_t some_digits(struct network *w, int n, uint32_t next)
{
    uint32_t node = next;
    for (int i = 0; i < n; i++)
        node = network_byte(w, '0', '9', i == 0 ? next : network_split(w, node, next));
    return node;
}

uint32_t make_number(struct compiler *c, bool negative, uint32_t next)
{
    struct network *w = &c->net;
    uint32_t digits = some_digits(w, 2, next);
    uint32_t sign[] = {network_byte(w, '+', '+', digits), network_byte(w, '-', '-', digits)};
    uint32_t exponent = network_split(w, digits, network_split(w, sign[0], sign[1]));
    struct edge e[] = {{'e', 'e', exponent}, {'E', 'E', exponent}};
    uint32_t end = network_split(w, next, network_edges(w, NODE_BYTES, e, 2));
    uint32_t point = network_byte(w, '.', '.', some_digits(w, FRACTION_DIGITS_MAX, end));
    uint32_t whole = make_digits(c, 0, INTEGER_FREE_MAX, network_split(w, point, end));
    return negative ? network_split(w, whole, network_byte(w, '-', '-', whole)) : whole;
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* A limit as an integer: the next one within. Beyond 64 bits it becomes the last one. */
static int64_t read_limit(struct compiler *c, uint32_t at, bool lower, bool exclusive)
{
    const struct chat_value *v = &c->v[at];
    int64_t limit;
    if (v->kind == CHAT_INT) {
        limit = v->i;
    } else if (v->kind == CHAT_FLOAT && v->d == v->d) {
        double whole = lower ? ceil(v->d) : floor(v->d);
        if (whole >= 0x1p63 || whole < -0x1p63)
            return whole > 0 ? INT64_MAX : INT64_MIN + 1;
        limit = (int64_t)whole;
        exclusive = exclusive && whole == v->d;
    } else {
        compile_error(c, "%s must be a number", v->key);
        return 0;
    }
    if (exclusive && lower && limit < INT64_MAX)
        limit++;
    if (exclusive && !lower && limit > INT64_MIN)
        limit--;
    return limit;
}

static uint32_t compile_integer(struct compiler *c, uint32_t s, uint32_t next)
{
    static const char *const keys[] = {"minimum", "exclusiveMinimum", "maximum",
                                       "exclusiveMaximum"};
    bool given[2] = {false, false}; /* lower, upper */
    int64_t limit[2] = {0, 0};
    for (size_t k = 0; k < COUNT_OF(keys); k++) {
        uint32_t at = value_get(c, s, keys[k]);
        bool upper = k >= 2;
        if (at == NO_VALUE)
            continue;
        int64_t l = read_limit(c, at, !upper, k % 2 == 1);
        if (!given[upper] || (upper ? l < limit[1] : l > limit[0]))
            limit[upper] = l;
        given[upper] = true;
    }
    if (!given[0] && !given[1])
        return compile_common(c, COMMON_INTEGER, next);
    int64_t lo = given[0]                        ? limit[0]
                 : limit[1] <= -INTEGER_FREE_MAX ? INT64_MIN
                                                 : -INTEGER_FREE_MAX;
    int64_t hi = given[1] ? limit[1] : limit[0] >= INTEGER_FREE_MAX ? INT64_MAX : INTEGER_FREE_MAX;
    if (lo > hi) {
        compile_error(c, "no integer lies between minimum and maximum");
        return next;
    }
    return make_integer(c, lo, hi, next);
}

uint32_t compile_number(struct compiler *c, uint32_t s, bool integer, uint32_t next)
{
    uint32_t least = value_get(c, s, "minimum");
    if (integer)
        return compile_integer(c, s, next);
    for (const char *const *key =
             (const char *const[]){"maximum", "exclusiveMinimum", "exclusiveMaximum", NULL};
         *key; key++)
        if (value_get(c, s, *key) != NO_VALUE)
            compile_error(c, "%s of a number that need not be an integer is not supported", *key);
    if (least == NO_VALUE)
        return compile_common(c, COMMON_NUMBER, next);
    const struct chat_value *v = &c->v[least];
    if (!(v->kind == CHAT_INT && v->i == 0) && !(v->kind == CHAT_FLOAT && v->d == 0))
        compile_error(c, "minimum of a number that need not be an integer must be 0");
    return make_number(c, false, next);
}
