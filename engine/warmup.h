/*
 * warmup.h - measures what passes cost on this machine, where draft_len.h begins.
 *
 * Runs real rounds on made-up sequences before the server is ready, a fraction of a second for a
 * small model, and keeps the table in the user's cache folder, keyed by everything the times depend
 * on. It also touches every page and every kernel once. Engine thread, before any request.
 */
#ifndef SPECD_WARMUP_H
#define SPECD_WARMUP_H

#include "engine_impl.h"

/* Fills e->drafts->cost. Fails only when the device does. */
int warmup_measure(struct engine *e, char *err, size_t errlen);
/* Keeps what was learned since, for the next start: a table taken on a busy machine must not last.
 */
void warmup_keep(const struct engine *e);

#endif
