#include "tool_calls.h"

#include "json_walk.h"
#include "specd/json_write.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define NAME_BYTES_MAX 128 /* of a name outside of JSON */
#define TAGS_MAX 3         /* one in the other */
#define PARAMETER "<parameter="

/* ---- what was found */

void tool_output_clear(struct tool_output *out)
{
    out->n_events = 0;
    buf_clear(&out->bytes);
}

void tool_output_free(struct tool_output *out)
{
    free(out->events);
    buf_free(&out->bytes);
    *out = (struct tool_output){0};
}

static struct tool_event *add_event(struct tool_output *out, enum tool_event_kind kind, int call)
{
    if (out->n_events == out->cap_events) {
        out->cap_events = MAX(8, 2 * out->cap_events);
        out->events = xrealloc(out->events, (size_t)out->cap_events * sizeof *out->events);
    }
    struct tool_event *e = &out->events[out->n_events++];
    *e = (struct tool_event){.kind = kind, .call = call, .at = out->bytes.len};
    return e;
}

/* call: -1 for text. */
static void add_bytes(struct tool_output *out, enum tool_event_kind kind, int call,
                      const char *bytes, size_t len)
{
    struct tool_event *e = out->n_events > 0 ? &out->events[out->n_events - 1] : NULL;
    if (len == 0)
        return;
    if (!e || e->kind != kind)
        e = add_event(out, kind, call);
    buf_add(&out->bytes, bytes, len);
    e->len += len;
}

static void make_id(char id[TOOL_CALL_ID_SIZE])
{
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    unsigned char r[TOOL_CALL_ID_SIZE] = {0};
    ssize_t got = getrandom(r, sizeof r, 0); /* so few bytes never come short */
    (void)got;
    for (int i = 0; i < TOOL_CALL_ID_SIZE - 1; i++)
        id[i] = letters[r[i] % (sizeof letters - 1)];
    id[TOOL_CALL_ID_SIZE - 1] = '\0';
}

/* ---- the parser: a machine that takes a byte at a time. Bytes that are not decided on are held;
 * when they turn out to be no call the first of them are text and the others are read again. */

struct tag {
    const char *open, *close; /* close: NULL for none */
    bool means_call;          /* whatever it names */
};

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

/* What is read; held are the bytes ... */
enum state {
    IN_TEXT,      /* ... that may be blanks before a call */
    IN_TAG,       /* ... up to now of what may be a tag, from `word` on, and what is before it */
    BEHIND_TAG,   /* ... up to now */
    IN_NAME,      /* ... likewise: a name outside of JSON, from `word` on */
    IN_MARK,      /* ... likewise: [ARGS] or [CALL_ID] behind it */
    IN_ID,        /* ... likewise: what follows [CALL_ID] */
    BEHIND_NAME,  /* ... likewise: blanks */
    IN_CALL,      /* ... likewise: the JSON around a call's name and arguments */
    IN_ARGUMENTS, /* of a call that has begun: none */
    IN_REST,      /* the JSON behind them: all of it */
    IN_FUNCTION,  /* <function=name> up to </function>, between parameters: a tag, from `word` on */
    IN_KEY,       /* ... <parameter=key> */
    IN_VALUE,     /* ... what may be its end tag */
    BEHIND,       /* a call: ... what may be a closing tag */
};

/* A member of a call in JSON, by its name. */
enum member { NAME, FUNCTION, ARGUMENTS, OTHER };

/* Bytes of what is held. */
struct span {
    size_t at, len;
};

struct tool_parser {
    const struct tool_offer *offer;
    bool one;
    enum state state;
    bool started; /* something was shown or called: JSON alone is not looked for any more */
    struct buf in;
    size_t from, n;   /* of `in`, n bytes are held; what is behind them was not read yet */
    size_t word, tag; /* in what is held: the word that is read, the first tag */
    const struct tag *open[TAGS_MAX];
    int n_open;
    bool any_name;
    /* JSON */
    struct json_walk walk;
    bool list;
    int n_elements; /* of it that were calls */
    int level;      /* depth of the call's members */
    bool nested;    /* they are within "function" */
    enum member member;
    struct buf name;       /* empty: not known yet */
    bool has_arguments;    /* held, or begun */
    struct span arguments; /* held: as they stand there, unless they were unwrapped */
    struct buf unwrapped;
    bool in_key;
    /* <function=...> */
    const char *parameters; /* of the tool, in its offer; NULL: it is not there */
    bool first_parameter, first_byte;
    int types;        /* of the parameter */
    struct buf value; /* up to its end, when it may be something else than a string */

    bool begun, dropped; /* a call has begun; it is one too many */
    int n_calls;
};

struct tool_parser *tool_parser_new(const struct tool_offer *offer, bool one)
{
    struct tool_parser *p = xcalloc(1, sizeof *p);
    p->offer = offer;
    p->one = one;
    return p;
}

void tool_parser_free(struct tool_parser *p)
{
    if (!p)
        return;
    buf_free(&p->in);
    buf_free(&p->name);
    buf_free(&p->unwrapped);
    buf_free(&p->value);
    free(p);
}

int tool_parser_n_calls(const struct tool_parser *p)
{
    return p->n_calls;
}

static const char *held(const struct tool_parser *p)
{
    return p->in.data + p->from;
}

static char last(const struct tool_parser *p)
{
    return held(p)[p->n - 1];
}

/* Holds nothing any more of the first n bytes; those behind them are read again. */
static void drop_first(struct tool_parser *p, size_t n)
{
    p->from += n;
    p->n = p->word = p->tag = 0;
}

static void drop(struct tool_parser *p)
{
    drop_first(p, p->n);
}

/* The first n of the held bytes are text; those behind them are read again, as what may be text. */
static void show(struct tool_parser *p, size_t n, struct tool_output *out)
{
    add_bytes(out, TOOL_TEXT, -1, held(p), n);
    drop_first(p, n);
    p->started = true;
    p->state = IN_TEXT;
}

/* It was no call. */
static void give_up(struct tool_parser *p, struct tool_output *out)
{
    show(p, p->tag + 1, out);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Is what is held, from `at` on, the word (1), its beginning (0) or neither (-1)? */
static int compare(const struct tool_parser *p, size_t at, const char *word)
{
    size_t n = p->n - at, len = strlen(word);
    if (n > len || memcmp(held(p) + at, word, n) != 0)
        return -1;
    return n == len;
}

/* ---- the tools on offer */

/* The parameters of a tool; NULL: it is not there. */
static const char *find_tool(const struct tool_offer *offer, const char *name, size_t len)
{
    const char *at = offer->bytes.data, *end = at + offer->bytes.len;
    while (at < end) {
        size_t n = strlen(at);
        bool found = n == len && memcmp(at, name, n) == 0;
        at += n + 1;
        if (found)
            return at;
        while (*at)
            at += strlen(at) + 1;
        at++;
    }
    return NULL;
}

static int find_types(const char *parameters, const char *name, size_t len)
{
    for (const char *at = parameters; at && *at; at += strlen(at) + 1)
        if (strlen(at + 1) == len && memcmp(at + 1, name, len) == 0)
            return *at;
    return TOOL_TYPE_ANY;
}

static bool is_callable(const struct tool_parser *p)
{
    return p->name.len > 0 && ((p->any_name && !p->offer->closed) ||
                               find_tool(p->offer, p->name.data, p->name.len) != NULL);
}

/* ---- events of a call */

static void begin(struct tool_parser *p, struct tool_output *out)
{
    p->begun = p->started = true;
    p->dropped = p->n_calls >= (p->one ? 1 : TOOL_CALLS_MAX);
    if (p->dropped)
        return;
    struct tool_event *e = add_event(out, TOOL_BEGIN, p->n_calls++);
    make_id(e->id);
    e->len = p->name.len;
    buf_add(&out->bytes, p->name.data, p->name.len);
}

static void argue(struct tool_parser *p, const char *bytes, size_t len, struct tool_output *out)
{
    if (!p->dropped)
        add_bytes(out, TOOL_ARGUMENTS, p->n_calls - 1, bytes, len);
}

static void end_call(struct tool_parser *p, struct tool_output *out)
{
    if (!p->dropped)
        add_event(out, TOOL_END, p->n_calls - 1);
    p->begun = false;
}

static void whole_call(struct tool_parser *p, const char *arguments, size_t len,
                       struct tool_output *out)
{
    begin(p, out);
    argue(p, arguments, len, out);
    end_call(p, out);
}

/* Its arguments, which were begun, do not go on as they have to with the last byte. */
static void break_off(struct tool_parser *p, struct tool_output *out)
{
    end_call(p, out);
    p->n = 0;
    p->state = IN_TEXT;
}

/* ---- text, tags */

static void start_json(struct tool_parser *p, size_t at)
{
    p->state = IN_CALL;
    p->n = at; /* where it begins: it is read from there */
    p->walk = (struct json_walk){0};
    p->list = p->nested = false;
    p->n_elements = 0;
    p->level = 1;
    p->in_key = false;
}

static void in_text(struct tool_parser *p, struct tool_output *out)
{
    char c = last(p);
    if (is_blank(c))
        return;
    if (!memchr("<[`{", c, 4) || (c == '{' && p->started)) {
        show(p, p->n, out);
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
        int n = compare(p, p->word, tags[i].open);
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
        start_json(p, p->word);
    else
        give_up(p, out);
}

static void behind_tag(struct tool_parser *p, struct tool_output *out)
{
    char c = last(p);
    const struct tag *t = p->open[p->n_open - 1];
    if (is_blank(c))
        return;
    p->word = p->n - 1;
    if (c == '{' || c == '[') {
        start_json(p, p->word);
    } else if (c == '<') {
        p->state = IN_TAG;
    } else if (t == TAG_MISTRAL) {
        p->state = IN_NAME;
    } else {
        give_up(p, out);
    }
}

/* ---- a name outside of JSON: <function=name>, [TOOL_CALLS]name{ */

static bool take_name(struct tool_parser *p, size_t len)
{
    buf_clear(&p->name);
    buf_add(&p->name, held(p) + p->word, len);
    p->parameters = find_tool(p->offer, p->name.data, p->name.len);
    return is_callable(p);
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
        give_up(p, out);
    }
}

static void in_mark(struct tool_parser *p, struct tool_output *out)
{
    int arguments = compare(p, p->word, "[ARGS]"), id = compare(p, p->word, "[CALL_ID]");
    if (arguments > 0)
        p->state = BEHIND_NAME;
    else if (id > 0)
        p->state = IN_ID;
    else if (arguments < 0 && id < 0)
        give_up(p, out);
}

static void in_id(struct tool_parser *p, struct tool_output *out)
{
    if (last(p) == '[') {
        p->state = IN_MARK;
        p->word = p->n - 1;
    } else if (is_blank(last(p)) || p->n - p->word > NAME_BYTES_MAX) {
        give_up(p, out);
    }
}

/* From here on the object of arguments alone is walked. */
static void start_arguments(struct tool_parser *p, struct tool_output *out)
{
    begin(p, out);
    drop_first(p, p->n - 1); /* the bracket is read again */
    p->state = IN_ARGUMENTS;
    p->walk = (struct json_walk){0};
    p->level = 0;
}

static void behind_name(struct tool_parser *p, struct tool_output *out)
{
    if (last(p) == '{')
        start_arguments(p, out);
    else if (!is_blank(last(p)))
        give_up(p, out);
}

static void in_arguments(struct tool_parser *p, struct tool_output *out)
{
    enum walked w = json_walk(&p->walk, last(p));
    if (w == WALK_BAD) {
        break_off(p, out);
        return;
    }
    argue(p, held(p), p->n, out);
    drop(p);
    if (w != WALK_CLOSE || p->walk.depth != p->level)
        return;
    end_call(p, out);
    p->state = p->level == 0 ? BEHIND : IN_REST;
}

/* ---- a call in JSON, or a list of them: {"name": ..., "arguments" or "parameters": ...}, or the
 * same within "function" */

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
        if (compare(p, p->word, members[i].key) >= 0)
            return false;
    return !p->any_name && p->name.len == 0;
}

static void find_member(struct tool_parser *p)
{
    p->member = OTHER;
    for (size_t i = 0; i < COUNT_OF(members); i++)
        if (compare(p, p->word, members[i].key) > 0)
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
    whole_call(p, u->len > 0 ? u->data : held(p) + s->at, u->len > 0 ? u->len : s->len, out);
    drop(p);
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
        if (!unquote(text, len, &p->name) || !is_callable(p))
            return false;
    }
    if (p->has_arguments && p->name.len > 0)
        call_held(p, out);
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
    begin(p, out);
    argue(p, "{", 1, out);
    drop(p);
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
    drop(p);
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
            drop(p);
        p->state = BEHIND;
        return calls;
    }
    /* Tags that mean a call do so without arguments, too. */
    if (p->name.len == 0 || !p->any_name)
        return false;
    whole_call(p, "{}", 2, out);
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

static void in_call(struct tool_parser *p, struct tool_output *out)
{
    if (!is_call(p, json_walk(&p->walk, last(p)), out))
        give_up(p, out);
}

/* What stands behind the arguments. */
static void in_rest(struct tool_parser *p)
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

/* ---- <parameter=key>value</parameter>, of which an object is made */

/* The object is complete as it is: what is held belongs to something else. */
static void end_function(struct tool_parser *p, struct tool_output *out)
{
    if (p->first_parameter) {
        give_up(p, out);
        return;
    }
    argue(p, "}", 1, out);
    end_call(p, out);
    drop_first(p, p->word);
    p->state = BEHIND;
}

static void in_function(struct tool_parser *p, struct tool_output *out)
{
    bool alone = p->n - p->word == 1;
    if (alone && is_blank(last(p))) {
        p->word = p->n;
        return;
    }
    if (alone && last(p) == '{' && p->first_parameter) {
        start_arguments(p, out);
        return;
    }
    int parameter = compare(p, p->word, PARAMETER), end = compare(p, p->word, "</function>");
    if (parameter > 0)
        p->state = IN_KEY;
    else if (end > 0 && p->first_parameter) {
        whole_call(p, "{}", 2, out);
        drop_first(p, p->word);
        p->state = BEHIND;
    } else if (end > 0 || (parameter < 0 && end < 0))
        end_function(p, out);
}

static void in_key(struct tool_parser *p, struct tool_output *out)
{
    size_t at = p->word + strlen(PARAMETER), len = p->n - 1 - at;
    const char *key = held(p) + at;
    struct buf text = {0};
    if (last(p) == '\n' || last(p) == '<' || len > NAME_BYTES_MAX) {
        end_function(p, out);
        return;
    }
    if (last(p) != '>')
        return;
    if (p->first_parameter)
        begin(p, out);
    buf_puts(&text, p->first_parameter ? "{" : ", ");
    json_str(&text, key, len);
    p->types = find_types(p->parameters, key, len);
    buf_puts(&text, p->types == TOOL_TYPE_STRING ? ": \"" : ": ");
    argue(p, text.data, text.len, out);
    buf_free(&text);
    buf_clear(&p->value);
    drop(p);
    p->first_parameter = false;
    p->first_byte = true;
    p->state = IN_VALUE;
}

static void value_byte(struct tool_parser *p, char c, struct tool_output *out)
{
    char escape[JSON_ESCAPE_MAX];
    size_t n = json_escape_byte((unsigned char)c, escape);
    if (p->types != TOOL_TYPE_STRING)
        buf_add(&p->value, &c, 1);
    else
        argue(p, n > 0 ? escape : &c, n > 0 ? n : 1, out);
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
        argue(p, text, len, out);
        return;
    }
    json_str(&quoted, p->value.data ? p->value.data : "", p->value.len);
    argue(p, quoted.data, quoted.len, out);
    buf_free(&quoted);
}

static void in_value(struct tool_parser *p, struct tool_output *out)
{
    bool first = p->first_byte;
    p->first_byte = false;
    if (first && last(p) == '\n') {
        drop(p);
        return;
    }
    int here = compare(p, 0, "</parameter>"), line = compare(p, 0, "\n</parameter>");
    if (here > 0 || line > 0) {
        if (p->types == TOOL_TYPE_STRING)
            argue(p, "\"", 1, out);
        else
            end_value(p, out);
        drop(p);
        p->state = IN_FUNCTION;
    } else if (here < 0 && line < 0) {
        value_byte(p, held(p)[0], out);
        drop_first(p, 1);
    }
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
        drop(p);
        return;
    }
    for (; t; t = p->n_open > 0 ? p->open[p->n_open - 1] : NULL) {
        int n = t->close ? compare(p, 0, t->close) : -1;
        if (n == 0)
            return;
        if (n > 0) {
            close_tag(p);
            drop(p);
            return;
        }
        if (alone && last(p) == '{' && t != TAG_MISTRAL && t != TAG_FUNCTION)
            break;
        close_tag(p);
    }
    if (alone && last(p) == '{') {
        start_json(p, 0);
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
        in_call(p, out);
        break;
    case IN_ARGUMENTS:
        in_arguments(p, out);
        break;
    case IN_REST:
        in_rest(p);
        break;
    case IN_FUNCTION:
        in_function(p, out);
        break;
    case IN_KEY:
        in_key(p, out);
        break;
    case IN_VALUE:
        in_value(p, out);
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
            value_byte(p, held(p)[i], out);
    bool between = p->state == IN_CALL && p->n_elements > 0 && p->walk.depth == 1;
    if (p->begun)
        end_call(p, out);
    else if (p->state != IN_REST && p->state != BEHIND && !between)
        show(p, p->n, out);
}

void tool_parser_feed(struct tool_parser *p, const char *text, size_t len, bool end,
                      struct tool_output *out)
{
    buf_add(&p->in, text, len);
    buf_reserve(&p->in, 0);
    buf_reserve(&out->bytes, 0);
    while (p->from + p->n < p->in.len) {
        p->n++;
        step(p, out);
    }
    if (end)
        finish(p, out);
    p->in.len -= p->from;
    memmove(p->in.data, p->in.data + p->from, p->in.len);
    p->from = 0;
}
