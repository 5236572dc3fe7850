/*
 * text_calls.c - what the server may ask of tokenizer and template without a request.
 *
 * Pure functions of tables that are immutable once the engine is READY.
 */
#include "engine_impl.h"

#include <string.h>

int engine_tokenize(const struct engine *e, const char *text, size_t len, bool bos, bool special,
                    int32_t **ids, size_t *n_ids)
{
    unsigned flags = (bos ? ENCODE_BOS : 0u) | (special ? ENCODE_SPECIAL : 0u);
    return tokenizer_encode(e->tokenizer, text, len, flags, NULL, ids, n_ids);
}

size_t engine_detokenize(const struct engine *e, const int32_t *ids, size_t n_ids, size_t at,
                         size_t most, struct buf *out)
{
    struct decoder d = {.started = at > 0};
    size_t end = out->len + most;
    for (; at < n_ids && (out->len < end || d.tail.n_held > 0); at++)
        decoder_feed(&d, e->tokenizer, ids[at], true, out);
    decoder_finish(&d, out);
    return at;
}

int engine_count_prompt(const struct engine *e, const struct request *req, size_t *n, char *err,
                        size_t errlen)
{
    struct prepare_tables tables = e->prepare;
    struct prepared prepared;
    tables.max_ids = SIZE_MAX;
    tables.n_prediction = 0;
    int rc = prepare_prompt(&tables, req, &prepared, err, errlen);
    *n = prepared.n_ids;
    prepared_free(&prepared);
    return rc;
}

int engine_apply_template(const struct engine *e, const struct request *req, struct buf *out,
                          char *err, size_t errlen)
{
    return prepare_chat(&e->prepare, req, out, NULL, err, errlen);
}

const char *engine_chat_template(const struct engine *e)
{
    const char *own = e->target_file->vocab.chat_template;
    if (!e->chat)
        return "";
    return e->config.chat_template ? e->config.chat_template : own;
}
