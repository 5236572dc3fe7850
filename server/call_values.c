#include "call_values.h"

#include "specd/json_write.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int parse_max_tokens(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct call *c = into;
    int64_t i;
    if (!json_integer(v, &i) || i > INT32_MAX || i < -1)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be -1 or an integer in 0..%d", name,
                        INT32_MAX);
    c->params.max_tokens = (int32_t)i;
    return 0;
}

static bool read_int64(const struct json *v, int64_t *out)
{
    if (json_type(v) != JSON_NUMBER)
        return false;
    struct json_decimal d = json_decimal(json_number_text(v));
    uint64_t n = 0;
    if (d.exponent < d.n_digits || d.exponent > 19)
        return false;
    for (int i = 0; i < d.exponent; i++)
        n = n * 10 + (i < d.n_digits ? (uint64_t)(d.digits[i] - '0') : 0);
    if (n > (uint64_t)INT64_MAX + d.negative)
        return false;
    *out = (int64_t)(d.negative ? 0 - n : n);
    return true;
}

int parse_seed(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct call *c = into;
    int64_t i;
    if (!read_int64(v, &i))
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be an integer of 64 bits", name);
    c->params.has_seed = i != -1; /* "random" to other servers */
    c->params.seed = (uint64_t)i & CALL_SEED_MASK;
    return 0;
}

int parse_stop(void *into, const char *name, const struct json *v, struct api_error *e)
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

int parse_stop_ids(void *into, const char *name, const struct json *v, struct api_error *e)
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

int parse_allowed(void *into, const char *name, const struct json *v, struct api_error *e)
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
int parse_bias(void *into, const char *name, const struct json *v, struct api_error *e)
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

int parse_salt(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct call *c = into;
    size_t len = json_type(v) == JSON_STRING ? strlen(json_string(v)) : 0;
    if (len < 1 || len > CALL_SALT_BYTES_MAX)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be a string of 1..%d bytes", name,
                        CALL_SALT_BYTES_MAX);
    c->cache_salt = json_string(v);
    return 0;
}

static bool is_string(const struct json *v)
{
    return v && json_type(v) == JSON_STRING;
}

static bool is_text_part(const struct json *v)
{
    return json_type(v) == JSON_OBJECT && is_string(json_get(v, "type")) &&
           strcmp(json_string(json_get(v, "type")), "text") == 0 && is_string(json_get(v, "text"));
}

/* OpenAI's {"type":"content","content":...}. */
int parse_prediction(void *into, const char *name, const struct json *v, struct api_error *e)
{
    bool object = json_type(v) == JSON_OBJECT;
    const struct json *type = object ? json_get(v, "type") : NULL;
    const struct json *content = object ? json_get(v, "content") : NULL;
    if (!is_string(type) || strcmp(json_string(type), "content") != 0)
        return api_fail(e, SPECD_EINVAL, name,
                        "'%s' must be an object with \"type\":\"content\" and a \"content\"", name);
    bool parts = content && json_type(content) == JSON_ARRAY, good = parts || is_string(content);
    for (const struct json *m = parts ? json_first(content) : NULL; m; m = json_next(m))
        good = good && is_text_part(m);
    if (!good)
        return api_fail(
            e, SPECD_EINVAL, name,
            "'%s.content' must be a string or a list of {\"type\":\"text\",\"text\":...}", name);
    ((struct call *)into)->prediction = content;
    return 0;
}

void prediction_text(const struct json *content, struct buf *out)
{
    if (json_type(content) == JSON_STRING) {
        buf_puts(out, json_string(content));
        return;
    }
    for (const struct json *m = json_first(content); m; m = json_next(m)) {
        buf_puts(out, json_string(json_get(m, "text")));
        buf_puts(out, json_next(m) ? "\n" : "");
    }
}

int parse_text(void *into, const char *name, const struct json *v, struct api_error *e)
{
    (void)into;
    if (json_type(v) != JSON_STRING)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be a string", name);
    return 0;
}

int parse_nothing(void *into, const char *name, const struct json *v, struct api_error *e)
{
    (void)into;
    (void)name;
    (void)v;
    (void)e;
    return 0;
}

/* Responses: what the answer has beside its text. Of other servers' extras there are none. */
int parse_include(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct call *c = into;
    if (json_type(v) != JSON_ARRAY)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be a list of strings", name);
    for (const struct json *m = json_first(v); m; m = json_next(m)) {
        if (json_type(m) != JSON_STRING)
            return api_fail(e, SPECD_EINVAL, name, "'%s' must be a list of strings", name);
        c->logprobs |= strcmp(json_string(m), "message.output_text.logprobs") == 0;
    }
    return 0;
}

/* A word that the chat template gets: which there are is its model's to say. */
int parse_effort(void *into, const char *name, const struct json *v, struct api_error *e)
{
    if (json_type(v) != JSON_STRING)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be a string", name);
    ((struct call *)into)->effort = json_string(v);
    return 0;
}

/* ---- tools */

/* Tools of other types, which agents send to whatever server they have, are left out; those of
 * other dialects were by their readers. */
int parse_tools(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct call *c = into;
    const struct json *t = json_type(v) == JSON_ARRAY ? json_first(v) : NULL, *next;
    for (size_t at = 0, n = 0; t; t = next, at++) {
        const char *type = json_string(json_get(t, "type"));
        next = json_next(t);
        if (type && strcmp(type, "function") != 0)
            json_detach((struct json *)v, t);
        else if (c->route == CALL_CHAT && n < CALL_TOOLS_MAX)
            c->tool_at[n++] = at;
    }
    c->tools = v;
    return tools_check(name, v, c->tool_at, e);
}

int parse_kwargs(void *into, const char *name, const struct json *v, struct api_error *e)
{
    ((struct call *)into)->kwargs = v;
    return kwargs_check(name, v, e);
}

/* ---- values that are told */

void write_max_tokens(const void *from, struct buf *out)
{
    json_int(out, ((const struct call *)from)->params.max_tokens);
}

void write_seed(const void *from, struct buf *out)
{
    const struct call *c = from;
    if (c->params.has_seed)
        json_uint(out, c->params.seed);
    else
        json_lit(out, "-1"); /* as llama.cpp says that it is drawn */
}

void write_stop(const void *from, struct buf *out)
{
    const struct request_params *p = &((const struct call *)from)->params;
    json_lit(out, "[");
    for (int32_t i = 0; i < p->n_stops; i++) {
        if (i > 0)
            json_lit(out, ",");
        json_str(out, p->stops[i], p->stop_lens[i]);
    }
    json_lit(out, "]");
}
