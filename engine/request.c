#include "specd/request.h"

#include <stdlib.h>
#include <unistd.h>

void request_params_init(struct request_params *p)
{
    *p = (struct request_params){
        .max_tokens = -1,
        .law = {.temperature = 1.0f, .top_p = 1.0f, .repetition = 1.0f},
        .n_logprobs = -1,
        .spec = {.enabled = true,
                 .max = -1,
                 .min = -1,
                 .fixed = -1,
                 .temperature = -1,
                 .top_p = -1,
                 .min_p = -1,
                 .top_k = -1},
    };
}

struct request *request_new(void)
{
    struct request *req = xcalloc(1, sizeof *req);
    atomic_init(&req->refs, 1);
    atomic_init(&req->cancelled, false);
    req->client_fd = -1;
    req->chat.add_generation_prompt = true;
    request_params_init(&req->params);
    pthread_mutex_init(&req->output.lock, NULL);
    return req;
}

void request_ref(struct request *req)
{
    atomic_fetch_add_explicit(&req->refs, 1, memory_order_relaxed);
}

void request_unref(struct request *req)
{
    if (!req || atomic_fetch_sub_explicit(&req->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (req->client_fd >= 0) /* never reached the engine, which would have closed it */
        close(req->client_fd);
    free(req->prompt);
    free(req->prompt_ids);
    free(req->messages);
    free(req->chat_values);
    free(req->chat_text);
    free(req->schema_values);
    free(req->schema_text);
    free(req->params.bias_ids);
    free(req->params.bias);
    free(req->params.allowed_ids);
    free(req->cache_salt);
    free(req->prediction_text);
    buf_free(&req->storage);
    buf_free(&req->output.text);
    free(req->output.tokens);
    free(req->output.logprobs);
    buf_free(&req->output.echo.text);
    free(req->output.echo.tokens);
    free(req->output.echo.logprobs);
    request_unref(req->parent);
    request_unref(req->schema_owner);
    pthread_mutex_destroy(&req->output.lock);
    free(req);
}
