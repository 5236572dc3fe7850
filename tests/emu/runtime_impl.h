/*
 * runtime_impl.h - what the files of the emulated runtime share: what waits in a queue, and the one
 * state under its one lock.
 */
#ifndef SPECD_EMU_RUNTIME_IMPL_H
#define SPECD_EMU_RUNTIME_IMPL_H

#include "emu.h"
#include "emu_impl.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

/* A namespace: the kernels that are linked with this have a `work` too. */
namespace emu
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

} // namespace emu

using namespace emu;

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

namespace emu
{

extern std::recursive_mutex lock;
#define LOCKED std::lock_guard<std::recursive_mutex> locked(lock)

struct runtime_state {
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
    uint64_t n_to_host = 0;         /* copies that have run */
};
extern runtime_state g;

/* An error that sticks, or this one, which cudaGetLastError will tell. */
cudaError_t result(cudaError_t error);

#define TRY(cond, error)          \
    do {                          \
        if (!(cond))              \
            return result(error); \
    } while (0)

/* ---- streams --------------------------------------------------------------------------------- */

emu_stream *stream_of(cudaStream_t stream);
bool stream_known(cudaStream_t stream);
cudaError_t stream_put(cudaStream_t stream, std::function<void()> run);
/* A call that has to wait, or allocates, breaks the capture: of `stream`, or any. */
bool breaks_capture(cudaStream_t stream, bool any);

/* ---- launches -------------------------------------------------------------------------------- */

bool may_overlap(const work &w);
ahead work_ahead(const work &w);
void work_run(const work &w, ahead first);

} // namespace emu

#endif
