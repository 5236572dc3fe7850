/*
 * cuBLASLt's product on the host: descriptions are checked when it is asked for, matrices when it
 * is launched, and the sums are made, in double, when the stream comes to it.
 */
#include "emu_cublaslt.h"

#include "emu.h"
#include "emu_impl.h"

#include <mutex>
#include <string.h>
#include <vector>

struct emu_cublaslt {
    int unused;
};

namespace
{

/* What the opaque structures hold. */
struct product {
    int32_t compute, scale, transposes[2], modes[2];
    const float *scales[2];
};
struct layout {
    int32_t type;
    uint64_t rows, cols;
    int64_t stride;
};
struct preference {
    uint64_t workspace;
    uint32_t alignments[4];
};
/* The product an algorithm is for. */
struct algorithm {
    uint64_t rows, cols, depth, strides;
    uint32_t kind, alignments[3], made, padding;
    uint64_t workspace;
};

struct operand {
    struct layout layout;
    const void *data;
};

/* All that running needs. */
struct work {
    struct product product;
    struct operand a, b;
    struct layout out;
    float *d;
    float alpha, beta;
    unsigned char *workspace;
    size_t workspace_bytes;
};

} // namespace

#define ALGORITHM_MADE 0x6c74616cu

static std::mutex lock; /* of what follows */
static bool allow_outer = true, allow_e4m3 = true;
static struct emu_cublaslt_counts counts;

template <class T, class O> static T of(const O *opaque)
{
    static_assert(sizeof(T) <= sizeof(O), "fits what NVIDIA's has room for");
    T t;
    memcpy(&t, opaque->data, sizeof(t));
    return t;
}

template <class T, class O> static void into(O *opaque, const T &t)
{
    memcpy(opaque->data, &t, sizeof(t));
}

/* ---- descriptions ---------------------------------------------------------------------------- */

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "success";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "invalid value";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "execution failed";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "not supported";
    }
    return "unknown status";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *out)
{
    *out = new emu_cublaslt();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t desc, cublasComputeType_t compute,
                                      cudaDataType scale)
{
    into(desc, product{compute, scale, {0, 0}, {0, 0}, {nullptr, nullptr}});
    return CUBLAS_STATUS_SUCCESS;
}

/* A value of another size than the attribute's is refused, as by the library. */
template <class T> static cublasStatus_t set(T *field, const void *value, size_t bytes)
{
    if (bytes != sizeof(T))
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(field, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t which,
                                              const void *value, size_t bytes)
{
    product p = of<product>(desc);
    cublasStatus_t s = CUBLAS_STATUS_INVALID_VALUE;

    switch (which) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
    case CUBLASLT_MATMUL_DESC_TRANSB:
        s = set(&p.transposes[which - CUBLASLT_MATMUL_DESC_TRANSA], value, bytes);
        break;
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER:
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER:
        s = set(&p.scales[which - CUBLASLT_MATMUL_DESC_A_SCALE_POINTER], value, bytes);
        break;
    case CUBLASLT_MATMUL_DESC_A_SCALE_MODE:
    case CUBLASLT_MATMUL_DESC_B_SCALE_MODE:
        s = set(&p.modes[which - CUBLASLT_MATMUL_DESC_A_SCALE_MODE], value, bytes);
        break;
    }
    into(desc, p);
    return s;
}

cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t out, cudaDataType type,
                                        uint64_t rows, uint64_t cols, int64_t stride)
{
    into(out, layout{type, rows, cols, stride});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreference_t out)
{
    into(out, preference{0, {256, 256, 256, 256}});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t out,
                                                    cublasLtMatmulPreferenceAttributes_t which,
                                                    const void *value, size_t bytes)
{
    preference p = of<preference>(out);
    cublasStatus_t s =
        which == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES
            ? set(&p.workspace, value, bytes)
            : set(&p.alignments[which - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);

    into(out, p);
    return s;
}

/* ---- what can be run ------------------------------------------------------------------------- */

static bool is_outer(const product &p)
{
    return p.modes[0] == CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
}

/* Of the shapes alone. */
static bool shapes_fit(const product &p, const layout &a, const layout &b, const layout &c,
                       const layout &d)
{
    return p.compute == CUBLAS_COMPUTE_32F && p.scale == CUDA_R_32F &&
           p.transposes[0] == CUBLAS_OP_T && p.transposes[1] == CUBLAS_OP_N && a.type == b.type &&
           a.rows == b.rows && d.rows == a.cols && d.cols == b.cols && a.rows > 0 && a.cols > 0 &&
           b.cols > 0 && a.stride >= (int64_t)a.rows && b.stride >= (int64_t)b.rows &&
           d.stride >= (int64_t)d.rows && d.type == CUDA_R_32F && c.type == d.type &&
           c.rows == d.rows && c.cols == d.cols && c.stride == d.stride;
}

/* Tensor cores' e4m3 wants whole 16 bytes each way, and channels by the sixteen. */
static bool types_fit(const product &p, const layout &a, const layout &b, const layout &d,
                      const preference &f)
{
    if (p.modes[0] != p.modes[1] || (p.modes[0] != 0 && !is_outer(p)))
        return false;
    if (is_outer(p) ? !p.scales[0] || !p.scales[1] : p.scales[0] || p.scales[1])
        return false;
    if (a.type == CUDA_R_16BF)
        return !is_outer(p) && f.alignments[0] >= 2 && f.alignments[1] >= 2;
    if (a.type != CUDA_R_8F_E4M3 || !allow_e4m3 || (is_outer(p) && !allow_outer))
        return false;
    for (uint32_t alignment : f.alignments) {
        if (alignment < 16)
            return false;
    }
    return a.rows % 16 == 0 && a.cols % 16 == 0 && a.stride % 16 == 0 && b.stride % 16 == 0 &&
           d.stride % 4 == 0;
}

static algorithm algorithm_of(const product &p, const layout &a, const layout &b, const layout &d)
{
    algorithm g;

    memset(&g, 0, sizeof(g));
    g.rows = a.cols;
    g.cols = b.cols;
    g.depth = a.rows;
    g.strides = (uint64_t)a.stride * 0x9e3779b97f4a7c15u + (uint64_t)b.stride * 0x7feb352du +
                (uint64_t)d.stride;
    g.kind = (uint32_t)(a.type * 8 + p.modes[0]);
    g.made = ALGORITHM_MADE;
    return g;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t wishes, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int *n)
{
    std::lock_guard<std::mutex> locked(lock);
    product p = of<product>(desc);
    layout la = of<layout>(a), lb = of<layout>(b), ld = of<layout>(d);
    preference f = of<preference>(wishes);

    *n = 0;
    if (!handle || wanted < 1 || !shapes_fit(p, la, lb, of<layout>(c), ld))
        return CUBLAS_STATUS_INVALID_VALUE;
    counts.asked++;
    if (!types_fit(p, la, lb, ld, f))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    algorithm g = algorithm_of(p, la, lb, ld);
    g.workspace =
        (g.rows * 7919 + g.cols * 104729 + g.depth) % (f.workspace < 4096 ? f.workspace + 1 : 4096);
    for (int i = 0; i < 3; i++)
        g.alignments[i] = f.alignments[i];
    memset(results, 0, sizeof(*results));
    into(&results->algo, g);
    results->workspaceSize = (size_t)g.workspace;
    *n = 1;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- running --------------------------------------------------------------------------------- */

static double e4m3_value(uint8_t code)
{
    int e = code >> 3 & 15, m = code & 7;
    double v = e == 15 && m == 7 ? (double)NAN : e == 0 ? ldexp(m, -9) : ldexp(8 + m, e - 10);

    return code & 0x80 ? -v : v;
}

/* Column i of an operand. */
static void column_read(const operand &o, uint64_t i, double *out)
{
    const uint8_t *bytes = (const uint8_t *)o.data + i * (uint64_t)o.layout.stride;
    const uint16_t *words = (const uint16_t *)o.data + i * (uint64_t)o.layout.stride;

    for (uint64_t k = 0; k < o.layout.rows; k++)
        out[k] = o.layout.type == CUDA_R_16BF ? (double)__uint_as_float((unsigned)words[k] << 16)
                                              : e4m3_value(bytes[k]);
}

static void work_run(const work &w)
{
    uint64_t depth = w.a.layout.rows;
    std::vector<double> a(depth * w.out.rows), b(depth);

    for (uint64_t i = 0; i < w.out.rows; i++)
        column_read(w.a, i, a.data() + i * depth);
    for (uint64_t j = 0; j < w.out.cols; j++) {
        column_read(w.b, j, b.data());
        for (uint64_t i = 0; i < w.out.rows; i++) {
            float *d = w.d + j * (uint64_t)w.out.stride + i;
            double sum = 0;
            for (uint64_t k = 0; k < depth; k++)
                sum += a[i * depth + k] * b[k];
            sum *= (double)w.alpha;
            if (is_outer(w.product))
                sum *= (double)w.product.scales[0][i] * (double)w.product.scales[1][j];
            *d = (float)(w.beta == 0.0f ? sum : sum + (double)w.beta * (double)*d);
        }
    }
    uint64_t noise = w.out.rows * 0x9e3779b97f4a7c15u + w.workspace_bytes;
    for (size_t i = 0; i < w.workspace_bytes; i++) {
        noise = noise * 6364136223846793005u + 1442695040888963407u;
        w.workspace[i] = (unsigned char)(noise >> 56);
    }
}

static bool is_matrix(const layout &l, const void *data, uint32_t alignment)
{
    size_t element = l.type == CUDA_R_32F ? 4 : l.type == CUDA_R_16BF ? 2 : 1;

    return (uintptr_t)data % alignment == 0 &&
           emu_on_device(data, ((l.cols - 1) * (uint64_t)l.stride + l.rows) * element);
}

static bool is_for(const algorithm &g, const product &p, const layout &a, const layout &b,
                   const layout &d)
{
    algorithm fits = algorithm_of(p, a, b, d);

    return g.made == fits.made && g.rows == fits.rows && g.cols == fits.cols &&
           g.depth == fits.depth && g.strides == fits.strides && g.kind == fits.kind;
}

static bool scales_fit(const product &p, const layout &d)
{
    if (!is_outer(p))
        return !p.scales[0] && !p.scales[1];
    return emu_on_device(p.scales[0], d.rows * sizeof(float)) &&
           emu_on_device(p.scales[1], d.cols * sizeof(float));
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    algorithm g = of<algorithm>(algo);
    work w;

    w.product = of<product>(desc);
    w.a = {of<layout>(a_layout), a};
    w.b = {of<layout>(b_layout), b};
    w.out = of<layout>(d_layout);
    w.d = (float *)d;
    memcpy(&w.alpha, alpha, sizeof(w.alpha));
    memcpy(&w.beta, beta, sizeof(w.beta));
    w.workspace = (unsigned char *)workspace;
    w.workspace_bytes = (size_t)g.workspace;
    if (!handle || c != d ||
        !shapes_fit(w.product, w.a.layout, w.b.layout, of<layout>(c_layout), w.out) ||
        !is_for(g, w.product, w.a.layout, w.b.layout, w.out) || !scales_fit(w.product, w.out))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!is_matrix(w.a.layout, a, g.alignments[0]) || !is_matrix(w.b.layout, b, g.alignments[1]) ||
        !is_matrix(w.out, d, g.alignments[2]))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (g.workspace > workspace_bytes || (uintptr_t)workspace % 256 ||
        !emu_on_device(workspace, workspace_bytes))
        return CUBLAS_STATUS_INVALID_VALUE;
    {
        std::lock_guard<std::mutex> locked(lock);
        counts.products++;
        counts.outer += is_outer(w.product);
        counts.e4m3 += w.a.layout.type == CUDA_R_8F_E4M3;
    }
    return emu_put(stream, [=] { work_run(w); }) == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                                : CUBLAS_STATUS_EXECUTION_FAILED;
}

/* ---- the emulator's own ---------------------------------------------------------------------- */

void emu_cublaslt_allow(bool outer_scales, bool e4m3)
{
    std::lock_guard<std::mutex> locked(lock);

    allow_outer = outer_scales;
    allow_e4m3 = e4m3;
}

struct emu_cublaslt_counts emu_cublaslt_counted(void)
{
    std::lock_guard<std::mutex> locked(lock);

    return counts;
}
