#include "prepare.h"

#include "specd/json.h"

#include <stdlib.h>
#include <string.h>

static int copy_ids(const struct tokenizer *t, const struct request *req, struct prepared *out,
                    char *err, size_t errlen)
{
    uint32_t n_vocab = tokenizer_n_vocab(t);
    for (size_t i = 0; i < req->n_prompt_ids; i++) {
        int32_t id = req->prompt_ids[i];
        if (id < 0 || (uint32_t)id >= n_vocab)
            return fail(SPECD_EINVAL, err, errlen, "%s: token id %d at index %zu is not in 0..%u",
                        req->field, id, i, n_vocab - 1);
    }
    out->ids = xmalloc(req->n_prompt_ids * sizeof *out->ids);
    memcpy(out->ids, req->prompt_ids, req->n_prompt_ids * sizeof *out->ids);
    out->n_ids = req->n_prompt_ids;
    return 0;
}

/* A special token's text as templates print it: its raw text, not its decoded bytes. */
static const char *token_text(const struct vocab *v, int32_t id)
{
    return id >= 0 && (uint32_t)id < v->n_tokens ? v->tokens[id].text : "";
}

static const struct chat_template *template_of(const struct prepare_tables *t,
                                               const struct request *req)
{
    return json_first(req->chat.tools) && t->chat_tools ? t->chat_tools : t->chat;
}

int prepare_chat(const struct prepare_tables *t, const struct request *req, struct buf *out,
                 struct text_spans *client, char *err, size_t errlen)
{
    if (!t->chat)
        return fail(SPECD_EINVAL, err, errlen,
                    "%s: the model has no chat template; give one with --chat-template",
                    req->field);
    const struct vocab *v = tokenizer_vocab(t->tokenizer);
    struct chat_vars vars = {
        .options = req->chat,
        .bos_token = token_text(v, v->bos),
        .eos_token = token_text(v, v->eos),
        .field = req->field,
    };
    return chat_render(template_of(t, req), &vars, out, client, err, errlen);
}

/* The template has printed its own BOS in most families: no second one then. What a message spells
 * is none. */
static unsigned chat_flags(const struct vocab *v, const struct buf *text,
                           const struct text_spans *client)
{
    const char *bos = token_text(v, v->bos);
    size_t n = strlen(bos), own = client->n > 0 ? client->items[0].begin : text->len;
    bool printed = n > 0 && own >= n && memcmp(text->data, bos, n) == 0;
    return ENCODE_SPECIAL | (printed ? 0 : ENCODE_BOS);
}

static int encode(const struct prepare_tables *t, const struct request *req, const char *text,
                  size_t len, const struct text_spans *client, unsigned flags, struct prepared *out,
                  char *err, size_t errlen)
{
    const struct vocab *v = tokenizer_vocab(t->tokenizer);
    struct encode_options options = {&req->cancelled, t->max_ids, client};
    int rc = tokenizer_encode(t->tokenizer, text, len, flags, &options, &out->ids, &out->n_ids);
    if (rc == SPECD_ECONTEXT)
        fail(rc, err, errlen,
             "%s: prompt is too long: %zu tokens > %zu maximum, counted no further: this model's "
             "maximum context length is %zu tokens, and an answer takes one at least",
             req->field, t->max_ids + 1, t->max_ids - 1, t->max_ids);
    out->bos_added = rc == 0 && flags & ENCODE_BOS && v->add_bos && v->bos >= 0;
    return rc;
}

bool request_is_free(const struct request *req)
{
    return !req->format.json || grammar_is_of_free_text(req->format.schema);
}

static int prepare_ids(const struct prepare_tables *t, const struct request *req,
                       struct prepared *out, char *err, size_t errlen)
{
    if (req->kind == PROMPT_TOKENS)
        return copy_ids(t->tokenizer, req, out, err, errlen);
    if (req->kind == PROMPT_TEXT)
        return encode(t, req, req->prompt, req->prompt_len, NULL, ENCODE_BOS | ENCODE_SPECIAL, out,
                      err, errlen);
    struct buf text = {0};
    struct text_spans client = {0};
    int rc = prepare_chat(t, req, &text, &client, err, errlen);
    if (rc == 0)
        rc = encode(t, req, text.data ? text.data : "", text.len, &client,
                    chat_flags(tokenizer_vocab(t->tokenizer), &text, &client), out, err, errlen);
    if (rc == 0 && request_is_free(req))
        out->thinking = chat_thinking(template_of(t, req), &req->chat, &text, &client);
    text_spans_free(&client);
    buf_free(&text);
    return rc;
}

static int prepare_grammar(const struct prepare_tables *t, const struct request *req,
                           struct prepared *out, char *err, size_t errlen)
{
    char why[224];
    int rc = grammar_cache_get(t->grammars, &out->grammar, req->format.schema, why, sizeof why);
    return rc == 0 ? 0 : fail(rc, err, errlen, "%s: %s", req->format.field, why);
}

/* Control tokens count as such: a call's may stand in it. An answer is no longer than the context,
 * and what is beyond can't be drafted. */
static int prepare_prediction(const struct prepare_tables *t, const struct request *req,
                              struct prepared *out)
{
    struct encode_options options = {.cancel = &req->cancelled};
    int32_t *ids = NULL;
    size_t n = 0;
    int rc = tokenizer_encode(t->tokenizer, req->prediction, req->prediction_len, ENCODE_SPECIAL,
                              &options, &ids, &n);
    if (rc == 0)
        out->prediction = prediction_create(ids, (int32_t)MIN(n, (size_t)t->n_prediction));
    free(ids);
    return rc;
}

int prepare_prompt(const struct prepare_tables *t, const struct request *req, struct prepared *out,
                   char *err, size_t errlen)
{
    *out = (struct prepared){0};
    int rc = req->format.json ? prepare_grammar(t, req, out, err, errlen) : 0;
    if (rc == 0)
        rc = prepare_ids(t, req, out, err, errlen);
    if (rc == 0 && req->prediction && req->params.spec.enabled && t->n_prediction > 0)
        rc = prepare_prediction(t, req, out);
    return rc;
}

void prepared_free(struct prepared *p)
{
    free(p->ids);
    grammar_unref(p->grammar);
    prediction_unref(p->prediction);
}
