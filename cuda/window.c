/*
 * The tests' window into the device: logits are copied out of its memory.
 */
#include "device_impl.h"
#include "specd/util.h"

#include <stdlib.h>

static void fetch(void *to, const void *from, size_t bytes)
{
    ASSERT(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost) == cudaSuccess);
}

const float *cuda_device_logits(struct device *dev, enum model_role role, int seq, int i)
{
    const struct gpu_rounds *r = &dev->rounds;
    const struct device_law *at = r->advance.p + (ptrdiff_t)i * r->state.n_slots + seq;
    struct device_law law;

    if (role == MODEL_TARGET) {
        struct round_turn turn;

        fetch(&turn, &r->state.turns[seq], sizeof(turn));
        at = &r->advance.q[turn.first_row + i];
    }
    fetch(&law, at, sizeof(law));
    size_t bytes = (size_t)law.n_vocab * sizeof(float);

    dev->window = xrealloc(dev->window, bytes);
    fetch(dev->window, law.logits, bytes);
    return dev->window;
}
