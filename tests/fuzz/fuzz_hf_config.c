/*
 * A model folder's config.json from anywhere: what is read has sizes that a device may be asked
 * for, angles and scales that are numbers, and windows of positions.
 *
 * links: specd_model specd_base
 */
#include "fuzz_folder.h"

#include "model/hf_config.h"

#include <math.h>

static void check_rope(const struct rope_angles *rope, uint32_t rope_dim)
{
    ASSERT(rope->magnitude > 0 && rope->magnitude <= 100);
    for (uint32_t i = 0; i < rope_dim / 2; i++)
        ASSERT(isfinite(rope->inv_freq[i]));
}

static void check(struct model *m, const struct hf_config *c)
{
    char err[200];
    ASSERT(model_sizes_check(m, err, sizeof err) == 0);
    ASSERT(m->embd_scale >= 0 && isfinite(m->embd_scale));
    ASSERT(m->attn_scale >= 0 && isfinite(m->attn_scale));
    ASSERT(c->logits > 0 && isfinite(c->logits));
    ASSERT(m->n_ropes <= MODEL_ROPES);
    for (uint32_t i = 0; i < MAX(m->n_ropes, 1); i++)
        check_rope(&m->ropes[i], m->rope_dim);
    if (model_set_context(m, m->n_ctx))
        check_rope(&m->ropes[0], m->rope_dim);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hf_config c;
    struct model m = {0};
    char err[400] = "";
    const char *folder = fuzz_folder_save("config.json", data, size);
    int rc = hf_config_load(&c, &m, folder, err, sizeof err);
    ASSERT((rc == 0) == (err[0] == '\0'));
    if (rc == 0)
        check(&m, &c);
    free(m.layers);
    return 0;
}

#define SIZES                                                                              \
    "\"num_hidden_layers\":3,\"hidden_size\":16,\"intermediate_size\":8,\"vocab_size\":9," \
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"max_position_embeddings\":64,"  \
    "\"rms_norm_eps\":1e-05,\"eos_token_id\":[1,2],"

bool fuzz_seed(int i, struct buf *out)
{
    static const char *const seeds[] = {
        "{\"model_type\":\"granite\"," SIZES "\"embedding_multiplier\":12,\"logits_scaling\":8.0,"
        "\"residual_multiplier\":0.22,\"attention_multiplier\":0.015625,\"attention_bias\":true,"
        "\"mlp_bias\":true,\"rope_theta\":10000,\"rope_scaling\":null}",
        "{\"model_type\":\"olmo2\"," SIZES "\"tie_word_embeddings\":false,\"rope_scaling\":{"
        "\"type\":\"yarn\",\"factor\":4.0,\"beta_fast\":32,\"mscale\":1,\"mscale_all_dim\":0.5}}",
        "{\"model_type\":\"phi3\"," SIZES "\"sliding_window\":20,\"partial_rotary_factor\":0.5,"
        "\"original_max_position_embeddings\":32,\"rope_scaling\":{\"type\":\"longrope\","
        "\"short_factor\":[1.0,1.5],\"long_factor\":[2,40.25]}}",
        "{\"model_type\":\"qwen2\"," SIZES "\"use_sliding_window\":true,\"sliding_window\":9,"
        "\"max_window_layers\":1,\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2,"
        "\"rope_theta\":1e6}}",
        "{\"model_type\":\"qwen3\"," SIZES "\"layer_types\":[\"full_attention\","
        "\"sliding_attention\",\"full_attention\"],\"head_dim\":8,\"quantization_config\":{"
        "\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32}}",
        "{\"model_type\":\"gemma3\",\"eos_token_id\":1,\"text_config\":{\"model_type\":"
        "\"gemma3_text\",\"num_hidden_layers\":7,\"hidden_size\":16,\"intermediate_size\":8,"
        "\"sliding_window\":4,\"sliding_window_pattern\":3,\"query_pre_attn_scalar\":168,"
        "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\",\"factor\":8.0,"
        "\"rope_theta\":1e6},\"sliding_attention\":{\"rope_theta\":1e4}}},\"vision_config\":{}}",
        "{\"model_type\":\"smollm3\"," SIZES "\"no_rope_layers\":[1,1,0],\"rope_theta\":5e6}",
        "{\"model_type\":\"llama\"," SIZES "\"rope_scaling\":{\"rope_type\":\"llama3\","
        "\"factor\":8.0,\"low_freq_factor\":1,\"high_freq_factor\":4,"
        "\"original_max_position_embeddings\":32}}",
    };
    if (i >= (int)COUNT_OF(seeds))
        return false;
    buf_puts(out, seeds[i]);
    return true;
}
