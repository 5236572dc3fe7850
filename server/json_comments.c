/* Comments of configuration files. Bodies of requests have none: they go straight to json_parse. */
#include "json.h"

#include <string.h>

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
