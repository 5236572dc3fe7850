/*
 * fill.h - the last part of planning: prompt chunks, draft catch-up and K of every decoding
 * sequence become a struct round. Part of the scheduler, for scheduler.c alone.
 */
#ifndef SPECD_FILL_H
#define SPECD_FILL_H

#include "scheduler.h"

/* Sequences have their slots and blocks. turn: number of the plan, for probes (pace_choose). Writes
 * the planned turn of whoever takes part; when the round stays empty nobody does. */
void fill_round(struct sched *s, struct round *r, uint64_t turn);

#endif
