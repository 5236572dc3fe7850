/*
 * api_text.c - what needs no generation: POST /tokenize, /detokenize, /apply-template, which are
 * llama.cpp's, and the counts of prompts' tokens in other dialects.
 */
#include "call.h"
#include "jobs.h"
#include "specd/json_write.h"
#include "stream.h"
#include "http.h"
#include "specd/utf8.h"

#include <stdlib.h>

/* What a job works on. Documents are gone as soon as they are read: they may take a hundred
 * times a body's bytes. */
struct text_work {
    char *content;
    bool add_special, parse_special, with_pieces;
    int32_t *ids;
    size_t n_ids;
    size_t n_tokens; /* of a prompt */
    struct buf text; /* of all ids, of the next few, or of the prompt */
    struct call call;
    struct request *req;
    enum call_route route; /* whose bodies are taken; of calls */
    const struct engine *engine;
    struct pieces pieces;
    size_t at; /* what pieces have come to: the next id, or byte of text */
};

static const struct text_work defaults = {.parse_special = true};

static void work_free(void *arg)
{
    struct text_work *w = arg;
    request_unref(w->req);
    call_free(&w->call);
    free(w->ids);
    free(w->content);
    buf_free(&w->text);
    pieces_free(&w->pieces);
    free(w);
}

static enum MHD_Result answer(struct job *job)
{
    struct text_work *w = job->arg;
    if (job->rc < 0)
        return respond_error(job->exchange, &job->error);
    if (!clients_charge(job->exchange, w->n_ids * sizeof *w->ids + w->text.cap))
        return respond_code(job->exchange, SPECD_EBUSY);
    return respond_pieces(job->exchange, &w->pieces);
}

/* Bodies are read by the job, too: one of megabytes takes long. next writes what run has found. */
static enum MHD_Result start(struct exchange *ex, enum call_route route,
                             int (*run)(struct job *job), bool (*next)(void *work, struct buf *out))
{
    struct engine *engine = atomic_load(&ex->server->engine);
    if (!engine || !engine_info(engine))
        return respond_code(ex, SPECD_ELOADING);
    struct text_work *w = xcalloc(1, sizeof *w);
    *w = defaults;
    w->route = route;
    w->engine = engine;
    w->pieces.next = next;
    w->pieces.arg = w;
    return job_start(ex,
                     &(struct job){.run = run, .then = answer, .free_arg = work_free, .arg = w});
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
    if (utf8_valid_run(bytes, len) == len) {
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
    int rc = read_tokenize(w, &job->in, &job->error);
    buf_free(&job->in);
    if (rc < 0)
        return rc;
    rc = engine_tokenize(job->engine, w->content, strlen(w->content), w->add_special,
                         w->parse_special, &w->ids, &w->n_ids);
    free(w->content);
    w->content = NULL;
    if (rc < 0)
        return api_fail(&job->error, rc, "content", "'content' can't be tokenized");
    w->ids = xrealloc(w->ids, w->n_ids * sizeof *w->ids);
    return 0;
}

static bool write_tokens(void *arg, struct buf *out)
{
    struct text_work *w = arg;
    if (w->at == 0)
        json_lit(out, "{\"tokens\":[");
    while (w->at < w->n_ids) {
        if (w->at > 0)
            json_lit(out, ",");
        int32_t id = w->ids[w->at++];
        if (w->with_pieces)
            write_piece(w->engine, id, out);
        else
            json_int(out, id);
        if (out->len >= PIECE_BYTES)
            return false;
    }
    json_lit(out, "]}");
    return true;
}

enum MHD_Result api_tokenize(struct exchange *ex)
{
    return start(ex, 0, tokenize, write_tokens);
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
    int rc = read_body(&job->in, &doc, &job->error);
    buf_free(&job->in);
    if (rc == 0)
        rc = read_tokens(w, doc, engine_info(job->engine), &job->error);
    json_free(doc);
    return rc;
}

static bool write_text(void *arg, struct buf *out)
{
    struct text_work *w = arg;
    if (w->at == 0)
        json_lit(out, "{\"content\":\"");
    while (w->at < w->n_ids) {
        buf_clear(&w->text);
        w->at = engine_detokenize(w->engine, w->ids, w->n_ids, w->at, PIECE_BYTES / 4, &w->text);
        json_escape(out, w->text.data, w->text.len);
        if (out->len >= PIECE_BYTES && w->at < w->n_ids)
            return false;
    }
    json_lit(out, "\"}");
    return true;
}

enum MHD_Result api_detokenize(struct exchange *ex)
{
    return start(ex, 0, detokenize, write_text);
}

/* ---- /apply-template */

static int read_call(struct job *job)
{
    struct text_work *w = job->arg;
    int rc = call_parse(&w->call, w->route, engine_info(job->engine), job->in.data, job->in.len,
                        &job->error);
    if (rc == 0)
        w->req = call_request(&w->call, 0, 0);
    call_drop_document(&w->call);
    buf_free(&job->in);
    return rc;
}

static int fail_as_told(struct job *job, int rc, const char *why)
{
    if (rc < 0) {
        api_fail(&job->error, rc, NULL, "%s", why);
        api_name_field(&job->error);
    }
    return rc;
}

static int apply_template(struct job *job)
{
    struct text_work *w = job->arg;
    char why[256] = "";
    int rc = read_call(job);
    if (rc < 0)
        return rc;
    rc = engine_apply_template(job->engine, w->req, &w->text, why, sizeof why);
    return fail_as_told(job, rc, why);
}

static bool write_prompt(void *arg, struct buf *out)
{
    struct text_work *w = arg;
    if (w->at == 0)
        json_lit(out, "{\"prompt\":\"");
    if (!json_escape_upto(out, PIECE_BYTES, w->text.data, w->text.len, &w->at))
        return false;
    json_lit(out, "\"}");
    return true;
}

/* Takes what chat takes, so that a body can be tried here first. */
enum MHD_Result api_apply_template(struct exchange *ex)
{
    return start(ex, CALL_CHAT, apply_template, write_prompt);
}

/* ---- how many tokens a prompt has, by the bodies that the dialects' generating routes take */

static int count(struct job *job)
{
    struct text_work *w = job->arg;
    char why[256] = "";
    int rc = read_call(job);
    if (rc < 0)
        return rc;
    rc = engine_count_prompt(job->engine, w->req, &w->n_tokens, why, sizeof why);
    return fail_as_told(job, rc, why);
}

static bool write_count(void *arg, struct buf *out)
{
    const struct text_work *w = arg;
    if (w->route == CALL_RESPONSES)
        json_lit(out, "{\"object\":\"response.input_tokens\",");
    else
        json_lit(out, "{");
    buf_printf(out, "\"input_tokens\":%zu}", w->n_tokens);
    return true;
}

enum MHD_Result api_input_tokens(struct exchange *ex)
{
    return start(ex, CALL_RESPONSES, count, write_count);
}

enum MHD_Result api_count_tokens(struct exchange *ex)
{
    return start(ex, CALL_MESSAGES, count, write_count);
}
