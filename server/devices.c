#include "devices.h"

#include "specd/error.h"

#ifdef SPECD_HAVE_CUDA_DEVICE
static const struct device_ops *const cuda = &cuda_device_ops;
#else
static const struct device_ops *const cuda;
#endif

int devices_choose(struct config *config, char *err, size_t errlen)
{
    struct engine_config *e = &config->engine;
    e->device = &cpu_device_ops;
    e->fallback = NULL;
    if (config->device == DEVICE_CPU)
        return 0;
    if (cuda) {
        e->device = cuda;
        e->fallback = config->device == DEVICE_AUTO ? &cpu_device_ops : NULL;
        return 0;
    }
    if (config->device == DEVICE_AUTO)
        return 0;
    return fail(SPECD_EINVAL, err, errlen,
                "--device: this build has no CUDA device: it was made without NVIDIA's CUDA "
                "toolkit (nvcc), or with -DSPECD_CUDA=OFF");
}
