/*
 * bench-acceptance - tokens per round of the modes of verification, by K and temperature.
 *
 *   bench-acceptance -m MODEL -d DRAFT|self:LAYERS [-n NAME] [-p PROMPTS] [-T 0.3,0.7,1,1.5]
 *                    [-K 1,2,4,8] [-t TOKENS] [-r REQUESTS] [-j THREADS] [-V auto|N|all]
 *
 * Runs the engine in this process: for each temperature, K and mode, REQUESTS requests that share
 * TOKENS tokens, with the seeds 0, 1, ... and K fixed. PROMPTS has one chat prompt in each
 * paragraph; without it a prompt is 16 random tokens. Only rounds of the full K count: a request's
 * last ones are clamped by its limit. -V: the draft's vocabulary, as specd's --draft-vocab.
 *
 * Tokens per round are 1 + accepted / rounds; the standard error takes each request as one
 * observation of a ratio, since rounds of one text are not independent. "first" is the share of
 * rounds that accept their first token, which in ratio mode estimates a = E sum min(p, q). Coupled
 * verification accepts with at least (1 - TV) / (1 + TV) (Daliri, Musco, Suresh 2024), which is
 * convex in a = 1 - TV, so its share is at least a / (2 - a): "bound".
 */
#include "specd/engine.h"
#include "specd/json.h"
#include "specd/json_write.h"
#include "specd/util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST_MAX 16
#define REQUESTS_MAX 256
#define PROMPT_TOKENS_RANDOM 16

struct options {
    const char *model, *draft, *name, *prompts_path;
    double temperatures[LIST_MAX], ks[LIST_MAX];
    int n_temperatures, n_ks;
    int tokens, requests, threads, draft_vocab;
};

struct bench {
    struct options opt;
    uint32_t self_layers[MODEL_LAYERS_MAX];
    struct engine_config config;
    struct engine *engine;
    struct buf prompts_text;
    char *prompts[LIST_MAX]; /* point into prompts_text */
    int n_prompts;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n_running; /* lock */
};

static struct bench bench = {.lock = PTHREAD_MUTEX_INITIALIZER,
                             .changed = PTHREAD_COND_INITIALIZER};

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "bench-acceptance: %s: %s\n", what, why);
    exit(1);
}

/* ---- the engine ------------------------------------------------------------------------------ */

static void on_state(void *arg)
{
    struct bench *b = arg;
    pthread_mutex_lock(&b->lock);
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

/* "0-9+29" to layers; any mistake is the engine's to report, but for what is no list. */
static uint32_t layers_parse(const char *s, uint32_t *out)
{
    uint32_t n = 0;
    for (;;) {
        char *end;
        unsigned long first = strtoul(s, &end, 10), last = first;
        if (end != s && *end == '-')
            last = strtoul(end + 1, &end, 10);
        for (unsigned long i = first; i <= last && n < MODEL_LAYERS_MAX; i++)
            out[n++] = (uint32_t)i;
        if (*end == '\0' && end != s)
            return n;
        if (*end != '+')
            die(s, "no list of layers such as 0-9+29");
        s = end + 1;
    }
}

static void engine_start(struct bench *b)
{
    struct engine_config *c = &b->config;
    char err[512];
    int exit_code;
    engine_config_init(c);
    c->device = &cpu_device_ops;
    c->model_path = b->opt.model;
    c->draft_vocab = b->opt.draft_vocab;
    c->n_drafters = 1;
    if (strncmp(b->opt.draft, "self:", 5) == 0) {
        c->drafters[0] = DRAFT_SELF;
        c->self_layers = b->self_layers;
        c->n_self_layers = layers_parse(b->opt.draft + 5, b->self_layers);
    } else {
        c->drafters[0] = DRAFT_MODEL;
        c->draft_path = b->opt.draft;
    }
    c->threads = b->opt.threads;
    c->n_ctx = 1024;
    c->max_queue = REQUESTS_MAX;
    c->request_timeout_ms = 3600 * 1000;
    c->on_state = on_state;
    c->on_state_arg = b;
    log_set(LOG_WARN, false);
    if (engine_open(&b->engine, c, err, sizeof err) != 0)
        die(b->opt.model, err);
    pthread_mutex_lock(&b->lock);
    while (engine_state(b->engine) == ENGINE_LOADING)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
    if (engine_state(b->engine) != ENGINE_READY)
        die(b->opt.model, engine_failure(b->engine, &exit_code));
}

/* ---- requests -------------------------------------------------------------------------------- */

static void prompts_read(struct bench *b)
{
    FILE *f = fopen(b->opt.prompts_path, "r");
    char chunk[4096];
    size_t n;
    if (!f)
        die(b->opt.prompts_path, "cannot be read");
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_add(&b->prompts_text, chunk, n);
    fclose(f);
    buf_add(&b->prompts_text, "", 1);
    for (char *p = b->prompts_text.data; p && *p && b->n_prompts < LIST_MAX;) {
        char *end = strstr(p, "\n\n");
        if (end)
            *end = '\0';
        b->prompts[b->n_prompts++] = p;
        p = end ? end + 2 : NULL;
    }
    if (b->n_prompts == 0)
        die(b->opt.prompts_path, "is empty");
}

static void on_output(struct request *req, void *arg)
{
    struct bench *b = arg;
    (void)req;
    pthread_mutex_lock(&b->lock);
    if (--b->n_running == 0)
        pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static void prompt_set(struct bench *b, struct request *req, int i)
{
    if (b->n_prompts > 0) {
        req->kind = PROMPT_CHAT;
        struct buf text = {0};
        char why[64];
        buf_puts(&text, "[{\"role\":\"user\",\"content\":");
        json_cstr(&text, b->prompts[i % b->n_prompts]);
        buf_puts(&text, "}]");
        req->source = xcalloc(1, sizeof *req->source);
        atomic_init(&req->source->refs, 1);
        if (json_parse(&req->source->body, text.data, text.len, why, sizeof why) < 0)
            die("a prompt", why);
        req->chat.messages = req->source->body;
        buf_free(&text);
        return;
    }
    uint32_t n_vocab = engine_info(b->engine)->n_vocab, x = (uint32_t)i * 2654435761u + 1;
    req->kind = PROMPT_TOKENS;
    req->prompt_ids = xcalloc(PROMPT_TOKENS_RANDOM, sizeof *req->prompt_ids);
    req->n_prompt_ids = PROMPT_TOKENS_RANDOM;
    for (int j = 0; j < PROMPT_TOKENS_RANDOM; j++) {
        x = x * 1664525u + 1013904223u;
        req->prompt_ids[j] = (int32_t)((x >> 8) % n_vocab);
    }
}

static struct request *request_make(struct bench *b, int i, enum mode_choice mode, int k,
                                    double temperature)
{
    struct request *req = request_new();
    prompt_set(b, req, i);
    req->params.max_tokens = b->opt.tokens / b->opt.requests;
    req->params.law.temperature = (float)temperature;
    req->params.has_seed = true;
    req->params.seed = (uint64_t)i;
    req->params.ignore_eos = true;
    req->params.spec.mode = mode;
    req->params.spec.fixed = k;
    req->on_output = on_output;
    req->on_output_arg = b;
    return req;
}

/* ---- counting -------------------------------------------------------------------------------- */

/* Rounds of one request, or of several. */
struct count {
    int64_t rounds, accepted, first; /* first: rounds whose first token was accepted */
};

/* A round's tokens end with one that was not drafted. */
static struct count count_request(const struct request *req, int k)
{
    const struct request_output *o = &req->output;
    struct count c = {0};
    int64_t accepted = 0;
    for (size_t i = 0; i < o->n_tokens; i++) {
        if (o->tokens[i].drafted) {
            accepted++;
            continue;
        }
        if (o->tokens[i].k == k) {
            c.rounds++;
            c.accepted += accepted;
            c.first += accepted > 0;
        }
        accepted = 0;
    }
    return c;
}

struct measure {
    double tokens, se; /* per round */
    double first;
};

static struct measure measure_of(const struct count *counts, int n)
{
    struct count all = {0};
    double squares = 0;
    for (int i = 0; i < n; i++) {
        all.rounds += counts[i].rounds;
        all.accepted += counts[i].accepted;
        all.first += counts[i].first;
    }
    if (all.rounds == 0)
        die("no round", "more tokens per request are needed");
    double rounds = (double)all.rounds, mean = (double)all.accepted / rounds;
    for (int i = 0; i < n; i++) {
        double off = (double)counts[i].accepted - mean * (double)counts[i].rounds;
        squares += off * off;
    }
    return (struct measure){1 + mean, sqrt(squares * n / MAX(n - 1, 1)) / rounds,
                            (double)all.first / rounds};
}

static struct measure measure_mode(struct bench *b, enum mode_choice mode, int k,
                                   double temperature)
{
    struct request *reqs[REQUESTS_MAX];
    struct count counts[REQUESTS_MAX];
    int n = b->opt.requests;
    b->n_running = n;
    for (int i = 0; i < n; i++) {
        reqs[i] = request_make(b, i, mode, k, temperature);
        if (engine_submit(b->engine, reqs[i]) != 0)
            die("request", "refused");
    }
    pthread_mutex_lock(&b->lock);
    while (b->n_running > 0)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
    for (int i = 0; i < n; i++) {
        if (reqs[i]->output.finish == FINISH_ERROR)
            die("request", reqs[i]->output.message);
        counts[i] = count_request(reqs[i], k);
        request_unref(reqs[i]);
    }
    return measure_of(counts, n);
}

/* ---- the table ------------------------------------------------------------------------------- */

static void print_row(double temperature, int k, const struct measure *ratio,
                      const struct measure *block, const struct measure *coupled)
{
    double se = MAX(ratio->se, MAX(block->se, coupled->se));
    printf("| %.1f | %d | %.3f | %.3f | %.3f | %.3f | %+.1f%% | %+.1f%% | %.3f | %.3f | %.3f |\n",
           temperature, k, ratio->tokens, block->tokens, coupled->tokens, se,
           100 * (block->tokens / ratio->tokens - 1), 100 * (coupled->tokens / ratio->tokens - 1),
           ratio->first, coupled->first, ratio->first / (2 - ratio->first));
    fflush(stdout);
}

static void print_table(struct bench *b)
{
    printf("Pair %s: %s, draft %s; %d tokens of %d requests per cell\n\n", b->opt.name,
           engine_info(b->engine)->model_id, engine_info(b->engine)->draft, b->opt.tokens,
           b->opt.requests);
    printf("| T | K | ratio | block | coupled | largest s.e. | block | coupled | first, ratio "
           "| first, coupled | bound |\n"
           "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for (int t = 0; t < b->opt.n_temperatures; t++) {
        for (int i = 0; i < b->opt.n_ks; i++) {
            double temperature = b->opt.temperatures[t];
            int k = (int)b->opt.ks[i];
            struct measure ratio = measure_mode(b, MODE_RATIO, k, temperature);
            struct measure block = measure_mode(b, MODE_BLOCK, k, temperature);
            struct measure coupled = measure_mode(b, MODE_COUPLED, k, temperature);
            print_row(temperature, k, &ratio, &block, &coupled);
        }
    }
}

/* ---- options --------------------------------------------------------------------------------- */

static int list_parse(const char *s, double *out, double min, double max)
{
    int n = 0;
    for (;;) {
        char *end;
        double v = strtod(s, &end);
        if (end == s || !(v >= min && v <= max) || n == LIST_MAX)
            die(s, "no list of numbers in range");
        out[n++] = v;
        if (*end == '\0')
            return n;
        if (*end != ',')
            die(s, "no list of numbers");
        s = end + 1;
    }
}

static int number(const char *s, int min, int max)
{
    double v[LIST_MAX];
    if (list_parse(s, v, min, max) != 1)
        die(s, "not one number");
    return (int)v[0];
}

static void options_parse(struct options *o, int argc, char **argv)
{
    int c;
    *o = (struct options){.name = "pair", .tokens = 16384, .requests = 64};
    o->n_temperatures = list_parse("0.3,0.7,1,1.5", o->temperatures, 0, 2);
    o->n_ks = list_parse("1,2,4,8", o->ks, 1, SPECD_K_MAX);
    while ((c = getopt(argc, argv, "m:d:n:p:T:K:t:r:j:V:")) != -1) {
        switch (c) {
        case 'm':
            o->model = optarg;
            break;
        case 'd':
            o->draft = optarg;
            break;
        case 'n':
            o->name = optarg;
            break;
        case 'p':
            o->prompts_path = optarg;
            break;
        case 'T':
            o->n_temperatures = list_parse(optarg, o->temperatures, 0, 2);
            break;
        case 'K':
            o->n_ks = list_parse(optarg, o->ks, 1, SPECD_K_MAX);
            break;
        case 't':
            o->tokens = number(optarg, 1, 1 << 24);
            break;
        case 'r':
            o->requests = number(optarg, 1, REQUESTS_MAX);
            break;
        case 'j':
            o->threads = number(optarg, 1, 1024);
            break;
        case 'V':
            o->draft_vocab = strcmp(optarg, "auto") == 0  ? DRAFT_VOCAB_AUTO
                             : strcmp(optarg, "all") == 0 ? DRAFT_VOCAB_ALL
                                                          : number(optarg, 1, SPECD_VOCAB_MAX);
            break;
        default:
            die("usage", "-m MODEL -d DRAFT|self:LAYERS [-n NAME] [-p PROMPTS] [-T LIST] "
                         "[-K LIST] [-t TOKENS] [-r REQUESTS] [-j THREADS] "
                         "[-V auto|N|all]");
        }
    }
    if (!o->model || !o->draft || optind < argc)
        die("usage", "-m MODEL and -d DRAFT are needed");
}

int main(int argc, char **argv)
{
    options_parse(&bench.opt, argc, argv);
    if (bench.opt.prompts_path)
        prompts_read(&bench);
    engine_start(&bench);
    print_table(&bench);
    engine_close(bench.engine);
    buf_free(&bench.prompts_text);
    return 0;
}
