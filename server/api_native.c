/*
 * api_native.c - POST /completion: llama.cpp's own form, the members that its clients read.
 */
#include "fields_doc.h"
#include "specd/json_write.h"
#include "openai.h"
#include "http.h"

#define PROBABILITIES ",\"completion_probabilities\":"

static void write_progress(const struct choice *c, struct buf *out)
{
    json_lit(out, ",\"stop\":false,\"tokens_predicted\":");
    json_int(out, c->n_sent);
    json_lit(out, ",\"tokens_evaluated\":");
    json_int(out, c->n_prompt);
}

static void write_echo(const struct choice *c, struct buf *out)
{
    const struct buf *text = &c->req->output.echo.text;
    sse_begin(out);
    json_lit(out, "{\"index\":");
    json_int(out, c->index);
    json_lit(out, ",\"content\":");
    json_str(out, text->data ? text->data : "", text->len);
    json_lit(out, ",\"tokens\":[]");
    write_progress(c, out);
    if (c->req->params.n_logprobs >= 0) {
        json_lit(out, PROBABILITIES);
        echo_logprobs(c, out);
    }
    json_lit(out, "}");
    sse_end(out);
}

static void write_token(const struct choice *c, const struct token_view *t, struct buf *out)
{
    sse_begin(out);
    json_lit(out, "{\"index\":");
    json_int(out, c->index);
    json_lit(out, ",\"content\":");
    json_str(out, t->text, t->token->text_len);
    json_lit(out, ",\"tokens\":[");
    json_int(out, t->token->id);
    json_lit(out, "]");
    write_progress(c, out);
    if (t->logprobs) {
        json_lit(out, PROBABILITIES);
        token_logprobs(c, t, out);
    }
    token_extras(c, t, false, out);
    json_lit(out, "}");
    sse_end(out);
}

static const char *stop_type(const struct request_output *o)
{
    if (o->finish == FINISH_LENGTH)
        return "limit";
    return o->stop_text ? "word" : "eos";
}

/* As the table of fields tells it, with the seed that was drawn. */
static void write_settings(const struct choice *c, struct buf *out)
{
    struct call call = c->answer->call;
    size_t n;
    const struct field *table = call_table(&n);
    call.params = c->req->params;
    call.params.has_seed = true;
    call.params.seed = c->req->output.stats.seed;
    fields_values(table, n, CALL_NATIVE, &call, out);
}

/* The last object of a stream and the whole answer differ only in what was not sent before. */

static void begin_last(const struct choice *c, struct buf *out)
{
    json_lit(out, "{\"index\":");
    json_int(out, c->index);
    json_lit(out, ",\"content\":");
}

static bool whole_content(const struct choice *c, struct whole_at *at, struct buf *out)
{
    if (at->i == 0)
        begin_last(c, out);
    return whole_text(c, at, out);
}

static bool returned_tokens(const struct choice *c, struct whole_at *at, struct buf *out)
{
    if (at->i == 0)
        json_lit(out, ",\"tokens\":");
    if (c->answer->call.return_tokens)
        return whole_tokens(c, at, out);
    json_lit(out, "[]");
    return true;
}

static bool before_probabilities(const struct choice *c, struct whole_at *at, struct buf *out)
{
    (void)at;
    if (c->req->params.n_logprobs >= 0)
        json_lit(out, PROBABILITIES);
    return true;
}

static bool probabilities(const struct choice *c, struct whole_at *at, struct buf *out)
{
    return c->req->params.n_logprobs < 0 || whole_logprobs(c, at, out);
}

static bool model_and_counts(const struct choice *c, struct whole_at *at, struct buf *out)
{
    const struct request_stats *s = &c->req->output.stats;
    (void)at;
    json_lit(out, ",\"stop\":true,\"model\":");
    json_cstr(out, c->answer->call.info->model_id);
    buf_printf(out, ",\"tokens_predicted\":%d,\"tokens_evaluated\":%d,\"tokens_cached\":%d",
               s->n_generated, s->n_prompt, s->n_cached);
    return true;
}

static bool prompt_again(const struct choice *c, struct whole_at *at, struct buf *out)
{
    if (c->req->kind != PROMPT_TEXT)
        return true;
    if (at->i == 0)
        json_lit(out, ",\"prompt\":\"");
    if (!json_escape_upto(out, PIECE_BYTES, c->req->prompt, c->req->prompt_len, &at->i))
        return false;
    json_lit(out, "\"");
    return true;
}

static bool end_last(const struct choice *c, struct whole_at *at, struct buf *out)
{
    const struct request_output *o = &c->req->output;
    (void)at;
    json_lit(out, ",\"has_new_line\":");
    buf_puts(out, o->text.len > 0 && memchr(o->text.data, '\n', o->text.len) ? "true" : "false");
    buf_printf(out, ",\"truncated\":false,\"stop_type\":\"%s\",\"stopping_word\":", stop_type(o));
    json_cstr(out, o->stop_text ? o->stop_text : "");
    json_lit(out, ",\"generation_settings\":");
    write_settings(c, out);
    finish_extras(c, out);
    json_lit(out, "}");
    return true;
}

static void write_finish(const struct choice *c, const char *text, size_t len, struct buf *out)
{
    struct whole_at at = {0};
    sse_begin(out);
    begin_last(c, out);
    json_str(out, text, len);
    json_lit(out, ",\"tokens\":[]");
    model_and_counts(c, &at, out);
    while (!prompt_again(c, &at, out))
        continue;
    end_last(c, &at, out);
    sse_end(out);
}

static whole_part *const parts[] = {whole_content,
                                    returned_tokens,
                                    before_probabilities,
                                    probabilities,
                                    model_and_counts,
                                    prompt_again,
                                    end_last,
                                    NULL};

/* Several completions, or an array of prompts, get an array of answers. */
static void write_begin(const struct answer *a, struct buf *out)
{
    if (a->call.many || a->n_choices > 1)
        json_lit(out, "[");
}

static void write_end(const struct answer *a, struct buf *out)
{
    if (a->call.many || a->n_choices > 1)
        json_lit(out, "]");
}

static const struct api_format format = {
    .route = CALL_NATIVE,
    .id_prefix = "cmpl-",
    .object = "text_completion",
    .chunk_object = "text_completion",
    .token = write_token,
    .echo = write_echo,
    .logprobs = logprobs_native,
    .finish = write_finish,
    .error = openai_error,
    .begin = write_begin,
    .parts = parts,
    .end = write_end,
};

enum MHD_Result api_native(struct exchange *ex)
{
    return answer_start(ex, &format);
}
