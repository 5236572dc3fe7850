/*
 * Strings: free ones within a number of characters (JSON Schema 2020-12, Validation 6.3), and those
 * of a pattern or of a format (7.3), whose texts are regular, too.
 *
 * Dates are those of the Gregorian calendar from the year 1000 to 9999, times have no leap seconds
 * (RFC 3339), addresses of mail are plain: letters, digits and . _ + - before a host name.
 */
#include "grammar/chars.h"
#include "grammar/pattern.h"
#include "grammar/schema.h"

#include <stdlib.h>
#include <string.h>

#define LEAP_YEAR                                                                    \
    "(?:[1-9]\\d(?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26]|1[26])" \
    "00)"
#define DATE                                                                                 \
    "(?:[1-9]\\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|" \
    "[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))|" LEAP_YEAR "-02-29)"
#define TIME                                                                   \
    "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|" \
    "2[0-3]):[0-5]\\d)"
#define OCTET "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define HEX "[0-9a-fA-F]"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"

static const struct format {
    const char *name, *pattern;
} formats[] = {
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"date-time", "^" DATE "T" TIME "$"},
    {"uuid", "^" HEX "{8}-" HEX "{4}-" HEX "{4}-" HEX "{4}-" HEX "{12}$"},
    {"ipv4", "^" OCTET "(?:\\." OCTET "){3}$"},
    {"email", "^[A-Za-z0-9]+(?:[._+-][A-Za-z0-9]+)*@(?:" LABEL "\\.)+[A-Za-z]{2,24}$"},
};

static const char *find_format(struct compiler *c, uint32_t at)
{
    const struct chat_value *v = &c->v[at];
    for (size_t i = 0; i < COUNT_OF(formats) && v->kind == CHAT_STRING; i++)
        if (strcmp(formats[i].name, v->s) == 0)
            return formats[i].pattern;
    compile_error(c, "the format %.80s is not supported",
                  v->kind == CHAT_STRING ? v->s : "that is no string");
    return NULL;
}

/* A pattern is read by one procedure wherever it stands. */
static uint32_t pattern_procedure(struct compiler *c, const char *pattern)
{
    struct pattern p;
    char reason[128];
    uint32_t start;
    for (uint32_t i = 0; i < c->n_patterns; i++)
        if (strcmp(c->patterns[i].pattern, pattern) == 0)
            return c->patterns[i].procedure;
    if (c->n_patterns == c->cap_patterns) {
        c->cap_patterns = c->cap_patterns ? c->cap_patterns * 2 : 8;
        c->patterns = xrealloc(c->patterns, c->cap_patterns * sizeof *c->patterns);
    }
    uint32_t procedure = network_procedure(&c->net);
    c->patterns[c->n_patterns++] = (struct pattern_procedure){xstrdup(pattern), procedure};
    int rc = pattern_parse(&p, pattern, reason, sizeof reason);
    if (rc == 0)
        rc = pattern_network(&p, &c->net, NODE_OF_RETURN, &start, reason, sizeof reason);
    if (rc == 0)
        network_define(&c->net, procedure, start);
    else
        compile_error(c, "pattern: %s", reason);
    pattern_free(&p);
    return procedure;
}

uint32_t compile_pattern(struct compiler *c, const char *pattern, uint32_t next)
{
    return network_byte(&c->net, '"', '"',
                        network_call(&c->net, pattern_procedure(c, pattern), next));
}

uint32_t compile_string(struct compiler *c, uint32_t s, uint32_t next)
{
    uint32_t pattern = value_get(c, s, "pattern"), format = value_get(c, s, "format");
    uint32_t min = keyword_count(c, s, "minLength", 0);
    uint32_t max = keyword_count(c, s, "maxLength", NODE_NO_MAX);
    const char *text = NULL;
    if (pattern != NO_VALUE && c->v[pattern].kind != CHAT_STRING)
        compile_error(c, "pattern must be a string");
    else if (pattern != NO_VALUE)
        text = c->v[pattern].s;
    if (format != NO_VALUE)
        text = find_format(c, format);
    if (text && (min > 0 || max != NODE_NO_MAX || (pattern != NO_VALUE && format != NO_VALUE)))
        compile_error(c, "only one of pattern, format, and minLength or maxLength is supported");
    if (min > max)
        compile_error(c, "minLength is more than maxLength");
    if (c->rc != 0)
        return next;
    if (text)
        return compile_pattern(c, text, next);
    return network_byte(&c->net, '"', '"', network_string(&c->net, CHARS_WHOLE, min, max, next));
}
