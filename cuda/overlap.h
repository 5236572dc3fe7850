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
 * environment at the first call. */
bool launch_overlaps(void);
/* false takes it away, for comparison. Graphs keep what they were captured with. */
void launch_overlap_allow(bool allowed);

#ifdef __cplusplus
}
#endif

#endif
