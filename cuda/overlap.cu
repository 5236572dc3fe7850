/*
 * overlap.cu - the one place that decides whether launches overlap (overlap.h).
 *
 * What counts is the architecture the kernels were compiled for, not the device's: on a newer
 * device code for an older one has no instruction to wait with.
 */
#include "overlap.h"
#include "common.cuh"

#include <stdlib.h>

#define PTX_WITH_WAIT 90

static bool is_allowed = true;

/* Stands for all kernels: they are compiled alike. */
static __global__ void overlap_probe_kernel(void)
{
    grid_wait();
}

static bool is_possible(void)
{
    struct cudaFuncAttributes a = {};

    if (getenv("SPECD_NO_OVERLAP"))
        return false;
    return CUDA_RESULT(cudaFuncGetAttributes(&a, overlap_probe_kernel)) == 0 &&
           a.ptxVersion >= PTX_WITH_WAIT;
}

bool launch_overlaps(void)
{
    static const bool possible = is_possible();

    return possible && is_allowed;
}

void launch_overlap_allow(bool allowed)
{
    is_allowed = allowed;
}
