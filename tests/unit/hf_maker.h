/*
 * hf_maker.h - a tiny Hugging Face folder on disk, for tests: one llama layer, 32 wide, tied
 * output, an embedding of 6 rows and a tokenizer of 4 tokens.
 */
#ifndef SPECD_TEST_HF_MAKER_H
#define SPECD_TEST_HF_MAKER_H

#include "specd/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HF_NORM_BYTE 0x42 /* fills model.norm.weight; everything else is zero */

static const char hf_config_text[] =
    "{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"hidden_size\":32,"
    "\"intermediate_size\":64,\"vocab_size\":6,\"num_attention_heads\":2,"
    "\"num_key_value_heads\":1,\"max_position_embeddings\":128,\"rms_norm_eps\":1e-5,"
    "\"hidden_act\":\"silu\",\"tie_word_embeddings\":true,\"eos_token_id\":0}";

static const char hf_tokenizer_text[] =
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[{\"id\":0,"
    "\"content\":\"<|im_end|>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
    "\"normalized\":false,\"special\":true}],\"normalizer\":null,\"pre_tokenizer\":"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
    "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
    "\"trim_offsets\":true,\"use_regex\":true},\"model\":{\"type\":\"BPE\",\"dropout\":null,"
    "\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
    "\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,\"vocab\":"
    "{\"<|im_end|>\":0,\"a\":1,\"b\":2,\"ab\":3},\"merges\":[[\"a\",\"b\"]]}}";

struct hf_tensor {
    const char *name;
    unsigned rows, cols; /* rows 0: a vector */
};
static const struct hf_tensor hf_tensors[] = {
    {"model.embed_tokens.weight", 6, 32},
    {"model.layers.0.input_layernorm.weight", 0, 32},
    {"model.layers.0.self_attn.q_proj.weight", 32, 32},
    {"model.layers.0.self_attn.k_proj.weight", 16, 32},
    {"model.layers.0.self_attn.v_proj.weight", 16, 32},
    {"model.layers.0.self_attn.o_proj.weight", 32, 32},
    {"model.layers.0.post_attention_layernorm.weight", 0, 32},
    {"model.layers.0.mlp.gate_proj.weight", 64, 32},
    {"model.layers.0.mlp.up_proj.weight", 64, 32},
    {"model.layers.0.mlp.down_proj.weight", 32, 64},
    {"model.norm.weight", 0, 32},
};

static inline void hf_save(const char *dir, const char *name, const void *data, size_t size)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    ASSERT(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

/* A safetensors file: length, header padded to 8 bytes, data. */
static inline void hf_save_tensors(const char *dir, const char *name, const struct hf_tensor *t,
                                   size_t n)
{
    struct buf header = {0}, data = {0}, file = {0};
    for (size_t i = 0; i < n; i++) {
        size_t bytes = 2u * MAX(t[i].rows, 1u) * t[i].cols, begin = data.len;
        for (size_t k = 0; k < bytes; k++)
            buf_add(&data, strcmp(t[i].name, "model.norm.weight") == 0 ? "\x42" : "\0", 1);
        buf_printf(&header, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[", i ? "," : "{", t[i].name);
        if (t[i].rows > 0)
            buf_printf(&header, "%u,", t[i].rows);
        buf_printf(&header, "%u],\"data_offsets\":[%zu,%zu]}", t[i].cols, begin, data.len);
    }
    buf_puts(&header, "}");
    while (header.len % 8 != 0)
        buf_puts(&header, " ");
    uint64_t len = header.len;
    buf_add(&file, &len, sizeof len);
    buf_add(&file, header.data, header.len);
    buf_add(&file, data.data, data.len);
    hf_save(dir, name, file.data, file.len);
    buf_free(&header);
    buf_free(&data);
    buf_free(&file);
}

/* n_files 1: model.safetensors; 2: a.safetensors and b.safetensors with an index. */
static inline void hf_make_folder(const char *dir, int n_files)
{
    static const size_t n = COUNT_OF(hf_tensors), half = COUNT_OF(hf_tensors) / 2;
    char path[400];
    mkdir(dir, 0700);
    hf_save(dir, "config.json", hf_config_text, strlen(hf_config_text));
    hf_save(dir, "tokenizer.json", hf_tokenizer_text, strlen(hf_tokenizer_text));
    hf_save(dir, "tokenizer_config.json", "{}", 2);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    unlink(path);
    if (n_files == 1) {
        hf_save_tensors(dir, "model.safetensors", hf_tensors, n);
        return;
    }
    struct buf index = {0};
    for (size_t i = 0; i < n; i++)
        buf_printf(&index, "%s\"%s\":\"%c.safetensors\"", i ? "," : "{\"weight_map\":{",
                   hf_tensors[i].name, i < half ? 'a' : 'b');
    buf_puts(&index, "}}");
    hf_save(dir, "model.safetensors.index.json", index.data, index.len);
    buf_free(&index);
    hf_save_tensors(dir, "a.safetensors", hf_tensors, half);
    hf_save_tensors(dir, "b.safetensors", hf_tensors + half, n - half);
}

#endif
