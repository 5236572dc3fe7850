/* GET /: the page to try the server with (page/index.html). */
#include "page.h"

#include "respond.h"
#include "server.h"

#include <string.h>

/* Open, and there while the model loads: it says so, and takes the key itself. */
enum MHD_Result api_page(struct exchange *ex)
{
    static const struct {
        const char *name, *value;
    } headers[] = {
        {MHD_HTTP_HEADER_CONTENT_TYPE, "text/html; charset=utf-8"},
        {MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache"},
        {"Content-Security-Policy", page_policy},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
    };
    struct MHD_Response *r =
        MHD_create_response_from_buffer(page_html_bytes, (void *)page_html, MHD_RESPMEM_PERSISTENT);
    for (size_t i = 0; r && i < COUNT_OF(headers); i++)
        MHD_add_response_header(r, headers[i].name, headers[i].value);
    ex->sent = strcmp(ex->method, "HEAD") == 0 ? 0 : page_html_bytes;
    return respond_queue(ex, 200, r);
}
