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
void openai_stop(const struct answer *a, struct buf *out);
void openai_begin(const struct answer *a, struct buf *out);
extern whole_part *const openai_parts[];
void openai_end(const struct answer *a, struct buf *out);

/* ---- also for the native route */

void openai_error(const struct answer *a, const struct api_error *e, struct buf *out);

/* [id,...] of all tokens of a finished request */
whole_part whole_tokens;
/* The prompt if it is to be echoed, and the answer, as a string. */
whole_part whole_text;
/* The value of a token's or of a whole choice's "logprobs"; null when not asked for. */
void token_logprobs(const struct choice *c, const struct token_view *t, struct buf *out);
void echo_logprobs(const struct choice *c, struct buf *out);
whole_part whole_logprobs;
/* ,"timings":...,"speculative":... of a finished request */
void finish_extras(const struct choice *c, struct buf *out);
/* What a token's chunk carries when it was asked for: usage, timings, trace. */
void token_extras(const struct choice *c, const struct token_view *t, bool usage, struct buf *out);

#endif
