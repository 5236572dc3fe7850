/*
 * setup_check.h - what every device asks of a setup, whatever it can do itself: a target, self
 * layers that exist, numbers in their ranges. Pure, any thread.
 */
#ifndef SPECD_SETUP_CHECK_H
#define SPECD_SETUP_CHECK_H

#include "specd/device.h"

/* "target", "draft" */
const char *model_role_name(int role);
/* SPECD_EINVAL, naming what is wrong. rows_max: of a prompt pass, on that device. */
int device_setup_check(const struct device_setup *s, int rows_max, char *err, size_t errlen);

#endif
