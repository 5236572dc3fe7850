/*
 * request.h - one completion: what the server asks for, and the output on its way back.
 *
 * Words used everywhere: a *request* is one prompt and one completion; it holds a *slot* while it
 * is on the device; a *round* is one draft, verify and commit of all slots; K is the number of
 * drafted tokens of a slot in a round.
 *
 * Ownership. A request has two owners, the HTTP side and the engine, each holding one reference.
 * Fields above `output` are written before engine_submit and read-only afterwards, but for
 * client_fd, which the engine takes. `output` is shared under its mutex.
 */
#ifndef SPECD_REQUEST_H
#define SPECD_REQUEST_H

#include "specd/device.h"
#include "specd/util.h"

#include <pthread.h>
#include <stdatomic.h>

struct json;

enum prompt_kind { PROMPT_TEXT, PROMPT_TOKENS, PROMPT_CHAT };

/* A value of a schema: JSON's kinds. The children of a list or dict follow it, each with its own
 * behind it. */
enum chat_kind { CHAT_NULL, CHAT_BOOL, CHAT_INT, CHAT_FLOAT, CHAT_STRING, CHAT_LIST, CHAT_DICT };
struct chat_value {
    enum chat_kind kind;
    uint32_t n;       /* LIST, DICT: children */
    const char *key;  /* as a member of a DICT; else NULL */
    const char *text; /* INT, FLOAT: as it was written, a number of JSON */
    union {
        bool b;
        int64_t i;
        double d;
        const char *s; /* NUL-terminated UTF-8, no NUL inside */
    };
};

/* What a chat template gets: values of a body (specd/json.h). */
struct chat_options {
    const struct json *messages; /* a list of objects, in OpenAI's shape (server/messages.h) */
    const struct json *tools;    /* a list, or NULL */
    const struct json *kwargs;   /* an object of more variables, or NULL */
    bool add_generation_prompt;
    bool continue_final; /* the prompt ends within the last message */
};

/* What the text of the answer must be: under a grammar no other can be drawn. */
struct request_format {
    bool json;
    const struct chat_value *schema; /* that it follows; a list of texts, one of which it is; or a
                                      * list of what is watched for in a text that is free
                                      * (engine/grammar/grammar.h); NULL: any object */
    const char *field;               /* that said so, for messages: static string */
};

/* Before it answers a chat a model may think: between two tags, at the very beginning. */
struct think_tags {
    const char *open, *close; /* the first byte of close is in it once */
};
struct thinking {
    const struct think_tags *tags; /* static; NULL: the answer does not begin with a thought */
    bool begun;                    /* the prompt ends behind the first tag */
};

/* What the requests of one body read of it until their prompts are prepared. */
struct request_source {
    atomic_int refs;
    struct json *body;         /* or NULL */
    struct json *made;         /* a schema that was made of it, or NULL */
    struct chat_value *schema; /* what format.schema points to; its strings are body's or made's */
    char *prediction;          /* or NULL */
};
void request_source_unref(struct request_source *s); /* NULL is fine */

enum mode_choice { MODE_AUTO, MODE_RATIO, MODE_BLOCK, MODE_COUPLED };

/* Every drafter: X(ID, name) for DRAFT_ID and, in the engine, name_drafter (engine/drafters). Users
 * name those of the first two lists in --model-draft, where those of the device take an argument,
 * and those of the first three in speculative.drafter. The others stand in no configuration: a
 * request's own prediction is drafted, and under a schema what must follow. */
#define SPECD_DRAFTERS_DEVICE(X) X(MODEL, model) X(SELF, self)
#define SPECD_DRAFTERS_HOST(X) X(LOOKUP, lookup)
#define SPECD_DRAFTERS_REQUEST(X) X(PREDICTION, prediction)
#define SPECD_DRAFTERS(X)     \
    SPECD_DRAFTERS_DEVICE(X)  \
    SPECD_DRAFTERS_HOST(X)    \
    SPECD_DRAFTERS_REQUEST(X) \
    X(GRAMMAR, grammar)

#define DRAFTER_TYPE(id, name) DRAFT_##id,
enum drafter_type { DRAFT_NONE, SPECD_DRAFTERS(DRAFTER_TYPE) DRAFT_TYPES };
#undef DRAFTER_TYPE

static inline const char *drafter_name(enum drafter_type type)
{
#define DRAFTER_NAME(id, name) #name,
    static const char *const names[] = {"none", SPECD_DRAFTERS(DRAFTER_NAME)};
#undef DRAFTER_NAME
    return names[type];
}

#define REQUEST_STOPS_MAX 64
#define REQUEST_STOP_IDS_MAX 64

struct speculative_params {
    bool enabled;
    enum mode_choice mode;
    int32_t max, min, fixed;   /* -1: the server's */
    enum drafter_type drafter; /* DRAFT_NONE: the server's list */
    bool trace;
    /* The law that drafts are drawn from follows the request's, but for what is set here; -1: not
     * set. */
    float temperature, top_p, min_p;
    int32_t top_k;
};

struct request_params {
    int32_t max_tokens; /* -1: the room left in the context; 0: only with echo */
    int32_t min_tokens;
    struct law_params law;
    bool has_seed;
    uint64_t seed; /* < 2^53 */
    bool ignore_eos;
    int32_t n_logprobs; /* -1: none */
    bool echo;          /* with n_logprobs >= 0 the prompt is scored, too */
    const char *stops[REQUEST_STOPS_MAX];
    size_t stop_lens[REQUEST_STOPS_MAX];
    int32_t n_stops;
    bool include_stop; /* the stop string that ends an answer is part of it */
    int32_t stop_ids[REQUEST_STOP_IDS_MAX];
    int32_t n_stop_ids;
    int32_t n_bias;
    int32_t *bias_ids; /* owned by the request */
    float *bias;
    int32_t n_allowed;    /* 0: every token may be drawn */
    int32_t *allowed_ids; /* owned by the request */
    struct speculative_params spec;
};
/* Sets every default of the API (temperature 1, top_p 1, ...). */
void request_params_init(struct request_params *p);

/* One committed token as the client sees it. Text is released in whole characters, and never the
 * first letters of a possible stop string, so `text_len` may be 0 here and larger later. */
struct out_token {
    int32_t id;
    uint32_t text_len; /* bytes of output.text that become visible with this token */
    uint8_t drafted;   /* 1: an accepted draft token; 0: the target's own draw */
    uint8_t k;         /* K of the round it came from */
};

enum finish_reason { FINISH_NONE, FINISH_STOP, FINISH_LENGTH, FINISH_ERROR };

/* Numbers of a finished request: usage, timings and speculative of the answer. */
struct request_stats {
    int32_t n_prompt, n_cached, n_generated;
    int32_t waited_rounds; /* for a slot, ready to run; again after a preemption */
    int32_t rounds, n_drafted, n_accepted;
    int32_t prediction_drafted, prediction_accepted; /* of these, the prediction's */
    int32_t verified_by_pos[SPECD_K_MAX],
        accepted_by_pos[SPECD_K_MAX]; /* drafted there; accepted */
    uint64_t queued_ns, prompt_ns,
        predicted_ns; /* admission wait; admission to first token; rest */
    uint64_t seed;
    enum verify_mode mode;
    const char *drafter;          /* static string: a drafter_name(), or "mixed" */
    const char *disabled_because; /* static string or NULL: why K was 0 throughout */
};

/* The prompt as the model read it. */
struct request_echo {
    struct buf text;
    struct out_token *tokens;       /* (n_tokens) */
    struct token_logprob *logprobs; /* as request_output.logprobs; the first token has none */
    int32_t n_tokens, n_scored; /* n_scored: tokens whose logprobs are there, the first included */
};

struct request_output {
    pthread_mutex_t lock;
    struct buf text;          /* all text released so far */
    struct out_token *tokens; /* all tokens committed so far */
    size_t n_tokens, cap_tokens;
    /* (n_tokens, 1 + n_logprobs): each token's own, then the best, ids -1 behind the last. NULL
     * without params.n_logprobs. */
    struct token_logprob *logprobs;
    struct request_echo echo;      /* params.echo: complete before the first token, or the end */
    struct thinking thinking;      /* likewise */
    size_t read_tokens, read_text; /* consumed by a streaming reader */
    enum finish_reason finish;     /* FINISH_NONE while running; last field to be set */
    int error;                     /* FINISH_ERROR: a SPECD_E* */
    char message[256];             /* FINISH_ERROR: for the client */
    const char *stop_text;         /* the stop string that ended it, or NULL; points into params */
    struct request_stats stats;    /* valid once finish is set; n_prompt as soon as it is known, and
                                    * n_cached with the first token */
};

struct request {
    atomic_int refs;
    char id[40]; /* "cmpl-..." */
    enum prompt_kind kind;
    const char *field; /* that the prompt came in, for messages: static string; "prompt" at first */
    char *prompt;      /* PROMPT_TEXT; prompt_len bytes */
    size_t prompt_len;
    int32_t *prompt_ids; /* PROMPT_TOKENS */
    size_t n_prompt_ids;
    struct chat_options chat; /* PROMPT_CHAT */
    struct request_format format;
    /* A reference, given up when the prompt is prepared, or NULL: chat, format.schema and
     * prediction point into it. */
    struct request_source *source;
    bool stream;
    struct request_params params;
    struct buf storage;     /* owned bytes that stops point into */
    char *cache_salt;       /* or NULL */
    const char *prediction; /* what the client expects the answer to be, or NULL */
    size_t prediction_len;
    /* The first of several requests for one prompt (n > 1), submitted before this one, or NULL: the
     * prompt is then prepared and computed once. A reference of its own. */
    struct request *parent;
    uint64_t client;  /* tells clients apart: they take turns, */
    uint64_t work;    /* by this estimate of what preparing it takes, bytes of prompt */
    int32_t priority; /* -10..10, as engine/share.h says */
    int client_fd;    /* a dup of the socket that the engine polls for hang-up and closes; -1 */

    /* Called on the engine thread after output changed (streaming: at each round; else when it is
     * finished), without the lock held. Must not block. The first call with finish set is the last:
     * what on_output_arg points to may be gone when it returns. */
    void (*on_output)(struct request *req, void *arg);
    void *on_output_arg;

    struct request_output output;
    atomic_bool cancelled;
    struct request *next; /* mailbox and queue link */
};

/* One reference, output empty, params initialised, client_fd -1. */
struct request *request_new(void);
void request_ref(struct request *req);
void request_unref(struct request *req); /* frees everything with the last reference */

#endif
