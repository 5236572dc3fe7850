#include "tool_parser.h"

#include <stdlib.h>
#include <string.h>

static const struct tag tags[] = {
    {"<tool_call>", "</tool_call>", true},
    {"<|python_tag|>", NULL, true},
    {"[TOOL_CALLS]", NULL, true},
    {"<tools>", "</tools>", false},
    {"<function_call>", "</function_call>", false},
    {"```json", "```", false},
    {"```xml", "```", false},
    {"```tool_call", "```", false},
    {"```\n", "```", false},
    {"<function=", "</function>", false},
};
#define TAG_MISTRAL (&tags[2])
#define TAG_FUNCTION (&tags[COUNT_OF(tags) - 1])

struct tool_parser *tool_parser_new(const struct tool_offer *offer, bool one)
{
    struct tool_parser *p = xcalloc(1, sizeof *p);
    p->offer = p->watch.offer = offer;
    p->one = one;
    return p;
}

void tool_parser_free(struct tool_parser *p)
{
    if (!p)
        return;
    buf_free(&p->in);
    buf_free(&p->begun_there);
    buf_free(&p->name);
    buf_free(&p->unwrapped);
    buf_free(&p->value);
    free(p);
}

int tool_parser_n_calls(const struct tool_parser *p)
{
    return p->n_calls;
}

void tool_parser_pass(struct tool_parser *p, char c)
{
    if (p->offer->strict)
        tool_watch_byte(&p->watch, c);
}

/* ---- text, tags */

static void in_text(struct tool_parser *p, struct tool_output *out)
{
    char c = last(p);
    if (is_blank(c))
        return;
    if (!memchr("<[`{", c, 4) || (c == '{' && p->started)) {
        parser_show(p, p->n, out);
        return;
    }
    p->state = IN_TAG;
    p->word = p->tag = p->n - 1;
    p->n_open = 0;
    p->any_name = false;
    p->n--; /* read again */
}

static void open_tag(struct tool_parser *p, const struct tag *t)
{
    p->any_name |= t->means_call;
    p->open[p->n_open++] = t;
    p->state = t == TAG_FUNCTION ? IN_NAME : BEHIND_TAG;
    p->word = p->n;
}

static void in_tag(struct tool_parser *p, struct tool_output *out)
{
    bool may_be = false;
    for (size_t i = 0; i < COUNT_OF(tags); i++) {
        int n = parser_compare(p, p->word, tags[i].open);
        if (n > 0 && p->n_open < TAGS_MAX) {
            open_tag(p, &tags[i]);
            return;
        }
        may_be |= n == 0;
    }
    if (may_be)
        return;
    char first = held(p)[p->word];
    if (p->n_open == 0 && !p->started && (first == '{' || first == '['))
        parser_start_json(p, p->word);
    else
        parser_give_up(p, out);
}

static void behind_tag(struct tool_parser *p, struct tool_output *out)
{
    char c = last(p);
    const struct tag *t = p->open[p->n_open - 1];
    if (is_blank(c))
        return;
    p->word = p->n - 1;
    if (c == '{' || c == '[') {
        parser_start_json(p, p->word);
    } else if (c == '<') {
        p->state = IN_TAG;
    } else if (t == TAG_MISTRAL) {
        p->state = IN_NAME;
    } else {
        parser_give_up(p, out);
    }
}

/* ---- a name outside of JSON: <function=name>, [TOOL_CALLS]name{ */

static bool take_name(struct tool_parser *p, size_t len)
{
    buf_clear(&p->name);
    buf_add(&p->name, held(p) + p->word, len);
    return parser_may_call(p);
}

static void in_name(struct tool_parser *p, struct tool_output *out)
{
    char c = last(p);
    bool function = p->open[p->n_open - 1] == TAG_FUNCTION;
    size_t len = p->n - 1 - p->word;
    if (c == (function ? '>' : '{') && take_name(p, len)) {
        p->state = function ? IN_FUNCTION : BEHIND_NAME;
        p->first_parameter = true;
        p->word = p->n;
        p->n -= !function; /* the bracket is read again */
    } else if (!function && (is_blank(c) || c == '[') && take_name(p, len)) {
        p->state = c == '[' ? IN_MARK : BEHIND_NAME;
        p->word = p->n - 1;
    } else if (is_blank(c) || memchr("<>{[", c, 4) || len >= NAME_BYTES_MAX) {
        parser_give_up(p, out);
    }
}

static void in_mark(struct tool_parser *p, struct tool_output *out)
{
    int arguments = parser_compare(p, p->word, "[ARGS]");
    int id = parser_compare(p, p->word, "[CALL_ID]");
    if (arguments > 0)
        p->state = BEHIND_NAME;
    else if (id > 0)
        p->state = IN_ID;
    else if (arguments < 0 && id < 0)
        parser_give_up(p, out);
}

static void in_id(struct tool_parser *p, struct tool_output *out)
{
    if (last(p) == '[') {
        p->state = IN_MARK;
        p->word = p->n - 1;
    } else if (is_blank(last(p)) || p->n - p->word > NAME_BYTES_MAX) {
        parser_give_up(p, out);
    }
}

/* From here on the object of arguments alone is walked. */
void parser_start_arguments(struct tool_parser *p, struct tool_output *out)
{
    if (!parser_may_begin(p, p->n - 1)) {
        parser_give_up(p, out);
        return;
    }
    parser_begin(p, out);
    parser_drop_first(p, p->n - 1); /* the bracket is read again */
    p->state = IN_ARGUMENTS;
    p->walk = (struct json_walk){0};
    p->level = 0;
}

static void behind_name(struct tool_parser *p, struct tool_output *out)
{
    if (last(p) == '{')
        parser_start_arguments(p, out);
    else if (!is_blank(last(p)))
        parser_give_up(p, out);
}

/* Its arguments, which were begun, do not go on as they have to with the last byte. */
static void break_off(struct tool_parser *p, struct tool_output *out)
{
    parser_end(p, out);
    p->n = 0;
    p->state = IN_TEXT;
}

static void in_arguments(struct tool_parser *p, struct tool_output *out)
{
    enum walked w = json_walk(&p->walk, last(p));
    if (w == WALK_BAD) {
        break_off(p, out);
        return;
    }
    parser_argue(p, held(p), p->n, out);
    parser_drop(p);
    if (w != WALK_CLOSE || p->walk.depth != p->level)
        return;
    parser_end(p, out);
    p->state = p->level == 0 ? BEHIND : IN_REST;
}

/* ---- behind a call */

static void close_tag(struct tool_parser *p)
{
    p->any_name = false;
    p->n_open--;
    for (int i = 0; i < p->n_open; i++)
        p->any_name |= p->open[i]->means_call;
}

/* Its closing tags, innermost first, blanks, and perhaps the next one without a tag of its own. */
static void behind(struct tool_parser *p)
{
    bool alone = p->n == 1;
    const struct tag *t = p->n_open > 0 ? p->open[p->n_open - 1] : NULL;
    if (alone && (is_blank(last(p)) || (last(p) == ';' && (!t || !t->close)))) {
        parser_drop(p);
        return;
    }
    for (; t; t = p->n_open > 0 ? p->open[p->n_open - 1] : NULL) {
        int n = t->close ? parser_compare(p, 0, t->close) : -1;
        if (n == 0)
            return;
        if (n > 0) {
            close_tag(p);
            parser_drop(p);
            return;
        }
        if (alone && last(p) == '{' && t != TAG_MISTRAL && t != TAG_FUNCTION)
            break;
        close_tag(p);
    }
    if (alone && last(p) == '{') {
        parser_start_json(p, 0);
    } else {
        p->n = 0;
        p->state = IN_TEXT;
    }
}

/* ---- all of it */

static void step(struct tool_parser *p, struct tool_output *out)
{
    switch (p->state) {
    case IN_TEXT:
        in_text(p, out);
        break;
    case IN_TAG:
        in_tag(p, out);
        break;
    case BEHIND_TAG:
        behind_tag(p, out);
        break;
    case IN_NAME:
        in_name(p, out);
        break;
    case IN_MARK:
        in_mark(p, out);
        break;
    case IN_ID:
        in_id(p, out);
        break;
    case BEHIND_NAME:
        behind_name(p, out);
        break;
    case IN_CALL:
        parser_in_call(p, out);
        break;
    case IN_ARGUMENTS:
        in_arguments(p, out);
        break;
    case IN_REST:
        parser_in_rest(p);
        break;
    case IN_FUNCTION:
        parser_in_function(p, out);
        break;
    case IN_KEY:
        parser_in_key(p, out);
        break;
    case IN_VALUE:
        parser_in_value(p, out);
        break;
    case BEHIND:
        behind(p);
        break;
    }
}

/* No more comes. */
static void finish(struct tool_parser *p, struct tool_output *out)
{
    if (p->begun && p->state == IN_VALUE)
        for (size_t i = 0; i < p->n; i++)
            parser_value_byte(p, held(p)[i], out);
    bool between = p->state == IN_CALL && p->n_elements > 0 && p->walk.depth == 1;
    if (p->begun)
        parser_end(p, out);
    else if (p->state != IN_REST && p->state != BEHIND && !between)
        parser_show(p, p->n, out);
}

static void drop_bytes(struct buf *b, size_t n)
{
    if (b->len == 0)
        return;
    b->len -= n;
    memmove(b->data, b->data + n, b->len);
}

void tool_parser_feed(struct tool_parser *p, const char *text, size_t len, bool end,
                      struct tool_output *out)
{
    buf_add(&p->in, text, len);
    buf_reserve(&p->in, 0);
    buf_reserve(&out->bytes, 0);
    for (size_t i = 0; i < len && p->offer->strict; i++) {
        char number = (char)tool_watch_byte(&p->watch, text[i]);
        buf_add(&p->begun_there, &number, 1);
    }
    while (p->from + p->n < p->in.len) {
        p->n++;
        step(p, out);
    }
    if (end)
        finish(p, out);
    drop_bytes(&p->in, p->from);
    drop_bytes(&p->begun_there, p->from);
    p->from = 0;
}
