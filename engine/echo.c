/*
 * echo.c - the prompt given back: its text, token by token, and the log-probabilities of scored
 * chunks.
 */
#include "engine_impl.h"

#include <string.h>

void logprobs_put(struct token_logprob *list, size_t i, const struct token_logprob *own,
                  const struct token_logprob *top, int32_t n_top)
{
    struct token_logprob *at = list + i * (size_t)(1 + n_top);
    at[0] = *own;
    memcpy(at + 1, top, (size_t)n_top * sizeof *at);
}

void echo_begin(struct engine *e, struct seq *s)
{
    struct request_output *out = &s->req->output;
    struct request_echo *echo = &out->echo;
    size_t stride = (size_t)(1 + s->params.n_logprobs), n = (size_t)s->n_prompt;
    struct decoder decoder = {0};
    pthread_mutex_lock(&out->lock);
    echo->n_tokens = s->n_prompt;
    echo->tokens = xcalloc(n, sizeof *echo->tokens);
    if (s->score)
        echo->logprobs = xcalloc(n * stride, sizeof *echo->logprobs);
    if (s->params.n_logprobs >= 0)
        echo->n_scored = 1; /* nothing comes before the first token, so it has no score */
    for (int32_t i = 0; i < s->n_prompt; i++) {
        size_t before = echo->text.len;
        if (i > 0 || !s->bos_added) /* a BOS that the tokenizer put there is no part of the text */
            decoder_feed(&decoder, e->tokenizer, s->tokens[i], true, &echo->text);
        if (i + 1 == s->n_prompt)
            decoder_finish(&decoder, &echo->text);
        echo->tokens[i] =
            (struct out_token){.id = s->tokens[i], .text_len = (uint32_t)(echo->text.len - before)};
    }
    pthread_mutex_unlock(&out->lock);
}

void echo_score(struct seq *s, const struct score_result *r)
{
    struct request_output *out = &s->req->output;
    struct request_echo *echo = &out->echo;
    int32_t n_top = s->params.n_logprobs;
    ASSERT(s->score && r->start == s->n_scored);
    pthread_mutex_lock(&out->lock);
    for (int32_t i = 0; i < r->n; i++)
        logprobs_put(echo->logprobs, (size_t)(r->start + 1 + i), r->own + i,
                     r->top + (ptrdiff_t)i * n_top, n_top);
    s->n_scored += r->n;
    echo->n_scored = s->n_scored + 1;
    pthread_mutex_unlock(&out->lock);
    s->score = s->n_scored < s->n_prompt - 1;
}
