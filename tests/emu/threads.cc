/*
 * The threads of a launch: one cluster of blocks at a time, every thread a fiber, the next one to
 * run drawn at random among those that wait for nothing. A cluster may also be left where all its
 * threads wait for the launch ahead, and go on when that has ended.
 */
#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef __OPTIMIZE__
#define STACK_BYTES (64u << 10)
#else
#define STACK_BYTES (256u << 10) /* of frames that are not optimised, under sanitizers */
#endif

const struct emu_position *emu_here;

emu_cluster *emu::run;
static auto &idle = *new std::vector<emu_cluster *>; /* there to the very end */

/* ---- failing --------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : nullptr;

    return slash ? slash + 1 : path ? path : "?";
}

static void describe_waiting(void)
{
    static const char *const names[] = {"ready",          "__syncthreads", "cluster barrier",
                                        "warp operation", "grid_wait",     "exited"};
    int shown = 0;

    for (auto &b : run->blocks) {
        for (auto *t : b.threads) {
            if (shown++ < 8)
                fprintf(stderr, "  block %u,%u thread %d: %s at %s:%d\n", t->here.block.x,
                        t->here.block.y, t->index, names[t->wait], base_name(t->site.file),
                        t->site.line);
        }
    }
}

void emu_trap(emu_site site, const char *what)
{
    fprintf(stderr, "emulator: %s: %s at %s:%d\n", run->launch->name, what, base_name(site.file),
            site.line);
    describe_waiting();
    emu_seed_print();
    abort();
}

/* ---- the schedule ---------------------------------------------------------------------------- */

uint32_t emu::random_below(uint32_t n)
{
    run->random = run->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((run->random >> 33) * n >> 31);
}

void emu::make_ready(thread *t)
{
    t->wait = READY;
    (t->slow ? run->ready_slow : run->ready).push_back(t);
}

static bool nobody_ready(void)
{
    return run->ready.empty() && run->ready_slow.empty();
}

static thread *take_from(std::vector<thread *> &from)
{
    size_t i = random_below((uint32_t)from.size());
    thread *t = from[i];

    from[i] = from.back();
    from.pop_back();
    return t;
}

static thread *take_ready(void)
{
    return take_from(run->ready.empty() ? run->ready_slow : run->ready);
}

/* Chance alone keeps all threads close together. So a cluster may have a slow block, warp or thread
 * that the others leave behind as far as barriers let them. */
static void draw_slow(void)
{
    emu_block *b = &run->blocks[random_below((uint32_t)run->blocks.size())];
    int n = (int)b->threads.size(), first = (int)random_below((uint32_t)n), end = first + 1;

    switch (random_below(4)) {
    case 0:
        return;
    case 1:
        first = 0;
        end = n;
        break;
    case 2:
        first -= first % WARP;
        end = first + WARP;
        break;
    }
    for (int i = first; i < end && i < n; i++)
        b->threads[(size_t)i]->slow = true;
}

static void set_current(thread *t)
{
    run->current = t;
    emu_here = t ? &t->here : nullptr;
    run->clock++;
}

void emu::give_way(void)
{
    thread *self = run->current;

    if (nobody_ready() && run->is_ahead) {
        set_current(nullptr);
        fiber_switch(&self->fiber, &run->host);
        return;
    }
    if (nobody_ready())
        emu_trap(self->site, "deadlock: every thread waits");
    thread *next = take_ready();
    if (next == self)
        return;
    set_current(next);
    fiber_switch(&self->fiber, &next->fiber);
}

/* Whoever yields may wait for a slow thread. */
void emu_yield(void)
{
    if (!run->ready_slow.empty() && random_below(8) == 0)
        run->ready.push_back(take_from(run->ready_slow));
    make_ready(run->current);
    give_way();
}

void emu_atomic_gap(void)
{
    if (random_below(16) == 0)
        emu_yield();
}

long long clock64(void)
{
    return run->clock;
}

uint64_t emu_clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- barriers -------------------------------------------------------------------------------- */

bool emu::same_site(emu_site a, emu_site b)
{
    return a.line == b.line && (a.file == b.file || strcmp(a.file, b.file) == 0);
}

static void release_block(emu_block *b)
{
    b->result = b->n_true;
    b->n_waiting = b->n_true = 0;
    for (auto *t : b->threads)
        make_ready(t);
}

int emu_block_barrier(emu_site site, bool predicate)
{
    thread *self = run->current;
    emu_block *b = self->block;

    if (b->n_exited > 0)
        emu_trap(site, "a thread of the block exited before this barrier");
    if (b->n_waiting == 0)
        b->barrier = site;
    else if (!same_site(b->barrier, site))
        emu_trap(site, "threads of a block wait at different barriers");
    self->wait = AT_BLOCK_BARRIER;
    self->site = site;
    b->n_true += predicate;
    if (++b->n_waiting == (int)b->threads.size())
        release_block(b);
    give_way();
    return b->result;
}

void emu_cluster_barrier(emu_site site)
{
    thread *self = run->current;

    self->wait = AT_CLUSTER_BARRIER;
    self->site = site;
    run->n_at_cluster_barrier++;
    for (auto &b : run->blocks) {
        if (b.n_exited > 0)
            emu_trap(site, "a thread of the cluster exited before this barrier");
    }
    if (run->n_at_cluster_barrier == run->n_live) {
        run->n_at_cluster_barrier = 0;
        for (auto &b : run->blocks) {
            for (auto *t : b.threads) {
                if (!same_site(t->site, site))
                    emu_trap(site, "threads of a cluster wait at different barriers");
                make_ready(t);
            }
        }
    }
    give_way();
}

/* ---- the launch ahead ------------------------------------------------------------------------ */

static bool wait_is_broken;

void emu_grid_wait_broken(bool broken)
{
    wait_is_broken = broken;
}

/* ISA: griddepcontrol.wait. */
void emu_grid_wait(emu_site site)
{
    thread *self = run->current;

    self->waited = true;
    self->site = site;
    if (!run->is_ahead || wait_is_broken)
        return;
    /* What is on its way may have been read by now. */
    for (auto &c : self->copies) {
        memcpy(c.read, c.from, (size_t)c.bytes);
        c.was_read = true;
    }
    self->wait = AT_GRID_WAIT;
    give_way();
}

/* ---- a cluster, a launch --------------------------------------------------------------------- */

static void warp_exits(emu_block *b, int index)
{
    warp *w = &b->warps[(size_t)(index / WARP)];

    w->exited |= 1u << (index % WARP);
    for (int i = 0; i < WARP; i++) {
        thread *t = w->waiting >> i & 1 ? lane_of(index / WARP * WARP, i) : nullptr;
        if (t && t->lane.mask & w->exited)
            emu_trap(t->site, "the mask names a lane that has exited");
    }
}

static void thread_exits(thread *self)
{
    emu_block *b = self->block;

    if (run->launch->overlaps && !self->waited)
        emu_trap(self->site, "a thread ended without grid_wait");
    self->wait = EXITED;
    b->n_exited++;
    run->n_live--;
    if (b->n_waiting > 0 || run->n_at_cluster_barrier > 0)
        emu_trap(self->site, "a thread exits while others wait at a barrier");
    warp_exits(b, self->index);
    if (run->n_live == 0) {
        set_current(nullptr);
        fiber_leave(&self->fiber, &run->host);
    }
    if (nobody_ready())
        emu_trap(self->site, "deadlock: every thread waits");
    thread *next = take_ready();
    set_current(next);
    fiber_leave(&self->fiber, &next->fiber);
}

static void thread_main(void *arg)
{
    thread *self = (thread *)arg;

    fiber_entered();
    self->block->n_started++;
    (*run->call)();
    thread_exits(self);
}

static thread *thread_take(void)
{
    static size_t stride;

    if (run->n_used == run->threads.size()) {
        const size_t more = 256;
        char *stacks = fiber_stacks(more, STACK_BYTES, &stride);
        for (size_t i = 0; i < more; i++) {
            run->threads.emplace_back();
            thread *t = &run->threads.back();
            /* Their hot ends would else fall into the same few cache sets. */
            t->stack = stacks + i * stride;
            t->stack_bytes = STACK_BYTES - i % 64 * 192 % 4096;
        }
    }
    return &run->threads[run->n_used++];
}

static void block_start(emu_block *b, unsigned x, unsigned y, unsigned z, int rank)
{
    const emu_launch *l = run->launch;
    unsigned n = l->block.x * l->block.y * l->block.z;

    b->threads.clear();
    b->warps.assign((n + WARP - 1) / WARP, warp());
    b->n_started = b->n_waiting = b->n_exited = b->n_true = 0;
    b->dynamic = shared_make(nullptr, 16, l->dynamic_shared);
    for (unsigned i = 0; i < n; i++) {
        thread *t = thread_take();
        t->block = b;
        t->index = (int)i;
        t->site = {nullptr, 0};
        t->copies.clear();
        t->n_groups = t->n_products = 0;
        t->here.thread = {i % l->block.x, i / l->block.x % l->block.y,
                          i / (l->block.x * l->block.y)};
        t->here.block = {x, y, z};
        t->here.block_dim = l->block;
        t->here.grid_dim = l->grid;
        t->here.cluster_rank = rank;
        t->here.cluster_size = l->cluster;
        fiber_make(&t->fiber, t->stack, t->stack_bytes, thread_main, t);
        t->slow = t->waited = false;
        b->threads.push_back(t);
    }
}

static void block_end(emu_block *b)
{
    for (auto &s : b->shared_arrays)
        shared_free(s);
    b->shared_arrays.clear();
    shared_free(b->dynamic);
}

/* Threads run until all have exited, or none can before the launch ahead has ended. */
static void cluster_go(void)
{
    thread *first = take_ready();

    set_current(first);
    fiber_switch(&run->host, &first->fiber);
}

static void cluster_start(uint32_t number)
{
    const emu_launch *l = run->launch;
    uint32_t per_row = l->grid.x / (unsigned)l->cluster;
    unsigned x = number % per_row * (unsigned)l->cluster, y = number / per_row % l->grid.y;

    run->number = number;
    run->n_used = 0;
    run->ready.clear();
    run->ready_slow.clear();
    run->n_at_cluster_barrier = 0;
    for (unsigned i = 0; i < run->blocks.size(); i++)
        block_start(&run->blocks[i], x + i, y, number / per_row / l->grid.y, (int)i);
    run->n_live = (int)run->n_used;
    draw_slow();
    for (auto &b : run->blocks) {
        for (auto *t : b.threads)
            make_ready(t);
    }
}

static void cluster_end(void)
{
    for (auto &b : run->blocks)
        block_end(&b);
}

static void cluster_go_on(emu_cluster *c)
{
    run = c;
    c->is_ahead = false;
    for (auto &b : c->blocks) {
        for (auto *t : b.threads) {
            if (t->wait == AT_GRID_WAIT)
                make_ready(t);
        }
    }
    if (c->n_live > 0)
        cluster_go();
    cluster_end();
}

/* ---- a launch -------------------------------------------------------------------------------- */

static emu_cluster *cluster_take(const emu_launch *launch, const emu_call &call)
{
    if (idle.empty())
        idle.push_back(new emu_cluster());
    run = idle.back();
    idle.pop_back();
    run->launch = launch;
    run->call = &call;
    run->random = emu_next_random();
    run->is_ahead = false;
    run->blocks.resize((size_t)launch->cluster);
    return run;
}

static uint32_t n_clusters(const emu_launch *l)
{
    return l->grid.x / (unsigned)l->cluster * l->grid.y * l->grid.z;
}

emu_cluster *emu_run_ahead(const emu_launch *launch, const emu_call &call)
{
    emu_cluster *c = cluster_take(launch, call);

    c->is_ahead = true;
    cluster_start(random_below(n_clusters(launch)));
    cluster_go();
    return c;
}

/* Its threads stay where they are; others will start on their stacks. */
void emu_give_up(emu_cluster *c)
{
    run = c;
    cluster_end();
    for (size_t i = 0; i < c->n_used; i++)
        fiber_forget(&c->threads[i].fiber);
    idle.push_back(c);
}

void emu_run(const emu_launch *launch, const emu_call &call, emu_cluster *ahead)
{
    std::vector<uint32_t> order(n_clusters(launch));
    emu_cluster *own = cluster_take(launch, call);

    for (uint32_t i = 0; i < order.size(); i++) {
        uint32_t j = random_below(i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (uint32_t c : order) {
        if (ahead && c == ahead->number) {
            cluster_go_on(ahead);
            continue;
        }
        run = own;
        cluster_start(c);
        cluster_go();
        cluster_end();
    }
    if (ahead)
        idle.push_back(ahead);
    idle.push_back(own);
}
