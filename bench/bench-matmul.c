/*
 * bench-matmul: what a matrix product costs, by weight type, shape and number of rows.
 *
 * For each type and shape it streams through more matrices than caches hold, in turns: once merely
 * reading their bytes with all threads, once for each number of rows. Times are medians over the
 * turns, so that both columns of a ratio saw the same machine; "best" are the same ratios of the
 * shortest times, for machines that have other work. "cycles" is what 16 channels x 256
 * columns x one row take on one thread with weights from the cache, the best of many: it hardly
 * depends on other load. Rows are quantised in the time of a pass, as they are in a forward pass.
 * One row in 20 runs of 32 columns is hot (qrows.h), as in the models that were looked at; -H:
 * none.
 *
 * Usage: bench-matmul [-t threads] [-n turns] [-s ROWSxCOLS] [-i N] [-k] [-H] [type ...]
 * -i: kernels of at most the N-th instruction set of isa.h; -k: only from the cache; without -s,
 * the matrices of Qwen2.5-1.5B and SmolLM2-135M
 */
#include "matmul.h"

#include "specd/quant.h"
#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PASS_BYTES ((size_t)48 << 20)
#define WINDOWS 4 /* passes over memory of their own, in turn: the third-level cache is no help */
#define ROWS_MAX 512
#define TURNS_MAX 101
#define CACHED_CHANNELS 64 /* four panels: one row of floats takes them at once */

struct shape {
    uint32_t rows, cols;
};
static const struct shape shapes[] = {{8960, 1536}, {1536, 8960}, {1536, 1536}, {1536, 576}};
static const int row_counts[] = {1, 2, 3, 5, 9, 16, 512};

struct setup {
    int turns;
    bool cached_only, hot;
    struct pool *pool, *alone;
    float *x, *y; /* (ROWS_MAX, cols), (ROWS_MAX, rows) */
    struct qrows q;
};

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT(p != MAP_FAILED);
    madvise(p, bytes, MADV_HUGEPAGE);
    return p;
}

/* ---- weights --------------------------------------------------------------------------------- */

/* Random bytes, with harmless numbers where a float or a scale stands. */
static struct tensor tensor_make(enum dtype type, uint32_t rows, uint32_t cols)
{
    size_t n = dtype_row_bytes(type, cols) * rows, block = (size_t)dtype_bytes(type);
    uint8_t *data = xmalloc(n);
    uint64_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        data[i] = (uint8_t)(state >> 56);
    }
    for (size_t b = 0; b < n; b += block) {
        if (dtype_block(type) == 1) { /* an exponent of about -4 */
            uint8_t exponent = type == DT_F16 ? 0x2C : 0x3D;
            data[b + block - 1] = (uint8_t)((data[b + block - 1] & 0x80) | exponent);
            continue;
        }
        const uint16_t scales[2] = {0x2000, 0x2000}; /* 2^-7 */
        switch (type) {
        case DT_Q4_0:
        case DT_Q5_0:
        case DT_Q8_0:
        case DT_IQ4_NL:
        case DT_IQ4_XS:
            memcpy(data + b, scales, 2);
            break;
        case DT_Q6_K:
        case DT_Q3_K: /* at the end */
            memcpy(data + b + block - 2, scales, 2);
            break;
        case DT_Q2_K:
            memcpy(data + b + block - 4, scales, 4);
            break;
        case DT_MXFP4:
            data[b] = 120;
            break;
        case DT_F8:
        case DT_F8_ROW:
            memcpy(data + b, &(float){0x1p-12f}, 4);
            break;
        default:
            memcpy(data + b, scales, 4);
        }
    }
    return (struct tensor){.data = data, .type = type, .rows = rows, .cols = cols};
}

/* Copies of one matrix, a pass of them in each window. */
struct matrices {
    struct weight w;
    size_t bytes; /* of one */
    int n;        /* of a pass */
    char *memory;
};

static struct matrices matrices_make(enum dtype type, struct shape s, size_t pass_bytes)
{
    struct matrices m;
    char err[200];
    struct tensor t = tensor_make(type, s.rows, s.cols);
    if (weight_plan(&t, WEIGHT_NATIVE, &m.w.type, &m.bytes, err, sizeof(err)) != 0) {
        fprintf(stderr, "bench-matmul: %s\n", err);
        exit(1);
    }
    m.n = (int)MAX(pass_bytes / m.bytes, 1);
    m.memory = map(m.bytes * (size_t)m.n * WINDOWS);
    m.w = (struct weight){
        .type = m.w.type, .rows = (int)s.rows, .cols = (int)s.cols, .scale = 1, .data = m.memory};
    weight_pack(&m.w, &t, 0, weight_panels(&m.w));
    for (int i = 1; i < m.n * WINDOWS; i++)
        memcpy(m.memory + (size_t)i * m.bytes, m.memory, m.bytes);
    free((void *)(uintptr_t)t.data);
    return m;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static void multiply(struct setup *s, struct pool *pool, const struct weight *w, int n_rows)
{
    struct matmul_input in = {s->x, w->cols, n_rows, w->cols, NULL, NULL, &s->q, false};
    struct matmul_job job = {w, NULL, s->y, w->rows, false};
    matmul(pool, &job, 1, &in);
}

struct reading {
    const uint64_t *words;
    size_t n;
    uint64_t sum[64];
};

static void read_part(void *arg, int part, int n_parts)
{
    struct reading *r = arg;
    size_t n = r->n / (size_t)n_parts / 32 * 32;
    const uint64_t *w = r->words + n * (size_t)part;
    uint64_t s[32] = {0};
    for (size_t i = 0; i < n; i += 32) {
        for (size_t line = 0; line < 32; line += 8)
            __builtin_prefetch(w + i + line + 512);
        for (size_t j = 0; j < 32; j++)
            s[j] ^= w[i + j];
    }
    for (size_t j = 0; j < 32; j++)
        r->sum[part % 64] ^= s[j];
}

/* n_rows 0: only reading. Milliseconds. */
static double pass(struct setup *s, const struct matrices *m, int window, int n_rows)
{
    size_t bytes = m->bytes * (size_t)m->n;
    char *at = m->memory + bytes * (size_t)window;
    struct reading r = {.words = (const uint64_t *)(const void *)at, .n = bytes / 8};
    uint64_t start = clock_ns();
    if (n_rows == 0)
        pool_run(s->pool, read_part, &r);
    for (int i = 0; i < m->n && n_rows > 0; i++) {
        struct weight w = m->w;
        w.data = at + m->bytes * (size_t)i;
        multiply(s, s->pool, &w, n_rows);
    }
    return (double)(clock_ns() - start) * 1e-6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double thread_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Cycles a second: of a chain of additions, one each, the best of several. */
static double clock_rate(void)
{
    double best = 1;
    for (int i = 0; i < 5; i++) {
        uint64_t x = 0;
        double start = thread_seconds();
        for (int n = 0; n < 1000000; n++) {
            x += 3;
            __asm__("" : "+r"(x));
        }
        best = MIN(best, thread_seconds() - start);
    }
    return 1e6 / best;
}

/* Cycles of 16 x 256 weights and one row, weights and rows being in the cache. */
static double cached_cycles(struct setup *s, const struct matrices *m, int n_rows)
{
    double best = 1, rate = clock_rate();
    double units = CACHED_CHANNELS / 16.0 * m->w.cols / 256 * n_rows;
    struct weight w = m->w;
    struct matmul_job job = {&w, NULL, s->y, CACHED_CHANNELS, false};
    struct matmul_input in = {s->x, w.cols, n_rows, w.cols, NULL, NULL, NULL, false};
    w.rows = CACHED_CHANNELS;
    if (dtype_is_quantised(w.type) && !dtype_is_f8(w.type))
        in.q = &s->q;
    matmul_rows(s->alone, &in);
    for (int i = 0; i < 60; i++) {
        double start = thread_seconds();
        for (int n = 0; n < 20; n++)
            matmul(s->alone, &job, 1, &in);
        best = MIN(best, (thread_seconds() - start) / 20);
    }
    return best * rate / units;
}

static void measure(struct setup *s, enum dtype type, struct shape shape)
{
    enum { N = COUNT_OF(row_counts) };
    static double ms[N + 1][TURNS_MAX];
    struct matrices m = matrices_make(type, shape, s->cached_only ? 1 : PASS_BYTES);
    double n_weights = (double)shape.rows * shape.cols * m.n, read[2] = {0}, one[2] = {0};
    struct arena count = {0}, arena = {0};
    qrows_layout(&s->q, ROWS_MAX, (int)shape.cols, &count);
    ASSERT(arena_open(&arena, count.used) == 0);
    qrows_layout(&s->q, ROWS_MAX, (int)shape.cols, &arena);
    for (uint32_t i = 0; i < ROWS_MAX * shape.cols; i++) {
        s->x[i] = (float)((int)(i * 7919 % 2001) - 1000) * 1e-3f;
        if (s->hot && i % (20 * RUN) == 5)
            s->x[i] *= 40;
    }
    for (int turn = 0, window = 0; turn < s->turns && !s->cached_only; turn++)
        for (int i = 0; i <= N; i++) {
            int rows = i == 0 ? 0 : row_counts[i - 1];
            if (rows < 64 || turn < 3)
                ms[i][turn] = pass(s, &m, window++ % WINDOWS, rows);
        }
    for (int i = 0; i <= N; i++) {
        int turns = i == N ? MIN(3, s->turns) : s->turns;
        qsort(ms[i], (size_t)turns, sizeof(**ms), by_value);
        double time[2] = {ms[i][turns / 2], ms[i][0]};
        if (i <= 1)
            memcpy(i == 0 ? read : one, time, sizeof(time));
        if (i == 0)
            continue;
        printf("%-5s %5u x %-5u %5d", dtype_name(type), shape.rows, shape.cols, row_counts[i - 1]);
        if (!s->cached_only)
            printf(" %9.2f %7.1f %7.2f %7.2f %7.2f %7.2f %8.1f", time[0],
                   (double)m.bytes * m.n / 1e6 / read[0], time[0] / read[0], time[0] / one[0],
                   time[1] / read[1], time[1] / one[1],
                   n_weights * row_counts[i - 1] / time[0] * 1e-6);
        printf(" %8.1f\n", cached_cycles(s, &m, MIN(row_counts[i - 1], 64)));
        fflush(stdout);
    }
    arena_close(&arena);
    munmap(m.memory, m.bytes * (size_t)m.n * WINDOWS);
}

int main(int argc, char **argv)
{
    int threads = (int)sysconf(_SC_NPROCESSORS_ONLN), opt, isa = ISA_COUNT;
    struct setup s = {.turns = 15, .hot = true};
    struct shape only = {0, 0};
    while ((opt = getopt(argc, argv, "t:n:s:i:kH")) != -1) {
        if (opt == 't')
            threads = atoi(optarg);
        else if (opt == 'n')
            s.turns = atoi(optarg);
        else if (opt == 'i')
            isa = atoi(optarg);
        else if (opt == 'k')
            s.cached_only = true;
        else if (opt == 'H')
            s.hot = false;
        else if (opt != 's' || sscanf(optarg, "%ux%u", &only.rows, &only.cols) != 2)
            return 2;
    }
    if (threads < 1 || threads > 64 || s.turns < 1 || s.turns > TURNS_MAX || isa < 0 ||
        only.rows > 1 << 20 || only.cols > 1 << 20 || (only.rows && only.rows < CACHED_CHANNELS)) {
        fprintf(stderr,
                "bench-matmul: 1 to 64 threads, 1 to %d turns, matrices of %d rows and "
                "more\n",
                TURNS_MAX, CACHED_CHANNELS);
        return 2;
    }
    cpu_limit((enum isa)isa);
    s.pool = pool_create(threads);
    s.alone = pool_create(1);
    size_t width = MAX(only.rows, only.cols);
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        width = MAX(width, MAX(shapes[i].rows, shapes[i].cols));
    s.x = map(ROWS_MAX * width * sizeof(*s.x));
    s.y = map(ROWS_MAX * width * sizeof(*s.y));
    printf("%d threads, kernels: %s, %.2f GHz\n"
           "type   rows x cols  rows        ms    GB/s  x read x 1 row   (best   best)  GMAC/s   "
           "cycles\n",
           threads, isa_name(cpu_isa()), clock_rate() * 1e-9);
    for (enum dtype t = 0; t < DT_COUNT; t++) {
        bool wanted = optind == argc;
        for (int i = optind; i < argc; i++)
            wanted |= strcmp(argv[i], dtype_name(t)) == 0;
        for (size_t i = 0; i < COUNT_OF(shapes) && wanted; i++) {
            struct shape shape = only.rows ? only : shapes[i];
            if (shape.cols % (uint32_t)dtype_block(t) == 0)
                measure(&s, t, shape);
            if (only.rows)
                break;
        }
    }
    pool_free(s.pool);
    pool_free(s.alone);
    return 0;
}
