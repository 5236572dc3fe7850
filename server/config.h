/*
 * config.h - what the server was told: command line, environment, JSON file, defaults, in that
 * order of precedence.
 *
 * Options are rows of one table (options.c). An option --ctx-size is also the variable
 * SPECD_CTX_SIZE and the key "ctx-size" of the file given by --config: a JSON object that may hold
 * comments, from // or # to the end of the line. Immutable once loaded; SIGHUP loads another one
 * beside it (reload.h).
 */
#ifndef SPECD_SERVER_CONFIG_H
#define SPECD_SERVER_CONFIG_H

#include "specd/engine.h"
#include "specd/util.h"

enum device_choice { DEVICE_AUTO, DEVICE_CPU, DEVICE_CUDA };

enum origin { FROM_DEFAULT, FROM_ARGS, FROM_ENV, FROM_FILE };

/* An option's text as it was given by the strongest source. */
struct setting {
    char *text; /* NULL: not given */
    enum origin from;
    char where[80]; /* for messages */
};

struct config {
    struct engine_config engine; /* .device and .fallback: see devices.h; .on_state: serve.c */
    enum device_choice device;
    char *model, *chat_template_file, *chat_template;
    char *draft_path;                       /* storage of engine.draft_path */
    uint32_t self_layers[MODEL_LAYERS_MAX]; /* storage of engine.self_layers */
    bool drafters_given, default_model;

    char *host; /* a name, an address, or unix:PATH */
    int32_t port;
    char *api_key_file, *api_key, *alias, *cors_origin, *allowed_host, *trusted_proxy;
    int32_t request_timeout_ms, drain_timeout_ms, hang_timeout_ms;
    int32_t header_timeout_ms, body_timeout_ms, idle_timeout_ms, ping_ms;
    uint64_t max_body, request_memory;
    int32_t max_connections, max_connections_per_ip; /* per IP: 0: any number */
    int32_t max_queue_per_client;                    /* 0: any number */
    char *access_log, *tls_cert, *tls_key;
    bool no_ui, no_metrics, no_vllm_metrics, no_seccomp;

    enum log_level log_level;
    enum { LOG_TEXT, LOG_JSON } log_format;
    char *config_file;
    bool help, version, print_config;
    struct setting *settings; /* one per option, in the table's order */
};

/* Reads all sources. SPECD_EINVAL: one line that names the option, where it was given, and what it
 * may be, or the nearest known name. environ is a NULL-terminated list of NAME=value. */
int config_load(struct config *c, int argc, char **argv, char **environment, char *err,
                size_t errlen);
/* Fills in what depends on the machine: the default model and its draft, the template's text.
 * SPECD_EFILE when a file is missing. */
int config_resolve(struct config *c, char *err, size_t errlen);
void config_free(struct config *c);
/* The text of SPECD_API_KEY, once it is hashed: here, and in the environment, which others of the
 * same user can read. */
void config_wipe_key(struct config *c, char **environment);

/* ---- config_print.c */
void config_help(struct buf *out);
/* Every option with its value and where it came from, as a file that --config would take. Keys are
 * left out. */
void config_print(const struct config *c, struct buf *out);

#endif
