#include "sse.h"

void sse_begin(struct buf *out)
{
    buf_add(out, "data: ", 6);
}

void sse_end(struct buf *out)
{
    buf_add(out, "\n\n", 2);
}

void sse_done(struct buf *out)
{
    buf_puts(out, "data: [DONE]\n\n");
}

void sse_ping(struct buf *out)
{
    buf_puts(out, ": ping\n\n");
}
