#include "gemm_lt.h"

#include "specd/error.h"
#include "specd/util.h"

#include <string.h>

static int lt_result(cublasStatus_t status, const char *what)
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return 0;
    log_error("cublasLt: %s: %s", what, cublasLtGetStatusString(status));
    return SPECD_EDEVICE;
}

/* ---- descriptions ---------------------------------------------------------------------------- */

/* What the library calls opaque, it allows on the stack. */
struct description {
    cublasLtMatmulDescOpaque_t product;
    cublasLtMatrixLayoutOpaque_t weights, x, out;
};

static cublasStatus_t product_set(struct description *d, cublasLtMatmulDescAttributes_t which,
                                  const void *value, size_t bytes)
{
    return cublasLtMatmulDescSetAttribute(&d->product, which, value, bytes);
}

static cublasStatus_t scales_set(struct description *d, const struct lt_product *p)
{
    int32_t mode = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    cublasStatus_t s = product_set(d, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &mode, sizeof(mode));

    if (!s)
        s = product_set(d, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &mode, sizeof(mode));
    if (!s)
        s = product_set(d, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &p->channel_scales,
                        sizeof(p->channel_scales));
    if (!s)
        s = product_set(d, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &p->row_scales,
                        sizeof(p->row_scales));
    return s;
}

static cublasStatus_t describe(struct description *d, const struct lt_product *p)
{
    cudaDataType type = p->way == LT_BF16 ? CUDA_R_16BF : CUDA_R_8F_E4M3;
    cublasOperation_t transpose = CUBLAS_OP_T;
    uint64_t n = (uint64_t)p->n, k = (uint64_t)p->k, rows = (uint64_t)p->rows;
    cublasStatus_t s = cublasLtMatmulDescInit(&d->product, CUBLAS_COMPUTE_32F, CUDA_R_32F);

    if (!s)
        s = product_set(d, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof(transpose));
    if (!s && p->way == LT_FP8_SCALED)
        s = scales_set(d, p);
    if (!s)
        s = cublasLtMatrixLayoutInit(&d->weights, type, k, n, p->w_stride);
    if (!s)
        s = cublasLtMatrixLayoutInit(&d->x, type, k, rows, p->x_stride);
    if (!s)
        s = cublasLtMatrixLayoutInit(&d->out, CUDA_R_32F, n, rows, p->out_stride);
    return s;
}

/* ---- algorithms ------------------------------------------------------------------------------ */

static uint32_t alignment_of(const void *p)
{
    uintptr_t at = (uintptr_t)p;

    return at % 256 ? (uint32_t)(at & -at) : 256;
}

/* Without these the library takes pointers to be 256-byte aligned. */
static cublasStatus_t prefer(cublasLtMatmulPreferenceOpaque_t *f, const struct gemm_lt *lt,
                             const struct lt_product *p)
{
    const struct {
        cublasLtMatmulPreferenceAttributes_t which;
        uint32_t bytes;
    } aligned[] = {
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(p->weights)},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(p->x)},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(p->out)},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(p->out)},
    };
    uint64_t workspace = lt->workspace_bytes;
    cublasStatus_t s = cublasLtMatmulPreferenceInit(f);

    if (!s)
        s = cublasLtMatmulPreferenceSetAttribute(f, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                 &workspace, sizeof(workspace));
    for (size_t i = 0; !s && i < COUNT_OF(aligned); i++)
        s = cublasLtMatmulPreferenceSetAttribute(f, aligned[i].which, &aligned[i].bytes,
                                                 sizeof(aligned[i].bytes));
    return s;
}

/* A refusal is an answer; it stands for every later product like this one. */
static bool ask(struct gemm_lt *lt, const struct lt_product *p, cublasLtMatmulAlgo_t *out)
{
    struct description d;
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasLtMatmulHeuristicResult_t result;
    int n = 0;

    if (describe(&d, p) || prefer(&preference, lt, p) ||
        cublasLtMatmulAlgoGetHeuristic(lt->handle, &d.product, &d.weights, &d.x, &d.out, &d.out,
                                       &preference, 1, &result, &n) ||
        n < 1 || result.state != CUBLAS_STATUS_SUCCESS)
        return false;
    *out = result.algo;
    return true;
}

/* All that a choice depends on; whether sums are added to what is there, the library does not ask.
 */
static struct lt_choice *choice_of(struct gemm_lt *lt, const struct lt_product *p)
{
    const int32_t key[COUNT_OF(lt->kept->key)] = {
        (int32_t)p->way + 1,
        p->n,
        p->k,
        p->rows,
        p->w_stride,
        p->x_stride,
        p->out_stride,
        (int32_t)alignment_of(p->weights),
        (int32_t)alignment_of(p->x),
        (int32_t)alignment_of(p->out),
    };
    uint32_t hash = 2166136261u;
    struct lt_choice *c;

    for (size_t i = 0; i < COUNT_OF(key); i++)
        hash = (hash ^ (uint32_t)key[i]) * 16777619u;
    c = &lt->kept[(hash ^ hash >> 16) % LT_KEPT];
    if (memcmp(c->key, key, sizeof(key)) != 0) {
        memcpy(c->key, key, sizeof(key));
        c->possible = ask(lt, p, &c->algo);
    }
    return c;
}

/* ---- the interface --------------------------------------------------------------------------- */

int gemm_lt_open(struct gemm_lt *lt)
{
    return lt_result(cublasLtCreate(&lt->handle), "cannot be started");
}

void gemm_lt_close(struct gemm_lt *lt)
{
    if (lt->handle)
        cublasLtDestroy(lt->handle);
    lt->handle = NULL;
}

bool gemm_lt_can(struct gemm_lt *lt, const struct lt_product *p)
{
    return choice_of(lt, p)->possible;
}

int gemm_lt_run(struct gemm_lt *lt, const struct lt_product *p, cudaStream_t stream)
{
    const struct lt_choice *c = choice_of(lt, p);
    const float one = 1.0f, beta = p->add ? 1.0f : 0.0f;
    struct description d;

    if (!c->possible) {
        log_error("cublasLt: no way to multiply %d rows by %d x %d", p->rows, p->n, p->k);
        return SPECD_EDEVICE;
    }
    cublasStatus_t s = describe(&d, p);
    if (!s)
        s = cublasLtMatmul(lt->handle, &d.product, &one, p->weights, &d.weights, p->x, &d.x, &beta,
                           p->out, &d.out, p->out, &d.out, &c->algo, lt->workspace,
                           lt->workspace_bytes, stream);
    return lt_result(s, "product");
}
