/*
 * Loading on the CPU device: matrices of many pieces arrive whole on any number of threads,
 * progress is told from the caller's thread and ends at the total, and huge pages are counted
 * within bounds.
 *
 * links: device_tests specd_cpu
 * labels: thread
 */
#include "device/models.h"
#include "machine.h"
#include "net.h"
#include "specd/util.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

static const struct model_shape shape = {
    .n_layers = 3,
    .n_heads = 2,
    .n_kv_heads = 1,
    .head_dim = 32,
    .n_embd = 64,
    .n_ff = 5000,     /* more than a piece */
    .n_vocab = 20011, /* five pieces, and the last panel is not full */
    .rope = ROPE_PAIRS,
    .biases = true,
    .untied = true,
    .type = DT_F32,
    .seed = 7,
};

struct told {
    pthread_t thread;
    uint64_t last;
    int calls;
};

static void on_progress(void *arg, enum model_role role, uint64_t done, uint64_t total)
{
    struct told *t = arg;
    assert_int_equal(role, MODEL_DRAFT);
    assert_true(pthread_equal(t->thread, pthread_self()));
    assert_true(done >= t->last && done <= total);
    t->last = done;
    t->calls++;
}

static void check_matrix(const struct weight *w, const struct tensor *t)
{
    float *row = xmalloc(t->cols * sizeof(*row));
    for (uint32_t i = 0; i < t->rows; i++) {
        weight_row(w, (int)i, row);
        assert_memory_equal(row, (const float *)t->data + (size_t)i * t->cols,
                            t->cols * sizeof(*row));
    }
    free(row);
}

static void load(struct model *m, int threads)
{
    struct arena counted = {0}, arena = {0};
    struct net net;
    char err[256];
    assert_int_equal(net_layout(&net, m, WEIGHT_NATIVE, &counted, err, sizeof(err)), 0);
    net_free(&net);
    assert_int_equal(arena_open(&arena, counted.used), 0);
    assert_int_equal(net_layout(&net, m, WEIGHT_NATIVE, &arena, err, sizeof(err)), 0);
    struct pool *pool = pool_create(threads);
    struct told told = {.thread = pthread_self()};
    net_load(&net, m, pool, MODEL_DRAFT, on_progress, &told, counted.used);
    assert_int_equal(told.last, counted.used);
    assert_true(told.calls > 1);
    check_matrix(&net.embed, &m->embed);
    check_matrix(&net.output, &m->output);
    for (int i = 0; i < net.n_layers; i++) {
        check_matrix(&net.layers[i].wq, &m->layers[i].wq);
        check_matrix(&net.layers[i].w_up, &m->layers[i].w_up);
        check_matrix(&net.layers[i].w_down, &m->layers[i].w_down);
        assert_memory_equal(net.layers[i].bq, m->layers[i].bq.data, 64 * sizeof(float));
    }
    pool_free(pool);
    net_free(&net);
    arena_close(&arena);
}

static void test_pieces(void **state)
{
    struct model *m = model_random(&shape);
    (void)state;
    for (int threads = 1; threads <= 4; threads++)
        load(m, threads);
    model_random_free(m);
}

static void test_huge_pages(void **state)
{
    size_t bytes = 8 << 20, huge = 1;
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)state;
    assert_true(p != MAP_FAILED);
    madvise(p, bytes, MADV_NOHUGEPAGE); /* a mapping of its own */
    memset(p, 1, bytes);
    if (!machine_huge_pages(p, bytes, &huge))
        skip(); /* a kernel that does not say */
    assert_int_equal(huge, 0);
    madvise(p, bytes, MADV_HUGEPAGE);
    munmap(p + bytes / 2, bytes / 2);
    assert_true(machine_huge_pages(p, bytes / 2, &huge));
    assert_true(huge <= bytes / 2);
    munmap(p, bytes / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_huge_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
