#include "openai.h"

#include "http.h"
#include "specd/json_write.h"
#include "stream.h"

/* ---- the numbers of a request: `usage` is OpenAI's, `timings` llama.cpp's, `speculative` our own
 * (docs/api.md) */

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static void report_usage(struct buf *out, const struct request_stats *s, int32_t n_thought)
{
    buf_printf(out,
               "{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%d},"
               "\"completion_tokens_details\":{\"reasoning_tokens\":%d,"
               "\"accepted_prediction_tokens\":%d,\"rejected_prediction_tokens\":%d}}",
               s->n_prompt, s->n_generated, s->n_prompt + s->n_generated, s->n_cached, n_thought,
               s->prediction_accepted, s->prediction_drafted - s->prediction_accepted);
}

/* ms in all, ms per token, tokens per second, each with its own name. */
static void part(struct buf *out, const char *name, int32_t n, uint64_t ns)
{
    double ms = (double)ns / 1e6;
    buf_printf(out, "\"%s_n\":%d,\"%s_ms\":%.3f,\"%s_per_token_ms\":%.3f,\"%s_per_second\":%.3f",
               name, n, name, ms, name, ratio(ms, n), name, ratio(1000.0 * n, ms));
}

static void report_timings(struct buf *out, const struct request_stats *s)
{
    buf_printf(out, "{\"cache_n\":%d,", s->n_cached);
    part(out, "prompt", s->n_prompt - s->n_cached, s->prompt_ns);
    json_lit(out, ",");
    part(out, "predicted", s->n_generated, s->predicted_ns);
    buf_printf(out, ",\"draft_n\":%d,\"draft_n_accepted\":%d}", s->n_drafted, s->n_accepted);
}

static const char *verify_mode_name(enum verify_mode mode)
{
    static const char *const names[] = {"ratio", "block", "coupled"};
    return names[mode];
}

static void report_speculative(struct buf *out, const struct request_stats *s)
{
    double length = s->rounds > 0 ? 1 + ratio(s->n_accepted, s->rounds) : 0;
    buf_printf(out,
               "{\"mode\":\"%s\",\"drafter\":\"%s\",\"rounds\":%d,\"draft_tokens\":%d,"
               "\"accepted_tokens\":%d,\"mean_accepted_length\":%.4g,"
               "\"acceptance_by_position\":[",
               verify_mode_name(s->mode), s->drafter ? s->drafter : "none", s->rounds, s->n_drafted,
               s->n_accepted, length);
    for (int i = 0; i < SPECD_K_MAX && s->verified_by_pos[i] > 0; i++)
        buf_printf(out, "%s%.4g", i ? "," : "",
                   ratio(s->accepted_by_pos[i], s->verified_by_pos[i]));
    json_lit(out, "],\"seed\":");
    json_uint(out, s->seed);
    if (s->disabled_because) {
        json_lit(out, ",\"disabled_because\":");
        json_cstr(out, s->disabled_because);
    }
    json_lit(out, "}");
}

/* What can be said of a request that still runs. */
static struct request_stats so_far(const struct choice *c)
{
    uint64_t began = c->answer->submitted_ns, now = clock_ns();
    return (struct request_stats){
        .n_prompt = c->n_prompt,
        .n_generated = c->n_sent,
        .prompt_ns = c->first_ns - began,
        .predicted_ns = now - c->first_ns,
    };
}

bool whole_tokens(const struct choice *c, struct whole_at *at, struct buf *out)
{
    const struct request_output *o = &c->req->output;
    if (at->i == 0)
        json_lit(out, "[");
    while (at->i < o->n_tokens) {
        if (at->i > 0)
            json_lit(out, ",");
        json_int(out, o->tokens[at->i++].id);
        if (out->len >= PIECE_BYTES)
            return false;
    }
    json_lit(out, "]");
    return true;
}

bool whole_text(const struct choice *c, struct whole_at *at, struct buf *out)
{
    const struct request_output *o = &c->req->output;
    size_t in_text = at->i > o->echo.text.len ? at->i - o->echo.text.len : 0;
    if (at->i == 0)
        json_lit(out, "\"");
    if (!json_escape_upto(out, PIECE_BYTES, o->echo.text.data, o->echo.text.len, &at->i))
        return false;
    bool over = json_escape_upto(out, PIECE_BYTES, o->text.data, o->text.len, &in_text);
    at->i = o->echo.text.len + in_text;
    if (over)
        json_lit(out, "\"");
    return over;
}

/* ---- log-probabilities */

static struct logprob_part echo_part(const struct choice *c)
{
    const struct request_echo *echo = &c->req->output.echo;
    return (struct logprob_part){.tokens = echo->tokens,
                                 .n = (size_t)echo->n_scored,
                                 .logprobs = echo->logprobs,
                                 .n_top = c->req->params.n_logprobs,
                                 .text = echo->text.data,
                                 .headless = true};
}

static bool write_logprobs(const struct choice *c, const struct logprob_part *parts, int n_parts,
                           struct logprob_at *at, struct buf *out)
{
    if (c->req->params.n_logprobs >= 0)
        return c->answer->format->logprobs(answer_engine(c->answer), parts, n_parts, at, out);
    json_lit(out, "null");
    return true;
}

void token_logprobs(const struct choice *c, const struct token_view *t, struct buf *out)
{
    struct logprob_part part = {.tokens = t->token,
                                .n = 1,
                                .logprobs = t->logprobs,
                                .n_top = c->req->params.n_logprobs,
                                .text = t->text};
    struct logprob_at at = {.most = SIZE_MAX, .chars = c->n_chars};
    write_logprobs(c, &part, 1, &at, out);
}

void echo_logprobs(const struct choice *c, struct buf *out)
{
    struct logprob_part part = echo_part(c);
    struct logprob_at at = {.most = SIZE_MAX};
    write_logprobs(c, &part, 1, &at, out);
}

bool whole_logprobs(const struct choice *c, struct whole_at *at, struct buf *out)
{
    const struct request_output *o = &c->req->output;
    struct logprob_part parts[2];
    int n = 0;
    if (c->req->params.echo)
        parts[n++] = echo_part(c);
    parts[n++] = (struct logprob_part){.tokens = o->tokens,
                                       .n = o->n_tokens,
                                       .logprobs = o->logprobs,
                                       .n_top = c->req->params.n_logprobs,
                                       .text = o->text.data};
    at->logprobs.most = PIECE_BYTES;
    return write_logprobs(c, parts, n, &at->logprobs, out);
}

/* ---- what both kinds of answer carry */

void finish_extras(const struct choice *c, struct buf *out)
{
    const struct request_stats *s = &c->req->output.stats;
    json_lit(out, ",\"timings\":");
    report_timings(out, s);
    json_lit(out, ",\"speculative\":");
    report_speculative(out, s);
    if (c->answer->exchange->server->config->engine.synthetic_acceptance >= 0)
        json_lit(out, ",\"warning\":\"--synthetic-acceptance: the text is meaningless\"");
}

void token_extras(const struct choice *c, const struct token_view *t, bool usage, struct buf *out)
{
    const struct call *call = &c->answer->call;
    struct request_stats s;
    if (usage || call->timings_per_token)
        s = so_far(c);
    if (usage) {
        json_lit(out, ",\"usage\":");
        report_usage(out, &s, choice_n_thought(c));
    }
    if (call->timings_per_token) {
        json_lit(out, ",\"timings\":");
        report_timings(out, &s);
    }
    if (call->params.spec.trace) {
        buf_puts(out, t->token->drafted ? ",\"speculative\":{\"drafted\":true,\"k\":"
                                        : ",\"speculative\":{\"drafted\":false,\"k\":");
        json_int(out, t->token->k);
        json_lit(out, "}");
    }
}

static const char *finish_name(const struct choice *c)
{
    if (c->req->output.finish == FINISH_LENGTH)
        return "length";
    return choice_n_calls(c) > 0 ? "tool_calls" : "stop";
}

/* An event: {...,"choices":[{"index":0, */
static void begin_choice(const struct choice *c, struct buf *out)
{
    sse_begin(out);
    buf_add(out, c->answer->head.data, c->answer->head.len);
    json_lit(out, ",\"choices\":[{\"index\":");
    json_int(out, c->index);
    json_lit(out, ",");
}

/* With include_usage OpenAI's chunks all have the member; it is null until the last. */
static void null_usage(const struct choice *c, struct buf *out)
{
    if (c->answer->call.include_usage)
        json_lit(out, ",\"usage\":null");
}

void openai_echo(const struct choice *c, struct buf *out)
{
    const struct buf *text = &c->req->output.echo.text;
    begin_choice(c, out);
    c->answer->format->delta(NULL, text->data ? text->data : "", text->len, true, out);
    json_lit(out, ",\"logprobs\":");
    echo_logprobs(c, out);
    json_lit(out, ",\"finish_reason\":null}]");
    null_usage(c, out);
    json_lit(out, "}");
    sse_end(out);
}

void openai_token(const struct choice *c, const struct token_view *t, struct buf *out)
{
    const struct call *call = &c->answer->call;
    begin_choice(c, out);
    c->answer->format->delta(c, t->text, t->token->text_len, c->n_sent == 1 && !c->req->params.echo,
                             out);
    if (call->return_tokens) {
        json_lit(out, ",\"tokens\":[");
        json_int(out, t->token->id);
        json_lit(out, "]");
    }
    json_lit(out, ",\"logprobs\":");
    token_logprobs(c, t, out);
    json_lit(out, ",\"finish_reason\":null}]");
    if (!call->continuous_usage)
        null_usage(c, out);
    token_extras(c, t, call->continuous_usage, out);
    json_lit(out, "}");
    sse_end(out);
}

void openai_finish(const struct choice *c, const char *text, size_t len, struct buf *out)
{
    begin_choice(c, out);
    c->answer->format->delta(c, len > 0 ? text : NULL, len, c->n_sent == 0 && !c->req->params.echo,
                             out);
    json_lit(out, ",\"logprobs\":null,\"finish_reason\":\"");
    buf_puts(out, finish_name(c));
    json_lit(out, "\"}]");
    if (c->answer->call.continuous_usage) {
        json_lit(out, ",\"usage\":");
        report_usage(out, &c->req->output.stats, choice_n_thought(c));
    } else {
        null_usage(c, out);
    }
    finish_extras(c, out);
    json_lit(out, "}");
    sse_end(out);
}

static void sum_usage(const struct answer *a, struct buf *out)
{
    struct request_stats sum = {0};
    int32_t n_thought = 0;
    for (int i = 0; i < a->n_choices; i++) {
        const struct choice *c = &a->choices[i];
        const struct request_stats *s = &c->req->output.stats;
        if (!c->shares_prompt) { /* a prompt that choices share counts once */
            sum.n_prompt += s->n_prompt;
            sum.n_cached += s->n_cached;
        }
        sum.n_generated += s->n_generated;
        n_thought += choice_n_thought(c);
        sum.prediction_drafted += s->prediction_drafted;
        sum.prediction_accepted += s->prediction_accepted;
    }
    json_lit(out, ",\"usage\":");
    report_usage(out, &sum, n_thought);
}

void openai_stop(const struct answer *a, struct buf *out)
{
    if (a->call.include_usage) {
        sse_begin(out);
        buf_add(out, a->head.data, a->head.len);
        json_lit(out, ",\"choices\":[]");
        sum_usage(a, out);
        json_lit(out, "}");
        sse_end(out);
    }
    sse_done(out);
}

void openai_error(const struct answer *a, const struct api_error *e, struct buf *out)
{
    sse_begin(out);
    error_json(out, e);
    sse_end(out);
    if (a->format->done)
        sse_done(out);
}

/* ---- the whole answer. One choice: timings and speculative beside it, as in llama.cpp. Several:
 * inside each. */

void openai_begin(const struct answer *a, struct buf *out)
{
    buf_add(out, a->head.data, a->head.len);
    json_lit(out, ",\"choices\":[");
}

static bool whole_index(const struct choice *c, struct whole_at *at, struct buf *out)
{
    (void)at;
    json_lit(out, "{\"index\":");
    json_int(out, c->index);
    json_lit(out, ",");
    return true;
}

static bool whole_message(const struct choice *c, struct whole_at *at, struct buf *out)
{
    return c->answer->format->message(c, at, out);
}

static bool returned_tokens(const struct choice *c, struct whole_at *at, struct buf *out)
{
    if (!c->answer->call.return_tokens)
        return true;
    if (at->i == 0)
        json_lit(out, ",\"tokens\":");
    return whole_tokens(c, at, out);
}

static bool before_logprobs(const struct choice *c, struct whole_at *at, struct buf *out)
{
    (void)c;
    (void)at;
    json_lit(out, ",\"logprobs\":");
    return true;
}

static bool whole_finish(const struct choice *c, struct whole_at *at, struct buf *out)
{
    (void)at;
    json_lit(out, ",\"finish_reason\":\"");
    buf_puts(out, finish_name(c));
    json_lit(out, "\"");
    if (c->answer->n_choices > 1)
        finish_extras(c, out);
    json_lit(out, "}");
    return true;
}

whole_part *const openai_parts[] = {
    whole_index,  whole_message, returned_tokens, before_logprobs, whole_logprobs,
    whole_finish, NULL};

void openai_end(const struct answer *a, struct buf *out)
{
    json_lit(out, "]");
    sum_usage(a, out);
    if (a->n_choices == 1)
        finish_extras(&a->choices[0], out);
    json_lit(out, "}");
}
