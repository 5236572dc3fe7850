/*
 * bench-activations - what rows of 8 bits change in a model's answers on the CPU device.
 *
 *   bench-activations -m MODEL [-c TOKENS] [-t THREADS] FILE...
 *
 * Reads the first TOKENS (512) of each text, as the server reads a prompt, through two devices with
 * the same weights and bf16 KV, one with float activations (p), one with those of 8 bits (q), and
 * compares the logits of every position: KL(p || q), the RMS of the logits' differences over the
 * deviation of p's logits, greedy tokens that differ, and the perplexity of the text under both.
 * Each device's own keys and values feed its later rows, as they do when it serves. Prints one row
 * of markdown.
 */
#include "device_impl.h"
#include "model/model_file.h"
#include "specd/util.h"
#include "text/tokenizer.h"

#include <math.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct device_ops *const ops = &cpu_device_ops;

struct options {
    const char *path;
    int window, threads;
};

struct rows {
    struct device *dev;
    sem_t done;
    struct round round;
    struct round_result result;
};

struct sums {
    int n, greedy;
    double kl, kl_max, squares, max, loss[2];
    double *kls; /* of every position */
};

static _Noreturn void die(const char *text)
{
    fprintf(stderr, "bench-activations: %s\n", text);
    exit(1);
}

static void on_done(void *arg)
{
    sem_post(&((struct rows *)arg)->done);
}

/* ---- devices --------------------------------------------------------------------------------- */

static struct rows *rows_open(const struct model *m, const struct options *o,
                              enum activations activations)
{
    struct rows *r = xcalloc(1, sizeof(*r));
    struct device_setup setup = {
        .models = {m},
        .kv = KV_BF16,
        .activations = activations,
        .n_slots = 1,
        .n_ctx = o->window + SPECD_K_MAX + 1,
        .max_rows = 64,
        .k_max = SPECD_K_MAX,
        .threads = o->threads,
    };
    int32_t n_blocks = (setup.n_ctx + SPECD_BLOCK_TOKENS - 1) / SPECD_BLOCK_TOKENS;
    int32_t *blocks = xcalloc((size_t)n_blocks, sizeof(*blocks));
    char err[256] = "";
    sem_init(&r->done, 0, 0);
    for (int32_t i = 0; i < n_blocks; i++)
        blocks[i] = i;
    if (ops->open(&r->dev, -1, err, sizeof(err)) != 0 ||
        ops->model_load(r->dev, &setup, NULL, NULL, err, sizeof(err)) != 0 ||
        ops->pool_create(r->dev, n_blocks, 0, on_done, r, err, sizeof(err)) != 0 ||
        ops->slot_blocks(r->dev, 0, 0, n_blocks, blocks) != 0)
        die(err);
    free(blocks);
    return r;
}

/* Logits of the rows at positions pos .. pos + n, the first of which is the last of the slot's
 * committed text, the others a draft whose fate nobody asks for. */
static void rows_run(struct rows *r, const int32_t *text, int32_t pos, int32_t n)
{
    struct slot_config config = {
        .params = {.target = {.top_p = 1, .repetition = 1},
                   .draft = {.top_p = 1, .repetition = 1},
                   .n_logprobs = -1},
        .tokens = text,
        .n_tokens = pos + 1,
        .n_prompt = pos + 1,
        .limit = pos + n + 1,
        .rows = {[MODEL_TARGET] = pos},
    };
    r->round.n_seqs = 1;
    r->round.synthetic_acceptance = -1.0f;
    r->round.seqs[0] = (struct round_seq){.slot = 0, .k = n - 1, .source = DRAFT_FROM_HOST};
    memcpy(r->round.seqs[0].host_draft, text + pos + 1, (size_t)(n - 1) * sizeof(*text));
    if (ops->slot_set(r->dev, 0, &config) != 0 || ops->begin(r->dev, &r->round) != 0 ||
        ops->forward(r->dev, MODEL_TARGET, ROWS_VERIFY, 0) != 0 || ops->verify(r->dev) != 0 ||
        ops->end(r->dev) != 0)
        die("the device refuses a round");
    sem_wait(&r->done);
    if (ops->poll(r->dev) != 1 || ops->collect(r->dev, &r->result) != 0 ||
        r->result.seqs[0].n_drafted != n - 1)
        die("a round failed");
}

/* ---- laws ------------------------------------------------------------------------------------ */

static int largest(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static double log_sum(const float *x, int n)
{
    double max = (double)x[largest(x, n)], sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp((double)x[i] - max);
    return max + log(sum);
}

static void compare(const float *p, const float *q, int n, int32_t next, struct sums *s)
{
    double log_p = log_sum(p, n), log_q = log_sum(q, n), kl = 0, mean = 0, squares = 0, diffs = 0;
    for (int i = 0; i < n; i++) {
        double a = (double)p[i], b = (double)q[i];
        kl += exp(a - log_p) * ((a - log_p) - (b - log_q));
        mean += a / n;
        squares += a * a / n;
        diffs += (a - b) * (a - b) / n;
        s->max = fmax(s->max, fabs(a - b));
    }
    s->squares += diffs / (squares - mean * mean);
    s->kls[s->n++] = kl;
    s->kl += kl;
    s->kl_max = fmax(s->kl_max, kl);
    s->greedy += largest(p, n) != largest(q, n);
    s->loss[0] += log_p - (double)p[next];
    s->loss[1] += log_q - (double)q[next];
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- text ------------------------------------------------------------------------------------ */

/* The first `window` tokens of a file, and the one after. */
static int32_t *read_text(const struct tokenizer *t, const char *path, int window)
{
    struct buf text = {0};
    int32_t *ids;
    size_t got, n;
    char part[4096];
    FILE *f = fopen(path, "r");
    if (!f)
        die(path);
    while ((got = fread(part, 1, sizeof(part), f)) > 0)
        buf_add(&text, part, got);
    fclose(f);
    if (tokenizer_encode(t, text.data, text.len, ENCODE_BOS, NULL, &ids, &n) != 0 ||
        n <= (size_t)window)
        die("a text is too short");
    buf_free(&text);
    return ids;
}

int main(int argc, char **argv)
{
    struct options o = {.window = 512};
    struct tokenizer *t;
    struct model_file *file;
    char err[256];
    int opt;
    while ((opt = getopt(argc, argv, "m:c:t:")) != -1) {
        if (opt == 'm')
            o.path = optarg;
        else if (opt == 'c')
            o.window = atoi(optarg);
        else if (opt == 't')
            o.threads = atoi(optarg);
        else
            return 2;
    }
    if (!o.path || optind == argc || o.window < 1 || o.window > 1 << 16)
        die("needs -m MODEL and texts; -c 1 to 65536");
    if (model_file_open(&file, o.path, err, sizeof(err)) != 0 ||
        tokenizer_create(&t, &file->vocab, err, sizeof(err)) != 0)
        die(err);
    struct rows *p = rows_open(&file->model, &o, ACTIVATIONS_F32);
    struct rows *q = rows_open(&file->model, &o, ACTIVATIONS_INT8);
    struct sums s = {.kls = xcalloc((size_t)(argc - optind) * (size_t)o.window, sizeof(double))};
    for (int i = optind; i < argc; i++) {
        int32_t *text = read_text(t, argv[i], o.window);
        for (int pos = 0, n; pos < o.window; pos += n) {
            n = MIN(o.window - pos, SPECD_K_MAX + 1);
            rows_run(p, text, pos, n);
            rows_run(q, text, pos, n);
            for (int j = 0; j < n; j++)
                compare(cpu_device_logits(p->dev, MODEL_TARGET, 0, j),
                        cpu_device_logits(q->dev, MODEL_TARGET, 0, j), (int)file->model.n_vocab,
                        text[pos + j + 1], &s);
        }
        free(text);
    }
    qsort(s.kls, (size_t)s.n, sizeof(double), by_value);
    printf("| model | positions | RMS / deviation | largest difference | KL, mean | median | 99 %% "
           "| largest | greedy changed | perplexity, float | 8 bits |\n"
           "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
           "| %s | %d | %.4f | %.2f | %.5f | %.5f | %.4f | %.4f | %.2f %% | %.3f | %.3f |\n",
           strrchr(o.path, '/') ? strrchr(o.path, '/') + 1 : o.path, s.n, sqrt(s.squares / s.n),
           s.max, s.kl / s.n, s.kls[s.n / 2], s.kls[s.n * 99 / 100], s.kl_max,
           100.0 * s.greedy / s.n, exp(s.loss[0] / s.n), exp(s.loss[1] / s.n));
    ops->close(p->dev);
    ops->close(q->dev);
    tokenizer_free(t);
    model_file_close(file);
    free(s.kls);
    return 0;
}
