#include "specd/setup_check.h"

#include "specd/util.h"

#include <stdlib.h>

const char *model_role_name(int role)
{
    return role == MODEL_TARGET ? "target" : "draft";
}

int device_model_fail(const struct device_setup *s, int role, int code, const char *why, char *err,
                      size_t errlen)
{
    const char *file = s->models[role]->file;

    return fail(code, err, errlen, "%s%s%s: %s", model_role_name(role), file ? " " : "",
                file ? file : "", why);
}

static int check_self_layers(const struct device_setup *s, char *err, size_t errlen)
{
    const struct model *target = s->models[MODEL_TARGET];

    if (s->n_self_layers == 0)
        return 0;
    if (s->models[MODEL_DRAFT])
        return fail(SPECD_EINVAL, err, errlen, "a draft model and the target's own layers both");
    for (uint32_t i = 0; i < s->n_self_layers; i++) {
        if (s->self_layers[i] >= target->n_layers)
            return fail(SPECD_EINVAL, err, errlen, "self layer %u: the model has %u layers",
                        s->self_layers[i], target->n_layers);
        if (i > 0 && s->self_layers[i] <= s->self_layers[i - 1])
            return fail(SPECD_EINVAL, err, errlen, "self layers are not ascending at %u",
                        s->self_layers[i]);
    }
    return 0;
}

int device_setup_check(const struct device_setup *s, int rows_max, char *err, size_t errlen)
{
    const struct {
        int value, min, max;
        const char *name;
    } ranges[] = {
        {s->n_slots, 1, SPECD_SLOTS_MAX, "the number of slots"},
        {s->n_ctx, 1, 1 << 24, "the context"},
        {s->max_rows, 1, rows_max, "the rows of a pass"},
        {s->k_max, 0, SPECD_K_MAX, "the draft length"},
    };

    if (!s->models[MODEL_TARGET])
        return fail(SPECD_EINVAL, err, errlen, "no target model");
    for (size_t i = 0; i < COUNT_OF(ranges); i++) {
        if (ranges[i].value < ranges[i].min || ranges[i].value > ranges[i].max)
            return fail(SPECD_EINVAL, err, errlen, "%s is %d: %d to %d work", ranges[i].name,
                        ranges[i].value, ranges[i].min, ranges[i].max);
    }
    return check_self_layers(s, err, errlen);
}

void device_setup_keep(struct device_setup *to, const struct device_setup *from)
{
    uint32_t *ids = xcalloc(from->n_self_layers, sizeof(*ids));

    for (uint32_t i = 0; i < from->n_self_layers; i++)
        ids[i] = from->self_layers[i];
    free((void *)to->self_layers);
    *to = *from;
    to->self_layers = ids;
}
