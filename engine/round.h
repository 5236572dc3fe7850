/*
 * round.h - the algorithm: draft, verify and commit, written once for every device.
 */
#ifndef SPECD_ROUND_H
#define SPECD_ROUND_H

#include "specd/device.h"

#include <stdbool.h>

/* Submits a round; completion comes through the device's on_done. Engine thread. */
int round_submit(const struct device_ops *ops, struct device *dev, const struct round *round);

#endif
