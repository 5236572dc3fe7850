/*
 * api_text.c - POST /tokenize, /detokenize, /apply-template: llama.cpp's, without generation.
 */
#include "call.h"
#include "jobs.h"
#include "json_write.h"
#include "respond.h"
#include "server.h"
#include "specd/utf8.h"

#include <stdlib.h>

/* What a job works on. Documents are gone as soon as they are read: they may take a hundred
 * times a body's bytes. */
struct text_work {
    char *content;
    bool add_special, parse_special, with_pieces;
    int32_t *ids;
    size_t n_ids;
    struct call call;
    struct request *req;
};

static const struct text_work defaults = {.parse_special = true};

static void work_free(void *arg)
{
    struct text_work *w = arg;
    request_unref(w->req);
    call_free(&w->call);
    free(w->ids);
    free(w->content);
    free(w);
}

/* Bodies are read by the job, too: one of megabytes takes long. */
static enum MHD_Result start(struct exchange *ex, int (*run)(struct job *job))
{
    struct engine *engine = atomic_load(&ex->server->engine);
    if (!engine || !engine_info(engine))
        return respond_code(ex, SPECD_ELOADING);
    struct text_work *w = xcalloc(1, sizeof *w);
    *w = defaults;
    return job_start(ex, &(struct job){.run = run, .free_arg = work_free, .arg = w});
}

static int read_body(const struct buf *body, struct json **doc, struct api_error *e)
{
    char why[256] = "the body is empty";
    int rc = body->len == 0 ? SPECD_EJSON : json_parse(doc, body->data, body->len, why, sizeof why);
    if (rc < 0)
        return api_fail(e, rc, NULL, "%s", why);
    if (json_type(*doc) != JSON_OBJECT)
        return api_fail(e, SPECD_EINVAL, NULL, "the body must be a JSON object");
    return 0;
}

/* ---- /tokenize */

static int parse_content(void *into, const char *name, const struct json *v, struct api_error *e)
{
    struct text_work *w = into;
    if (json_type(v) != JSON_STRING)
        return api_fail(e, SPECD_EINVAL, name, "'%s' must be a string", name);
    w->content = xstrdup(json_string(v));
    return 0;
}

static const struct field tokenize_fields[] = {
    {.name = "content",
     .kind = FIELD_CUSTOM,
     .parse = parse_content,
     .flags = FIELD_REQUIRED,
     .fallback = "required",
     .range = "any string",
     .about = "the text",
     .schema = "\"type\":\"string\""},
    {.name = "add_special",
     .kind = FIELD_BOOL,
     .offset = offsetof(struct text_work, add_special),
     .about = "with the model's own first and last tokens"},
    {.name = "parse_special",
     .kind = FIELD_BOOL,
     .offset = offsetof(struct text_work, parse_special),
     .about = "texts of control tokens become those tokens"},
    {.name = "with_pieces",
     .kind = FIELD_BOOL,
     .offset = offsetof(struct text_work, with_pieces),
     .about = "each token with its text, or with its bytes where they are no UTF-8"},
};

static bool is_text(const char *s, size_t len)
{
    for (size_t at = 0, n; at < len; at += n) {
        n = utf8_length((const unsigned char *)s + at, len - at);
        if (n == 0)
            return false;
    }
    return true;
}

const struct field *tokenize_table(size_t *n)
{
    *n = COUNT_OF(tokenize_fields);
    return tokenize_fields;
}

const void *tokenize_defaults(void)
{
    return &defaults;
}

static void write_piece(const struct engine *engine, int32_t id, struct buf *out)
{
    size_t len;
    const char *bytes = engine_token_bytes(engine, id, &len);
    buf_printf(out, "{\"id\":%d,\"piece\":", id);
    if (is_text(bytes, len)) {
        json_str(out, bytes, len);
    } else {
        for (size_t i = 0; i < len; i++)
            buf_printf(out, "%c%d", i ? ',' : '[', (unsigned char)bytes[i]);
        json_lit(out, "]");
    }
    json_lit(out, "}");
}

static int read_tokenize(struct text_work *w, const struct buf *body, struct api_error *e)
{
    struct json *doc = NULL;
    int rc = read_body(body, &doc, e);
    if (rc == 0)
        rc = fields_read(tokenize_fields, COUNT_OF(tokenize_fields), 0, "", doc, w, e);
    if (rc == 0 && !w->content)
        rc = api_fail(e, SPECD_EINVAL, "content", "'content' is required");
    json_free(doc);
    return rc;
}

static int tokenize(struct job *job)
{
    struct text_work *w = job->arg;
    struct buf *out = &job->body;
    int rc = read_tokenize(w, &job->in, &job->error);
    if (rc < 0)
        return rc;
    rc = engine_tokenize(job->engine, w->content, strlen(w->content), w->add_special,
                         w->parse_special, &w->ids, &w->n_ids);
    if (rc < 0)
        return api_fail(&job->error, rc, "content", "'content' can't be tokenized");
    json_lit(out, "{\"tokens\":[");
    for (size_t i = 0; i < w->n_ids; i++) {
        if (i > 0)
            json_lit(out, ",");
        if (w->with_pieces)
            write_piece(job->engine, w->ids[i], out);
        else
            json_int(out, w->ids[i]);
    }
    json_lit(out, "]}");
    return 0;
}

enum MHD_Result api_tokenize(struct exchange *ex)
{
    return start(ex, tokenize);
}

/* ---- /detokenize */

static int read_tokens(struct text_work *w, const struct json *doc, const struct engine_info *info,
                       struct api_error *e)
{
    const struct json *v = json_get(doc, "tokens");
    if (!v || json_type(v) != JSON_ARRAY)
        return api_fail(e, SPECD_EINVAL, "tokens", "'tokens' must be a list of token ids");
    return token_ids_read("tokens", v, info->n_vocab, &w->ids, &w->n_ids, e);
}

static int detokenize(struct job *job)
{
    struct text_work *w = job->arg;
    struct json *doc = NULL;
    struct buf text = {0};
    int rc = read_body(&job->in, &doc, &job->error);
    if (rc == 0)
        rc = read_tokens(w, doc, engine_info(job->engine), &job->error);
    json_free(doc);
    if (rc < 0)
        return rc;
    engine_detokenize(job->engine, w->ids, w->n_ids, &text);
    json_lit(&job->body, "{\"content\":");
    json_str(&job->body, text.data ? text.data : "", text.len);
    json_lit(&job->body, "}");
    buf_free(&text);
    return 0;
}

enum MHD_Result api_detokenize(struct exchange *ex)
{
    return start(ex, detokenize);
}

/* ---- /apply-template */

static int apply_template(struct job *job)
{
    struct text_work *w = job->arg;
    struct buf text = {0};
    char why[256] = "";
    int rc = call_parse(&w->call, CALL_CHAT, engine_info(job->engine), job->in.data, job->in.len,
                        &job->error);
    if (rc == 0)
        w->req = call_request(&w->call, 0, 0);
    call_drop_document(&w->call);
    if (rc < 0)
        return rc;
    rc = engine_apply_template(job->engine, w->req, &text, why, sizeof why);
    if (rc < 0) {
        api_fail(&job->error, rc, NULL, "%s", why);
        api_name_field(&job->error);
    } else {
        json_lit(&job->body, "{\"prompt\":");
        json_str(&job->body, text.data ? text.data : "", text.len);
        json_lit(&job->body, "}");
    }
    buf_free(&text);
    return rc;
}

/* Takes what chat takes, so that a body can be tried here first. */
enum MHD_Result api_apply_template(struct exchange *ex)
{
    return start(ex, apply_template);
}
