/*
 * bench-matmul: the matrix work of a pass, by weight type and number of rows.
 *
 * Multiplies through every matrix of a SmolLM2-135M-shaped model (30 layers and the output matrix)
 * in the order of a forward pass, and compares with the time to merely read the same bytes at the
 * bandwidth of this machine, measured before each type over 512 MB with all threads (the best of
 * several). Times are medians. Usage: bench-matmul [-t threads] [-n repeats] [type ...]
 */
#include "matmul.h"

#include "specd/quant.h"
#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LAYERS 30
#define READ_BYTES ((size_t)512 << 20)
#define ROWS_MAX 512
#define REPEATS_MAX 101

enum { HIDDEN = 576, FFN = 1536, KV = 192, VOCAB = 49152 };

struct matrix {
    int stage; /* matrices of one stage share their input */
    uint32_t rows, cols;
};
static const struct matrix layer[] = {
    {0, HIDDEN, HIDDEN}, {0, KV, HIDDEN},  {0, KV, HIDDEN},  {1, HIDDEN, HIDDEN},
    {2, FFN, HIDDEN},    {2, FFN, HIDDEN}, {3, HIDDEN, FFN},
};
#define MATRICES (LAYERS * COUNT_OF(layer) + 1)

struct net {
    struct weight w[MATRICES];
    int stage[MATRICES];
    size_t bytes;
    void *memory;
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
        if (type == DT_F32 || type == DT_BF16) { /* an exponent of about -4 */
            data[b + block - 1] = (uint8_t)((data[b + block - 1] & 0x80) | 0x3D);
            continue;
        }
        uint16_t scale = 0x2000; /* 2^-7 */
        memcpy(data + b + (type == DT_Q6_K ? 208 : 0), &scale, 2);
        if (type != DT_Q4_0 && type != DT_Q5_0 && type != DT_Q8_0 && type != DT_Q6_K)
            memcpy(data + b + 2, &scale, 2);
    }
    return (struct tensor){data, type, rows, cols};
}

/* K types need rows of a multiple of 256: the nearest shape, about as many bytes. */
static uint32_t fit(enum dtype type, uint32_t cols)
{
    return dtype_block(type) == 256 ? (cols + 128) / 256 * 256 : cols;
}

static void net_make(struct net *net, enum dtype type)
{
    *net = (struct net){.bytes = 0};
    struct tensor t[COUNT_OF(layer) + 1];
    size_t bytes[COUNT_OF(layer) + 1];
    for (size_t i = 0; i <= COUNT_OF(layer); i++) {
        struct matrix m = i < COUNT_OF(layer) ? layer[i] : (struct matrix){4, VOCAB, HIDDEN};
        enum dtype kept;
        char err[200];
        t[i] = tensor_make(type, m.rows, fit(type, m.cols));
        if (weight_plan(&t[i], WEIGHT_NATIVE, &kept, &bytes[i], err, sizeof(err)) != 0) {
            fprintf(stderr, "bench-matmul: %s\n", err);
            exit(1);
        }
        net->bytes += bytes[i] * (i < COUNT_OF(layer) ? LAYERS : 1);
    }
    char *at = net->memory = map(net->bytes + MATRICES * 64);
    for (size_t i = 0; i < MATRICES; i++) {
        size_t which = i == MATRICES - 1 ? COUNT_OF(layer) : i % COUNT_OF(layer);
        net->stage[i] = i == MATRICES - 1 ? 4 : layer[which].stage;
        if (i < COUNT_OF(layer) || i == MATRICES - 1) {
            weight_pack(&net->w[i], &t[which], type, at);
        } else {
            net->w[i] = net->w[which];
            net->w[i].data = memcpy(at, net->w[which].data, bytes[which]);
        }
        at += (bytes[which] + 63) / 64 * 64;
    }
    for (size_t i = 0; i <= COUNT_OF(layer); i++)
        free((void *)(uintptr_t)t[i].data);
}

static void net_free(struct net *net)
{
    munmap(net->memory, net->bytes + MATRICES * 64);
}

/* ---- measuring ------------------------------------------------------------------------------- */

static void pass(const struct net *net, struct pool *pool, const float *x, float *y, int T)
{
    for (size_t i = 0; i < MATRICES;) {
        struct matmul_job jobs[4];
        int n = 0, offset = 0, stage = net->stage[i], cols = net->w[i].cols;
        for (; i < MATRICES && net->stage[i] == stage; i++) {
            int width = net->w[i].rows;
            jobs[n++] = (struct matmul_job){&net->w[i], NULL, y + offset, width};
            offset += T * width;
        }
        matmul(pool, jobs, n, x, cols, T);
    }
}

struct reading {
    const uint64_t *words;
    uint64_t sum[64];
};

static void read_part(void *arg, int part, int n_parts)
{
    struct reading *r = arg;
    size_t n = READ_BYTES / sizeof(uint64_t) / (size_t)n_parts;
    const uint64_t *w = r->words + n * (size_t)part;
    uint64_t s[32] = {0};
    for (size_t i = 0; i + 32 <= n; i += 32)
        for (size_t j = 0; j < 32; j++)
            s[j] ^= w[i + j];
    for (size_t j = 0; j < 32; j++)
        r->sum[part % 64] ^= s[j];
}

/* Bytes per second, the best of several readings. */
static double bandwidth(struct pool *pool, const void *buffer)
{
    struct reading r = {.words = buffer};
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 8; i++) {
        uint64_t start = clock_ns();
        pool_run(pool, read_part, &r);
        best = MIN(best, clock_ns() - start);
    }
    return (double)READ_BYTES * 1e9 / (double)best;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_ms(const struct net *net, struct pool *pool, const float *x, float *y, int T,
                        int repeats)
{
    double ms[REPEATS_MAX];
    pass(net, pool, x, y, T);
    for (int i = 0; i < repeats; i++) {
        uint64_t start = clock_ns();
        pass(net, pool, x, y, T);
        ms[i] = (double)(clock_ns() - start) * 1e-6;
    }
    qsort(ms, (size_t)repeats, sizeof(*ms), by_value);
    return ms[repeats / 2];
}

static void measure(enum dtype type, struct pool *pool, const void *buffer, const float *x,
                    float *y, int repeats)
{
    static const int rows[] = {1, 2, 3, 5, 9, 16, 64, 512};
    struct net net;
    net_make(&net, type);
    double bw = bandwidth(pool, buffer), read_ms = (double)net.bytes * 1e3 / bw;
    double n_weights = 0;
    for (size_t i = 0; i < MATRICES; i++)
        n_weights += (double)net.w[i].rows * (double)net.w[i].cols;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int n = rows[i] >= 64 ? MAX(repeats / 5, 1) : repeats;
        double ms = median_ms(&net, pool, x, y, rows[i], n);
        printf("%-5s %6.1f MB %5.1f GB/s %5d %9.2f ms %7.1f GB/s %6.1f %% %7.2f %8.1f\n",
               dtype_name(type), (double)net.bytes * 1e-6, bw * 1e-9, rows[i], ms,
               (double)net.bytes * 1e-6 / ms, 100 * read_ms / ms, ms / read_ms,
               2e-6 * n_weights * rows[i] / ms);
        fflush(stdout);
    }
    net_free(&net);
}

int main(int argc, char **argv)
{
    int threads = (int)sysconf(_SC_NPROCESSORS_ONLN), repeats = 15, opt;
    while ((opt = getopt(argc, argv, "t:n:")) != -1) {
        if (opt == 't')
            threads = atoi(optarg);
        else if (opt == 'n')
            repeats = atoi(optarg);
        else
            return 2;
    }
    if (threads < 1 || threads > 64 || repeats < 1 || repeats > REPEATS_MAX) {
        fprintf(stderr, "bench-matmul: 1 to 64 threads, 1 to %d repeats\n", REPEATS_MAX);
        return 2;
    }
    struct pool *pool = pool_create(threads);
    void *buffer = map(READ_BYTES);
    memset(buffer, 1, READ_BYTES);
    float *x = map((size_t)ROWS_MAX * FFN * sizeof(*x));
    float *y = map((size_t)ROWS_MAX * VOCAB * sizeof(*y));
    for (int i = 0; i < ROWS_MAX * FFN; i++)
        x[i] = (float)(i % 2001 - 1000) * 1e-3f;
    memset(y, 0, (size_t)ROWS_MAX * VOCAB * sizeof(*y));
    printf("%d threads, AVX2 %s\ntype   weights  read at    rows      pass     weights   of read"
           "  x read  GFLOP/s\n",
           threads, cpu_has_avx2() ? "yes" : "no");
    for (enum dtype t = 0; t < DT_COUNT; t++) {
        bool wanted = optind == argc && t != DT_F16;
        for (int i = optind; i < argc; i++)
            wanted |= strcmp(argv[i], dtype_name(t)) == 0;
        if (wanted)
            measure(t, pool, buffer, x, y, repeats);
    }
    pool_free(pool);
    return 0;
}
