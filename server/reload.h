/*
 * reload.h - SIGHUP: reads the configuration again and puts into effect what can change without
 * dropping a request: keys, certificate, limits, time-outs, log level and form, the access log.
 *
 * All or nothing: while anything of the new configuration is bad, everything stays as it was. Main
 * thread.
 */
#ifndef SPECD_SERVER_RELOAD_H
#define SPECD_SERVER_RELOAD_H

#include "config.h"

struct server;
struct engine;

/* Where the configuration came from, to be read again. */
struct config_sources {
    int argc;
    char **argv, **environment;
};

/* Says on the log what happened. Copies what main itself needs (drain_timeout_ms) to *started,
 * which else stays what the server was started with. */
void reload(const struct config_sources *sources, struct config *started, struct server *http,
            struct engine *engine);

#endif
