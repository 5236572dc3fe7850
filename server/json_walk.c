#include "json_walk.h"

#include "specd/util.h"

#include <string.h>

enum {
    AT_VALUE,
    AT_FIRST_VALUE, /* of a list, or its end */
    AT_FIRST_KEY,   /* of an object, or its end */
    AT_KEY,
    AT_COLON,
    BEHIND_VALUE,
    IN_STRING,
    IN_ESCAPE,
    IN_HEX,
    IN_WORD, /* true, false, null: `word` is what is left of it */
    /* a number, by what came last */
    AT_MINUS,
    AT_ZERO,
    IN_INTEGER,
    AT_POINT,
    IN_FRACTION,
    AT_E,
    AT_E_SIGN,
    IN_EXPONENT,
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The state behind c within a number; -1: c is no part of it. */
static int number_state(int state, char c)
{
    bool digit = is_digit(c);
    switch (state) {
    case AT_MINUS:
        return !digit ? -1 : c == '0' ? AT_ZERO : IN_INTEGER;
    case AT_ZERO:
    case IN_INTEGER:
        if (digit)
            return state == IN_INTEGER ? IN_INTEGER : -1;
        return c == '.' ? AT_POINT : (c | 0x20) == 'e' ? AT_E : -1;
    case AT_POINT:
        return digit ? IN_FRACTION : -1;
    case IN_FRACTION:
        return digit ? IN_FRACTION : (c | 0x20) == 'e' ? AT_E : -1;
    case AT_E:
        if (c == '+' || c == '-')
            return AT_E_SIGN;
        return digit ? IN_EXPONENT : -1;
    default:
        return digit ? IN_EXPONENT : -1;
    }
}

static bool number_may_end(int state)
{
    return state == AT_ZERO || state == IN_INTEGER || state == IN_FRACTION || state == IN_EXPONENT;
}

static enum walked open(struct json_walk *w, bool object)
{
    if (w->depth == JSON_DEPTH_MAX)
        return WALK_BAD;
    w->object[w->depth++] = object;
    w->state = object ? AT_FIRST_KEY : AT_FIRST_VALUE;
    return WALK_OPEN;
}

static enum walked close(struct json_walk *w, bool object)
{
    if (w->depth == 0 || w->object[w->depth - 1] != object)
        return WALK_BAD;
    w->depth--;
    w->state = BEHIND_VALUE;
    return WALK_CLOSE;
}

static enum walked begin_value(struct json_walk *w, char c)
{
    static const char *const words[] = {"true", "false", "null"};
    if (c == '{' || c == '[')
        return open(w, c == '{');
    if (w->depth == 0)
        return WALK_BAD;
    if (c == '"') {
        w->state = IN_STRING;
        w->key = false;
        return WALK_STRING;
    }
    w->state = c == '-' ? AT_MINUS : number_state(AT_MINUS, c);
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (c == words[i][0]) {
            w->state = IN_WORD;
            w->word = words[i] + 1;
        }
    return w->state < 0 ? WALK_BAD : WALK_SCALAR;
}

static enum walked begin_key(struct json_walk *w, char c)
{
    if (c != '"')
        return WALK_BAD;
    w->state = IN_STRING;
    w->key = true;
    return WALK_KEY;
}

static enum walked in_string(struct json_walk *w, char c)
{
    if ((unsigned char)c < 0x20)
        return WALK_BAD;
    if (c == '\\')
        w->state = IN_ESCAPE;
    if (c != '"')
        return WALK_ON;
    w->state = w->key ? AT_COLON : BEHIND_VALUE;
    return w->key ? WALK_KEY_END : WALK_STRING_END;
}

static enum walked in_escape(struct json_walk *w, char c)
{
    if (w->state == IN_HEX) {
        if (hex_digit(c) < 0)
            return WALK_BAD;
        w->state = --w->left > 0 ? IN_HEX : IN_STRING;
        return WALK_ON;
    }
    if (c == '\0' || !strchr("\"\\/bfnrtu", c))
        return WALK_BAD;
    w->state = c == 'u' ? IN_HEX : IN_STRING;
    w->left = 4;
    return WALK_ON;
}

/* Between values and punctuation. */
static enum walked between(struct json_walk *w, char c)
{
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
        return WALK_ON;
    switch (w->state) {
    case AT_FIRST_VALUE:
        return c == ']' ? close(w, false) : begin_value(w, c);
    case AT_VALUE:
        return begin_value(w, c);
    case AT_FIRST_KEY:
        return c == '}' ? close(w, true) : begin_key(w, c);
    case AT_KEY:
        return begin_key(w, c);
    case AT_COLON:
        w->state = AT_VALUE;
        return c == ':' ? WALK_ON : WALK_BAD;
    default:
        if (c == '}' || c == ']')
            return close(w, c == '}');
        if (c != ',' || w->depth == 0)
            return WALK_BAD;
        w->state = w->object[w->depth - 1] ? AT_KEY : AT_VALUE;
        return WALK_ON;
    }
}

enum walked json_walk(struct json_walk *w, char c)
{
    if (w->state == IN_STRING)
        return in_string(w, c);
    if (w->state == IN_ESCAPE || w->state == IN_HEX)
        return in_escape(w, c);
    if (w->state == IN_WORD) {
        if (c != *w->word++)
            return WALK_BAD;
        w->state = *w->word ? IN_WORD : BEHIND_VALUE;
        return WALK_ON;
    }
    if (w->state >= AT_MINUS) {
        int next = number_state(w->state, c);
        if (next < 0 && !number_may_end(w->state))
            return WALK_BAD;
        w->state = next < 0 ? BEHIND_VALUE : next;
        if (next >= 0)
            return WALK_ON;
    }
    return between(w, c);
}
