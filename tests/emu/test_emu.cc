/*
 * The emulator itself: threads, barriers, warps, shared memory, atomics, clusters; that it shows
 * the mistakes it is there to show; and that misuse ends the process.
 */
#include "child.h"
#include "common.cuh"
#include "seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <vector>

extern "C" {
#include <cmocka.h>
}

/* Device memory of n elements, for one test. */
template <class T> struct device_array {
    T *p = nullptr;
    size_t n;
    explicit device_array(size_t count) : n(count)
    {
        if (cudaMalloc(&p, count * sizeof(T)) != cudaSuccess)
            abort();
    }
    ~device_array() { cudaFree(p); }
    std::vector<T> host() const
    {
        std::vector<T> h(n);
        if (cudaMemcpy(h.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost) != cudaSuccess)
            abort();
        return h;
    }
    void fill(T value)
    {
        std::vector<T> h(n, value);
        if (cudaMemcpy(p, h.data(), n * sizeof(T), cudaMemcpyHostToDevice) != cudaSuccess)
            abort();
    }
};

/* ---- indices --------------------------------------------------------------------------------- */

static __global__ void count_threads(int *seen)
{
    grid_wait();
    unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;

    seen[block * (blockDim.x * blockDim.y * blockDim.z) + thread]++;
}

static void test_every_thread_once(void **)
{
    device_array<int> seen(2 * 3 * 4 * 5 * 3 * 2);

    seen.fill(0);
    LAUNCH(count_threads, dim3(2, 3, 4), dim3(5, 3, 2), 0, NULL, seen.p);
    for (int n : seen.host())
        assert_int_equal(n, 1);
}

/* ---- barriers and shared memory -------------------------------------------------------------- */

/* Reverses a block's numbers through shared memory, with or without the barrier it needs. */
static __global__ void reverse(const int *in, int *out, bool barrier)
{
    grid_wait();
    SHARED_ARRAY(int, all, 64);

    all[threadIdx.x] = in[threadIdx.x];
    if (barrier)
        __syncthreads();
    out[threadIdx.x] = all[blockDim.x - 1 - threadIdx.x];
}

static bool reverses(unsigned long seed, bool barrier)
{
    device_array<int> in(64), out(64);
    std::vector<int> numbers(64);

    emu_seed_set(seed);
    for (int i = 0; i < 64; i++)
        numbers[(size_t)i] = i + 1;
    cudaMemcpy(in.p, numbers.data(), 64 * sizeof(int), cudaMemcpyHostToDevice);
    LAUNCH(reverse, 1, 64, 0, NULL, in.p, out.p, barrier);
    std::vector<int> h = out.host();
    for (int i = 0; i < 64; i++) {
        if (h[(size_t)i] != 64 - i)
            return false;
    }
    return true;
}

static bool reverses_with_barrier(unsigned long seed)
{
    return reverses(seed, true);
}

static bool reverses_without_barrier(unsigned long seed)
{
    return reverses(seed, false);
}

static void test_missing_barrier_shows(void **)
{
    assert_int_equal(child_rights(reverses_with_barrier, 8), 8);
    assert_true(child_rights(reverses_without_barrier, 8) < 8);
}

static __global__ void sum_dynamic(const int *in, int *out, int n)
{
    grid_wait();
    DYNAMIC_SHARED(int, all);

    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x)
        all[i] = in[(int)blockIdx.x * n + i];
    for (int half = n / 2; half > 0; half /= 2) {
        __syncthreads();
        for (int i = (int)threadIdx.x; i < half; i += (int)blockDim.x)
            all[i] += all[i + half];
    }
    if (threadIdx.x == 0)
        out[blockIdx.x] = all[0];
}

static void test_dynamic_shared(void **)
{
    device_array<int> in(8 * 256), out(8);

    in.fill(3);
    for (unsigned threads : {1u, 7u, 32u, 100u, 256u}) {
        LAUNCH(sum_dynamic, 8, threads, 256 * sizeof(int), NULL, in.p, out.p, 256);
        for (int n : out.host())
            assert_int_equal(n, 3 * 256);
    }
}

static __global__ void count_in_barrier(int *counts, int *any, int *all)
{
    grid_wait();
    int n = __syncthreads_count(threadIdx.x % 3 == 0);
    int o = __syncthreads_or(threadIdx.x == blockIdx.x);
    int a = __syncthreads_and(threadIdx.x < 90 + blockIdx.x);

    if (threadIdx.x == 5) {
        counts[blockIdx.x] = n;
        any[blockIdx.x] = o;
        all[blockIdx.x] = a;
    }
}

static void test_barriers_that_count(void **)
{
    device_array<int> counts(16), any(16), all(16);

    LAUNCH(count_in_barrier, 16, 96, 0, NULL, counts.p, any.p, all.p);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(counts.host()[i], 32);
        assert_true(any.host()[i] != 0);
        assert_int_equal(all.host()[i] != 0, i >= 6);
    }
}

/* Nothing of one block's shared memory reaches the next. */
static __global__ void leave_mark(int *found)
{
    grid_wait();
    SHARED_ARRAY(int, mark, 32);

    if (mark[threadIdx.x] == 12345)
        atomicAdd(found, 1);
    __syncthreads();
    mark[threadIdx.x] = 12345;
}

static void test_shared_starts_as_noise(void **)
{
    device_array<int> found(1);

    found.fill(0);
    LAUNCH(leave_mark, 16, 32, 0, NULL, found.p);
    assert_int_equal(found.host()[0], 0);
}

/* ---- warps ----------------------------------------------------------------------------------- */

static __global__ void shuffle_all(int *out)
{
    grid_wait();
    int lane = (int)threadIdx.x % 32, n = (int)blockDim.x, i = (int)threadIdx.x;

    out[i] = __shfl_sync(ALL_LANES, i, 7);
    out[n + i] = __shfl_xor_sync(ALL_LANES, i, 5);
    out[2 * n + i] = __shfl_up_sync(ALL_LANES, i, 3);
    out[3 * n + i] = __shfl_down_sync(ALL_LANES, i, 3);
    out[4 * n + i] = __shfl_down_sync(ALL_LANES, i, 3, 8);
    out[5 * n + i] = (int)__shfl_sync(ALL_LANES, (uint64_t)i << 33, 9, 16) +
                     (int)(__shfl_sync(ALL_LANES, (uint64_t)i << 33, 9, 16) >> 33);
    if (lane < 16) /* half a warp by itself */
        out[6 * n + i] = __shfl_xor_sync(0xffffu, i, 15);
    else
        out[6 * n + i] = __shfl_xor_sync(0xffff0000u, i, 1);
}

static void test_shuffles(void **)
{
    const int n = 96;
    device_array<int> out(7 * n);

    LAUNCH(shuffle_all, 1, n, 0, NULL, out.p);
    std::vector<int> h = out.host();
    for (int i = 0; i < n; i++) {
        int lane = i % 32, warp = i - lane;
        const int want[] = {warp + 7,
                            warp + (lane ^ 5),
                            lane >= 3 ? i - 3 : i,
                            lane + 3 < 32 ? i + 3 : i,
                            lane % 8 + 3 < 8 ? i + 3 : i,
                            warp + lane / 16 * 16 + 9,
                            lane < 16 ? warp + (lane ^ 15) : i ^ 1};
        for (int k = 0; k < 7; k++)
            assert_int_equal(h[(size_t)(k * n + i)], want[k]);
    }
}

static __global__ void vote(unsigned *out)
{
    grid_wait();
    unsigned i = threadIdx.x;

    out[i] = __ballot_sync(ALL_LANES, i % 3 == 0);
    out[64 + i] = __any_sync(ALL_LANES, i == 40) ? 1 : 0;
    out[128 + i] = __all_sync(ALL_LANES, i < 32) ? 1 : 0;
    out[192 + i] = __reduce_max_sync(ALL_LANES, i * 7 % 64);
}

static void test_votes(void **)
{
    device_array<unsigned> out(256);

    LAUNCH(vote, 1, 64, 0, NULL, out.p);
    std::vector<unsigned> h = out.host();
    for (unsigned i = 0; i < 64; i++) {
        unsigned ballot = 0, max = 0;
        for (unsigned j = 0; j < 32; j++) {
            ballot |= (unsigned)((i / 32 * 32 + j) % 3 == 0) << j;
            max = MAX(max, (i / 32 * 32 + j) * 7 % 64);
        }
        assert_int_equal(h[i], ballot);
        assert_int_equal(h[64 + i], i >= 32);
        assert_int_equal(h[128 + i], i < 32);
        assert_int_equal(h[192 + i], max);
    }
}

/* A warp talks through shared memory; __syncwarp is what orders it. */
static __global__ void warp_neighbours(int *out, bool barrier)
{
    grid_wait();
    SHARED_ARRAY(int, all, 64);

    all[threadIdx.x] = (int)threadIdx.x;
    if (barrier)
        __syncwarp();
    out[threadIdx.x] = all[threadIdx.x ^ 1];
}

static bool neighbours(unsigned long seed, bool barrier)
{
    device_array<int> out(64);

    emu_seed_set(seed);
    LAUNCH(warp_neighbours, 1, 64, 0, NULL, out.p, barrier);
    std::vector<int> h = out.host();
    for (int i = 0; i < 64; i++) {
        if (h[(size_t)i] != (i ^ 1))
            return false;
    }
    return true;
}

static void test_missing_warp_barrier_shows(void **)
{
    assert_int_equal(child_rights([](unsigned long seed) { return neighbours(seed, true); }, 8), 8);
    assert_true(child_rights([](unsigned long seed) { return neighbours(seed, false); }, 8) < 8);
}

/* ---- atomics --------------------------------------------------------------------------------- */

static __global__ void count_digits(const unsigned *in, unsigned *totals, unsigned long long *sum,
                                    int *max, bool atomic)
{
    grid_wait();
    SHARED_ARRAY(unsigned, mine, 16);
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;

    if (threadIdx.x < 16)
        mine[threadIdx.x] = 0;
    __syncthreads();
    if (atomic) {
        atomicAdd(&mine[in[i] % 16], 1);
    } else { /* read, let others run, write */
        unsigned old = mine[in[i] % 16];
        __threadfence();
        mine[in[i] % 16] = old + 1;
    }
    atomicAdd(sum, in[i]);
    atomicMax(max, (int)in[i]);
    __syncthreads();
    if (threadIdx.x < 16)
        atomicAdd(&totals[threadIdx.x], mine[threadIdx.x]);
}

static bool digits_counted(bool atomic)
{
    device_array<unsigned> in(1024), totals(16);
    device_array<unsigned long long> sum(1);
    device_array<int> max(1);
    std::vector<unsigned> numbers(1024), want(16);
    unsigned long long total = 0;

    for (unsigned i = 0; i < 1024; i++) {
        numbers[i] = i * 2654435761u >> 20;
        want[numbers[i] % 16]++;
        total += numbers[i];
    }
    cudaMemcpy(in.p, numbers.data(), 4096, cudaMemcpyHostToDevice);
    totals.fill(0);
    sum.fill(0);
    max.fill(0);
    LAUNCH(count_digits, 8, 128, 0, NULL, in.p, totals.p, sum.p, max.p, atomic);
    return totals.host() == want && sum.host()[0] == total && max.host()[0] <= 4095;
}

static void test_atomics(void **)
{
    assert_true(digits_counted(true));
    assert_false(digits_counted(false));
}

/* ---- clusters -------------------------------------------------------------------------------- */

static __global__ void team_results(uint64_t *out)
{
    grid_wait();
    struct team t = team_start();
    uint64_t i = blockIdx.x * blockDim.x + threadIdx.x;
    /* Three in a row: a block must not overtake another that still reads. */
    uint64_t sum = team_sum(t, i), ones = team_sum(t, 1), twos = team_sum(t, 2);
    uint64_t max = team_max(t, i);

    out[3 * i] = sum;
    out[3 * i + 1] = max;
    out[3 * i + 2] = ones + twos;
}

static void test_teams(void **)
{
    for (unsigned size : {1u, 2u, 4u, 8u}) {
        for (unsigned threads : {32u, 96u}) {
            uint64_t n = 16 * threads, per = size * threads;
            device_array<uint64_t> out(3 * n);
            LAUNCH_TEAMS(team_results, (int)size, 16, threads, 0, NULL, out.p);
            std::vector<uint64_t> h = out.host();
            for (uint64_t i = 0; i < n; i++) {
                uint64_t first = i / per * per;
                assert_true(h[3 * i] == first * per + per * (per - 1) / 2);
                assert_true(h[3 * i + 1] == first + per - 1);
                assert_true(h[3 * i + 2] == 3 * per);
            }
        }
    }
}

/* ---- out of bounds --------------------------------------------------------------------------- */

static __global__ void read_global(const int *in, int *out, int n)
{
    grid_wait();
    out[0] = 0;
    for (int i = 0; i < n; i++)
        out[0] += in[i];
}

static __global__ void read_shared(int *out, int n)
{
    grid_wait();
    SHARED_ARRAY(int, all, 8);

    out[0] = 0;
    for (int i = 0; i < 8; i++)
        all[i] = 1;
    for (int i = 0; i < n; i++)
        out[0] += all[i];
}

static __global__ void write_shared(int *out, int n)
{
    grid_wait();
    DYNAMIC_SHARED(int, all);

    for (int i = 0; i < n; i++)
        all[i] = 1;
    out[0] = 8;
}

template <int N> static bool global_read_of(unsigned long)
{
    device_array<int> in(8), out(1);

    in.fill(1);
    LAUNCH(read_global, 1, 1, 0, NULL, in.p, out.p, N);
    return out.host()[0] == N;
}

template <int N> static bool shared_read_of(unsigned long)
{
    device_array<int> out(1);

    LAUNCH(read_shared, 1, 1, 0, NULL, out.p, N);
    return out.host()[0] == N;
}

template <int N> static bool shared_write_of(unsigned long)
{
    device_array<int> out(1);

    LAUNCH(write_shared, 1, 1, 8 * sizeof(int), NULL, out.p, N);
    return out.host()[0] == 8;
}

static void test_out_of_bounds_shows(void **)
{
    assert_int_equal(child_run(global_read_of<8>, 1), CHILD_RIGHT);
    assert_int_not_equal(child_run(global_read_of<9>, 1), CHILD_RIGHT);
    assert_int_equal(child_run(shared_read_of<8>, 1), CHILD_RIGHT);
    assert_int_not_equal(child_run(shared_read_of<9>, 1), CHILD_RIGHT);
    assert_int_equal(child_run(shared_write_of<8>, 1), CHILD_RIGHT);
    assert_int_not_equal(child_run(shared_write_of<9>, 1), CHILD_RIGHT);
}

/* ---- misuse ---------------------------------------------------------------------------------- */

enum misuse {
    FINE,
    BARRIER_LEFT_OUT, /* by a thread that exits */
    BARRIERS_DIFFER,  /* two lines */
    LANE_ABSENT,      /* in the mask, in another branch for good */
    LANE_THAT_IS_NOT, /* past the end of the block */
    LANE_EXITED,
    CALLER_NOT_IN_MASK,
    MASKS_DIFFER,
    SOURCE_NOT_IN_MASK,
    DISTANCE_OF_A_WARP,
    WIDTH_OF_TWELVE,
    PEER_NOT_STARTED,
    PEER_BEYOND,
    PEER_OF_GLOBAL,
    DIGIT_OF_FOUR_BITS, /* prmt has it, __byte_perm has not */
    FIFTH_DIGIT,
    COPY_MISALIGNED,
    COPY_FROM_MISALIGNED,
    COPY_OF_17,
    COPY_TO_GLOBAL,
    COPY_OUT_OF_SHARED,
    WAIT_FOR_ALL_BUT_7,
    ROW_MISALIGNED,
    ROW_IN_GLOBAL,
    SHARED_OF_49_KB,
};

static const struct {
    enum misuse how;
    const char *said; /* on the way out */
} misuses[] = {
    {BARRIER_LEFT_OUT, "exit"},
    {BARRIERS_DIFFER, "wait at different barriers"},
    {LANE_ABSENT, "deadlock"},
    {LANE_THAT_IS_NOT, "a lane that does not exist"},
    {LANE_EXITED, "a lane that has exited"},
    {CALLER_NOT_IN_MASK, "leaves out the lane that calls"},
    {MASKS_DIFFER, "mask"},
    {SOURCE_NOT_IN_MASK, "takes from a lane that the mask leaves out"},
    {DISTANCE_OF_A_WARP, "five bits of its distance"},
    {WIDTH_OF_TWELVE, "the width of a shuffle"},
    {PEER_NOT_STARTED, "may not have started"},
    {PEER_BEYOND, "no block of that rank"},
    {PEER_OF_GLOBAL, "not shared memory"},
    {DIGIT_OF_FOUR_BITS, "digits up to 7"},
    {FIFTH_DIGIT, "four digits"},
    {COPY_MISALIGNED, "copy is not aligned"},
    {COPY_FROM_MISALIGNED, "copy is not aligned"},
    {COPY_OF_17, "reads more than it writes"},
    {COPY_TO_GLOBAL, "not this block's shared memory"},
    {COPY_OUT_OF_SHARED, "out of shared memory"},
    {WAIT_FOR_ALL_BUT_7, "0 to 6 groups"},
    {ROW_MISALIGNED, "row is not aligned"},
    {ROW_IN_GLOBAL, "not in this block's shared memory"},
    {SHARED_OF_49_KB, "more shared memory than there is"},
};

/* Of 32 lanes, those that take part wrongly.  global: 64 bytes */
static __global__ void misuse_warp_kernel(enum misuse how, int *global)
{
    grid_wait();
    int i = (int)threadIdx.x, got = 0;

    switch (how) {
    case BARRIER_LEFT_OUT:
        if (i != 3)
            __syncthreads();
        break;
    case BARRIERS_DIFFER:
        if (i < 16)
            __syncthreads();
        else
            __syncthreads();
        break;
    case LANE_ABSENT:
        if (i != 3)
            __syncwarp();
        __syncthreads();
        break;
    case LANE_THAT_IS_NOT:
        __syncwarp(); /* the block has 24 threads */
        break;
    case LANE_EXITED:
        if (i != 3)
            (void)__ballot_sync(ALL_LANES, true);
        break;
    case CALLER_NOT_IN_MASK:
        (void)__ballot_sync(0xfffffffeu, true);
        break;
    case MASKS_DIFFER:
        (void)__ballot_sync(i < 16 ? ALL_LANES : 0xffff0000u, true);
        break;
    case SOURCE_NOT_IN_MASK:
        if (i < 16)
            got = __shfl_sync(0xffffu, i, 20);
        break;
    case DISTANCE_OF_A_WARP:
        got = __shfl_down_sync(ALL_LANES, i, 32);
        break;
    case WIDTH_OF_TWELVE:
        got = __shfl_xor_sync(ALL_LANES, i, 1, 12);
        break;
    default:
        __syncthreads();
    }
    global[i % 16] = got;
}

/* The same for memory and words. */
static __global__ void misuse_memory_kernel(enum misuse how, int *global)
{
    grid_wait();
    SHARED_ARRAY(uint4, room, 4);
    SHARED(int, word);
    char *bytes = (char *)room;
    uint32_t out[4] = {0, 0, 0, 0};

    word = 0;
    switch (how) {
    case PEER_NOT_STARTED:
        *cluster_peer(&word, 1 - cluster_rank()) = 1;
        cluster_barrier();
        break;
    case PEER_BEYOND:
        cluster_barrier();
        *cluster_peer(&word, cluster_size()) = 1;
        break;
    case PEER_OF_GLOBAL:
        cluster_barrier();
        *cluster_peer(global, 0) = 1;
        break;
    case DIGIT_OF_FOUR_BITS:
        out[0] = __byte_perm(threadIdx.x, 0, 0x9988);
        break;
    case FIFTH_DIGIT:
        out[0] = bytes_pick(threadIdx.x, 0, 0x13210);
        break;
    case COPY_MISALIGNED:
        copy_async(bytes + 8, global, 16);
        break;
    case COPY_FROM_MISALIGNED:
        copy_async(bytes, global + 1, 16);
        break;
    case COPY_OF_17:
        copy_async(bytes, global, 17);
        break;
    case COPY_TO_GLOBAL:
        copy_async(global + 4, global, 16);
        break;
    case COPY_OUT_OF_SHARED:
        copy_async(bytes, bytes + 16, 16);
        break;
    case WAIT_FOR_ALL_BUT_7:
        copy_wait_but(7);
        break;
    case ROW_MISALIGNED:
        matrix_load4(out, bytes + 8);
        break;
    case ROW_IN_GLOBAL:
        matrix_load4(out, global);
        break;
    case SHARED_OF_49_KB: {
        SHARED_ARRAY(char, large, 49 << 10);
        large[threadIdx.x] = 1;
        break;
    }
    default:
        __syncthreads();
    }
    word = (int)out[0];
}

static bool misuse_run(unsigned long how)
{
    unsigned threads = how == LANE_THAT_IS_NOT ? 24 : 32;
    device_array<int> global(16);

    if (how < PEER_NOT_STARTED)
        LAUNCH_TEAMS(misuse_warp_kernel, 2, 2, threads, 0, NULL, (enum misuse)how, global.p);
    if (how == FINE || how >= PEER_NOT_STARTED)
        LAUNCH_TEAMS(misuse_memory_kernel, 2, 2, threads, 0, NULL, (enum misuse)how, global.p);
    return cudaDeviceSynchronize() == cudaSuccess;
}

static void test_misuse_ends_the_process(void **)
{
    char said[1024];

    assert_int_equal(child_run(misuse_run, FINE), CHILD_RIGHT);
    for (auto &m : misuses) {
        assert_int_equal(child_run_said(misuse_run, m.how, said, sizeof(said)), CHILD_DIED);
        if (!strstr(said, m.said))
            fail_msg("misuse %d said: %s", m.how, said);
    }
}

/* Alignment that the declaration does not promise is not there by luck either: what reads wider
 * than it may is seen by the sanitizer of undefined behaviour. */
static __global__ void unaligned_kernel(int *odd)
{
    grid_wait();
    SHARED_ARRAY(float, narrow, 8);
    DYNAMIC_SHARED(char, dynamic);

    odd[0] = (uintptr_t)narrow % 8 != 0;
    odd[1] = (uintptr_t)dynamic % 32 != 0;
}

static void test_no_alignment_by_luck(void **)
{
    device_array<int> odd(2);

    LAUNCH(unaligned_kernel, 1, 1, 64, NULL, odd.p);
    assert_true(odd.host()[0] && odd.host()[1]);
    assert_true((uintptr_t)odd.p % 512 != 0);
}

/* ---- asynchronous copies --------------------------------------------------------------------- */

/* In two stages; waits for as many groups as it must, or for none.  grid: 1   block: 1 */
static __global__ void copy_kernel(const uint4 *in, uint4 *out, int n, bool wait)
{
    grid_wait();
    SHARED_ARRAY(uint4, stage, 2);

    for (int i = 0; i <= n; i++) {
        if (i < n)
            copy_async(&stage[i % 2], &in[i], 16);
        copy_commit();
        if (wait)
            copy_wait<1>();
        if (i > 0)
            out[i - 1] = stage[(i - 1) % 2];
    }
    copy_wait<0>();
}

static bool copies(bool wait)
{
    device_array<uint4> in(7), out(7);

    in.fill({1, 2, 3, 4});
    LAUNCH(copy_kernel, 1, 1, 0, NULL, in.p, out.p, 7, wait);
    std::vector<uint4> got = out.host();
    for (auto &x : got) {
        if (x.x != 1 || x.y != 2 || x.z != 3 || x.w != 4)
            return false;
    }
    return true;
}

static void test_copies_are_late(void **)
{
    assert_true(copies(true));
    assert_false(copies(false));
}

/* ---- schedules ------------------------------------------------------------------------------- */

static __global__ void note_order(int *next, int *order)
{
    grid_wait();
    order[atomicAdd(next, 1)] = (int)(blockIdx.x * blockDim.x + threadIdx.x);
}

static std::vector<int> order_of(uint64_t seed)
{
    device_array<int> next(1), order(128);

    emu_seed_set(seed);
    next.fill(0);
    LAUNCH(note_order, 4, 32, 0, NULL, next.p, order.p);
    return order.host();
}

static void test_schedules_follow_the_seed(void **)
{
    uint64_t seed = emu_seed();

    assert_true(order_of(7) == order_of(7));
    assert_true(order_of(7) != order_of(8));
    emu_seed_set(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_thread_once),
        cmocka_unit_test(test_missing_barrier_shows),
        cmocka_unit_test(test_dynamic_shared),
        cmocka_unit_test(test_barriers_that_count),
        cmocka_unit_test(test_shared_starts_as_noise),
        cmocka_unit_test(test_shuffles),
        cmocka_unit_test(test_votes),
        cmocka_unit_test(test_missing_warp_barrier_shows),
        cmocka_unit_test(test_atomics),
        cmocka_unit_test(test_teams),
        cmocka_unit_test(test_out_of_bounds_shows),
        cmocka_unit_test(test_misuse_ends_the_process),
        cmocka_unit_test(test_no_alignment_by_luck),
        cmocka_unit_test(test_copies_are_late),
        cmocka_unit_test(test_schedules_follow_the_seed),
    };

    return seeded_result(cmocka_run_group_tests(tests, NULL, NULL));
}
