/*
 * pool.h - the CPU device's own threads, run in lock step.
 *
 * pool_run is called by one leader thread (the device's round thread), which works, too. Idle
 * threads spin briefly, then sleep: a round has hundreds of short stages, and between rounds the
 * cores belong to others. Threads are not pinned: with another process on one of two cores half of
 * the time, passes of 1 to 9 rows were about a sixth slower pinned, in the one run that compared
 * them (bench-device's second table).
 * Every hand-over is an atomic that thread sanitizer understands.
 */
#ifndef SPECD_CPU_POOL_H
#define SPECD_CPU_POOL_H

#include <stdint.h>

/* Where part i of n items begins that are cut into n_parts nearly equal ones; it ends where the
 * next one begins. */
static inline int part_first(int n, int n_parts, int i)
{
    return (int)((int64_t)n * i / n_parts);
}

struct pool;
typedef void pool_fn(void *arg, int part, int n_parts);

struct pool *pool_create(int n_threads); /* >= 1, the leader included */
void pool_free(struct pool *p);
int pool_size(const struct pool *p);
/* Calls fn(arg, part, n) once for each part below n, the number of threads, part 0 on this thread,
 * and returns when all calls have returned. Who comes late finds its part done by another, so a
 * part may own scratch memory but not a thread. */
void pool_run(struct pool *p, pool_fn *fn, void *arg);

typedef void pool_item_fn(void *arg, int item, int part);
/* Calls fn(arg, item, part) for each item below n, handed out one by one: for items whose cost
 * differs. part < pool_size(p) says whose turn it is, for scratch of one's own. */
void pool_items(struct pool *p, int n, pool_item_fn *fn, void *arg);

#endif
