/*
 * fill.h - the last part of planning: prompt chunks, draft catch-up and K of every decoding
 * sequence become a struct round. Part of the scheduler, for scheduler.c alone.
 */
#ifndef SPECD_FILL_H
#define SPECD_FILL_H

#include "scheduler.h"

/* Sequences have their slots and blocks. plan: its number, for probes (draft_len_choose). Writes
 * the part of whoever takes part; when the round stays empty nobody does. */
void fill_round(struct sched *s, struct round *r, uint64_t plan);

#endif
