/*
 * The device of tests on a GPU machine: SPECD_TEST_DEVICE, cpu or cuda; without it the GPU where
 * the build has it.
 */
#include "device/rig.h"

#ifdef SPECD_CUDA_DEVICE
#include "../../cuda/device_impl.h"
#endif

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

#ifdef SPECD_CUDA_DEVICE
const float *cpu_device_logits(const struct device *dev, enum model_role role, int seq, int i);

const float *rig_logits(struct rig *r, enum model_role role, int seq, int i)
{
    return rig_is_cpu() ? cpu_device_logits(r->dev, role, seq, i)
                        : cuda_device_logits(r->dev, role, seq, i);
}
#endif
