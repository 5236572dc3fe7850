/*
 * Runs a fuzz target without libFuzzer.
 *
 *   replay_x FILE...                       each file once
 *   replay_x [--runs N] [--start N]        random changes of the target's seeds; run i depends on i
 *                                          alone, so --start repeats one that failed
 *   replay_x --write FOLDER                the seeds as files: a first corpus for libFuzzer
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct random {
    uint64_t state;
};

static uint64_t next(struct random *r) /* xorshift64* */
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * UINT64_C(0x2545f4914f6cdd1d);
}

static size_t below(struct random *r, size_t n)
{
    return n > 0 ? (size_t)(next(r) % n) : 0;
}

/* Numbers at which readers go wrong. */
static uint64_t odd_number(struct random *r)
{
    uint64_t v = UINT64_C(1) << below(r, 64);
    return v + next(r) % 5 - 2;
}

static void overwrite(struct random *r, struct buf *b)
{
    static const char text[] = "0123456789-.eE\"{}[]:,\\u tfn%<|>";
    size_t at = below(r, b->len), width = (size_t)1 << below(r, 4);
    uint64_t v = odd_number(r);
    if (b->len == 0)
        return;
    switch (below(r, 4)) {
    case 0:
        b->data[at] = (char)(b->data[at] ^ 1 << below(r, 8));
        break;
    case 1:
        b->data[at] = text[below(r, sizeof text - 1)];
        break;
    default:
        if (width <= b->len - at)
            memcpy(b->data + at, &v, width);
    }
}

static void resize(struct random *r, struct buf *b)
{
    size_t at = below(r, b->len), n = below(r, MIN(b->len - at, 64) + 1);
    if (below(r, 2) == 0) {
        memmove(b->data + at, b->data + at + n, b->len - at - n);
        b->len -= n;
        return;
    }
    char *copy = xmalloc(b->len - at);
    size_t tail = b->len - at;
    memcpy(copy, b->data + at, tail);
    b->len = at + n; /* what lies there now stays, and comes again */
    buf_add(b, copy, tail);
    free(copy);
}

static void mutate(struct random *r, struct buf *b)
{
    for (size_t n = 1 + below(r, 6); n > 0; n--) {
        size_t kind = below(r, 16);
        if (kind == 0)
            b->len = below(r, b->len + 1);
        else if (kind <= 2 && b->len > 0)
            resize(r, b);
        else
            overwrite(r, b);
    }
}

static void run(const char *data, size_t size)
{
    uint8_t *copy = xmalloc(size);
    if (size > 0)
        memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

#define SEEDS_MAX 64

static void run_mutations(uint64_t start, uint64_t runs)
{
    struct buf seeds[SEEDS_MAX] = {{0}}, input = {0};
    size_t n_seeds = 0;
    while (n_seeds < SEEDS_MAX && fuzz_seed((int)n_seeds, &seeds[n_seeds])) {
        run(seeds[n_seeds].data, seeds[n_seeds].len);
        n_seeds++;
    }
    for (uint64_t i = start; i < start + runs && n_seeds > 0; i++) {
        struct random r = {(i + 1) * UINT64_C(0x9e3779b97f4a7c15)};
        const struct buf *seed = &seeds[below(&r, n_seeds)];
        buf_clear(&input);
        buf_add(&input, seed->data, seed->len);
        mutate(&r, &input);
        run(input.data, input.len);
    }
    printf("%zu seeds, %llu runs\n", n_seeds, (unsigned long long)runs);
    for (size_t i = 0; i < SEEDS_MAX; i++)
        buf_free(&seeds[i]);
    buf_free(&input);
}

static bool run_file(const char *path)
{
    struct buf b = {0};
    char chunk[4096];
    size_t n;
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return false;
    }
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_add(&b, chunk, n);
    fclose(f);
    run(b.data, b.len);
    buf_free(&b);
    return true;
}

static bool write_seeds(const char *folder)
{
    struct buf seed = {0};
    bool ok = true;
    for (int i = 0; ok && fuzz_seed(i, &seed); i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/seed-%d", folder, i);
        FILE *f = fopen(path, "wb");
        ok = f && fwrite(seed.data, 1, seed.len, f) == seed.len;
        if (f && fclose(f) != 0)
            ok = false;
        if (!ok)
            perror(path);
        buf_clear(&seed);
    }
    buf_free(&seed);
    return ok;
}

int main(int argc, char **argv)
{
    uint64_t start = 0, runs = 20000;
    bool files = false, ok = true;
    for (int i = 1; i < argc && ok; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0";
        if (strcmp(argv[i], "--runs") == 0) {
            runs = strtoull(value, NULL, 10);
            i++;
        } else if (strcmp(argv[i], "--start") == 0) {
            start = strtoull(value, NULL, 10);
            i++;
        } else if (strcmp(argv[i], "--write") == 0) {
            return write_seeds(value) ? 0 : 1;
        } else {
            files = true;
            ok = run_file(argv[i]);
        }
    }
    if (!files)
        run_mutations(start, runs);
    return ok ? 0 : 1;
}
