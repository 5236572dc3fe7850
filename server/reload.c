#include "reload.h"

#include "http.h"
#include "options.h"

#include <string.h>

static const char *text_of(const struct config *c, size_t option)
{
    const char *text = c->settings[option].text;
    if (!text)
        text = options[option].fallback;
    return text ? text : "";
}

/* What differs from the start and would need another one: " port model", or nothing. */
static void list_unchangeable(const struct config *started, const struct config *fresh,
                              struct buf *out)
{
    for (size_t i = 0; i < n_options; i++) {
        unsigned flags = options[i].flags;
        if (flags & (RELOADS | NOT_IN_FILE)) /* what no file holds cannot have changed */
            continue;
        if (strcmp(text_of(started, i), text_of(fresh, i)) != 0)
            buf_printf(out, " %s", options[i].name);
    }
}

static int load(const struct config_sources *sources, struct config *fresh, struct server *http,
                char *err, size_t errlen)
{
    engine_config_init(&fresh->engine);
    int rc = config_load(fresh, sources->argc, sources->argv, sources->environment, err, errlen);
    return rc < 0 ? rc : http_reload(http, fresh, err, errlen);
}

static void take_over(struct config *started, const struct config *fresh, struct engine *engine)
{
    struct buf rest = {0};
    log_set(fresh->log_level, fresh->log_format == LOG_JSON);
    engine_limits(engine, fresh->engine.max_queue, fresh->request_timeout_ms);
    started->drain_timeout_ms = fresh->drain_timeout_ms;
    list_unchangeable(started, fresh, &rest);
    log_info("SIGHUP: the configuration is reloaded%s%s",
             rest.len > 0 ? "; these take a restart to change:" : "",
             rest.len > 0 ? rest.data : "");
    buf_free(&rest);
}

void reload(const struct config_sources *sources, struct config *started, struct server *http,
            struct engine *engine)
{
    struct config fresh = {0};
    char err[512];
    if (load(sources, &fresh, http, err, sizeof err) == 0)
        take_over(started, &fresh, engine);
    else
        log_error("SIGHUP: nothing is changed: %s", err);
    config_free(&fresh);
}
