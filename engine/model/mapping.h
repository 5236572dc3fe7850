/*
 * mapping.h - a file mapped read-only into memory.
 *
 * Pages are read when they are touched, so opening costs nothing and weights that a device copies
 * can be dropped by the kernel again. The file must not be cut short while it is mapped: touching
 * the lost pages ends the process with SIGBUS. Any thread.
 */
#ifndef SPECD_MODEL_MAPPING_H
#define SPECD_MODEL_MAPPING_H

#include <stddef.h>
#include <stdint.h>

struct mapping {
    const uint8_t *data;
    size_t size;
    char *path;
};

/* SPECD_EFILE for anything but a regular file with at least one byte. */
int mapping_open(struct mapping *m, const char *path, char *err, size_t errlen);
/* Gives back the memory of what was read so far; what is touched again is read again. */
void mapping_rest(struct mapping *m);
void mapping_close(struct mapping *m);

#endif
