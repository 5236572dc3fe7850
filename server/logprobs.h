/*
 * logprobs.h - log-probabilities as the routes word them.
 *
 * A part is a run of tokens with what is known of them: the prompt's, or some of the answer's. A
 * whole answer with echo has two. Token texts come from the engine's tables. A token that is no
 * whole UTF-8 is named by its bytes, as OpenAI does: "\xe2\x80", on the text route with "bytes:"
 * before it.
 */
#ifndef SPECD_SERVER_LOGPROBS_H
#define SPECD_SERVER_LOGPROBS_H

#include "specd/engine.h"

struct logprob_part {
    const struct out_token *tokens; /* (n) */
    size_t n;
    const struct token_logprob *logprobs; /* (n, 1 + n_top), as request_output.logprobs */
    int n_top;
    const char *text; /* the tokens' visible text */
    bool headless;    /* the first token has no probability: nothing comes before it */
};

/* How far the writing of a text about parts has come. The functions below append until out holds
 * most bytes or somewhat more and return whether they came to the end; called again, they go on. */
struct logprob_at {
    size_t most;
    size_t chars; /* before the next token: at first, of what stands before the parts */
    size_t i;     /* the list's next token */
    int list;     /* of several */
    size_t bytes; /* of the part's text before the next token */
    bool with_id;
};

/* {"tokens","token_logprobs","top_logprobs","text_offset"} */
bool logprobs_text(const struct engine *e, const struct logprob_part *parts, int n_parts,
                   struct logprob_at *at, struct buf *out);
/* {"content":[{"token","logprob","bytes","top_logprobs"},...],"refusal":null} */
bool logprobs_chat(const struct engine *e, const struct logprob_part *parts, int n_parts,
                   struct logprob_at *at, struct buf *out);
/* [{"token","logprob","bytes","top_logprobs"},...], as Responses has them */
bool logprobs_entries(const struct engine *e, const struct logprob_part *parts, int n_parts,
                      struct logprob_at *at, struct buf *out);
/* llama.cpp's [{"id","token","bytes","logprob","top_logprobs"},...] */
bool logprobs_native(const struct engine *e, const struct logprob_part *parts, int n_parts,
                     struct logprob_at *at, struct buf *out);

/* Characters of UTF-8 text. */
size_t text_chars(const char *text, size_t len);

#endif
