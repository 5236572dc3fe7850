/*
 * The emulator itself: threads, barriers, warps, shared memory, atomics, clusters; and that it
 * shows the mistakes it is there to show.
 */
#include "child.h"
#include "common.cuh"
#include "device_array.h"
#include "seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <vector>

extern "C" {
#include <cmocka.h>
}

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
        cmocka_unit_test(test_copies_are_late),
        cmocka_unit_test(test_schedules_follow_the_seed),
    };

    return seeded_result(cmocka_run_group_tests(tests, NULL, NULL));
}
