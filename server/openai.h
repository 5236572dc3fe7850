/*
 * openai.h - what OpenAI's two routes share: chunks, the finish and usage chunks, the whole answer.
 *
 * They differ in the member that carries text, which their formats' delta and message write.
 */
#ifndef SPECD_SERVER_OPENAI_H
#define SPECD_SERVER_OPENAI_H

#include "answer.h"

void openai_echo(const struct choice *c, struct buf *out);
void openai_token(const struct choice *c, const struct token_view *t, struct buf *out);
void openai_finish(const struct choice *c, const char *text, size_t len, struct buf *out);
void openai_usage(const struct answer *a, struct buf *out);
void openai_body(const struct answer *a, struct buf *out);

/* ---- also for the native route */

/* [id,...] of all tokens of a finished request */
void tokens_json(const struct request *req, struct buf *out);
/* The prompt if it is to be echoed, and the answer. The text is the answer's scratch. */
const struct buf *whole_text(const struct choice *c);
/* The value of a token's or of a whole choice's "logprobs"; null when not asked for. */
void token_logprobs(const struct choice *c, const struct token_view *t, struct buf *out);
void echo_logprobs(const struct choice *c, struct buf *out);
void whole_logprobs(const struct choice *c, struct buf *out);
/* ,"timings":...,"speculative":... of a finished request */
void finish_extras(const struct choice *c, struct buf *out);
/* What a token's chunk carries when it was asked for: usage, timings, trace. */
void token_extras(const struct choice *c, const struct token_view *t, bool usage, struct buf *out);

#endif
