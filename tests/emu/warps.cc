/*
 * What the lanes of a warp do together: they come, all that the mask names, and take what the
 * others brought.
 */
#include "cluster.h"

int emu_lane(void)
{
    return run->current->index % WARP;
}

thread *emu::lane_of(int first, int lane)
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
            emu_trap(site, "lanes of a mask are in different warp operations");
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
        emu_trap(site, "the mask leaves out the lane that calls");
    if (n < WARP && mask >> n)
        emu_trap(site, "the mask names a lane that does not exist");
    if (from >= 0 && !(mask >> from & 1))
        emu_trap(site, "a shuffle takes from a lane that the mask leaves out");
    if (mask & w->exited)
        emu_trap(site, "the mask names a lane that has exited");
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

/* ---- where a shuffle takes from ----------------------------------------------------------------
 */

static void check_section(emu_site site, unsigned distance, int width)
{
    if (width < 1 || width > WARP || (width & (width - 1)) != 0)
        emu_trap(site, "the width of a shuffle is 1, 2, 4, 8, 16 or 32");
    if (distance >= WARP)
        emu_trap(site, "a shuffle takes five bits of its distance");
}

int emu_from_index(emu_site site, int from, int width)
{
    check_section(site, 0, width);
    return (emu_lane() & ~(width - 1)) | (from & (width - 1));
}

int emu_from_down(emu_site site, unsigned delta, int width)
{
    int lane = emu_lane(), from = lane + (int)delta;

    check_section(site, delta, width);
    return (from & ~(width - 1)) == (lane & ~(width - 1)) ? from : lane;
}

int emu_from_up(emu_site site, unsigned delta, int width)
{
    int lane = emu_lane(), from = lane - (int)delta;

    check_section(site, delta, width);
    return from >= (lane & ~(width - 1)) ? from : lane;
}

int emu_from_xor(emu_site site, int bits, int width)
{
    int lane = emu_lane(), from = lane ^ bits;

    check_section(site, (unsigned)bits, width);
    return (from & ~(width - 1)) <= (lane & ~(width - 1)) ? from : lane;
}

/* ---- votes
 * --------------------------------------------------------------------------------------- */

unsigned emu_ballot(emu_site site, unsigned mask, bool predicate)
{
    uint64_t all[WARP];
    unsigned bits = 0;

    emu_warp_exchange(site, mask, predicate, -1, all);
    for (int i = 0; i < WARP; i++)
        bits |= (unsigned)(all[i] & 1) << i;
    return bits;
}
