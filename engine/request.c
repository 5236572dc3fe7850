#include "specd/request.h"

#include "specd/json.h"

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
    req->field = "prompt";
    req->chat.add_generation_prompt = true;
    request_params_init(&req->params);
    pthread_mutex_init(&req->output.lock, NULL);
    return req;
}

void request_source_unref(struct request_source *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) > 1)
        return;
    json_free(s->body);
    json_free(s->made);
    free(s->schema);
    free(s->prediction);
    free(s);
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
    request_source_unref(req->source);
    free(req->params.bias_ids);
    free(req->params.bias);
    free(req->params.allowed_ids);
    free(req->cache_salt);
    buf_free(&req->storage);
    buf_free(&req->output.text);
    free(req->output.tokens);
    free(req->output.logprobs);
    buf_free(&req->output.echo.text);
    free(req->output.echo.tokens);
    free(req->output.echo.logprobs);
    request_unref(req->parent);
    pthread_mutex_destroy(&req->output.lock);
    free(req);
}
