/*
 * The emulated runtime: memory, streams as queues that run late and in random order, events,
 * graphs.
 */
#include "emu.h"
#include "emu_impl.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <time.h>
#include <vector>

namespace
{

/* What waits in a queue: a launch or anything else. */
struct launched {
    emu_launch as;
    std::unique_ptr<emu_call> call;
};
struct work {
    std::function<void()> run;
    std::shared_ptr<const launched> launch; /* instead */
};

/* The cluster of a launch that has run ahead of it. */
struct ahead_end {
    void operator()(emu_cluster *c) const { emu_give_up(c); }
};
using ahead = std::unique_ptr<emu_cluster, ahead_end>;

/* How far an event has come; outlives the handle while operations refer to it. */
struct event_state {
    uint64_t recorded = 0, reached = 0; /* records queued, records run */
    double at_ms = 0;
    struct capture *capture = nullptr; /* recorded while this was being captured */
    std::set<int> frontier;            /* the nodes it then stood behind */
};

struct op {
    work what;
    ahead first;
    std::shared_ptr<event_state> event; /* of a record or a wait */
    uint64_t serial = 0;
    bool waits = false;
};

struct node {
    work what;
    std::set<int> after;
};

struct capture {
    std::vector<node> nodes;
    cudaStream_t origin = nullptr;
    bool broken = false;
};

} // namespace

struct emu_stream {
    std::deque<op> queue;
    bool blocking;
    struct capture *capture = nullptr;
    std::set<int> frontier;
};
struct emu_event {
    std::shared_ptr<event_state> state;
};
struct emu_graph {
    std::shared_ptr<std::vector<node>> nodes;
};
struct emu_graph_exec {
    std::shared_ptr<std::vector<node>> nodes;
    size_t bytes; /* of device memory; 0: not uploaded */
};

/* ---- the whole state, under one lock --------------------------------------------------------- */

static std::recursive_mutex lock;
#define LOCKED std::lock_guard<std::recursive_mutex> locked(lock)

static struct {
    cudaError_t sticky = cudaSuccess, last = cudaSuccess;
    long fault_in = 0;
    cudaError_t fault = cudaErrorLaunchFailure;
    bool fault_read = false;
    const char *fault_file = nullptr;
    size_t memory_limit = (size_t)1 << 30, memory_used = 0;
    std::map<char *, size_t> device, pinned;
    std::map<const void *, size_t> shared_of; /* cudaFuncSetAttribute */
    emu_stream null_stream;
    std::set<emu_stream *> streams; /* others */
    int n_captures = 0;
    uint64_t n_to_host = 0; /* copies that have run */
} g;

static cudaError_t result(cudaError_t error)
{
    if (g.sticky != cudaSuccess)
        return g.sticky;
    if (error != cudaSuccess && error != cudaErrorNotReady)
        g.last = error;
    return error;
}

#define TRY(cond, error)          \
    do {                          \
        if (!(cond))              \
            return result(error); \
    } while (0)

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

static bool may_overlap(const work &w)
{
    return w.launch && w.launch->as.overlaps;
}

static ahead work_ahead(const work &w)
{
    return ahead(emu_run_ahead(&w.launch->as, *w.launch->call));
}

static void work_run(const work &w, ahead first)
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

static emu_stream *stream_of(cudaStream_t stream)
{
    return stream ? stream : &g.null_stream;
}

static bool stream_known(cudaStream_t stream)
{
    return !stream || g.streams.count(stream);
}

static cudaError_t stream_put(cudaStream_t stream, op o)
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

static cudaError_t stream_put_work(cudaStream_t stream, std::function<void()> run)
{
    op o;

    o.what.run = std::move(run);
    return stream_put(stream, std::move(o));
}

cudaError_t emu_put(cudaStream_t stream, std::function<void()> run)
{
    LOCKED;
    return stream_put_work(stream, std::move(run));
}

/* A call that has to wait, or allocates, breaks the capture. */
static bool breaks_capture(cudaStream_t stream, bool any)
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
    return stream_put_work(stream, [=] {
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
    return stream_put(stream, std::move(o));
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

/* ---- graphs ---------------------------------------------------------------------------------- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode)
{
    LOCKED;
    TRY(stream && stream_known(stream) && !stream->capture, cudaErrorStreamCaptureUnsupported);
    stream->capture = new capture();
    stream->capture->origin = stream;
    stream->frontier.clear();
    g.n_captures++;
    return result(cudaSuccess);
}

static bool all_joined(const capture *c, const std::set<int> &frontier)
{
    std::set<int> reached, next = frontier;

    while (!next.empty()) {
        int i = *next.begin();
        next.erase(next.begin());
        if (reached.insert(i).second)
            next.insert(c->nodes[(size_t)i].after.begin(), c->nodes[(size_t)i].after.end());
    }
    return reached.size() == c->nodes.size();
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    LOCKED;
    capture *c = stream ? stream->capture : nullptr;
    TRY(c && c->origin == stream, cudaErrorStreamCaptureUnsupported);
    *out = nullptr;
    cudaError_t error = c->broken                          ? cudaErrorStreamCaptureInvalidated
                        : !all_joined(c, stream->frontier) ? cudaErrorStreamCaptureUnjoined
                                                           : cudaSuccess;
    for (auto *s : g.streams) {
        if (s->capture == c)
            s->capture = nullptr;
    }
    if (error == cudaSuccess)
        *out = new emu_graph{std::make_shared<std::vector<node>>(std::move(c->nodes))};
    delete c;
    g.n_captures--;
    return result(error);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long)
{
    LOCKED;
    *out = new emu_graph_exec{graph->nodes, 0};
    return result(cudaSuccess);
}

/* As stream_ahead; node i is about to run. */
static void graph_ahead(const std::vector<node> &nodes, size_t i, std::vector<ahead> &first)
{
    for (size_t j = i + 1; j < nodes.size(); j++) {
        if (!may_overlap(nodes[j].what) || nodes[j].after != std::set<int>{(int)i})
            continue;
        if (emu_next_random() % 2 == 0)
            return;
        if (!first[j])
            first[j] = work_ahead(nodes[j].what);
        i = j;
    }
}

/* In a random order that keeps what comes after what. */
static void graph_run(const std::vector<node> &nodes)
{
    std::vector<bool> ran(nodes.size());
    std::vector<ahead> first(nodes.size());

    for (size_t n = 0; n < nodes.size() && g.sticky == cudaSuccess; n++) {
        std::vector<size_t> can;
        for (size_t i = 0; i < nodes.size(); i++) {
            bool ready = !ran[i];
            for (int a : nodes[i].after)
                ready = ready && ran[(size_t)a];
            if (ready)
                can.push_back(i);
        }
        size_t i = can[emu_next_random() % can.size()];
        ran[i] = true;
        if (nodes[i].what.launch)
            graph_ahead(nodes, i, first);
        work_run(nodes[i].what, std::move(first[i]));
    }
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    LOCKED;
    size_t bytes = exec->nodes->size() * EMU_NODE_BYTES;

    TRY(stream_known(stream), cudaErrorInvalidValue);
    TRY(!stream_of(stream)->capture, cudaErrorStreamCaptureUnsupported);
    if (exec->bytes > 0)
        return result(cudaSuccess);
    TRY(bytes <= g.memory_limit - g.memory_used, cudaErrorMemoryAllocation);
    exec->bytes = bytes;
    g.memory_used += bytes;
    return result(cudaSuccess);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    LOCKED;
    auto nodes = exec->nodes;
    cudaError_t error = cudaGraphUpload(exec, stream);
    TRY(error == cudaSuccess, error);
    return stream_put_work(stream, [=] { graph_run(*nodes); });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    LOCKED;
    delete graph;
    return result(cudaSuccess);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    LOCKED;
    g.memory_used -= exec->bytes;
    delete exec;
    return result(cudaSuccess);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static cudaError_t take(std::map<char *, size_t> &from, void **out, size_t bytes, size_t align)
{
    *out = nullptr;
    TRY(!breaks_capture(nullptr, true), cudaErrorStreamCaptureUnsupported);
    if (bytes == 0)
        return result(cudaSuccess);
    *out = emu_allocate(align, bytes, emu_next_random());
    from[(char *)*out] = bytes;
    return result(cudaSuccess);
}

static void give(std::map<char *, size_t> &to, std::map<char *, size_t>::iterator it)
{
    if (!emu_release(it->first, it->second)) {
        fprintf(stderr, "emulator: something was written behind an allocation of %zu bytes\n",
                it->second);
        emu_seed_print();
        abort();
    }
    to.erase(it);
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    LOCKED;
    *out = nullptr;
    TRY(bytes <= g.memory_limit - g.memory_used, cudaErrorMemoryAllocation);
    cudaError_t error = take(g.device, out, bytes, 256);
    g.memory_used += *out ? bytes : 0;
    return error;
}

cudaError_t cudaFree(void *p)
{
    LOCKED;
    if (!p)
        return result(cudaSuccess);
    auto it = g.device.find((char *)p);
    TRY(it != g.device.end(), cudaErrorInvalidValue);
    cudaError_t error = cudaDeviceSynchronize();
    g.memory_used -= it->second;
    give(g.device, it);
    return error;
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned)
{
    LOCKED;
    return take(g.pinned, out, bytes, 64);
}

cudaError_t cudaFreeHost(void *p)
{
    LOCKED;
    if (!p)
        return result(cudaSuccess);
    auto it = g.pinned.find((char *)p);
    TRY(it != g.pinned.end(), cudaErrorInvalidValue);
    give(g.pinned, it);
    return result(cudaSuccess);
}

/* Whether p .. p + bytes lies in one device allocation (1), in none (0), or across an end (-1). */
static int on_device(const void *p, size_t bytes)
{
    auto it = g.device.upper_bound((char *)p);

    if (it == g.device.begin())
        return 0;
    --it;
    size_t offset = (size_t)((const char *)p - it->first);
    if (offset >= it->second)
        return 0;
    return bytes <= it->second - offset ? 1 : -1;
}

bool emu_on_device(const void *p, size_t bytes)
{
    LOCKED;
    return on_device(p, bytes) == 1;
}

static bool copy_fits(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind)
{
    int to = on_device(dst, bytes), from = on_device(src, bytes);

    if (to < 0 || from < 0)
        return false;
    switch (kind) {
    case cudaMemcpyHostToHost:
        return !to && !from;
    case cudaMemcpyHostToDevice:
        return to && !from;
    case cudaMemcpyDeviceToHost:
        return !to && from;
    case cudaMemcpyDeviceToDevice:
        return to && from;
    case cudaMemcpyDefault:
        break;
    }
    return true;
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    LOCKED;
    TRY(bytes == 0 || copy_fits(dst, src, bytes, kind), cudaErrorInvalidValue);
    bool to_host = bytes > 0 && on_device(src, bytes) && !on_device(dst, bytes);
    return stream_put_work(stream, [=] {
        memmove(dst, src, bytes);
        g.n_to_host += to_host;
    });
}

cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t stream)
{
    LOCKED;
    TRY(bytes == 0 || on_device(dst, bytes) == 1, cudaErrorInvalidValue);
    return stream_put_work(stream, [=] { memset(dst, value, bytes); });
}

/* The synchronous calls are the default stream's, which non-blocking streams do not wait for. */
cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind)
{
    LOCKED;
    TRY(!breaks_capture(nullptr, true), cudaErrorStreamCaptureUnsupported);
    cudaError_t error = cudaMemcpyAsync(dst, src, bytes, kind, nullptr);
    return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}

cudaError_t cudaMemset(void *dst, int value, size_t bytes)
{
    LOCKED;
    TRY(!breaks_capture(nullptr, true), cudaErrorStreamCaptureUnsupported);
    cudaError_t error = cudaMemsetAsync(dst, value, bytes, nullptr);
    return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}

size_t emu_memory_in_use(void)
{
    LOCKED;
    return g.memory_used;
}

void emu_memory_limit(size_t bytes)
{
    LOCKED;
    g.memory_limit = bytes;
}

uint64_t emu_copies_to_host(void)
{
    LOCKED;
    return g.n_to_host;
}

/* ---- the device ------------------------------------------------------------------------------ */

cudaError_t cudaGetDeviceCount(int *n)
{
    LOCKED;
    *n = 1;
    return result(cudaSuccess);
}

cudaError_t cudaSetDevice(int device)
{
    LOCKED;
    return result(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int *device)
{
    LOCKED;
    *device = 0;
    return result(cudaSuccess);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *out, int device)
{
    LOCKED;
    TRY(device == 0, cudaErrorInvalidDevice);
    memset(out, 0, sizeof(*out));
    snprintf(out->name, sizeof(out->name), "Emulated GPU");
    out->totalGlobalMem = g.memory_limit;
    out->sharedMemPerBlock = SHARED_PLAIN;
    out->sharedMemPerBlockOptin = out->sharedMemPerMultiprocessor = SHARED_MAX;
    out->multiProcessorCount = 4;
    out->major = 9;
    out->warpSize = 32;
    out->maxThreadsPerBlock = 1024;
    out->maxThreadsPerMultiProcessor = 2048;
    out->regsPerBlock = 65536;
    out->l2CacheSize = 1 << 20;
    out->memoryBusWidth = 64;
    return result(cudaSuccess);
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attr, int device)
{
    LOCKED;
    struct cudaDeviceProp p;
    cudaError_t error = cudaGetDeviceProperties(&p, device);
    if (error != cudaSuccess)
        return error;
    switch (attr) {
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int)p.sharedMemPerBlockOptin;
        return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
        *value = p.multiProcessorCount;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
        *value = p.major;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
        *value = p.minor;
        return cudaSuccess;
    }
    return result(cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    LOCKED;
    *total = g.memory_limit;
    *free_bytes = g.memory_limit - g.memory_used;
    return result(cudaSuccess);
}

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *out, const void *)
{
    LOCKED;
    *out = {90, 90};
    return result(cudaSuccess);
}

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute, int value)
{
    LOCKED;
    TRY(value >= 0 && (size_t)value <= SHARED_MAX, cudaErrorInvalidValue);
    g.shared_of[kernel] = (size_t)value;
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
    stream_put(stream, std::move(o));
}
