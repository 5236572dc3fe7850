#include "pool.h"

#include "specd/util.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SPIN_NS 50000          /* then sleep: longer than the gap between two stages of a round */
#define SPINS_HOT 200          /* looks before the first yield, about 5 us */
#define STACK_BYTES (2u << 20) /* matmul keeps its scratch on the stack */

/* The leader opens stage n by setting `epoch` to n; each worker counts `pending` down when it is
 * through. Both are waited for in the same way: look, pause, yield, at last sleep. */
struct pool {
    int n_threads;
    pthread_t *threads; /* (n_threads - 1) */
    pool_fn *fn;        /* written before epoch's release, read after its acquire; NULL: quit */
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t opened, finished;
    _Alignas(64) atomic_uint epoch;
    _Alignas(64) atomic_uint pending;
    _Alignas(64) atomic_int sleepers; /* workers in, or about to enter, cond_wait(opened) */
    atomic_int leader_sleeps;
    atomic_int next_part;
};

static void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

/* Waits until *word != value; false when the spin time was over first. */
static bool spin_while(atomic_uint *word, unsigned value)
{
    for (int i = 0; i < SPINS_HOT; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != value)
            return true;
        cpu_relax();
    }
    uint64_t deadline = clock_ns() + SPIN_NS;
    do {
        for (int i = 0; i < 16; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != value)
                return true;
            cpu_relax();
        }
        /* Another thread may need this core to finish what we wait for. */
        sched_yield();
    } while (clock_ns() < deadline);
    return false;
}

/* `sleepers` goes up before the last look at epoch, and the leader reads it after setting epoch;
 * all four are sequentially consistent, so one of the two sees the other and no wake-up is lost. */
static void sleep_until_opened(struct pool *p, unsigned seen)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->epoch) == seen)
        pthread_cond_wait(&p->opened, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void sleep_until_finished(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->leader_sleeps, 1);
    while (atomic_load(&p->pending) != 0)
        pthread_cond_wait(&p->finished, &p->lock);
    atomic_store(&p->leader_sleeps, 0);
    pthread_mutex_unlock(&p->lock);
}

static void report(struct pool *p)
{
    if (atomic_fetch_sub(&p->pending, 1) != 1 || !atomic_load(&p->leader_sleeps))
        return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->finished);
    pthread_mutex_unlock(&p->lock);
}

static void *work(void *pool)
{
    struct pool *p = pool;
    int part = atomic_fetch_add(&p->next_part, 1);
    unsigned seen = 0;
    for (;;) {
        if (!spin_while(&p->epoch, seen))
            sleep_until_opened(p, seen);
        seen = atomic_load_explicit(&p->epoch, memory_order_acquire);
        if (!p->fn)
            return NULL;
        p->fn(p->arg, part, p->n_threads);
        report(p);
    }
}

static void open_stage(struct pool *p, pool_fn *fn, void *arg)
{
    p->fn = fn;
    p->arg = arg;
    atomic_store_explicit(&p->pending, (unsigned)p->n_threads - 1, memory_order_relaxed);
    atomic_fetch_add(&p->epoch, 1);
    if (atomic_load(&p->sleepers) == 0)
        return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->opened);
    pthread_mutex_unlock(&p->lock);
}

/* Waits for pending to reach 0. Spinning on "not 0" needs the value it has now. */
static void await_workers(struct pool *p)
{
    unsigned left;
    while ((left = atomic_load_explicit(&p->pending, memory_order_acquire)) != 0)
        if (!spin_while(&p->pending, left))
            sleep_until_finished(p);
}

struct pool *pool_create(int n_threads)
{
    ASSERT(n_threads >= 1);
    struct pool *p = xaligned(_Alignof(struct pool), sizeof(*p));
    *p = (struct pool){.n_threads = n_threads};
    p->threads = xcalloc((size_t)n_threads, sizeof(*p->threads));
    atomic_init(&p->next_part, 1);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->opened, NULL);
    pthread_cond_init(&p->finished, NULL);

    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    for (int i = 0; i < n_threads - 1; i++) {
        int rc = pthread_create(&p->threads[i], &attr, work, p);
        if (rc != 0) {
            log_warn("cpu: %d of %d threads started (%s)", i + 1, n_threads, strerror(rc));
            p->n_threads = i + 1;
        }
    }
    pthread_attr_destroy(&attr);
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    open_stage(p, NULL, NULL);
    for (int i = 0; i < p->n_threads - 1; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->finished);
    pthread_cond_destroy(&p->opened);
    pthread_mutex_destroy(&p->lock);
    free(p->threads);
    free(p);
}

int pool_size(const struct pool *p)
{
    return p->n_threads;
}

void pool_run(struct pool *p, pool_fn *fn, void *arg)
{
    if (p->n_threads == 1) {
        fn(arg, 0, 1);
        return;
    }
    open_stage(p, fn, arg);
    fn(arg, 0, p->n_threads);
    await_workers(p);
}

struct items {
    pool_item_fn *fn;
    void *arg;
    int n;
    atomic_int next;
};

static void items_part(void *arg, int part, int n_parts)
{
    struct items *s = arg;
    int i;
    (void)n_parts;
    while ((i = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed)) < s->n)
        s->fn(s->arg, i, part);
}

/* One item is not worth waking the others. */
void pool_items(struct pool *p, int n, pool_item_fn *fn, void *arg)
{
    struct items s = {.fn = fn, .arg = arg, .n = n};
    if (n > 1)
        pool_run(p, items_part, &s);
    else
        items_part(&s, 0, 1);
}
