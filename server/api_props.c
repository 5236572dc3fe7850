/* GET /props, /slots: what llama.cpp's clients ask a server about itself. */
#include "call.h"
#include "fields_doc.h"
#include "specd/json_write.h"
#include "http.h"

#include <string.h>

/* The defaults of /completion, as the table of fields tells them. */
static void write_defaults(const struct engine_info *info, struct buf *out)
{
    struct call call;
    size_t n;
    const struct field *table = call_table(&n);
    call_init(&call, CALL_NATIVE, info);
    buf_printf(out, "{\"n_ctx\":%u,\"params\":", info->n_ctx);
    fields_values(table, n, CALL_NATIVE, &call, out);
    json_lit(out, "}");
}

enum MHD_Result api_props(struct exchange *ex)
{
    struct engine *engine = atomic_load(&ex->server->engine);
    const struct engine_info *info = engine_info(engine);
    struct buf body = {0};
    if (!info)
        return respond_code(ex, SPECD_ELOADING);
    json_lit(&body, "{\"default_generation_settings\":");
    write_defaults(info, &body);
    buf_printf(&body, ",\"total_slots\":%d,\"model_path\":", info->n_slots);
    json_cstr(&body, info->model_id);
    json_lit(&body, ",\"chat_template\":");
    json_cstr(&body, engine_chat_template(engine));
    json_lit(&body, ",\"draft\":");
    json_cstr(&body, info->draft);
    json_lit(
        &body,
        ",\"modalities\":{\"vision\":false,\"audio\":false},\"build_info\":\"specd " SPECD_VERSION
        "\"}");
    return respond_json(ex, 200, &body);
}

/* Sequences move between slots of the device, so the numbers here are seats, taken from the first:
 * as many are processing as there are running requests. */
enum MHD_Result api_slots(struct exchange *ex)
{
    struct engine *engine = atomic_load(&ex->server->engine);
    const struct engine_info *info = engine_info(engine);
    const char *wanted =
        MHD_lookup_connection_value(ex->conn, MHD_GET_ARGUMENT_KIND, "fail_on_no_slot");
    struct engine_stats stats;
    struct buf body = {0};
    if (!info)
        return respond_code(ex, SPECD_ELOADING);
    engine_stats(engine, &stats);
    if (wanted && strcmp(wanted, "1") == 0 && stats.running >= info->n_slots) {
        struct api_error e = {.code = SPECD_ELOADING, .message = "no slot is free"};
        return respond_error(ex, &e);
    }
    json_lit(&body, "[");
    for (int i = 0; i < info->n_slots; i++)
        buf_printf(&body, "%s{\"id\":%d,\"n_ctx\":%u,\"speculative\":%s,\"is_processing\":%s}",
                   i ? "," : "", i, info->n_ctx, strcmp(info->draft, "none") ? "true" : "false",
                   i < stats.running ? "true" : "false");
    json_lit(&body, "]");
    return respond_json(ex, 200, &body);
}
