/*
 * config.h - what the server was told: command line, environment, JSON file, defaults, in that
 * order of precedence.
 *
 * Options are rows of one table (options.c). An option --ctx-size is also the variable
 * SPECD_CTX_SIZE and the key "ctx-size" of the file given by --config: a JSON object that may hold
 * comments, from // or # to the end of the line. Immutable once loaded; SIGHUP loads another one
 * beside it (main.c).
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

/* What becomes of a model's thoughts: NONE leaves them in the text, tags and all, DEEPSEEK tells
 * them apart. AUTO is the server's choice, and its own is DEEPSEEK. */
enum reasoning_format { REASONING_AUTO, REASONING_NONE, REASONING_DEEPSEEK };
#define REASONING_FORMATS "auto|none|deepseek"

struct config {
    struct engine_config engine; /* .device and .fallback: see main.c; .on_state: main.c */
    enum device_choice device;
    char *model, *chat_template_file, *chat_template;
    char *draft_path;                       /* storage of engine.draft_path */
    uint32_t self_layers[MODEL_LAYERS_MAX]; /* storage of engine.self_layers */
    bool drafters_given, default_model;
    enum reasoning_format reasoning_format;

    char *host; /* a name, an address, or unix:PATH */
    int32_t port;
    char *api_key_file, *api_key, *alias, *cors_origin, *allowed_host, *trusted_proxy;
    bool salt_by_key;
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
/* Names variables SPECD_... of the environment that are no options, on the log. */
void config_warn_unknown(char **environment);
/* Fills in what depends on the machine: the default model and its draft, the template's text.
 * SPECD_EFILE when a file is missing. */
int config_resolve(struct config *c, char *err, size_t errlen);
void config_free(struct config *c);
/* The text of SPECD_API_KEY, once it is hashed: here, and in the environment, which others of the
 * same user can read. */
void config_wipe_key(struct config *c, char **environment);

void config_help(struct buf *out);
/* Every option with its value and where it came from, as a file that --config would take. Keys are
 * left out. */
void config_print(const struct config *c, struct buf *out);
/* What differs from the start and would need another one: " port model", or nothing. */
void config_unchangeable(const struct config *started, const struct config *fresh, struct buf *out);

/* ---- options.c: the table, and how the text of a value becomes a field of struct config */

enum option_kind {
    OPTION_FLAG,    /* bool; no value on the command line, or =true, =false */
    OPTION_STRING,  /* char *, owned by the config */
    OPTION_INT,     /* int32_t in min..max */
    OPTION_SIZE,    /* uint64_t bytes, with K, M, G, T */
    OPTION_SECONDS, /* int32_t milliseconds, given in seconds */
    OPTION_RATIO,   /* float in 0..1 */
    OPTION_CHOICE,  /* enum: the index in "a|b|c" */
    OPTION_CUSTOM,
};

enum option_flags {
    NOT_IN_ARGS = 1,
    NOT_IN_ENV = 2,
    NOT_IN_FILE = 4,
    RELOADS = 8, /* SIGHUP takes its new value */
};

struct option {
    const char *name, *letter; /* letter: its short form without the dash, or NULL */
    const char *value;         /* how --help shows it */
    enum option_kind kind;
    size_t offset; /* in struct config */
    int64_t min, max;
    const char *fallback; /* the default, as text; NULL: none */
    const char *choices;
    int (*set)(struct config *c, const char *text, char *err, size_t errlen);
    unsigned flags;
    const char *help;
};

extern const struct option options[];
extern const size_t n_options;

/* Parses text into c. err gets what the value may be, without the option's name. */
int option_set(const struct option *o, struct config *c, const char *text, char *err,
               size_t errlen);
/* By long name, or by its short form ("m", "md"); NULL when there is none. */
const struct option *option_find(const char *name, size_t len, bool is_letter);
/* The option of the command line whose name is nearest to a mistyped one; never NULL. */
const struct option *option_nearest(const char *name, size_t len);

#endif
