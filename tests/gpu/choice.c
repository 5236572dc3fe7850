/*
 * The device of tests on a GPU machine: SPECD_TEST_DEVICE, cpu or cuda; without it the GPU where
 * the build has it.
 */
#include "device/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct device_ops *rig_ops(void)
{
    const char *name = getenv("SPECD_TEST_DEVICE");
#ifdef SPECD_CUDA_DEVICE
    if (!name || strcmp(name, "cuda") == 0)
        return &cuda_device_ops;
#endif
    if (!name || strcmp(name, "cpu") == 0)
        return &cpu_device_ops;
    fprintf(stderr, "SPECD_TEST_DEVICE=%s: no such device in this build\n", name);
    exit(1);
}
