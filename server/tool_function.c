/*
 * tool_function.c - <function=name><parameter=key>value</parameter>...</function>, of which the
 * object of arguments is made.
 */
#include "tool_parser.h"

#include "specd/json_write.h"

#include <string.h>

#define PARAMETER "<parameter="

/* The object is complete as it is: what is held belongs to something else. */
static void end_function(struct tool_parser *p, struct tool_output *out)
{
    if (p->first_parameter) {
        parser_give_up(p, out);
        return;
    }
    parser_argue(p, "}", 1, out);
    parser_end(p, out);
    parser_drop_first(p, p->word);
    p->state = BEHIND;
}

void parser_in_function(struct tool_parser *p, struct tool_output *out)
{
    bool alone = p->n - p->word == 1;
    if (alone && is_blank(last(p))) {
        p->word = p->n;
        return;
    }
    if (alone && last(p) == '{' && p->first_parameter) {
        parser_start_arguments(p, out);
        return;
    }
    int parameter = parser_compare(p, p->word, PARAMETER);
    int end = parser_compare(p, p->word, "</function>");
    if (parameter > 0) {
        p->state = IN_KEY;
    } else if (end > 0 && p->first_parameter && parser_may_begin(p, p->word)) {
        parser_whole_call(p, "{}", 2, out);
        parser_drop_first(p, p->word);
        p->state = BEHIND;
    } else if (end > 0 || (parameter < 0 && end < 0)) {
        end_function(p, out);
    }
}

void parser_in_key(struct tool_parser *p, struct tool_output *out)
{
    size_t at = p->word + strlen(PARAMETER), len = p->n - 1 - at;
    const char *key = held(p) + at;
    struct buf text = {0};
    if (last(p) == '\n' || last(p) == '<' || len > NAME_BYTES_MAX ||
        (p->first_parameter && !parser_may_begin(p, p->word))) {
        end_function(p, out);
        return;
    }
    if (last(p) != '>')
        return;
    if (p->first_parameter)
        parser_begin(p, out);
    buf_puts(&text, p->first_parameter ? "{" : ", ");
    json_str(&text, key, len);
    p->types = offer_types(&p->tool, key, len);
    buf_puts(&text, p->types == TOOL_TYPE_STRING ? ": \"" : ": ");
    parser_argue(p, text.data, text.len, out);
    buf_free(&text);
    buf_clear(&p->value);
    parser_drop(p);
    p->first_parameter = false;
    p->first_byte = true;
    p->state = IN_VALUE;
}

void parser_value_byte(struct tool_parser *p, char c, struct tool_output *out)
{
    char escape[JSON_ESCAPE_MAX];
    size_t n = json_escape_byte((unsigned char)c, escape);
    if (p->types != TOOL_TYPE_STRING)
        buf_add(&p->value, &c, 1);
    else
        parser_argue(p, n > 0 ? escape : &c, n > 0 ? n : 1, out);
}

/* The type of a text of JSON, 0: it is none. */
static int json_types(const char *text, size_t len)
{
    char why[64];
    if (json_scan_lax(text, len, why, sizeof why) != 0)
        return 0;
    switch (text[0]) {
    case '{':
        return TOOL_TYPE_OBJECT;
    case '[':
        return TOOL_TYPE_ARRAY;
    case '"':
        return TOOL_TYPE_STRING;
    case 'n':
        return TOOL_TYPE_NULL;
    case 't':
    case 'f':
        return TOOL_TYPE_BOOL;
    default:
        return TOOL_TYPE_NUMBER;
    }
}

/* A value that may be something else than a string, which templates write as Python prints it. */
static void end_value(struct tool_parser *p, struct tool_output *out)
{
    static const char *const python[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    const char *text = p->value.data ? p->value.data : "";
    size_t len = p->value.len;
    struct buf quoted = {0};
    text_trim(&text, &len);
    for (size_t i = 0; i < COUNT_OF(python); i++)
        if (len == strlen(python[i][0]) && memcmp(text, python[i][0], len) == 0) {
            text = python[i][1];
            len = strlen(text);
        }
    int type = json_types(text, len);
    if ((type & p->types & ~TOOL_TYPE_STRING) || (type && !(p->types & TOOL_TYPE_STRING))) {
        parser_argue(p, text, len, out);
        return;
    }
    json_str(&quoted, p->value.data ? p->value.data : "", p->value.len);
    parser_argue(p, quoted.data, quoted.len, out);
    buf_free(&quoted);
}

void parser_in_value(struct tool_parser *p, struct tool_output *out)
{
    bool first = p->first_byte;
    p->first_byte = false;
    if (first && last(p) == '\n') {
        parser_drop(p);
        return;
    }
    int here = parser_compare(p, 0, "</parameter>"), line = parser_compare(p, 0, "\n</parameter>");
    if (here > 0 || line > 0) {
        if (p->types == TOOL_TYPE_STRING)
            parser_argue(p, "\"", 1, out);
        else
            end_value(p, out);
        parser_drop(p);
        p->state = IN_FUNCTION;
    } else if (here < 0 && line < 0) {
        parser_value_byte(p, held(p)[0], out);
        parser_drop_first(p, 1);
    }
}
