#include "attention_faulty.h"

#include "attention.cuh"

enum attention_fault attention_fault;

static inline void wait_maybe(int groups)
{
    if (attention_fault != FAULT_NO_WAIT)
        copy_wait_but(groups);
}

static inline void barrier_maybe(emu_site site)
{
    if (attention_fault != FAULT_NO_BARRIER)
        (void)emu_block_barrier(site, false);
}

static inline float fma_maybe(float a, float b, float c)
{
    return attention_fault == FAULT_OTHER_SUMS && gridDim.x > 1 ? a * b + c : fmaf(a, b, c);
}

#undef copy_wait_but
#define copy_wait_but wait_maybe
#undef __syncthreads
#define __syncthreads() barrier_maybe(EMU_SITE)
#define fmaf(a, b, c) fma_maybe(a, b, c)
#define launch_attention launch_attention_faulty
#define attention_shared_bytes attention_shared_bytes_faulty

#include "../../cuda/attention.cu"
