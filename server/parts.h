/*
 * parts.h - an answer taken apart: what the model thinks, what it says, the tools that it calls.
 *
 * A thought stands between tags (struct think_tags) at the very beginning of an answer, or goes on
 * where the prompt ended within one. Tags are looked for a byte at a time, so what comes out
 * depends on the text alone, not on how it is cut; only what may be a tag, and blanks, are held
 * back. Blanks around a thought and behind its end are nobody's. It is not searched for calls; what
 * follows it is (tool_calls.h), from its own beginning. An answer that ends within a thought is
 * nothing else.
 *
 * A reader belongs to one choice of an answer. HTTP thread.
 */
#ifndef SPECD_SERVER_PARTS_H
#define SPECD_SERVER_PARTS_H

#include "tool_calls.h"

#include "specd/request.h"

struct choice;
struct whole_at;

struct part_reader {
    const struct think_tags *tags;
    enum { THOUGHT_MAY_COME, THOUGHT_WITHIN, THOUGHT_BEHIND, THOUGHT_OVER } at;
    struct buf held; /* blanks, and behind them the first n_tag bytes of a tag */
    size_t n_tag;
    bool shown;                  /* something of the thought was */
    struct tool_parser *tools;   /* NULL: the text is not searched for calls */
    int32_t n_tokens, n_thought; /* read; of these, up to the end of the thought */
    size_t n_bytes;              /* read */
    /* Of a list of parts (parts_tell): */
    int n_parts;               /* begun */
    enum tool_event_kind open; /* what the last one began with; TOOL_END: it is over */
};

/* offer: borrowed; NULL: no tools. one: only the first call counts. */
struct part_reader *part_reader_new(const struct tool_offer *offer, bool one);
void part_reader_free(struct part_reader *r);
/* Before anything is read. */
void part_reader_think(struct part_reader *r, const struct thinking *thinking);
/* Was what was read last a thought's, or its end? */
static inline bool part_reader_thinks(const struct part_reader *r)
{
    return r->at == THOUGHT_WITHIN || r->at == THOUGHT_BEHIND;
}
/* Appends to out what is decided once a token has shown text; end: what is left, behind the last
 * token. */
void part_reader_feed(struct part_reader *r, const char *text, size_t len, bool end,
                      struct tool_output *out);

/* ---- of a choice */

/* Its prompt is complete, and with it what that says of thoughts: before anything is read. */
void choice_begin(const struct choice *c);
/* Is its text one part, whatever it is? */
bool choice_is_text(const struct choice *c);
int choice_n_calls(const struct choice *c);
int32_t choice_n_thought(const struct choice *c); /* tokens */
/* What its text, of which this is the next, is found to be: the answer's scratch. */
const struct tool_output *choice_read(const struct choice *c, const char *text, size_t len,
                                      bool end);
const struct tool_output *choice_read_whole(const struct choice *c); /* a finished one, at once */

/* How a dialect tells an answer as a list of parts: thoughts, texts and calls, as they come, one
 * open at a time. c->parts knows which, and its number. */
struct part_teller {
    /* e: what it begins with, THOUGHT, TEXT or BEGIN; name: of a call, e->len bytes */
    void (*open)(const struct choice *c, const struct tool_event *e, const char *name,
                 struct buf *out);
    void (*add)(const struct choice *c, const char *bytes, size_t len, struct buf *out);
    void (*close)(const struct choice *c, bool cut, struct buf *out);
};
void parts_tell(const struct choice *c, const struct part_teller *t, const char *text, size_t len,
                bool end, struct buf *out);
/* A finished answer, likewise: as a whole_part (answer.h). */
bool parts_tell_whole(const struct choice *c, const struct part_teller *t, struct whole_at *at,
                      struct buf *out);

#endif
