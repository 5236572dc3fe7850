#include "parts.h"

#include "answer.h"
#include "http.h"
#include "tool_parser.h"

#include <stdlib.h>
#include <string.h>

struct part_reader *part_reader_new(const struct tool_offer *offer, bool one)
{
    struct part_reader *r = xcalloc(1, sizeof *r);
    r->at = THOUGHT_OVER;
    r->open = TOOL_END;
    if (offer)
        r->tools = tool_parser_new(offer, one);
    return r;
}

void part_reader_free(struct part_reader *r)
{
    if (!r)
        return;
    tool_parser_free(r->tools);
    buf_free(&r->held);
    free(r);
}

void part_reader_think(struct part_reader *r, const struct thinking *thinking)
{
    r->tags = thinking->tags;
    if (r->tags)
        r->at = thinking->begun ? THOUGHT_WITHIN : THOUGHT_MAY_COME;
}

/* ---- thoughts */

static void read_answer(struct part_reader *r, const char *text, size_t len, bool end,
                        struct tool_output *out)
{
    if (r->tools)
        tool_parser_feed(r->tools, text, len, end, out);
    else
        tool_output_add(out, TOOL_TEXT, -1, text, len);
}

static void drop_held(struct part_reader *r)
{
    buf_clear(&r->held);
    r->n_tag = 0;
}

/* The answer begins with what is held. */
static void show_held(struct part_reader *r, struct tool_output *out)
{
    read_answer(r, r->held.data, r->held.len, false, out);
    drop_held(r);
    r->at = THOUGHT_OVER;
}

/* What is held is part of the thought, but for blanks that it begins with. */
static void think_held(struct part_reader *r, struct tool_output *out)
{
    if (r->held.len == 0)
        return;
    size_t from = r->shown ? 0 : r->held.len - r->n_tag;
    r->shown |= r->held.len > from;
    tool_output_add(out, TOOL_THOUGHT, -1, r->held.data + from, r->held.len - from);
    drop_held(r);
}

/* Holds c, too: the tag is complete with it (1) or not yet (0). -1: it goes on with neither the tag
 * nor blanks before it. */
static int hold(struct part_reader *r, const char *tag, char c)
{
    if (c == tag[r->n_tag])
        r->n_tag++;
    else if (r->n_tag > 0 || !is_blank(c))
        return -1;
    buf_add(&r->held, &c, 1);
    return tag[r->n_tag] == '\0';
}

/* Takes a byte; false: it and what is held are the answer's. */
static bool think(struct part_reader *r, char c, struct tool_output *out)
{
    bool may_come = r->at == THOUGHT_MAY_COME;
    if (r->at == THOUGHT_BEHIND)
        return is_blank(c);
    int tag = hold(r, may_come ? r->tags->open : r->tags->close, c);
    if (tag > 0) {
        drop_held(r);
        r->at = may_come ? THOUGHT_WITHIN : THOUGHT_BEHIND;
    } else if (tag < 0 && !may_come) {
        think_held(r, out);
        if (hold(r, r->tags->close, c) < 0) {
            tool_output_add(out, TOOL_THOUGHT, -1, &c, 1);
            r->shown = true;
        }
    }
    return tag >= 0 || !may_come;
}

void part_reader_feed(struct part_reader *r, const char *text, size_t len, bool end,
                      struct tool_output *out)
{
    size_t i = 0;
    r->n_tokens += !end;
    r->n_bytes += len;
    if (r->at == THOUGHT_WITHIN)
        r->n_thought = r->n_tokens;
    while (i < len && r->at != THOUGHT_OVER) {
        bool within = r->at != THOUGHT_MAY_COME;
        if (think(r, text[i], out)) {
            if (within && r->tools)
                tool_parser_pass(r->tools, text[i]);
            i++;
        } else {
            show_held(r, out);
        }
        if (r->at == THOUGHT_WITHIN)
            r->n_thought = r->n_tokens;
    }
    if (end && r->at == THOUGHT_WITHIN && r->n_tag > 0)
        think_held(r, out);
    if (end && r->at == THOUGHT_MAY_COME)
        show_held(r, out);
    if (end || r->at == THOUGHT_OVER)
        read_answer(r, text + i, len - i, end, out);
}

/* ---- of a choice */

void choice_begin(const struct choice *c)
{
    enum reasoning_format format = c->answer->call.reasoning_format;
    if (format == REASONING_AUTO)
        format = c->answer->exchange->server->config->reasoning_format;
    if (c->parts && format != REASONING_NONE)
        part_reader_think(c->parts, &c->req->output.thinking);
}

bool choice_is_text(const struct choice *c)
{
    return !c->parts || (!c->parts->tools && !c->parts->tags);
}

int choice_n_calls(const struct choice *c)
{
    return c->parts && c->parts->tools ? tool_parser_n_calls(c->parts->tools) : 0;
}

int32_t choice_n_thought(const struct choice *c)
{
    return c->parts ? c->parts->n_thought : 0;
}

const struct tool_output *choice_read(const struct choice *c, const char *text, size_t len,
                                      bool end)
{
    struct tool_output *found = &c->answer->found;
    tool_output_clear(found);
    part_reader_feed(c->parts, text, len, end, found);
    return found;
}

const struct tool_output *choice_read_whole(const struct choice *c)
{
    const struct request_output *o = &c->req->output;
    struct tool_output *found = &c->answer->found;
    struct part_reader *r = c->parts;
    const char *text = o->text.data ? o->text.data : "";
    tool_output_clear(found);
    for (size_t i = 0; i < o->n_tokens; i++)
        part_reader_feed(r, text + r->n_bytes, o->tokens[i].text_len, false, found);
    part_reader_feed(r, text + r->n_bytes, o->text.len - r->n_bytes, true, found);
    return found;
}

/* ---- a list of parts */

static void close_part(const struct choice *c, const struct part_teller *t, bool cut,
                       struct buf *out)
{
    if (c->parts->open == TOOL_END)
        return;
    t->close(c, cut, out);
    c->parts->open = TOOL_END;
}

static void open_part(const struct choice *c, const struct part_teller *t,
                      const struct tool_event *e, const char *name, struct buf *out)
{
    close_part(c, t, false, out);
    c->parts->open = e->kind;
    c->parts->n_parts++;
    t->open(c, e, name, out);
}

void parts_tell(const struct choice *c, const struct part_teller *t, const char *text, size_t len,
                bool end, struct buf *out)
{
    const struct tool_output *found = choice_read(c, text, len, end);
    bool cut = end && c->req->output.finish == FINISH_LENGTH;
    for (int i = 0; i < found->n_events; i++) {
        const struct tool_event *e = &found->events[i];
        const char *bytes = found->bytes.data + e->at;
        bool begins = e->kind == TOOL_BEGIN || e->kind == TOOL_THOUGHT || e->kind == TOOL_TEXT;
        if (e->kind == TOOL_END)
            close_part(c, t, cut && i == found->n_events - 1, out);
        if (begins && (e->kind == TOOL_BEGIN || c->parts->open != e->kind))
            open_part(c, t, e, bytes, out);
        if (e->kind != TOOL_BEGIN && e->kind != TOOL_END)
            t->add(c, bytes, e->len, out);
    }
    if (c->parts->open == TOOL_THOUGHT && c->parts->at != THOUGHT_WITHIN)
        close_part(c, t, false, out);
    if (end)
        close_part(c, t, cut, out);
}

bool parts_tell_whole(const struct choice *c, const struct part_teller *t, struct whole_at *at,
                      struct buf *out)
{
    const struct request_output *o = &c->req->output;
    const struct part_reader *r = c->parts;
    const char *text = o->text.data ? o->text.data : "";
    for (; at->i < o->n_tokens && out->len < PIECE_BYTES; at->i++)
        parts_tell(c, t, text + r->n_bytes, o->tokens[at->i].text_len, false, out);
    if (at->i < o->n_tokens)
        return false;
    parts_tell(c, t, text + r->n_bytes, o->text.len - r->n_bytes, true, out);
    return true;
}
