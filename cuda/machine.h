/*
 * machine.h - which GPU, and what it can do.
 */
#ifndef SPECD_CUDA_MACHINE_H
#define SPECD_CUDA_MACHINE_H

#include "product.h"
#include "specd/device.h"

struct gpu_machine {
    int index;
    int major, minor; /* compute capability */
    struct product_machine product;
};

/* Chooses device `index`, or with -1 the one with the most free memory, and makes it the calling
 * thread's. Fills info but for rounds_in_flight; measures read bandwidth. SPECD_EDEVICE with the
 * driver's reason; SPECD_EINVAL for an index that is none. */
int gpu_machine_open(struct gpu_machine *m, int index, struct device_info *info, char *err,
                     size_t errlen);

#ifdef __cplusplus
extern "C" {
#endif

/* bandwidth.cu: reads `bytes` (a multiple of 16) of device memory once; *sum: where to leave what
 * keeps the compiler from dropping the reads. */
int launch_read(const void *data, size_t bytes, uint32_t *sum, int n_multiprocessors,
                cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
