/* GET /health, /ready, /v1/models and its one model, with OpenAI's members and Anthropic's. */
#include "specd/json_write.h"
#include "http.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static enum MHD_Result status_ok(struct exchange *ex, const char *word)
{
    struct buf body = {0};
    buf_printf(&body, "{\"status\":\"%s\"}", word);
    return respond_json(ex, 200, &body);
}

static enum MHD_Result unavailable(struct exchange *ex, const char *why)
{
    struct api_error e = {.code = SPECD_ELOADING};
    snprintf(e.message, sizeof e.message, "%s", why);
    return respond_error(ex, &e);
}

/* A text without numbers: probes compare, the log has the details. */
static const char *hang(const struct exchange *ex)
{
    const char *what;
    return server_hangs(ex->server, &what) > 0 ? "the engine hangs" : NULL;
}

/* Alive: a draining server is, one that lost its device or hangs is not. */
enum MHD_Result api_health(struct exchange *ex)
{
    const char *why = hang(ex);
    if (why)
        return unavailable(ex, why);
    switch (server_state(ex->server)) {
    case ENGINE_LOADING:
        return respond_code(ex, SPECD_ELOADING);
    case ENGINE_FAILED:
        return unavailable(ex, "the engine has failed");
    default:
        return status_ok(ex, "ok");
    }
}

enum MHD_Result api_ready(struct exchange *ex)
{
    enum engine_state state = server_state(ex->server);
    const char *why = hang(ex);
    if (why)
        return unavailable(ex, why);
    if (state == ENGINE_READY)
        return status_ok(ex, "ready");
    return respond_code(ex, state == ENGINE_LOADING ? SPECD_ELOADING : SPECD_EDRAINING);
}

static void write_model(const struct engine_info *info, struct buf *out)
{
    char created_at[32];
    struct tm utc;
    time_t modified = (time_t)info->modified;
    strftime(created_at, sizeof created_at, "%FT%TZ", gmtime_r(&modified, &utc));
    json_lit(out, "{\"id\":");
    json_cstr(out, info->model_id);
    buf_printf(out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"specd\",",
               (long long)info->modified);
    json_lit(out, "\"type\":\"model\",\"display_name\":");
    json_cstr(out, info->model_id);
    buf_printf(out, ",\"created_at\":\"%s\",\"meta\":{\"arch\":", created_at);
    json_cstr(out, info->arch);
    buf_printf(out,
               ",\"n_vocab\":%u,\"n_ctx\":%u,\"n_ctx_train\":%u,\"n_embd\":%u,\"n_layer\":%u,"
               "\"n_params\":%llu,\"size\":%llu,\"n_slots\":%d,\"draft\":",
               info->n_vocab, info->n_ctx, info->n_ctx_train, info->n_embd, info->n_layers,
               (unsigned long long)info->n_params, (unsigned long long)info->file_bytes,
               info->n_slots);
    json_cstr(out, info->draft);
    json_lit(out, ",\"device\":");
    json_cstr(out, info->device);
    json_lit(out, "}}");
}

enum MHD_Result api_models(struct exchange *ex)
{
    struct engine *engine = atomic_load(&ex->server->engine);
    const struct engine_info *info = engine ? engine_info(engine) : NULL;
    if (!info)
        return respond_code(ex, SPECD_ELOADING);
    struct buf body = {0};
    if (ex->name && strcmp(ex->name, info->model_id) != 0) {
        struct api_error e = {.code = SPECD_ENOMODEL, .param = "model"};
        return respond_error(ex, &e);
    }
    if (!ex->name)
        json_lit(&body, "{\"object\":\"list\",\"data\":[");
    write_model(info, &body);
    if (!ex->name) {
        json_lit(&body, "],\"has_more\":false,\"first_id\":");
        json_cstr(&body, info->model_id);
        json_lit(&body, ",\"last_id\":");
        json_cstr(&body, info->model_id);
        json_lit(&body, "}");
    }
    return respond_json(ex, 200, &body);
}
