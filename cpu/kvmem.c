#include "kvmem.h"

#include "specd/util.h"

#include <string.h>

#define PART_ALIGN 64

static size_t element_bytes(const struct kvmem *kv)
{
    return kv->type == KV_F32 ? sizeof(float) : sizeof(uint16_t);
}

static size_t head_elements(const struct kvmem_role *r)
{
    return (size_t)r->head_dim * SPECD_BLOCK_TOKENS;
}

void kvmem_init(struct kvmem *kv, const struct net *const nets[MODEL_ROLES], enum kv_type type)
{
    memset(kv, 0, sizeof(*kv));
    kv->type = type;
    for (int i = 0; i < MODEL_ROLES; i++) {
        struct kvmem_role *r = &kv->roles[i];
        if (!nets[i])
            continue;
        r->n_layers = nets[i]->n_layers;
        r->n_kv_heads = nets[i]->n_kv_heads;
        r->head_dim = nets[i]->head_dim;
        size_t bytes = 2 * (size_t)r->n_kv_heads * head_elements(r) * element_bytes(kv);
        r->part_bytes = (bytes + PART_ALIGN - 1) / PART_ALIGN * PART_ALIGN;
    }
}

bool kvmem_block_bytes(const struct kvmem *kv, size_t *bytes)
{
    size_t sum = 0;
    for (int i = 0; i < MODEL_ROLES; i++) {
        size_t part;
        if (!size_mul(kv->roles[i].part_bytes, (size_t)kv->roles[i].n_layers, &part) ||
            !size_add(sum, part, &sum))
            return false;
    }
    *bytes = sum;
    return true;
}

void kvmem_layout(struct kvmem *kv, int32_t n_blocks, struct arena *a)
{
    kv->n_blocks = n_blocks;
    for (int i = 0; i < MODEL_ROLES; i++) {
        struct kvmem_role *r = &kv->roles[i];
        r->data = arena_take(a, (size_t)n_blocks * (size_t)r->n_layers, r->part_bytes);
    }
}

static char *part_of(const struct kvmem *kv, enum model_role role, int layer, int32_t block)
{
    const struct kvmem_role *r = &kv->roles[role];
    return r->data + ((size_t)layer * (size_t)kv->n_blocks + (size_t)block) * r->part_bytes;
}

static void narrow(uint16_t *y, int stride, const float *x, int n)
{
    for (int i = 0; i < n; i++)
        y[(ptrdiff_t)i * stride] = bf16_of_float(x[i]);
}

static void spread(float *y, int stride, const float *x, int n)
{
    for (int i = 0; i < n; i++)
        y[(ptrdiff_t)i * stride] = x[i];
}

void kvmem_write(const struct kvmem *kv, enum model_role role, int layer, int32_t block, int offset,
                 const float *k, const float *v)
{
    const struct kvmem_role *r = &kv->roles[role];
    int D = r->head_dim;
    size_t elements = head_elements(r), values = elements * (size_t)r->n_kv_heads;
    void *part = part_of(kv, role, layer, block);
    for (int g = 0; g < r->n_kv_heads; g++) {
        size_t key = (size_t)g * elements + (size_t)offset;
        size_t value = values + (size_t)g * elements + (size_t)offset * (size_t)D;
        if (kv->type == KV_F32) {
            spread((float *)part + key, SPECD_BLOCK_TOKENS, k + g * D, D);
            spread((float *)part + value, 1, v + g * D, D);
        } else {
            narrow((uint16_t *)part + key, SPECD_BLOCK_TOKENS, k + g * D, D);
            narrow((uint16_t *)part + value, 1, v + g * D, D);
        }
    }
}

/* A (rows, n) piece that starts `element` elements into a block's part. */
static void read_piece(const struct kvmem *kv, const struct ops *ops, const void *part,
                       size_t element, int from_stride, int rows, int n, float *out, int stride)
{
    if (kv->type != KV_F32) {
        ops->widen(out, stride, (const uint16_t *)part + element, from_stride, rows, n);
        return;
    }
    const float *from = (const float *)part + element;
    for (int i = 0; i < rows; i++)
        memcpy(out + (ptrdiff_t)i * stride, from + (ptrdiff_t)i * from_stride,
               (size_t)n * sizeof(float));
}

/* Where a head's keys and values start in a block's part, in elements. */
static size_t first_key(const struct kvmem_role *r, int head)
{
    return (size_t)head * head_elements(r);
}

static size_t first_value(const struct kvmem_role *r, int head)
{
    return ((size_t)r->n_kv_heads + (size_t)head) * head_elements(r);
}

void kvmem_keys(const struct kvmem *kv, const struct ops *ops, enum model_role role, int layer,
                int head, const int32_t *blocks, int pos, int n, float *out, int stride)
{
    const struct kvmem_role *r = &kv->roles[role];
    size_t element = first_key(r, head);
    for (int i = 0; i < n; i += SPECD_BLOCK_TOKENS) {
        const void *part = part_of(kv, role, layer, blocks[(pos + i) / SPECD_BLOCK_TOKENS]);
        read_piece(kv, ops, part, element, SPECD_BLOCK_TOKENS, r->head_dim, SPECD_BLOCK_TOKENS,
                   out + i, stride);
    }
}

void kvmem_values(const struct kvmem *kv, const struct ops *ops, enum model_role role, int layer,
                  int head, const int32_t *blocks, int pos, int n, float *out, int stride)
{
    const struct kvmem_role *r = &kv->roles[role];
    size_t element = first_value(r, head);
    for (int i = 0; i < n; i += SPECD_BLOCK_TOKENS) {
        const void *part = part_of(kv, role, layer, blocks[(pos + i) / SPECD_BLOCK_TOKENS]);
        read_piece(kv, ops, part, element, r->head_dim, MIN(SPECD_BLOCK_TOKENS, n - i), r->head_dim,
                   out + (ptrdiff_t)i * stride, stride);
    }
}
