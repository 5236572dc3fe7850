#include "pool.h"

#include "specd/util.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SPIN_NS 50000          /* then sleep: longer than the gap between two stages of a round */
#define SPINS_HOT 200          /* looks before the first yield, about 5 us */
#define STACK_BYTES (2u << 20) /* matmul keeps its scratch on the stack */

/* The gate holds the number of the stage, whether threads may still enter it, and how many workers
 * are inside. The leader opens it, does part 0 and then others until none is left, closes it, and
 * waits for those inside: a worker that another process keeps from its core is not waited for,
 * unless it lost the core with a part in hand. Whoever waits looks, pauses, yields, and at last
 * sleeps. */
#define GATE_STAGE 0xffffffff00000000u
#define GATE_NEXT 0x100000000u
#define GATE_OPEN 0x80000000u
#define GATE_INSIDE 0x7fffffffu

struct pool {
    int n_threads;
    pthread_t *threads; /* (n_threads - 1) */
    pool_fn *fn;        /* written before the gate opens, read by those inside */
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t opened, finished;
    _Alignas(64) atomic_uint_fast64_t gate;
    _Alignas(64) atomic_int next_part;
    _Alignas(64) atomic_int sleepers; /* workers in, or about to enter, cond_wait(opened) */
    atomic_int leader_sleeps;
    atomic_bool quit;
};

static void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static uint64_t gate_of(struct pool *p, uint64_t bits)
{
    return atomic_load_explicit(&p->gate, memory_order_acquire) & bits;
}

/* Waits until these bits of the gate change; false when the spin time was over first. */
static bool spin_while(struct pool *p, uint64_t bits, uint64_t value)
{
    for (int i = 0; i < SPINS_HOT; i++) {
        if (gate_of(p, bits) != value)
            return true;
        cpu_relax();
    }
    uint64_t deadline = clock_ns() + SPIN_NS;
    do {
        for (int i = 0; i < 16; i++) {
            if (gate_of(p, bits) != value)
                return true;
            cpu_relax();
        }
        /* Another thread may need this core to finish what we wait for. */
        sched_yield();
    } while (clock_ns() < deadline);
    return false;
}

/* `sleepers` goes up before the last look at the gate, and the leader reads it after opening the
 * gate; all four are sequentially consistent, so one of the two sees the other and no wake-up is
 * lost. */
static void sleep_until_opened(struct pool *p, uint64_t seen)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while ((atomic_load(&p->gate) & GATE_STAGE) == seen)
        pthread_cond_wait(&p->opened, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

/* The same between the leader and the last worker to leave. */
static void sleep_until_empty(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->leader_sleeps, 1);
    while ((atomic_load(&p->gate) & GATE_INSIDE) != 0)
        pthread_cond_wait(&p->finished, &p->lock);
    atomic_store(&p->leader_sleeps, 0);
    pthread_mutex_unlock(&p->lock);
}

/* false: the stage was over before we came. `seen` becomes its number. */
static bool enter(struct pool *p, uint64_t *seen)
{
    uint_fast64_t gate = atomic_load_explicit(&p->gate, memory_order_acquire);
    do {
        *seen = gate & GATE_STAGE;
        if (!(gate & GATE_OPEN))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&p->gate, &gate, gate + 1, memory_order_acq_rel,
                                                    memory_order_acquire));
    return true;
}

static void leave(struct pool *p)
{
    if ((atomic_fetch_sub(&p->gate, 1) & GATE_INSIDE) != 1 || !atomic_load(&p->leader_sleeps))
        return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->finished);
    pthread_mutex_unlock(&p->lock);
}

static void do_parts(struct pool *p)
{
    int part;
    while ((part = atomic_fetch_add_explicit(&p->next_part, 1, memory_order_relaxed)) <
           p->n_threads)
        p->fn(p->arg, part, p->n_threads);
}

static void *work(void *pool)
{
    struct pool *p = pool;
    uint64_t seen = 0;
    for (;;) {
        if (!spin_while(p, GATE_STAGE, seen))
            sleep_until_opened(p, seen);
        if (atomic_load(&p->quit))
            return NULL;
        if (!enter(p, &seen))
            continue;
        do_parts(p);
        leave(p);
    }
}

/* Nobody is inside. */
static void open_gate(struct pool *p)
{
    uint64_t stage =
        (atomic_load_explicit(&p->gate, memory_order_relaxed) & GATE_STAGE) + GATE_NEXT;
    atomic_store_explicit(&p->next_part, 1, memory_order_relaxed);
    atomic_store(&p->gate, stage | GATE_OPEN);
    if (atomic_load(&p->sleepers) == 0)
        return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->opened);
    pthread_mutex_unlock(&p->lock);
}

static void close_gate(struct pool *p)
{
    uint64_t inside;
    atomic_fetch_and(&p->gate, ~(uint64_t)GATE_OPEN);
    while ((inside = gate_of(p, GATE_INSIDE)) != 0)
        if (!spin_while(p, GATE_INSIDE, inside))
            sleep_until_empty(p);
}

struct pool *pool_create(int n_threads)
{
    ASSERT(n_threads >= 1);
    struct pool *p = xaligned(_Alignof(struct pool), sizeof(*p));
    *p = (struct pool){.n_threads = n_threads};
    p->threads = xcalloc((size_t)n_threads, sizeof(*p->threads));
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
    atomic_store(&p->quit, true);
    open_gate(p);
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
    p->fn = fn;
    p->arg = arg;
    open_gate(p);
    fn(arg, 0, p->n_threads);
    do_parts(p);
    close_gate(p);
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
