/*
 * Numbers (RFC 8259 section 6; JSON Schema 2020-12, Validation 6.2) within limits and of a
 * multiple: read digit by digit, for each length, along the digits of the lower and of the upper
 * limit and freely once off both, with the remainder so far. Limits are decimals as they were
 * written: no double comes in.
 *
 * A number with limits that need not be an integer has no exponent, and where it may have 15
 * digits, no more: doubles then tell it from any limit of as many.
 */
#include "grammar/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FREE_DIGITS 18
#define FRACTION_DIGITS_MAX 18
#define DOUBLE_DIGITS 15
#define DIGITS_MAX 400           /* before the point */
#define NUMBER_PLACES_MANY 10000 /* beyond, longer numbers are left out */
#define NUMBER_PLACES_MAX 100000

/* ---- limits ---------------------------------------------------------------------------------- */

struct limit {
    bool given, exclusive;
    struct json_decimal at;
};
/* N times 10^-decimals is a multiple of `of` times 10^-decimals; of 0: any number is. */
struct multiple {
    uint64_t of;
    int decimals;
};
struct limits {
    struct limit lower, upper;
    struct multiple multiple;
};

struct json_decimal decimal_at(const struct compiler *c, uint32_t at)
{
    char text[32];
    if (c->v[at].text)
        return json_decimal(c->v[at].text);
    snprintf(text, sizeof text, "%lld", (long long)c->v[at].i);
    return json_decimal(text);
}

static void narrow(struct limit *limit, struct limit to, bool lower)
{
    int order = limit->given ? json_decimal_compare(&to.at, &limit->at) : lower ? 1 : -1;
    if (order == 0)
        limit->exclusive |= to.exclusive;
    else if ((order > 0) == lower)
        *limit = to;
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b > 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

#define MULTIPLE_MAX UINT64_C(1000000000000) /* so that ten of them fit in 64 bits */

/* Both at once: the least common multiple. */
static void join_multiple(struct compiler *c, uint32_t at, struct multiple *m)
{
    struct json_decimal d = decimal_at(c, at);
    struct multiple n = {0, MAX(d.n_digits - d.exponent, 0)};
    if (d.negative || d.n_digits == 0) {
        compile_error(c, at, "must be more than 0");
        return;
    }
    bool fits = d.exponent <= 12 && n.decimals <= FRACTION_DIGITS_MAX && d.n_digits <= 12;
    for (int i = 0; fits && i < MAX(d.n_digits, d.exponent); i++)
        n.of = n.of * 10 + (i < d.n_digits ? (uint64_t)(d.digits[i] - '0') : 0);
    for (; fits && m->of > 0 && n.decimals < m->decimals && n.of < MULTIPLE_MAX; n.decimals++)
        n.of *= 10;
    for (; fits && m->of > 0 && m->decimals < n.decimals && m->of < MULTIPLE_MAX; m->decimals++)
        m->of *= 10;
    if (fits && m->of > 0 && m->decimals == n.decimals) {
        uint64_t part = n.of / gcd(n.of, m->of);
        fits = m->of <= MULTIPLE_MAX / part;
        n.of = m->of * part;
    }
    if (!fits || n.of > MULTIPLE_MAX || (m->of > 0 && m->decimals != n.decimals))
        compile_error(c, at, "multipleOf has too many digits");
    *m = n;
}

/* What one schema says; an exclusive limit may be told by true beside the limit (draft 4). */
static void read_limits(struct compiler *c, uint32_t s, struct limits *l)
{
    static const char *const keys[2][2] = {{"minimum", "exclusiveMinimum"},
                                           {"maximum", "exclusiveMaximum"}};
    for (int upper = 0; upper < 2; upper++) {
        uint32_t edge = value_get(c, s, keys[upper][0]), beyond = value_get(c, s, keys[upper][1]);
        bool flag = beyond != NO_VALUE && c->v[beyond].kind == CHAT_BOOL;
        for (int exclusive = 0; exclusive < 2; exclusive++) {
            uint32_t at = exclusive ? beyond : edge;
            if (at == NO_VALUE || (exclusive && flag))
                continue;
            if (!value_is_number(&c->v[at])) {
                compile_error(c, at, "must be a number");
                continue;
            }
            struct limit limit = {true, exclusive || (flag && c->v[beyond].b), decimal_at(c, at)};
            narrow(upper ? &l->upper : &l->lower, limit, !upper);
        }
    }
    uint32_t at = value_get(c, s, "multipleOf");
    if (at != NO_VALUE && !value_is_number(&c->v[at]))
        compile_error(c, at, "must be a number");
    else if (at != NO_VALUE)
        join_multiple(c, at, &l->multiple);
}

static bool within_limit(const struct json_decimal *d, const struct limit *limit, bool lower)
{
    int order = json_decimal_compare(d, &limit->at);
    return !limit->given || (lower ? order > 0 : order < 0) || (order == 0 && !limit->exclusive);
}

bool number_satisfies(struct compiler *c, uint32_t v, uint32_t s)
{
    struct limits l = {0};
    struct json_decimal d = decimal_at(c, v);
    read_limits(c, s, &l);
    if (!within_limit(&d, &l.lower, true) || !within_limit(&d, &l.upper, false))
        return false;
    if (l.multiple.of == 0 || d.n_digits == 0)
        return true;
    if (d.n_digits - d.exponent > l.multiple.decimals || d.exponent > DIGITS_MAX)
        return false;
    uint64_t rest = 0;
    for (int i = 0; i < d.exponent + l.multiple.decimals; i++)
        rest = (rest * 10 + (i < d.n_digits ? (uint64_t)(d.digits[i] - '0') : 0)) % l.multiple.of;
    return rest == 0;
}

/* ---- digits ---------------------------------------------------------------------------------- */

/* Numbers without a sign, from lower to upper. A digit's place is its power of ten. */
struct span {
    struct compiler *c;
    struct limit lower, upper;
    struct multiple multiple;
    bool integer;
    int length, fraction; /* digits before the point of the numbers at hand; behind it, at most */
    uint32_t next;
    struct known_place {
        uint64_t key, rest; /* key 0: empty */
        uint32_t node;
    } * known; /* hash table */
    uint32_t n_known, known_size;
    bool full;
};

static int digit_of(const struct json_decimal *d, int place)
{
    int64_t i = (int64_t)d->exponent - 1 - place;
    return i >= 0 && i < d->n_digits ? d->digits[i] - '0' : 0;
}

/* Whether a limit has digits that are no zeros below a place. */
static bool goes_on_below(const struct json_decimal *d, int place)
{
    return (int64_t)d->exponent - d->n_digits < place;
}

static int whole_digits(const struct json_decimal *d)
{
    return MAX(d->exponent, 1);
}

/* What is known of a number: the place of its next digit, whether those so far are the limits'. */
struct digits {
    int place;
    bool low, high;
    uint64_t rest; /* of what was read, by the multiple */
};

static struct known_place *find_known(struct known_place *table, uint32_t size, uint64_t key,
                                      uint64_t rest)
{
    uint64_t h = (key * 31 + rest) * UINT64_C(0x9E3779B97F4A7C15);
    for (uint64_t i = h >> 32;; i++) {
        struct known_place *k = &table[i & (size - 1)];
        if (k->key == 0 || (k->key == key && k->rest == rest))
            return k;
    }
}

/* The entry for digits that are to be read; off both limits the length makes no difference but to
 * the first digit. */
static struct known_place *known_at(struct span *s, struct digits d)
{
    uint64_t length = d.low || d.high ? (uint64_t)s->length : 0;
    uint64_t fraction = (uint64_t)(s->fraction + 1);
    uint64_t key = (uint64_t)(d.place + 1024) << 32 | length << 16 | fraction << 8 |
                   (uint64_t)(d.place == s->length - 1) << 3 | (uint64_t)d.high << 2 |
                   (uint64_t)d.low << 1 | 1;
    if (s->n_known * 2 >= s->known_size) {
        uint32_t size = s->known_size ? s->known_size * 2 : 256;
        struct known_place *table = xcalloc(size, sizeof *table);
        for (uint32_t i = 0; i < s->known_size; i++)
            if (s->known[i].key)
                *find_known(table, size, s->known[i].key, s->known[i].rest) = s->known[i];
        free(s->known);
        s->known = table;
        s->known_size = size;
    }
    struct known_place *k = find_known(s->known, s->known_size, key, d.rest);
    if (k->key == 0) {
        *k = (struct known_place){key, d.rest, UINT32_MAX};
        s->n_known++;
    }
    return k;
}

/* The end, if the number may end before the digit at d.place: the digits that are left are zeros.
 */
static uint32_t end_at(struct span *s, struct digits d)
{
    uint64_t rest = d.rest;
    for (int i = 0; i < d.place + 1 + s->multiple.decimals && s->multiple.of > 0; i++)
        rest = rest * 10 % s->multiple.of;
    if (rest != 0 || (d.low && (goes_on_below(&s->lower.at, d.place + 1) || s->lower.exclusive)) ||
        (d.high && !goes_on_below(&s->upper.at, d.place + 1) && s->upper.exclusive))
        return NODE_OF_NOTHING;
    return s->next;
}

static uint32_t digits_from(struct span *s, struct digits d);

/* Behind a digit: the next one, the point, the end. */
static uint32_t behind_digit(struct span *s, struct digits d)
{
    struct network *w = &s->c->net;
    if (d.place >= 0)
        return digits_from(s, d);
    uint32_t end = end_at(s, d), more = NODE_OF_NOTHING;
    if (-d.place <= s->fraction)
        more = digits_from(s, d);
    if (more != NODE_OF_NOTHING && d.place == -1)
        more = network_byte(w, '.', '.', more);
    if (end == NODE_OF_NOTHING || more == NODE_OF_NOTHING)
        return end == NODE_OF_NOTHING ? more : end;
    return network_split(w, end, more);
}

static uint32_t digits_from(struct span *s, struct digits d)
{
    struct network *w = &s->c->net;
    struct edge edges[10];
    size_t n = 0;
    uint64_t of = s->multiple.of;
    int left = d.place + 1 + s->multiple.decimals; /* digits of the multiple's unit to come */
    if (of > 0 && !d.low && !d.high) {
        uint64_t power = 1; /* the rest matters by what these digits can't make up for */
        for (int i = 0; i < left && power < of; i++)
            power = gcd(power * 10, of);
        d.rest %= of / gcd(of, power);
    }
    s->full = s->full || s->n_known > NUMBER_PLACES_MAX || w->full;
    uint32_t known = s->full ? NODE_OF_NOTHING : known_at(s, d)->node;
    if (known != UINT32_MAX)
        return known;
    int from = d.low ? digit_of(&s->lower.at, d.place) : 0;
    int to = d.high ? digit_of(&s->upper.at, d.place) : 9;
    if (d.place > 0 && d.place == s->length - 1)
        from = MAX(from, 1); /* no zero in front */
    for (int digit = from; digit <= to; digit++) {
        struct digits then = {d.place - 1, d.low && digit == digit_of(&s->lower.at, d.place),
                              d.high && digit == digit_of(&s->upper.at, d.place),
                              of > 0 ? (d.rest * 10 + (uint64_t)digit) % of : 0};
        bool same = of == 0 && n > 0 && !then.low && !then.high && digit - 1 >= from &&
                    !(d.low && digit - 1 == digit_of(&s->lower.at, d.place));
        if (same) {
            edges[n - 1].hi++;
            continue;
        }
        uint32_t node = behind_digit(s, then);
        if (node == NODE_OF_NOTHING)
            continue;
        edges[n++] = (struct edge){(uint8_t)('0' + digit), (uint8_t)('0' + digit), node};
    }
    uint32_t node = n > 0 ? network_edges(w, NODE_BYTES, edges, n) : NODE_OF_NOTHING;
    if (!s->full)
        known_at(s, d)->node = node;
    return node;
}

/* Digits behind the point, where numbers have so many before it. */
static int fraction_digits(const struct span *s, int length)
{
    int most = MAX(DOUBLE_DIGITS - length, 0);
    if (s->integer)
        return 0;
    if (s->multiple.of > 0)
        return s->multiple.decimals;
    for (int i = 0; i < 2; i++) {
        const struct limit *l = i == 0 ? &s->lower : &s->upper;
        if (l->given && whole_digits(&l->at) == length)
            most = MAX(most, MIN(l->at.n_digits - l->at.exponent + l->exclusive, 2 * DIGITS_MAX));
    }
    return MIN(most, 100);
}

static uint32_t make_span(struct span *s)
{
    struct network *w = &s->c->net;
    int least = whole_digits(&s->lower.at), most = MAX(FREE_DIGITS, least + (least >= FREE_DIGITS));
    struct edge lengths[DIGITS_MAX + 1];
    size_t n = 0;
    if (s->upper.given &&
        (whole_digits(&s->upper.at) <= FREE_DIGITS + 2 || whole_digits(&s->upper.at) <= most))
        most = whole_digits(&s->upper.at);
    for (s->length = least; s->length <= MIN(most, DIGITS_MAX) && !s->full; s->length++) {
        if (n > 0 && s->n_known > NUMBER_PLACES_MANY)
            break;
        s->fraction = fraction_digits(s, s->length);
        uint32_t node = digits_from(
            s, (struct digits){s->length - 1, s->length == least,
                               s->upper.given && s->length == whole_digits(&s->upper.at), 0});
        if (node != NODE_OF_NOTHING)
            lengths[n++].to = node;
    }
    free(s->known);
    return n > 0 ? network_edges(w, NODE_SPLIT, lengths, n) : NODE_OF_NOTHING;
}

/* Below zero the limits change places; zero itself has no sign. */
static uint32_t make_limited(struct compiler *c, const struct limits *l, bool integer,
                             uint32_t next, bool *full)
{
    struct limit zero = {true, false, {0}}, lower = l->lower, upper = l->upper;
    struct span up = {.c = c, .multiple = l->multiple, .integer = integer, .next = next};
    uint32_t positive = NODE_OF_NOTHING, negative = NODE_OF_NOTHING;
    up.lower = zero;
    up.upper = upper;
    if (lower.given && !lower.at.negative)
        up.lower = lower;
    if (!upper.given || !upper.at.negative)
        positive = make_span(&up);
    struct span down = {.c = c, .multiple = l->multiple, .integer = integer, .next = next};
    lower.at.negative = upper.at.negative = false;
    down.lower = zero;
    down.lower.exclusive = true;
    down.upper = lower;
    if (l->upper.given && l->upper.at.negative)
        down.lower = upper;
    if (!l->lower.given || l->lower.at.negative)
        negative = make_span(&down);
    *full = up.full || down.full;
    return network_split(&c->net, positive, network_byte(&c->net, '-', '-', negative));
}

uint32_t make_integer(struct compiler *c, uint32_t next)
{
    bool full;
    return make_limited(c, &(struct limits){0}, true, next, &full);
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
    struct span span = {.c = c, .integer = true, .next = network_split(w, point, end)};
    uint32_t whole = make_span(&span);
    return negative ? network_split(w, whole, network_byte(w, '-', '-', whole)) : whole;
}

/* ---- schemas --------------------------------------------------------------------------------- */

static struct limits limits_of(struct compiler *c, const struct terms *terms)
{
    struct limits l = {0};
    for (uint32_t i = 0; i < terms->n; i++)
        read_limits(c, terms->t[i].schema, &l);
    return l;
}

uint32_t compile_number(struct compiler *c, const struct terms *terms, bool integer, uint32_t next)
{
    struct limits l = limits_of(c, terms);
    bool limited = l.upper.given || l.multiple.of > 0, full = false;
    if (c->rc != 0)
        return next;
    if (!limited && !l.lower.given)
        return compile_common(c, integer ? COMMON_INTEGER : COMMON_NUMBER, next);
    if (!limited && !integer && l.lower.at.n_digits == 0 && !l.lower.exclusive)
        return make_number(c, false, next);
    if (integer && l.multiple.of > 0) { /* and so of 1: N * 10^decimals is one of `of` */
        for (; l.multiple.decimals > 0; l.multiple.decimals--)
            l.multiple.of /= gcd(l.multiple.of, 10);
    }
    uint32_t node = make_limited(c, &l, integer, next, &full);
    if (full)
        compile_error(c, terms->t[0].schema, "multipleOf takes too many states");
    return node;
}

bool integers_are_few(struct compiler *c, const struct terms *terms, uint32_t most, int64_t *least,
                      uint32_t *n)
{
    struct limits l = limits_of(c, terms);
    int64_t ends[2] = {0, 0};
    if (!l.lower.given || !l.upper.given || l.multiple.of > 0)
        return false;
    for (int upper = 0; upper < 2; upper++) {
        const struct limit *limit = upper ? &l.upper : &l.lower;
        const struct json_decimal *d = &limit->at;
        if (d->exponent > 17)
            return false;
        for (int i = 0; i < d->exponent; i++)
            ends[upper] = ends[upper] * 10 + (i < d->n_digits ? d->digits[i] - '0' : 0);
        bool cut = d->n_digits > MAX(d->exponent, 0); /* towards zero */
        bool away = cut && d->negative == (upper == 1);
        ends[upper] = (d->negative ? -1 : 1) * (ends[upper] + away);
        if (limit->exclusive && !cut)
            ends[upper] += upper ? -1 : 1;
    }
    *least = ends[0];
    *n = ends[1] < ends[0] ? 0 : (uint32_t)MIN(ends[1] - ends[0] + 1, (int64_t)most + 1);
    return *n <= most;
}
