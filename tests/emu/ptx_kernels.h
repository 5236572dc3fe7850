/*
 * ptx_kernels.h - kernels that show the functions of cuda/ptx.cuh by themselves: on the emulator,
 * on a GPU, and to scripts/check-kernels.py, which reads what nvcc makes of them. Pointers are
 * device memory; all run on the default stream.
 */
#ifndef SPECD_EMU_PTX_KERNELS_H
#define SPECD_EMU_PTX_KERNELS_H

#include "cudart.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* y (16, 8) = a (16, 16) b (16, 8), by rows; a and b are bf16. */
void launch_matrix(const uint16_t *a, const uint16_t *b, float *y);
/* What lanes get of four 8 x 8 matrices: plain and transposed (32 lanes, 4). Rows are in the order
 * of the lanes that bring them. */
void launch_load(const uint16_t *matrices, uint32_t *plain, uint32_t *transposed);
/* Copies n chunks of 16 bytes, of the last only `tail` bytes and then zeros. */
void launch_copy(const uint32_t *in, uint32_t *out, int n, int tail);
/* Copies n chunks of 16 bytes through a ring of `stages`, 1 to 7; those of a stage are read as soon
 * as only the later ones may be on their way. */
void launch_ring(const uint32_t *in, uint32_t *out, int n, int stages);

/* Copies n chunks of 16 bytes with loads that pass by L1, after asking L2 for all. */
void launch_l2(const uint32_t *in, uint32_t *out, int n);
void launch_clock(uint64_t *out); /* device_clock_ns */

/* One thread a number, n of them. */
void launch_round(const float *in, uint16_t *out, int n);                    /* bf16_of_float */
void launch_pair(const float *low, const float *high, uint32_t *out, int n); /* bf16_pair_of */
void launch_f16(uint32_t first, float *out, int n);                          /* of first + i */
void launch_fma(const uint32_t *abc, uint32_t *out, int n);                  /* (n, 3) */
void launch_pick(const uint32_t *ab_which, uint32_t *out, int n);            /* (n, 3) */
void launch_put(const uint32_t *a_mask_into, uint32_t *out, int n);          /* (n, 3) */
void launch_fp8(const uint32_t *four, uint32_t *out, int n);                 /* out: (n, 2) */
/* The same with digits and masks that the compiler knows: PICKED of a word with the word b. */
#define PICKED 4
#define PICKED_DIGITS                      \
    {                                      \
        0x9988u, 0xbbaau, 0xfedcu, 0x7440u \
    }
void launch_constants(const uint32_t *a, uint32_t b, uint32_t *out, int n); /* (n, PICKED + 1) */

/* Every block writes into the shared memory of every block of its cluster, and what it then finds
 * in its own to out (n_clusters * size, size): 100 the writer's block + the reader's rank. */
void launch_peers(int *out, int size, int n_clusters);

#ifdef __cplusplus
}
#endif

#endif
