/*
 * call_fields.c - THE table of request fields. What the engine can't do yet carries FIELD_LATER, or
 * a bit in `later` for a value of an enum, and is marked nowhere else.
 */
#include "call.h"

#include "built.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(struct call, member)

/* ---- fields with a shape of their own */

static int bad_max_tokens(const struct call *c, const char *name, struct api_error *e)
{
    if (c->route == CALL_NATIVE)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be -1 or an integer in 0..%d", name,
                        INT32_MAX);
    return api_fail(e, SPECD_EINVAL, name, "'%s' must be an integer in 0..%d", name, INT32_MAX);
}

/* -1, llama.cpp's "until it ends", is native only. */
static int parse_max_tokens(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct call *c = into;
    int64_t i;
    if (!json_integer(v, &i) || i > INT32_MAX || i < (c->route == CALL_NATIVE ? -1 : 0))
        return bad_max_tokens(c, name, e);
    c->params.max_tokens = (int32_t)i;
    return 0;
}

static int parse_seed(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct call *c = into;
    int64_t i;
    if (json_integer(v, &i) && i == -1 && c->route == CALL_NATIVE)
        return 0; /* llama.cpp's "random" */
    if (!json_integer(v, &i) || i < 0)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be an integer in 0..%.0f", name,
                        JSON_INTEGER_MAX);
    c->params.has_seed = true;
    c->params.seed = (uint64_t)i;
    return 0;
}

static int parse_stop(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct call *c = into;
    const struct json *s = json_type(v) == JSON_ARRAY ? json_first(v) : v;
    bool one = s == v;
    for (; s; s = one ? NULL : json_next(s)) {
        size_t len = json_type(s) == JSON_STRING ? strlen(json_string(s)) : 0;
        if (len < 1 || len > CALL_STOP_BYTES_MAX || c->params.n_stops == REQUEST_STOPS_MAX)
            return api_fail(e, SPECD_EINVAL, name,
                            "'%s' must be a string or a list of up to %d strings, each of 1..%d "
                            "bytes",
                            name, REQUEST_STOPS_MAX, CALL_STOP_BYTES_MAX);
        c->params.stops[c->params.n_stops] = json_string(s);
        c->params.stop_lens[c->params.n_stops++] = len;
    }
    return 0;
}

static int parse_stop_ids(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct call *c = into;
    int32_t *ids;
    size_t n = json_type(v) == JSON_ARRAY ? json_count(v) : REQUEST_STOP_IDS_MAX + 1;
    if (n > REQUEST_STOP_IDS_MAX)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be a list of up to %d token ids", name,
                        REQUEST_STOP_IDS_MAX);
    int rc = token_ids_read(name, v, c->info->n_vocab, &ids, &n, e);
    if (rc < 0)
        return rc;
    memcpy(c->params.stop_ids, ids, n * sizeof *ids);
    c->params.n_stop_ids = (int32_t)n;
    free(ids);
    return 0;
}

static int parse_allowed(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct call *c = into;
    size_t n = 0;
    int rc;
    if (json_type(v) != JSON_ARRAY || !json_first(v))
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be a list of at least one token id",
                        name);
    rc = token_ids_read(name, v, c->info->n_vocab, &c->params.allowed_ids, &n, e);
    c->params.n_allowed = rc < 0 ? 0 : (int32_t)n;
    return rc;
}

/* A token id as a JSON number or as a member name. */
static bool read_id(const struct json *v, const char *text, uint32_t n_vocab, int32_t *out)
{
    int64_t id = -1;
    char *end = NULL;
    if (v && !json_integer(v, &id))
        return false;
    if (text && *text >= '0' && *text <= '9')
        id = strtoll(text, &end, 10);
    if ((end && *end) || id < 0 || id >= (int64_t)n_vocab)
        return false;
    *out = (int32_t)id;
    return true;
}

/* -100..100, or false, which bans the token. */
static bool read_bias(const struct json *v, float *out)
{
    if (v && json_type(v) == JSON_BOOL && !json_bool(v)) {
        *out = -INFINITY;
        return true;
    }
    if (!v || json_type(v) != JSON_NUMBER || fabs(json_number(v)) > 100)
        return false;
    *out = (float)json_number(v);
    return true;
}

static bool has_bias(const struct request_params *p, int32_t id)
{
    for (int32_t i = 0; i < p->n_bias; i++)
        if (p->bias_ids[i] == id)
            return true;
    return false;
}

/* OpenAI's {"id": bias} or llama.cpp's [[id, bias], ...]. */
static int parse_bias(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct call *c = into;
    struct request_params *p = &c->params;
    bool object = json_type(v) == JSON_OBJECT;
    size_t n = object || json_type(v) == JSON_ARRAY ? json_count(v) : CALL_BIAS_MAX + 1;
    if (n > CALL_BIAS_MAX)
        goto fail;
    p->bias_ids = xcalloc(n, sizeof *p->bias_ids);
    p->bias = xcalloc(n, sizeof *p->bias);
    for (const struct json *m = json_first(v); m; m = json_next(m)) {
        const struct json *id = object || json_type(m) != JSON_ARRAY ? NULL : json_first(m);
        const struct json *bias = object ? m : id ? json_next(id) : NULL;
        int32_t *at = &p->bias_ids[p->n_bias];
        if (!read_id(id, object ? json_key(m) : NULL, c->info->n_vocab, at) ||
            !read_bias(bias, &p->bias[p->n_bias]) || has_bias(p, *at))
            goto fail;
        p->n_bias++;
    }
    return 0;
fail:
    return api_fail(e, SPECD_EINVAL, name,
                    "'%s' must map up to %d different token ids to a number in -100..100", name,
                    CALL_BIAS_MAX);
}

static int parse_salt(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct call *c = into;
    size_t len = json_type(v) == JSON_STRING ? strlen(json_string(v)) : 0;
    if (len < 1 || len > CALL_SALT_BYTES_MAX)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be a string of 1..%d bytes", name,
                        CALL_SALT_BYTES_MAX);
    c->cache_salt = json_string(v);
    return 1;
}

static int parse_text(void *into, const char *name, const struct json *v, struct api_error *e)
{
    (void)into;
    if (json_type(v) != JSON_STRING)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be a string", name);
    return 0;
}

static int parse_list(void *into, const char *name, const struct json *v, struct api_error *e)
{
    (void)into;
    if (json_type(v) != JSON_ARRAY)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be a list", name);
    return json_first(v) != NULL;
}

static int parse_format(void *into, const char *name, const struct json *v, struct api_error *e)
{
    (void)into;
    const struct json *type = json_type(v) == JSON_OBJECT ? json_get(v, "type") : NULL;
    int i = type && json_type(type) == JSON_STRING
                ? enum_index("text|json_object|json_schema", json_string(type))
                : -1;
    if (i < 0)
        return api_fail(e, SPECD_EINVAL, name,
                        "'%s' must be an object with \"type\" one of text|json_object|json_schema",
                        name);
    return i > 0;
}

/* ---- objects with a table of their own */

static const struct field stream_fields[] = {
    {.name = "include_usage", .kind = FIELD_BOOL, .offset = AT(include_usage)},
    {.name = "continuous_usage_stats", .kind = FIELD_BOOL, .offset = AT(continuous_usage)},
};

#define K_FIELD(member)                                                                          \
    {                                                                                            \
        .name = #member, .kind = FIELD_INT, .offset = AT(params.spec.member), .max = SPECD_K_MAX \
    }

static const struct field spec_fields[] = {
    {.name = "enabled", .kind = FIELD_BOOL, .offset = AT(params.spec.enabled)},
    {.name = "mode",
     .kind = FIELD_ENUM,
     .offset = AT(params.spec.mode),
     .values = "auto|ratio|block|coupled",
     .later = MODE_CHOICES_LATER},
    K_FIELD(max),
    K_FIELD(min),
    K_FIELD(fixed),
    {.name = "temperature", .kind = FIELD_FLOAT, .offset = AT(params.spec.temperature), .max = 2},
    {.name = "top_p",
     .kind = FIELD_FLOAT,
     .offset = AT(params.spec.top_p),
     .max = 1,
     .flags = FIELD_MIN_OPEN},
    {.name = "top_k", .kind = FIELD_INT, .offset = AT(params.spec.top_k), .max = SPECD_VOCAB_MAX},
    {.name = "min_p",
     .kind = FIELD_FLOAT,
     .offset = AT(params.spec.min_p),
     .max = 1,
     .flags = FIELD_MAX_OPEN},
    {.name = "drafter",
     .kind = FIELD_ENUM,
     .offset = AT(params.spec.drafter),
     .values = "default|model|self|lookup"},
    {.name = "trace", .kind = FIELD_BOOL, .offset = AT(params.spec.trace)},
};

static int parse_object(struct call *c, const char *name, const struct json *v,
                        const struct field *table, size_t n, struct api_error *e)
{
    char prefix[32];
    if (json_type(v) != JSON_OBJECT)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be an object", name);
    snprintf(prefix, sizeof prefix, "%s.", name);
    return fields_read(table, n, c->route, prefix, v, c, e);
}

static int parse_stream_options(void *into, const char *name, const struct json *v,
                                struct api_error *e)
{
    return parse_object(into, name, v, stream_fields, COUNT_OF(stream_fields), e);
}

static int parse_spec(void *into, const char *name, const struct json *v, struct api_error *e)
{
    return parse_object(into, name, v, spec_fields, COUNT_OF(spec_fields), e);
}

/* ---- the table */

#define BOOLEAN(text, member) .name = text, .kind = FIELD_BOOL, .offset = AT(member)
#define INTEGER(text, member) .name = text, .kind = FIELD_INT, .offset = AT(member)
#define REAL(text, member) .name = text, .kind = FIELD_FLOAT, .offset = AT(member)
#define CUSTOM(text, function) .name = text, .kind = FIELD_CUSTOM, .parse = function

static const struct field call_fields[] = {
    {CUSTOM("model", parse_text)},
    {CUSTOM("user", parse_text)},
    {CUSTOM("max_tokens", parse_max_tokens), .alias1 = "max_completion_tokens",
     .alias2 = "n_predict"},
    {INTEGER("min_tokens", params.min_tokens), .max = INT32_MAX},
    {BOOLEAN("stream", stream)},
    {CUSTOM("stream_options", parse_stream_options)},
    {REAL("temperature", params.law.temperature), .max = 2},
    {REAL("top_p", params.law.top_p), .max = 1, .flags = FIELD_MIN_OPEN},
    {INTEGER("top_k", params.law.top_k), .max = SPECD_VOCAB_MAX},
    {REAL("min_p", params.law.min_p), .max = 1, .flags = FIELD_MAX_OPEN},
    {REAL("presence_penalty", params.law.presence), .min = -2, .max = 2},
    {REAL("frequency_penalty", params.law.frequency), .min = -2, .max = 2},
    {REAL("repetition_penalty", params.law.repetition), .alias1 = "repeat_penalty", .max = INFINITY,
     .flags = FIELD_MIN_OPEN | FIELD_MAX_OPEN},
    {CUSTOM("seed", parse_seed)},
    {CUSTOM("stop", parse_stop)},
    {CUSTOM("stop_token_ids", parse_stop_ids)},
    {BOOLEAN("ignore_eos", params.ignore_eos)},
    {CUSTOM("logit_bias", parse_bias)},
    {CUSTOM("allowed_token_ids", parse_allowed)},
    {INTEGER("logprobs", params.n_logprobs), .max = SPECD_LOGPROBS_MAX,
     .routes = CALL_COMPLETION | CALL_NATIVE},
    {INTEGER("n_probs", n_probs), .max = SPECD_LOGPROBS_MAX, .routes = CALL_NATIVE},
    {BOOLEAN("logprobs", logprobs), .routes = CALL_CHAT},
    {INTEGER("top_logprobs", top_logprobs), .max = SPECD_LOGPROBS_MAX, .routes = CALL_CHAT},
    {INTEGER("n", n), .min = 1, .max = CALL_N_MAX},
    {BOOLEAN("echo", params.echo)},
    {CUSTOM("cache_salt", parse_salt)},
    {BOOLEAN("return_tokens", return_tokens)},
    {BOOLEAN("timings_per_token", timings_per_token)},
    {CUSTOM("response_format", parse_format), .flags = FIELD_LATER},
    {CUSTOM("tools", parse_list), .routes = CALL_CHAT, .flags = FIELD_LATER},
    {CUSTOM("speculative", parse_spec)},
};

int call_read_fields(struct call *c, struct api_error *e)
{
    return fields_read(call_fields, COUNT_OF(call_fields), c->route, "", c->doc, c, e);
}
