/*
 * Launches that overlap: what a kernel may do before grid_wait, and that the emulator shows what it
 * may not. Each launch of a chain makes its numbers from those of the one ahead, in two buffers by
 * turns: so one that comes too early reads old numbers, or spoils what is still to be read.
 */
#include "child.h"
#include "common.cuh"
#include "seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <thread>

extern "C" {
#include <cmocka.h>
}

#define OK(call) assert_int_equal(call, cudaSuccess)
#define BLOCKS 4
#define THREADS 32
#define N (BLOCKS * THREADS)
#define STEPS 8
#define SEEDS 12

enum how {
    FINE,
    WAITS_APART, /* some threads before a barrier, some behind it */
    READS_EARLY,
    COPIES_EARLY, /* asynchronously: the copy is waited for after grid_wait */
    WRITES_EARLY,
    ENDS_WITHOUT, /* one thread */
};

static __global__ void step_kernel(const float4 *in, float4 *out, enum how how)
{
    SHARED_ARRAY(float4, ring, THREADS);
    int me = (int)(blockIdx.x * THREADS + threadIdx.x), from = (me + THREADS + 1) % N;
    float4 *mine = &ring[threadIdx.x], early = {0, 0, 0, 0};

    if (how == READS_EARLY)
        early = in[from];
    if (how == COPIES_EARLY)
        copy_async(mine, &in[from], 16);
    if (how == WRITES_EARLY)
        out[me] = early;
    if (how == WAITS_APART && me % 2)
        grid_wait();
    if (how == WAITS_APART)
        __syncthreads();
    if (how == ENDS_WITHOUT && me == 3)
        return;
    grid_wait();
    if (how != COPIES_EARLY)
        copy_async(mine, &in[from], 16);
    copy_commit();
    copy_wait<0>();
    float4 v = how == READS_EARLY ? early : *mine;
    out[me] = {v.x + 1, v.y + v.x, v.z, (float)from};
}

struct chain {
    cudaStream_t stream;
    float4 *a, *b;
};

static struct chain chain_new(void)
{
    struct chain c;

    OK(cudaStreamCreateWithFlags(&c.stream, cudaStreamNonBlocking));
    OK(cudaMalloc(&c.a, N * sizeof(float4)));
    OK(cudaMalloc(&c.b, N * sizeof(float4)));
    OK(cudaMemset(c.a, 0, N * sizeof(float4)));
    OK(cudaMemset(c.b, 0, N * sizeof(float4)));
    return c;
}

static void chain_free(struct chain *c)
{
    OK(cudaFree(c->a));
    OK(cudaFree(c->b));
    OK(cudaStreamDestroy(c->stream));
}

/* The numbers are in a again afterwards. */
static void chain_put(const struct chain *c, enum how how)
{
    for (int i = 0; i < STEPS; i++)
        LAUNCH(step_kernel, BLOCKS, THREADS, 0, c->stream, i % 2 ? c->b : c->a, i % 2 ? c->a : c->b,
               how);
}

static bool chain_is_right(const struct chain *c, int steps)
{
    float4 got[N];

    if (cudaStreamSynchronize(c->stream) != cudaSuccess ||
        cudaMemcpy(got, c->a, sizeof(got), cudaMemcpyDeviceToHost) != cudaSuccess)
        return false;
    for (int i = 0; i < N; i++) {
        if (got[i].x != (float)steps || got[i].y != (float)(steps * (steps - 1) / 2) ||
            got[i].w != (float)((i + THREADS + 1) % N))
            return false;
    }
    return true;
}

/* ---- what shows ------------------------------------------------------------------------------ */

template <enum how HOW, bool GRAPH> static bool chain_runs(unsigned long seed)
{
    struct chain c = chain_new();
    cudaGraph_t graph;
    cudaGraphExec_t exec;

    emu_seed_set(seed);
    if (!GRAPH) {
        chain_put(&c, HOW);
        return chain_is_right(&c, STEPS);
    }
    OK(cudaStreamBeginCapture(c.stream, cudaStreamCaptureModeThreadLocal));
    chain_put(&c, HOW);
    OK(cudaStreamEndCapture(c.stream, &graph));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphLaunch(exec, c.stream));
    OK(cudaGraphLaunch(exec, c.stream));
    return chain_is_right(&c, 2 * STEPS);
}

template <enum how HOW> static int rights(void)
{
    return child_rights(chain_runs<HOW, false>, SEEDS) + child_rights(chain_runs<HOW, true>, SEEDS);
}

static void test_what_waits_is_right(void **)
{
    assert_int_equal(rights<FINE>(), 2 * SEEDS);
    assert_int_equal(rights<WAITS_APART>(), 2 * SEEDS);
}

template <enum how HOW> static void assert_shows(void)
{
    assert_true(child_rights(chain_runs<HOW, false>, SEEDS) < SEEDS);
    assert_true(child_rights(chain_runs<HOW, true>, SEEDS) < SEEDS);
}

static void test_what_comes_early_shows(void **)
{
    assert_shows<READS_EARLY>();
    assert_shows<COPIES_EARLY>();
    assert_shows<WRITES_EARLY>();
}

static void test_ending_without_waiting_ends_the_process(void **)
{
    for (unsigned long seed = 1; seed <= SEEDS; seed++) {
        assert_int_equal(child_run(chain_runs<ENDS_WITHOUT, false>, seed), CHILD_DIED);
        assert_int_equal(child_run(chain_runs<ENDS_WITHOUT, true>, seed), CHILD_DIED);
    }
}

/* ---- a device where overlap does not work ---------------------------------------------------- */

/* What the test at open makes of it, in a process of its own: right if nothing overlaps after it.
 */
static bool test_turns_off(unsigned long broken)
{
    emu_grid_wait_broken(broken);
    launch_overlap_test();
    return !launch_overlaps() && chain_runs<FINE, false>(1) && chain_runs<FINE, true>(1);
}

static void test_a_broken_wait_turns_overlap_off(void **)
{
    char said[1024];

    for (int captured = 0; captured < 2; captured++)
        assert_true(overlap_chain_is_right(60, captured));
    assert_int_equal(child_run_said(test_turns_off, true, said, sizeof(said)), CHILD_RIGHT);
    assert_non_null(strstr(said, "gave wrong numbers"));
    assert_int_equal(child_run_said(test_turns_off, false, said, sizeof(said)), CHILD_WRONG);
    assert_null(strstr(said, "wrong numbers"));
}

/* Each half of the test sees it by itself. */
template <bool CAPTURED> static bool broken_chain(unsigned long seed)
{
    emu_seed_set(seed);
    emu_grid_wait_broken(true);
    return overlap_chain_is_right(300, CAPTURED);
}

static void test_the_chain_shows_it(void **)
{
    assert_int_equal(child_rights(broken_chain<false>, SEEDS), 0);
    assert_int_equal(child_rights(broken_chain<true>, SEEDS), 0);
}

/* Nor is a device trusted on which the test cannot run. */
static bool fault_turns_off(unsigned long n)
{
    emu_fault_after((long)n, cudaErrorLaunchFailure);
    launch_overlap_test();
    return !launch_overlaps();
}

static void test_a_fault_turns_overlap_off(void **)
{
    for (unsigned long n : {1, 100, 301, 303, 304}) /* of 300 launches, then one of a graph */
        assert_int_equal(child_run(fault_turns_off, n), CHILD_RIGHT);
    assert_int_equal(child_run(fault_turns_off, 1000), CHILD_WRONG);
}

/* SPECD_NO_OVERLAP: there is nothing to test. */
static bool switched_off_at_start(unsigned long)
{
    setenv("SPECD_NO_OVERLAP", "1", 1);
    emu_grid_wait_broken(true);
    launch_overlap_test();
    return !launch_overlaps();
}

static void test_no_overlap_is_not_tested(void **)
{
    char said[1024];

    assert_int_equal(child_run_said(switched_off_at_start, 1, said, sizeof(said)), CHILD_RIGHT);
    assert_int_equal(strlen(said), 0);
}

/* ---- where nothing overlaps ------------------------------------------------------------------ */

static void test_switched_off(void **)
{
    launch_overlap_allow(false);
    assert_false(launch_overlaps());
    assert_int_equal(rights<READS_EARLY>(), 2 * SEEDS);
    assert_int_equal(rights<ENDS_WITHOUT>(), 0); /* it lacks a number, but nobody is told */
    assert_int_equal(child_run(chain_runs<ENDS_WITHOUT, false>, 1), CHILD_WRONG);
    launch_overlap_allow(true);
    assert_true(launch_overlaps());
}

/* Behind a copy nothing is early. */
static void test_a_copy_orders_all(void **)
{
    static const float4 from[N] = {};
    struct chain c = chain_new();

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        emu_seed_set(seed);
        LAUNCH(step_kernel, BLOCKS, THREADS, 0, c.stream, c.a, c.b, FINE);
        OK(cudaMemcpyAsync(c.b, from, sizeof(from), cudaMemcpyHostToDevice, c.stream));
        LAUNCH(step_kernel, BLOCKS, THREADS, 0, c.stream, c.b, c.a, READS_EARLY);
        assert_true(chain_is_right(&c, 1));
    }
    chain_free(&c);
}

/* ---- what has run ahead ---------------------------------------------------------------------- */

/* A fault leaves launches that have begun and never go on. */
static void test_a_fault_leaves_no_trace(void **)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct chain c = chain_new();

        emu_seed_set(seed);
        emu_fault_after((long)(seed % STEPS) + 1, cudaErrorLaunchFailure);
        chain_put(&c, FINE);
        assert_int_equal(cudaStreamSynchronize(c.stream), cudaErrorLaunchFailure);
        (void)cudaStreamDestroy(c.stream);
        emu_fault_after(0, cudaSuccess);
        (void)cudaGetLastError();
        OK(cudaFree(c.a));
        OK(cudaFree(c.b));

        c = chain_new();
        chain_put(&c, FINE);
        assert_true(chain_is_right(&c, STEPS));
        chain_free(&c);
    }
}

/* One thread begins a launch, another goes on with it. */
static void test_any_thread_goes_on(void **)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct chain c = chain_new();
        bool right = false;

        emu_seed_set(seed);
        chain_put(&c, FINE);
        (void)cudaStreamQuery(c.stream);
        std::thread([&] { right = chain_is_right(&c, STEPS); }).join();
        assert_true(right);
        chain_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_waits_is_right),
        cmocka_unit_test(test_what_comes_early_shows),
        cmocka_unit_test(test_ending_without_waiting_ends_the_process),
        cmocka_unit_test(test_no_overlap_is_not_tested), /* before anybody asked */
        cmocka_unit_test(test_a_broken_wait_turns_overlap_off),
        cmocka_unit_test(test_the_chain_shows_it),
        cmocka_unit_test(test_a_fault_turns_overlap_off),
        cmocka_unit_test(test_switched_off),
        cmocka_unit_test(test_a_copy_orders_all),
        cmocka_unit_test(test_a_fault_leaves_no_trace),
        cmocka_unit_test(test_any_thread_goes_on),
    };

    return seeded_run(tests);
}
