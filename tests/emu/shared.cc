/*
 * The shared memory of blocks: arrays, peers' arrays, and the asynchronous copies that fill them.
 */
#include "cluster.h"

shared emu::shared_make(const void *site, size_t align, size_t bytes)
{
    return {site, (char *)emu_allocate(align, bytes, run->random), align, bytes};
}

void emu::shared_free(const shared &s)
{
    if (!emu_release(s.memory, s.align, s.bytes))
        emu_trap({"shared memory", 0}, "something was written behind an array");
}

/* The hardware knows before the launch; here a declaration is known when a thread comes to it. */
static void check_shared_size(const emu_block *b)
{
    size_t fixed = 0, all;

    for (auto &s : b->shared_arrays)
        fixed += s.bytes;
    all = fixed + b->dynamic.bytes;
    if (fixed > SHARED_PLAIN || all > SHARED_MAX)
        emu_trap({"shared memory", 0}, "more shared memory than there is");
    if (all > SHARED_PLAIN && b->dynamic.bytes > run->launch->shared_allowed)
        emu_trap({"shared memory", 0}, "more than 48 KB of it without cudaFuncSetAttribute");
}

/* A block may ask for a peer's array before the peer has come to the declaration. */
static char *shared_of(emu_block *b, const void *site, size_t align, size_t bytes)
{
    for (auto &s : b->shared_arrays) {
        if (s.site == site)
            return s.memory;
    }
    b->shared_arrays.push_back(shared_make(site, align, bytes));
    check_shared_size(b);
    return b->shared_arrays.back().memory;
}

void *emu_shared(const void *site, size_t align, size_t bytes)
{
    return shared_of(run->current->block, site, align, bytes);
}

void *emu_dynamic_shared(void)
{
    return run->current->block->dynamic.memory;
}

static bool lies_in(const shared &s, const char *p, size_t bytes)
{
    return p >= s.memory && p <= s.memory + s.bytes && bytes <= (size_t)(s.memory + s.bytes - p);
}

bool emu_is_shared(const void *p, size_t bytes)
{
    const emu_block *b = run->current->block;

    for (auto &s : b->shared_arrays) {
        if (lies_in(s, (const char *)p, bytes))
            return true;
    }
    return lies_in(b->dynamic, (const char *)p, bytes);
}

void *emu_peer(void *mine, int rank)
{
    emu_block *b = run->current->block, *peer;
    char *p = (char *)mine;

    if (rank < 0 || rank >= (int)run->blocks.size())
        emu_trap(run->current->site, "the cluster has no block of that rank");
    peer = &run->blocks[(size_t)rank];
    if (peer->n_started == 0)
        emu_trap(run->current->site, "the shared memory of a block that may not have started");
    if (peer->n_exited == (int)peer->threads.size())
        emu_trap(run->current->site, "the shared memory of a block that has exited");
    for (auto &s : b->shared_arrays) {
        if (lies_in(s, p, 0))
            return shared_of(peer, s.site, s.align, s.bytes) + (p - s.memory);
    }
    if (lies_in(b->dynamic, p, 0))
        return peer->dynamic.memory + (p - b->dynamic.memory);
    emu_trap(run->current->site, "a peer's address was asked for what is not shared memory");
}

/* ---- asynchronous copies ----------------------------------------------------------------------
 */

void emu_copy_async(emu_site site, void *to, const void *from, int bytes)
{
    thread *self = run->current;

    if ((uintptr_t)to % COPY_BYTES || (uintptr_t)from % COPY_BYTES)
        emu_trap(site, "an asynchronous copy is not aligned");
    if (bytes < 0 || bytes > COPY_BYTES)
        emu_trap(site, "an asynchronous copy reads more than it writes");
    if (!emu_is_shared(to, COPY_BYTES))
        emu_trap(site, "an asynchronous copy to what is not this block's shared memory");
    if (emu_is_shared(from, 0))
        emu_trap(site, "an asynchronous copy out of shared memory");
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

void emu_copy_wait_but(int groups_left)
{
    if (groups_left < 0 || groups_left > 6)
        emu_trap(run->current->site, "copy_wait_but has a form for 0 to 6 groups");
    emu_copy_wait(groups_left);
}
