#include "pieces.h"

#include "respond.h"
#include "specd/error.h"

#include <string.h>

size_t pieces_take(struct exchange *ex, struct pieces *p, char *to, size_t max)
{
    size_t n = MIN(p->out.len - p->at, max);
    memcpy(to, p->out.data + p->at, n);
    p->at += n;
    ex->sent += n;
    if (p->at == p->out.len) {
        buf_clear(&p->out);
        p->at = 0;
    }
    return n;
}

/* libmicrohttpd's content reader. */
static ssize_t read_pieces(void *cls, uint64_t at, char *to, size_t max)
{
    struct exchange *ex = cls;
    struct pieces *p = ex->pieces;
    (void)at;
    memory_ran_short();
    while (p->out.len == 0 && !p->over)
        p->over = p->next(p->arg, &p->out);
    if (memory_ran_short()) /* it may lack something */
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (p->out.len == 0)
        return MHD_CONTENT_READER_END_OF_STREAM;
    return (ssize_t)pieces_take(ex, p, to, max);
}

enum MHD_Result respond_pieces(struct exchange *ex, struct pieces *p)
{
    memory_ran_short();
    p->over = p->next(p->arg, &p->out);
    if (memory_ran_short())
        return respond_code(ex, SPECD_ENOMEM);
    if (p->over)
        return respond_json(ex, 200, &p->out);
    ex->pieces = p;
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE_BYTES, read_pieces, ex, NULL);
    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    return respond_queue(ex, 200, r);
}

void pieces_free(struct pieces *p)
{
    buf_free(&p->out);
}
