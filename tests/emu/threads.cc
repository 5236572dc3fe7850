/*
 * The threads of a launch: one cluster of blocks at a time, every thread a fiber, the next one to
 * run drawn at random among those that wait for nothing. A cluster may also be left where all its
 * threads wait for the launch ahead, and go on when that has ended.
 */
#include "emu.h"
#include "emu_impl.h"
#include "fiber.h"

#include <deque>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <vector>

#define WARP 32
#ifdef __OPTIMIZE__
#define STACK_BYTES (64u << 10)
#else
#define STACK_BYTES (256u << 10) /* of frames that are not optimised, under sanitizers */
#endif

namespace
{

/* What a thread waits for, or has come to. */
enum wait { READY, AT_BLOCK_BARRIER, AT_CLUSTER_BARRIER, IN_WARP, AT_GRID_WAIT, EXITED };

/* What a lane brings to a warp operation and where it wants what: one lane's value, or all. */
struct lane {
    uint64_t mine, *out;
    unsigned mask;
    int from; /* < 0: all 32 */
};

#define COPY_BYTES 16

/* An asynchronous copy that has not arrived yet. */
struct copy {
    void *to;
    const void *from;
    int bytes, group;
    bool was_read; /* already, into `read` */
    char read[COPY_BYTES];
};

struct thread {
    struct fiber fiber;
    char *stack;
    size_t stack_bytes;
    struct emu_position here;
    emu_block *block;
    int index;   /* in the block */
    bool slow;   /* runs only when no other can */
    bool waited; /* for the launch ahead */
    enum wait wait;
    emu_site site; /* where it waits */
    struct lane lane;
    std::vector<copy> copies;
    int n_groups; /* of copies that were committed */
};

struct shared {
    const void *site;
    char *memory;
    size_t bytes;
};

/* Lanes that wait in a warp operation, and that have exited. */
struct warp {
    unsigned waiting, exited;
};

} // namespace

struct emu_block {
    std::vector<thread *> threads;
    emu_site barrier; /* where those that wait do so */
    int n_started, n_waiting, n_exited, n_true;
    int result; /* of the last barrier */
    std::vector<warp> warps;
    std::vector<shared> shared_arrays;
    shared dynamic;
};

const struct emu_position *emu_here;

/* A cluster that runs, with the threads it is made of; used again for others. */
struct emu_cluster {
    const emu_launch *launch;
    const emu_call *call;
    uint32_t number; /* in the launch */
    bool is_ahead;   /* of the end of the launch before */
    std::vector<emu_block> blocks;
    std::vector<thread *> ready, ready_slow;
    std::deque<thread> threads; /* every one there ever was: their stacks are used again */
    size_t n_used;
    int n_at_cluster_barrier, n_live;
    struct fiber host;
    thread *current;
    uint64_t random;
    long long clock;
};

static emu_cluster *run;                             /* the one that runs, or ran last */
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

[[noreturn]] static void fail(emu_site site, const char *what)
{
    fprintf(stderr, "emulator: %s: %s at %s:%d\n", run->launch->name, what, base_name(site.file),
            site.line);
    describe_waiting();
    emu_seed_print();
    abort();
}

void emu_trap(emu_site site, const char *what)
{
    fail(site, what);
}

/* ---- the schedule ---------------------------------------------------------------------------- */

static uint32_t random_below(uint32_t n)
{
    run->random = run->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((run->random >> 33) * n >> 31);
}

static void make_ready(thread *t)
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

/* Gives way to a ready thread; comes back when somebody made this one ready and it was drawn. */
static void give_way(void)
{
    thread *self = run->current;

    if (nobody_ready() && run->is_ahead) {
        set_current(nullptr);
        fiber_switch(&self->fiber, &run->host);
        return;
    }
    if (nobody_ready())
        fail(self->site, "deadlock: every thread waits");
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

static bool same_site(emu_site a, emu_site b)
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
        fail(site, "a thread of the block exited before this barrier");
    if (b->n_waiting == 0)
        b->barrier = site;
    else if (!same_site(b->barrier, site))
        fail(site, "threads of a block wait at different barriers");
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
            fail(site, "a thread of the cluster exited before this barrier");
    }
    if (run->n_at_cluster_barrier == run->n_live) {
        run->n_at_cluster_barrier = 0;
        for (auto &b : run->blocks) {
            for (auto *t : b.threads) {
                if (!same_site(t->site, site))
                    fail(site, "threads of a cluster wait at different barriers");
                make_ready(t);
            }
        }
    }
    give_way();
}

/* ---- warps ----------------------------------------------------------------------------------- */

int emu_lane(void)
{
    return run->current->index % WARP;
}

/* The lane of the warp that starts at thread `first`, NULL if the block has no such thread. */
static thread *lane_of(int first, int lane)
{
    emu_block *b = run->current->block;

    return first + lane < (int)b->threads.size() ? b->threads[(size_t)(first + lane)] : nullptr;
}

/* All lanes of the mask have come: they take what they came for and go on. */
static void warp_complete(emu_site site, unsigned mask, int first)
{
    uint64_t all[WARP] = {0};

    for (int i = 0; i < WARP; i++) {
        if (!(mask >> i & 1))
            continue;
        thread *t = lane_of(first, i);
        if (t->lane.mask != mask || !same_site(t->site, site))
            fail(site, "lanes of a mask are in different warp operations");
        all[i] = t->lane.mine;
    }
    for (int i = 0; i < WARP; i++) {
        if (!(mask >> i & 1))
            continue;
        thread *t = lane_of(first, i);
        if (t->lane.from >= 0)
            *t->lane.out = all[t->lane.from];
        else
            memcpy(t->lane.out, all, sizeof(all));
        make_ready(t);
    }
}

void emu_warp_exchange(emu_site site, unsigned mask, uint64_t mine, int from, uint64_t *out)
{
    thread *self = run->current;
    int first = self->index / WARP * WARP, n = (int)self->block->threads.size() - first;
    warp *w = &self->block->warps[(size_t)(first / WARP)];

    if (!(mask >> (self->index % WARP) & 1))
        fail(site, "the mask leaves out the lane that calls");
    if (n < WARP && mask >> n)
        fail(site, "the mask names a lane that does not exist");
    if (mask & w->exited)
        fail(site, "the mask names a lane that has exited");
    self->wait = IN_WARP;
    self->site = site;
    self->lane = {mine, out, mask, from};
    w->waiting |= 1u << (self->index % WARP);
    if ((w->waiting & mask) == mask) {
        w->waiting &= ~mask;
        warp_complete(site, mask, first);
    }
    give_way();
}

unsigned emu_ballot(emu_site site, unsigned mask, bool predicate)
{
    uint64_t all[WARP];
    unsigned bits = 0;

    emu_warp_exchange(site, mask, predicate, -1, all);
    for (int i = 0; i < WARP; i++)
        bits |= (unsigned)(all[i] & 1) << i;
    return bits;
}

/* ---- shared memory --------------------------------------------------------------------------- */

static shared shared_make(const void *site, size_t bytes)
{
    return {site, (char *)emu_allocate(128, bytes, run->random), bytes};
}

/* The hardware knows before the launch; here a declaration is known when a thread comes to it. */
static void check_shared_size(const emu_block *b)
{
    size_t fixed = 0, all;

    for (auto &s : b->shared_arrays)
        fixed += s.bytes;
    all = fixed + b->dynamic.bytes;
    if (fixed > SHARED_PLAIN || all > SHARED_MAX)
        fail({"shared memory", 0}, "more shared memory than there is");
    if (all > SHARED_PLAIN && b->dynamic.bytes > run->launch->shared_allowed)
        fail({"shared memory", 0}, "more than 48 KB of it without cudaFuncSetAttribute");
}

/* A block may ask for a peer's array before the peer has come to the declaration. */
static char *shared_of(emu_block *b, const void *site, size_t bytes)
{
    for (auto &s : b->shared_arrays) {
        if (s.site == site)
            return s.memory;
    }
    b->shared_arrays.push_back(shared_make(site, bytes));
    check_shared_size(b);
    return b->shared_arrays.back().memory;
}

void *emu_shared(const void *site, size_t bytes)
{
    return shared_of(run->current->block, site, bytes);
}

void *emu_dynamic_shared(void)
{
    return run->current->block->dynamic.memory;
}

static bool lies_in(const shared &s, const char *p)
{
    return p >= s.memory && p <= s.memory + s.bytes;
}

void *emu_peer(void *mine, int rank)
{
    emu_block *b = run->current->block, *peer = &run->blocks.at((size_t)rank);
    char *p = (char *)mine;

    if (peer->n_started == 0)
        fail(run->current->site, "the shared memory of a block that may not have started");
    if (peer->n_exited == (int)peer->threads.size())
        fail(run->current->site, "the shared memory of a block that has exited");
    for (auto &s : b->shared_arrays) {
        if (lies_in(s, p))
            return shared_of(peer, s.site, s.bytes) + (p - s.memory);
    }
    if (lies_in(b->dynamic, p))
        return peer->dynamic.memory + (p - b->dynamic.memory);
    fail(run->current->site, "a peer's address was asked for what is not shared memory");
}

/* ---- asynchronous copies ----------------------------------------------------------------------
 */

void emu_copy_async(void *to, const void *from, int bytes)
{
    thread *self = run->current;

    if ((uintptr_t)to % COPY_BYTES || (uintptr_t)from % COPY_BYTES || bytes < 0 ||
        bytes > COPY_BYTES)
        fail(self->site, "an asynchronous copy is not aligned");
    memset(to, 0xff, COPY_BYTES);
    self->copies.push_back({to, from, bytes, self->n_groups, false, {}});
}

void emu_copy_commit(void)
{
    run->current->n_groups++;
}

void emu_copy_wait(int groups_left)
{
    thread *self = run->current;
    std::vector<copy> later;

    for (auto &c : self->copies) {
        if (c.group >= self->n_groups - groups_left) {
            later.push_back(c);
            continue;
        }
        memset(c.to, 0, COPY_BYTES);
        memcpy(c.to, c.was_read ? c.read : c.from, (size_t)c.bytes);
    }
    self->copies.swap(later);
}

/* ---- the launch ahead ------------------------------------------------------------------------ */

void emu_grid_wait(emu_site site)
{
    thread *self = run->current;

    self->waited = true;
    self->site = site;
    if (!run->is_ahead)
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
            fail(t->site, "the mask names a lane that has exited");
    }
}

static void thread_exits(thread *self)
{
    emu_block *b = self->block;

    if (run->launch->overlaps && !self->waited)
        fail(self->site, "a thread ended without grid_wait");
    self->wait = EXITED;
    b->n_exited++;
    run->n_live--;
    if (b->n_waiting > 0 || run->n_at_cluster_barrier > 0)
        fail(self->site, "a thread exits while others wait at a barrier");
    warp_exits(b, self->index);
    if (run->n_live == 0) {
        set_current(nullptr);
        fiber_leave(&self->fiber, &run->host);
    }
    if (nobody_ready())
        fail(self->site, "deadlock: every thread waits");
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
    b->dynamic = shared_make(nullptr, l->dynamic_shared);
    for (unsigned i = 0; i < n; i++) {
        thread *t = thread_take();
        t->block = b;
        t->index = (int)i;
        t->site = {nullptr, 0};
        t->copies.clear();
        t->n_groups = 0;
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

static void shared_free(const shared &s)
{
    if (!emu_release(s.memory, s.bytes))
        fail({"shared memory", 0}, "something was written behind an array");
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
