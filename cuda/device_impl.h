/*
 * device_impl.h - struct device on the GPU, for device.c, submit.c and the tests' window into it.
 */
#ifndef SPECD_CUDA_DEVICE_IMPL_H
#define SPECD_CUDA_DEVICE_IMPL_H

#include "flight.h"
#include "forward.h"
#include "gemm.h"
#include "graphs.h"
#include "machine.h"
#include "net.h"
#include "rounds.h"
#include "seats.h"
#include "waiter.h"

/* A round between begin and end. */
struct recording {
    bool active;
    const struct round *round; /* the copy in the flight's input */
    struct round_shape shape;  /* n_steps: what the sequences want */
    int32_t n_steps;           /* what was recorded */
    bool drawable, verifiable; /* the logits of the verb before are these */
    bool verifies, prompts[MODEL_ROLES];
};

struct device {
    struct device_info info;
    struct gpu_machine machine;

    /* from model_load on */
    struct device_setup setup; /* self_layers is our own copy */
    bool has_models;
    struct gpu_arena weights[MODEL_ROLES];
    struct gpu_net nets[MODEL_ROLES];
    bool has_net[MODEL_ROLES];

    /* from pool_create on */
    bool has_pool;
    int32_t n_blocks;
    cudaStream_t stream;
    struct gpu_arena slot_arena, activation_arena, workspace_arena, kv_arena;
    struct gpu_kv kv;
    struct seats seats;
    struct gpu_forward forward;
    struct gpu_rounds rounds;
    struct gemm *gemm;
    struct gpu_graphs graphs;
    struct gpu_waiter waiter;
    struct gpu_flight flights[WAITER_ROUNDS];
    uint64_t n_submitted, n_collected;
    struct recording recording;

    float *window; /* what cuda_device_logits gave */
};

/* submit.c: the verbs of a round, as device.h has them. */
int gpu_begin(struct device *dev, const struct round *round);
int gpu_record_forward(struct device *dev, enum model_role role, enum row_set rows, int step);
int gpu_record_draw(struct device *dev, int step);
int gpu_record_verify(struct device *dev);
int gpu_end(struct device *dev);
int gpu_poll(struct device *dev);
int gpu_collect(struct device *dev, struct round_result *out);

/* window.c: logits of sequence `seq` of the round collected last, with none in flight: of its i-th
 * verify row, or of its draft step i + 1; (V) floats, valid until the next call. For tests. */
const float *cuda_device_logits(struct device *dev, enum model_role role, int seq, int i);

#endif
