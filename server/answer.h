/*
 * answer.h - the answer to a generating call: from submitting its requests to the last byte.
 *
 * An answer is the work of an exchange. It holds n choices per prompt, each with a request of its
 * own. Until the first token the connection is suspended in the access handler, so that an error
 * is still a plain status; then a streaming answer suspends in the content reader (stream.c), and
 * an answer in one piece stays suspended until every choice is finished.
 *
 * Everything here runs on the HTTP thread, but on_output, which the engine thread calls.
 */
#ifndef SPECD_SERVER_ANSWER_H
#define SPECD_SERVER_ANSWER_H

#include "call.h"
#include "exchange.h"
#include "logprobs.h"
#include "parts.h"
#include "stream.h"

struct answer;

struct choice {
    struct answer *answer;
    struct request *req;
    int index;
    bool shares_prompt; /* its prompt is that of the choice before it */
    bool submitted;
    bool ended;                 /* engine thread: the last report has come */
    int32_t n_sent;             /* token events written */
    int32_t n_prompt, n_cached; /* as soon as they are known */
    bool started, finish_sent;
    size_t n_chars;            /* of text sent */
    uint64_t first_ns;         /* when the first token was written */
    struct part_reader *parts; /* of a chat; else NULL */
};

/* A token as an event shows it. */
struct token_view {
    const struct out_token *token;
    const char *text;                     /* (token->text_len) */
    const struct token_logprob *logprobs; /* (1 + n_logprobs), or NULL */
};

/* How far the writing of a whole answer has come. */
struct whole_at {
    int choice, part;
    size_t i; /* of the part: bytes of a text, tokens of a list */
    struct logprob_at logprobs;
};

/* Appends a part of a choice in a whole answer until out holds PIECE_BYTES or somewhat more; true:
 * to its end. Called again it goes on, where at says. */
typedef bool whole_part(const struct choice *c, struct whole_at *at, struct buf *out);

/* How a route words its answers. What streams append are whole events, any number of them. */
struct api_format {
    enum call_route route;
    const char *id_prefix, *object, *chunk_object;
    bool done; /* a stream ends with [DONE] */
    const char
        *required; /* a field that a body must have to be answered, not to be counted; or NULL */
    /* A stream. Those that may be NULL: start, which comes before a choice's first token, when the
     * counts of its prompt are known; echo, the prompt itself, where the route has such a field;
     * stop, behind all choices; ping, of a comment else. */
    void (*start)(const struct choice *c, struct buf *out);
    void (*echo)(const struct choice *c, struct buf *out);
    void (*token)(const struct choice *c, const struct token_view *t, struct buf *out);
    /* text: what was held back until the end, usually nothing */
    void (*finish)(const struct choice *c, const char *text, size_t len, struct buf *out);
    void (*stop)(const struct answer *a, struct buf *out);
    void (*error)(const struct answer *a, const struct api_error *e, struct buf *out); /* ends it */
    void (*ping)(const struct answer *a, struct buf *out);
    void (*free_dialect)(void *dialect); /* or NULL */
    /* A whole answer: its beginning, or NULL, each choice's parts (behind the last NULL), its end,
     * or NULL. */
    void (*begin)(const struct answer *a, struct buf *out);
    whole_part *const *parts;
    void (*end)(const struct answer *a, struct buf *out);
    /* OpenAI's routes: the member that carries text, in a chunk and in a whole answer. The text of
     * a last chunk is NULL when it has none. */
    void (*delta)(const struct choice *c, const char *text, size_t len, bool first,
                  struct buf *out);
    whole_part *message;
    bool (*logprobs)(const struct engine *e, const struct logprob_part *parts, int n_parts,
                     struct logprob_at *at, struct buf *out);
};

struct answer {
    struct exchange *exchange;
    const struct api_format *format;
    struct call call;
    struct choice *choices;
    int n_choices;
    char id[40];
    int64_t created; /* seconds since 1970 */
    uint64_t submitted_ns;
    size_t charged;  /* bytes that count for the client: see clients.h */
    struct buf head; /* what every JSON object of the answer begins with */

    void *dialect;            /* what the format keeps through a stream, its own; NULL at first */
    struct tool_output found; /* scratch */
    struct buf text;          /* scratch */

    struct pieces
        pieces; /* bytes not yet taken by libmicrohttpd: of events, or of a whole answer */
    struct whole_at whole;
    uint64_t last_write_ns; /* stream.c */
};

/* Parses the exchange's body, submits, and answers now or later. */
enum MHD_Result answer_start(struct exchange *ex, const struct api_format *format);
/* Stops what still runs: nobody will read it. */
void answer_cancel(struct answer *a);
/* Has it anything that a stream has not sent? */
bool choice_has_output(const struct choice *c);
struct engine *answer_engine(const struct answer *a);
/* The first choice that failed, as an error for the client; false when none has. */
bool answer_error(struct answer *a, struct api_error *e);

/* ---- stream.c */
enum MHD_Result stream_start(struct answer *a);

#endif
