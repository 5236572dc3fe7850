/*
 * graphs.h - captured rounds: the decoding part of a round in each of a few shapes, recorded once
 * and replayed untouched, so that the hundreds of launches of a round cost the host one.
 *
 * Shapes are chosen so that nearly every round fits one closely. One sequence has a graph for every
 * number of draft steps; more have their number and their steps rounded up, which costs launches
 * that find nothing to do, and rows are padded to what the product kernels take anyway. A round
 * that fits no shape, or whose smallest is much too large, is launched kernel by kernel.
 */
#ifndef SPECD_CUDA_GRAPHS_H
#define SPECD_CUDA_GRAPHS_H

#include "rounds.h"

#define GRAPHS_MAX 48

struct gpu_graphs {
    struct round_shape shapes[GRAPHS_MAX];
    cudaGraphExec_t execs[GRAPHS_MAX];
    int n;
};

/* The shapes for a setup, those of fewest rows first; returns how many. has_draft: of a model. */
int graph_shapes(struct round_shape shapes[GRAPHS_MAX], const struct device_setup *setup,
                 bool has_draft);
/* What they will take of the device's memory: an estimate, from the number of their nodes. */
uint64_t graph_bytes(const struct device_setup *setup, int target_layers, int draft_layers);

/* Captures them all, and takes their memory. SPECD_EDEVICE, SPECD_ENOMEM; logged. */
int gpu_graphs_capture(struct gpu_graphs *g, struct gpu_rounds *rounds,
                       const struct device_setup *setup, cudaStream_t stream);
void gpu_graphs_close(struct gpu_graphs *g);
/* The smallest shape that holds it, or NULL if there is none worth it. */
cudaGraphExec_t gpu_graphs_find(const struct gpu_graphs *g, const struct round_shape *shape);

#endif
