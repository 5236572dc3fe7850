#include "api_error.h"

#include "specd/json_write.h"
#include "specd/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int api_fail(struct api_error *e, int code, const char *param, const char *fmt, ...)
{
    va_list ap;
    e->code = code;
    snprintf(e->param, sizeof e->param, "%s", param ? param : "");
    va_start(ap, fmt);
    vsnprintf(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
    return code;
}

int api_memory(int rc, struct api_error *e)
{
    return memory_ran_short()
               ? api_fail(e, SPECD_ENOMEM, NULL, "%s", specd_error_text(SPECD_ENOMEM))
               : rc;
}

void api_name_field(struct api_error *e)
{
    size_t n = strspn(e->message, "abcdefghijklmnopqrstuvwxyz_");
    if (n > 0 && strncmp(e->message + n, ": ", 2) == 0)
        snprintf(e->param, sizeof e->param, "%.*s", (int)n, e->message);
}

static const char *message_of(const struct api_error *e)
{
    return e->message[0] ? e->message : specd_error_text(e->code);
}

void error_json(struct buf *out, const struct api_error *e)
{
    json_lit(out, "{\"error\":{\"message\":");
    json_cstr(out, message_of(e));
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

/* Its types go by the status, which is the same but for 503: there that is 529. */
static const struct messages_error {
    int status, its_status;
    const char *type;
} messages_errors[] = {
    {401, 401, "authentication_error"},
    {404, 404, "not_found_error"},
    {413, 413, "request_too_large"},
    {429, 429, "rate_limit_error"},
    {500, 500, "api_error"},
    {503, 529, "overloaded_error"},
    {504, 504, "timeout_error"},
};

static struct messages_error messages_error(int code)
{
    int status = specd_error_status(code);
    for (size_t i = 0; i < COUNT_OF(messages_errors); i++)
        if (messages_errors[i].status == status)
            return messages_errors[i];
    return (struct messages_error){status, status, "invalid_request_error"};
}

int messages_error_status(int code)
{
    return messages_error(code).its_status;
}

void messages_error_json(struct buf *out, const struct api_error *e, const char *request_id)
{
    json_lit(out, "{\"type\":\"error\",\"error\":{\"type\":");
    json_cstr(out, messages_error(e->code).type);
    json_lit(out, ",\"message\":");
    json_cstr(out, message_of(e));
    json_lit(out, "},\"request_id\":");
    json_cstr(out, request_id);
    json_lit(out, "}");
}
