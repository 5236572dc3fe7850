/*
 * tool_calls.h - finds calls of tools in what a model writes, as it writes it.
 *
 * These spellings are known, which between them most models that were trained on tools write:
 *   <tool_call>{"name": ..., "arguments": {...}}</tool_call>     Hermes, Qwen
 *   {"name": ..., "parameters": {...}}                           Llama 3, alone or after
 *                                                                <|python_tag|>, several with ;
 *   [TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]         Mistral
 *   [TOOL_CALLS]name{...}, name[ARGS]{...}, name[CALL_ID]id[ARGS]{...}   Mistral, later
 *   ```json, ```xml, <tools>, <function_call> around the objects of Hermes   Qwen2.5-Coder
 *   <function=name><parameter=key>value</parameter>...</function>    Qwen3-Coder, Qwen3.5
 *   <function=name>{...}</function>                              Functionary 3.1
 * The last two with <tool_call> around them or without. Objects may have their members in any
 * order, others beside them, or all within "function"; arguments may be the text of an object. Tags
 * that are control tokens do not appear in text, so an object or a list at the very beginning is
 * looked at, too. Only <tool_call>, <|python_tag|> and [TOOL_CALLS] mean a call whatever it names;
 * elsewhere the name must be one that the request offered, and arguments must be there.
 *
 * Text that may become a call is held back until that is decided, and comes out unchanged if it is
 * none. It is decided when the name and the beginning of an object of arguments are there: from
 * then on arguments come byte for byte as the model writes them. Where they stop being JSON the
 * call ends with them as they are, and what follows is text; so it does where the answer ends.
 * Arguments that come before their name, or as a text, are held until they are complete. Of
 * <parameter=...> the object is made here: a value is a string where the tool's parameters (struct
 * tool_offer) let it be one and no other type fits, which is passed on as it comes; others when
 * they are complete. Blanks around calls are dropped.
 *
 * Arguments of a strict tool follow its schema, as the engine's grammar sees to, which has watched
 * the text for where they begin (tool_watch.h). A call of one in a spelling that is not watched is
 * text.
 *
 * What comes out depends on the text alone, not on how it is cut into pieces. Work is linear in it.
 * A parser belongs to one answer and one thread.
 */
#ifndef SPECD_SERVER_TOOL_CALLS_H
#define SPECD_SERVER_TOOL_CALLS_H

#include "specd/util.h"

#define TOOL_CALL_ID_SIZE 10 /* 9 letters and digits: Mistral's templates take no other */
#define TOOL_CALLS_MAX 128   /* of an answer; further ones are dropped */

enum tool_event_kind {
    TOOL_THOUGHT, /* what parts.h finds ahead of all others */
    TOOL_TEXT,
    TOOL_BEGIN,     /* of a call: its name */
    TOOL_ARGUMENTS, /* a piece of the text of a JSON object */
    TOOL_END,       /* its arguments are complete, or broken off */
};

struct tool_event {
    enum tool_event_kind kind;
    int call;                   /* its number in the answer, from 0; -1: of none */
    size_t at, len;             /* in tool_output.bytes: text, name, or piece */
    char id[TOOL_CALL_ID_SIZE]; /* of BEGIN */
};

/* What a piece of text was found to be, in its order: each call's BEGIN, ARGUMENTS, of which there
 * may be several or, in this piece, none, and END; no event of another call or TEXT between them.
 * Adjacent TEXT and ARGUMENTS are one event. Zero-initialise; tool_output_clear between feeds. */
struct tool_output {
    struct buf bytes;
    struct tool_event *events;
    int n_events, cap_events;
};
void tool_output_clear(struct tool_output *out); /* keeps the memory */
void tool_output_free(struct tool_output *out);
/* Bytes of an event, or more of the last one. */
void tool_output_add(struct tool_output *out, enum tool_event_kind kind, int call,
                     const char *bytes, size_t len);

/* Does the answer's grammar hold the arguments of a tool's calls to its schema? */
enum tool_strictness {
    TOOL_FREE,    /* no */
    TOOL_WATCHED, /* where they begin as tool_watch.h says, and the schema is one to follow */
    TOOL_STRICT,  /* likewise, and it is one: what begins otherwise is text */
};

/* The tools that may be called. Of each one after another: a byte, its enum tool_strictness; its
 * name with the NUL, for each parameter that is declared a byte of TOOL_TYPE bits and its name with
 * the NUL, and a NUL. */
struct tool_offer {
    struct buf bytes;
    bool closed; /* no other name means a call, in whatever spelling */
    bool strict; /* there is a tool of TOOL_STRICT */
};
enum {
    TOOL_TYPE_NULL = 1,
    TOOL_TYPE_BOOL = 2,
    TOOL_TYPE_NUMBER = 4,
    TOOL_TYPE_STRING = 8,
    TOOL_TYPE_ARRAY = 16,
    TOOL_TYPE_OBJECT = 32,
    TOOL_TYPE_ANY = 63
};
struct offered_tool {
    int number; /* from 1; 0: it is not there, and the rest is 0 */
    enum tool_strictness strictness;
    const char *parameters;
};
struct offered_tool offer_find(const struct tool_offer *offer, const char *name, size_t len);
/* Types that a parameter may have. */
int offer_types(const struct offered_tool *tool, const char *name, size_t len);

struct tool_parser;

/* offer is borrowed. one: only the first call counts. */
struct tool_parser *tool_parser_new(const struct tool_offer *offer, bool one);
void tool_parser_free(struct tool_parser *p);
/* Appends to out what is decided. end: no text comes after this, so that all is. */
void tool_parser_feed(struct tool_parser *p, const char *text, size_t len, bool end,
                      struct tool_output *out);
/* A byte before what is fed that is no part of it, but which the grammar has watched: a thought's.
 */
void tool_parser_pass(struct tool_parser *p, char c);
int tool_parser_n_calls(const struct tool_parser *p); /* begun so far */

#endif
