/*
 * tool_calls.h - finds calls of tools in what a model writes, as it writes it.
 *
 * Four shapes are known, which between them most models that were trained on tools print:
 *   <tool_call>{"name": ..., "arguments": {...}}</tool_call>     Hermes, Qwen
 *   {"name": ..., "parameters": {...}}                           Llama 3, alone or after
 *                                                                <|python_tag|>, several with ;
 *   [TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]         Mistral
 *   [TOOL_CALLS]name{...} and [TOOL_CALLS]name[ARGS]{...}        Mistral, later
 * Tags that are control tokens do not appear in text, so an object or a list at the very beginning
 * is looked at, too; there the names must be ones that the request offered. Text that may become a
 * call is held back until that is decided; what turns out to be none comes out unchanged. A call is
 * given out when it is complete, its arguments letter by letter as the model wrote them. Blanks
 * around calls are dropped.
 *
 * A parser belongs to one answer and one thread. Work is linear in the text.
 */
#ifndef SPECD_SERVER_TOOL_CALLS_H
#define SPECD_SERVER_TOOL_CALLS_H

#include "specd/util.h"

#define TOOL_CALL_ID_SIZE 10 /* 9 letters and digits: Mistral's templates take no other */
#define TOOL_CALLS_MAX 128   /* of an answer; further ones are dropped */

struct tool_call {
    char id[TOOL_CALL_ID_SIZE];
    char *name, *arguments; /* arguments: the text of a JSON object */
};

/* What a piece of text was found to be. Zero-initialise; tool_output_clear between feeds. */
struct tool_output {
    struct buf content;
    struct tool_call *calls;
    int n_calls, cap_calls;
};
void tool_output_clear(struct tool_output *out); /* frees the calls, keeps the memory */
void tool_output_free(struct tool_output *out);

struct tool_parser;

/* names: the tools on offer, each with its NUL. Copied. one: only the first call counts. */
struct tool_parser *tool_parser_new(const struct buf *names, bool one);
void tool_parser_free(struct tool_parser *p);
/* Appends to out what is decided. end: no text comes after this, so that all is. */
void tool_parser_feed(struct tool_parser *p, const char *text, size_t len, bool end,
                      struct tool_output *out);
int tool_parser_n_calls(const struct tool_parser *p); /* given out so far */

#endif
