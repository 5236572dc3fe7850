/*
 * kernels.h - what the parts of bench-kernels share: the GPU, its memory, and runs of launches that
 * are timed. A part prints its own tables; all end the program at the first wrong result.
 */
#ifndef SPECD_BENCH_GPU_KERNELS_H
#define SPECD_BENCH_GPU_KERNELS_H

#include "machine.h"
#include "predict.h"
#include "state.h"

#define KERNEL_SHAPES 2

struct kernels {
    struct gpu_machine machine;
    struct device_info info;
    struct gpu_rates rates;
    cudaStream_t stream;
    const struct shape *shapes[KERNEL_SHAPES];
    int32_t n_vocab;   /* of what sampling kernels are measured with */
    size_t rotate;     /* bytes of weights or keys that launches take turns in, beyond the caches */
    int launches;      /* of a graph */
    bool quick, every; /* bf16 and one row alone; print every tiling */
    uint64_t deadline; /* clock_ns; 0: none */
    int n_skipped;     /* for want of time */
    /* Of a pass of one row at `context` positions with bf16 weights, as it is launched; 0: not
     * measured. */
    int context;
    double us[KERNEL_SHAPES][PASS_KERNELS];
};

/* Device memory until kernels_free; ends the program if there is none left. */
void *kernels_take(size_t bytes);
void *kernels_copy(const void *host, size_t bytes);
void kernels_free(void);
/* After all that was launched. */
void kernels_read(void *host, const void *device, size_t bytes);
void kernels_zero(void *device, size_t bytes);
/* `bytes` of device memory become copies of the pattern, one after another. */
void kernels_fill(void *device, size_t bytes, const void *pattern, size_t pattern_bytes);

_Noreturn void kernels_die(const char *what);
/* In -1 .. 1, of a fixed sequence. */
float kernels_random(void);

/* The i-th of a run. 0 or a negative SPECD_E*. */
typedef int kernel_launch(void *arg, int i, cudaStream_t stream);
/* Microseconds of one of `n` launches, captured in a graph: median over several replays, one right
 * behind the other. Negative if this GPU refuses the launch. */
double kernels_time(const struct kernels *k, kernel_launch *launch, void *arg, int n);
/* Whether there is time for more; counts what there is none for. */
bool kernels_go_on(struct kernels *k);

/* ---- passes.c: a slot and a pass of its rows ---------------------------------------------------
 */

struct pass_rig {
    struct device_state state;
    struct pass pass;
    int rows, context;
};

/* A verify pass of `rows` rows of one slot, the last of which sees `context` positions, with
 * attention's work for `queries` to an item; split and merged, or not. */
void pass_rig_make(struct pass_rig *r, const struct kernels *k, const struct shape *s, int rows,
                   int context, int queries, bool split);
/* The kernel that writes it. */
int pass_rig_rows(const struct pass_rig *r, const struct shape *s, int queries,
                  cudaStream_t stream);

/* ---- the parts ---------------------------------------------------------------------------------
 */

void kernels_small(struct kernels *k);
void kernels_attention(struct kernels *k);
void kernels_sampling(struct kernels *k);
void kernels_matmuls(struct kernels *k);

#endif
