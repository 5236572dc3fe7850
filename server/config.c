#include "config.h"

#include "specd/json_write.h"
#include "specd/error.h"
#include "specd/json.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MODEL "SmolLM2-135M-Instruct.Q4_1.gguf"
#define PER_IP_LEAST 256                 /* unless told otherwise */
#define REQUEST_MEMORY_LEAST (256 << 20) /* unless told otherwise */
#define BODIES_KEPT 8 /* largest bodies in --request-memory, unless told otherwise */
#define FILE_BYTES_MAX (1 << 20)
#define PRINT_COLUMN 40 /* of the comments of --print-config */
#define HELP_COLUMN 30  /* of what --help says of an option */
#define HELP_WIDTH 100

struct loader {
    struct setting *given; /* (n_options): the best source so far */
    char *err;
    size_t errlen;
};

/* What an option holds may be a key. */
static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
}

static void setting_clear(struct setting *s)
{
    wipe(s->text);
    free(s->text);
    s->text = NULL;
}

static void give(struct loader *l, const struct option *o, const char *text, enum origin from,
                 const char *where)
{
    struct setting *s = &l->given[o - options];
    setting_clear(s);
    s->text = xstrdup(text);
    s->from = from;
    snprintf(s->where, sizeof s->where, "%s", where);
}

static bool is_given(const struct loader *l, const struct option *o)
{
    return l->given[o - options].text != NULL;
}

/* ---- command line */

static int unknown_argument(struct loader *l, const char *arg, const char *name, size_t len)
{
    if (arg[0] != '-')
        return fail(SPECD_EINVAL, l->err, l->errlen,
                    "unexpected argument '%.64s'; options begin with a dash", arg);
    return fail(SPECD_EINVAL, l->err, l->errlen, "unknown option '%.64s'; did you mean --%s?", arg,
                option_nearest(name, len)->name);
}

/* One option with its value; *i moves to the last argument used. */
static int read_argument(struct loader *l, int argc, char **argv, int *i)
{
    const char *arg = argv[*i], *name = arg + strspn(arg, "-"), *equals = strchr(name, '=');
    size_t dashes = (size_t)(name - arg), len = equals ? (size_t)(equals - name) : strlen(name);
    const struct option *o = NULL;
    if (dashes == 1 || dashes == 2)
        o = option_find(name, len, dashes == 1);
    if (!o || o->flags & NOT_IN_ARGS)
        return unknown_argument(l, arg, name, len);
    char where[80];
    snprintf(where, sizeof where, "--%s", o->name);
    if (equals)
        give(l, o, equals + 1, FROM_ARGS, where);
    else if (o->kind == OPTION_FLAG)
        give(l, o, "true", FROM_ARGS, where);
    else if (*i + 1 < argc)
        give(l, o, argv[++*i], FROM_ARGS, where);
    else
        return fail(SPECD_EINVAL, l->err, l->errlen, "%s needs a value: %s", where, o->value);
    return 0;
}

static int read_arguments(struct loader *l, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        int rc = read_argument(l, argc, argv, &i);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- environment */

static void env_name(const struct option *o, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "SPECD_%s", o->name);
    for (size_t i = 0; i < n && i < cap; i++)
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

static const struct option *env_option(const char *name, size_t len)
{
    char have[80];
    for (size_t i = 0; i < n_options; i++) {
        env_name(&options[i], have, sizeof have);
        if (!(options[i].flags & NOT_IN_ENV) && strlen(have) == len && memcmp(have, name, len) == 0)
            return &options[i];
    }
    return NULL;
}

static void warn_unknown(const char *name, size_t len)
{
    static const char of_cuda[] = "SPECD_NO_OVERLAP"; /* cuda/overlap.h; no option */
    char option[64], nearest[80];
    if (len == strlen(of_cuda) && memcmp(name, of_cuda, len) == 0)
        return;
    size_t n = MIN(len - strlen("SPECD_"), sizeof option);
    for (size_t i = 0; i < n; i++) {
        char c = name[strlen("SPECD_") + i];
        option[i] = c == '_' ? '-' : (char)tolower((unsigned char)c);
    }
    env_name(option_nearest(option, n), nearest, sizeof nearest);
    log_warn("%.*s in the environment is not an option; did you mean %s?", (int)MIN(len, 80), name,
             nearest);
}

/* SPECD_NAME=value, but for what Kubernetes sets to describe a service named specd
 * (SPECD_PORT=tcp://...): such variables, and unknown ones, must not keep the server from starting.
 */
static bool is_for_us(const char *variable, size_t *name_len)
{
    const char *equals = strchr(variable, '=');
    if (strncmp(variable, "SPECD_", 6) != 0 || !equals || strncmp(equals, "=tcp://", 7) == 0)
        return false;
    *name_len = (size_t)(equals - variable);
    return true;
}

void config_warn_unknown(char **environment)
{
    for (char **v = environment; *v; v++) {
        size_t len;
        if (is_for_us(*v, &len) && !env_option(*v, len))
            warn_unknown(*v, len);
    }
}

static void read_environment(struct loader *l, char **environment)
{
    for (char **v = environment; *v; v++) {
        size_t len;
        if (!is_for_us(*v, &len))
            continue;
        const char *equals = *v + len;
        const struct option *o = env_option(*v, len);
        char where[80];
        if (o && !is_given(l, o)) {
            env_name(o, where, sizeof where);
            size_t n = strlen(equals + 1);
            const char *text = equals + 1;
            text_trim(&text, &n); /* a mounted secret ends in a line end */
            char *value = xstrndup(text, n);
            give(l, o, value, FROM_ENV, where);
            wipe(value);
            free(value);
        }
    }
}

/* ---- file */

/* Numbers and booleans as the text that the command line would have. */
static bool member_text(const struct json *m, char *out, size_t cap)
{
    int64_t i;
    if (json_type(m) == JSON_BOOL)
        snprintf(out, cap, "%s", json_bool(m) ? "true" : "false");
    else if (json_integer(m, &i))
        snprintf(out, cap, "%lld", (long long)i);
    else if (json_type(m) == JSON_NUMBER)
        snprintf(out, cap, "%.17g", json_number(m));
    else
        return false;
    return true;
}

static int read_member(struct loader *l, const char *path, const struct json *m)
{
    const char *key = json_key(m);
    const struct option *o = option_find(key, strlen(key), false);
    char text[40], where[80];
    if (!o)
        return fail(SPECD_EINVAL, l->err, l->errlen, "%s: unknown key '%.64s'; did you mean '%s'?",
                    path, key, option_nearest(key, strlen(key))->name);
    if (o->flags & NOT_IN_FILE)
        return fail(SPECD_EINVAL, l->err, l->errlen, "%s: '%s' can't be set in a file", path,
                    o->name);
    snprintf(where, sizeof where, "%.50s: %s", path, o->name);
    if (json_type(m) == JSON_NULL || is_given(l, o))
        return 0;
    if (json_type(m) == JSON_STRING)
        give(l, o, json_string(m), FROM_FILE, where);
    else if (member_text(m, text, sizeof text))
        give(l, o, text, FROM_FILE, where);
    else
        return fail(SPECD_EINVAL, l->err, l->errlen, "%s must be a string, number or boolean",
                    where);
    return 0;
}

static int read_members(struct loader *l, const char *path, struct buf *text)
{
    struct json *doc;
    char why[200];
    json_blank_comments(text->data, text->len);
    int rc = json_parse(&doc, text->data, text->len, why, sizeof why);
    if (rc < 0)
        return fail(SPECD_EINVAL, l->err, l->errlen, "%s: %s", path, why);
    if (json_type(doc) != JSON_OBJECT)
        rc = fail(SPECD_EINVAL, l->err, l->errlen, "%s: must hold a JSON object", path);
    for (const struct json *m = json_first(doc); m && rc == 0; m = json_next(m))
        rc = read_member(l, path, m);
    json_free(doc);
    return rc;
}

static int read_file(struct loader *l)
{
    const char *path = l->given[option_find("config", 6, false) - options].text;
    struct buf text = {0};
    if (!path)
        return 0;
    char why[300];
    int rc = file_read(path, FILE_BYTES_MAX, &text, why, sizeof why);
    if (rc < 0)
        rc = fail(SPECD_EINVAL, l->err, l->errlen, "config: %s", why);
    else
        rc = read_members(l, path, &text);
    buf_free(&text);
    return rc;
}

/* ---- all together */

static int apply(struct loader *l, struct config *c)
{
    for (size_t i = 0; i < n_options; i++) {
        const struct setting *s = &l->given[i];
        const char *text = s->text ? s->text : options[i].fallback;
        char why[256];
        if (!text)
            continue;
        int rc = option_set(&options[i], c, text, why, sizeof why);
        if (rc < 0)
            return fail(rc, l->err, l->errlen, "%s: %s", s->text ? s->where : options[i].name, why);
    }
    return 0;
}

static int check_together(struct config *c, char *err, size_t errlen)
{
    struct engine_config *e = &c->engine;
    bool bounded = e->draft_max >= 0;
    e->draft_max_host = MIN(bounded ? e->draft_max : DRAFT_MAX_HOST, SPECD_K_MAX);
    e->draft_max = MIN(bounded ? e->draft_max : DRAFT_MAX_MODEL, SPECD_K_MAX);
    if (e->draft_min > e->draft_max)
        return fail(SPECD_EINVAL, err, errlen, "--draft-min %d is above --draft-max %d",
                    e->draft_min, e->draft_max);
    if (!c->tls_cert != !c->tls_key)
        return fail(SPECD_EINVAL, err, errlen, "--tls-cert and --tls-key need each other");
    if (c->tls_cert && strncmp(c->host, "unix:", 5) == 0)
        return fail(SPECD_EINVAL, err, errlen, "--tls-cert: a unix socket has no TLS");
    if (c->salt_by_key && !c->api_key_file && !c->api_key)
        return fail(SPECD_EINVAL, err, errlen,
                    "--salt-by-key: there are no keys (--api-key-file, SPECD_API_KEY)");
    e->model_path = c->model;
    e->alias = c->alias;
    e->request_timeout_ms = c->request_timeout_ms;
    if (c->request_memory == 0)
        c->request_memory = MAX(BODIES_KEPT * c->max_body, REQUEST_MEMORY_LEAST);
    if (c->request_memory / 2 < c->max_body)
        return fail(SPECD_EINVAL, err, errlen,
                    "--request-memory: half of it must hold a body of --max-body");
    if (c->max_connections_per_ip < 0)
        c->max_connections_per_ip = MAX(PER_IP_LEAST, c->max_connections / 4 * 3);
    if (c->max_queue_per_client < 0)
        c->max_queue_per_client = e->max_queue - e->max_queue / 4;
    return 0;
}

int config_load(struct config *c, int argc, char **argv, char **environment, char *err,
                size_t errlen)
{
    struct loader l = {xcalloc(n_options, sizeof(struct setting)), err, errlen};
    c->settings = l.given;
    c->engine.draft_max = c->engine.draft_fixed = -1;
    c->max_connections_per_ip = c->max_queue_per_client = -1;
    c->engine.synthetic_acceptance = -1;
    int rc = read_arguments(&l, argc, argv);
    if (rc == 0) {
        read_environment(&l, environment);
        rc = read_file(&l);
    }
    if (rc == 0)
        rc = apply(&l, c);
    if (rc == 0)
        rc = check_together(c, err, errlen);
    return rc;
}

static char *default_model_path(void)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    struct buf path = {0};
    if (cache && *cache)
        buf_printf(&path, "%s/specd/%s", cache, DEFAULT_MODEL);
    else
        buf_printf(&path, "%s/.cache/specd/%s", home ? home : "", DEFAULT_MODEL);
    return buf_take(&path);
}

static int find_model(struct config *c, char *err, size_t errlen)
{
    char *path = default_model_path();
    c->default_model = !c->model || strcmp(c->model, path) == 0;
    if (c->model) {
        free(path);
        return 0;
    }
    c->engine.model_path = c->model = path;
    if (access(path, R_OK) != 0)
        return fail(SPECD_EFILE, err, errlen,
                    "%s: %s; get the default model with scripts/get-model.sh, or name another with "
                    "--model",
                    path, strerror(errno));
    return 0;
}

int config_resolve(struct config *c, char *err, size_t errlen)
{
    int rc = find_model(c, err, errlen);
    if (rc < 0)
        return rc;
    if (c->default_model && !c->drafters_given) {
        c->engine.drafters[0] = DRAFT_LOOKUP;
        c->engine.n_drafters = 1;
    }
    if (c->chat_template_file) {
        struct buf text = {0};
        char why[300];
        rc = file_read(c->chat_template_file, FILE_BYTES_MAX, &text, why, sizeof why);
        if (rc < 0)
            return fail(rc, err, errlen, "chat-template: %s", why);
        c->engine.chat_template = c->chat_template = buf_take(&text);
    }
    return rc;
}

void config_wipe_key(struct config *c, char **environment)
{
    static const char name[] = "SPECD_API_KEY=";
    setting_clear(&c->settings[option_find("api-key", 7, false) - options]);
    wipe(c->api_key);
    free(c->api_key);
    c->api_key = NULL;
    for (char **v = environment; *v; v++)
        if (strncmp(*v, name, sizeof name - 1) == 0)
            wipe(*v);
}

void config_free(struct config *c)
{
    wipe(c->api_key);
    for (size_t i = 0; i < n_options; i++) {
        if (options[i].kind == OPTION_STRING)
            free(*(char **)((char *)c + options[i].offset));
        if (c->settings)
            setting_clear(&c->settings[i]);
    }
    free(c->settings);
    free(c->draft_path);
    free(c->chat_template);
    free(c->trusted_proxy);
    *c = (struct config){0};
}

/* ---- the table of options as text */

/* Words in lines of HELP_WIDTH, whose first begins at column `at` and the others at HELP_COLUMN. */
static void put_words(struct buf *out, const char *text, size_t at)
{
    while (*text) {
        size_t n = strcspn(text, " ");
        if (at + 1 + n > HELP_WIDTH) {
            buf_printf(out, "\n%*s", HELP_COLUMN, "");
            at = HELP_COLUMN;
        }
        buf_printf(out, " %.*s", (int)n, text);
        at += 1 + n;
        text += n + strspn(text + n, " ");
    }
}

void config_help(struct buf *out)
{
    buf_puts(out, "usage: specd [options]\n\nServes a language model over HTTP, decoding by "
                  "speculative sampling.\nEach option is also a variable SPECD_NAME and a key of "
                  "the file given by --config.\n\n");
    for (size_t i = 0; i < n_options; i++) {
        const struct option *o = &options[i];
        char left[64];
        struct buf text = {0};
        if (o->flags & NOT_IN_ARGS)
            continue;
        snprintf(left, sizeof left, "%s%s%s--%s %s", o->letter ? "-" : "",
                 o->letter ? o->letter : "", o->letter ? ", " : "", o->name,
                 o->value ? o->value : "");
        buf_puts(&text, o->help);
        if (o->fallback && o->kind != OPTION_FLAG)
            buf_printf(&text, " (default: %s)", o->fallback);
        buf_printf(out, "  %-*s", HELP_COLUMN - 2, left);
        put_words(out, text.data, MAX(strlen(left) + 2, HELP_COLUMN));
        buf_puts(out, "\n");
        buf_free(&text);
    }
}

/* As read, so that what a value was taken for is seen; texts without a number are themselves. */
static void print_value(const struct config *c, const struct option *o, const char *text,
                        struct buf *out)
{
    const void *at = (const char *)c + o->offset;
    if (!text)
        json_lit(out, "null");
    else if (o->kind == OPTION_FLAG)
        buf_puts(out, *(const bool *)at ? "true" : "false");
    else if (o->kind == OPTION_INT)
        buf_printf(out, "%d", *(const int32_t *)at);
    else if (o->kind == OPTION_SECONDS)
        buf_printf(out, "%g", *(const int32_t *)at / 1000.0);
    else
        json_cstr(out, text);
}

static void print_origin(const struct config *c, const struct setting *s, struct buf *out)
{
    switch (s->text ? s->from : FROM_DEFAULT) {
    case FROM_DEFAULT:
        buf_puts(out, "default");
        break;
    case FROM_ARGS:
        buf_puts(out, "command line");
        break;
    case FROM_ENV:
        buf_printf(out, "environment %s", s->where);
        break;
    case FROM_FILE:
        buf_printf(out, "file %s", c->config_file);
        break;
    }
}

static bool is_shown(const struct option *o, const struct setting *s)
{
    if (!(o->flags & NOT_IN_FILE))
        return true;
    return s->text && o->kind != OPTION_FLAG; /* --print-config itself is no news */
}

static void print_option(const struct config *c, size_t i, bool more, struct buf *out)
{
    const struct option *o = &options[i];
    const struct setting *s = &c->settings[i];
    bool as_comment = o->flags & NOT_IN_FILE, secret = o->flags & NOT_IN_ARGS;
    struct buf line = {0};
    buf_printf(&line, "%s\"%s\": ", as_comment ? "// " : "", o->name);
    if (secret)
        buf_puts(&line, "not shown");
    else
        print_value(c, o, s->text ? s->text : o->fallback, &line);
    if (more && !as_comment)
        buf_puts(&line, ",");
    buf_printf(out, "  %-*s // ", PRINT_COLUMN, line.data);
    print_origin(c, s, out);
    buf_puts(out, "\n");
    buf_free(&line);
}

void config_print(const struct config *c, struct buf *out)
{
    size_t last = 0;
    for (size_t i = 0; i < n_options; i++)
        if (!(options[i].flags & NOT_IN_FILE))
            last = i;
    buf_puts(out, "{\n");
    for (size_t i = 0; i < n_options; i++)
        if (is_shown(&options[i], &c->settings[i]))
            print_option(c, i, i < last, out);
    buf_puts(out, "}\n");
}

static const char *text_of(const struct config *c, size_t option)
{
    const char *text = c->settings[option].text;
    if (!text)
        text = options[option].fallback;
    return text ? text : "";
}

void config_unchangeable(const struct config *started, const struct config *fresh, struct buf *out)
{
    for (size_t i = 0; i < n_options; i++) {
        unsigned flags = options[i].flags;
        if (flags & (RELOADS | NOT_IN_FILE)) /* what no file holds cannot have changed */
            continue;
        if (strcmp(text_of(started, i), text_of(fresh, i)) != 0)
            buf_printf(out, " %s", options[i].name);
    }
}
