/*
 * serve.h - the life of the daemon on the main thread: open, wait, drain, close.
 *
 * Listening comes first, so that a supervisor's probes are answered while the model loads. The
 * first SIGTERM or SIGINT drains; a second one ends the process at once. SIGHUP reloads.
 */
#ifndef SPECD_SERVER_SERVE_H
#define SPECD_SERVER_SERVE_H

#include "config.h"

/* Where the configuration came from, to be read again. */
struct config_sources {
    int argc;
    char **argv, **environment;
};

enum exit_code { EXIT_CLEAN = 0, EXIT_START = 1, EXIT_USAGE = 2, EXIT_DEVICE = 70 };

/* First of all in the process: a signal before serve is kept for it, not lost and no end. */
void serve_signals(void);
/* Returns the exit code of the process. */
int serve(struct config *config, const struct config_sources *sources);

#endif
