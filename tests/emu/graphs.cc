/*
 * Graphs of the emulated runtime: what a capture records, run in any order that it allows.
 */
#include "runtime_impl.h"

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode)
{
    LOCKED;
    TRY(stream && stream_known(stream) && !stream->capture, cudaErrorStreamCaptureUnsupported);
    stream->capture = new capture();
    stream->capture->origin = stream;
    stream->frontier.clear();
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
    return stream_put(stream, [=] { graph_run(*nodes); });
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
