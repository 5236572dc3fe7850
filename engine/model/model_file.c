#include "model/model_file.h"

#include "model/field.h"
#include "model/gguf.h"
#include "model/gguf_model.h"
#include "model/gguf_split.h"
#include "model/gguf_vocab.h"
#include "model/hf_config.h"
#include "model/hf_vocab.h"
#include "model/mapping.h"
#include "model/safetensors.h"
#include "model/weights.h"
#include "specd/error.h"
#include "specd/utf8.h"
#include "specd/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_BYTES_MAX 3072 /* leaves room for file names in a folder */

/* Multiply-and-fold over 8-byte words; the remainder is padded with zeros and told apart by len. */
static uint64_t hash_bytes(uint64_t h, const uint8_t *data, size_t len)
{
    h ^= len * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = 0;
        memcpy(&word, data + i, MIN(len - i, 8));
        h = (h ^ word) * UINT64_C(0xd6e8feb86659fd93);
        h ^= h >> 32;
    }
    return h;
}

/* Cuts at a whole character and replaces what a log line or a JSON answer should not carry. */
static void set_name(struct model_file *mf, const char *name, size_t len)
{
    const uint8_t *s = (const uint8_t *)name;
    size_t n = 0;
    for (size_t i = 0, k; i < len; i += k) {
        k = utf8_length(s + i, len - i);
        bool ok = k > 0 && s[i] >= ' ' && s[i] != 0x7f;
        k = ok ? k : 1;
        if (n + k >= sizeof mf->name)
            break;
        memcpy(mf->name + n, ok ? name + i : "?", k);
        n += k;
    }
    mf->name[n] = '\0';
}

/* The last component of a path, without a .gguf at its end, and which of several files it is. */
static void set_base_name(struct model_file *mf, const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    static const char suffix[] = ".gguf";
    size_t k = sizeof suffix - 1;
    if (end - start > k && memcmp(path + end - k, suffix, k) == 0)
        end -= k;
    set_name(mf, path + start, gguf_split_prefix(path + start, end - start));
}

static struct mapping *add_map(struct model_file *mf)
{
    struct mapping *map = &mf->maps[mf->n_maps++];
    *map = (struct mapping){0};
    return map;
}

/* A tokenizer may have fewer tokens than the embedding has rows, never more. */
static int fit_vocab(struct model_file *mf, const char *file, char *err, size_t errlen)
{
    if (mf->vocab.n_tokens > mf->model.n_vocab)
        return fail(SPECD_EFILE, err, errlen, "%s: %u tokens, but the embedding has %u rows", file,
                    mf->vocab.n_tokens, mf->model.n_vocab);
    vocab_pad(&mf->vocab, mf->model.n_vocab);
    return 0;
}

static int parse_gguf(struct model_file *mf, struct gguf *g, const char *path, char *err,
                      size_t errlen)
{
    struct mapping *map = add_map(mf);
    int rc = mapping_open(map, path, err, errlen);
    if (rc == 0)
        rc = gguf_parse(g, map->data, map->size, map->path, err, errlen);
    if (rc == 0) {
        mf->file_bytes += map->size;
        mf->fingerprint = hash_bytes(mf->fingerprint ^ map->size, map->data, g->header_bytes);
    }
    return rc;
}

/* The other files of a model whose first is g. */
static int add_splits(struct model_file *mf, struct gguf *g, char *err, size_t errlen)
{
    size_t n;
    int rc = gguf_split_count(g, &n, err, errlen);
    if (rc || n == 1)
        return rc;
    mf->maps = xrealloc(mf->maps, n * sizeof *mf->maps);
    for (size_t i = 1; rc == 0 && i < n; i++) {
        struct gguf part = {0};
        char *path = gguf_split_path(mf->path, i, n);
        rc = parse_gguf(mf, &part, path, err, errlen);
        if (rc == 0)
            rc = gguf_split_take(g, &part, i, n, err, errlen);
        gguf_fini(&part);
        free(path);
    }
    return rc ? rc : gguf_split_seal(g, err, errlen);
}

static int open_gguf(struct model_file *mf, const char *path, char *err, size_t errlen)
{
    struct gguf g;
    mf->maps = xcalloc(1, sizeof *mf->maps);
    int rc = parse_gguf(mf, &g, path, err, errlen);
    if (rc)
        return rc;
    rc = add_splits(mf, &g, err, errlen);
    if (rc == 0)
        rc = gguf_model(&mf->model, &g, &mf->made, err, errlen);
    if (rc == 0)
        rc = gguf_vocab(&mf->vocab, &g, err, errlen);
    if (rc == 0)
        rc = fit_vocab(mf, path, err, errlen);
    const struct gguf_kv *name = gguf_find(&g, "general.name");
    if (rc == 0 && name && name->type == GGUF_STRING && name->n > 0)
        set_name(mf, (const char *)name->data, (size_t)name->n);
    gguf_fini(&g);
    return rc;
}

static int open_shards(struct model_file *mf, struct tensor_dir *dir, const char *folder,
                       bool wrapped, char *err, size_t errlen)
{
    struct shards shards;
    int rc = shards_find(&shards, folder, err, errlen);
    mf->maps = xcalloc(shards.n, sizeof *mf->maps);
    for (size_t i = 0; rc == 0 && i < shards.n; i++) {
        char path[4096];
        size_t header_bytes;
        snprintf(path, sizeof path, "%s/%s", folder, shards.names[i]);
        struct mapping *map = add_map(mf);
        rc = mapping_open(map, path, err, errlen);
        if (rc == 0)
            rc =
                safetensors_parse(dir, map->data, map->size, map->path, &header_bytes, err, errlen);
        if (rc == 0) {
            mf->file_bytes += map->size;
            mf->fingerprint = hash_bytes(mf->fingerprint ^ map->size, map->data, header_bytes);
        }
    }
    shards_fini(&shards);
    if (wrapped)
        weights_unwrap(dir);
    return rc ? rc : tensor_dir_seal(dir, err, errlen);
}

/* config.json says what the headers don't: how many heads the same matrices make. */
static uint64_t hash_sizes(const struct model *m)
{
    const uint32_t sizes[] = {m->n_layers, m->head_dim, m->n_embd,         m->n_vocab,
                              m->n_ctx,    m->rope_dim, m->n_experts_used, m->experts_normed};
    uint64_t h = hash_bytes(0, (const uint8_t *)sizes, sizeof sizes);
    for (uint32_t i = 0; i < m->n_layers; i++) {
        const struct model_layer *l = &m->layers[i];
        const uint32_t of_layer[] = {l->n_heads, l->n_kv_heads, l->n_ff};
        h = hash_bytes(h, (const uint8_t *)of_layer, sizeof of_layer);
    }
    return hash_bytes(h, (const uint8_t *)m->ropes, sizeof m->ropes);
}

static int open_folder(struct model_file *mf, const char *folder, char *err, size_t errlen)
{
    struct hf_config config;
    struct tensor_dir dir = {0};
    int rc = hf_config_load(&config, &mf->model, folder, err, errlen);
    if (rc)
        return rc;
    mf->fingerprint = hash_sizes(&mf->model);
    rc = open_shards(mf, &dir, folder, config.wrapped, err, errlen);
    if (rc == 0)
        rc = hf_quant_bind(&mf->sources, &dir, &config.quant, err, errlen);
    if (rc == 0)
        rc = weights_bind(
            &mf->model, &dir, config.arch,
            &(struct weights_of){folder, NAMES_HF, config.tied, &config.windows, config.logits},
            &mf->made, err, errlen);
    tensor_dir_fini(&dir);
    for (uint32_t i = 0; rc == 0 && i < mf->model.n_layers; i++) {
        const struct model_layer *l = &mf->model.layers[i];
        mf->model.layers[i].no_rope = config.no_rope[i];
        if (mf->model.n_experts > 0 && config.dense[i] != !l->w_router.data)
            rc = fail(SPECD_EFILE, err, errlen,
                      "%s/config.json: decoder_sparse_step, mlp_only_layers: layer %u has %s",
                      folder, i, l->w_router.data ? "experts" : "none");
    }
    if (rc == 0)
        rc = hf_vocab_load(&mf->vocab, folder, err, errlen);
    if (rc)
        return rc;
    for (int32_t i = 0; i < config.n_eog; i++)
        vocab_add_eog(&mf->vocab, config.eog[i]);
    vocab_add_eog(&mf->vocab, mf->vocab.eos);
    vocab_find_eog(&mf->vocab);
    return fit_vocab(mf, folder, err, errlen);
}

int model_file_open(struct model_file **out, const char *path, char *err, size_t errlen)
{
    struct stat st;
    if (strlen(path) > PATH_BYTES_MAX)
        return fail(SPECD_EFILE, err, errlen, "model: the path is longer than %d bytes",
                    PATH_BYTES_MAX);
    if (stat(path, &st) != 0)
        return fail(SPECD_EFILE, err, errlen, "%s: %s", path, strerror(errno));
    struct model_file *mf = xcalloc(1, sizeof *mf);
    set_base_name(mf, path);
    mf->path = xstrdup(path);
    mf->model.file = mf->path;
    int rc =
        S_ISDIR(st.st_mode) ? open_folder(mf, path, err, errlen) : open_gguf(mf, path, err, errlen);
    if (rc)
        model_file_close(mf);
    else
        *out = mf;
    return rc;
}

void model_file_rest(struct model_file *mf)
{
    for (size_t i = 0; i < mf->n_maps; i++)
        mapping_rest(&mf->maps[i]);
}

void model_file_close(struct model_file *mf)
{
    if (!mf)
        return;
    free(mf->model.layers);
    hf_sources_fini(&mf->sources);
    free(mf->made);
    vocab_free(&mf->vocab);
    for (size_t i = 0; i < mf->n_maps; i++)
        mapping_close(&mf->maps[i]);
    free(mf->maps);
    free(mf->path);
    free(mf);
}
