/*
 * setup_check.h - what every device asks of a setup, whatever it can do itself: a target, self
 * layers that exist, numbers in their ranges; and a copy that outlives the caller's. Any thread.
 */
#ifndef SPECD_SETUP_CHECK_H
#define SPECD_SETUP_CHECK_H

#include "specd/device.h"

/* "target", "draft" */
const char *model_role_name(int role);
/* fail() with a reason that a model is not one for this device, naming the model and its file. */
int device_model_fail(const struct device_setup *s, int role, int code, const char *why, char *err,
                      size_t errlen);
/* SPECD_EINVAL, naming what is wrong. rows_max: of a prompt pass, on that device. */
int device_setup_check(const struct device_setup *s, int rows_max, char *err, size_t errlen);
/* *to, zero or kept before, becomes a copy whose self_layers are its own, for free(). */
void device_setup_keep(struct device_setup *to, const struct device_setup *from);

#endif
