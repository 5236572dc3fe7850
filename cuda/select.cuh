/*
 * select.cuh - where a prefix of the order (key descending, id ascending) ends: an exact selection
 * by a team, without sorting and without a copy of the row.
 *
 * A radix search over the digits of (key, id backwards): each level is one pass over the row that
 * adds every entry's share (1, or its mass) to the counter of its digit in shared memory, and a sum
 * of the blocks' counters. Three levels find the key; the two of the id are needed only where the
 * prefix ends within ties. The same search as cpu/law_cut.c.
 */
#ifndef SPECD_CUDA_SELECT_CUH
#define SPECD_CUDA_SELECT_CUH

#include "common.cuh"
#include "specd/limits.h"

#define DIGITS_MAX 2048
#define LAST_DIGITS_MAX 1024
#define ID_BITS 20
#define ID_DIGIT_BITS 10
#define ID_MAX ((1 << ID_BITS) - 1)
#define LEVELS 5 /* three digits of the key, two of the id */
#define NEED_ALL UINT64_MAX

static_assert(SPECD_VOCAB_MAX <= ID_MAX + 1 && 1 << ID_DIGIT_BITS <= DIGITS_MAX,
              "an id has two digits");

/* How a key falls into digits: below `bits`, `top` and `mid`. */
struct digits {
    int bits, top, mid;
};

/* 64-bit counters as two words each: shared memory adds 32 bits at a time by itself. */
struct counters {
    uint32_t low[DIGITS_MAX], high[DIGITS_MAX];
};

/* The last entry of the prefix. */
struct selected {
    uint32_t key;
    int32_t id; /* -1: there was no entry at all */
};

/* What the threads of a block find out together. */
struct finding {
    int digit, lowest;
    uint64_t need, total;
};

struct select_memory {
    struct counters counters;
    int32_t last_id[LAST_DIGITS_MAX]; /* largest id by last digit */
    uint64_t of_warp[WARPS_MAX];
    struct finding finding;
};

DEVICE void counter_add(struct counters *c, int digit, uint64_t share)
{
    uint32_t low = (uint32_t)share, high = (uint32_t)(share >> 32);
    uint32_t old = atomicAdd(&c->low[digit], low);

    high += old + low < old; /* carry */
    if (high > 0)
        atomicAdd(&c->high[digit], high);
}

/* Over the blocks of the team. */
DEVICE uint64_t counter_total(const struct team &t, struct counters *c, int digit)
{
    uint64_t sum = 0;

    for (int i = 0; i < t.size; i++) {
        const struct counters *of = cluster_peer(c, i);
        sum += (uint64_t)of->high[digit] << 32 | of->low[digit];
    }
    return sum;
}

DEVICE void counters_clear(struct select_memory *m, int n)
{
    cluster_barrier(); /* other blocks may still be adding up the last level */
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) {
        m->counters.low[i] = m->counters.high[i] = 0;
        if (i < LAST_DIGITS_MAX)
            m->last_id[i] = -1;
    }
    __syncthreads();
}

/* The sum of what the threads before this one bring. */
DEVICE uint64_t sum_before(struct select_memory *m, uint64_t mine)
{
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    uint64_t sum = mine, before = 0;

    for (int n = 1; n < WARP; n *= 2) {
        uint64_t x = __shfl_up_sync(ALL_LANES, sum, n);
        if (lane >= n)
            sum += x;
    }
    if (lane == WARP - 1)
        m->of_warp[warp] = sum;
    __syncthreads();
    for (int i = 0; i < warp; i++)
        before += m->of_warp[i];
    return before + sum - mine;
}

/* The highest digit at which the shares from the top reach `need`, and what is needed at it; the
 * lowest digit in use, and NEED_ALL, if they never do. Each thread takes a run of digits. */
DEVICE struct finding digit_find(const struct team &t, struct select_memory *m, int n,
                                 uint64_t need)
{
    int run = (n + (int)blockDim.x - 1) / (int)blockDim.x;
    int from = n - 1 - (int)threadIdx.x * run, to = MAX(from - run, -1);
    int lowest = n;
    uint64_t mine = 0;

    cluster_barrier(); /* all counters are complete */
    if (threadIdx.x == 0) {
        m->finding.digit = -1;
        m->finding.lowest = n;
    }
    for (int d = from; d > to; d--) {
        uint64_t x = counter_total(t, &m->counters, d);
        mine += x;
        lowest = x > 0 ? d : lowest;
    }
    uint64_t above = sum_before(m, mine);
    if (lowest < n)
        atomicMin(&m->finding.lowest, lowest);
    if (above < need && above + mine >= need) { /* one thread at most */
        int d = from;
        uint64_t x;
        while (above + (x = counter_total(t, &m->counters, d)) < need) {
            above += x;
            d--;
        }
        m->finding.digit = d;
        m->finding.need = need - above;
    }
    __syncthreads();
    struct finding f = m->finding;
    if (f.digit < 0) {
        f.digit = f.lowest;
        f.need = NEED_ALL;
    }
    f.total = f.digit < n ? counter_total(t, &m->counters, f.digit) : 0;
    return f;
}

/* The shortest prefix whose shares reach need_of(sum of all shares), a number > 0; all entries if
 * they never do. each(f) calls f(id, key) for the block's part of the entries, the same each time;
 * share_of(key) > 0. */
template <class Each, class Share, class Need>
DEVICE struct selected team_select(struct team &t, struct select_memory *m, struct digits d,
                                   Each each, Share share_of, Need need_of)
{
    struct selected result = {0, -1};
    uint64_t total = 0, need = 0, prefix = 0;
    int end = d.bits + ID_BITS; /* what lies above is found */

    /* One loop, so that the pass over the row is in the program once. */
    NO_UNROLL
    for (int level = 0; level < LEVELS; level++) {
        int begin = level == 0 ? d.top : level == 1 ? d.mid : level == 2 ? 0 : ID_DIGIT_BITS;
        begin = level == LEVELS - 1 ? 0 : level <= 2 ? begin + ID_BITS : begin;
        int n = 1 << (end - begin);

        counters_clear(m, n);
        each([&](int32_t id, uint32_t key) {
            uint64_t k = (uint64_t)key << ID_BITS | (uint32_t)(ID_MAX - id), share = share_of(key);
            int digit = (int)(k >> begin) & (n - 1);
            if (k >> end != prefix)
                return;
            counter_add(&m->counters, digit, share);
            total += share;
            if (level == 2)
                atomicMax(&m->last_id[digit], id);
        });
        if (level == 0)
            need = need_of(team_sum(t, total));
        struct finding f = digit_find(t, m, n, need);
        if (f.total == 0)
            break; /* there are no entries */
        need = f.need;
        prefix = prefix << (end - begin) | (uint32_t)f.digit;
        end = begin;
        if (level < 2)
            continue;
        result.key = (uint32_t)(prefix >> (ID_BITS - end));
        result.id = ID_MAX - (int32_t)(prefix & ID_MAX);
        if (level == 2 && need > f.total - share_of(result.key)) { /* every tie: the rule */
            result.id = (int32_t)team_max(t, (uint64_t)(m->last_id[f.digit] + 1)) - 1;
            break;
        }
    }
    cluster_barrier(); /* no block ends, or reuses its counters, while others read them */
    return result;
}

#endif
