/*
 * The emulated runtime: memory and its limits, streams that run late, events, graphs, faults.
 */
#include "child.h"
#include "common.cuh"
#include "seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

extern "C" {
#include <cmocka.h>
}

#define OK(call) assert_int_equal(call, cudaSuccess)
#define SEEDS 16

static __global__ void add_kernel(int *to, int n)
{
    grid_wait();
    *to += n;
}

static __global__ void double_kernel(int *to)
{
    grid_wait();
    *to *= 2;
}

static __global__ void sum_kernel(int *to, const int *a, const int *b)
{
    grid_wait();
    *to = *a + *b;
}

static int *device_int(int value)
{
    int *p;

    OK(cudaMalloc(&p, sizeof(int)));
    OK(cudaMemcpy(p, &value, sizeof(int), cudaMemcpyHostToDevice));
    return p;
}

static int int_of(const int *device)
{
    int value;

    OK(cudaMemcpy(&value, device, sizeof(int), cudaMemcpyDeviceToHost));
    return value;
}

static cudaStream_t stream_make(void)
{
    cudaStream_t s;

    OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    return s;
}

static cudaEvent_t event_make(void)
{
    cudaEvent_t e;

    OK(cudaEventCreateWithFlags(&e, cudaEventDisableTiming));
    return e;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void test_memory(void **)
{
    size_t before = emu_memory_in_use(), free_bytes, total;
    char host[64] = {0};
    char *p, *q;

    OK(cudaMalloc(&p, 64));
    assert_int_equal(emu_memory_in_use(), before + 64);
    OK(cudaMemcpy(p, host, 64, cudaMemcpyHostToDevice));
    OK(cudaMemset(p, 7, 64));
    OK(cudaMemcpy(host, p + 32, 32, cudaMemcpyDeviceToHost));
    assert_int_equal(host[31], 7);
    assert_int_equal(host[32], 0);
    assert_int_equal(cudaMemcpy(p + 1, host, 64, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(host, p, 64, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    assert_int_equal(cudaMemset(host, 0, 1), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    OK(cudaGetLastError());

    emu_memory_limit(before + 100);
    assert_int_equal(cudaMalloc(&q, 64), cudaErrorMemoryAllocation);
    assert_null(q);
    OK(cudaMemGetInfo(&free_bytes, &total));
    assert_int_equal(free_bytes, 36);
    emu_memory_limit((size_t)1 << 30);
    OK(cudaFree(p));
    assert_int_equal(cudaFree(p), cudaErrorInvalidValue);
    assert_int_equal(emu_memory_in_use(), before);
    (void)cudaGetLastError();
}

/* What leaves the device is counted when it runs, eagerly or out of a graph; nothing else is. */
static void test_copies_to_host_are_counted(void **)
{
    cudaStream_t s = stream_make();
    int *p = device_int(3), *q = device_int(4), *pinned;
    uint64_t before = emu_copies_to_host();
    cudaGraph_t graph;
    cudaGraphExec_t exec;

    OK(cudaHostAlloc(&pinned, sizeof(int), cudaHostAllocDefault));
    OK(cudaMemcpyAsync(p, q, sizeof(int), cudaMemcpyDeviceToDevice, s));
    OK(cudaMemcpyAsync(q, pinned, sizeof(int), cudaMemcpyHostToDevice, s));
    LAUNCH(add_kernel, 1, 1, 0, s, pinned, 1); /* a kernel that writes there itself */
    OK(cudaStreamSynchronize(s));
    assert_int_equal(emu_copies_to_host(), before);
    OK(cudaMemcpyAsync(pinned, p, sizeof(int), cudaMemcpyDeviceToHost, s));
    OK(cudaMemcpyAsync(pinned, p, sizeof(int), cudaMemcpyDefault, s));
    OK(cudaStreamSynchronize(s));
    assert_int_equal(emu_copies_to_host(), before + 2);

    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    OK(cudaMemcpyAsync(pinned, p, sizeof(int), cudaMemcpyDeviceToHost, s));
    OK(cudaStreamEndCapture(s, &graph));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphDestroy(graph));
    assert_int_equal(emu_copies_to_host(), before + 2);
    OK(cudaGraphLaunch(exec, s));
    OK(cudaGraphLaunch(exec, s));
    OK(cudaStreamSynchronize(s));
    assert_int_equal(emu_copies_to_host(), before + 4);

    OK(cudaGraphExecDestroy(exec));
    OK(cudaStreamDestroy(s));
    OK(cudaFreeHost(pinned));
    OK(cudaFree(p));
    OK(cudaFree(q));
}

static __global__ void fill_shared(int *out, int n)
{
    grid_wait();
    DYNAMIC_SHARED(char, all);

    for (int i = 0; i < n; i++)
        all[i] = 1;
    *out = n;
}

static void test_launch_limits(void **)
{
    int *p = device_int(0);

    LAUNCH(add_kernel, 1, 1025, 0, NULL, p, 1);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
    LAUNCH_TEAMS(add_kernel, 2, 3, 1, 0, NULL, p, 1);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
    LAUNCH(fill_shared, 1, 1, 60000, NULL, p, 60000);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
    OK(cudaFuncSetAttribute(fill_shared, cudaFuncAttributePreferredSharedMemoryCarveout, 100));
    LAUNCH(fill_shared, 1, 1, 60000, NULL, p, 60000); /* a hint opens nothing */
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
    assert_int_equal(cudaFuncSetAttribute(fill_shared, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          (227 << 10) + 1),
                     cudaErrorInvalidValue);
    (void)cudaGetLastError();
    OK(cudaFuncSetAttribute(fill_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000));
    LAUNCH(fill_shared, 1, 1, 60000, NULL, p, 60000);
    OK(cudaGetLastError());
    assert_int_equal(int_of(p), 60000);
    OK(cudaFree(p));
}

/* ---- streams and events ---------------------------------------------------------------------- */

/* Operations of one stream keep their order, under every schedule. */
static void test_a_stream_is_in_order(void **)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        emu_seed_set(seed);
        cudaStream_t s = stream_make();
        int *p = device_int(1), host;
        for (int i = 0; i < 5; i++) {
            LAUNCH(add_kernel, 1, 1, 0, s, p, 1);
            LAUNCH(double_kernel, 1, 1, 0, s, p);
        }
        OK(cudaMemcpyAsync(&host, p, sizeof(host), cudaMemcpyDeviceToHost, s));
        OK(cudaStreamSynchronize(s));
        assert_int_equal(host, 94);
        OK(cudaStreamDestroy(s));
        OK(cudaFree(p));
    }
}

/* What is not ordered is seen in both orders. */
static bool orders_seen(bool with_event)
{
    bool right = true;

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        emu_seed_set(seed);
        cudaStream_t a = stream_make(), b = stream_make();
        cudaEvent_t e = event_make();
        int *p = device_int(1);
        LAUNCH(add_kernel, 1, 1, 0, a, p, 1);
        OK(cudaEventRecord(e, a));
        if (with_event)
            OK(cudaStreamWaitEvent(b, e, 0));
        LAUNCH(double_kernel, 1, 1, 0, b, p);
        OK(cudaDeviceSynchronize());
        right = right && int_of(p) == 4;
        OK(cudaEventDestroy(e));
        OK(cudaStreamDestroy(a));
        OK(cudaStreamDestroy(b));
        OK(cudaFree(p));
    }
    return right;
}

static void test_events_order_streams(void **)
{
    assert_true(orders_seen(true));
    assert_false(orders_seen(false));
}

/* A host buffer that is written again before the copy ran; a result that is read too early. */
static bool staging_right(bool wait)
{
    bool right = true;

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        emu_seed_set(seed);
        cudaStream_t s = stream_make();
        int *staging, *p = device_int(0);
        OK(cudaHostAlloc(&staging, sizeof(int), cudaHostAllocDefault));
        *staging = 1;
        OK(cudaMemcpyAsync(p, staging, sizeof(int), cudaMemcpyHostToDevice, s));
        if (wait)
            OK(cudaStreamSynchronize(s));
        *staging = 2;
        OK(cudaStreamSynchronize(s));
        right = right && int_of(p) == 1;
        OK(cudaStreamDestroy(s));
        OK(cudaFreeHost(staging));
        OK(cudaFree(p));
    }
    return right;
}

static void test_early_reuse_shows(void **)
{
    assert_true(staging_right(true));
    assert_false(staging_right(false));
}

static void test_queries_make_progress(void **)
{
    cudaStream_t s = stream_make();
    cudaEvent_t e = event_make();
    int *p = device_int(0);

    for (int i = 0; i < 20; i++)
        LAUNCH(add_kernel, 1, 1, 0, s, p, 1);
    OK(cudaEventRecord(e, s));
    while (cudaEventQuery(e) == cudaErrorNotReady)
        ;
    OK(cudaEventSynchronize(e));
    OK(cudaStreamQuery(s));
    assert_int_equal(int_of(p), 20);
    OK(cudaEventDestroy(e));
    OK(cudaStreamDestroy(s));
    OK(cudaFree(p));
}

/* ---- graphs ---------------------------------------------------------------------------------- */

/* a and b in two streams, then their sum; captured once, replayed with what the memory holds. */
static void test_graph_replays(void **)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        emu_seed_set(seed);
        cudaStream_t s = stream_make(), side = stream_make();
        cudaEvent_t fork = event_make(), join = event_make();
        int *a = device_int(1), *b = device_int(10), *sum = device_int(0);
        cudaGraph_t graph;
        cudaGraphExec_t exec;

        OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
        OK(cudaEventRecord(fork, s));
        OK(cudaStreamWaitEvent(side, fork, 0));
        LAUNCH(add_kernel, 1, 1, 0, s, a, 1);
        LAUNCH(double_kernel, 1, 1, 0, side, b);
        OK(cudaEventRecord(join, side));
        OK(cudaStreamWaitEvent(s, join, 0));
        LAUNCH(sum_kernel, 1, 1, 0, s, sum, a, b);
        OK(cudaStreamEndCapture(s, &graph));
        OK(cudaGraphInstantiate(&exec, graph, 0));
        OK(cudaGraphDestroy(graph));
        assert_int_equal(int_of(a), 1); /* recorded, not run */

        OK(cudaGraphLaunch(exec, s));
        OK(cudaGraphLaunch(exec, s));
        OK(cudaStreamSynchronize(s));
        assert_int_equal(int_of(sum), 3 + 40);
        OK(cudaMemset(b, 0, sizeof(int)));
        OK(cudaGraphLaunch(exec, s));
        OK(cudaStreamSynchronize(s));
        assert_int_equal(int_of(sum), 4);

        OK(cudaGraphExecDestroy(exec));
        OK(cudaEventDestroy(fork));
        OK(cudaEventDestroy(join));
        OK(cudaStreamDestroy(s));
        OK(cudaStreamDestroy(side));
        OK(cudaFree(a));
        OK(cudaFree(b));
        OK(cudaFree(sum));
    }
}

static void test_what_a_capture_forbids(void **)
{
    cudaStream_t s = stream_make(), side = stream_make();
    cudaEvent_t fork = event_make();
    int *p = device_int(1), *q;
    cudaGraph_t graph;

    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
    assert_int_equal(cudaMalloc(&q, 4), cudaErrorStreamCaptureUnsupported);
    assert_int_equal(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureInvalidated);
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
    assert_int_equal(cudaStreamSynchronize(s), cudaErrorStreamCaptureUnsupported);
    assert_int_equal(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureInvalidated);

    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
    OK(cudaEventRecord(fork, s));
    OK(cudaStreamWaitEvent(side, fork, 0));
    LAUNCH(add_kernel, 1, 1, 0, side, p, 1);
    assert_int_equal(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureUnjoined);
    assert_null(graph);
    (void)cudaGetLastError();

    OK(cudaEventDestroy(fork));
    OK(cudaStreamDestroy(s));
    OK(cudaStreamDestroy(side));
    OK(cudaFree(p));
}

/* ---- faults ---------------------------------------------------------------------------------- */

static void test_a_fault_sticks(void **)
{
    cudaStream_t s = stream_make();
    int *p = device_int(0), host;

    emu_fault_after(3, cudaErrorIllegalAddress);
    for (int i = 0; i < 5; i++)
        LAUNCH(add_kernel, 1, 1, 0, s, p, 1);
    assert_int_equal(cudaStreamSynchronize(s), cudaErrorIllegalAddress);
    assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress);
    assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress);
    assert_int_equal(cudaMemcpy(&host, p, 4, cudaMemcpyDeviceToHost), cudaErrorIllegalAddress);
    assert_int_equal(LAUNCH_RESULT(), SPECD_EDEVICE);
    emu_fault_after(0, cudaSuccess);
    OK(cudaGetLastError());
    OK(cudaStreamDestroy(s));
    assert_true(int_of(p) >=
                2); /* what stood in the queue may still run once the fault is cleared */
    OK(cudaFree(p));
}

/* Comes first: the environment is looked at once. */
static bool fault_from_environment(unsigned long n)
{
    char text[8];
    int *p, zero = 0;

    snprintf(text, sizeof(text), "%lu", n);
    setenv("SPECD_EMU_FAULT", text, 1);
    return cudaMalloc(&p, 4) == cudaSuccess &&
           cudaMemcpy(p, &zero, 4, cudaMemcpyHostToDevice) == cudaSuccess &&
           cudaMemset(p, 0, 4) == cudaSuccess;
}

static void test_a_fault_from_outside(void **)
{
    assert_int_equal(child_run(fault_from_environment, 3), CHILD_RIGHT);
    assert_int_equal(child_run(fault_from_environment, 2), CHILD_WRONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_fault_from_outside),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_launch_limits),
        cmocka_unit_test(test_a_stream_is_in_order),
        cmocka_unit_test(test_events_order_streams),
        cmocka_unit_test(test_early_reuse_shows),
        cmocka_unit_test(test_queries_make_progress),
        cmocka_unit_test(test_graph_replays),
        cmocka_unit_test(test_what_a_capture_forbids),
        cmocka_unit_test(test_a_fault_sticks),
        cmocka_unit_test(test_copies_to_host_are_counted),
    };

    return seeded_result(cmocka_run_group_tests(tests, NULL, NULL));
}
