#include "respond.h"

#include "head.h"
#include "specd/json_write.h"
#include "server.h"

#include <stdio.h>
#include <string.h>

#define RETRY_AFTER_S "1"

static const char *allowed(const struct exchange *ex)
{
    return ex->route && ex->route->flags & ROUTE_POST ? "POST, OPTIONS" : "GET, HEAD, OPTIONS";
}

enum MHD_Result respond_queue(struct exchange *ex, int status, struct MHD_Response *response)
{
    const char *origin = ex->server->config->cors_origin;
    if (!response)
        return MHD_NO;
    if (origin) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_ORIGIN);
        MHD_add_response_header(response, "Access-Control-Expose-Headers",
                                "X-Request-Id, Traceparent, Retry-After");
    }
    const char *trace = head_traceparent(ex);
    MHD_add_response_header(response, "X-Request-Id", ex->request_id);
    if (trace)
        MHD_add_response_header(response, "Traceparent", trace);
    if (status == 405)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allowed(ex));
    else if (status == 401)
        MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    else if (status == 429 || status == 503)
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, RETRY_AFTER_S);
    enum engine_state state = server_state(ex->server);
    if (state == ENGINE_DRAINING || state == ENGINE_STOPPED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    ex->status = status;
    enum MHD_Result queued = MHD_queue_response(ex->conn, (unsigned)status, response);
    MHD_destroy_response(response);
    return queued;
}

enum MHD_Result respond_body(struct exchange *ex, int status, const char *content_type,
                             struct buf *body)
{
    size_t len = body->len;
    ex->sent = strcmp(ex->method, "HEAD") == 0 ? 0 : len;
    struct MHD_Response *r =
        MHD_create_response_from_buffer(len, buf_take(body), MHD_RESPMEM_MUST_FREE);
    if (r && content_type)
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    return respond_queue(ex, status, r);
}

enum MHD_Result respond_json(struct exchange *ex, int status, struct buf *body)
{
    return respond_body(ex, status, "application/json", body);
}

void error_json(struct buf *out, const struct api_error *e)
{
    json_lit(out, "{\"error\":{\"message\":");
    json_cstr(out, e->message[0] ? e->message : specd_error_text(e->code));
    json_lit(out, ",\"type\":");
    json_cstr(out, specd_error_type(e->code));
    json_lit(out, ",\"param\":");
    if (e->param[0])
        json_cstr(out, e->param);
    else
        json_lit(out, "null");
    json_lit(out, ",\"code\":");
    json_cstr(out, specd_error_code(e->code));
    json_lit(out, "}}");
}

enum MHD_Result respond_error(struct exchange *ex, const struct api_error *e)
{
    struct buf body = {0};
    error_json(&body, e);
    return respond_json(ex, specd_error_status(e->code), &body);
}

enum MHD_Result respond_code(struct exchange *ex, int code)
{
    struct api_error e = {.code = code};
    return respond_error(ex, &e);
}

enum MHD_Result respond_preflight(struct exchange *ex)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    if (r) {
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, allowed(ex));
        MHD_add_response_header(r, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_METHODS, allowed(ex));
        MHD_add_response_header(
            r, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, X-Api-Key, X-Request-Id, Traceparent");
        MHD_add_response_header(r, MHD_HTTP_HEADER_ACCESS_CONTROL_MAX_AGE, "600");
    }
    return respond_queue(ex, 204, r);
}
