/*
 * predict.h - what a pass of few rows should take on a GPU, kernel by kernel, on paper. The numbers
 * behind docs/performance.md: bench-gpu and bench-kernels print them beside what they measure.
 */
#ifndef SPECD_BENCH_GPU_PREDICT_H
#define SPECD_BENCH_GPU_PREDICT_H

#include "shape.h"

#define EXIT_PARTLY 75 /* some measures were skipped for want of time */

/* What the paper asks of a GPU. */
struct gpu_rates {
    const char *name;
    double bandwidth; /* bytes read per second, as measured and not as on the datasheet */
    int n_multiprocessors;
};

/* With what is usually measured on them. */
#define KNOWN_GPUS 3
extern const struct gpu_rates known_gpus[KNOWN_GPUS];
/* The known one whose name is in `name`, with the bandwidth found; multiprocessors of an H100 if
 * there is none. */
struct gpu_rates rates_of(const char *name, double bandwidth);

/* The kernels of a pass, in their order. Attention has its merge with it. */
enum pass_kernel {
    PASS_ROWS,
    PASS_EMBED,
    PASS_NORM,
    PASS_QKV,
    PASS_ROTATE,
    PASS_ATTENTION,
    PASS_O,
    PASS_GATE_UP,
    PASS_DOWN,
    PASS_HEAD,
    PASS_KERNELS
};
const char *pass_kernel_name(enum pass_kernel kernel);
/* How often a pass has it. */
int pass_kernel_count(const struct shape *s, enum pass_kernel kernel);
/* Channels and length of a matmul's matrix (PASS_GATE_UP: channels of both together); false of
 * other kernels. */
bool pass_matrix(const struct shape *s, enum pass_kernel kernel, int64_t *n, int64_t *k);

/* Seconds of one launch with 1 to 8 rows of one sequence, from the end of the kernel before to its
 * own: nothing overlaps. */
double predict_kernel(const struct shape *s, enum weight_type type, enum pass_kernel kernel,
                      int rows, int context, const struct gpu_rates *gpu);
/* Of the pass; `overlapping`: less what launches that overlap are counted on to save. */
double predict_pass(const struct shape *s, enum weight_type type, int rows, int context,
                    const struct gpu_rates *gpu, bool overlapping);

/* Microseconds of what a round has beside its passes, for one slot and some 128,000 logits. */
extern const struct sampling_rates {
    double prepared, law, draw, step_ended, verify, overlaps, turns_ended;
    double gap; /* idle, from one round's end to the start of the next one, submitted in time */
} sampling_us;
/* Seconds of laws, draws and verification of a round with K drafts. */
double predict_sampling(int k);

/* For every known GPU, as markdown, to stdout. */
void predict_print(const struct shape *const *shapes, int n, int context);

#endif
