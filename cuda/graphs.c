#include "graphs.h"

#include "specd/round_rules.h"
#include "specd/util.h"

#include <string.h>

#define ROWS_TILE 8 /* rows that a product's smallest tile takes at once */

/* Nodes: of a layer, of a pass around its layers, of sampling after a draft step, of the rest. */
#define LAYER_NODES 9
#define PASS_NODES 4
#define STEP_NODES 5
#define TRIM_NODES 2 /* of a draft step whose slots draft some ids only */
#define ROUND_NODES 8
/* A kernel node with its parameters, in the driver's hands: what is commonly seen, not measured. */
#define NODE_BYTES 2048

/* ---- shapes ---------------------------------------------------------------------------------- */

/* Of a pass of n rows the next size that its kernels are made for. */
static int32_t rows_up(int32_t n)
{
    int32_t rows = ROWS_TILE;

    while (rows < n)
        rows *= 2;
    return rows;
}

static int32_t rows_most(const struct device_setup *setup, int32_t n_seqs)
{
    return n_seqs * (setup->k_max + 1);
}

struct shape_list {
    struct round_shape *shapes;
    const struct device_setup *setup;
    int n;
};

static void add(struct shape_list *l, int32_t n_seqs, int32_t n_steps, int32_t n_rows)
{
    /* One or two rows to a sequence are packed tightly by attention, which padding would hide. */
    int32_t rows = n_rows <= 2 * n_seqs ? n_rows : rows_up(n_rows);
    struct round_shape s = {n_seqs, n_steps, MIN(rows, rows_most(l->setup, n_seqs))};

    for (int i = 0; i < l->n; i++) {
        if (memcmp(&l->shapes[i], &s, sizeof(s)) == 0)
            return;
    }
    if (l->n < GRAPHS_MAX)
        l->shapes[l->n++] = s;
}

/* Draft lengths that a batch's graphs have: every one up to 4, then even ones, then powers. */
static int32_t next_steps(int32_t k)
{
    return k < 4 ? k + 1 : k < 8 ? k + 2 : 2 * k;
}

static void add_batches(struct shape_list *l, int32_t n_seqs, bool has_draft)
{
    int32_t k_max = l->setup->k_max, steps = setup_k_draft(l->setup);

    add(l, n_seqs, 0, n_seqs);
    if (k_max > 0) /* drafts of the host's */
        add(l, n_seqs, 0, n_seqs * (MIN(k_max, 4) + 1));
    for (int32_t k = 1; has_draft && k < steps; k = next_steps(k))
        add(l, n_seqs, k, n_seqs * (k + 1));
    if (has_draft && steps > 0)
        add(l, n_seqs, steps, n_seqs * (steps + 1));
}

int graph_shapes(struct round_shape shapes[GRAPHS_MAX], const struct device_setup *setup,
                 bool has_draft)
{
    struct shape_list l = {.shapes = shapes, .setup = setup};

    for (int32_t k = 0; k <= setup->k_max; k++) {
        add(&l, 1, 0, k + 1);
        if (has_draft && k <= setup_k_draft(setup))
            add(&l, 1, k, k + 1);
    }
    for (int32_t n = 4; n < 4 * setup->n_slots && setup->n_slots > 1; n *= 4)
        add_batches(&l, MIN(n, setup->n_slots), has_draft);
    return l.n;
}

uint64_t graph_bytes(const struct device_setup *setup, int target_layers, int draft_layers)
{
    struct round_shape shapes[GRAPHS_MAX];
    int n = setup->eager ? 0 : graph_shapes(shapes, setup, draft_layers > 0);
    uint64_t nodes = 0;

    for (int i = 0; i < n; i++)
        nodes += (uint64_t)(ROUND_NODES + PASS_NODES + LAYER_NODES * target_layers) +
                 (uint64_t)shapes[i].n_steps *
                     (uint64_t)(STEP_NODES + (setup->trims_draft ? TRIM_NODES : 0) + PASS_NODES +
                                LAYER_NODES * draft_layers);
    return nodes * NODE_BYTES;
}

/* ---- capture --------------------------------------------------------------------------------- */

static cudaError_t record(struct gpu_rounds *rounds, const struct round_shape *shape,
                          cudaStream_t stream, cudaGraph_t *out)
{
    cudaError_t rc = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);

    if (rc != cudaSuccess)
        return rc;
    int launched = gpu_rounds_decode(rounds, shape, stream);

    rc = cudaStreamEndCapture(stream, out); /* also ends one that failed */
    return launched != 0 && rc == cudaSuccess ? cudaErrorLaunchFailure : rc;
}

/* Uploaded too: its first launch would do that, and would take memory when it is too late. */
static cudaError_t capture(struct gpu_rounds *rounds, const struct round_shape *shape,
                           cudaStream_t stream, cudaGraphExec_t *out)
{
    cudaGraph_t graph = NULL;
    cudaError_t rc = record(rounds, shape, stream, &graph);

    *out = NULL;
    if (rc == cudaSuccess)
        rc = cudaGraphInstantiate(out, graph, 0);
    if (rc == cudaSuccess)
        rc = cudaGraphUpload(*out, stream);
    if (graph)
        cudaGraphDestroy(graph);
    return rc;
}

int gpu_graphs_capture(struct gpu_graphs *g, struct gpu_rounds *rounds,
                       const struct device_setup *setup, cudaStream_t stream)
{
    struct round_shape shapes[GRAPHS_MAX];
    int n = graph_shapes(shapes, setup, rounds->state.n_vocab_draft > 0);

    for (int i = 0; i < n; i++) {
        cudaError_t rc = capture(rounds, &shapes[i], stream, &g->execs[i]);

        if (g->execs[i])
            g->shapes[g->n++] = shapes[i];
        if (rc != cudaSuccess) {
            (void)cudaGetLastError(); /* told here */
            log_error("cuda: capturing a round: %s", cudaGetErrorString(rc));
            return rc == cudaErrorMemoryAllocation ? SPECD_ENOMEM : SPECD_EDEVICE;
        }
    }
    return 0;
}

void gpu_graphs_close(struct gpu_graphs *g)
{
    for (int i = 0; i < g->n; i++)
        cudaGraphExecDestroy(g->execs[i]);
    g->n = 0;
}

/* ---- choice ---------------------------------------------------------------------------------- */

/* A draft step in which nobody takes part reads no weights, but its launches take their time; rows
 * that are not live cost the products some of theirs. */
static int64_t waste(const struct round_shape *have, const struct round_shape *want)
{
    return 4 * (int64_t)(have->n_steps - want->n_steps) + (have->n_rows - want->n_rows);
}

cudaGraphExec_t gpu_graphs_find(const struct gpu_graphs *g, const struct round_shape *shape)
{
    int best = -1;

    for (int i = 0; i < g->n; i++) {
        if (shape_holds(&g->shapes[i], shape) &&
            (best < 0 || waste(&g->shapes[i], shape) < waste(&g->shapes[best], shape)))
            best = i;
    }
    /* Twice the rows are twice the work of every product once there are many. */
    if (best < 0 || g->shapes[best].n_rows > MAX(4 * shape->n_rows, 64))
        return NULL;
    return g->execs[best];
}
