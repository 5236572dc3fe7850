/*
 * fill.h - the last part of planning: prompt chunks, rows of the draft model and K of every
 * decoding sequence become a struct round. Part of the scheduler, for scheduler.c alone.
 */
#ifndef SPECD_FILL_H
#define SPECD_FILL_H

#include "scheduler.h"

/* Sequences have their slots and blocks. Writes the part of whoever takes part; when the round
 * stays empty nobody does. */
void fill_round(struct sched *s, struct round *r);

#endif
