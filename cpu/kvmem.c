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
        r->head_dim = nets[i]->head_dim;
        r->width = kvmem_width(r->head_dim);
        r->keys_bytes = rows_bytes(kv, r->head_dim, KV_LANES);
        r->values_bytes = rows_bytes(kv, SPECD_BLOCK_TOKENS, r->width);
        for (int j = 0; j < r->n_layers; j++) {
            const struct net_layer *l = &nets[i]->layers[j];
            r->layers[j].n_kv_heads = l->n_kv_heads;
            r->layers[j].windowed = i == MODEL_TARGET && l->window > 0;
        }
    }
}

/* Of one layer in one block. */
static size_t layer_bytes(const struct kvmem_role *r, int layer)
{
    return (size_t)r->layers[layer].n_kv_heads * (r->keys_bytes + r->values_bytes);
}

bool kvmem_block_bytes(const struct kvmem *kv, size_t *bytes, size_t *window_bytes)
{
    *bytes = *window_bytes = 0;
    for (int i = 0; i < MODEL_ROLES; i++) {
        const struct kvmem_role *r = &kv->roles[i];
        for (int j = 0; j < r->n_layers; j++) {
            size_t *to = r->layers[j].windowed ? window_bytes : bytes;
            if (!size_add(*to, layer_bytes(r, j), to))
                return false;
        }
    }
    return true;
}

/* Whether the layer's blocks are of a group of their own. */
static bool is_apart(const struct kvmem *kv, enum model_role role, int layer)
{
    return kv->n_window_blocks > 0 && kv->roles[role].layers[layer].windowed;
}

static size_t blocks_of(const struct kvmem *kv, enum model_role role, int layer)
{
    return (size_t)(is_apart(kv, role, layer) ? kv->n_window_blocks : kv->n_blocks);
}

void kvmem_layout(struct kvmem *kv, int32_t n_blocks, int32_t n_window_blocks, int32_t entries,
                  struct arena *a)
{
    kv->n_blocks = n_blocks;
    kv->n_window_blocks = n_window_blocks;
    kv->window_entries = entries;
    for (int i = 0; i < MODEL_ROLES; i++) {
        struct kvmem_role *r = &kv->roles[i];
        for (int j = 0; j < r->n_layers; j++)
            r->layers[j].data =
                arena_take(a, blocks_of(kv, (enum model_role)i, j), layer_bytes(r, j));
    }
}

int32_t kvmem_entries(const struct kvmem *kv, enum model_role role, int layer)
{
    return is_apart(kv, role, layer) ? kv->window_entries : 0;
}

/* Where a head's keys in all blocks start; behind them, its values in all blocks. */
static char *head_data(const struct kvmem *kv, enum model_role role, int layer, int head)
{
    const struct kvmem_role *r = &kv->roles[role];
    size_t before = (size_t)head * blocks_of(kv, role, layer);
    return r->layers[layer].data + before * (r->keys_bytes + r->values_bytes);
}

void *kvmem_keys(const struct kvmem *kv, enum model_role role, int layer, int head, int32_t block)
{
    return head_data(kv, role, layer, head) + (size_t)block * kv->roles[role].keys_bytes;
}

void *kvmem_values(const struct kvmem *kv, enum model_role role, int layer, int head, int32_t block)
{
    const struct kvmem_role *r = &kv->roles[role];
    return head_data(kv, role, layer, head) + blocks_of(kv, role, layer) * r->keys_bytes +
           (size_t)block * r->values_bytes;
}

static void write_f32(float *keys, float *values, int offset, int width, const float *k,
                      const float *v, int n)
{
    for (int i = 0; i < n; i++)
        keys[i * KV_LANES + offset] = k[i];
    memcpy(values + offset * width, v, (size_t)n * sizeof(*v));
}

/* Keys go in as pairs of rows; of a pair of values another thread may be writing the other. */
static void write_bf16(const struct ops *ops, uint16_t *keys, uint16_t *values, int offset,
                       int width, const float *k, const float *v, int n)
{
    uint16_t narrow[MODEL_HEAD_DIM_MAX + 1];
    ops->narrow(narrow, k, n);
    narrow[n] = 0;
    for (int i = 0; i < n; i += 2)
        memcpy(keys + (i / 2 * KV_LANES + offset) * 2, narrow + i, 2 * sizeof(*narrow));
    ops->narrow(narrow, v, n);
    values += offset / 2 * width * 2 + offset % 2;
    for (int i = 0; i < n; i++)
        values[i * 2] = narrow[i];
}

void kvmem_write(const struct kvmem *kv, enum model_role role, int layer, int32_t block, int offset,
                 const float *k, const float *v)
{
    const struct kvmem_role *r = &kv->roles[role];
    const struct ops *ops = ops_get();
    int D = r->head_dim;
    for (int g = 0; g < r->layers[layer].n_kv_heads; g++, k += D, v += D) {
        void *keys = kvmem_keys(kv, role, layer, g, block);
        void *values = kvmem_values(kv, role, layer, g, block);
        if (kv->type == KV_F32)
            write_f32(keys, values, offset, r->width, k, v, D);
        else
            write_bf16(ops, keys, values, offset, r->width, k, v, D);
    }
}
