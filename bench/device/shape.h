/*
 * shape.h - a model of SmolLM2-135M's shape with random weights of any file type, in memory.
 *
 * A pass takes as long as one of the real model; the texts mean nothing.
 */
#ifndef SPECD_BENCH_DEVICE_SHAPE_H
#define SPECD_BENCH_DEVICE_SHAPE_H

#include "specd/model.h"

struct model *shape_new(enum dtype type);
void shape_free(struct model *m);

#endif
