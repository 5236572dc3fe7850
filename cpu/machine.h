/*
 * machine.h - what this computer offers: processor, cores, memory, read bandwidth.
 *
 * Limits of the control group that the process runs in count, as a container has no other. All
 * functions may be called from any thread; what cannot be read is left at the machine's own value.
 */
#ifndef SPECD_CPU_MACHINE_H
#define SPECD_CPU_MACHINE_H

#include "pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "model name", with the number of cores. */
void machine_name(char *name, size_t size);
/* Cores this process may run on, >= 1: the affinity mask, and a quota of processor time rounded
 * up. */
int machine_cores(void);
/* Bytes of memory, and of these free or reclaimable. */
void machine_memory(uint64_t *total, uint64_t *free_bytes);
/* How many of the bytes from `start` on lie in huge pages; false if the kernel does not say. Reads
 * a file that is as long as the process has mappings. */
bool machine_huge_pages(const void *start, size_t bytes, size_t *huge);
/* Bytes per second that the pool's threads read together from a buffer beyond the caches, the best
 * of a few passes. 0 if there is no memory for one. Takes about a quarter of a second, once in a
 * process for as many threads. */
double machine_read_bandwidth(struct pool *pool);

#endif
