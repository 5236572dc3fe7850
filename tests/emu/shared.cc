/*
 * The shared memory of blocks: arrays, peers' arrays, and the asynchronous copies that fill them.
 */
#include "cluster.h"

shared emu::shared_make(const void *site, size_t bytes)
{
    return {site, (char *)emu_allocate(128, bytes, run->random), bytes};
}

void emu::shared_free(const shared &s)
{
    if (!emu_release(s.memory, s.bytes))
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
        emu_trap(run->current->site, "the shared memory of a block that may not have started");
    if (peer->n_exited == (int)peer->threads.size())
        emu_trap(run->current->site, "the shared memory of a block that has exited");
    for (auto &s : b->shared_arrays) {
        if (lies_in(s, p))
            return shared_of(peer, s.site, s.bytes) + (p - s.memory);
    }
    if (lies_in(b->dynamic, p))
        return peer->dynamic.memory + (p - b->dynamic.memory);
    emu_trap(run->current->site, "a peer's address was asked for what is not shared memory");
}

/* ---- asynchronous copies ----------------------------------------------------------------------
 */

void emu_copy_async(void *to, const void *from, int bytes)
{
    thread *self = run->current;

    if ((uintptr_t)to % COPY_BYTES || (uintptr_t)from % COPY_BYTES || bytes < 0 ||
        bytes > COPY_BYTES)
        emu_trap(self->site, "an asynchronous copy is not aligned");
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
