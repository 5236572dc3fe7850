/*
 * prepare.h - from a request's prompt to token ids: template, then tokenizer; and from its schema
 * to a grammar.
 *
 * A function of tables that any thread may use and of the request's read-only fields: the engine
 * runs it on libuv's thread pool, so that a long prompt stalls neither the loop nor the HTTP
 * thread.
 */
#ifndef SPECD_PREPARE_H
#define SPECD_PREPARE_H

#include "drafters/prediction.h"
#include "grammar/cache.h"
#include "jinja/chat.h"
#include "specd/request.h"
#include "text/tokenizer.h"

struct prepare_tables {
    const struct tokenizer *tokenizer;
    const struct chat_template *chat;       /* NULL: the model has none */
    const struct chat_template *chat_tools; /* for requests with tools; NULL: the same */
    struct grammar_cache *grammars;
    size_t max_ids;       /* a prompt that has more can't be used, and is not prepared to its end */
    int32_t n_prediction; /* tokens of a prediction that are of use; 0: none, as nothing drafts */
};

struct prepared {
    int32_t *ids; /* malloc'd */
    size_t n_ids;
    bool bos_added;                /* the first is a BOS that the text does not spell */
    struct thinking thinking;      /* of a chat */
    struct grammar *grammar;       /* of the answer: a reference, or NULL */
    struct prediction *prediction; /* likewise */
};
void prepared_free(struct prepared *p);

/* No grammar binds the answer's first byte. Until the prompt is prepared. */
bool request_is_free(const struct request *req);

/* EINVAL and ECONTEXT name the field; ECANCELED when req->cancelled became true. */
int prepare_prompt(const struct prepare_tables *t, const struct request *req, struct prepared *out,
                   char *err, size_t errlen);

/* The text of a chat alone, and which parts of it are a client's; client may be NULL. EINVAL as
 * above. */
int prepare_chat(const struct prepare_tables *t, const struct request *req, struct buf *out,
                 struct text_spans *client, char *err, size_t errlen);

#endif
