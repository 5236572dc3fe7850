/*
 * The emulated runtime: errors and faults, streams as queues that run late and in random order,
 * events, launches.
 */
#include "runtime_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ---- the whole state, under one lock --------------------------------------------------------- */

std::recursive_mutex emu::lock;

runtime_state emu::g;

cudaError_t emu::result(cudaError_t error)
{
    if (g.sticky != cudaSuccess)
        return g.sticky;
    if (error != cudaSuccess && error != cudaErrorNotReady)
        g.last = error;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    LOCKED;
    return g.sticky != cudaSuccess ? g.sticky : g.last;
}

cudaError_t cudaGetLastError(void)
{
    LOCKED;
    cudaError_t error = cudaPeekAtLastError();
    g.last = cudaSuccess;
    return error;
}

static const struct {
    cudaError_t error;
    const char *name, *text;
} error_names[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "a previous error ended the capture"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined",
     "a captured stream was not joined to the origin"},
};

const char *cudaGetErrorString(cudaError_t error)
{
    for (auto &e : error_names) {
        if (e.error == error)
            return e.text;
    }
    return "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t error)
{
    for (auto &e : error_names) {
        if (e.error == error)
            return e.name;
    }
    return "unrecognized error code";
}

void emu_fault_after(long n, cudaError_t error)
{
    LOCKED;
    g.fault_read = true;
    g.fault_in = n;
    g.fault = error;
    if (n == 0)
        g.sticky = g.last = cudaSuccess;
}

/* SPECD_EMU_FAULT: after how many operations, or a file that the fault waits for. */
static void read_fault(void)
{
    const char *text = getenv("SPECD_EMU_FAULT");

    g.fault_read = true;
    if (text && text[0] == '/')
        g.fault_file = text;
    else if (text)
        g.fault_in = strtol(text, nullptr, 0);
}

/* Whether the operation that is about to run is the one that fails. */
static bool fault_now(void)
{
    if (!g.fault_read)
        read_fault();
    if ((g.fault_in > 0 && --g.fault_in == 0) || (g.fault_file && access(g.fault_file, F_OK) == 0))
        g.sticky = g.fault;
    return g.sticky != cudaSuccess;
}

/* ---- streams --------------------------------------------------------------------------------- */

static bool is_blocked(const emu_stream *s)
{
    return s->queue.empty() ||
           (s->queue.front().waits && s->queue.front().event->reached < s->queue.front().serial);
}

bool emu::may_overlap(const work &w)
{
    return w.launch && w.launch->as.overlaps;
}

ahead emu::work_ahead(const work &w)
{
    return ahead(emu_run_ahead(&w.launch->as, *w.launch->call));
}

void emu::work_run(const work &w, ahead first)
{
    if (w.launch)
        emu_run(&w.launch->as, *w.launch->call, first.release());
    else
        w.run();
}

/* A launch is about to run. Those behind it may start before, several of them: the next one may let
 * the one behind it start before it waits itself. */
static void stream_ahead(emu_stream *s)
{
    for (auto &o : s->queue) {
        if (!may_overlap(o.what) || emu_next_random() % 2 == 0)
            return;
        if (!o.first)
            o.first = work_ahead(o.what);
    }
}

static void run_front(emu_stream *s)
{
    op o = std::move(s->queue.front());

    s->queue.pop_front();
    if (o.waits)
        return;
    if (fault_now())
        return;
    if (o.what.launch)
        stream_ahead(s);
    work_run(o.what, std::move(o.first));
}

/* Runs one operation of a random stream that has one; false if there is none. */
static bool progress(void)
{
    std::vector<emu_stream *> can;

    if (!is_blocked(&g.null_stream))
        can.push_back(&g.null_stream);
    for (auto *s : g.streams) {
        if (!is_blocked(s))
            can.push_back(s);
    }
    if (can.empty())
        return false;
    run_front(can[emu_next_random() % can.size()]);
    return true;
}

static cudaError_t run_until(const std::function<bool()> &done)
{
    while (g.sticky == cudaSuccess && !done()) {
        if (!progress()) {
            fprintf(stderr, "emulator: what is waited for can never happen\n");
            emu_seed_print();
            abort();
        }
    }
    return result(cudaSuccess);
}

/* The default stream and those created as blocking run in the order of the calls. */
static cudaError_t order_with_default(emu_stream *s)
{
    if (s == &g.null_stream)
        return run_until([] {
            for (auto *x : g.streams) {
                if (x->blocking && !x->queue.empty())
                    return false;
            }
            return true;
        });
    if (s->blocking)
        return run_until([] { return g.null_stream.queue.empty(); });
    return result(cudaSuccess);
}

emu_stream *emu::stream_of(cudaStream_t stream)
{
    return stream ? stream : &g.null_stream;
}

bool emu::stream_known(cudaStream_t stream)
{
    return !stream || g.streams.count(stream);
}

static cudaError_t stream_put_op(cudaStream_t stream, op o)
{
    emu_stream *s = stream_of(stream);

    TRY(stream_known(stream), cudaErrorInvalidValue);
    if (s->capture) {
        capture *c = s->capture;
        c->nodes.push_back({std::move(o.what), s->frontier});
        s->frontier = {(int)c->nodes.size() - 1};
        return result(cudaSuccess);
    }
    cudaError_t error = order_with_default(s);
    TRY(error == cudaSuccess, error);
    s->queue.push_back(std::move(o));
    for (uint64_t n = emu_next_random() % 4; n > 2; n--)
        progress();
    return result(cudaSuccess);
}

cudaError_t emu::stream_put(cudaStream_t stream, std::function<void()> run)
{
    op o;

    o.what.run = std::move(run);
    return stream_put_op(stream, std::move(o));
}

cudaError_t emu_put(cudaStream_t stream, std::function<void()> run)
{
    LOCKED;
    return stream_put(stream, std::move(run));
}

bool emu::breaks_capture(cudaStream_t stream, bool any)
{
    bool broken = false;

    for (auto *s : g.streams) {
        if (s->capture && (any || s == stream))
            broken = s->capture->broken = true;
    }
    return broken;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags)
{
    LOCKED;
    *out = new emu_stream();
    (*out)->blocking = !(flags & cudaStreamNonBlocking);
    g.streams.insert(*out);
    return result(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    LOCKED;
    emu_stream *s = stream_of(stream);
    TRY(stream_known(stream), cudaErrorInvalidValue);
    TRY(!breaks_capture(stream, false), cudaErrorStreamCaptureUnsupported);
    return run_until([=] { return s->queue.empty(); });
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    LOCKED;
    TRY(stream_known(stream), cudaErrorInvalidValue);
    TRY(!breaks_capture(stream, false), cudaErrorStreamCaptureUnsupported);
    progress();
    return result(stream_of(stream)->queue.empty() ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    LOCKED;
    TRY(stream && stream_known(stream), cudaErrorInvalidValue);
    cudaError_t error = run_until([=] { return stream->queue.empty(); });
    g.streams.erase(stream);
    delete stream;
    return error;
}

cudaError_t cudaDeviceSynchronize(void)
{
    LOCKED;
    TRY(!breaks_capture(nullptr, true), cudaErrorStreamCaptureUnsupported);
    return run_until([] {
        for (auto *s : g.streams) {
            if (!s->queue.empty())
                return false;
        }
        return g.null_stream.queue.empty();
    });
}

/* ---- events ---------------------------------------------------------------------------------- */

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned)
{
    LOCKED;
    *out = new emu_event{std::make_shared<event_state>()};
    return result(cudaSuccess);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    LOCKED;
    delete event;
    return result(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    LOCKED;
    auto e = event->state;
    emu_stream *s = stream_of(stream);
    TRY(stream_known(stream), cudaErrorInvalidValue);
    e->capture = s->capture;
    if (s->capture) {
        e->frontier = s->frontier;
        return result(cudaSuccess);
    }
    uint64_t serial = ++e->recorded;
    return stream_put(stream, [=] {
        e->reached = serial;
        e->at_ms = now_ms();
    });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    LOCKED;
    auto e = event->state;
    emu_stream *s = stream_of(stream);
    TRY(stream_known(stream), cudaErrorInvalidValue);
    if (e->capture) { /* the stream joins what is being captured */
        TRY(!s->capture || s->capture == e->capture, cudaErrorStreamCaptureUnsupported);
        s->capture = e->capture;
        s->frontier.insert(e->frontier.begin(), e->frontier.end());
        return result(cudaSuccess);
    }
    TRY(!s->capture, cudaErrorStreamCaptureUnsupported);
    op o;
    o.event = e;
    o.serial = e->recorded;
    o.waits = true;
    return stream_put_op(stream, std::move(o));
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    LOCKED;
    auto e = event->state;
    TRY(!e->capture, cudaErrorStreamCaptureUnsupported);
    uint64_t serial = e->recorded;
    return run_until([=] { return e->reached >= serial; });
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    LOCKED;
    TRY(!event->state->capture, cudaErrorStreamCaptureUnsupported);
    progress();
    return result(event->state->reached >= event->state->recorded ? cudaSuccess
                                                                  : cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    LOCKED;
    TRY(from->state->recorded > 0 && to->state->recorded > 0, cudaErrorInvalidValue);
    TRY(from->state->reached >= from->state->recorded && to->state->reached >= to->state->recorded,
        cudaErrorNotReady);
    *ms = (float)(to->state->at_ms - from->state->at_ms);
    return result(cudaSuccess);
}

/* ---- launches -------------------------------------------------------------------------------- */

static bool launch_fits(const emu_launch *l)
{
    uint64_t threads = (uint64_t)l->block.x * l->block.y * l->block.z;

    return threads >= 1 && threads <= 1024 && l->block.z <= 64 && l->grid.x >= 1 &&
           l->grid.y >= 1 && l->grid.z >= 1 && l->grid.x <= INT32_MAX && l->grid.y <= 65535 &&
           l->grid.z <= 65535 && l->cluster >= 1 && l->cluster <= 8 &&
           l->grid.x % (unsigned)l->cluster == 0 &&
           (l->dynamic_shared <= SHARED_PLAIN || l->dynamic_shared <= l->shared_allowed);
}

void emu_enqueue(const emu_launch *launch, cudaStream_t stream, emu_call *call)
{
    LOCKED;
    auto k = std::make_shared<launched>(launched{*launch, std::unique_ptr<emu_call>(call)});
    emu_launch &l = k->as;
    op o;
    auto allowed = g.shared_of.find(l.kernel);
    l.shared_allowed = allowed != g.shared_of.end() ? allowed->second : 0;
    if (!launch_fits(&l)) {
        result(cudaErrorInvalidConfiguration);
        return;
    }
    o.what.launch = k;
    stream_put_op(stream, std::move(o));
}
