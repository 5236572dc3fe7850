/*
 * call.h - a parsed body of one of the generating routes, and the requests made from it.
 *
 * A call belongs to the HTTP thread. Its strings point into its JSON document. The requests keep
 * that, or a copy of what they need of it, until their prompts are prepared; the call's switches
 * outlive it.
 */
#ifndef SPECD_SERVER_CALL_H
#define SPECD_SERVER_CALL_H

#include "config.h"
#include "fields.h"
#include "messages.h"
#include "tool_schema.h"

#include "specd/engine.h"

#define CALL_PROMPTS_MAX 64
#define CALL_N_MAX 16
#define CALL_SEED_MASK ((uint64_t)JSON_INTEGER_MAX) /* 2^53 - 1: exact in every JSON reader */
#define CALL_STOP_BYTES_MAX 1024
#define CALL_CHOICES_MAX 1000
#define CALL_BIAS_MAX SPECD_BIAS_MAX
#define CALL_SALT_BYTES_MAX 256

/* Bits: a field may exist on some of them only. Responses and Messages are chats in another
 * dialect: their bodies are rewritten into that of a chat before fields are read. */
enum call_route {
    CALL_COMPLETION = 1,
    CALL_CHAT = 2,
    CALL_NATIVE = 4,
    CALL_RESPONSES = 8,
    CALL_MESSAGES = 16,
    CALL_PLAIN = CALL_COMPLETION | CALL_CHAT | CALL_NATIVE,
    CALL_CHATS = CALL_CHAT | CALL_RESPONSES | CALL_MESSAGES
};

enum tool_choice { TOOLS_AUTO, TOOLS_NONE, TOOLS_REQUIRED, TOOLS_NAMED };

struct prompt {
    enum prompt_kind kind;
    const struct json *source; /* TEXT: a string; CHAT: the array of messages */
    int32_t *ids;              /* TOKENS: owned */
    size_t n_ids;
};

struct call {
    enum call_route route;
    const struct engine_info *info;
    struct json *doc;
    struct request_params params; /* bias and allowed ids owned by the call */
    struct prompt *prompts;
    size_t n_prompts;
    bool many; /* the prompt was an array of prompts, even if of one */
    bool stream, include_usage, continuous_usage;
    bool return_tokens, timings_per_token, logprobs;
    int32_t n, best_of, top_logprobs, n_probs, priority;
    const char *cache_salt;
    const struct json *prediction; /* its content: a string or text parts, or NULL */
    size_t prediction_len;         /* with source */
    struct {
        bool json; /* the answer must be JSON, or one of given texts */
        const struct json
            *schema;       /* that it follows, or a list of texts, or NULL; of the document */
        const char *field; /* static string: who said so */
    } format;
    struct request_source *source; /* from the first request on */
    struct chat_options chat;      /* likewise: of source */
    /* chat: borrowed from the document, NULL when not given */
    const struct json *tools, *kwargs;
    const char *effort; /* of reasoning, for the template; or NULL */
    enum reasoning_format reasoning_format;
    enum tool_choice tool_choice;
    const char *tool_name;            /* TOOLS_NAMED */
    const struct json *allowed_tools; /* that alone may be called; NULL: all */
    struct grammar_tools grammar;     /* forced, or strict; its fields outlive the document */
    size_t tool_at[CALL_TOOLS_MAX];   /* of each of tools, its place in the client's list */
    bool parallel_tools, add_generation, continue_final;
    bool prompt_only; /* Messages: computed, for the cache; what comes behind it is nobody's */
    struct tool_offer offer; /* the tools that may be called */
    struct buf custom_names; /* Responses: those of free text, each with its NUL */
    struct buf repeats;      /* Responses: members of the body that its answer has, too, as JSON.
                              * Messages: the model's name in it */
};

/* The defaults of a route, with nothing read yet. */
void call_init(struct call *c, enum call_route route, const struct engine_info *info);

/* info bounds token ids. 0, or the error that the client gets; call_free in either case. */
int call_parse(struct call *c, enum call_route route, const struct engine_info *info,
               const char *body, size_t len, struct api_error *e);
void call_free(struct call *c);

/* A request for prompt i, complete but for id, parent, client_fd and callback. The seed of its
 * choice-th completion is the call's plus that, so each can be asked for alone. */
struct request *call_request(struct call *c, size_t i, int choice);
static inline bool call_is_chat(const struct call *c)
{
    return (c->route & CALL_CHATS) != 0;
}
/* Do answers have to be searched for calls of tools? */
static inline bool call_wants_tools(const struct call *c)
{
    return c->offer.bytes.len > 0;
}
/* The requests are made: the document is theirs, or freed. */
void call_drop_document(struct call *c);

/* ---- call_fields.c: the table of request fields */
int call_read_fields(struct call *c, struct api_error *e);
const struct field *call_table(size_t *n);

/* ---- call_format.c: what the answer must be */
/* Which tools may be called and which calls tool_choice forces, once all fields are read. */
int call_choose_tools(struct call *c, struct api_error *e);
/* The schema of the answer, if there is one: schema, or what its grammar has to know of tools. */
void call_build_schema(const struct call *c, const struct json *schema, struct request_source *s);

/* ---- other dialects: a reader makes of c->doc the body of a chat, in place, and checks what it
 * rewrites. 0, or the error that names the field as the client wrote it; where memory ran short the
 * tree may be anything. */
int responses_read(struct call *c, struct api_error *e); /* responses_read.c */
int messages_read(struct call *c, struct api_error *e);  /* messages_read.c */

/* ---- prompts.c: prompt and messages */
/* What the client calls them; static. */
const char *call_prompt_field(const struct call *c);
int prompts_read(struct call *c, struct api_error *e);

/* Reads an array of token ids below n_vocab into a malloc'd array. */
int token_ids_read(const char *name, const struct json *list, uint32_t n_vocab, int32_t **ids,
                   size_t *n_ids, struct api_error *e);

#endif
