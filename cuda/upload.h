/*
 * upload.h - fills device memory with what the host's threads make, piece by piece: threads write
 * pieces into pinned buffers, two for each thread, and while one is copied the next is made. So
 * nothing as large as a matrix is held on the host.
 *
 * Only the calling thread talks to the CUDA runtime; it waits for the last copy before it returns.
 * Engine thread, at load.
 */
#ifndef SPECD_CUDA_UPLOAD_H
#define SPECD_CUDA_UPLOAD_H

#include "specd/device.h"

/* `count` elements, say a matrix's tiles or a table's rows, each of step[0] bytes in one array on
 * the device and step[1] (0: none) in another. */
struct upload_item {
    void *to[2];
    size_t step[2];
    size_t count;
    /* Elements first..first+n into out, host memory that is 64-byte aligned: n * step[0] bytes,
     * then n * step[1]. Any thread. */
    void (*make)(const void *what, size_t first, size_t n, void *out);
    const void *what;
};

/* Whom to tell, from the calling thread; progress may be NULL. `done` counts bytes up to total,
 * which the last call reports. */
struct upload_listener {
    device_progress *progress;
    void *arg;
    enum model_role role;
    uint64_t total;
};

/* threads: 0 = one per core. SPECD_ENOMEM without pinned memory for the buffers, SPECD_EDEVICE if a
 * copy fails. */
int gpu_upload(const struct upload_item *items, size_t n_items, int threads,
               const struct upload_listener *listener, char *err, size_t errlen);

#endif
