#include "json_text.h"

#include "specd/error.h"
#include "specd/json.h"
#include "specd/utf8.h"
#include "specd/util.h"

#include <stdlib.h>
#include <string.h>

/* ---- the walk: a recursive descent that builds no tree ----------------------------------------
 */

#define EXPONENT_DIGITS_MAX 8 /* so that an exponent is an int with room to add to */

static bool value(struct json_scan *s, int depth);

static bool bad(struct json_scan *s, const char *why)
{
    s->rc = SPECD_EJSON;
    s->why = why;
    return false;
}

static bool no_memory(struct json_scan *s)
{
    s->rc = SPECD_ENOMEM;
    return false;
}

static int peek(const struct json_scan *s)
{
    return s->p < s->end ? *s->p : -1;
}

static void skip_space(struct json_scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

/* Puts word, and blanks behind it, in place of what stands from `from` to here. */
static bool replace(struct json_scan *s, const unsigned char *from, const char *word)
{
    size_t len = (size_t)(s->end - s->start), at = (size_t)(from - s->start), n = strlen(word);
    if (!s->keep)
        return true;
    if (!s->replaced) {
        s->replaced = try_malloc(len);
        if (!s->replaced)
            return no_memory(s);
        memcpy(s->replaced, s->start, len);
    }
    memset(s->replaced + at, ' ', (size_t)(s->p - from));
    memcpy(s->replaced + at, word, n);
    return true;
}

static bool keep_number(struct json_scan *s, const char *text, size_t n)
{
    struct buf *b = &s->numbers;
    if (b->cap - b->len < JSON_NUMBER_MAX + 2) {
        size_t cap = MAX(2 * b->cap, 16 * JSON_NUMBER_MAX);
        char *grown = try_realloc(b->data, cap);
        if (!grown)
            return no_memory(s);
        b->data = grown;
        b->cap = cap;
    }
    char *to = b->data + b->len;
    *to++ = (char)n;
    for (size_t i = 0; i < n; i++) /* mostly a few bytes: memcpy takes longer */
        to[i] = text[i];
    to[n] = '\0';
    b->len += n + 2;
    return true;
}

static const unsigned char *skip_digits(const unsigned char *p, const unsigned char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

static bool number(struct json_scan *s)
{
    const unsigned char *from = s->p, *end = s->end, *p = from, *digits;
    if (p < end && *p == '-')
        p++;
    digits = p;
    p = skip_digits(p, end);
    bool good = p > digits && (*digits != '0' || p == digits + 1);
    if (good && p < end && *p == '.') {
        digits = ++p;
        p = skip_digits(p, end);
        good = p > digits;
    }
    if (good && p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        digits = p;
        p = skip_digits(p, end);
        good = p > digits;
        if (p - digits > EXPONENT_DIGITS_MAX)
            return bad(s, "number out of range");
    }
    s->p = p;
    if (!good)
        return bad(s, p == from ? "unexpected character" : "malformed number");
    size_t n = (size_t)(p - from);
    if (n > JSON_NUMBER_MAX) /* cJSON cuts a longer one */
        return bad(s, "number too long");
    return !s->keep || keep_number(s, (const char *)from, n);
}

static int hex4(struct json_scan *s)
{
    int v = 0;
    for (int i = 0; i < 4; i++, s->p++) {
        int c = peek(s);
        int lower = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v * 16 + (c - '0');
        else if (lower >= 'a' && lower <= 'f')
            v = v * 16 + (lower - 'a' + 10);
        else
            return -1;
    }
    return v;
}

/* After "\u". A high surrogate must be followed by an escaped low one. */
static bool unicode_escape(struct json_scan *s, bool name)
{
    const unsigned char *from = s->p - 2;
    int c = hex4(s);
    if (c < 0)
        return bad(s, "malformed \\u escape");
    if (c >= 0xd800 && c <= 0xdbff && s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u') {
        const unsigned char *behind = s->p;
        s->p += 2;
        int low = hex4(s);
        if (low >= 0xdc00 && low <= 0xdfff)
            return true;
        s->p = behind; /* another escape, which is read next */
    }
    if (c != 0 && (c < 0xd800 || c > 0xdfff))
        return true;
    if (s->rules & (name ? JSON_REPLACE_IN_NAMES : JSON_REPLACE_IN_VALUES))
        return replace(s, from, "\\ufffd");
    if (name)
        return bad(s, c == 0 ? "\\u0000 in a name" : "lone surrogate in a name");
    return bad(s, c == 0 ? "\\u0000 is not allowed" : "lone surrogate");
}

static bool escape(struct json_scan *s, bool name)
{
    s->p++;
    int c = peek(s);
    if (c <= 0 || !strchr("\"\\/bfnrtu", c))
        return bad(s, "malformed escape");
    s->p++;
    return c != 'u' || unicode_escape(s, name);
}

static bool string(struct json_scan *s, bool name)
{
    s->p++;
    while (s->p < s->end) {
        unsigned c = *s->p;
        if (c == '"') {
            s->p++;
            return true;
        }
        if (c < 0x20)
            return bad(s, "control character in a string");
        if (c == '\\') {
            if (!escape(s, name))
                return false;
        } else if (c >= 0x80) {
            size_t n = utf8_length(s->p, (size_t)(s->end - s->p));
            if (n == 0)
                return bad(s, "invalid UTF-8");
            s->p += n;
        } else {
            s->p++;
        }
    }
    return bad(s, "unterminated string");
}

static bool literal(struct json_scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        return bad(s, "unexpected character");
    s->p += n;
    return true;
}

static bool is_special(const struct json_scan *s)
{
    int c = peek(s);
    return c == 'N' || c == 'I' || (c == '-' && s->end - s->p > 1 && s->p[1] == 'I');
}

/* NaN, Infinity, -Infinity. */
static bool special(struct json_scan *s)
{
    const unsigned char *from = s->p;
    const char *word = peek(s) == 'N' ? "NaN" : "Infinity";
    if (peek(s) == '-')
        s->p++;
    if (!literal(s, word))
        return false;
    return replace(s, from, "0") &&
           (!s->keep || keep_number(s, (const char *)from, (size_t)(s->p - from)));
}

static bool key(struct json_scan *s)
{
    if (peek(s) != '"')
        return bad(s, "expected a member name");
    if (!string(s, true))
        return false;
    skip_space(s);
    if (peek(s) != ':')
        return bad(s, "expected ':'");
    s->p++;
    skip_space(s);
    return true;
}

/* An array or object: `close` is its last character. */
static bool container(struct json_scan *s, int depth, int close)
{
    if (depth >= JSON_DEPTH_MAX)
        return bad(s, "nested too deeply");
    s->p++;
    skip_space(s);
    if (peek(s) == close) {
        s->p++;
        return true;
    }
    for (;;) {
        if ((close == '}' && !key(s)) || !value(s, depth + 1))
            return false;
        skip_space(s);
        int c = peek(s);
        if (c != ',' && c != close)
            return bad(s, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
        s->p++;
        if (c == close)
            return true;
        skip_space(s);
    }
}

static bool value(struct json_scan *s, int depth)
{
    if (++s->n_values > s->max_values)
        return bad(s, "too many values");
    switch (peek(s)) {
    case '{':
        return container(s, depth, '}');
    case '[':
        return container(s, depth, ']');
    case '"':
        return string(s, false);
    case 't':
        return literal(s, "true");
    case 'f':
        return literal(s, "false");
    case 'n':
        return literal(s, "null");
    case -1:
        return bad(s, "unexpected end");
    default:
        return s->rules & JSON_SPECIALS && is_special(s) ? special(s) : number(s);
    }
}

int json_scan(struct json_scan *s, const char *text, size_t len, char *err, size_t errlen)
{
    s->start = s->p = (const unsigned char *)text;
    s->end = s->start + len;
    skip_space(s);
    if (value(s, 0)) {
        skip_space(s);
        if (s->p < s->end)
            bad(s, "more than one value");
    }
    if (s->rc == SPECD_ENOMEM)
        return fail(s->rc, err, errlen, "%s", specd_error_text(s->rc));
    if (s->rc == 0)
        return 0;
    return fail(SPECD_EJSON, err, errlen, "invalid JSON at byte %zu: %s", (size_t)(s->p - s->start),
                s->why);
}

int json_scan_lax(const char *text, size_t len, char *err, size_t errlen)
{
    struct json_scan s = {.max_values = JSON_VALUES_MAX, .rules = JSON_LAX};
    return json_scan(&s, text, len, err, errlen);
}

/* ---- numbers, exactly ------------------------------------------------------------------------ */

struct json_decimal json_decimal(const char *number)
{
    struct json_decimal d = {.negative = *number == '-'};
    const char *p = number + d.negative;
    bool behind_point = false;
    for (; *p == '.' || (*p >= '0' && *p <= '9'); p++) {
        if (*p == '.') {
            behind_point = true;
            continue;
        }
        bool leading_zero = d.n_digits == 0 && *p == '0';
        if (!leading_zero)
            d.digits[d.n_digits++] = *p;
        if (!leading_zero && !behind_point)
            d.exponent++;
        if (leading_zero && behind_point)
            d.exponent--;
    }
    while (d.n_digits > 0 && d.digits[d.n_digits - 1] == '0')
        d.n_digits--;
    if (d.n_digits == 0)
        return (struct json_decimal){0};
    if (*p == 'e' || *p == 'E')
        d.exponent += (int32_t)strtol(p + 1, NULL, 10);
    return d;
}

static int sign(const struct json_decimal *d)
{
    if (d->n_digits == 0)
        return 0;
    return d->negative ? -1 : 1;
}

int json_decimal_compare(const struct json_decimal *a, const struct json_decimal *b)
{
    if (sign(a) != sign(b))
        return sign(a) < sign(b) ? -1 : 1;
    int order = (a->exponent > b->exponent) - (a->exponent < b->exponent);
    if (order == 0)
        order = memcmp(a->digits, b->digits, (size_t)MIN(a->n_digits, b->n_digits));
    if (order == 0)
        order = a->n_digits - b->n_digits;
    return order == 0 ? 0 : (order > 0) == (sign(a) > 0) ? 1 : -1;
}

/* ---- comments of configuration files: bodies of requests have none --------------------------- */

/* The end of the string that begins at the quote s[i]: behind its closing quote, or len. */
static size_t skip_string(const char *s, size_t i, size_t len)
{
    for (i++; i < len && s[i] != '"'; i++)
        i += s[i] == '\\';
    return i < len ? i + 1 : len;
}

static size_t blank_line(char *s, size_t i, size_t len)
{
    while (i < len && s[i] != '\n' && s[i] != '\r')
        s[i++] = ' ';
    return i;
}

void json_blank_comments(char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        bool slashes = text[i] == '/' && i + 1 < len && text[i + 1] == '/';
        if (text[i] == '"')
            i = skip_string(text, i, len);
        else if (text[i] == '#' || slashes)
            i = blank_line(text, i, len);
        else
            i++;
    }
}
