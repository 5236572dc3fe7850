/*
 * chat_turns.h - a conversation in the form that its chat template takes.
 *
 * The messages of a request become turns: roles that the template lacks become others, messages are
 * joined or split, calls and results that it has no place for are told in words:
 *   <tool_call>{"name": ..., "arguments": {...}}</tool_call>   in the assistant's text
 *   <tool_response>...</tool_response>                         in the user's
 * and so are tools, in the system text. docs/api.md says what becomes of what.
 *
 * Turns borrow the request's JSON. One thread.
 */
#ifndef SPECD_CHAT_TURNS_H
#define SPECD_CHAT_TURNS_H

#include "jinja/chat_forms.h"

struct chat_call {
    const struct json *source; /* {"id", "type", "function": {"name", "arguments"}} */
    const char *id;            /* NULL: as in source; likewise: */
    const char *name;
    const char *text;          /* of the arguments: given as such where object is NULL */
    const struct json *object; /* the arguments */
};

struct chat_turn {
    const struct json *message; /* whose other members the template gets; or NULL */
    size_t at; /* index of the message in the request, or of the first of several */
    enum chat_role role;
    const char *text;         /* of the content; NULL: there is none */
    const struct json *parts; /* given instead of text; or NULL */
    struct chat_call *calls;
    size_t n_calls;
    const char *call_id, *name; /* of a result; NULL: as in message */
    const char *reasoning;      /* or NULL */
};

struct chat_turns {
    struct chat_turn *items;
    size_t n, cap;
    bool tools_told; /* the template gets no tools */
    /* what of the turns is not the request's */
    void **owned;
    size_t n_owned, cap_owned;
    struct json **docs;
    size_t n_docs, cap_docs;
};

/* SPECD_ENOMEM. out is to be freed in any case. */
int chat_turns_make(struct chat_turns *out, const struct chat_forms *f,
                    const struct chat_options *o);
void chat_turns_free(struct chat_turns *t);

/* chat_told.c: in words, as the Hermes family and those after it learnt them, and as
 * server/tool_calls.h reads them. Each appends to out, on lines of its own. */
void tell_tools(const struct json *tools, struct buf *out);
void tell_calls(const struct chat_call *calls, size_t n, struct buf *out);
void tell_result(const char *text, struct buf *out);

#endif
