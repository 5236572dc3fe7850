#include "kvmem.h"

#include "specd/util.h"

#include <string.h>

static size_t element_bytes(const struct kvmem *kv)
{
    return kv->type == KV_F32 ? sizeof(float) : sizeof(uint16_t);
}

int kvmem_width(int head_dim)
{
    return (head_dim + KV_LANES - 1) / KV_LANES * KV_LANES;
}

/* Bytes of `rows` rows of keys or values. bf16 has room for a last row's partner. */
static size_t rows_bytes(const struct kvmem *kv, int rows, int width)
{
    size_t padded = kv->type == KV_F32 ? (size_t)rows : ((size_t)rows + 1) / 2 * 2;
    return padded * (size_t)width * element_bytes(kv);
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
        r->width = kvmem_width(r->head_dim);
        r->keys_bytes = rows_bytes(kv, r->head_dim, KV_LANES);
        r->values_bytes = rows_bytes(kv, SPECD_BLOCK_TOKENS, r->width);
        r->layer_bytes = (size_t)r->n_kv_heads * (r->keys_bytes + r->values_bytes);
    }
}

bool kvmem_block_bytes(const struct kvmem *kv, size_t *bytes)
{
    size_t sum = 0;
    for (int i = 0; i < MODEL_ROLES; i++) {
        size_t part;
        if (!size_mul(kv->roles[i].layer_bytes, (size_t)kv->roles[i].n_layers, &part) ||
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
        r->data = arena_take(a, (size_t)n_blocks * (size_t)r->n_layers, r->layer_bytes);
    }
}

/* Where a head's keys in all blocks start; behind them, its values in all blocks. */
static char *head_data(const struct kvmem *kv, enum model_role role, int layer, int head)
{
    const struct kvmem_role *r = &kv->roles[role];
    size_t index = (size_t)layer * (size_t)r->n_kv_heads + (size_t)head;
    return r->data + index * (size_t)kv->n_blocks * (r->keys_bytes + r->values_bytes);
}

void *kvmem_keys(const struct kvmem *kv, enum model_role role, int layer, int head, int32_t block)
{
    return head_data(kv, role, layer, head) + (size_t)block * kv->roles[role].keys_bytes;
}

void *kvmem_values(const struct kvmem *kv, enum model_role role, int layer, int head, int32_t block)
{
    const struct kvmem_role *r = &kv->roles[role];
    return head_data(kv, role, layer, head) + (size_t)kv->n_blocks * r->keys_bytes +
           (size_t)block * r->values_bytes;
}

/* x into rows row, row + row_step ... and lanes lane, lane + lane_step ... of keys or values. */
static void put(const struct kvmem *kv, void *rows, int width, int row, int row_step, int lane,
                int lane_step, const float *x, int n)
{
    for (int i = 0; i < n; i++, row += row_step, lane += lane_step) {
        if (kv->type == KV_F32)
            ((float *)rows)[row * width + lane] = x[i];
        else
            ((uint16_t *)rows)[(row / 2 * width + lane) * 2 + row % 2] = bf16_of_float(x[i]);
    }
}

void kvmem_write(const struct kvmem *kv, enum model_role role, int layer, int32_t block, int offset,
                 const float *k, const float *v)
{
    const struct kvmem_role *r = &kv->roles[role];
    int D = r->head_dim;
    for (int g = 0; g < r->n_kv_heads; g++) {
        put(kv, kvmem_keys(kv, role, layer, g, block), KV_LANES, 0, 1, offset, 0, k + g * D, D);
        put(kv, kvmem_values(kv, role, layer, g, block), r->width, offset, 0, 0, 1, v + g * D, D);
    }
}
