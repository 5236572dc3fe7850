#include "harness.h"

#include "deferred_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One lock and one condition for all requests of a test program. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static bool held;

static void wake_all(void)
{
    pthread_mutex_lock(&lock);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void hold_outputs(bool hold)
{
    pthread_mutex_lock(&lock);
    held = hold;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_output(struct request *req, void *arg)
{
    (void)req;
    (void)arg;
    pthread_mutex_lock(&lock);
    pthread_cond_broadcast(&changed);
    while (held)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void on_state(void *arg)
{
    (void)arg;
    wake_all();
}

const char *model_path(const char *name)
{
    static char paths[8][512];
    static unsigned next;
    const char *dir = getenv("SPECD_TEST_MODELS");
    if (!dir)
        fail_msg("SPECD_TEST_MODELS is not set: run through ctest");
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s.gguf", dir, name);
    return path;
}

static const struct device_ops *test_device(void)
{
    const char *name = getenv("SPECD_TEST_DEVICE");
    return name && strcmp(name, "deferred") == 0 ? &deferred_device_ops : &cpu_device_ops;
}

struct engine_config test_config(const char *model)
{
    struct engine_config c;
    engine_config_init(&c);
    c.device = test_device();
    c.model_path = model_path(model);
    c.threads = 2;
    c.n_slots = 4;
    c.on_state = on_state;
    return c;
}

static char cache[] = "/tmp/specd-test-XXXXXX";
static pid_t cache_owner;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void remove_cache(void)
{
    if (getpid() == cache_owner)
        nftw(cache, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Measured costs are kept while the program runs, so that only its first start of each kind takes
 * time for them, and never between programs. */
static void make_cache(void)
{
    if (cache_owner != 0)
        return;
    if (!mkdtemp(cache))
        fail_msg("no folder in /tmp");
    cache_owner = getpid();
    setenv("XDG_CACHE_HOME", cache, 1);
    atexit(remove_cache);
}

struct engine *engine_start(const struct engine_config *config)
{
    struct engine *e;
    char err[512] = "";
    int exit_code;
    make_cache();
    log_set(LOG_WARN, false);
    if (engine_open(&e, config, err, sizeof err) != 0)
        fail_msg("engine_open: %s", err);
    pthread_mutex_lock(&lock);
    while (engine_state(e) == ENGINE_LOADING)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    if (engine_state(e) != ENGINE_READY)
        fail_msg("engine: %s", engine_failure(e, &exit_code));
    return e;
}

struct request *prompt_request(uint32_t seed, int32_t n, int32_t max_tokens, bool stream)
{
    struct request *req = request_new();
    uint32_t x = seed * 2654435761u + 1;
    req->kind = PROMPT_TOKENS;
    req->prompt_ids = xmalloc((size_t)n * sizeof *req->prompt_ids);
    req->n_prompt_ids = (size_t)n;
    for (int32_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        req->prompt_ids[i] = (int32_t)(x >> 24) % 200; /* plain tokens of every test model */
    }
    req->stream = stream;
    req->params.max_tokens = max_tokens;
    req->params.law.temperature = 0.0f;
    req->params.ignore_eos = true;
    req->on_output = on_output;
    return req;
}

void request_submit(struct engine *e, struct request *req)
{
    assert_int_equal(engine_submit(e, req), 0);
}

static bool reached(struct request *req, size_t n)
{
    pthread_mutex_lock(&req->output.lock);
    bool yes = req->output.finish != FINISH_NONE || req->output.n_tokens >= n;
    pthread_mutex_unlock(&req->output.lock);
    return yes;
}

void request_wait_tokens(struct request *req, size_t n)
{
    pthread_mutex_lock(&lock);
    while (!reached(req, n))
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

void request_wait(struct request *req)
{
    request_wait_tokens(req, SIZE_MAX);
}

void request_tokens(struct request *req, struct tokens *out)
{
    pthread_mutex_lock(&req->output.lock);
    const struct request_output *o = &req->output;
    out->n = o->n_tokens;
    out->finish = o->finish;
    out->stats = o->stats;
    assert_true(out->n <= TOKENS_MAX);
    for (size_t i = 0; i < out->n; i++)
        out->id[i] = o->tokens[i].id;
    pthread_mutex_unlock(&req->output.lock);
    request_unref(req);
}

void generate(struct engine *e, struct request *req, struct tokens *out)
{
    request_submit(e, req);
    request_wait(req);
    request_tokens(req, out);
}

void assert_same_tokens(const struct tokens *a, const struct tokens *b, const char *what)
{
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        if (a->id[i] != b->id[i])
            fail_msg("%s: token %zu is %d, expected %d", what, i, b->id[i], a->id[i]);
    }
    if (a->n != b->n || a->finish != b->finish)
        fail_msg("%s: %zu tokens (finish %d), expected %zu (%d)", what, b->n, (int)b->finish, a->n,
                 (int)a->finish);
}
