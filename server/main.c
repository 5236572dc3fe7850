/*
 * main.c - specd: reads the configuration, chooses the device and serves. Exit codes: 0 clean,
 * 1 could not start, 2 wrong usage, 70 the device failed.
 */
#include "config.h"
#include "serve.h"
#include "specd/error.h"

#include <stdio.h>

extern char **environ;

/* Named here, not in the server's library, because the name is what links a device in. */
#ifdef SPECD_HAVE_CUDA_DEVICE
static const struct device_ops *const cuda = &cuda_device_ops;
#else
static const struct device_ops *const cuda;
#endif

/* What this build lacks is refused, with a line that says why. The engine opens what is chosen. */
static int choose_device(struct config *config, char *err, size_t errlen)
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
        rc = choose_device(&config, err, sizeof err);
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
