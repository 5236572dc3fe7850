#include "call_values.h"

#include "specd/json_write.h"

#include <stdlib.h>
#include <string.h>

void call_init(struct call *c, enum call_route route, const struct engine_info *info)
{
    *c = (struct call){
        .route = route, .info = info, .n = 1, .parallel_tools = true, .add_generation = true};
    request_params_init(&c->params);
    c->params.max_tokens = route == CALL_COMPLETION ? 16 : -1;
}

/* By the name that the client used. */
static int bad_zero(const struct call *c, struct api_error *e)
{
    static const char *const names[] = {"max_completion_tokens", "n_predict", "max_output_tokens"};
    const char *name = "max_tokens";
    for (size_t i = 0; i < COUNT_OF(names) && !json_get(c->doc, name); i++)
        name = names[i];
    return api_fail(e, SPECD_EINVAL, name, "'%s' may be 0 only with 'echo'", name);
}

/* -1 is off to other servers as 0 is; of no mass OpenAI and llama.cpp leave the likeliest. */
static void off_values(struct law_params *law)
{
    if (law->top_k == -1)
        law->top_k = 0;
    if (law->top_p == 0) {
        law->top_k = 1;
        law->top_p = 1;
    }
}

static int check_together(struct call *c, struct api_error *e)
{
    if (call_is_chat(c) && c->logprobs)
        c->params.n_logprobs = c->top_logprobs;
    else if (c->top_logprobs > 0 && c->route != CALL_RESPONSES)
        return api_fail(e, SPECD_EINVAL, "top_logprobs",
                        "'top_logprobs' needs 'logprobs' to be true");
    if (c->best_of > 1 && c->best_of != c->n)
        return api_fail(e, SPECD_EINVAL, "best_of", "'best_of' must be 1 or what 'n' is");
    if (c->n_probs > 0)
        c->params.n_logprobs = MAX(c->params.n_logprobs, c->n_probs);
    c->prompt_only = c->route == CALL_MESSAGES && c->params.max_tokens == 0;
    if (c->prompt_only)
        c->params.max_tokens = 1; /* of none the prompt would not be computed either */
    else if (c->params.max_tokens == 0 && !c->params.echo)
        return bad_zero(c, e);
    off_values(&c->params.law);
    const struct speculative_params *s = &c->params.spec;
    if (s->min >= 0 && s->max >= 0 && s->min > s->max)
        return api_fail(e, SPECD_EINVAL, "speculative.min",
                        "'speculative.min' must not be above 'speculative.max'");
    return 0;
}

/* By the names that templates use; what chat_template_kwargs says goes before it. Messages has a
 * field of its own for whether to think. */
static void tell_effort(struct call *c)
{
    if (!c->effort)
        return;
    struct json *kwargs = c->kwargs ? (struct json *)c->kwargs : json_new_object(c->doc);
    if (c->route != CALL_MESSAGES && !json_get(kwargs, "enable_thinking"))
        json_set(kwargs, "enable_thinking", json_new_bool(c->doc, strcmp(c->effort, "none") != 0));
    if (!json_get(kwargs, "reasoning_effort"))
        json_set(kwargs, "reasoning_effort", json_new_string(c->doc, c->effort));
    c->kwargs = kwargs;
}

static int read_dialect(struct call *c, struct api_error *e)
{
    switch (c->route) {
    case CALL_RESPONSES:
        return responses_read(c, e);
    case CALL_MESSAGES:
        return messages_read(c, e);
    default:
        return 0;
    }
}

int call_parse(struct call *c, enum call_route route, const struct engine_info *info,
               const char *body, size_t len, struct api_error *e)
{
    call_init(c, route, info);
    char why[256] = "the body is empty";
    int rc = len == 0 ? SPECD_EJSON : json_parse(&c->doc, body, len, why, sizeof why);
    if (rc < 0)
        return api_fail(e, rc, NULL, "%s", why);
    if (json_type(c->doc) != JSON_OBJECT)
        return api_fail(e, SPECD_EINVAL, NULL, "the body must be a JSON object");
    rc = read_dialect(c, e);
    if (rc == 0)
        rc = call_read_fields(c, e);
    if (rc == 0)
        rc = check_together(c, e);
    if (rc == 0)
        rc = call_choose_tools(c, e);
    if (rc < 0)
        return rc;
    tell_effort(c);
    return prompts_read(c, e);
}

void call_drop_document(struct call *c)
{
    for (size_t i = 0; i < c->n_prompts; i++)
        free(c->prompts[i].ids);
    free(c->prompts);
    if (c->source && !c->source->body && (c->chat.messages || c->format.schema))
        c->source->body = c->doc;
    else
        json_free(c->doc);
    request_source_unref(c->source);
    c->source = NULL;
    c->chat = (struct chat_options){0};
    c->prompts = NULL;
    c->n_prompts = 0;
    c->doc = NULL;
    c->params.n_stops = 0;
    c->cache_salt = NULL;
    c->prediction = NULL;
    c->tools = c->kwargs = c->format.schema = NULL;
    c->tool_name = c->effort = NULL;
    c->allowed_tools = NULL;
}

void call_free(struct call *c)
{
    call_drop_document(c);
    free(c->params.bias_ids);
    free(c->params.bias);
    free(c->params.allowed_ids);
    buf_free(&c->offer.bytes);
    buf_free(&c->custom_names);
    buf_free(&c->repeats);
    *c = (struct call){0};
}

/* Stop strings go into the request's storage, which may move until everything is in it. */
static void add_stops(struct request *req, size_t at[REQUEST_STOPS_MAX])
{
    for (int32_t i = 0; i < req->params.n_stops; i++) {
        at[i] = req->storage.len;
        buf_add(&req->storage, req->params.stops[i], req->params.stop_lens[i] + 1);
    }
}

static void point_stops(struct request *req, const size_t at[REQUEST_STOPS_MAX])
{
    for (int32_t i = 0; i < req->params.n_stops; i++)
        req->params.stops[i] = req->storage.data + at[i];
}

static void *copy_array(const void *from, size_t n, size_t size)
{
    void *to = xmalloc(n * size); /* n was checked against a limit when it was parsed */
    if (n > 0)
        memcpy(to, from, n * size);
    return to;
}

#define SOURCE_VALUES_MAX 20000 /* a tree of more, some 2 MB, isn't kept for a part of it */

/* Moves what templates and grammars read into a document of its own, where the body's is large:
 * most of that may be members that nobody knows, or parts of contents that were joined. */
static void copy_source(struct call *c, const struct json **schema)
{
    struct buf text = {0};
    char why[64];
    const struct json **const members[] = {&c->chat.messages, &c->chat.tools, &c->chat.kwargs,
                                           schema};
    json_lit(&text, "[");
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        buf_puts(&text, i ? "," : "");
        json_print(*members[i], &text);
    }
    json_lit(&text, "]");
    if (json_loads(&c->source->body, text.data, text.len, why, sizeof why) == 0) {
        const struct json *v = json_first(c->source->body);
        for (size_t i = 0; i < COUNT_OF(members); i++, v = json_next(v))
            *members[i] = *members[i] ? v : NULL;
    }
    buf_free(&text);
}

static void make_source(struct call *c)
{
    struct buf prediction = {0};
    const struct json *schema = c->format.schema;
    c->source = xcalloc(1, sizeof *c->source);
    atomic_init(&c->source->refs, 1);
    if (call_is_chat(c))
        c->chat =
            (struct chat_options){.messages = c->prompts[0].source,
                                  .tools = call_wants_tools(c) ? c->tools : NULL,
                                  .kwargs = c->kwargs,
                                  .add_generation_prompt = c->add_generation && !c->continue_final,
                                  .continue_final = c->continue_final};
    if (json_size(c->doc) > SOURCE_VALUES_MAX && (c->chat.messages || schema))
        copy_source(c, &schema);
    call_build_schema(c, schema, c->source);
    if (c->prediction) {
        prediction_text(c->prediction, &prediction);
        c->prediction_len = prediction.len;
        c->source->prediction = buf_take(&prediction);
    }
}

struct request *call_request(struct call *c, size_t i, int choice)
{
    const struct prompt *p = &c->prompts[i];
    struct request *req = request_new();
    if (!c->source)
        make_source(c);
    size_t stops[REQUEST_STOPS_MAX], n_bias = (size_t)c->params.n_bias;
    req->params = c->params;
    req->params.seed = (req->params.seed + (uint64_t)choice) & CALL_SEED_MASK;
    req->stream = c->stream;
    req->priority = c->priority;
    req->kind = p->kind;
    req->field = call_prompt_field(c);
    req->params.bias_ids = copy_array(c->params.bias_ids, n_bias, sizeof *req->params.bias_ids);
    req->params.bias = copy_array(c->params.bias, n_bias, sizeof *req->params.bias);
    req->params.allowed_ids = copy_array(c->params.allowed_ids, (size_t)c->params.n_allowed,
                                         sizeof *req->params.allowed_ids);
    if (c->cache_salt)
        req->cache_salt = xstrdup(c->cache_salt);
    bool of_tools = c->grammar.n > 0;
    req->format.json = of_tools || c->format.json;
    req->format.field = of_tools ? "tools" : c->format.field;
    req->format.schema = c->source->schema;
    req->chat = c->chat;
    req->prediction = c->source->prediction;
    req->prediction_len = c->prediction_len;
    req->source = c->source;
    atomic_fetch_add(&c->source->refs, 1);
    add_stops(req, stops);
    if (p->kind == PROMPT_TOKENS) {
        req->prompt_ids = copy_array(p->ids, p->n_ids, sizeof *p->ids);
        req->n_prompt_ids = p->n_ids;
    } else if (p->kind == PROMPT_TEXT) {
        req->prompt = xstrdup(json_string(p->source));
        req->prompt_len = strlen(req->prompt);
    }
    point_stops(req, stops);
    return req;
}
