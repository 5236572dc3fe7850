#include "tool_watch.h"

#include "messages.h"
#include "tool_parser.h"

#include "specd/json_write.h"

#include <string.h>

/* Where the last piece ends in a brace, that is the first byte of the arguments. */
static const struct head {
    const char *pieces[6]; /* NULL behind the last; one of them holds the name, as NAME_HERE */
    bool parameters;       /* arguments as <parameter=key>, or as JSON */
} heads[TOOL_HEADS] = {
#define NAME_HERE "%"
    {{"\"name\"", ":", "\"" NAME_HERE "\"", ",", "\"arguments\"", ":"}, false},
    {{"\"name\"", ":", "\"" NAME_HERE "\"", ",", "\"parameters\"", ":"}, false},
    {{"\"function\"", ":", "\"" NAME_HERE "\"", ",", "\"arguments\"", ":"}, false},
    {{"\"function\"", ":", "\"" NAME_HERE "\"", ",", "\"parameters\"", ":"}, false},
    {{"<function=" NAME_HERE ">"}, true},
    {{"[TOOL_CALLS]", NAME_HERE, "{"}, false},
    {{"[TOOL_CALLS]", NAME_HERE, "[ARGS]"}, false},
};

static int count_pieces(const struct head *h)
{
    int n = 0;
    while (n < (int)COUNT_OF(h->pieces) && h->pieces[n])
        n++;
    return n;
}

/* ---- for the grammar */

static void print_piece(const char *piece, const char *name, struct buf *out)
{
    struct buf text = {0};
    size_t before = strcspn(piece, NAME_HERE);
    buf_add(&text, piece, before);
    if (piece[before])
        buf_printf(&text, "%s%s", name, piece + before + 1);
    json_str(out, text.data, text.len);
    buf_free(&text);
}

void tool_head_print(size_t head, const char *name, struct buf *out)
{
    const struct head *h = &heads[head];
    buf_puts(out, "\"behind\":[");
    for (int i = 0; i < count_pieces(h); i++) {
        buf_puts(out, i ? "," : "");
        print_piece(h->pieces[i], name, out);
    }
    buf_puts(out, h->parameters ? "],\"parameters\":true" : "]");
}

/* ---- in a text */

static void push(struct tool_watch *w, char c)
{
    bool blank = is_blank(c);
    if (blank && w->n > 0 && w->tail[w->n - 1] == ' ')
        return;
    if (w->n == sizeof w->tail) {
        w->n /= 2;
        memcpy(w->tail, w->tail + w->n, w->n);
    }
    w->tail[w->n++] = blank ? ' ' : c;
}

/* Steps back over a text that stands before *at. */
static bool step_back(const struct tool_watch *w, size_t *at, const char *text, size_t len)
{
    if (*at < len || memcmp(w->tail + *at - len, text, len) != 0)
        return false;
    *at -= len;
    return true;
}

static bool ends_in(const struct tool_watch *w, const char *text)
{
    size_t at = w->n;
    return step_back(w, &at, text, strlen(text));
}

static bool is_name_byte(char c)
{
    return c != '\0' && strchr(TOOL_NAME_BYTES, c);
}

/* Is a head's last byte the last one read? Then *name is the name in it. */
static bool ends_in_head(const struct tool_watch *w, const struct head *h, struct span *name)
{
    size_t at = w->n;
    int n = count_pieces(h);
    *name = (struct span){0};
    for (int i = n - 1; i >= 0; i--) {
        const char *piece = h->pieces[i];
        size_t before = strcspn(piece, NAME_HERE);
        const char *behind = piece[before] ? piece + before + 1 : "";
        if (i < n - 1)
            step_back(w, &at, " ", 1);
        if (!step_back(w, &at, behind, strlen(behind)))
            return false;
        if (piece[before]) {
            name->len = at;
            while (at > 0 && is_name_byte(w->tail[at - 1]))
                at--;
            name->at = at;
            name->len -= at;
        }
        if (!step_back(w, &at, piece, before))
            return false;
    }
    return true;
}

static int begin_arguments(struct tool_watch *w, char c);

static int in_text(struct tool_watch *w, char c)
{
    struct span name;
    push(w, c);
    for (const struct head *h = heads; h < heads + TOOL_HEADS; h++) {
        if (!ends_in_head(w, h, &name))
            continue;
        struct offered_tool t = offer_find(w->offer, w->tail + name.at, name.len);
        if (t.number == 0 || t.strictness == TOOL_FREE)
            continue;
        w->tool = t.number;
        w->parameters = h->parameters;
        w->state = WATCH_BLANKS;
        return c == '{' ? begin_arguments(w, c) : 0;
    }
    return 0;
}

static void end_arguments(struct tool_watch *w)
{
    w->state = WATCH_TEXT;
    w->n = 0;
}

static int begin_arguments(struct tool_watch *w, char c)
{
    w->n = 0;
    if (c == '{') {
        w->state = WATCH_JSON;
        w->walk = (struct json_walk){0};
        json_walk(&w->walk, c);
    } else if (c == '<' && w->parameters) {
        w->state = WATCH_FUNCTION;
        push(w, c);
    } else { /* no grammar lets it come */
        end_arguments(w);
        return in_text(w, c);
    }
    return w->tool;
}

int tool_watch_byte(struct tool_watch *w, char c)
{
    enum walked walked;
    switch (w->state) {
    case WATCH_TEXT:
        return in_text(w, c);
    case WATCH_BLANKS:
        return is_blank(c) ? 0 : begin_arguments(w, c);
    case WATCH_JSON:
        walked = json_walk(&w->walk, c);
        if (walked == WALK_BAD || (walked == WALK_CLOSE && w->walk.depth == 0))
            end_arguments(w);
        return walked == WALK_BAD ? in_text(w, c) : 0;
    case WATCH_FUNCTION: /* <parameter=key>, or the end */
        push(w, c);
        if (ends_in(w, "</function>"))
            end_arguments(w);
        else if (c == '>')
            w->state = WATCH_PARAMETER;
        return 0;
    case WATCH_PARAMETER: /* its value */
        push(w, c);
        if (ends_in(w, "</parameter>")) {
            w->state = WATCH_FUNCTION;
            w->n = 0;
        }
        return 0;
    }
    return 0;
}
