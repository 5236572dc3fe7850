#include "config.h"

#include "connections.h"
#include "fields.h"
#include "specd/error.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(struct config, member)
#define DEVICE_INDEX_MAX 1023
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

/* ---- values with rules of their own */

static int set_device(struct config *c, const char *text, char *err, size_t errlen)
{
    int device = enum_index("auto|cpu|cuda", text);
    c->engine.device_index = -1;
    if (strncmp(text, "cuda:", 5) == 0) {
        char *end;
        unsigned long n = strtoul(text + 5, &end, 10);
        if (text[5] >= '0' && text[5] <= '9' && *end == '\0' && n <= DEVICE_INDEX_MAX) {
            device = DEVICE_CUDA;
            c->engine.device_index = (int)n;
        }
    }
    if (device < 0)
        return fail(SPECD_EINVAL, err, errlen, "must be auto, cpu or cuda[:N]");
    c->device = (enum device_choice)device;
    return 0;
}

/* A layer number; moves *s behind it. */
static bool read_layer(const char **s, uint32_t *out)
{
    uint32_t v = 0;
    const char *from = *s;
    for (; **s >= '0' && **s <= '9' && v < MODEL_LAYERS_MAX; (*s)++)
        v = v * 10 + (uint32_t)(**s - '0');
    *out = v;
    return *s > from && v < MODEL_LAYERS_MAX;
}

/* "0-9+29": ranges joined by '+', ascending. */
static bool read_layers(struct config *c, const char *s)
{
    uint32_t n = 0, first, last;
    for (;;) {
        if (!read_layer(&s, &first))
            return false;
        last = first;
        if (*s == '-') {
            s++;
            if (!read_layer(&s, &last))
                return false;
        }
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

static int read_drafter(struct config *c, const char *text, enum drafter_type *type, char *err,
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
        if (!read_layers(c, text + 5))
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

static int check_drafters(const struct engine_config *e, char *err, size_t errlen)
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

/* "PATH", "self:0-9+29", "lookup", "none", or a comma list of them with at most one model. */
static int set_draft(struct config *c, const char *text, char *err, size_t errlen)
{
    struct engine_config *e = &c->engine;
    char *copy = xstrdup(text), *rest = copy, *entry;
    int rc = 0;
    c->drafters_given = true;
    e->n_drafters = 0;
    while (rc == 0 && (entry = strsep(&rest, ",")) != NULL) {
        if (e->n_drafters == ENGINE_DRAFTERS_MAX)
            rc = fail(SPECD_EINVAL, err, errlen, "at most %d entries", ENGINE_DRAFTERS_MAX);
        else
            rc = read_drafter(c, entry, &e->drafters[e->n_drafters++], err, errlen);
    }
    free(copy);
    if (rc == 0)
        rc = check_drafters(e, err, errlen);
    if (rc == 0 && e->drafters[0] == DRAFT_NONE)
        e->n_drafters = 0;
    return rc;
}

static int set_draft_vocab(struct config *c, const char *text, char *err, size_t errlen)
{
    int word = enum_index("auto|all", text);
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (word < 0 && (*text < '0' || *text > '9' || *end || errno || n < 1 || n > SPECD_VOCAB_MAX))
        return fail(SPECD_EINVAL, err, errlen, "must be auto, all or an integer in 1..%d",
                    SPECD_VOCAB_MAX);
    c->engine.draft_vocab = word < 0 ? (int32_t)n : word == 0 ? DRAFT_VOCAB_AUTO : DRAFT_VOCAB_ALL;
    return 0;
}

/* The list as address_text writes addresses, so that they can be compared as texts. */
static int set_trusted_proxy(struct config *c, const char *text, char *err, size_t errlen)
{
    char *copy = xstrdup(text), *rest = copy, *entry;
    struct buf list = {0};
    int rc = 0;
    while (rc == 0 && (entry = strsep(&rest, ",")) != NULL) {
        struct sockaddr_storage address;
        char name[ADDRESS_TEXT_MAX];
        if (!address_parse(entry, strlen(entry), &address) && strcmp(entry, "unix") != 0)
            rc = fail(SPECD_EINVAL, err, errlen, "'%.64s' is no IP address", entry);
        address_text((struct sockaddr *)&address, name, sizeof name);
        buf_printf(&list, "%s%s", list.len > 0 ? "," : "", name);
    }
    free(copy);
    free(c->trusted_proxy);
    c->trusted_proxy = buf_take(&list);
    return rc;
}

/* ---- the table */

#define FLAG(text, member) .name = text, .kind = OPTION_FLAG, .offset = AT(member)
#define STRING(text, member) .name = text, .kind = OPTION_STRING, .offset = AT(member)
#define INT(text, member) .name = text, .value = "N", .kind = OPTION_INT, .offset = AT(member)
#define SIZE(text, member) .name = text, .value = "SIZE", .kind = OPTION_SIZE, .offset = AT(member)
#define CHOICE(text, member) .name = text, .kind = OPTION_CHOICE, .offset = AT(member)
#define CUSTOM(text, function) .name = text, .kind = OPTION_CUSTOM, .set = function
#define SECONDS(text, member) \
    .name = text, .value = "S", .kind = OPTION_SECONDS, .offset = AT(member)

/* Types that a device lacks it refuses itself. */
#define WEIGHTS "native|f32|bf16|q8_0|fp8|int4"

const struct option options[] = {
    {STRING("model", model), .letter = "m", .value = "PATH",
     .help = "target model: a GGUF file or a Hugging Face folder (default: SmolLM2-135M-Instruct "
             "in the cache folder)"},
    {CUSTOM("model-draft", set_draft), .letter = "md", .value = "SPEC",
     .help = "what drafts: a model's path, self:LAYERS (self:0-9+29), lookup, none; a comma list "
             "is tried in order (default: lookup with the default model, else none)"},
    {INT("draft-max", engine.draft_max), .max = SPECD_K_MAX,
     .help = "most tokens drafted in a round (default: " TEXT(DRAFT_MAX_MODEL) " by a model, " TEXT(
         DRAFT_MAX_HOST) " by lookup and the like)"},
    {INT("draft-min", engine.draft_min), .max = SPECD_K_MAX, .fallback = "0",
     .help = "fewest tokens drafted in a round"},
    {INT("draft-fixed", engine.draft_fixed), .max = SPECD_K_MAX,
     .help = "always draft N tokens, without adapting (default: off)"},
    {FLAG("lookup-shared", engine.lookup_shared), .fallback = "false",
     .help = "lookup also in recent outputs of requests with the same cache_salt: what is accepted "
             "then tells something of others (docs/deploy.md)"},
    {CUSTOM("draft-vocab", set_draft_vocab), .value = "auto|N|all", .fallback = "auto",
     .help = "ids that a draft model drafts beside special tokens and those of the prompt: the N "
             "lowest; auto: those in MODEL.draft-vocab, 32768 of a large BPE vocabulary, or all"},
    {CHOICE("default-mode", engine.default_mode), .value = "MODE", .choices = "ratio|block|coupled",
     .fallback = "ratio",
     .help = "verification when a request leaves it open: ratio, block or coupled"},
    {FLAG("reproducible", engine.reproducible), .fallback = "false",
     .help = "results do not depend on how a prompt was cut up (the CPU device always does this)"},
    {FLAG("no-graphs", engine.eager), .fallback = "false",
     .help = "CUDA device: launch kernels one by one, for finding faults; slower, same results"},
    {CHOICE("kv-type", engine.kv), .value = "TYPE", .choices = "bf16|f32|fp8", .fallback = "bf16",
     .help = "type of the KV cache: bf16, f32 or, on CUDA, fp8"},
    {CHOICE("activations", engine.activations), .value = "TYPE", .choices = "int8|f32",
     .fallback = "int8",
     .help = "CPU device: what weights of integer types multiply: rows rounded to int8, or as they "
             "are"},
    {CUSTOM("device", set_device), .value = "DEVICE", .fallback = "auto",
     .help = "auto, cpu or cuda[:N]; auto: a CUDA device where there is one, else the CPU"},
    {INT("ctx-size", engine.n_ctx), .letter = "c", .min = 16, .max = 1 << 24,
     .help = "tokens per sequence (default: the model's)"},
    {INT("parallel", engine.n_slots), .letter = "np", .min = 1, .max = SPECD_SLOTS_MAX,
     .fallback = "16", .help = "slots: sequences decoded at once"},
    {SIZE("kv-memory", engine.kv_bytes), .min = 1 << 16, .max = INT64_MAX,
     .help =
         "memory of the KV cache (default: on CUDA what is left, on the CPU at most half of it)"},
    {INT("batch-size", engine.max_rows), .letter = "b", .min = 1, .max = 1 << 16, .fallback = "512",
     .help = "prompt rows in one pass"},
    {CHOICE("weights", engine.weights), .value = "TYPE", .choices = WEIGHTS, .fallback = "native",
     .help = "how the target's weights are kept: f32, bf16, q8_0, native or, on CUDA, fp8 or int4"},
    {CHOICE("draft-weights", engine.draft_weights), .value = "TYPE", .choices = WEIGHTS,
     .fallback = "native", .help = "the same for the draft model"},
    {INT("threads", engine.threads), .letter = "t", .min = 1, .max = 1024,
     .help = "threads of the CPU device (default: one per core)"},
    {STRING("host", host), .value = "ADDRESS", .fallback = "127.0.0.1",
     .help = "address to listen on, or unix:PATH"},
    {INT("port", port), .max = 65535, .fallback = "8080", .help = "port to listen on; 0: any"},
    {STRING("tls-cert", tls_cert), .flags = RELOADS, .value = "FILE",
     .help = "serve HTTPS: certificate with its chain, PEM"},
    {STRING("tls-key", tls_key), .flags = RELOADS, .value = "FILE",
     .help = "its private key, PEM without a password"},
    {STRING("api-key-file", api_key_file), .flags = RELOADS, .value = "FILE",
     .help = "API keys, one a line, which may say more of it (KEY priority), # comments (one key "
             "also by SPECD_API_KEY)"},
    {FLAG("salt-by-key", salt_by_key), .fallback = "false",
     .help = "requests of different API keys share no cached prompts, whatever their cache_salt: "
             "none can measure what another asks"},
    {STRING("api-key", api_key), .flags = NOT_IN_ARGS | NOT_IN_FILE},
    {STRING("alias", alias), .value = "NAME", .help = "model id (default: from the model)"},
    {INT("max-queue", engine.max_queue), .flags = RELOADS, .min = 1, .max = 1 << 20,
     .fallback = "256", .help = "requests that may wait; beyond that 429"},
    {INT("max-queue-per-client", max_queue_per_client), .flags = RELOADS, .max = 1 << 20,
     .help = "of these, those of one client; beyond that 429 for it; 0: any number (default: three "
             "quarters of --max-queue)"},
    {SECONDS("request-timeout", request_timeout_ms), .flags = RELOADS, .min = 1, .max = 86400000,
     .fallback = "600", .help = "longest a request may take, from its complete body"},
    {SECONDS("drain-timeout", drain_timeout_ms), .flags = RELOADS, .max = 86400000,
     .fallback = "30", .help = "how long running requests may go on after SIGTERM"},
    {SECONDS("hang-timeout", hang_timeout_ms), .flags = RELOADS, .min = 1, .max = 86400000,
     .fallback = "30",
     .help = "/health is 503 while a round takes longer, and longer than 20 times the slowest of "
             "late"},
    {SECONDS("header-timeout", header_timeout_ms), .flags = RELOADS, .min = 1, .max = 86400000,
     .fallback = "15", .help = "longest a new connection may take to send a header"},
    {SECONDS("body-timeout", body_timeout_ms), .flags = RELOADS, .min = 1, .max = 86400000,
     .fallback = "60",
     .help = "longest a client may take to send a body, and to take nothing of an answer"},
    {SECONDS("idle-timeout", idle_timeout_ms), .flags = RELOADS, .min = 1, .max = 86400000,
     .fallback = "75", .help = "longest a kept-alive connection may wait for its next header"},
    {SECONDS("ping-interval", ping_ms), .flags = RELOADS, .min = 1, .max = 86400000,
     .fallback = "15", .help = "silence after which a stream sends its headers, or a comment"},
    {SIZE("max-body", max_body), .flags = RELOADS, .min = 1024, .max = 1 << 30, .fallback = "32M",
     .help = "largest request body"},
    {SIZE("request-memory", request_memory), .flags = RELOADS, .min = 1 << 20, .max = INT64_MAX,
     .help = "memory of requests and answers under way, of which one client may hold half; beyond "
             "that 429 (default: 8 times --max-body, at least 256M)"},
    {INT("max-connections", max_connections), .min = 1, .max = 1 << 20, .fallback = "4096",
     .help = "connections open at once; beyond that clients wait"},
    {INT("max-connections-per-ip", max_connections_per_ip), .flags = RELOADS, .max = 1 << 20,
     .help = "connections of one client address; 0: any number (default: three quarters of all, at "
             "least 256; an IPv6 /64 counts as one address, unix sockets are not counted)"},
    {STRING("allowed-host", allowed_host), .value = "NAMES",
     .help = "names, in a comma list, by which a server on loopback without keys may be called "
             "beside those of loopback and of --cors-origin; to others it answers 421"},
    {CUSTOM("trusted-proxy", set_trusted_proxy), .value = "ADDRESSES",
     .help = "addresses, in a comma list, of proxies whose X-Forwarded-For says who a client is"},
    {STRING("cors-origin", cors_origin), .value = "ORIGIN",
     .help = "allow web pages of this origin, or * (default: none)"},
    {STRING("access-log", access_log), .flags = RELOADS, .value = "FILE",
     .help = "one line a request, appended to FILE, - is stdout; its form is --log-format's; "
             "SIGHUP opens it anew"},
    {CHOICE("log-level", log_level), .flags = RELOADS, .value = "LEVEL",
     .choices = "error|warn|info|debug", .fallback = "info", .help = "error, warn, info or debug"},
    {CHOICE("log-format", log_format), .flags = RELOADS, .value = "FORMAT", .choices = "text|json",
     .fallback = "text", .help = "text or json"},
    {STRING("chat-template", chat_template_file), .value = "FILE",
     .help = "Jinja chat template, instead of the model's own"},
    {CHOICE("reasoning-format", reasoning_format), .value = "F", .fallback = "auto",
     .choices = REASONING_FORMATS,
     .help = "thoughts of a model: in the text (none), or apart from it (deepseek, which auto is)"},
    {.name = "synthetic-acceptance",
     .value = "R",
     .kind = OPTION_RATIO,
     .offset = AT(engine.synthetic_acceptance),
     .help = "benchmarks only: accept drafted tokens at this rate; the output is meaningless"},
    {FLAG("no-metrics", no_metrics), .fallback = "false", .help = "no /metrics route"},
    {FLAG("no-vllm-metrics", no_vllm_metrics), .fallback = "false",
     .help = "no second copy of the metrics under vLLM's names"},
    {FLAG("no-ui", no_ui), .fallback = "false", .help = "no page at /"},
    {FLAG("no-seccomp", no_seccomp), .fallback = "false",
     .help = "no filter on system calls; on the CPU device there is one once the model is loaded"},
    {STRING("config", config_file), .value = "FILE", .flags = NOT_IN_FILE,
     .help = "read options from a JSON object in FILE"},
    {FLAG("print-config", print_config), .flags = NOT_IN_ENV | NOT_IN_FILE,
     .help = "print each option's value and where it comes from, and exit"},
    {FLAG("help", help), .letter = "h", .flags = NOT_IN_ENV | NOT_IN_FILE,
     .help = "print this and exit"},
    {FLAG("version", version), .flags = NOT_IN_ENV | NOT_IN_FILE,
     .help = "print the version and exit"},
};
const size_t n_options = COUNT_OF(options);

/* ---- parsing by kind */

static int set_flag(bool *out, const char *text, char *err, size_t errlen)
{
    int i = enum_index("false|true|0|1|no|yes|off|on", text);
    if (i < 0)
        return fail(SPECD_EINVAL, err, errlen, "must be true or false");
    *out = i & 1;
    return 0;
}

static int set_int(const struct option *o, int32_t *out, const char *text, char *err, size_t errlen)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno || v < o->min || v > o->max)
        return fail(SPECD_EINVAL, err, errlen, "must be an integer in %lld..%lld",
                    (long long)o->min, (long long)o->max);
    *out = (int32_t)v;
    return 0;
}

/* The number of bits of "K", "MiB", "GB", ...; -1 for anything else. */
static int size_shift(const char *unit)
{
    if (*unit == '\0')
        return 0;
    int letter = enum_index("k|m|g|t", (char[]){(char)(*unit | 0x20), '\0'});
    bool rest_ok = enum_index("|B|b|iB", unit + 1) >= 0;
    return letter >= 0 && rest_ok ? 10 * (letter + 1) : -1;
}

static int set_size(const struct option *o, uint64_t *out, const char *text, char *err,
                    size_t errlen)
{
    char *end;
    size_t bytes = 0;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    int shift = size_shift(end);
    if (end == text || *text < '0' || *text > '9' || errno || shift < 0 ||
        !size_mul((size_t)v, (size_t)1 << shift, &bytes) || bytes < (size_t)o->min ||
        bytes > (size_t)o->max)
        return fail(SPECD_EINVAL, err, errlen,
                    "must be a size of at least %lld bytes, such as 4M or 2G", (long long)o->min);
    *out = bytes;
    return 0;
}

static int parse_real(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*out) ? 0 : SPECD_EINVAL;
}

static int set_seconds(const struct option *o, int32_t *out, const char *text, char *err,
                       size_t errlen)
{
    double s;
    if (parse_real(text, &s) < 0 || s * 1000 < (double)o->min || s * 1000 > (double)o->max)
        return fail(SPECD_EINVAL, err, errlen, "must be seconds in %g..%g", (double)o->min / 1000,
                    (double)o->max / 1000);
    *out = (int32_t)(s * 1000 + 0.5);
    return 0;
}

static int set_ratio(float *out, const char *text, char *err, size_t errlen)
{
    double v;
    if (parse_real(text, &v) < 0 || v < 0 || v > 1)
        return fail(SPECD_EINVAL, err, errlen, "must be a number in [0, 1]");
    *out = (float)v;
    return 0;
}

static int set_string(char **out, const char *text, char *err, size_t errlen)
{
    if (*text == '\0')
        return fail(SPECD_EINVAL, err, errlen, "must not be empty");
    free(*out);
    *out = xstrdup(text);
    return 0;
}

static int set_choice(const struct option *o, int *out, const char *text, char *err, size_t errlen)
{
    int i = enum_index(o->choices, text);
    if (i < 0)
        return fail(SPECD_EINVAL, err, errlen, "must be one of %s", o->choices);
    *out = i;
    return 0;
}

int option_set(const struct option *o, struct config *c, const char *text, char *err, size_t errlen)
{
    void *at = (char *)c + o->offset;
    switch (o->kind) {
    case OPTION_FLAG:
        return set_flag(at, text, err, errlen);
    case OPTION_STRING:
        return set_string(at, text, err, errlen);
    case OPTION_INT:
        return set_int(o, at, text, err, errlen);
    case OPTION_SIZE:
        return set_size(o, at, text, err, errlen);
    case OPTION_SECONDS:
        return set_seconds(o, at, text, err, errlen);
    case OPTION_RATIO:
        return set_ratio(at, text, err, errlen);
    case OPTION_CHOICE:
        return set_choice(o, at, text, err, errlen);
    case OPTION_CUSTOM:
        break;
    }
    return o->set(c, text, err, errlen);
}

/* ---- names */

const struct option *option_find(const char *name, size_t len, bool is_letter)
{
    for (size_t i = 0; i < n_options; i++) {
        const char *have = is_letter ? options[i].letter : options[i].name;
        if (have && strlen(have) == len && memcmp(have, name, len) == 0)
            return &options[i];
    }
    return NULL;
}

/* Levenshtein's distance, one row at a time; b is one of our names. */
static size_t distance(const char *a, size_t a_len, const char *b)
{
    size_t row[64], b_len = strlen(b);
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t replace = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = MIN(replace, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_len];
}

const struct option *option_nearest(const char *name, size_t len)
{
    const struct option *best = &options[0];
    size_t best_distance = SIZE_MAX;
    for (size_t i = 0; i < n_options; i++) {
        size_t d = distance(name, MIN(len, 64), options[i].name);
        if (len >= 3 && strncmp(name, options[i].name, len) == 0)
            d = 1; /* a name cut short */
        if (d < best_distance && !(options[i].flags & NOT_IN_ARGS)) {
            best = &options[i];
            best_distance = d;
        }
    }
    return best;
}
