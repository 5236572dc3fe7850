/*
 * tool_json.c - a call in JSON, or a list of them: {"name": ..., "arguments" or "parameters": ...},
 * or the same within "function".
 */
#include "tool_parser.h"

#include <string.h>

void parser_start_json(struct tool_parser *p, size_t at)
{
    p->state = IN_CALL;
    p->n = at; /* where it begins: it is read from there */
    p->walk = (struct json_walk){0};
    p->list = p->nested = false;
    p->n_elements = 0;
    p->level = 1;
    p->in_key = false;
}

static const struct {
    const char *key; /* with the quotes */
    enum member member;
} members[] = {
    {"\"name\"", NAME},           {"\"function\"", FUNCTION},
    {"\"arguments\"", ARGUMENTS}, {"\"parameters\"", ARGUMENTS},
    {"\"type\"", OTHER},          {"\"id\"", OTHER},
    {"\"index\"", OTHER},
};

/* JSON without a tag is held for as long as its members may be those of a call. */
static bool is_hopeless_key(const struct tool_parser *p)
{
    for (size_t i = 0; i < COUNT_OF(members); i++)
        if (parser_compare(p, p->word, members[i].key) >= 0)
            return false;
    return !p->any_name && p->name.len == 0;
}

static void find_member(struct tool_parser *p)
{
    p->member = OTHER;
    for (size_t i = 0; i < COUNT_OF(members); i++)
        if (parser_compare(p, p->word, members[i].key) > 0)
            p->member = members[i].member;
}

/* What a string of JSON says. False: no UTF-8, or no memory. */
static bool unquote(const char *text, size_t len, struct buf *to)
{
    struct json *doc = NULL;
    char why[64];
    bool good = json_parse_lax(&doc, text, len, why, sizeof why) == 0;
    buf_clear(to);
    buf_puts(to, good ? json_string(doc) : "");
    json_free(doc);
    return good;
}

/* Name and arguments are known, and complete. */
static void call_held(struct tool_parser *p, struct tool_output *out)
{
    const struct buf *u = &p->unwrapped;
    const struct span *s = &p->arguments;
    parser_whole_call(p, u->len > 0 ? u->data : held(p) + s->at, u->len > 0 ? u->len : s->len, out);
    parser_drop(p);
    p->state = IN_REST;
}

/* A string that is a member of the call has ended. False: it is no call. */
static bool string_member(struct tool_parser *p, struct tool_output *out)
{
    const char *text = held(p) + p->word;
    size_t len = p->n - p->word;
    char why[64];
    if (p->member == ARGUMENTS && !p->has_arguments) {
        struct buf *u = &p->unwrapped;
        bool good = unquote(text, len, u);
        if (u->len == 0)
            buf_puts(u, "{}");
        if (!good || u->data[0] != '{' || json_scan_lax(u->data, u->len, why, sizeof why) != 0)
            return false;
        p->has_arguments = true;
    } else if ((p->member == NAME || p->member == FUNCTION) && p->name.len == 0) {
        if (!unquote(text, len, &p->name) || !parser_may_call(p))
            return false;
    }
    if (p->has_arguments && p->name.len > 0) {
        if (p->tool.strictness == TOOL_STRICT)
            return false;
        call_held(p, out);
    }
    return true;
}

/* The value of a member begins. */
static bool begin_member(struct tool_parser *p, enum walked w, struct tool_output *out)
{
    bool object = w == WALK_OPEN && last(p) == '{', null = w == WALK_SCALAR && last(p) == 'n';
    p->word = p->n - 1;
    if (p->member == NAME)
        return w == WALK_STRING;
    if (p->member == FUNCTION && object && !p->nested) {
        p->nested = true;
        p->level++;
    }
    if (p->member != ARGUMENTS || p->has_arguments || w == WALK_STRING || null)
        return true;
    if (!object)
        return false;
    p->has_arguments = true;
    p->arguments = (struct span){p->word, 0};
    if (p->name.len == 0)
        return true;
    if (!parser_may_begin(p, p->word))
        return false;
    parser_begin(p, out);
    parser_argue(p, "{", 1, out);
    parser_drop(p);
    p->state = IN_ARGUMENTS;
    return true;
}

/* An element of a list begins, or the one call does. */
static bool begin_element(struct tool_parser *p)
{
    if (p->walk.depth == 1 && last(p) == '[') {
        p->list = true;
        p->level = 2;
        return true;
    }
    buf_clear(&p->name);
    buf_clear(&p->unwrapped);
    p->has_arguments = false;
    return p->walk.depth == p->level && last(p) == '{';
}

/* Behind an element of a list, or the one call. */
static void end_element(struct tool_parser *p)
{
    parser_drop(p);
    p->n_elements++;
    p->state = p->list ? IN_CALL : BEHIND;
}

/* An object or a list has ended within the call. */
static bool end_container(struct tool_parser *p, struct tool_output *out)
{
    int depth = p->walk.depth;
    if (depth == p->level && p->member == ARGUMENTS && p->arguments.at == p->word)
        p->arguments.len = p->n - p->word;
    if (depth >= p->level)
        return true;
    if (depth == p->level - 1 && p->nested) {
        p->nested = false;
        p->level--;
        return true;
    }
    if (depth < p->level - 1) { /* the list's own end */
        bool calls = p->n_elements > 0;
        if (calls)
            parser_drop(p);
        p->state = BEHIND;
        return calls;
    }
    /* Tags that mean a call do so without arguments, too. */
    if (p->name.len == 0 || !p->any_name || p->tool.strictness == TOOL_STRICT)
        return false;
    parser_whole_call(p, "{}", 2, out);
    end_element(p);
    return true;
}

static bool is_call(struct tool_parser *p, enum walked w, struct tool_output *out)
{
    int depth = p->walk.depth - (w == WALK_OPEN); /* of what the value is in */
    switch (w) {
    case WALK_BAD:
        return false;
    case WALK_OPEN:
    case WALK_STRING:
    case WALK_SCALAR:
        if (depth < p->level)
            return begin_element(p);
        return depth > p->level || begin_member(p, w, out);
    case WALK_CLOSE:
        return end_container(p, out);
    case WALK_STRING_END:
        return depth > p->level || string_member(p, out);
    case WALK_KEY:
        if (depth == p->level) {
            p->in_key = true;
            p->word = p->n - 1;
        }
        return true;
    case WALK_KEY_END:
        if (depth == p->level)
            find_member(p);
        break;
    case WALK_ON:
        break;
    }
    bool hopeless = p->in_key && is_hopeless_key(p);
    p->in_key &= w != WALK_KEY_END;
    return !hopeless;
}

void parser_in_call(struct tool_parser *p, struct tool_output *out)
{
    if (!is_call(p, json_walk(&p->walk, last(p)), out))
        parser_give_up(p, out);
}

/* What stands behind the arguments. */
void parser_in_rest(struct tool_parser *p)
{
    enum walked w = json_walk(&p->walk, last(p));
    if (w == WALK_BAD) {
        p->n = 0;
        p->state = IN_TEXT;
    } else if (w == WALK_CLOSE && p->walk.depth < p->level && p->nested) {
        p->nested = false;
        p->level--;
    } else if (w == WALK_CLOSE && p->walk.depth < p->level) {
        end_element(p);
    }
}
