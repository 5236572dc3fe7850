/*
 * overlap.h - whether a kernel may start before those ahead of it in its stream have ended
 * (programmatic dependent launch): blocks of the next kernel take the room that ending ones leave,
 * and products have their first weights on the way when their input is there. grid_wait of ptx.cuh
 * is where a kernel waits; beside time, nothing changes.
 *
 * In stream capture the launches become programmatic edges of the graph. Behind a copy, a kernel of
 * a library or another graph they are launches like any other.
 * Thread: the one that launches.
 */
#ifndef SPECD_CUDA_OVERLAP_H
#define SPECD_CUDA_OVERLAP_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of launches from now on. What device and build can do, unless SPECD_NO_OVERLAP is in the
 * environment at the first call, or the test below has failed. */
bool launch_overlaps(void);
/* false takes it away, for comparison. Graphs keep what they were captured with. */
void launch_overlap_allow(bool allowed);

/* When a device is opened: a few hundred launches that overlap and whose result is known, on a
 * stream and as a graph, the first time in a process. Wrong numbers, or an error, are logged, and
 * nothing overlaps in this process any more. A few milliseconds; waits for the device. */
void launch_overlap_test(void);
/* The chain of that test: each launch changes all of its numbers, and lets the next one start
 * before it has waited itself. captured: out of a graph that is launched again and again. Whether
 * every number is right at the end; false, logged, when a call failed. */
bool overlap_chain_is_right(int launches, bool captured);

#ifdef __cplusplus
}
#endif

#endif
