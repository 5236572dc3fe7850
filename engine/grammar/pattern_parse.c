#include "grammar/pattern.h"

#include "specd/error.h"
#include "specd/unicode.h"
#include "specd/utf8.h"

#include <stdlib.h>
#include <string.h>

#define GROUPS_MAX 100 /* within each other */

struct parser {
    struct pattern *p;
    const char *at;
    const char *reason; /* the first error */
};

static void refuse(struct parser *r, const char *reason)
{
    if (!r->reason)
        r->reason = reason;
}

static uint32_t put(struct parser *r, struct part part)
{
    struct pattern *p = r->p;
    if (p->n_parts == p->cap_parts) {
        p->cap_parts = p->cap_parts ? p->cap_parts * 2 : 64;
        p->parts = xrealloc(p->parts, p->cap_parts * sizeof *p->parts);
    }
    p->parts[p->n_parts] = part;
    return p->n_parts++;
}

static uint32_t put_pair(struct parser *r, enum part_kind kind, uint32_t a, uint32_t b)
{
    return put(r, (struct part){.kind = kind, .a = a, .b = b});
}

/* ---- classes --------------------------------------------------------------------------------- */

static void put_range(struct parser *r, uint32_t lo, uint32_t hi)
{
    struct pattern *p = r->p;
    if (p->n_ranges == p->cap_ranges) {
        p->cap_ranges = p->cap_ranges ? p->cap_ranges * 2 : 64;
        p->ranges = xrealloc(p->ranges, p->cap_ranges * sizeof *p->ranges);
    }
    p->ranges[p->n_ranges++] = (struct code_range){lo, hi};
}

static int by_lo(const void *a, const void *b)
{
    const struct code_range *x = a, *y = b;
    return (x->lo > y->lo) - (x->lo < y->lo);
}

/* Sorts and merges the ranges from `from` on. */
static void merge(struct pattern *p, uint32_t from)
{
    uint32_t n = p->n_ranges - from, kept = 0;
    if (n == 0) /* and there may be no array yet */
        return;
    struct code_range *ranges = p->ranges + from;
    qsort(ranges, n, sizeof *ranges, by_lo);
    for (uint32_t i = 1; i < n; i++) {
        if (ranges[i].lo > ranges[kept].hi + 1)
            ranges[++kept] = ranges[i];
        else
            ranges[kept].hi = MAX(ranges[kept].hi, ranges[i].hi);
    }
    p->n_ranges = from + kept + 1;
}

static void negate(struct parser *r, uint32_t from)
{
    struct pattern *p = r->p;
    merge(p, from);
    uint32_t n = p->n_ranges - from, lo = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct code_range range = p->ranges[from + i];
        if (range.lo > lo)
            put_range(r, lo, range.lo - 1);
        lo = range.hi + 1;
    }
    if (lo <= PATTERN_CODE_MAX)
        put_range(r, lo, PATTERN_CODE_MAX);
    p->n_ranges -= n;
    if (n > 0)
        memmove(p->ranges + from, p->ranges + from + n, (p->n_ranges - from) * sizeof *p->ranges);
}

static uint32_t put_class(struct parser *r, uint32_t from, bool negated)
{
    struct pattern *p = r->p;
    if (negated)
        negate(r, from);
    merge(p, from);
    /* No surrogates: the text is UTF-8. */
    for (uint32_t i = from, n = p->n_ranges; i < n; i++) {
        struct code_range *range = &p->ranges[i];
        if (range->hi < 0xD800 || range->lo > 0xDFFF)
            continue;
        uint32_t hi = range->hi;
        bool before = range->lo < 0xD800;
        *range = before ? (struct code_range){range->lo, 0xD7FF} : (struct code_range){1, 0};
        if (hi > 0xDFFF)
            put_range(r, 0xE000, hi);
    }
    return put(r, (struct part){.kind = PART_CLASS, .a = from, .b = p->n_ranges - from});
}

static void put_ranges(struct parser *r, const struct code_range *ranges, size_t n, bool negated)
{
    uint32_t from = r->p->n_ranges;
    for (size_t i = 0; i < n; i++)
        put_range(r, ranges[i].lo, ranges[i].hi);
    if (negated)
        negate(r, from);
}

static const struct code_range digits[] = {{'0', '9'}};
static const struct code_range word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const struct code_range space[] = {
    {0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
    {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
static const struct code_range line_ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

/* Behind \p or \P: a general category of Unicode by its first letter, as UnicodeSets of ECMA-262
 * (table 69). */
static void read_property(struct parser *r, bool negated)
{
    static const struct {
        const char *name, *letter;
    } categories[] = {{"Other", "C"},       {"Letter", "L"}, {"Mark", "M"},   {"Number", "N"},
                      {"Punctuation", "P"}, {"punct", "P"},  {"Symbol", "S"}, {"Separator", "Z"}};
    const char *at = r->at + (*r->at == '{'), *end = strchr(at, '}');
    static const char *const prefixes[] = {"General_Category=", "gc="};
    for (size_t i = 0; i < COUNT_OF(prefixes); i++)
        if (strncmp(at, prefixes[i], strlen(prefixes[i])) == 0)
            at += strlen(prefixes[i]);
    size_t n = *r->at == '{' && end && end > at ? (size_t)(end - at) : 0;
    char letter = n == 1 ? *at : '\0';
    for (size_t i = 0; i < COUNT_OF(categories); i++)
        if (strlen(categories[i].name) == n && strncmp(at, categories[i].name, n) == 0)
            letter = *categories[i].letter;
    const char *class = letter ? strchr("CLMNPSZ", letter) : NULL;
    if (!class) {
        refuse(r, "a property of characters other than \\p{C}, L, M, N, P, S and Z");
        return;
    }
    r->at = end + 1;
    enum cp_class wanted = (enum cp_class)(class - "CLMNPSZ");
    uint32_t from = r->p->n_ranges;
    uint8_t *classes = xmalloc(CP_END);
    cp_class_fill(classes);
    for (uint32_t lo = 0, hi; lo < CP_END; lo = hi) {
        for (hi = lo; hi < CP_END && classes[hi] == classes[lo]; hi++)
            ;
        if (classes[lo] == wanted)
            put_range(r, lo, hi - 1);
    }
    free(classes);
    if (negated)
        negate(r, from);
}

/* \d and the like, which it steps over; false if the escape is none of them. */
static bool read_named_class(struct parser *r)
{
    char letter = r->at[0] == '\\' ? r->at[1] : '\0';
    if (letter == '\0' || !strchr("dDwWsSpP", letter))
        return false;
    r->at += 2;
    switch (letter) {
    case 'd':
    case 'D':
        put_ranges(r, digits, COUNT_OF(digits), letter == 'D');
        return true;
    case 'w':
    case 'W':
        put_ranges(r, word, COUNT_OF(word), letter == 'W');
        return true;
    case 's':
    case 'S':
        put_ranges(r, space, COUNT_OF(space), letter == 'S');
        return true;
    default:
        read_property(r, letter == 'P');
        return true;
    }
}

/* ---- characters ------------------------------------------------------------------------------ */

static uint32_t read_hex(struct parser *r, int n)
{
    uint32_t v = 0;
    for (int i = 0; i < n; i++, r->at++) {
        int digit = hex_digit(*r->at);
        if (digit < 0) {
            refuse(r, "hexadecimal digits are missing");
            return 0;
        }
        v = v * 16 + (uint32_t)digit;
    }
    return v;
}

/* Behind the backslash. */
static uint32_t read_escape(struct parser *r, bool in_class)
{
    static const char letters[] = "tnvfr", values[] = "\t\n\v\f\r";
    char ch = *r->at;
    const char *at = ch ? strchr(letters, ch) : NULL;
    if (ch == '\0') {
        refuse(r, "it ends in a backslash");
        return 0;
    }
    r->at++;
    if (at)
        return (uint32_t)values[at - letters];
    if (ch == 'b' && in_class)
        return '\b';
    if (ch == '0' && !(*r->at >= '0' && *r->at <= '9'))
        return 0;
    if (ch == 'x')
        return read_hex(r, 2);
    if (ch == 'u')
        return read_hex(r, 4);
    if ((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
        (unsigned char)ch >= 0x80)
        refuse(r, "an escape that is not supported");
    return (uint32_t)(unsigned char)ch;
}

/* One character of the pattern's own UTF-8. */
static uint32_t read_character(struct parser *r)
{
    uint32_t code = 0;
    size_t n;
    if (utf8_read(r->at, MAX(strnlen(r->at, 4), 1), &code, &n) != UTF8_OK)
        refuse(r, "it is not UTF-8");
    r->at += n;
    return code;
}

static uint32_t read_class_character(struct parser *r)
{
    if (*r->at != '\\')
        return read_character(r);
    r->at++;
    return read_escape(r, true);
}

/* Behind the opening bracket. */
static uint32_t read_class(struct parser *r)
{
    uint32_t from = r->p->n_ranges;
    bool negated = *r->at == '^';
    r->at += negated;
    while (*r->at != ']' && !r->reason) {
        if (*r->at == '\0') {
            refuse(r, "a class is not closed");
            break;
        }
        if (read_named_class(r)) {
            if (r->at[0] == '-' && r->at[1] != ']')
                refuse(r, "a range in a class that starts with a class");
            continue;
        }
        uint32_t lo = read_class_character(r), hi = lo;
        if (r->at[0] == '-' && r->at[1] != ']' && r->at[1] != '\0') {
            r->at++;
            if (r->at[0] == '\\' && r->at[1] && strchr("dDwWsSpP", r->at[1]))
                refuse(r, "a range in a class that ends with a class");
            hi = read_class_character(r);
        }
        if (lo > hi)
            refuse(r, "a range in a class runs backwards");
        put_range(r, lo, hi);
    }
    r->at += *r->at == ']';
    return put_class(r, from, negated);
}

/* ---- parts ----------------------------------------------------------------------------------- */

static uint32_t read_alternatives(struct parser *r, int depth);

/* Behind the opening parenthesis. */
static uint32_t read_group(struct parser *r, int depth)
{
    if (r->at[0] == '?' && r->at[1] == ':') {
        r->at += 2;
    } else if (r->at[0] == '?' && r->at[1] == '<' && r->at[2] != '=' && r->at[2] != '!') {
        const char *end = strchr(r->at, '>');
        if (!end)
            refuse(r, "a group's name is not closed");
        r->at = end ? end + 1 : r->at + strlen(r->at);
    } else if (r->at[0] == '?') {
        bool around = r->at[1] == '=' || r->at[1] == '!' || r->at[1] == '<';
        refuse(r, around ? "look-around is not supported" : "flags are not supported");
    }
    uint32_t part = read_alternatives(r, depth + 1);
    if (*r->at == ')')
        r->at++;
    else
        refuse(r, "a group is not closed");
    return part;
}

static uint32_t read_atom(struct parser *r, int depth)
{
    uint32_t from = r->p->n_ranges;
    switch (*r->at) {
    case '(':
        r->at++;
        return read_group(r, depth);
    case '[':
        r->at++;
        return read_class(r);
    case '.':
        r->at++;
        put_ranges(r, line_ends, COUNT_OF(line_ends), true);
        return put_class(r, from, false);
    case '^':
    case '$':
        refuse(r, "an anchor that is not at the pattern's beginning or end");
        return 0;
    case '*':
    case '+':
    case '?':
    case '{':
    case '}':
    case ']':
        refuse(r, "a quantifier or bracket where a character should be");
        return 0;
    case '\\':
        if (read_named_class(r))
            return put_class(r, from, false);
        r->at++;
        put_range(r, read_escape(r, false), 0);
        break;
    default:
        put_range(r, read_character(r), 0);
    }
    r->p->ranges[from].hi = r->p->ranges[from].lo;
    return put_class(r, from, false);
}

static uint32_t read_count(struct parser *r)
{
    uint32_t n = 0;
    if (!(*r->at >= '0' && *r->at <= '9'))
        refuse(r, "a number of repetitions is missing");
    for (; *r->at >= '0' && *r->at <= '9'; r->at++)
        n = MIN(n * 10 + (uint32_t)(*r->at - '0'), PATTERN_REPEAT_MAX + 1);
    if (n > PATTERN_REPEAT_MAX)
        refuse(r, "too many repetitions");
    return n;
}

static uint32_t read_repeated(struct parser *r, int depth)
{
    uint32_t part = read_atom(r, depth), min = 0, max = NODE_NO_MAX;
    char ch = *r->at;
    if (ch == '\0' || !strchr("*+?{", ch))
        return part;
    r->at++;
    if (ch == '+')
        min = 1;
    if (ch == '?')
        max = 1;
    if (ch == '{') {
        min = max = read_count(r);
        if (*r->at == ',') {
            r->at++;
            max = *r->at == '}' ? NODE_NO_MAX : read_count(r);
        }
        if (*r->at != '}' || min > max)
            refuse(r, "a number of repetitions is not well-formed");
        r->at += *r->at == '}';
    }
    r->at += *r->at == '?'; /* lazy */
    if (*r->at && strchr("*+?{", *r->at))
        refuse(r, "a quantifier behind a quantifier");
    return put(r, (struct part){.kind = PART_REPEAT, .a = part, .min = min, .max = max});
}

static uint32_t anything(struct parser *r)
{
    uint32_t from = r->p->n_ranges;
    put_range(r, 0, PATTERN_CODE_MAX);
    uint32_t class = put_class(r, from, false);
    return put(r, (struct part){.kind = PART_REPEAT, .a = class, .min = 0, .max = NODE_NO_MAX});
}

static uint32_t read_sequence(struct parser *r, int depth)
{
    bool outermost = depth == 0, begins = *r->at == '^', ends = false;
    uint32_t part = put(r, (struct part){.kind = PART_EMPTY});
    if (outermost && begins)
        r->at++;
    else if (outermost)
        part = anything(r);
    while (*r->at && *r->at != '|' && *r->at != ')' && !r->reason) {
        if (outermost && *r->at == '$' && (r->at[1] == '\0' || r->at[1] == '|')) {
            r->at++;
            ends = true;
            break;
        }
        part = put_pair(r, PART_CAT, part, read_repeated(r, depth));
    }
    return outermost && !ends ? put_pair(r, PART_CAT, part, anything(r)) : part;
}

static uint32_t read_alternatives(struct parser *r, int depth)
{
    if (depth > GROUPS_MAX)
        refuse(r, "groups are nested too deeply");
    uint32_t part = read_sequence(r, depth);
    while (*r->at == '|' && !r->reason) {
        r->at++;
        part = put_pair(r, PART_ALT, part, read_sequence(r, depth));
    }
    return part;
}

int pattern_parse(struct pattern *p, const char *text, char *err, size_t errlen)
{
    struct parser r = {.p = p, .at = text};
    *p = (struct pattern){0};
    if (strlen(text) > PATTERN_LEN_MAX)
        return fail(SPECD_EINVAL, err, errlen, "it is longer than %d bytes", PATTERN_LEN_MAX);
    p->root = read_alternatives(&r, 0);
    if (!r.reason && *r.at == ')')
        r.reason = "a group is closed that was not opened";
    if (r.reason)
        return fail(SPECD_EINVAL, err, errlen, "at byte %zu: %s", (size_t)(r.at - text), r.reason);
    return 0;
}

void pattern_free(struct pattern *p)
{
    free(p->parts);
    free(p->ranges);
    *p = (struct pattern){0};
}
