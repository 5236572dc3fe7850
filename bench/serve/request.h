/*
 * request.h - the HTTP requests that bench-serve sends.
 */
#ifndef BENCH_REQUEST_H
#define BENCH_REQUEST_H

#include "options.h"

/* Appends the index-th request, head and body. The same index gives the same bytes. */
void request_put(struct buf *out, const struct options *o, enum spec_choice spec, int index);

#endif
