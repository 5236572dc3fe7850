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
