/*
 * Strings: free ones within a number of characters (JSON Schema 2020-12, Validation 6.3), and those
 * of patterns or of a format (7.3), whose texts are regular, too.
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

/* Other formats are annotations (Validation 7.2.1); NULL. */
static const char *format_pattern(const struct compiler *c, uint32_t s)
{
    uint32_t at = value_get(c, s, "format");
    for (size_t i = 0; i < COUNT_OF(formats) && at != NO_VALUE; i++)
        if (c->v[at].kind == CHAT_STRING && strcmp(formats[i].name, c->v[at].s) == 0)
            return formats[i].pattern;
    return NULL;
}

/* ---- automata -------------------------------------------------------------------------------- */

static const struct dfa *known_dfa(struct compiler *c, const char *pattern, uint32_t at)
{
    struct pattern p;
    char reason[128];
    for (uint32_t i = 0; i < c->n_patterns; i++)
        if (strcmp(c->patterns[i]->pattern, pattern) == 0)
            return &c->patterns[i]->dfa;
    if (c->n_patterns == c->cap_patterns) {
        c->cap_patterns = c->cap_patterns ? c->cap_patterns * 2 : 8;
        c->patterns = xrealloc(c->patterns, c->cap_patterns * sizeof *c->patterns);
    }
    struct known_pattern *known = xcalloc(1, sizeof *known);
    known->pattern = pattern;
    c->patterns[c->n_patterns++] = known;
    int rc = pattern_parse(&p, pattern, reason, sizeof reason);
    if (rc == 0)
        rc = pattern_dfa(&p, &known->dfa, &c->net.work, reason, sizeof reason);
    if (rc != 0)
        compile_error(c, at, "%s", reason);
    pattern_free(&p);
    return rc == 0 ? &known->dfa : NULL;
}

const struct dfa *pattern_at(struct compiler *c, uint32_t at)
{
    if (c->v[at].kind != CHAT_STRING) {
        compile_error(c, at, "must be a string");
        return NULL;
    }
    return known_dfa(c, c->v[at].s, at);
}

const struct dfa *name_pattern_at(struct compiler *c, uint32_t member)
{
    return known_dfa(c, c->v[member].key, member);
}

const struct dfa *any_text_dfa(struct compiler *c, uint32_t at)
{
    return known_dfa(c, "", at);
}

const struct dfa *without_end_dfa(struct compiler *c)
{
    if (c->in_parameters && c->without_end.n == 0)
        dfa_without(&c->without_end, PARAMETER_END);
    return c->in_parameters ? &c->without_end : NULL;
}

/* ---- strings --------------------------------------------------------------------------------- */

static uint32_t return_behind(void *arg, uint32_t accepting)
{
    (void)arg;
    (void)accepting;
    return NODE_OF_RETURN;
}

/* Strings of the same patterns and limits are read by one procedure wherever they stand. A format
 * too large for its limits is an annotation, too. */
static uint32_t string_procedure(struct compiler *c, const struct product *p, bool has_format,
                                 const struct buf *key, uint32_t at)
{
    char reason[128];
    uint32_t start;
    for (uint32_t i = 0; i < c->n_strings; i++)
        if (strcmp(c->strings[i].key, key->data) == 0)
            return c->strings[i].procedure;
    if (c->n_strings == c->cap_strings) {
        c->cap_strings = c->cap_strings ? c->cap_strings * 2 : 8;
        c->strings = xrealloc(c->strings, c->cap_strings * sizeof *c->strings);
    }
    uint32_t procedure = network_procedure(&c->net);
    c->strings[c->n_strings++] = (struct string_procedure){xstrdup(key->data), procedure};
    struct product without = *p;
    without.n = without.n_must = p->n - has_format;
    int rc = product_network(p, &c->net, &start, reason, sizeof reason);
    if (rc != 0 && without.n < p->n && without.n > 0)
        rc = product_network(&without, &c->net, &start, reason, sizeof reason);
    if (rc == 0)
        network_define(&c->net, procedure, start);
    else
        compile_error(c, at, "%s", reason);
    return procedure;
}

uint32_t compile_string(struct compiler *c, const struct terms *terms, uint32_t next)
{
    struct product p = {.behind = return_behind};
    struct buf key = {0};
    const char *format = NULL;
    uint32_t node = NODE_OF_NOTHING, where = terms->n > 0 ? terms->t[0].schema : 0;
    p.min = terms_count(c, terms, "minLength", true, 0);
    p.max = terms_count(c, terms, "maxLength", false, NODE_NO_MAX);
    buf_printf(&key, c->in_parameters ? "%u %u in" : "%u %u", p.min, p.max);
    if (c->in_parameters)
        p.dfa[p.n++] = without_end_dfa(c);
    for (uint32_t i = 0; i < terms->n && c->rc == 0 && p.n < PRODUCT_MAX - 1; i++) {
        uint32_t at = value_get(c, terms->t[i].schema, "pattern");
        if (at != NO_VALUE && (p.dfa[p.n] = pattern_at(c, at))) {
            where = at;
            p.n++;
            buf_printf(&key, " %zu %s", strlen(c->v[at].s), c->v[at].s);
        }
        if (!format)
            format = format_pattern(c, terms->t[i].schema);
    }
    if (format && c->rc == 0) {
        p.dfa[p.n++] = known_dfa(c, format, where);
        buf_printf(&key, " %s", format);
    }
    p.n_must = p.n;
    if (c->rc == 0 && p.min <= p.max && p.n == 0)
        node = network_string(&c->net, CHARS_WHOLE, p.min, p.max, next);
    else if (c->rc == 0 && p.min <= p.max)
        node = network_call(&c->net, string_procedure(c, &p, format != NULL, &key, where), next);
    buf_free(&key);
    return network_byte(&c->net, '"', '"', node);
}

bool string_is_free(struct compiler *c, const struct terms *terms)
{
    for (uint32_t i = 0; i < terms->n; i++)
        if (value_get(c, terms->t[i].schema, "pattern") != NO_VALUE ||
            format_pattern(c, terms->t[i].schema))
            return false;
    return terms_count(c, terms, "minLength", true, 0) == 0 &&
           terms_count(c, terms, "maxLength", false, NODE_NO_MAX) == NODE_NO_MAX;
}
