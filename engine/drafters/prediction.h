/*
 * prediction.h - a text that the client expects the answer to be, or most of it.
 *
 * Made on the thread pool with the prompt; choices of one prompt share it. All else is the engine
 * thread's: references, and the suffix automaton, which the first that drafts from it makes.
 * Nothing fails.
 */
#ifndef SPECD_PREDICTION_H
#define SPECD_PREDICTION_H

#include <stdint.h>

struct prediction;

/* Copies ids. One reference; NULL where there are none. */
struct prediction *prediction_create(const int32_t *ids, int32_t n);
struct prediction *prediction_ref(struct prediction *p); /* NULL is fine, here and below */
void prediction_unref(struct prediction *p);

#endif
