/*
 * clock.cuh - where a round's time goes: kernels that stand at the seams of its parts read the
 * device's clock, so that it costs no events and works in a captured graph.
 */
#ifndef SPECD_CUDA_CLOCK_CUH
#define SPECD_CUDA_CLOCK_CUH

#include "ptx.cuh"
#include "state.h"

/* Since the last stamp; nothing if the clock, which the driver may set, went back. */
DEVICE uint64_t clock_elapsed(const struct device_clock *c, uint64_t now)
{
    return now > c->last_ns ? now - c->last_ns : 0;
}

/* One thread of the round's first kernel. */
DEVICE void clock_begin(struct device_clock *c)
{
    if (!c || threadIdx.x != 0)
        return;
    uint64_t now = device_clock_ns();
    c->idle_ns = c->last_ns > 0 ? clock_elapsed(c, now) : 0;
    c->prompt_ns = c->draft_ns = c->verify_ns = c->sample_ns = c->draft_prompt_ns = 0;
    c->last_ns = now;
}

/* Thread 0 of a kernel of one block: what has passed since the last stamp was that part's. */
DEVICE void clock_stamp(struct device_clock *c, uint64_t device_clock::*part)
{
    if (!c || threadIdx.x != 0)
        return;
    uint64_t now = device_clock_ns();
    c->*part += clock_elapsed(c, now);
    c->last_ns = now;
}

/* The same in a kernel that may be the round's last: then the host gets to know. */
DEVICE void clock_end(const struct device_state &s, uint64_t device_clock::*part)
{
    clock_stamp(s.clock, part);
    if (s.clock && s.round->clock && threadIdx.x == 0)
        *s.round->clock = *s.clock;
}

#endif
