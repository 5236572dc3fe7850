/*
 * main.c - specd: reads the configuration and serves. Exit codes: 0 clean, 1 could not start,
 * 2 wrong usage, 70 the device failed.
 */
#include "config.h"
#include "devices.h"
#include "serve.h"

#include <stdio.h>

extern char **environ;

static int print(const struct config *config)
{
    struct buf text = {0};
    if (config->help)
        config_help(&text);
    else if (config->version)
        buf_puts(&text, "specd " SPECD_VERSION "\n");
    else
        config_print(config, &text);
    fputs(text.data, stdout);
    buf_free(&text);
    return EXIT_CLEAN;
}

static int start(struct config *config, const struct config_sources *sources)
{
    char err[512];
    log_set(config->log_level, config->log_format == LOG_JSON);
    if (config_resolve(config, err, sizeof err) < 0) {
        log_error("%s", err);
        return EXIT_START;
    }
    return serve(config, sources);
}

int main(int argc, char **argv)
{
    struct config config = {0};
    char err[512];
    int code;
    serve_signals();
    engine_config_init(&config.engine);
    int rc = config_load(&config, argc, argv, environ, err, sizeof err);
    bool prints = config.help || config.version || config.print_config;
    if (rc == 0 && !prints)
        rc = devices_choose(&config, err, sizeof err);
    if (rc < 0) {
        fprintf(stderr, "specd: %s\nTry specd --help.\n", err);
        code = EXIT_USAGE;
    } else {
        code =
            prints ? print(&config) : start(&config, &(struct config_sources){argc, argv, environ});
    }
    config_free(&config);
    return code;
}
