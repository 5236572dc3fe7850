#include "draft_spec.h"

#include "specd/error.h"

#include <stdlib.h>
#include <string.h>

/* A layer number; moves *s behind it. */
static bool layer(const char **s, uint32_t *out)
{
    uint32_t v = 0;
    const char *from = *s;
    for (; **s >= '0' && **s <= '9' && v < MODEL_LAYERS_MAX; (*s)++)
        v = v * 10 + (uint32_t)(**s - '0');
    *out = v;
    return *s > from && v < MODEL_LAYERS_MAX;
}

/* "0-9+29": ranges joined by '+', ascending. */
static bool layers(struct config *c, const char *s)
{
    uint32_t n = 0, first, last;
    for (;;) {
        if (!layer(&s, &first))
            return false;
        last = first;
        if (*s == '-' && (s++, !layer(&s, &last)))
            return false;
        if (last < first || (n > 0 && first <= c->self_layers[n - 1]))
            return false;
        for (uint32_t l = first; l <= last; l++)
            c->self_layers[n++] = l;
        if (*s == '\0')
            break;
        if (*s++ != '+')
            return false;
    }
    c->engine.self_layers = c->self_layers;
    c->engine.n_self_layers = n;
    return true;
}

static int one(struct config *c, const char *text, enum drafter_type *type, char *err,
               size_t errlen)
{
#define TYPE(id, name) DRAFT_##id,
    static const enum drafter_type plain[] = {DRAFT_NONE, SPECD_DRAFTERS_HOST(TYPE)};
#undef TYPE
    for (size_t i = 0; i < COUNT_OF(plain); i++) {
        if (strcmp(text, drafter_name(plain[i])) == 0) {
            *type = plain[i];
            return 0;
        }
    }
    if (strncmp(text, "self:", 5) == 0) {
        *type = DRAFT_SELF;
        if (!layers(c, text + 5))
            return fail(SPECD_EINVAL, err, errlen,
                        "'%s': layers must be ascending numbers or ranges below %d joined by '+', "
                        "such as self:0-9+29",
                        text, MODEL_LAYERS_MAX);
    } else if (*text) {
        *type = DRAFT_MODEL;
        free(c->draft_path);
        c->engine.draft_path = c->draft_path = xstrdup(text);
    } else {
        return fail(SPECD_EINVAL, err, errlen, "an entry of the list is empty");
    }
    return 0;
}

static int check(const struct engine_config *e, char *err, size_t errlen)
{
    int models = 0, seen[DRAFT_TYPES] = {0};
    for (int i = 0; i < e->n_drafters; i++) {
        enum drafter_type type = e->drafters[i];
        models += type == DRAFT_MODEL || type == DRAFT_SELF;
        if (type == DRAFT_NONE && e->n_drafters > 1)
            return fail(SPECD_EINVAL, err, errlen, "'none' must stand alone");
        if (models > 1)
            return fail(SPECD_EINVAL, err, errlen, "at most one entry may be a model or self:");
        if (seen[type]++)
            return fail(SPECD_EINVAL, err, errlen, "an entry stands there twice");
    }
    return 0;
}

int draft_spec_parse(struct config *c, const char *text, char *err, size_t errlen)
{
    struct engine_config *e = &c->engine;
    char *copy = xstrdup(text), *rest = copy, *entry;
    int rc = 0;
    e->n_drafters = 0;
    while (rc == 0 && (entry = strsep(&rest, ",")) != NULL) {
        if (e->n_drafters == ENGINE_DRAFTERS_MAX)
            rc = fail(SPECD_EINVAL, err, errlen, "at most %d entries", ENGINE_DRAFTERS_MAX);
        else
            rc = one(c, entry, &e->drafters[e->n_drafters++], err, errlen);
    }
    free(copy);
    if (rc == 0)
        rc = check(e, err, errlen);
    if (rc == 0 && e->drafters[0] == DRAFT_NONE)
        e->n_drafters = 0;
    return rc;
}
