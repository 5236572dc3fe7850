#include "json_span.h"

#include <string.h>

bool json_end_feed(struct json_end *e, char c)
{
    if (e->in_string) {
        if (e->escaped)
            e->escaped = false;
        else if (c == '\\')
            e->escaped = true;
        else if (c == '"')
            e->in_string = false;
        return false;
    }
    if (c == '"')
        e->in_string = true;
    else if (c == '{' || c == '[')
        e->depth++;
    else if ((c == '}' || c == ']') && e->depth > 0)
        return --e->depth == 0;
    return false;
}

static size_t skip_blanks(const char *text, size_t len, size_t at)
{
    while (at < len && strchr(" \t\r\n", text[at]) && text[at])
        at++;
    return at;
}

/* Behind the value that begins at `at`. */
static size_t skip_value(const char *text, size_t len, size_t at)
{
    struct json_end e = {0};
    bool nested = text[at] == '{' || text[at] == '[', string = text[at] == '"';
    for (; at < len; at++) {
        bool ends = json_end_feed(&e, text[at]);
        if (nested && ends)
            return at + 1;
        if (string && !e.in_string)
            return at + 1;
        if (!nested && !string && strchr(",}] \t\r\n", text[at]))
            return at;
    }
    return at;
}

bool json_span_member(const char *text, size_t len, const char *key, struct json_span *out)
{
    size_t n = strlen(key), at = skip_blanks(text, len, skip_blanks(text, len, 0) + 1);
    while (at < len && text[at] == '"') {
        size_t name = at + 1, name_end = skip_value(text, len, at);
        at = skip_blanks(text, len, name_end) + 1; /* the colon */
        at = skip_blanks(text, len, at);
        size_t value = at;
        if (at >= len)
            return false;
        at = skip_value(text, len, at);
        if (name_end - 1 - name == n && memcmp(text + name, key, n) == 0) {
            *out = (struct json_span){text + value, at - value};
            return true;
        }
        at = skip_blanks(text, len, at);
        if (at < len && text[at] == ',')
            at = skip_blanks(text, len, at + 1);
    }
    return false;
}
