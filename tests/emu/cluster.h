/*
 * cluster.h - a cluster of blocks as it runs: its threads and what they wait for, its shared
 * memory.
 */
#ifndef SPECD_EMU_CLUSTER_H
#define SPECD_EMU_CLUSTER_H

#include "emu.h"
#include "emu_impl.h"
#include "fiber.h"

#include <deque>
#include <vector>

#define WARP 32
#define COPY_BYTES 16

/* A namespace: the kernels that are linked with this have a `lane` and a `work` too. */
namespace emu
{

/* What a thread waits for, or has come to. */
enum wait { READY, AT_BLOCK_BARRIER, AT_CLUSTER_BARRIER, IN_WARP, AT_GRID_WAIT, EXITED };

/* What a lane brings to a warp operation and where it wants what: one lane's value, or all. */
struct lane {
    uint64_t mine, *out;
    unsigned mask;
    int from; /* < 0: all 32 */
};

/* An asynchronous copy that has not arrived yet. */
struct copy {
    void *to;
    const void *from;
    int bytes, group;
    bool was_read; /* already, into `read` */
    char read[COPY_BYTES];
};

struct thread {
    struct fiber fiber;
    char *stack;
    size_t stack_bytes;
    struct emu_position here;
    emu_block *block;
    int index;   /* in the block */
    bool slow;   /* runs only when no other can */
    bool waited; /* for the launch ahead */
    enum wait wait;
    emu_site site; /* where it waits */
    struct lane lane;
    std::vector<copy> copies;
    int n_groups;   /* of copies that were committed */
    int n_products; /* of matrices */
};

struct shared {
    const void *site;
    char *memory;
    size_t align, bytes;
};

/* Lanes that wait in a warp operation, and that have exited; what each brings to a matrix product,
 * a[4] and b[2], in turns: a lane may bring the next before another has read the last. */
struct warp {
    unsigned waiting, exited;
    uint32_t fragments[2][WARP][6];
};

} // namespace emu

using namespace emu;

struct emu_block {
    std::vector<thread *> threads;
    emu_site barrier; /* where those that wait do so */
    int n_started, n_waiting, n_exited, n_true;
    int result; /* of the last barrier */
    std::vector<warp> warps;
    std::vector<shared> shared_arrays;
    shared dynamic;
};

/* A cluster that runs, with the threads it is made of; used again for others. */
struct emu_cluster {
    const emu_launch *launch;
    const emu_call *call;
    uint32_t number; /* in the launch */
    bool is_ahead;   /* of the end of the launch before */
    std::vector<emu_block> blocks;
    std::vector<thread *> ready, ready_slow;
    std::deque<thread> threads; /* every one there ever was: their stacks are used again */
    size_t n_used;
    int n_at_cluster_barrier, n_live;
    struct fiber host;
    thread *current;
    uint64_t random;
    long long clock;
};

namespace emu
{

extern emu_cluster *run; /* the one that runs, or ran last */

uint32_t random_below(uint32_t n);
void make_ready(thread *t);
/* Gives way to a ready thread; comes back when somebody made this one ready and it was drawn. */
void give_way(void);
bool same_site(emu_site a, emu_site b);
/* The lane of the warp that starts at thread `first`, NULL if the block has no such thread. */
thread *lane_of(int first, int lane);

/* Shared memory of a block: an array for a declaration, or with NULL what the launch asked for. */
shared shared_make(const void *site, size_t align, size_t bytes);
void shared_free(const shared &s);

} // namespace emu

#endif
